"""What the plots know of a run: the files in its directory, read and checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax import html
from npsoftmax.errors import InputError
from npsoftmax.files import read_json
from npsoftmax.metrics import CONFUSION_CLASSES, read_columns, read_confusion, read_reliability
from npsoftmax.set_metrics import read_labels

Columns = dict[str, np.ndarray]

EPOCH_COLUMNS = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy")
STEP_COLUMNS = ("step", "loss", "learning_rate", "momentum")
FILES = ("metrics.csv", "steps.csv", "confusion.csv", "classes.json", "reliability.csv")


SHOWN = 10  # epochs of a run in a notebook: its last


@dataclass(frozen=True)
class Run:
    """What the files of a run directory hold; empty where there is no such file (yet)."""

    name: str
    summary: dict[str, Any]
    epochs: Columns
    steps: Columns
    confusion: np.ndarray  # (C, C)
    reliability: Columns
    names: list[str]  # of the C classes
    coarse: np.ndarray | None  # (C,) the superclass of each class
    coarse_names: list[str]
    calibration: dict[str, Any] = field(default_factory=dict)  # what npsoftmax calibrate found
    conformal: dict[str, Any] = field(default_factory=dict)  # what npsoftmax conform found
    missing: tuple[str, ...] = ()  # the files that a finished run has, and this one has not (yet)
    labels: Columns = field(default_factory=dict)  # where images have sets of them; then there is no confusion
    label_names: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """dataset · model · head · test accuracy, and whether a recipe was shortened."""
        if not self.summary:
            epochs = len(self.epochs.get("epoch", ()))
            return f"{self.name} · unfinished" + (
                f", {epochs} epoch{'' if epochs == 1 else 's'} so far" if epochs else ""
            )
        parts = [str(self.summary[key]) for key in ("dataset", "model", "head") if self.summary.get(key)]
        accuracy = (self.summary.get("test") or {}).get("accuracy")
        if accuracy is not None:
            parts.append(f"test accuracy{' of sets' if self.labels else ''} {accuracy:.2%}")
        if self.summary.get("interrupted"):
            done, planned = self.summary.get("epochs"), self.summary.get("planned_epochs")
            parts.append(f"interrupted after {done} of {planned} epochs")
        if self.summary.get("shortened"):
            parts.append(f"{self.summary['recipe']} SHORTENED: {self.summary['shortened']}")
        return " · ".join(parts)

    def _repr_html_(self) -> str:
        test = self.summary.get("test") or {}
        rows = [(name, f"{value:.4g}") for name, value in test.items() if isinstance(value, int | float)]
        columns = [name for name in self.epochs if not np.isnan(self.epochs[name]).all()]
        last = [[f"{self.epochs[name][i]:.4g}" for name in columns] for i in range(-min(SHOWN, self._done()), 0)]
        parts = [html.table(("on the test set", ""), rows)] if rows else []
        return html.titled(self.title, *parts, html.table(columns, last) if last else "")

    def _done(self) -> int:
        return len(self.epochs.get("epoch", ()))


def read_run(run_dir: Path) -> Run:
    """The files of a run directory, checked; what is not there is empty, and named in `missing`.

    InputError where the directory is no run, or a file in it is malformed.
    """
    folder = Path(run_dir)
    if not any((folder / name).is_file() for name in ("config.toml", "summary.json", *FILES)):
        raise InputError(
            f"{folder} is not a run: it has no config.toml and no metrics.csv. "
            "Give the directory that npsoftmax train wrote."
        )
    summary = _read_summary(folder / "summary.json") if (folder / "summary.json").exists() else {}
    missing = []

    def read(name: str, reader: Callable[[Path], Any], empty: Any, expected: bool = True) -> Any:
        if _begun(folder / name):
            return reader(folder / name)
        if expected:
            missing.append(name)
        return empty

    epochs = read("metrics.csv", lambda path: read_columns(path, EPOCH_COLUMNS), {})
    steps = read("steps.csv", lambda path: read_columns(path, STEP_COLUMNS), {})
    sets = _has_sets(folder, summary)
    labels, label_names = read("labels.csv", read_labels, ({}, []), sets)
    confusable = summary.get("classes", 0) <= CONFUSION_CLASSES and not sets
    confusion, names = read("confusion.csv", read_confusion, (np.zeros((0, 0), dtype=np.int64), []), confusable)
    coarse, coarse_names = read("classes.json", lambda path: _read_coarse(path, names), (None, []))
    # A head without log-probabilities has no calibration: its finished run has no reliability.csv.
    calibrated = not sets and (not summary or (summary.get("test") or {}).get("ece") is not None)
    reliability = read("reliability.csv", read_reliability, {}, calibrated)
    calibration = read("calibration.json", _read_fitted, {}, False)
    conformal = read("conformal.json", _read_fitted, {}, False)
    return Run(
        folder.resolve().name,
        summary,
        epochs,
        steps,
        confusion,
        reliability,
        names,
        coarse,
        coarse_names,
        calibration,
        conformal,
        tuple(missing),
        labels,
        label_names,
    )


def _read_fitted(path: Path) -> dict[str, Any]:
    """What calibrate or conform wrote. InputError where it has no figures of the test images."""
    found = read_json(path)
    needed = {"calibration": ("test", "reliability", "temperature"), "conformal": ("test", "coverage")}[path.stem]
    if any(name not in found for name in needed) or not isinstance(found["test"], dict):
        raise InputError(f"{path} has no {', '.join(needed)}; fit it again or move it away.")
    return found


def _has_sets(folder: Path, summary: dict[str, Any]) -> bool:
    """Whether the images of the run have sets of labels."""
    if summary:
        return summary.get("label_sets") is True
    return (folder / "classes.json").is_file() and read_json(folder / "classes.json").get("label_sets") is True


def _begun(path: Path) -> bool:
    """Whether there is such a file with anything in it: of a table, a whole first line."""
    if not (path.suffix == ".csv" and path.is_file()):
        return path.exists()
    with open(path, "rb") as file:
        first = file.readline()
    return first.endswith(b"\n") or not first.isascii()  # what is no text is for the reader to refuse


def _read_summary(path: Path) -> dict[str, Any]:
    summary = read_json(path)
    test, classes = summary.get("test") or {}, summary.get("classes", 0)
    if not isinstance(test, dict) or type(test.get("accuracy", 0.0)) is not float or type(classes) is not int:
        raise InputError(f"{path} is no summary of a run: it has no number of classes or no accuracy.")
    return summary


def _read_coarse(path: Path, names: list[str]) -> tuple[np.ndarray | None, list[str]]:
    """(superclass of each class or None, superclass names); `names`: the confusion matrix's, if any."""
    content = read_json(path)
    coarse, coarse_names = content.get("coarse"), content.get("coarse_names")
    if coarse is None or coarse_names is None:
        return None, []
    if not all(isinstance(value, list) for value in (coarse, coarse_names, content.get("names", []))):
        raise InputError(f"{path}: names, coarse and coarse_names must be lists.")
    n_classes, n_groups = len(names or content.get("names", [])), len(coarse_names)
    if len(coarse) != n_classes or not all(isinstance(c, int) and 0 <= c < n_groups for c in coarse):
        raise InputError(f"{path}: coarse must be {n_classes} numbers from 0 to {n_groups - 1}, one a class.")
    return np.array(coarse, dtype=np.int64), [str(name) for name in coarse_names]
