"""Many lines in one figure: looks that can be told apart, a number at the end of each line, and a legend in that order.

Colours are those of Okabe and Ito (2008) without the yellow. A line has three marks of its own: colour, dashes and
marker. So 28 lines differ in colour or dashes, also for colour-blind readers, and 63 in colour or marker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npsoftmax.plots.style import INK, SMALL, TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#222222")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "p")  # 9 of them and 7 colours: both come together again after 63
MARKED = 8  # markers on a line, about
LETTERS = 58  # of a label, at most
OUTSIDE = 1.045  # where numbers stand, in widths of the axes


def looks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Name -> colour, dashes and marker; the same for the same place in `names`."""
    return {
        name: {
            "color": COLOURS[i % len(COLOURS)],
            "linestyle": DASHES[i // len(COLOURS) % len(DASHES)],
            "marker": MARKERS[i % len(MARKERS)],
        }
        for i, name in enumerate(names)
    }


def draw_look(ax: Axes, x: np.ndarray, y: np.ndarray, look: dict[str, Any], label: str) -> Line2D:
    """The line of a look through the finite values, with a few markers; without any value, only its legend."""
    finite = np.isfinite(x) & np.isfinite(y)
    every = max(1, int(finite.sum()) // MARKED)
    (line,) = ax.plot(
        x[finite], y[finite], **look, markevery=every, markersize=5, mec="white", mew=0.5, linewidth=1.4, label=label
    )
    return line


def number_ends(ax: Axes, lines: Sequence[Line2D], height: float) -> list[Line2D]:
    """Number the lines at the right by where they end, 1 is on top; returns them in that order, empty ones last.

    Call it when everything is drawn. The numbers keep clear of each other in axes of `height` inches.
    """
    limits = ax.get_xlim(), ax.get_ylim()  # also settles them: nothing moves from here on
    to_axes = ax.transData + ax.transAxes.inverted()
    points = {line: np.asarray(line.get_xydata()) for line in lines}
    ends = {line: to_axes.transform(at[-1]) for line, at in points.items() if len(at)}
    ordered = sorted(ends, key=lambda line: -ends[line][1])
    heights = apart([ends[line][1] for line in ordered][::-1], 1.15 * SMALL / (72 * height))[::-1]
    for number, (line, at) in enumerate(zip(ordered, heights, strict=True), 1):
        x, y = ends[line]
        leader: dict[str, Any] = {
            "transform": ax.transAxes,
            "color": line.get_color(),
            "linewidth": 0.6,
            "clip_on": False,
        }
        ax.plot([x, max(x, 1.0) + 0.005, OUTSIDE - 0.008], [y, y, at], **leader, label="_")
        ax.text(OUTSIDE, at, str(number), transform=ax.transAxes, fontsize=SMALL, va="center", color=INK)
    ax.set(xlim=limits[0], ylim=limits[1])
    return [*ordered, *(line for line in lines if line not in ends)]


def apart(values: Sequence[float], gap: float) -> np.ndarray:
    """Ascending `values` moved as little as possible (in squares), so that each is `gap` above the one before.

    They stay between 0 and 1 where there is room for all.
    """
    if not len(values):
        return np.zeros(0)
    steps = gap * np.arange(len(values))
    moved = rising(np.asarray(values, dtype=float) - steps)
    return np.clip(moved, 0, max(0.0, 1 - steps[-1])) + steps


def rising(values: np.ndarray) -> np.ndarray:
    """The numbers that nowhere fall and are nearest to `values`, in squares: where some fall, they have one mean.

    Source: Ayer, Brunk, Ewing, Reid and Silverman, 1955.
    """
    blocks: list[tuple[float, int]] = []  # (mean, how many)
    for value in values.tolist():
        mean, n = value, 1
        while blocks and blocks[-1][0] > mean:
            before, m = blocks.pop()
            mean, n = (before * m + mean * n) / (m + n), m + n
        blocks.append((mean, n))
    return np.repeat([mean for mean, _ in blocks], [n for _, n in blocks])


def legend_of(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """One label a line below the axes, since names of rows are long; handles long enough to show the dashes."""
    if labels:
        figure.legend(
            handles,
            [shorter(label) for label in labels],
            loc="outside lower left",
            fontsize=TEXT - 1,
            labelcolor=INK,
            frameon=False,
            handlelength=3.2,
        )


def shorter(label: str) -> str:
    """A label that fits below a figure, without its middle where it is very long; a dollar begins no formula."""
    text = label if len(label) <= LETTERS else f"{label[: LETTERS // 2]}…{label[-LETTERS // 2 + 1 :]}"
    return text.replace("$", r"\$")


def note(ax: Axes, text: str) -> None:
    """A small sentence between the heading and the axes: what lines, bands and bars are."""
    ax.set_title(text, fontsize=SMALL + 0.5, color=INK, loc="left")
