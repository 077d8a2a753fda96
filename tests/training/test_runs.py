"""Training runs through the public surface: what they write, how they stop, how they go on."""

import csv
import json
import signal

import numpy as np
import pytest

from npsoftmax.cli.main import main
from npsoftmax.errors import InputError
from npsoftmax.heads import HEADS
from npsoftmax.training import Progress, RunDirectory, TrainConfig, Trainer, finish_run, load_run, prepare
from npsoftmax.training.checkpoint import load_arrays, load_state

TINY = {
    "data": "digits",
    "limit_train": 400,
    "limit_test": 100,
    "model": "mlp",
    "model_opts": {"hidden": (16,)},
    "epochs": 2,
    "batch_size": 64,
    "lr": 0.01,
    "log_every": 2,
}


def begin(path, progress=None, stop_after=None, **changes):
    """A trainer on a small real data set, in a new run directory."""
    session = prepare(TrainConfig(**{**TINY, **changes}))
    run = RunDirectory.plan(session.config, session.dataset.name, str(path))
    trainer = Trainer(session, run, progress or Progress(session.config.epochs, quiet=True), stop_after=stop_after)
    run.describe(session.config, session.dataset, session.train.normalize, session.backend)
    return trainer


def go_on(path):
    """A trainer that continues the run in `path`, as --resume does."""
    run = RunDirectory.existing(path)
    session = prepare(TrainConfig.load(run.config_file))
    trainer = Trainer(session, run, Progress(session.config.epochs, quiet=True))
    trainer.resume()
    return trainer


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def without_times(table):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in table]


def last(trainer):
    return load_arrays(trainer.run.checkpoint_file("last"))


def assert_same_arrays(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


class InterruptAt(Progress):
    """Presses Ctrl-C after a number of images of the first epoch."""

    def __init__(self, images):
        super().__init__(1, quiet=True)
        self.images = images

    def update(self, seen, loss, accuracy):
        if seen >= self.images:
            self.images = float("inf")
            signal.raise_signal(signal.SIGINT)


def test_a_run_learns_and_writes_its_directory(tmp_path):
    trainer = begin(tmp_path / "run", epochs=8)
    state = trainer.fit()
    summary = finish_run(trainer.session, trainer.run, state)
    run = tmp_path / "run"
    metrics, steps = rows(run / "metrics.csv"), rows(run / "steps.csv")
    assert [int(r["epoch"]) for r in metrics] == list(range(1, 9))
    assert float(metrics[-1]["train_loss"]) < 0.5 * float(metrics[0]["train_loss"])
    assert summary["test"]["accuracy"] > 0.8
    assert summary == json.loads((run / "summary.json").read_text())
    assert [int(r["step"]) for r in steps] == [1, *range(2, 8 * 6 + 1, 2)]
    for name in ("config.toml", "env.json", "classes.json", "confusion.csv", "reliability.csv"):
        assert (run / name).stat().st_size > 0
    for name in ("last.safetensors", "best.safetensors", "state.json"):
        assert (run / "checkpoints" / name).stat().st_size > 0


def test_the_summary_has_what_reports_need(tmp_path):
    trainer = begin(tmp_path / "run")
    summary = finish_run(trainer.session, trainer.run, trainer.fit())
    for key in (
        "dataset",
        "model",
        "head",
        "backend",
        "parameters",
        "epochs",
        "seed",
        "seconds_per_epoch",
        "images_per_second",
        "prepare_seconds",
        "train_seconds",
    ):
        assert summary[key] is not None, key
    for split in ("test", "validation"):
        assert set(summary[split]) == {"accuracy", "top5", "precision_macro", "recall_macro", "f1_macro", "nll", "ece"}
    assert summary["parameters"] == 64 * 16 + 16 + 16 * 10 + 10


def test_the_confusion_matrix_counts_the_test_set(tmp_path):
    trainer = begin(tmp_path / "run")
    summary = finish_run(trainer.session, trainer.run, trainer.fit())
    with open(tmp_path / "run" / "confusion.csv", newline="") as file:
        counts = np.array([[int(v) for v in row[1:]] for row in list(csv.reader(file))[1:]])
    assert counts.sum() == 100
    assert np.trace(counts) / 100 == pytest.approx(summary["test"]["accuracy"])


def test_seconds_of_preparing_and_training_are_those_of_all_visits(tmp_path):
    first = begin(tmp_path / "run", stop_after=1)
    first.session.prepare_seconds = 10.0
    state = first.fit()
    trained = state.train_seconds
    second = go_on(tmp_path / "run")
    second.session.prepare_seconds = 3.0
    summary = finish_run(second.session, second.run, second.fit())
    assert summary["prepare_seconds"] == 13.0
    assert trained < summary["train_seconds"] < summary["seconds_per_epoch"] * summary["epochs"]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("head", ["softmax", "hierarchical"])
def test_stopping_and_going_on_changes_no_bit(tmp_path, optimizer, head):
    options = {"epochs": 4, "optimizer": optimizer, "head": head, "weight_decay": 1e-3, "augment": "none"}
    whole = begin(tmp_path / "whole", **options)
    whole.fit()
    begin(tmp_path / "halves", stop_after=2, **options).fit()
    second = go_on(tmp_path / "halves")
    assert second.state.epoch == 2
    second.fit()
    assert_same_arrays(last(whole), last(second))
    for name in ("metrics.csv", "steps.csv"):
        assert without_times(rows(tmp_path / "whole" / name)) == without_times(rows(tmp_path / "halves" / name))


def test_dropout_and_augmentation_resume_bit_for_bit(tmp_path):
    options = {
        "data": "synthetic100", "limit_train": 300, "limit_test": 100, "model": "convnet",
        "model_opts": {"widths": (4, 4), "fc": 8, "dropout": 0.5}, "augment": "standard", "epochs": 2,
    }  # fmt: skip
    whole = begin(tmp_path / "whole", **options)
    whole.fit()
    begin(tmp_path / "halves", stop_after=1, **options).fit()
    second = go_on(tmp_path / "halves")
    second.fit()
    assert_same_arrays(last(whole), last(second))


def test_ctrl_c_saves_in_the_middle_of_an_epoch_and_the_run_goes_on(tmp_path):
    whole = begin(tmp_path / "whole")
    whole.fit()
    cut = begin(tmp_path / "cut", progress=InterruptAt(images=100))
    before = signal.getsignal(signal.SIGINT)
    state = cut.fit()
    assert signal.getsignal(signal.SIGINT) is before
    assert cut.interrupted and state.epoch == 0 and state.step == 2
    assert finish_run(cut.session, cut.run, state, interrupted=True)["interrupted"]
    second = go_on(tmp_path / "cut")
    second.fit()
    assert_same_arrays(last(whole), last(second))
    assert without_times(rows(tmp_path / "whole" / "metrics.csv")) == without_times(
        rows(tmp_path / "cut" / "metrics.csv")
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("head", HEADS)
def test_every_head_trains_and_reports(tmp_path, head):
    # Ten features, one a class: the legacy adaptive head predicts from them.
    options = {"cutoffs": (4, 8)} if "adaptive" in head else {}
    shape = {"limit_train": 200, "model_opts": {"hidden": (10,)}}
    trainer = begin(tmp_path / "run", head=head, head_opts=options, epochs=1, **shape)
    summary = finish_run(trainer.session, trainer.run, trainer.fit())
    assert 0 <= summary["test"]["accuracy"] <= 1
    assert (summary["test"]["nll"] is not None) == HEADS[head].likelihood
    assert summary["legacy"] == HEADS[head].legacy


def test_noise_at_evaluation_is_drawn_from_the_seed(tmp_path):
    options = {"head": "gumbel_softmax", "head_opts": {"tau": 5.0, "eval_noise": True}, "epochs": 1}
    first, again, other = (begin(tmp_path / n, **options, seed=s) for n, s in (("a", 0), ("b", 0), ("c", 1)))
    summaries = [finish_run(t.session, t.run, t.fit())["test"] for t in (first, again, other)]
    assert summaries[0] == summaries[1] != summaries[2]


@pytest.mark.parametrize("optimizer", [{"optimizer": "sgd"}, {"optimizer": "muon", "muon_matrices": True}])
def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(optimizer, tmp_path):
    trainer = begin(tmp_path / "run", **optimizer, lr=1e30, muon_lr=1e30, schedule="constant")
    with pytest.raises(InputError, match=r"at step \d+ \(learning rate 1e\+30; the last finite loss was"):
        trainer.fit()


def test_best_is_chosen_by_validation_and_loaded_back(tmp_path):
    trainer = begin(tmp_path / "run", epochs=3)
    state = trainer.fit()
    accuracies = [float(r["val_accuracy"]) for r in rows(tmp_path / "run" / "metrics.csv")]
    assert state.best_epoch == 1 + int(np.argmax(accuracies))
    summary = finish_run(trainer.session, trainer.run, state)
    assert summary["checkpoint"] == "best" and summary["checkpoint_epoch"] == state.best_epoch
    assert summary["validation"]["accuracy"] == pytest.approx(max(accuracies), abs=1e-5)
    session = load_run(tmp_path / "run")
    assert_same_arrays(
        load_arrays(trainer.run.checkpoint_file("best")),
        {**{f"trunk.fc1.{n}": session.model.params["trunk"]["fc1"][n] for n in "wb"},
         **{f"head.{n}": session.model.params["head"][n] for n in "wb"}},
    )  # fmt: skip


def test_without_validation_the_last_parameters_are_tested(tmp_path):
    trainer = begin(tmp_path / "run", val_split=0.0)
    summary = finish_run(trainer.session, trainer.run, trainer.fit())
    assert summary["checkpoint"] == "last" and summary["validation"] is None
    assert rows(tmp_path / "run" / "metrics.csv")[0]["val_accuracy"] == ""
    assert not trainer.run.checkpoint_file("best").exists()


def test_early_stopping_ends_the_run_and_survives_a_resume(tmp_path):
    # A learning rate of nearly nothing: the accuracy does not improve after the first epoch.
    trainer = begin(tmp_path / "run", epochs=9, lr=1e-12, schedule="constant", early_stop=2)
    state = trainer.fit()
    assert state.stopped_early and state.epoch == 3
    assert go_on(tmp_path / "run").fit().epoch == 3


def test_early_stopping_needs_a_validation_split(tmp_path):
    with pytest.raises(InputError, match="--val-split is 0"):
        begin(tmp_path / "run", val_split=0.0, early_stop=2)


@pytest.mark.parametrize("clip", [{"clip_value": 1e-3}, {"clip_norm": 1e-3}])
def test_clipping_reaches_the_optimiser(tmp_path, clip):
    plain = begin(tmp_path / "plain", optimizer="sgd", epochs=1)
    clipped = begin(tmp_path / "clipped", optimizer="sgd", epochs=1, **clip)
    start = {n: a.copy() for n, a in plain.model.params["head"].items()}
    plain.fit()
    clipped.fit()
    moved = [np.abs(t.model.params["head"]["w"] - start["w"]).max() for t in (plain, clipped)]
    assert moved[1] < 0.1 * moved[0]


def test_the_configuration_survives_the_file(tmp_path):
    config = TrainConfig(**TINY, clip_norm=1.0, head_opts={"temperature": 2.0, "bias": False})
    config.save(tmp_path / "config.toml")
    assert TrainConfig.load(tmp_path / "config.toml") == config


@pytest.mark.parametrize("text", ["epochs = 'many'", "epocks = 3", "epochs = [", "epochs = true"])
def test_a_damaged_configuration_is_refused(tmp_path, text):
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(InputError, match=r"config\.toml"):
        TrainConfig.load(tmp_path / "config.toml")


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_cut_checkpoint_is_refused_by_name(tmp_path, keep):
    trainer = begin(tmp_path / "run", epochs=1)
    trainer.fit()
    file = trainer.run.checkpoint_file("last")
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"last\.safetensors is damaged"):
        go_on(tmp_path / "run")


def test_the_checkpoint_of_another_model_is_refused(tmp_path):
    begin(tmp_path / "a", epochs=1).fit()
    begin(tmp_path / "b", epochs=1, model_opts={"hidden": (8,)}).fit()
    a, b = (tmp_path / n / "checkpoints" / "last.safetensors" for n in "ab")
    a.write_bytes(b.read_bytes())
    with pytest.raises(InputError, match=r"fc1\.w.*shape"):
        go_on(tmp_path / "a")


def test_state_and_arrays_are_one_file(tmp_path):
    trainer = begin(tmp_path / "run", epochs=1)
    trainer.fit()
    state = load_state(trainer.run.checkpoint_file("last"))
    assert state["epoch"] == 1 and state == json.loads(trainer.run.state_file.read_text())


def test_a_failed_write_says_what_to_do_and_keeps_the_old_file(tmp_path, monkeypatch):
    trainer = begin(tmp_path / "run", epochs=2, stop_after=1)
    trainer.fit()
    kept = trainer.run.checkpoint_file("last").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        go_on(tmp_path / "run").fit()
    assert trainer.run.checkpoint_file("last").read_bytes() == kept
    assert not list((tmp_path / "run" / "checkpoints").glob("*.part"))


def test_main_returns_the_same_metrics_as_the_summary(tmp_path, capsys):
    trainer = begin(tmp_path / "run")
    summary = finish_run(trainer.session, trainer.run, trainer.fit())
    assert main(["eval", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == pytest.approx(summary["test"])


# ---------------------------------------------------------------- what a table says is what it was
def test_the_training_loss_of_an_epoch_is_the_mean_over_its_images(tmp_path):
    """Of all images, the few of the short last batch counted as often as the others: found again in doubles.

    The learning rate is too small to move a parameter, so it is the loss of those that are saved.
    """
    options = {"optimizer": "sgd", "momentum": 0.0, "lr": 1e-30, "schedule": "constant", "epochs": 2}
    trainer = begin(tmp_path / "run", model_opts={"hidden": ()}, batch_size=100, log_every=1, **options)
    trainer.fit()
    images = trainer.session.train
    assert [images.length(number) for number in range(4)] == [100, 100, 100, 60]
    found = last(trainer)
    x = images.normalize.apply(images.x).reshape(len(images.x), -1).astype(np.float64)
    z = x @ found["head.w"].astype(np.float64) + found["head.b"]
    losses = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), images.y]
    for row in rows(tmp_path / "run" / "metrics.csv"):
        assert float(row["train_loss"]) == pytest.approx(losses.mean(), rel=5e-6)
        assert float(row["train_accuracy"]) == pytest.approx((z.argmax(axis=1) == images.y).mean(), rel=5e-6)
    batches = [float(row["loss"]) for row in rows(tmp_path / "run" / "steps.csv")[:4]]
    assert abs(np.mean(batches) - losses.mean()) > 1e-4, "the mean over batches would be another number"


def test_of_equally_good_epochs_the_first_is_the_best(tmp_path):
    """Steps too small to change a prediction: all epochs are as good, and their parameters differ."""
    options = {"lr": 1e-6, "schedule": "constant"}
    trainer = begin(tmp_path / "run", epochs=3, **options)
    state = trainer.fit()
    summary = finish_run(trainer.session, trainer.run, state)
    accuracies = {row["val_accuracy"] for row in rows(tmp_path / "run" / "metrics.csv")}
    assert len(accuracies) == 1
    assert json.loads(trainer.run.state_file.read_text())["best_epoch"] == 1
    assert load_state(trainer.run.checkpoint_file("best")) == {"epoch": 1}
    assert (summary["checkpoint"], summary["checkpoint_epoch"]) == ("best", 1)
    first = begin(tmp_path / "first", epochs=3, stop_after=1, **options)
    first.fit()
    best, after_one, at_the_end = (load_arrays(trainer.run.checkpoint_file("best")), last(first), last(trainer))
    for name, array in best.items():
        np.testing.assert_array_equal(array, after_one[name], err_msg=name)
    assert any((best[name] != at_the_end[name]).any() for name in best)
