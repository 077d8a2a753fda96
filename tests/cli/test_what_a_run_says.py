"""What commands name, refuse and keep: checkpoints, options without effect, tables that compare, links and devices."""

from __future__ import annotations

import json
import os
import re
import shutil

import numpy as np
import pytest

from npsoftmax import load_run
from npsoftmax.cli.main import main
from npsoftmax.compare import Comparison, Row
from npsoftmax.errors import InputError
from npsoftmax.models import build_model
from npsoftmax.torch_weights import load_torch, load_torch_tensors, torch_tensors
from npsoftmax.training import RunDirectory, TrainConfig

DIGITS = ("--data", "digits", "--model", "mlp", "--model-opt", "hidden=4", "--limit-train", "100", "--limit-test", "50")
QUIET = ("--quiet", "--no-plots")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = tmp_path_factory.mktemp("said") / "run"
    assert main(["train", *DIGITS, "--epochs", "2", *QUIET, "--out", str(run)]) == 0
    return run


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


# ---------------------------------------------------------------- train
@pytest.mark.parametrize(
    ("sizes", "unused"), [("6:0.5,8", ""), ("5:0.01,6:0.5", "5"), ("5:0.01,6:0.02", "5 or 6"), ("6:0.99", "8")]
)
def test_a_run_too_short_for_a_size_of_its_images_says_so(sizes, unused, tmp_path, capsys):
    words = ["--data", "digits", "--limit-train", "100", "--limit-test", "50", "--epochs", "1", "--batch-size", "20"]
    options = ["--model-opt", "widths=4", "--model-opt", "inner=3", "--model-opt", "kernels=2,1,3"]
    out = ["--no-plots", "--out", str(tmp_path / "run")]
    assert main(["train", *words, "--model", "whitened_resnet", *options, "--image-sizes", sizes, *out]) == 0
    said = re.findall("the run is too short; no step has images of (.*) pixels", capsys.readouterr().out)
    assert said == [unused] * bool(unused)


# ---------------------------------------------------------------- eval and export
def test_eval_and_export_say_what_they_took(run, tmp_path, capsys):
    assert main(["eval", str(run), "--checkpoint", "last"]) == 0
    assert capsys.readouterr().out.startswith("checkpoint last (epoch 2), 50 test images of digits\n")
    assert main(["export", str(run), "--torch", str(tmp_path / "w.safetensors")]) == 0
    said = capsys.readouterr().out
    assert re.search(r"checkpoint best \(epoch [12]\) of \S+, trained on 90 images of 10 classes", said)


def test_a_missing_best_is_refused_unless_last_is_asked_for(run, tmp_path, capsys):
    (run / "checkpoints" / "best.safetensors").unlink()
    weights = str(tmp_path / "w.safetensors")
    for words in (["eval", str(run)], ["export", str(run), "--torch", weights], ["eval", str(run), "--weights-only"]):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert "best.safetensors is missing" in error and "--checkpoint last" in error
        assert main([*words, "--checkpoint", "last"]) == 0
    with pytest.raises(InputError, match=r"best\.safetensors is missing"):
        load_run(run)


def test_where_there_never_was_a_best_one_it_says_so(tmp_path, capsys):
    assert main(["train", *DIGITS, "--val-split", "0", "--epochs", "1", *QUIET, "--out", str(tmp_path / "run")]) == 0
    assert main(["eval", str(tmp_path / "run")]) == 0
    assert "checkpoint last (epoch 1; no epoch was validated, so there is no best)" in capsys.readouterr().out


def test_weights_need_no_data(run, tmp_path, capsys, monkeypatch):
    def nothing(*_, **__):
        raise InputError("there is no data.")

    monkeypatch.setattr("npsoftmax.training.session.load_dataset", nothing)
    assert main(["eval", str(run)]) == 2
    assert main(["export", str(run), "--torch", str(tmp_path / "w.safetensors")]) == 0
    assert main(["eval", str(run), "--weights-only"]) == 0
    assert "finite           yes" in capsys.readouterr().out
    assert main(["eval", str(run), "--weights-only", "--split", "test"]) == 2


def test_an_export_leaves_devices_links_and_missing_folders_alone(run, tmp_path, capsys):
    target, link, pipe = tmp_path / "target", tmp_path / "link", tmp_path / "pipe"
    target.write_bytes(b"old")
    link.symlink_to(target)
    os.mkfifo(pipe)
    assert main(["export", str(run), "--torch", str(link)]) == 0
    assert link.is_symlink() and len(target.read_bytes()) > 100
    for path, why in ((pipe, "it is no file"), (tmp_path, "it is a folder"), (tmp_path / "a" / "b" / "w", "no folder")):
        assert main(["export", str(run), "--torch", str(path)]) == 2
        assert why in capsys.readouterr().err
    assert pipe.is_fifo() and not (tmp_path / "a").exists()
    assert main(["export", str(run), "--torch", str(tmp_path / "a" / "w")]) == 0
    assert f"the folder {tmp_path / 'a'} was made" in capsys.readouterr().out


# ---------------------------------------------------------------- tables and figures
@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("epoch,train_loss", "train_loss,epoch", 1),
        lambda text: text.replace("\r\n", ",note\r\n"),
        lambda text: text.replace(",", ";"),
        lambda text: text.replace("\r\n1,", "\r\n1,,", 1),
        lambda text: text[: text.index("\r\n2,") + 2],
        lambda text: "a remark\r\n" + text,
    ],
)
def test_metrics_edited_elsewhere_are_refused_and_stay(edit, run, capsys):
    file = run / "metrics.csv"
    edited = edit(file.read_bytes().decode()).encode()
    file.write_bytes(edited)
    assert main(["train", "--resume", str(run), *QUIET]) == 2
    assert "it was edited elsewhere" in capsys.readouterr().err
    assert file.read_bytes() == edited
    file.unlink()  # as it says
    assert main(["train", "--resume", str(run), *QUIET]) == 0


def test_a_byte_order_mark_in_the_metrics_is_no_edit(run):
    file = run / "metrics.csv"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\r\n", b"\n"))
    assert main(["train", "--resume", str(run), *QUIET]) == 0


def test_plots_draw_what_there_is_and_name_what_is_not(run, capsys):
    (run / "confusion.csv").unlink()
    main(["plot", str(run)])
    assert "confusion.csv" in "".join(capsys.readouterr())
    assert len(list((run / "plots").glob("*.png"))) == 5


# ---------------------------------------------------------------- options without effect
@pytest.mark.parametrize(
    "words",
    [
        ["--optimizer", "adam", "--momentum", "2"],
        ["--nesterov"],
        ["--device", "3"],
        ["--decay", "all"],
        ["--conv", "tiled"],
        ["--data-dir", "."],
        ["--stop-after", "9"],
        ["--sync-batch-norm"],
        ["--val-split", "0", "--tested", "best"],
    ],
)
def test_an_option_without_effect_is_refused(words, tmp_path, capsys):
    assert main(["train", *DIGITS, "--epochs", "1", *words, "--out", str(tmp_path / "run")]) == 2
    assert "would have no effect" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_momentum_that_the_schedule_moves_is_told(tmp_path, capsys):
    words = ["train", *DIGITS, "--epochs", "1", "--no-plots", "--optimizer", "sgd", "--momentum", "0.5"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    assert "--momentum 0.5 has no effect: one_cycle moves the momentum" in capsys.readouterr().out.replace("\n", " ")
    assert main([*words, "--schedule", "constant", "--out", str(tmp_path / "b")]) == 0
    assert "no effect" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["info", "--classes", "5"],
        ["info", "--conv"],
        ["plot", "run", "--checkpoint", "last"],
        ["compare", "--report", "x", "--seeds", "3"],
        ["compare", "--report", "x", "--lr", "3"],
        ["compare", "--heads", "softmax", "--momentum", "0.5"],
        ["compare", "--heads", "softmax", "--vary", "device=0,1"],
    ],
)
def test_other_commands_too(words, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert "would have no effect" in capsys.readouterr().err and not list(tmp_path.iterdir())


# ---------------------------------------------------------------- compare
@pytest.mark.parametrize(
    "values",
    ["lr=0.1,foo", "lr=0.1,-1", "optimizer=sgd,foo", "schedule=cosine,x", "data=digits,foo", "augment=none,x",
     "epochs=1,1.5", "epochs=1,foo", "early_stop=1,foo", "limit_train=9,foo", "mixup=1,foo", "momentum=.9,foo",
     "batch_size=8,0", "head.label_smoothing=0.1,2", "head.init=he,foo", "model.hidden=4,x",
     "schedule.pct_start=.1,2", "backend=numpy,foo", "val_split=0.1,1.5", "clip_norm=1,-1", "normalize=half,foo",
     "weight_decay=0,-1", "early_stop=1,0", "threads=1,0", "limit_train=9,0", "mixup=1,-1", "conv=auto,foo"],
)  # fmt: skip
def test_every_value_of_a_sweep_is_checked_before_the_first_run(values, tmp_path, capsys):
    words = ["compare", "--heads", "softmax", "--data", "digits", "--model", "mlp", "--epochs", "1", "--vary", values]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("npsoftmax: error: ") and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_end_of_a_comparison_is_a_table_of_scores_and_times(tmp_path, capsys):
    assert main(["compare", *DIGITS, "--out", str(tmp_path / "out"), "--heads", "softmax", "--epochs", "1"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^row +runs +accuracy % +F1 +NLL +ECE +s/epoch\nsoftmax +1 of 1 +\d", said, re.MULTILINE)


@pytest.mark.parametrize(
    ("heads", "settings", "varied", "refused"),
    [
        ("cosine", {"epochs": 2}, {}, "epochs = 1, and 'cosine' would have 2"),
        ("cosine", {"data": "synthetic100"}, {}, "data = 'digits'"),
        ("cosine", {"model_opts": {"hidden": (5,)}}, {}, r"model_opts.hidden = \[4\]"),
        ("cosine", {}, {}, None),
        ("softmax epochs=2", {"epochs": 2}, {"epochs": 2}, None),
        ("softmax hidden=5", {"model_opts": {"hidden": (5,)}}, {"hidden": 5}, None),
        ("cosine", {"threads": 2, "seed": 5}, {}, None),
        ("e1/softmax", {"recipe": "e1/softmax", "epochs": 9}, {}, None),
    ],
)
def test_rows_of_other_settings_are_refused_unless_their_name_tells(heads, settings, varied, refused, tmp_path):
    plain = {"data": "digits", "model": "mlp", "model_opts": {"hidden": (4,)}, "epochs": 1}
    comparison = Comparison(tmp_path)
    comparison.add([Row("softmax", TrainConfig(**plain), (0,))])
    row = Row(heads, TrainConfig(**plain | {"head": heads.split()[0]} | settings), (0,), varied)
    if refused is None:
        comparison.check_alike([row])
    else:
        with pytest.raises(InputError, match=refused):
            comparison.check_alike([row])


# ---------------------------------------------------------------- info and heads
@pytest.mark.parametrize("head", ["softmax", "cosine", "adaptive", "sampled"])
def test_info_needs_no_memory_for_parameters(head, capsys, recwarn):
    assert main(["info", "--model", "mlp", "--classes", "3000000", "--head", head, "--model-opt", "hidden=4096"]) == 0
    assert re.search(r"total +[\d,]{9,}", capsys.readouterr().out)


@pytest.mark.parametrize("words", [["info", "--model", "resnet9"], ["info", "--model", "vit"], ["heads"]])
def test_tables_fit_80_columns_and_cut_no_name(words, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(words) == 0
    narrow = capsys.readouterr().out
    assert max(len(line.rstrip()) for line in narrow.splitlines()) <= 80
    monkeypatch.setenv("COLUMNS", "200")
    assert main(words) == 0
    wide = capsys.readouterr().out
    names = re.findall(r"^(?:│ |  )(?:│ )?([a-z][\w.]+) ", wide, re.MULTILINE)
    assert names and all(name.strip() in narrow.replace("\n", " \n") for name in names)


# ---------------------------------------------------------------- weights of PyTorch
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "model.", ""])
def test_what_wraps_a_model_in_pytorch_is_taken_off(prefix):
    source, target = (build_model("mlp", "softmax", 10, (4,), seed=seed) for seed in (1, 2))
    load_torch_tensors(target, {prefix + name: array for name, array in torch_tensors(source).items()})
    np.testing.assert_array_equal(target.params["head"]["w"], source.params["head"]["w"])


def test_bfloat16_and_other_names_of_files(tmp_path):
    source, target = (build_model("mlp", "softmax", 10, (4,), seed=seed) for seed in (1, 2))
    header, data = {}, b""
    for name, array in torch_tensors(source).items():
        upper = (np.ascontiguousarray(array).view(np.uint32) >> 16).astype("<u2").tobytes()
        header[name] = {
            "dtype": "BF16",
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(upper)],
        }
        data += upper
    begin = json.dumps(header).encode()
    for name in ("w.safetensors", "w.ckpt", "w.pth"):
        (tmp_path / name).write_bytes(len(begin).to_bytes(8, "little") + begin + data)
        load_torch(target, tmp_path / name)
        np.testing.assert_allclose(target.params["head"]["w"], source.params["head"]["w"], rtol=2**-7)
    for name in ("a.ckpt", "a.pth", "a.pt", "a.bin"):
        (tmp_path / name).write_bytes(b"PK\x03\x04")
        with pytest.raises(InputError, match=r"pickle.*save_file"):
            load_torch(target, tmp_path / name)


def test_a_run_knows_its_classes(run):
    classes, shape = RunDirectory.existing(run).classes()
    assert classes.n == 10 and classes.counts.sum() == 90 and shape == (8, 8, 1)
