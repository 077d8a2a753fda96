"""Odd consoles, closed outputs, folders that are gone, names without an end: each works or gets its own sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from everyday import slow

import npsoftmax
from npsoftmax.cli.main import main

COMMAND = (sys.executable, "-m", "npsoftmax.cli.main")
QUICK = ("--data", "digits", "--model", "mlp", "--model-opt", "hidden=4", "--limit-train", "100", "--limit-test", "50")
QUICK = (*QUICK, "--epochs", "1", "--quiet", "--no-plots")


def train(out, *words):
    return main(["train", *QUICK, *words, f"--out={out}"])


def typed(*words, **options):
    environment = {**os.environ, **options.pop("env", {})}
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, env=environment, timeout=60, **options)


# ---------------------------------------------------------------- consoles
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_console_without_a_character_gets_question_marks(encoding):
    done = subprocess.run(
        [*COMMAND, "compare", "--list"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        timeout=60,
    )
    assert done.returncode == 0 and b"?" in done.stdout and not done.stderr


def test_a_closed_output_is_no_error():
    done = subprocess.run(["bash", "-c", f"{' '.join(COMMAND)} heads softmax >&-"], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_reader_that_has_gone_ends_it_without_a_traceback():
    words = f"{' '.join(COMMAND)} heads | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 141) and done.stderr == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_an_output_that_takes_nothing_is_told():
    done = subprocess.run(
        ["bash", "-c", f"{' '.join(COMMAND)} heads softmax >/dev/full"], capture_output=True, text=True
    )
    assert done.returncode == 2 and "No space left" in done.stderr and "Traceback" not in done.stderr


def test_the_backend_of_a_notebook_does_not_matter(tmp_path):
    table = "epoch,train_loss,train_accuracy,val_loss,val_accuracy\n1,2,0.5,2,0.5\n"
    (tmp_path / "metrics.csv").write_text(table)
    done = typed("plot", str(tmp_path), env={"MPLBACKEND": "module://no_such_package.backend_inline"})
    assert done.returncode == 0 and "loss.png" in done.stdout


# ---------------------------------------------------------------- paths
def test_a_tilde_is_the_home_folder(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert train("~/run") == 0
    assert (tmp_path / "home" / "run" / "summary.json").is_file() and not (tmp_path / "~").exists()
    assert main(["eval", "~/run"]) == 0
    assert main(["train", "--resume=~/run", "--quiet", "--no-plots"]) == 0


@pytest.mark.parametrize(
    "words", [["train", *QUICK, "--out", "NAME"], ["eval", "NAME"], ["plot", "NAME"], ["compare", "--report", "NAME"]]
)
def test_a_name_without_an_end(words, capsys):
    assert main([word.replace("NAME", 300 * "x") for word in words]) == 2
    error = capsys.readouterr().err
    assert "a name of 300 characters is too long" in error and 300 * "x" not in error


def test_a_folder_that_was_deleted(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"cd {gone}; rmdir {gone}; {' '.join(COMMAND)} train {' '.join(QUICK)}"
    env = {**os.environ, "PYTHONPATH": str(Path(npsoftmax.__file__).parents[1])}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 2 and "cd to another one" in done.stderr and "Traceback" not in done.stderr


def test_a_byte_order_mark_before_settings(tmp_path):
    assert train(tmp_path / "run") == 0
    settings = tmp_path / "settings.toml"
    settings.write_bytes(b"\xef\xbb\xbf" + (tmp_path / "run" / "config.toml").read_bytes())
    assert main(["train", "--config", str(settings), f"--out={tmp_path / 'again'}", "--quiet", "--no-plots"]) == 0


def test_a_thousand_threads(tmp_path, capsys):
    assert train(tmp_path / "run", "--threads", "1000") == 2
    assert "this machine has" in capsys.readouterr().err


# ---------------------------------------------------------------- what was typed
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--epocs", "3"], r"unknown option --epocs. Did you mean --epochs"),
        (["trian"], r"unknown command 'trian'. Did you mean 'train'"),
        (
            ["train", "--limit-train", "0.5"],
            "--limit-train: '0.5' was given, but a whole number (a count, no fraction)",
        ),
        (["train", "--val-split", "half"], "a fraction such as 0.2, or a count such as 500, was expected"),
        (["data", "downlaod", "cifar10"], "downlaod"),
        (["eval", "run", "again"], "'again' is one word too many"),
        (["data", "verify", "cifar10", "--datadir", "x"], "unknown option --datadir. Did you mean --data-dir?"),
    ],
)
def test_a_mistake_has_its_sentence_and_a_line_on_help(words, message, capsys):
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    error = capsys.readouterr().err
    assert code == 2 and message in error
    assert len(error.splitlines()) <= 2 and "usage" not in error


def test_images_to_hold_out_are_a_fraction_or_a_count(tmp_path, capsys):
    for number, (split, count) in enumerate([("30", 30), ("0.25", 25), ("0", None)]):
        assert train(tmp_path / str(number), "--val-split", split) == 0
        if count:
            assert main(["eval", str(tmp_path / str(number)), "--split", "validation"]) == 0
            assert f"{count} validation images of digits" in capsys.readouterr().out


# ---------------------------------------------------------------- Ctrl-C
@pytest.mark.parametrize("name", ["SIGTERM", *slow(("SIGINT", "SIGHUP"))])
def test_a_signal_saves_and_is_told_by_the_exit_code(name, tmp_path):
    run, number = tmp_path / "run", getattr(signal, name)
    words = ["train", "--data", "digits", "--model", "mlp", "--model-opt", "hidden=4", "--epochs", "100000"]
    process = subprocess.Popen(
        [*COMMAND, *words, "--limit-test", "50", "--no-plots", "--out", str(run)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # nohup, for one, has it ignored, and so do we then
    )  # fmt: skip
    while not (run / "metrics.csv").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, said
    assert "interrupted: saved at step" in said and f"npsoftmax train --resume {run}" in said
    assert (run / "checkpoints" / "last.safetensors").is_file() and (run / "summary.json").is_file()


def test_ctrl_c_while_it_loads_is_no_traceback():
    code = "import signal, npsoftmax.cli.main as m\n"
    code += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # shells ignore it for what runs behind them
    code += "m.run_program(lambda word: signal.raise_signal(signal.SIGINT), ['train'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "npsoftmax: interrupted\n")


def test_a_system_that_starts_no_thread_is_told(monkeypatch, tmp_path, capsys):
    def none(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    assert main(["train", "--data=digits", "--epochs=1", "--limit-train=64", "--out", str(tmp_path / "run")]) == 2
    assert "the system starts none: a browser's Python has no threads" in capsys.readouterr().err
