"""What the classes are taken for: the confusion matrix, and the accuracy of each.

Colours of superclasses are those of Tol (2021), which colour-blind readers can tell apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from npsoftmax.plots.run_files import Run
from npsoftmax.plots.style import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    SMALL,
    TEXT,
    colour_bar,
    draw_line,
    dress,
    legend_below,
    new_figure,
    text_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GROUP_COLOURS = (
    *("#332288", "#88CCEE", "#44AA99", "#117733", "#999933"),
    *("#DDCC77", "#CC6677", "#882255", "#AA4499", FAINT),
)
LIGHT, DARK = "#f7fbff", "#08306b"  # letters on a dark and on a light square of a matrix, the ends of its colours
HATCHES = ("", "/////", ".....", "xxxxx")  # the 11th group wears the first colour again, hatched
FEW, MATRIX = 20, 330  # classes whose names fit beside a matrix, and the side of that in points, at least
NAMED, COLUMN = 120, 50  # classes with a bar and a name each, and of those the most in one column


def confusion_figure(run: Run) -> Figure:
    """Share of each predicted class in every true class; superclasses in a row, their blocks outlined."""
    figure, ax = new_figure(run, _confusion_heading(run), (7.6, 7.0))
    draw_matrix(figure, ax, run)
    return figure


def draw_matrix(figure: Figure, ax: Axes, run: Run, side: float = MATRIX, bar: str = "right") -> None:
    """The confusion matrix of a run in the one axes of a figure, with names, and a colour bar at the right or bottom.

    side: points that it has at least. Colours mean the same in every figure: the scale is always 0 to 100%. With the
    bar at the bottom, names of more than FEW classes or of superclasses stand at the left only: the order is the same.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.patches import Rectangle

    figure.set_layout_engine("compressed")  # a square matrix leaves no gap below the heading
    order = np.arange(len(run.names)) if run.coarse is None else np.argsort(run.coarse, kind="stable")
    counts = run.confusion[np.ix_(order, order)]
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # The square root shows a mistake of 1% without hiding that 50% is worse than 10%.
    image = ax.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
    dress(ax, "predicted class", "true class")
    ax.grid(visible=False)
    ax.spines[:].set(visible=True, color=FAINT, linewidth=0.6)
    colour_bar(figure, ax, image, "share of the true class (%)", bar, ticks=[0, 1, 5, 10, 25, 50, 75, 100])
    blocks = _blocks(run, order)
    for start, size, _ in blocks:
        corner = (start - 0.5, start - 0.5)
        ax.add_patch(Rectangle(corner, size, size, fill=False, edgecolor=ORANGE, linewidth=0.9, clip_on=False))
    _name_axes(ax, [run.names[c] for c in order], blocks, side)
    if bar == "bottom" and len(share) > FEW and len(ax.get_xticks()):
        ax.set_xticks([])
        ax.set_xlabel("predicted class, in the same order", fontsize=TEXT, color=INK)
    if len(share) <= 12:
        for (row, column), value in np.ndenumerate(share):
            colour = LIGHT if value > 35 else DARK
            ax.text(column, row, f"{value:.0f}", fontsize=SMALL, ha="center", va="center", color=colour)


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


def _name_axes(ax: Axes, names: list[str], blocks: list[tuple[int, int, str]], side: float) -> None:
    """Names on both axes: of few classes, else of superclasses; class numbers where there are neither."""
    places, labels = np.arange(len(names), dtype=float), names
    if len(names) > FEW:
        places = np.array([start + (size - 1) / 2 for start, size, _ in blocks])
        labels = [name for _, _, name in blocks]
    gap = side / len(names) * np.diff(places).min(initial=len(names))  # points from name to name
    size = min(TEXT - 1, 0.8 * gap)
    if labels and size >= 4:
        labels = [text_of(name) for name in labels]
        ax.set_xticks(places, labels, fontsize=size, rotation=90 if max(map(len, labels)) > 2 else 0)
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
        figure, ax = new_figure(run, heading, (6.4, 4.2))
        dress(ax, "rank of the class", "accuracy (%)")
        draw_line(ax, np.arange(1, len(order) + 1), accuracy[order], color=BLUE, drawstyle="steps-mid")
        ax.set(xlim=(0, len(order) + 1), ylim=(0, 105))
        return figure
    columns = 1 if len(order) <= COLUMN else 2
    rows = -(-len(order) // columns)
    styles, legend = _superclass_styles(run, accuracy)
    height = 1.4 + 0.15 * max(rows, 8) + 0.15 * -(-len(legend) // 3)
    figure, axes = new_figure(run, heading, (6.4 + 0.8 * (columns - 1), height), ncols=columns, squeeze=False)
    for column, ax in enumerate(axes[0]):
        _bars(ax, run, order[column * rows : (column + 1) * rows], accuracy, styles)
        ax.set_ylim(rows - 0.4, -0.6)  # the same in both columns, best on top
    if legend:
        legend_below(figure, SMALL, handles=legend)
    return figure


def _bars(ax: Axes, run: Run, classes: np.ndarray, accuracy: np.ndarray, styles: list[dict[str, Any]]) -> None:
    dress(ax, "accuracy (%)", "")
    ax.grid(visible=False, axis="y")
    for row, c in enumerate(classes):
        length = np.nan_to_num(accuracy[c])
        text = "no samples" if np.isnan(accuracy[c]) else f"{length:.0f}"
        ax.barh(row, length, height=0.75, linewidth=0, **styles[c])
        ax.text(length + 1, row, text, fontsize=SMALL - 0.5, va="center_baseline", color=INK)
    ax.set_yticks(range(len(classes)), [text_of(run.names[c]) for c in classes], fontsize=SMALL)
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
        Patch(**styles[g], linewidth=0, label=f"{text_of(run.coarse_names[g])}: {means[g]:.0f}%")
        for g in sorted(present, key=lambda g: -means[g])
    ]
    return [styles[g] for g in run.coarse], legend
