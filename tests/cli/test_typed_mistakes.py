"""Plausible mistakes on the command line, each with the sentence that helps; and what commands must not do silently."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from npsoftmax.cli.main import main

DIGITS = ("--data", "digits", "--model", "mlp", "--model-opt", "hidden=4", "--limit-train", "100", "--limit-test", "50")
QUIET = ("--epochs", "1", "--quiet", "--no-plots")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = tmp_path_factory.mktemp("mistakes") / "run"
    assert main(["train", *DIGITS, *QUIET, "--out", str(run)]) == 0
    return run


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(finished, tmp_path / "run")


def refused(words, capsys):
    """What a command says that ends with 2."""
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    assert code == 2, said
    return said.err


# ---------------------------------------------------------------- names and numbers
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "--learning-rate", "0.1"], "unknown option --learning-rate. Did you mean --lr?"),
        (["train", "-e", "3"], "unknown option -e. Did you mean --epochs?"),
        (["train", "--lr", "0,01"], "'0,01' was given, but a number, such as 0.01, was expected"),
        (["train", "--lr", "1%"], "a number, such as 0.01, was expected"),
        (["train", "--lr", "fast"], "'fast' was given, but a number was expected"),
        (["train", "--epochs", "1e3"], "a whole number, such as 1000, was expected"),
        (["train", "--batch-size", "32.0"], "a whole number, such as 32, was expected"),
        (["train", "--val-split", "10%"], "a fraction such as 0.1, or a count"),
        (["train", "--optimizer", "SGD", *DIGITS], "Did you mean 'sgd'"),
        (["train", "--data", "CIFAR100"], "Did you mean 'cifar100'"),
        (["--epochs", "3", "train"], "the command comes first; type npsoftmax train …"),
        (["compare", "--heads", "softmax", "cosine"], "'cosine' is a head; type --heads softmax,cosine."),
        (["compare", "softmax", "cosine"], "'softmax' is a head; type --heads softmax,cosine."),
        (["compare", "--head", "softmax"], "takes --heads, with commas"),
        (["compare", "--heads", "softmax,softmax"], "--heads has softmax twice; for several runs of it, type --seeds"),
        (["compare", "--heads", "softmax", "--vary", "lr=0.1,0.1"], "--vary lr has 0.1 twice"),
        (["compare", "--heads", "softmax", "--vary", "seed=1,2"], "every row has its seeds. Type --seeds 2"),
        (["train", "--out", "", *DIGITS, *QUIET], "--out is empty"),
    ],
)
def test_a_plausible_mistake(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in refused(words, capsys)
    assert not list(tmp_path.iterdir())


def test_help_is_a_word_too(capsys):
    with pytest.raises(SystemExit) as end:
        main(["help"])
    assert end.value.code == 0 and "make a run of weights" in capsys.readouterr().out


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_help_that_nobody_gets_is_told():
    command = f"{sys.executable} -m npsoftmax.cli.main train --help >/dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "No space left" in done.stderr


def test_a_name_that_is_too_long_is_measured_in_bytes(capsys, tmp_path):
    assert "a name of 130 characters, 260 bytes, is too long" in refused(
        ["train", *DIGITS, *QUIET, "--out", str(tmp_path / ("é" * 130))], capsys
    )


# ---------------------------------------------------------------- files and folders
def test_what_is_no_run_is_not_to_be_resumed(run, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("x")
    for name, said in (("file", "--out file is a file. Choose another name."), ("notes", "Choose another name.")):
        error = refused(["train", *DIGITS, *QUIET, "--out", name], capsys)
        assert said in error and "--resume" not in error
    assert "--resume run to continue that run" in refused(["train", *DIGITS, *QUIET, "--out", "run"], capsys)
    assert "run/config.toml is a file; give its folder, run." in refused(["eval", "run/config.toml"], capsys)


def test_a_comparison_leaves_the_folder_of_a_run_alone(run, capsys):
    before = sorted(run.iterdir())
    assert "is the folder of a run" in refused(
        ["compare", "--heads", "softmax", *DIGITS, "--epochs", "1", "--out", "run"], capsys
    )
    assert sorted(run.iterdir()) == before


@pytest.mark.parametrize("coding", ["utf-16", "utf-8-sig"])
def test_settings_in_the_codings_of_windows(run, coding, tmp_path):
    text = (run / "config.toml").read_text(encoding="utf-8")
    (tmp_path / "settings.toml").write_text(text.replace("\n", "\r\n"), encoding=coding, newline="")
    assert main(["train", "--config", "settings.toml", "--out", "again", "--quiet", "--no-plots"]) == 0
    assert (tmp_path / "again" / "summary.json").is_file()


def test_what_is_no_file_of_weights_is_said(run, capsys):
    assert "run is a folder, but a file of weights" in refused(["import", "run", *DIGITS, "--out", "i"], capsys)
    assert "is no safetensors file" in refused(["import", "run/config.toml", *DIGITS, "--out", "i"], capsys)
    assert "there is no checkpoint nope" in refused(["import", "nope", *DIGITS, "--out", "i"], capsys)


def test_tables_and_json_that_are_none_are_said(run, capsys):
    (run / "metrics.csv").write_bytes(b"\xff\xfe")
    assert "metrics.csv cannot be read as a CSV file in UTF-8" in refused(["plot", "run"], capsys)
    (run / "summary.json").write_text("null")
    assert "summary.json holds null; expected a JSON object" in refused(["plot", "run"], capsys)


def test_a_folder_of_data_that_nothing_reads_is_refused(run, capsys):
    assert "--data-dir would have no effect" in refused(["eval", "run", "--data-dir", "nope"], capsys)


def test_an_export_into_a_pipe_is_no_file(run):
    command = f"{sys.executable} -m npsoftmax.cli.main export run --torch /dev/stdout | cat"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, cwd=run.parent)
    assert "cannot write /dev/stdout (it is no file)" in done.stderr


# ---------------------------------------------------------------- Ctrl-C
@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_ctrl_c_while_python_imports_is_no_traceback():
    code = "import runpy, sys, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "sys.argv = ['npsoftmax', 'heads']\nimport npsoftmax.cli\nsignal.raise_signal(signal.SIGINT)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode in (-signal.SIGINT, 130) and done.stderr == "npsoftmax: interrupted\n"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_a_comparison_that_ends_before_its_first_run_says_how_to_go_on(tmp_path):
    words = [sys.executable, "-m", "npsoftmax.cli.main", "compare", "--heads", "softmax,cosine", *DIGITS]
    process = subprocess.Popen(
        [*words, "--epochs", "100000", "--out", "both"], stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    metrics = tmp_path / "both" / "softmax" / "seed-0" / "metrics.csv"
    for _ in range(600):
        if metrics.exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.SIGTERM
    assert error.endswith("interrupted: the runs are saved; type the same command again to go on.\n")
    assert "error" not in error
