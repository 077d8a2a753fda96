"""The command line as a user meets it: output, files and exit codes."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from npsoftmax.cli.main import main

ROOT = Path(__file__).parents[2]
TINY = ["--data", "digits", "--limit-train", "300", "--limit-test", "100", "--model", "mlp", "--model-opt", "hidden=16"]


def train(tmp_path, *words):
    return main(["train", *TINY, "--epochs", "1", "--out", str(tmp_path / "run"), *words])


def test_train_prints_a_row_an_epoch_and_where_everything_is(tmp_path, capsys):
    assert train(tmp_path, "--epochs", "2") == 0
    out = capsys.readouterr().out
    assert "mlp with softmax head" in out and "1/2" in out and "2/2" in out and str(tmp_path / "run") in out
    assert "test (best by validation, epoch" in out


def test_train_leaves_plots(tmp_path):
    assert train(tmp_path, "--quiet") == 0
    names = {p.name for p in (tmp_path / "run" / "plots").iterdir()}
    assert {
        "loss.png",
        "accuracy.png",
        "learning_rate.png",
        "confusion.png",
        "per_class.png",
        "reliability.png",
    } <= names


def test_quiet_prints_nothing(tmp_path, capsys):
    assert train(tmp_path, "--quiet", "--no-plots") == 0
    assert capsys.readouterr().out == ""


def test_plot_draws_again(tmp_path, capsys):
    train(tmp_path, "--quiet", "--no-plots")
    assert main(["plot", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "plots" / "confusion.png").stat().st_size > 10_000


def test_stop_after_then_resume_finishes_the_schedule(tmp_path, capsys):
    assert train(tmp_path, "--epochs", "3", "--stop-after", "1", "--no-plots") == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["epochs"] == 1
    assert main(["train", "--resume", str(tmp_path / "run"), "--no-plots"]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["epochs"] == summary["planned_epochs"] == 3
    assert "resumed" in capsys.readouterr().out


def test_label_smoothing_is_an_option_of_the_head(tmp_path):
    assert train(tmp_path, "--label-smoothing", "0.1", "--quiet", "--no-plots") == 0
    assert "label_smoothing = 0.1" in (tmp_path / "run" / "config.toml").read_text()


def test_the_synthetic_set_is_named_when_it_stands_in(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("NPSOFTMAX_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = ["--limit-train", "200", "--limit-test", "100", "--epochs", "1", "--model", "mlp", "--no-plots"]
    assert main(["train", *words, "--out", str(tmp_path / "run")]) == 0
    assert "--data cifar100" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["dataset"] == "synthetic100"


# What is typed, and what the error must say. {run} is a run that was made, {tmp} an empty folder, {file} a file.
BAD = {
    "unknown head": (["--head", "hierachical"], "Did you mean 'hierarchical'"),
    "unknown model": (["--model", "resnet"], "Did you mean 'resnet9'"),
    "unknown option of the model": (["--model-opt", "hiden=3"], "Did you mean 'hidden'"),
    "option of the wrong type": (["--model-opt", "hidden=many"], "a whole number was expected"),
    "option without a value": (["--head-opt", "bias"], "not of the form key=value"),
    "unknown optimiser": (["--optimizer", "adamm"], "Did you mean 'adam'"),
    "unknown schedule": (["--schedule", "one-cycle"], "Did you mean 'one_cycle'"),
    "unknown data": (["--data", "cifar1000"], "Did you mean 'cifar100'"),
    "no such folder of data": (["--data", "cifar100", "--data-dir", "{tmp}/nowhere"], "nowhere"),
    "a folder without the data": (["--data", "auto", "--data-dir", "{tmp}"], "{tmp}"),
    "features that are no logits": (["--head-opt", "linear=false"], "--model-opt logits=10"),
    "images that the model does not fit": (["--model-opt", "relu_logits=true"], "needs logits=N"),
    "an output folder in use": (["--out", "{run}"], "--resume"),
    "an output folder inside a file": (["--out", "{file}/run"], "Choose a folder"),
    "resume what is no run": (["--resume", "{tmp}"], "is not a run"),
    "resume nothing": (["--resume", "{tmp}/nothing"], "there is no folder"),
    "resume with other settings": (["--resume", "{run}"], "cannot be changed"),
    "no epochs": (["--epochs", "0"], "--epochs is 0"),
    "epochs without end": (["--epochs", "9" * 400], "9, but at most 2**128 - 1 is possible"),
    "no threads": (["--threads", "0"], "--threads is 0"),
    "a learning rate of 0": (["--lr", "0"], "--lr is 0"),
    "an infinite learning rate": (["--lr", "inf"], "--lr is inf"),
    "a momentum of 1": (["--optimizer", "sgd", "--momentum", "1"], "--momentum is 1"),
    "a decay below 0": (["--weight-decay", "-1"], "--weight-decay is -1"),
    "a start of the schedule above 1": (["--schedule-opt", "pct_start=2"], "pct_start of the schedule is 2"),
    "too many steps of muon": (["--optimizer", "muon", "--muon-steps", "51"], "--muon-steps is 51"),
    "clipping to 0": (["--clip-norm", "0"], "--clip-norm is 0"),
    "stopping after 0 epochs": (["--early-stop", "0"], "--early-stop is 0"),
    "a temperature of 0": (["--head-opt", "temperature=0"], "temperature is 0"),
    "smoothing of 1": (["--label-smoothing", "1"], "label_smoothing is 1"),
    "too much validation": (["--val-split", "1.5"], "1.5"),
    "too many images held out": (["--calibration-split", "1.5"], "1.5"),
    "too many images": (["--limit-train", "1000000"], "1000000"),
    "unknown normalisation": (["--normalize", "standart"], "Did you mean 'standard'"),
    "unknown augmentation": (["--augment", "flipp"], "Did you mean 'flip'"),
    "unknown backend": (["--backend", "cuppy"], "Did you mean 'cupy'"),
}  # fmt: skip


# of them, those that are told before any data is read, which may take minutes
BEFORE_DATA = ["unknown optimiser", "unknown schedule", "a momentum of 1", "a decay below 0", "unknown normalisation",
               "unknown augmentation", "a start of the schedule above 1", "too many steps of muon", "unknown head",
               "unknown model", "unknown option of the model", "option of the wrong type", "too much validation",
               "too many images held out", "an output folder in use"]  # fmt: skip
# and these where it is known beforehand how many classes the data has
OF_KNOWN_CLASSES = ["a temperature of 0", "smoothing of 1", "images that the model does not fit"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Paths that the bad words name."""
    tmp = tmp_path_factory.mktemp("bad")
    (tmp / "empty").mkdir()
    (tmp / "file").write_text("x")
    assert main(["train", *TINY, "--epochs", "1", "--quiet", "--no-plots", "--out", str(tmp / "run")]) == 0
    return {"run": tmp / "run", "tmp": tmp / "empty", "file": tmp / "file"}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line_and_exit_code_2(name, made, capsys, tmp_path):
    words, said = BAD[name]
    words = [word.format(**made) for word in words]
    start = [] if "--resume" in words and name != "resume with other settings" else TINY
    if "--out" not in words and "--resume" not in words:
        words += ["--out", str(tmp_path / "out")]
    assert main(["train", *start, *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("npsoftmax: error: ") and error.count("\n") == 1
    assert said.format(**made) in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("data", "name"),
    [("cifar100", name) for name in BEFORE_DATA + OF_KNOWN_CLASSES] + [("folder", name) for name in BEFORE_DATA],
)
def test_what_no_data_could_make_right_is_told_before_data_is_looked_for(data, name, made, tmp_path, capsys):
    (words, said), nowhere = BAD[name], str(tmp_path / "nowhere")
    words = [word.format(**made) for word in words]
    where = ["--data-dir", nowhere] if data == "cifar100" else []
    data = data if where else f"{data}:{nowhere}"
    assert main(["train", "--data", data, *where, "--model", "mlp", *words]) == 2
    printed = capsys.readouterr()
    assert said in printed.err and "nowhere" not in printed.err and not printed.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--head-opt", "temperature=0"], "temperature is 0"),
        (["--head-opt", "class_weight=1,2"], "one weight for each of 3 classes"),
        (["--model", "whitened_resnet", "--image-size", "8"], "at least 9x9 pixels"),
        (["--model", "convnet", "--conv", "fft"], "unknown convolution algorithm 'fft'"),
        (["--model", "vit", "--attention", "softmin"], "unknown attention mapping 'softmin'"),
        (["--image-sizes", "5:x"], "--image-sizes"),
        (["--image-size", "1025"], "--image-size is 1025"),
    ],
)
def test_no_image_of_a_folder_is_read_for_settings_that_its_classes_and_size_refute(words, said, tmp_path, capsys):
    for name in ("ash", "elm", "oak"):
        (tmp_path / "trees" / name).mkdir(parents=True)
        (tmp_path / "trees" / name / "1.png").write_text("no picture")
    assert main(["train", "--data", f"folder:{tmp_path / 'trees'}", "--model", "mlp", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "model", "said"),
    [("folder:nowhere", "token_mlp", "try --data stdlib_tokens"), ("stdlib_tokens", "mlp", "try --model token_mlp")],
)
def test_a_model_for_other_data_is_refused_before_data_is_looked_for(data, model, said, monkeypatch, capsys):
    monkeypatch.setattr("npsoftmax.training.session.load_dataset", lambda *_, **__: pytest.fail("data was read"))
    assert main(["train", "--data", data, "--model", model, "--augment", "none"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="CuPy is installed here")
def test_cupy_without_cupy_says_what_to_install(tmp_path, capsys):
    assert train(tmp_path, "--backend", "cupy") == 2
    assert 'pip install "npsoftmax[cuda12]"' in capsys.readouterr().err


def test_info_says_what_is_in_use(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for word in ("kernels", "blas", "threads", "numpy", "hierarchical", "resnet9"):
        assert word in out


def test_info_draws_a_model_with_its_numbers(capsys):
    assert main(["info", "--model", "resnet9"]) == 0
    out = capsys.readouterr().out
    assert "6,621,540" in out and "379,308,032" in out and "32x32x64" in out
    assert out.count("├─╮") == out.count("⊕─╯") == 2


def test_info_takes_the_options_of_a_published_wiring(capsys):
    words = [
        "--model-opt",
        "widths=6,8,10",
        "--model-opt",
        "fc=200",
        "--model-opt",
        "logits=100",
        "--model-opt",
        "relu_logits=true",
    ]
    assert main(["info", "--model", "convnet", *words, "--head-opt", "linear=false"]) == 0
    assert "53,638" in capsys.readouterr().out


def test_help_prints_every_default(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert stop.value.code == 0
    for text in (
        "--clip-value",
        "--stop-after",
        "(default: one_cycle)",
        "(default: 128)",
        "(default: 0.003)",
        "--model-opt",
    ):
        assert text in out


def test_the_example_is_the_train_command(tmp_path):
    command = [
        sys.executable,
        str(ROOT / "examples" / "train_cifar100.py"),
        *TINY,
        "--epochs",
        "1",
        "--head",
        "hierarchical",
    ]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        env={**os.environ, "MPLBACKEND": "Agg"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["head"] == "hierarchical"


def test_output_to_a_file_has_no_control_characters(tmp_path):
    command = [sys.executable, "-m", "npsoftmax.cli.main", "train", *TINY, "--epochs", "1", "--no-plots"]
    done = subprocess.run([*command, "--out", str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout and "\r" not in done.stdout
