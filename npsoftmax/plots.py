"""The figures of a run, drawn from the files in its directory and from nothing else.

Design: every figure is a function of a `Run` that returns a matplotlib `Figure`; `plot_run` reads, draws and
saves. No pyplot: it keeps figures in global state, and training may draw while its caller has plots of their
own. Colours are those of Okabe and Ito (2008) and Tol (2021), which colour-blind readers can tell apart.
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
GROUP_COLOURS = (
    *("#332288", "#88CCEE", "#44AA99", "#117733", "#999933"),
    *("#DDCC77", "#CC6677", "#882255", "#AA4499", FAINT),
)
HATCHES = ("", "/////", ".....", "xxxxx")  # the 11th group wears the first colour again, hatched
FEW, MATRIX = 20, 330  # classes whose names fit beside a matrix, and the side of that in points, at least
NAMED, COLUMN = 120, 50  # classes with a bar and a name each, and of those the most in one column


# ---------------------------------------------------------------- the run
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

    @property
    def title(self) -> str:
        """dataset · model · head · test accuracy."""
        if not self.summary:
            return f"{self.name} · unfinished"
        parts = [str(self.summary[key]) for key in ("dataset", "model", "head") if self.summary.get(key)]
        accuracy = (self.summary.get("test") or {}).get("accuracy")
        return " · ".join(parts if accuracy is None else [*parts, f"test accuracy {accuracy:.2%}"])


def plot_run(run_dir: Path) -> list[Path]:
    """Draw every figure of a run into `run_dir`/plots and return the paths of the PNGs.

    A figure whose file is missing is left out while the run is unfinished, that is without summary.json.
    Raises InputError where `run_dir` is no run, a finished run lacks a file, or a file is malformed.
    """
    run = read_run(run_dir)
    folder = Path(run_dir) / "plots"
    folder.mkdir(exist_ok=True)
    paths = []
    for name, (draw, needed) in FIGURES.items():
        if len(getattr(run, needed)):
            paths.append(folder / f"{name}.png")
            draw(run).savefig(paths[-1], dpi=DPI)
    return paths


def read_run(run_dir: Path) -> Run:
    """The files of a run directory, checked; `plot_run` says which may be missing."""
    folder = Path(run_dir)
    if not any((folder / name).is_file() for name in ("config.toml", "metrics.csv")):
        raise InputError(
            f"{folder} is not a run: it has no config.toml and no metrics.csv. "
            "Give the directory that npsoftmax train wrote."
        )
    finished = (folder / "summary.json").exists()
    summary = _read_json(folder / "summary.json") if finished else {}
    # A head without log-probabilities has no calibration: its finished run has no reliability.csv.
    calibrated = (summary.get("test") or {}).get("ece") is not None

    def read(name: str, reader: Callable[[Path], Any], empty: Any, needed: bool = finished) -> Any:
        return reader(folder / name) if needed or (folder / name).exists() else empty

    confusion, names = read("confusion.csv", read_confusion, (np.zeros((0, 0)), []))
    coarse, coarse_names = read("classes.json", lambda path: _read_coarse(path, names), (None, []))
    return Run(
        name=folder.resolve().name,
        summary=summary,
        epochs=read("metrics.csv", lambda path: read_columns(path, EPOCH_COLUMNS), {}),
        steps=read("steps.csv", lambda path: read_columns(path, STEP_COLUMNS), {}),
        confusion=confusion,
        reliability=read("reliability.csv", read_reliability, {}, calibrated),
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
    """(superclass of each class or None, superclass names); `names`: the confusion matrix's, if any."""
    content = _read_json(path)
    coarse, coarse_names = content.get("coarse"), content.get("coarse_names")
    if coarse is None or coarse_names is None:
        return None, []
    n_classes, n_groups = len(names or content.get("names", [])), len(coarse_names)
    if len(coarse) != n_classes or not all(isinstance(c, int) and 0 <= c < n_groups for c in coarse):
        raise InputError(f"{path}: coarse must be {n_classes} numbers from 0 to {n_groups - 1}, one a class.")
    return np.array(coarse, dtype=np.int64), [str(name) for name in coarse_names]


# ---------------------------------------------------------------- style
def _figure(run: Run, heading: str, size: tuple[float, float], **grid: Any) -> tuple[Figure, Any]:
    """A figure of (width, height) inches with its heading, and its axes; `grid` is for `Figure.subplots`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=DPI, layout="constrained", facecolor="white")
    lines = [heading, *textwrap.wrap(run.title, int(size[0] * 11))]
    figure.suptitle("\n".join(lines), fontsize=TITLE, color=INK)
    return figure, figure.subplots(**grid)


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
        ax.legend(fontsize=TEXT - 1, labelcolor=INK, edgecolor="none", framealpha=0.8)
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
    return _epoch_figure(run, "Accuracy", "accuracy", "accuracy (%)", 100.0, "{:.2f}%", np.argmax)


def _epoch_figure(
    run: Run, heading: str, column: str, ylabel: str, scale: float, form: str, best: Callable[..., Any]
) -> Figure:
    figure, ax = _figure(run, heading, (6.4, 4.2))
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
    _whole_numbers(ax)
    _close(ax)
    return figure


def steps_figure(run: Run) -> Figure:
    """Training loss of every step, and its running mean."""
    figure, ax = _figure(run, "Training loss per step", (6.4, 4.2))
    _dress(ax, "step", "loss")
    finite = np.isfinite(run.steps["loss"])
    step, loss = run.steps["step"][finite], run.steps["loss"][finite]
    window = max(1, len(loss) // 50) | 1  # odd: as many steps before as after
    if window > 1:
        _line(ax, step, loss, color=BLUE, alpha=0.3, linewidth=0.7, label="each step")
        _line(ax, step, running_mean(loss, window), color=BLUE, label=f"mean of {window} steps")
    else:
        _line(ax, step, loss, color=BLUE)
    _step_axis(ax, run.steps["step"])
    _close(ax)
    return figure


def running_mean(y: np.ndarray, window: int) -> np.ndarray:
    """Mean of the `window` (odd) values around each value, of fewer at the two ends."""
    total = np.concatenate([[0.0], np.cumsum(y, dtype=np.float64)])
    place = np.arange(len(y))
    low, high = np.maximum(place - window // 2, 0), np.minimum(place + window // 2 + 1, len(y))
    return (total[high] - total[low]) / (high - low)


def learning_rate_figure(run: Run) -> Figure:
    """Learning rate of every step and, where the optimiser has one, its momentum below."""
    columns = ["learning_rate", "momentum"] if np.isfinite(run.steps["momentum"]).any() else ["learning_rate"]
    rows = len(columns)
    figure, axes = _figure(
        run, "Learning rate", (6.4, 2.4 + 1.2 * rows), nrows=rows, sharex=True, squeeze=False
    )
    for ax, column in zip(axes[:, 0], columns, strict=True):
        _dress(ax, "", column.replace("_", " "))
        _line(ax, run.steps["step"], run.steps[column], color=BLUE)
        _close(ax)
    axes[0, 0].set_ylim(bottom=0)
    axes[-1, 0].set_xlabel("step")
    _step_axis(axes[-1, 0], run.steps["step"])
    return figure


def _step_axis(ax: Axes, step: np.ndarray) -> None:
    if step.size:
        ax.set_xlim(0, step[-1] + 1)
    _whole_numbers(ax)
    ax.xaxis.set_major_formatter("{x:,.0f}")


def _whole_numbers(ax: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


# ---------------------------------------------------------------- classes
def confusion_figure(run: Run) -> Figure:
    """Share of each predicted class in every true class; superclasses in a row, their blocks outlined."""
    from matplotlib.colors import PowerNorm
    from matplotlib.patches import Rectangle

    order = np.arange(len(run.names)) if run.coarse is None else np.argsort(run.coarse, kind="stable")
    counts = run.confusion[np.ix_(order, order)]
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, ax = _figure(run, _confusion_heading(run), (7.6, 7.0))
    figure.set_layout_engine("compressed")  # a square matrix leaves no gap below the heading
    # The square root shows a mistake of 1% without hiding that 50% is worse than 10%.
    image = ax.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
    _dress(ax, "predicted class", "true class")
    ax.grid(visible=False)
    ax.spines[:].set(visible=True, color=FAINT, linewidth=0.6)
    bar = figure.colorbar(image, ax=ax, shrink=0.7, ticks=[0, 1, 5, 10, 25, 50, 75, 100])
    bar.set_label("share of the true class (%)", fontsize=TEXT, color=INK)
    bar.ax.tick_params(labelsize=TEXT - 1, colors=INK)
    bar.outline.set(edgecolor=FAINT, linewidth=0.6)
    blocks = _blocks(run, order)
    for start, size, _ in blocks:
        corner = (start - 0.5, start - 0.5)
        ax.add_patch(
            Rectangle(corner, size, size, fill=False, edgecolor=ORANGE, linewidth=0.9, clip_on=False)
        )
    _name_axes(ax, [run.names[c] for c in order], blocks)
    if len(share) <= 12:
        for (row, column), value in np.ndenumerate(share):
            colour = "white" if value > 35 else INK
            ax.text(column, row, f"{value:.0f}", fontsize=SMALL, ha="center", va="center", color=colour)
    return figure


def _confusion_heading(run: Run) -> str:
    mistakes = run.confusion * (1 - np.eye(len(run.names), dtype=np.int64))
    if run.coarse is None or mistakes.sum() == 0:
        return "Confusion matrix"
    inside = mistakes[run.coarse[:, None] == run.coarse].sum() / mistakes.sum()
    return f"Confusion matrix ({inside:.0%} of the mistakes stay in the superclass)"


def _blocks(run: Run, order: np.ndarray) -> list[tuple[int, int, str]]:
    """(start, size, name) of every superclass among the classes in `order`."""
    if run.coarse is None:
        return []
    groups, starts, sizes = np.unique(run.coarse[order], return_index=True, return_counts=True)
    names = [run.coarse_names[g] for g in groups]
    return list(zip(starts.tolist(), sizes.tolist(), names, strict=True))


def _name_axes(ax: Axes, names: list[str], blocks: list[tuple[int, int, str]]) -> None:
    """Names on both axes: of few classes, else of superclasses; class numbers where there are neither."""
    places, labels = np.arange(len(names), dtype=float), names
    if len(names) > FEW:
        places = np.array([start + (size - 1) / 2 for start, size, _ in blocks])
        labels = [name for _, _, name in blocks]
    gap = MATRIX / len(names) * np.diff(places).min(initial=len(names))  # points from name to name
    size = min(TEXT - 1, 0.8 * gap)
    if labels and size >= 4:
        labels = [_label(name) for name in labels]
        ax.set_xticks(places, labels, fontsize=size, rotation=90)
        ax.set_yticks(places, labels, fontsize=size)
        ax.tick_params(length=2)
    elif blocks:  # too narrow for names, and in the order of superclasses a place is no class number
        ax.set(xticks=[], yticks=[])


def per_class_figure(run: Run) -> Figure:
    """Accuracy of every class, best first, coloured by superclass."""
    counts = run.confusion.sum(axis=1)
    accuracy = np.where(counts > 0, 100 * np.diag(run.confusion) / np.maximum(counts, 1), np.nan)
    order = np.argsort(-accuracy, kind="stable")  # NaN, a class without samples, goes last
    heading = f"Accuracy per class (mean {np.nanmean(accuracy):.2f}%)"
    if len(order) > NAMED:
        figure, ax = _figure(run, heading, (6.4, 4.2))
        _dress(ax, "rank of the class", "accuracy (%)")
        _line(ax, np.arange(1, len(order) + 1), accuracy[order], color=BLUE, drawstyle="steps-mid")
        ax.set(xlim=(0, len(order) + 1), ylim=(0, 105))
        return figure
    columns = 1 if len(order) <= COLUMN else 2
    rows = -(-len(order) // columns)
    styles, legend = _superclass_styles(run, accuracy)
    height = 1.4 + 0.15 * max(rows, 8) + 0.15 * -(-len(legend) // 3)
    figure, axes = _figure(run, heading, (6.4 + 0.8 * (columns - 1), height), ncols=columns, squeeze=False)
    for column, ax in enumerate(axes[0]):
        _bars(ax, run, order[column * rows : (column + 1) * rows], accuracy, styles)
        ax.set_ylim(rows - 0.4, -0.6)  # the same in both columns, best on top
    if legend:
        figure.legend(
            handles=legend, loc="outside lower center", ncols=3, fontsize=SMALL, labelcolor=INK, frameon=False
        )
    return figure


def _bars(
    ax: Axes, run: Run, classes: np.ndarray, accuracy: np.ndarray, styles: list[dict[str, Any]]
) -> None:
    _dress(ax, "accuracy (%)", "")
    ax.grid(visible=False, axis="y")
    for row, c in enumerate(classes):
        length = np.nan_to_num(accuracy[c])
        text = "no samples" if np.isnan(accuracy[c]) else f"{length:.0f}"
        ax.barh(row, length, height=0.75, linewidth=0, **styles[c])
        ax.text(length + 1, row, text, fontsize=SMALL - 0.5, va="center_baseline", color=INK)
    ax.set_yticks(range(len(classes)), [_label(run.names[c]) for c in classes], fontsize=SMALL)
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=(0, 107), xticks=range(0, 101, 20))


def _superclass_styles(run: Run, accuracy: np.ndarray) -> tuple[list[dict[str, Any]], list[Any]]:
    """(bar style of each class, legend of the superclasses, best first); one colour for too many of them."""
    from matplotlib.patches import Patch

    styles = [{"facecolor": c, "hatch": h, "edgecolor": "white"} for h in HATCHES for c in GROUP_COLOURS]
    if run.coarse is None or run.coarse.max() >= len(styles):
        return [{"facecolor": BLUE}] * len(accuracy), []
    present = np.unique(run.coarse)
    means = {g: np.nan_to_num(accuracy[run.coarse == g]).mean() for g in present}
    legend = [
        Patch(**styles[g], linewidth=0, label=f"{_label(run.coarse_names[g])}: {means[g]:.0f}%")
        for g in sorted(present, key=lambda g: -means[g])
    ]
    return [styles[g] for g in run.coarse], legend


# ---------------------------------------------------------------- calibration
def reliability_figure(run: Run) -> Figure:
    """Accuracy and confidence in bins of the confidence, and how many samples are in each."""
    table = run.reliability
    filled = table["count"] > 0
    low, high, count, confidence, accuracy = (column[filled] for column in table.values())
    heading = f"Reliability (ECE {calibration_error(table):.3f}, {len(filled)} bins)"
    figure, (top, bottom) = _figure(run, heading, (5.2, 6.2), nrows=2, sharex=True, height_ratios=[3, 1])
    style = {"align": "edge", "edgecolor": "white", "linewidth": 0.8}
    _dress(top, "", "accuracy")
    top.bar(low, accuracy, high - low, color=BLUE, alpha=0.8, label="accuracy", **style)
    excess = np.maximum(confidence - accuracy, 0)
    top.bar(low, excess, high - low, bottom=accuracy, color=ORANGE, alpha=0.25, **style)
    top.hlines(confidence, low, high, color=ORANGE, linewidth=2, label="confidence")
    top.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1, label="perfect calibration")
    top.set(xlim=(0, 1), ylim=(0, 1))
    _dress(bottom, "confidence (largest probability)", "samples (%)")
    bottom.bar(low, 100 * count / count.sum(), high - low, color=FAINT, **style)
    for name, values, colour in (("accuracy", accuracy, BLUE), ("confidence", confidence, ORANGE)):
        mean = count @ values / count.sum()
        bottom.axvline(mean, color=colour, linewidth=1.6, label=f"mean {name} {mean:.3f}")
    for ax in (top, bottom):
        _close(ax)
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
