"""A run that is stopped, or dies inside an epoch, ends as if nothing had happened, to the last bit."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from resuming import STEPS, TINY, Dies, DyingAt, assert_same_end, begin, go_on

from npsoftmax.cli.main import main
from npsoftmax.data.augment import AUGMENTATIONS
from npsoftmax.errors import InputError
from npsoftmax.heads import HEADS
from npsoftmax.models import MODELS, OF_TOKENS
from npsoftmax.training import (
    OPTIMIZERS,
    SCHEDULES,
    Progress,
    RunDirectory,
    TrainConfig,
    Trainer,
    finish_run,
    prepare,
)
from npsoftmax.training.checkpoint import load_arrays, load_state, save_arrays

CONVNET = {"model": "convnet", "model_opts": {"widths": (4,), "fc": 8, "dropout": 0.5}}
VIT = {
    "model": "vit",
    "model_opts": {"patch": 4, "dim": 8, "depth": 2, "heads": 2, "mlp": 8, "dropout": 0.1, "drop_path": 0.3},
}
OF_IMAGES = [name for name in MODELS if name not in OF_TOKENS]  # the others: test_words.py
SMALL_MODELS = {
    "mlp": {"hidden": (8, 6)},
    "convnet": CONVNET["model_opts"],
    "tinyvgg": {"width": 4},
    "resnet9": {"widths": (2, 3, 4, 5)},
    "speednet": {"widths": (2, 3)},
    "whitened_resnet": {"widths": (4,), "inner": (3,), "kernels": (2, 1, 3)},
}

CASES = {
    **{
        f"optimizer {name}": {"optimizer": name, "weight_decay": 1e-2} | (CONVNET if name == "muon" else {})
        for name in OPTIMIZERS
    },
    "plain sgd": {"optimizer": "sgd", "momentum": 0.0},
    "nesterov": {"optimizer": "sgd", "nesterov": True},
    "muon": {"optimizer": "muon", "muon_matrices": True, "muon_unit_filters": True},
    **{f"schedule {name}": {"schedule": name, "optimizer": "sgd"} for name in SCHEDULES},
    "schedule step that steps": {"schedule": "step", "schedule_opts": {"step_size": 1, "gamma": 0.5}},
    "schedule cosine with a warm-up": {"schedule": "cosine", "schedule_opts": {"warmup": 10}},
    **{f"head {name}": {"head": name, "mixup": 0.0} for name in HEADS},
    "annealed gumbel": {"head": "gumbel_softmax", "head_opts": {"tau_end": 0.3, "anneal_steps": 12}},
    **{f"augmentation {name}": {"augment": name} | CONVNET for name in AUGMENTATIONS},
    **{f"model {name}": {"model": name, "model_opts": SMALL_MODELS.get(name, VIT["model_opts"])} for name in OF_IMAGES},
    "images that grow": {"image_sizes": "5:0.2,6:0.6", "augment": "alternating", "shift": 1, "model": "whitened_resnet"}
    | {"model_opts": {"widths": (4,), "inner": (3,), "kernels": (2, 1, 3)}},
    "mixup": {"mixup": 0.8},
    "cutmix": {"cutmix": 1.0},
    "mixup and cutmix with dropped paths": {"mixup": 0.8, "cutmix": 1.0} | VIT,
    "clipping": {"clip_norm": 0.1, "clip_value": 0.01},
    "no validation": {"val_split": 0.0, "limit_train": 108},
    "patience": {"early_stop": 3},
}  # fmt: skip
for head in ("adaptive", "legacy_adaptive_untrained"):
    CASES[f"head {head}"]["head_opts"] = {"cutoffs": (4, 8)}
SHORT = ("softmax", "hierarchical", "adaptive", "sampled", "gumbel_softmax", "mlp", "convnet", "one_cycle", "step")
LONG = [c for c in CASES if c.startswith(("head ", "model ", "schedule ")) and not c.endswith(SHORT)]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", [pytest.param(c, marks=pytest.mark.slow) if c in LONG else c for c in CASES])
def test_two_epochs_and_two_with_a_death_between_are_four(tmp_path, case):
    """Stopped after two epochs, dead three steps into the third with a checkpoint every second one, and gone on."""
    options = CASES[case]
    whole = begin(tmp_path / "whole", **options).fit()
    begin(tmp_path / "parts", stop_after=2, checkpoint_every=2, **options).fit()
    with pytest.raises(Dies):
        go_on(tmp_path / "parts", DyingAt(4)).fit()  # the fourth is the last of the epoch
    third = go_on(tmp_path / "parts")
    assert (third.state.epoch, third.state.step_in_epoch) == (2, 2)
    state = third.fit()
    assert (state.epoch, state.step) == (whole.epoch, whole.step) == (4, STEPS)
    assert_same_end(tmp_path / "whole", tmp_path / "parts")


def test_early_stopping_that_was_half_patient_stops_where_it_would_have(tmp_path):
    options = {"epochs": 9, "lr": 1e-12, "schedule": "constant", "early_stop": 3, "checkpoint_every": 1}
    whole = begin(tmp_path / "whole", **options).fit()
    with pytest.raises(Dies):
        begin(tmp_path / "parts", DyingAt(10), **options).fit()
    state = go_on(tmp_path / "parts").fit()
    assert whole.stopped_early and state.stopped_early and state.epoch == whole.epoch == 4
    assert_same_end(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("died_at", range(1, STEPS + 1))
def test_dying_after_any_step_changes_nothing(tmp_path_factory, died_at, undisturbed):
    path = tmp_path_factory.mktemp("died") / "run"
    with pytest.raises(Dies):
        begin(path, DyingAt(died_at), checkpoint_every=3).fit()
    go_on(path).fit()
    assert_same_end(undisturbed, path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    trainer = begin(path)
    finish_run(trainer.session, trainer.run, trainer.fit())
    return path


def test_a_checkpoint_every_n_steps_and_after_every_epoch(tmp_path):
    seen = {}

    class Noting(Progress):
        def update(self, *_):
            seen.setdefault(trainer.state.step, load_state(run.checkpoint_file("last"))["step"])

    trainer = begin(tmp_path / "run", Noting(4, quiet=True), checkpoint_every=3)
    run = trainer.run
    trainer.fit()
    # What each step found there. Step 12 ends an epoch: its one checkpoint comes after the validation.
    assert [seen[step] for step in range(1, STEPS + 1)] == [0, 0, 0, 3, 4, 4, 6, 6, 8, 9, 9, 9, 12, 12, 12, 15]
    assert [load_state(run.checkpoint_file(name))["step"] for name in ("last", "previous")] == [16, 15]


def test_the_seconds_of_an_epoch_in_parts_are_those_of_all_its_parts(tmp_path):
    with pytest.raises(Dies):
        begin(tmp_path / "run", DyingAt(4), checkpoint_every=1).fit()
    before = load_state(tmp_path / "run" / "checkpoints" / "last.safetensors")
    assert before["step_in_epoch"] == 3 and before["epoch_seconds"] == before["train_seconds"] > 0
    go_on(tmp_path / "run").fit()
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        first = next(csv.DictReader(file))
    assert float(first["seconds"]) >= before["epoch_seconds"] * (1 - 1e-5)  # written with six digits


def test_a_run_that_died_before_its_first_checkpoint_begins(tmp_path, undisturbed):
    begin(tmp_path / "run")
    (tmp_path / "run" / "steps.csv").write_text("step,lo")  # a header that was cut off
    state = go_on(tmp_path / "run").fit()
    assert state.step == STEPS
    assert_same_end(undisturbed, tmp_path / "run")


def test_a_command_that_died_before_the_run_began_can_be_typed_again(tmp_path):
    words = ["train", "--data", "digits", "--limit-train", "120", "--limit-test", "50", "--model", "mlp"]
    words += ["--epochs", "1", "--no-plots", "--quiet", "--out", str(tmp_path / "run")]
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for name in ("lock", "env.json", ".config.toml.17.part"):
        (tmp_path / "run" / name).write_text("{")
    assert main(["train", "--resume", str(tmp_path / "run")]) == 2
    assert main(words) == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["epochs"] == 1
    assert main(words) == 2  # now it is one


# ---------------------------------------------------------------- damage
def damaged(path, how):
    content = bytearray(path.read_bytes())
    if how == "cut":
        content = content[: len(content) // 2]
    elif how == "empty":
        content = b""
    elif how == "a bit of a parameter":
        content[-5] ^= 4
    elif how == "a digit of the state":
        place = content.index(b'\\"step\\": ') + 10
        content[place] ^= 1
    elif how == "zeros":
        content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["cut", "empty", "a bit of a parameter", "a digit of the state", "zeros", "gone"])
def test_a_damaged_checkpoint_is_refused_by_name_and_the_one_before_is_offered(tmp_path, capsys, undisturbed, how):
    with pytest.raises(Dies):
        begin(tmp_path / "run", DyingAt(11), checkpoint_every=3).fit()
    last = tmp_path / "run" / "checkpoints" / "last.safetensors"
    if how == "gone":
        last.unlink()
    else:
        damaged(last, how)
    assert main(["train", "--resume", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert str(last) in error and error.count("\n") == 1
    assert "The one before it, after 2 epochs and 8 steps, is whole" in error
    typed = error.partition("type: npsoftmax ")[2].split()
    assert typed == ["train", "--resume", str(tmp_path / "run"), "--checkpoint", "previous"]
    assert main([*typed, "--quiet", "--no-plots"]) == 0
    assert_same_end(undisturbed, tmp_path / "run")
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (undisturbed, tmp_path / "run")]
    assert summaries[0]["test"] == summaries[1]["test"]


def test_the_one_before_is_not_taken_for_what_was_damaged(tmp_path):
    """After going on from the one before, it is that one which is kept, not the damaged file."""
    begin(tmp_path / "run", stop_after=2, checkpoint_every=3).fit()
    folder = tmp_path / "run" / "checkpoints"
    damaged(folder / "last.safetensors", "a bit of a parameter")
    go_on(tmp_path / "run", checkpoint="previous")
    assert load_state(folder / "last.safetensors") == load_state(folder / "previous.safetensors")
    assert load_state(folder / "last.safetensors")["step"] == 6


def test_with_both_damaged_the_run_can_be_begun_anew_by_what_is_said(tmp_path, capsys, undisturbed):
    begin(tmp_path / "run", stop_after=2).fit()
    for name in ("last", "previous"):
        damaged(tmp_path / "run" / "checkpoints" / f"{name}.safetensors", "cut")
    for checkpoint in ("last", "previous"):
        with pytest.raises(InputError, match=rf"{checkpoint}\.safetensors is damaged.*There is no other"):
            go_on(tmp_path / "run", checkpoint=checkpoint)
    assert main(["train", "--resume", str(tmp_path / "run")]) == 2
    typed = capsys.readouterr().err.partition("type: npsoftmax ")[2].split()
    assert main([*typed, "--quiet", "--no-plots"]) == 0
    assert_same_end(undisturbed, tmp_path / "run-again")


@pytest.mark.parametrize("name", ["best", "last"])
def test_the_test_set_is_not_looked_at_with_damaged_parameters(tmp_path, name, capsys):
    trainer = begin(tmp_path / "run", epochs=1)
    finish_run(trainer.session, trainer.run, trainer.fit())
    damaged(trainer.run.checkpoint_file(name), "a bit of a parameter")
    assert main(["eval", str(tmp_path / "run"), "--checkpoint", name]) == 2
    assert f"{name}.safetensors is damaged" in capsys.readouterr().err


def test_a_checkpoint_from_before_there_were_checksums_is_read(tmp_path):
    from safetensors.numpy import save_file

    begin(tmp_path / "run", stop_after=2).fit()
    file = tmp_path / "run" / "checkpoints" / "last.safetensors"
    arrays, state = load_arrays(file), load_state(file)
    save_file(arrays, file, metadata={"state": json.dumps(state)})
    assert go_on(tmp_path / "run").state.epoch == 2


def test_other_data_than_the_run_was_begun_with_is_refused(tmp_path):
    begin(tmp_path / "run", stop_after=2).fit()
    run = RunDirectory.existing(tmp_path / "run")
    session = prepare(TrainConfig(**TINY | {"limit_train": 300}))
    with pytest.raises(InputError, match="this run has 9 steps an epoch"):
        Trainer(session, run, Progress(4, quiet=True)).resume()


def test_rows_that_a_power_cut_left_are_dropped(tmp_path, undisturbed):
    begin(tmp_path / "run", stop_after=2).fit()
    for name in ("metrics.csv", "steps.csv"):
        with open(tmp_path / "run" / name, "ab") as file:
            file.write(b"3,0.5\n\xff\xfe,,\n99999999999999999999999,1,2,3\r\n7,1" + bytes(40))
    go_on(tmp_path / "run").fit()
    assert_same_end(undisturbed, tmp_path / "run")


def test_what_killed_processes_left_is_removed(tmp_path):
    begin(tmp_path / "run", stop_after=1).fit()
    left = [tmp_path / "run" / ".metrics.csv.9.part", tmp_path / "run" / "checkpoints" / ".last.safetensors.9.part"]
    for part in left:
        part.write_bytes(b"half")
    go_on(tmp_path / "run")
    assert not any(part.exists() for part in left)


def test_checkpoint_options_that_do_not_fit(tmp_path, capsys):
    assert main(["train", "--data", "digits", "--checkpoint", "previous", "--out", str(tmp_path / "run")]) == 2
    assert "--resume RUN" in capsys.readouterr().err
    with pytest.raises(InputError, match="--checkpoint-every is 0"):
        TrainConfig(checkpoint_every=0)


def test_arrays_of_any_layout_are_what_the_checksum_is_of(tmp_path):
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    arrays = {"t": x.transpose(2, 0, 1), "empty": x[:0], "number": np.float64(3), "flag": np.array([True, False])}
    save_arrays(tmp_path / "a.safetensors", arrays)
    found = load_arrays(tmp_path / "a.safetensors")
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
