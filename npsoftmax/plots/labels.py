"""How well each label of a set is told, where images have several."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from npsoftmax.plots.run_files import Run
from npsoftmax.plots.style import BLUE, FAINT, INK, ORANGE, SMALL, draw_line, dress, legend_below, new_figure, text_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED, COLUMN = 120, 50  # labels with a bar and a name each, and of those the most in one column


def labels_figure(run: Run) -> Figure:
    """F1 and average precision of every label, the best F1 first."""
    f1, average = 100 * run.labels["f1"], 100 * run.labels["average_precision"]
    order = np.argsort(-f1, kind="stable")
    occur = np.isfinite(average)
    heading = f"Labels (macro F1 {f1.mean():.2f}%" + (
        f", mean average precision {average[occur].mean():.2f}%)" if occur.any() else ")"
    )
    if len(order) > NAMED:
        figure, ax = new_figure(run, heading, (6.4, 4.4))
        dress(ax, "rank of the label", "%")
        rank = np.arange(1, len(order) + 1)
        draw_line(ax, rank, average[order], color=ORANGE, label="average precision", linewidth=0.8)
        draw_line(ax, rank, f1[order], color=BLUE, label="F1", drawstyle="steps-mid")
        ax.set(xlim=(0, len(order) + 1), ylim=(0, 105))
        legend_below(figure, SMALL + 1)
        return figure
    columns = 1 if len(order) <= COLUMN else 2
    rows = -(-len(order) // columns)
    size = (6.4 + 0.8 * (columns - 1), 1.6 + 0.15 * max(rows, 8))
    figure, axes = new_figure(run, heading, size, ncols=columns, squeeze=False)
    for column, ax in enumerate(axes[0]):
        _bars(ax, run, order[column * rows : (column + 1) * rows], f1, average)
        ax.set_ylim(rows - 0.4, -0.6)  # the same in both columns, best on top
    legend_below(figure, SMALL + 1, handles=axes[0, 0].get_legend_handles_labels()[0])
    return figure


def _bars(ax: Axes, run: Run, labels: np.ndarray, f1: np.ndarray, average: np.ndarray) -> None:
    dress(ax, "%", "")
    ax.grid(visible=False, axis="y")
    places, images = np.arange(len(labels)), run.labels["images"][labels]
    ax.barh(places, f1[labels], height=0.75, color=BLUE, alpha=0.8, linewidth=0, label="F1")
    ax.plot(average[labels], places, "o", color=ORANGE, markersize=2.5, label="average precision")
    for place, many in zip(places, images, strict=True):
        text, colour = ("no images", INK) if not many else (f"{many:,.0f}", FAINT)
        ax.text(103, float(place), text, fontsize=SMALL - 0.5, va="center_baseline", color=colour)
    ax.set_yticks(places, [text_of(run.label_names[c]) for c in labels], fontsize=SMALL)
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=(0, 122), xticks=range(0, 101, 20))
