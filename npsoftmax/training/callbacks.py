"""Who hears of a run as it goes: programs of your own, other programs (JSON lines), TensorBoard."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TextIO

from npsoftmax.errors import InputError
from npsoftmax.training.checkpoint import finite
from npsoftmax.training.run_directory import RunDirectory
from npsoftmax.training.session import Session


class Callback:
    """Hears of a run; every method does nothing until you override it. `Trainer(…, callbacks=[yours])`.

    They are called in the first process of a group, between steps, and may look but not change. What one raises ends
    the run as any error does: what was saved before is kept.
    """

    def begin(self, session: Session, run: RunDirectory) -> None:
        """Before the first step of this process, whether the run is new or resumed."""

    def steps(self, rows: list[dict[str, Any]]) -> None:
        """Rows that were just added to steps.csv: step, loss, learning_rate, momentum."""

    def epoch(self, row: dict[str, Any]) -> None:
        """The row that was just added to metrics.csv: epoch, train_loss, train_accuracy, val_loss, val_accuracy, …"""

    def end(self, summary: dict[str, Any]) -> None:
        """After the test, with what summary.json says."""


class JsonLines(Callback):
    """Writes a line of JSON for each event, at once: {"event": "begin" | "step" | "epoch" | "note" | "end", …}.

    Numbers that are not finite are null.
    """

    def __init__(self, stream: TextIO | None = None):
        self.stream = sys.stdout if stream is None else stream

    def begin(self, session: Session, run: RunDirectory) -> None:
        config = session.config
        self.write(
            "begin",
            run=str(run.path),
            data=config.data,
            model=config.model,
            head=config.head,
            parameters=session.model.parameter_count(),
            epochs=config.epochs,
            steps_per_epoch=len(session.train),
            train_images=session.train_images,
        )

    def steps(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            self.write("step", **row)

    def epoch(self, row: dict[str, Any]) -> None:
        self.write("epoch", **row)

    def note(self, text: str) -> None:
        """What a person would be told."""
        self.write("note", text=text)

    def end(self, summary: dict[str, Any]) -> None:
        self.write("end", **summary)

    def write(self, event: str, **values: Any) -> None:
        """One line."""
        self.stream.write(json.dumps({"event": event, **finite(values)}) + "\n")
        self.stream.flush()


class TensorBoard(Callback):
    """Writes RUN/tensorboard: loss and rate of the steps, losses and accuracies of the epochs, scores of the test."""

    def begin(self, session: Session, run: RunDirectory) -> None:
        try:
            from tensorboard.summary import Writer
        except ImportError as error:
            raise InputError(
                '--tensorboard needs the package, which is not installed; type pip install "npsoftmax[tensorboard]".'
            ) from error
        self.folder: Path = run.path / "tensorboard"
        self._writer: Any = Writer(str(self.folder))
        self._per_epoch = len(session.train)

    def steps(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            self._add("step", row, ("loss", "learning_rate", "momentum"), row["step"])

    def epoch(self, row: dict[str, Any]) -> None:
        names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds")
        self._add("epoch", row, names, row["epoch"])
        self._writer.flush()

    def end(self, summary: dict[str, Any]) -> None:
        self._add("test", summary["test"], tuple(summary["test"]), summary["epochs"])
        self._writer.close()

    def _add(self, group: str, values: dict[str, Any], names: tuple[str, ...], at: int) -> None:
        for name in names:
            if isinstance(values[name], int | float):
                self._writer.add_scalar(f"{group}/{name}", values[name], at)
