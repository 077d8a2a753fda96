"""The figures of a run, drawn from the files in its directory and from nothing else.

Design: every figure is a function of a `Run` that returns a matplotlib `Figure`; `plot_run` reads, draws and
saves. No pyplot: it keeps figures in global state, and training may draw while its caller has plots of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from npsoftmax.files import replacing
from npsoftmax.plots.calibration import calibrated_figure, reliability_figure
from npsoftmax.plots.classes import confusion_figure, per_class_figure
from npsoftmax.plots.curves import (
    accuracy_figure,
    learning_rate_figure,
    loss_figure,
    running_mean,
    steps_figure,
)
from npsoftmax.plots.labels import labels_figure
from npsoftmax.plots.run_files import Run, read_run
from npsoftmax.plots.sets import set_sizes_figure
from npsoftmax.plots.style import DPI, FORMATS, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "DPI",
    "FIGURES",
    "FORMATS",
    "Run",
    "accuracy_figure",
    "calibrated_figure",
    "confusion_figure",
    "draw_run",
    "labels_figure",
    "learning_rate_figure",
    "loss_figure",
    "not_drawn",
    "per_class_figure",
    "plot_run",
    "read_run",
    "reliability_figure",
    "running_mean",
    "set_sizes_figure",
    "steps_figure",
]

FIGURES: dict[str, tuple[Callable[[Run], Figure], str]] = {  # name -> function, the part of a Run it needs
    "loss": (loss_figure, "epochs"),
    "accuracy": (accuracy_figure, "epochs"),
    "learning_rate": (learning_rate_figure, "steps"),
    "steps": (steps_figure, "steps"),
    "confusion": (confusion_figure, "confusion"),
    "per_class": (per_class_figure, "confusion"),
    "reliability": (reliability_figure, "reliability"),
    "labels": (labels_figure, "labels"),
    "calibrated": (calibrated_figure, "calibration"),
    "set_sizes": (set_sizes_figure, "conformal"),
}


NEEDS = {"epochs": "metrics.csv", "steps": "steps.csv", "confusion": "confusion.csv", "reliability": "reliability.csv"}
NEEDS |= {"labels": "labels.csv"}
NEEDS |= {"calibration": "calibration.json", "conformal": "conformal.json"}  # of those who ask for it


def plot_run(run_dir: Path, form: str = "png") -> list[Path]:
    """Draw every figure of a run into `run_dir`/plots, as one of FORMATS, and return the paths.

    A figure whose file is missing is left out. InputError where `run_dir` is no run, or a file is malformed.
    """
    return draw_run(read_run(run_dir), Path(run_dir) / "plots", form)


def draw_run(run: Run, folder: Path, form: str = "png") -> list[Path]:
    """Draw the figures of a run for which it has the files, into `folder`; `not_drawn` names the others."""
    paths = []
    for name, (draw, needed) in FIGURES.items():
        if len(getattr(run, needed)):
            paths.append(folder / f"{name}.{form}")
            figure = draw(run)
            with replacing(paths[-1]) as beside:
                save_figure(figure, beside, form)
    return paths


def not_drawn(run: Run) -> dict[str, list[str]]:
    """Missing file -> the figures that it would give, in the order of FIGURES."""
    found: dict[str, list[str]] = {}
    for name, (_, needed) in FIGURES.items():
        if NEEDS[needed] in run.missing:
            found.setdefault(NEEDS[needed], []).append(name)
    return found
