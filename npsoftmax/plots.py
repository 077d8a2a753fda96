"""The figures of a run, drawn from the files in its directory and from nothing else.

Design: every figure is a function of a `Run` that returns a matplotlib `Figure`; `plot_run` reads, draws, saves.
No pyplot: it keeps figures in global state, and training may draw while its caller has plots of their own.
Colours are those of Okabe and Ito (2008) and Tol (2021), which colour-blind readers can tell apart.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from npsoftmax.errors import InputError
from npsoftmax.metrics import calibration_error, read_columns, read_confusion, read_reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Columns = dict[str, np.ndarray]

EPOCH_COLUMNS = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy")
STEP_COLUMNS = ("step", "loss", "learning_rate", "momentum")

DPI = 150
TITLE, TEXT, SMALL = 11, 9, 7  # font sizes in points
BLUE, ORANGE, INK, FAINT = "#0072B2", "#D55E00", "#333333", "#888888"
GROUP_COLOURS = "#332288 #88CCEE #44AA99 #117733 #999933 #DDCC77 #CC6677 #882255 #AA4499 #888888".split()
HATCHES = ("", "/////", ".....", "xxxxx")  # the 11th group wears the first colour again, hatched
FEW = 20  # classes whose names fit beside a matrix
PANEL_ROWS, MAX_PANELS = 50, 4  # named bars one below the other, and such columns of bars


# ---------------------------------------------------------------- the run
@dataclass(frozen=True)
class Run:
    """What the files of a run directory hold; None where there is no such file (yet)."""

    name: str
    summary: dict[str, Any] | None
    epochs: Columns | None
    steps: Columns | None
    confusion: np.ndarray | None  # (C, C)
    reliability: Columns | None
    names: list[str]  # of the C classes
    coarse: np.ndarray | None  # (C,) the superclass of each class
    coarse_names: list[str]

    @property
    def title(self) -> str:
        """dataset · model · head · test accuracy."""
        if self.summary is None:
            return f"{self.name} · unfinished"
        parts = [str(self.summary[key]) for key in ("dataset", "model", "head") if self.summary.get(key)]
        accuracy = (self.summary.get("test") or {}).get("accuracy")
        return " · ".join(parts if accuracy is None else [*parts, f"test accuracy {accuracy:.2%}"])


def plot_run(run_dir: Path) -> list[Path]:
    """Draw every figure of a run into `run_dir`/plots and return the paths of the PNGs.

    A figure whose file is missing is left out while the run is unfinished, that is without summary.json. Raises
    InputError where `run_dir` is no run, a finished run lacks a file, or a file is malformed.
    """
    run = read_run(run_dir)
    folder = Path(run_dir) / "plots"
    folder.mkdir(exist_ok=True)
    paths = []
    for name, (draw, needed) in FIGURES.items():
        if getattr(run, needed) is not None:
            paths.append(folder / f"{name}.png")
            draw(run).savefig(paths[-1], dpi=DPI)
    return paths


def read_run(run_dir: Path) -> Run:
    """The files of a run directory, checked; `plot_run` says which may be missing."""
    folder = Path(run_dir)
    if not any((folder / name).is_file() for name in ("config.toml", "metrics.csv")):
        raise InputError(
            f"{folder} is not a run: there is no config.toml and no metrics.csv in it. "
            "Give the folder that npsoftmax train wrote."
        )
    summary = _read_json(folder / "summary.json") if (folder / "summary.json").exists() else None
    finished = summary is not None
    # A head without log-probabilities has no calibration: its finished run has no reliability.csv.
    calibrated = finished and (summary.get("test") or {}).get("ece") is not None

    def read(name: str, reader: Callable[[Path], Any], needed: bool = finished) -> Any:
        return reader(folder / name) if needed or (folder / name).exists() else None

    confusion, names = read("confusion.csv", read_confusion) or (None, [])
    coarse, coarse_names = read("classes.json", lambda path: _read_coarse(path, names)) or (None, [])
    return Run(
        name=folder.resolve().name,
        summary=summary,
        epochs=read("metrics.csv", lambda path: read_columns(path, EPOCH_COLUMNS)),
        steps=read("steps.csv", lambda path: read_columns(path, STEP_COLUMNS)),
        confusion=confusion,
        reliability=read("reliability.csv", read_reliability, calibrated),
        names=names,
        coarse=coarse,
        coarse_names=coarse_names,
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}; expected a JSON object.")
    return content


def _read_coarse(path: Path, names: list[str]) -> tuple[np.ndarray | None, list[str]]:
    """(superclass of each class or None, superclass names); `names` are those of the confusion matrix, if any."""
    content = _read_json(path)
    coarse, coarse_names = content.get("coarse"), content.get("coarse_names")
    if coarse is None or coarse_names is None:
        return None, []
    n_classes, n_groups = len(names or content.get("names", [])), len(coarse_names)
    if len(coarse) != n_classes or not all(isinstance(c, int) and 0 <= c < n_groups for c in coarse):
        raise InputError(f"{path}: coarse must be a number from 0 to {n_groups - 1} for each of {n_classes} classes.")
    return np.array(coarse, dtype=np.int64), [str(name) for name in coarse_names]


# ---------------------------------------------------------------- style
def _figure(run: Run, heading: str, width: float, height: float, *shape: int, **grid: Any) -> tuple[Figure, Any]:
    """A figure of inches width × height with its heading, and its axes (rows, columns as `shape` says)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    lines = [heading, *textwrap.wrap(run.title, int(width * 11))]
    figure.suptitle("\n".join(lines), fontsize=TITLE, color=INK)
    return figure, figure.subplots(*shape, **grid)


def _dress(ax: Axes, xlabel: str, ylabel: str) -> None:
    ax.set_xlabel(xlabel, fontsize=TEXT, color=INK)
    ax.set_ylabel(ylabel, fontsize=TEXT, color=INK)
    ax.tick_params(labelsize=TEXT - 1, colors=INK)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)


def _close(ax: Axes) -> None:
    """The legend of what was drawn; where every value was missing, a note instead."""
    if ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize=TEXT - 1, frameon=False)
    elif not ax.has_data():
        ax.text(0.5, 0.5, "nothing recorded", transform=ax.transAxes, ha="center", fontsize=TEXT, color=FAINT)


def _line(ax: Axes, x: np.ndarray, y: np.ndarray, **style: Any) -> None:
    """y against x where y is finite; few points get markers, so that a single one is seen."""
    finite = np.isfinite(x) & np.isfinite(y)
    if finite.any():
        marker = "o" if finite.sum() <= 20 else None
        ax.plot(x[finite], y[finite], marker=marker, markersize=4, **{"linewidth": 1.6, **style})


def _label(name: str) -> str:
    """A class name as text: CIFAR's underscores are spaces, and a very long name is cut."""
    text = name.replace("_", " ").replace("$", r"\$")
    return text if len(text) <= 32 else text[:31] + "…"


# ---------------------------------------------------------------- curves
def loss_figure(run: Run) -> Figure:
    """Training and validation loss against epochs."""
    return _epoch_figure(run, "Loss", "loss", "loss", 1.0, "{:.4g}", np.argmin)


def accuracy_figure(run: Run) -> Figure:
    """Training and validation accuracy against epochs."""
    return _epoch_figure(run, "Accuracy", "accuracy", "accuracy (%)", 100.0, "{:.2f} %", np.argmax)


def _epoch_figure(
    run: Run, heading: str, column: str, ylabel: str, scale: float, form: str, best: Callable[[np.ndarray], Any]
) -> Figure:
    from matplotlib.ticker import MaxNLocator

    figure, ax = _figure(run, heading, 6.4, 4.2)
    _dress(ax, "epoch", ylabel)
    epochs = run.epochs["epoch"]
    _line(ax, epochs, scale * run.epochs[f"train_{column}"], color=BLUE, label="training")
    validation = scale * run.epochs[f"val_{column}"]
    measured = np.flatnonzero(np.isfinite(validation))
    if measured.size:
        at = measured[best(validation[measured])]
        label = f"validation (best {form.format(validation[at])}, epoch {epochs[at]:.0f})"
        _line(ax, epochs, validation, color=ORANGE, label=label)
        ax.plot(epochs[at], validation[at], "o", markersize=8, mfc="none", mec=ORANGE)
    if epochs.size:  # all of them, so that a curve that became NaN is seen to end early
        ax.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    _close(ax)
    return figure


def steps_figure(run: Run) -> Figure:
    """Training loss of every step, and its running mean."""
    figure, ax = _figure(run, "Training loss per step", 6.4, 4.2)
    _dress(ax, "step", "loss")
    finite = np.isfinite(run.steps["loss"])
    step, loss = run.steps["step"][finite], run.steps["loss"][finite]
    window = max(1, len(loss) // 50) | 1  # odd: as many steps before as after
    _line(ax, step, loss, color=BLUE, alpha=0.3, linewidth=0.7, label="each step")
    if window > 1:
        _line(ax, step, running_mean(loss, window), color=BLUE, label=f"mean of {window} steps")
    _step_axis(ax, run.steps["step"])
    _close(ax)
    return figure


def running_mean(y: np.ndarray, window: int) -> np.ndarray:
    """Mean of the `window` (odd) values around each; of those there are at the two ends."""
    total = np.concatenate([[0.0], np.cumsum(y, dtype=np.float64)])
    place = np.arange(len(y))
    low, high = np.maximum(place - window // 2, 0), np.minimum(place + window // 2 + 1, len(y))
    return (total[high] - total[low]) / (high - low)


def learning_rate_figure(run: Run) -> Figure:
    """Learning rate of every step and, where the optimiser has one, its momentum below."""
    momentum = np.isfinite(run.steps["momentum"]).any()
    figure, axes = _figure(
        run, "Learning rate", 6.4, 4.8 if momentum else 3.6, 2 if momentum else 1, 1, sharex=True, squeeze=False
    )
    for ax, column in zip(axes[:, 0], ("learning_rate", "momentum"), strict=False):
        _dress(ax, "", column.replace("_", " "))
        _line(ax, run.steps["step"], run.steps[column], color=BLUE)
        _close(ax)
    axes[0, 0].set_ylim(bottom=0)
    axes[-1, 0].set_xlabel("step", fontsize=TEXT, color=INK)
    _step_axis(axes[-1, 0], run.steps["step"])
    return figure


def _step_axis(ax: Axes, step: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    if step.size:
        ax.set_xlim(step[0] - 0.5, step[-1] + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    ax.xaxis.set_major_formatter("{x:,.0f}")


# ---------------------------------------------------------------- classes
def confusion_figure(run: Run) -> Figure:
    """Shares of the predicted classes in every true class; superclasses side by side, their blocks outlined."""
    from matplotlib.colors import PowerNorm
    from matplotlib.patches import Rectangle

    share, blocks = _ordered_shares(run)
    figure, ax = _figure(run, "Confusion matrix", 7.6, 7.4)
    # The square root shows a mistake of 1 % without hiding that 50 % is worse than 10 %.
    image = ax.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
    _dress(ax, "predicted class", "true class")
    ax.grid(visible=False)
    bar = figure.colorbar(image, ax=ax, shrink=0.7, ticks=[0, 1, 5, 10, 25, 50, 75, 100])
    bar.set_label("share of the true class (%)", fontsize=TEXT, color=INK)
    bar.ax.tick_params(labelsize=TEXT - 1, colors=INK)
    for start, size, _ in blocks:
        ax.add_patch(Rectangle((start - 0.5, start - 0.5), size, size, fill=False, ec=ORANGE, lw=0.9))
    _name_classes(ax, run, blocks)
    if len(share) <= 12:
        for (row, column), value in np.ndenumerate(share):
            ax.text(
                column, row, f"{value:.0f}", fontsize=SMALL, ha="center", va="center",
                color="white" if value > 35 else INK,
            )  # fmt: skip
    return figure


def _ordered_shares(run: Run) -> tuple[np.ndarray, list[tuple[int, int, str]]]:
    """Confusions in % of the true class, in the order of superclasses; and (start, size, name) of their blocks."""
    order = np.arange(len(run.names)) if run.coarse is None else np.argsort(run.coarse, kind="stable")
    counts = run.confusion[np.ix_(order, order)]
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    if run.coarse is None:
        return share, []
    groups, starts, sizes = np.unique(run.coarse[order], return_index=True, return_counts=True)
    named = (run.coarse_names[g] for g in groups)
    return share, list(zip(starts.tolist(), sizes.tolist(), named, strict=True))


def _name_classes(ax: Axes, run: Run, blocks: list[tuple[int, int, str]]) -> None:
    """Names on both axes: of few classes, else of superclasses; numbers where neither fit."""
    n_classes = len(run.names)
    if n_classes <= FEW:
        order = range(n_classes) if run.coarse is None else np.argsort(run.coarse, kind="stable")
        places, labels = np.arange(n_classes), [_label(run.names[c]) for c in order]
    else:
        places = np.array([start + (size - 1) / 2 for start, size, _ in blocks])
        labels = [_label(name) for _, _, name in blocks]
    gap = 330 / n_classes * np.diff(places).min(initial=n_classes)  # in points, on an axis of 4.6 inches
    size = min(TEXT - 1, 0.85 * gap)
    if labels and size >= 4:
        ax.set_xticks(places, labels, fontsize=size, rotation=90)
        ax.set_yticks(places, labels, fontsize=size)
        ax.tick_params(length=2)


def per_class_figure(run: Run) -> Figure:
    """Accuracy of every class, best first, coloured by superclass."""
    counts = run.confusion.sum(axis=1)
    accuracy = np.where(counts > 0, 100 * np.diag(run.confusion) / np.maximum(counts, 1), np.nan)
    order = np.argsort(-accuracy, kind="stable")  # NaN, a class without samples, goes last
    panels = -(-len(order) // PANEL_ROWS)
    if panels > MAX_PANELS:
        return _profile_figure(run, accuracy[order])
    rows = -(-len(order) // panels)
    groups, legend = _groups(run, accuracy)
    height = 1.5 + 0.15 * max(rows, 8) + 0.2 * -(-len(legend) // 3)
    width = max(6.4, 4.0 * panels)
    figure, axes = _figure(run, _per_class_heading(accuracy), width, height, 1, panels, squeeze=False)
    for panel, ax in enumerate(axes[0]):
        _bars(ax, run, order[panel * rows : (panel + 1) * rows], accuracy, groups)
        ax.set_ylim(rows - 0.4, -0.6)
    if legend:
        figure.legend(handles=legend, loc="outside lower center", ncols=3, fontsize=SMALL, frameon=False)
    return figure


def _per_class_heading(accuracy: np.ndarray) -> str:
    return f"Accuracy per class (mean {np.nanmean(accuracy):.1f} %)"


def _bars(ax: Axes, run: Run, classes: np.ndarray, accuracy: np.ndarray, groups: list[dict[str, Any]]) -> None:
    _dress(ax, "accuracy (%)", "")
    ax.grid(visible=False, axis="y")
    for row, c in enumerate(classes):
        ax.barh(row, np.nan_to_num(accuracy[c]), height=0.75, linewidth=0, **groups[c])
        text = "no samples" if np.isnan(accuracy[c]) else f"{accuracy[c]:.0f}"
        ax.annotate(
            text, (np.nan_to_num(accuracy[c]), row), xytext=(2, 0), textcoords="offset points",
            fontsize=SMALL - 0.5, va="center_baseline", color=INK,
        )  # fmt: skip
    ax.set_yticks(range(len(classes)), [_label(run.names[c]) for c in classes], fontsize=SMALL)
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(0, 107)
    ax.set_xticks(range(0, 101, 20))


def _groups(run: Run, accuracy: np.ndarray) -> tuple[list[dict[str, Any]], list[Any]]:
    """(bar style of each class, legend of the superclasses, best first); one colour where they are too many."""
    from matplotlib.patches import Patch

    styles = [{"facecolor": c, "hatch": h, "edgecolor": "white"} for h in HATCHES for c in GROUP_COLOURS]
    if run.coarse is None or run.coarse.max() >= len(styles):
        return [{"facecolor": BLUE}] * len(accuracy), []
    present = np.unique(run.coarse)
    means = {g: np.nan_to_num(accuracy[run.coarse == g]).mean() for g in present}
    legend = [
        Patch(**styles[g], label=f"{_label(run.coarse_names[g])}: {means[g]:.0f} %", linewidth=0)
        for g in sorted(present, key=lambda g: -means[g])
    ]
    return [styles[g] for g in run.coarse], legend


def _profile_figure(run: Run, accuracy: np.ndarray) -> Figure:
    """Sorted accuracies of more classes than can be named."""
    figure, ax = _figure(run, _per_class_heading(accuracy), 6.4, 4.2)
    _dress(ax, "rank of the class", "accuracy (%)")
    ax.fill_between(np.arange(1, len(accuracy) + 1), accuracy, step="mid", color=BLUE, linewidth=0)
    ax.set_xlim(0.5, len(accuracy) + 0.5)
    ax.set_ylim(0, 100)
    return figure


# ---------------------------------------------------------------- calibration
def reliability_figure(run: Run) -> Figure:
    """Accuracy against confidence in bins, and how many samples are in each."""
    table = run.reliability
    low, width, count = table["low"], table["high"] - table["low"], table["count"]
    filled = count > 0
    accuracy, confidence = np.where(filled, table["accuracy"], 0), np.where(filled, table["confidence"], 0)
    heading = f"Reliability (ECE {calibration_error(table):.3f}, {len(low)} bins)"
    figure, (top, bottom) = _figure(run, heading, 5.2, 6.4, 2, 1, sharex=True, height_ratios=[3, 1])
    style = {"align": "edge", "linewidth": 0.8}
    _dress(top, "", "accuracy")
    top.bar(low, accuracy, width, color=BLUE, edgecolor="white", label="accuracy", **style)
    top.bar(
        low[filled], (confidence - accuracy)[filled], width[filled], bottom=accuracy[filled],
        facecolor="none", edgecolor=ORANGE, hatch="/////", label="gap to the confidence", **style,
    )  # fmt: skip
    top.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1, label="perfect calibration")
    top.set(xlim=(0, 1), ylim=(0, 1))
    top.legend(fontsize=TEXT - 1, frameon=False, loc="upper left")
    _dress(bottom, "confidence (largest probability)", "samples (%)")
    bottom.bar(low, 100 * count / count.sum(), width, color=FAINT, edgecolor="white", **style)
    for name, values, colour in (("accuracy", accuracy, BLUE), ("confidence", confidence, ORANGE)):
        mean = count @ values / count.sum()
        bottom.axvline(mean, color=colour, linewidth=1.6, label=f"mean {name} {mean:.3f}")
    bottom.legend(fontsize=TEXT - 1, frameon=False, loc="upper left")
    return figure


FIGURES: dict[str, tuple[Callable[[Run], Figure], str]] = {  # name -> function, the part of a Run it needs
    "loss": (loss_figure, "epochs"),
    "accuracy": (accuracy_figure, "epochs"),
    "learning_rate": (learning_rate_figure, "steps"),
    "steps": (steps_figure, "steps"),
    "confusion": (confusion_figure, "confusion"),
    "per_class": (per_class_figure, "confusion"),
    "reliability": (reliability_figure, "reliability"),
}
