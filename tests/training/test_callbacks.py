"""What other programs hear of a run: callbacks, lines of JSON, TensorBoard."""

from __future__ import annotations

import csv
import json

import pytest

from npsoftmax.cli.main import main
from npsoftmax.errors import InputError
from npsoftmax.training import Callback, Progress, RunDirectory, TrainConfig, Trainer, finish_run, prepare

COMMAND = ["train", "--data", "digits", "--limit-train", "300", "--model", "mlp", "--log-every", "2", "--no-plots"]


def lines_of(text):
    return [json.loads(line) for line in text.splitlines()]


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


class Listener(Callback):
    def __init__(self):
        self.heard = []

    def begin(self, session, run):
        self.heard.append(("begin", run.path.name))

    def steps(self, rows):
        self.heard += [("step", row["step"]) for row in rows]

    def epoch(self, row):
        self.heard.append(("epoch", row["epoch"]))


def trainer_of(tmp_path, *callbacks, epochs=2):
    config = TrainConfig(data="digits", limit_train=300, model="mlp", epochs=epochs, log_every=2)
    session, run = prepare(config), RunDirectory(tmp_path / "run")
    run.describe(session.config, session.dataset, session.train.normalize, session.backend)
    return session, run, Trainer(session, run, Progress(epochs, quiet=True), callbacks=callbacks)


def test_a_callback_hears_of_everything_in_order(tmp_path):
    listener = Listener()
    session, run, trainer = trainer_of(tmp_path, listener)
    finish_run(session, run, trainer.fit())
    steps = [("step", int(row["step"])) for row in table(run.steps_file)]
    first = [step for step in steps if step[1] <= 3]
    assert listener.heard == [("begin", "run"), *first, ("epoch", 1), *steps[len(first) :], ("epoch", 2)]


def test_what_a_callback_raises_ends_the_run_and_nothing_is_lost(tmp_path):
    class Failing(Callback):
        def epoch(self, row):
            raise InputError("enough")

    _, run, trainer = trainer_of(tmp_path, Failing())
    with pytest.raises(InputError, match="enough"):
        trainer.fit()
    assert main(["train", "--resume", str(run.path), "--quiet", "--no-plots"]) == 0
    assert [row["epoch"] for row in table(run.metrics_file)] == ["1", "2"]


def test_json_lines(tmp_path, capsys):
    assert main([*COMMAND, "--epochs", "2", "--json-lines", "--out", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    lines = lines_of(out)
    assert "NaN" not in out and {line["event"] for line in lines} == {"note", "begin", "step", "epoch", "end"}
    (begin,) = [line for line in lines if line["event"] == "begin"]
    assert begin["run"] == str(tmp_path / "run") and begin["epochs"] == 2 and begin["train_images"] == 270
    rows = table(tmp_path / "run" / "metrics.csv")
    epochs = [line for line in lines if line["event"] == "epoch"]
    assert [f"{line['train_loss']:.6g}" for line in epochs] == [row["train_loss"] for row in rows]
    (end,) = [line for line in lines if line["event"] == "end"]
    assert end["test"] == json.loads((tmp_path / "run" / "summary.json").read_text())["test"]
    assert any(line["text"].startswith("everything is in") for line in lines if line["event"] == "note")


def test_json_lines_of_a_resumed_run(tmp_path, capsys):
    assert main([*COMMAND, "--epochs", "2", "--stop-after", "1", "--quiet", "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    assert main(["train", "--resume", str(tmp_path / "run"), "--json-lines", "--no-plots"]) == 0
    assert [line["epoch"] for line in lines_of(capsys.readouterr().out) if line["event"] == "epoch"] == [2]


def test_json_lines_are_not_quiet(capsys):
    with pytest.raises(SystemExit) as ended:
        main([*COMMAND, "--json-lines", "--quiet"])
    assert ended.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_tensorboard(tmp_path):
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert main([*COMMAND, "--epochs", "2", "--quiet", "--tensorboard", "--out", str(tmp_path / "run")]) == 0
    events = reading.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    rows = table(tmp_path / "run" / "metrics.csv")
    tensors = events.Tensors("epoch/val_accuracy")
    assert [event.step for event in tensors] == [1, 2]
    found = [float(event.tensor_proto.float_val[0]) for event in tensors]
    assert found == pytest.approx([float(row["val_accuracy"]) for row in rows], abs=1e-5)
    steps = [event.step for event in events.Tensors("step/loss")]
    assert steps == [int(row["step"]) for row in table(tmp_path / "run" / "steps.csv")]


def test_without_tensorboard_it_is_said_what_to_type(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorboard.summary", None)
    assert main([*COMMAND, "--epochs", "1", "--tensorboard", "--out", str(tmp_path / "run")]) == 2
    assert 'pip install "npsoftmax[tensorboard]"' in capsys.readouterr().err
