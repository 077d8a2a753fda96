"""One look for all figures: sizes, colours, axes, legends.

Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from npsoftmax.plots.run_files import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
FORMATS = ("png", "svg", "pdf")
TITLE, TEXT, SMALL = 11, 9, 7  # font sizes in points
BLUE, ORANGE, INK, FAINT = "#0072B2", "#D55E00", "#333333", "#888888"


def new_figure(run: Run, heading: str, size: tuple[float, float], **grid: Any) -> tuple[Figure, Any]:
    """A figure of (width, height) inches with its heading, and its axes; `grid` is for `Figure.subplots`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=DPI, layout="constrained", facecolor="white")
    lines = [heading, *textwrap.wrap(run.title, int(size[0] * 11))]
    figure.suptitle("\n".join(lines), fontsize=TITLE, color=INK)
    return figure, figure.subplots(**grid)


def save_figure(figure: Figure, file: Any, form: str) -> None:
    """Write one of FORMATS to a path or an open file: the same bytes every time, letters of an SVG as outlines."""
    import matplotlib

    undated = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with matplotlib.rc_context({"svg.hashsalt": "npsoftmax", "svg.fonttype": "path"}):
        figure.savefig(file, dpi=DPI, format=form, metadata=undated[form])


def dress(ax: Axes, xlabel: str, ylabel: str) -> None:
    """The look of every axes: labels, ticks, two spines, a faint grid."""
    ax.set_xlabel(xlabel, fontsize=TEXT, color=INK)
    ax.set_ylabel(ylabel, fontsize=TEXT, color=INK)
    ax.tick_params(labelsize=TEXT - 1, colors=INK)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)


def add_legend(ax: Axes) -> None:
    """The legend of what was drawn; where every value was missing, a note instead."""
    if ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize=TEXT - 1, labelcolor=INK, edgecolor="none", framealpha=0.8)
    elif not ax.has_data():
        ax.text(0.5, 0.5, "nothing recorded", transform=ax.transAxes, ha="center", fontsize=TEXT, color=FAINT)


def legend_below(figure: Figure, size: float, **legend: Any) -> None:
    """One legend for the whole figure, below it."""
    figure.legend(loc="outside lower center", ncols=3, fontsize=size, labelcolor=INK, frameon=False, **legend)


def draw_line(ax: Axes, x: np.ndarray, y: np.ndarray, **style: Any) -> None:
    """y against x where y is finite; few points get markers, so that a single one is seen."""
    finite = np.isfinite(x) & np.isfinite(y)
    if finite.any():
        marker = "o" if finite.sum() <= 20 else None
        ax.plot(x[finite], y[finite], marker=marker, markersize=4, **{"linewidth": 1.6, **style})


def colour_bar(figure: Figure, axes: Any, image: Any, label: str, where: str = "right", **options: Any) -> Any:
    """What the colours of `image` mean, beside or below the axes."""
    options = {"location": where, "shrink": 0.7, "aspect": 25, **options}
    bar = figure.colorbar(image, ax=axes, **options)
    bar.set_label(label, fontsize=TEXT, color=INK)
    bar.ax.tick_params(labelsize=TEXT - 1, colors=INK)
    bar.outline.set(edgecolor=FAINT, linewidth=0.6)
    return bar


def whole_numbers(ax: Axes) -> None:
    """Ticks of the x axis at whole numbers only, few of them."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def text_of(name: str) -> str:
    """A class name as text: CIFAR's underscores are spaces, and a very long name is cut."""
    text = name.replace("_", " ").replace("$", r"\$")
    return text if len(text) <= 32 else text[:31] + "…"
