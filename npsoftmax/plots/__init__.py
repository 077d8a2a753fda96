"""The figures of a run, drawn from the files in its directory and from nothing else.

Design: every figure is a function of a `Run` that returns a matplotlib `Figure`; `plot_run` reads, draws and
saves. No pyplot: it keeps figures in global state, and training may draw while its caller has plots of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from npsoftmax.errors import InputError
from npsoftmax.files import replacing
from npsoftmax.plots.calibration import reliability_figure
from npsoftmax.plots.classes import confusion_figure, per_class_figure
from npsoftmax.plots.curves import (
    accuracy_figure,
    learning_rate_figure,
    loss_figure,
    running_mean,
    steps_figure,
)
from npsoftmax.plots.run_files import Run, read_run
from npsoftmax.plots.style import DPI

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "DPI",
    "FIGURES",
    "Run",
    "accuracy_figure",
    "confusion_figure",
    "learning_rate_figure",
    "loss_figure",
    "per_class_figure",
    "plot_run",
    "read_run",
    "reliability_figure",
    "running_mean",
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
}


def plot_run(run_dir: Path) -> list[Path]:
    """Draw every figure of a run into `run_dir`/plots and return the paths of the PNGs.

    A figure whose file is missing is left out while the run is unfinished, that is without summary.json.
    Raises InputError where `run_dir` is no run or a file is malformed, and where a finished run lacks a file: then
    when all that is there has been drawn.
    """
    missing: list[str] = []
    run = read_run(run_dir, missing)
    folder = Path(run_dir) / "plots"
    paths = []
    for name, (draw, needed) in FIGURES.items():
        if len(getattr(run, needed)):
            paths.append(folder / f"{name}.png")
            figure = draw(run)
            with replacing(paths[-1]) as beside:
                figure.savefig(beside, dpi=DPI, format="png")
    if missing:
        raise InputError(
            f"{run_dir} has no {', '.join(missing)}, though the run is finished; the other {len(paths)} figures are in "
            f"{folder}."
        )
    return paths
