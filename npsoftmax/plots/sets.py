"""Sets of classes: how large they are, how often they hold the right class, and what they look like."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from npsoftmax.plots.run_files import Run
from npsoftmax.plots.style import BLUE, FAINT, INK, ORANGE, SMALL, TEXT, dress, legend_below, new_figure, text_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS, SIDE = 4, 2.0  # example pictures in a row, and inches of one
WORDS = 6  # of a set that are shown


def set_sizes_figure(run: Run) -> Figure:
    """How many test images have a set of so many classes, and how often sets of a size hold the right one."""
    test, coverage = run.conformal["test"], run.conformal["coverage"]
    sizes = np.array(test["sizes"])
    share = 100 * sizes / sizes.sum()
    heading = f"Sets of coverage {100 * coverage:g}% (held on the test images: {100 * test['coverage']:.1f}%)"
    figure, (top, bottom) = new_figure(run, heading, (6.4, 6.4), nrows=2, height_ratios=[3, 2])
    dress(top, "classes in the set", "test images (%)")
    top.bar(np.arange(len(share)), share, width=0.9, color=BLUE)
    top.axvline(test["mean_size"], color=ORANGE, linewidth=1.6, label=f"mean {test['mean_size']:.1f}")
    top.set_xlim(0, max(4, np.flatnonzero(sizes)[-1] + 1))
    groups = [group for group in test["by_size"] if group["images"]]
    dress(bottom, "classes in the set", "coverage (%)")
    places = np.arange(len(groups))
    held = 100 * np.array([group["coverage"] for group in groups])
    bottom.bar(places, held, width=0.6, color=FAINT)
    for place, height in zip(places, held, strict=True):
        bottom.text(place, 4, f"{height:.0f}", fontsize=SMALL, ha="center", color="white")
    bottom.axhline(100 * coverage, color=ORANGE, linestyle="--", linewidth=1.2, label="asked for, of all together")
    bottom.set_xticks(places, [_span(group["least"], group["most"]) for group in groups])
    bottom.set_ylim(0, 105)
    legend_below(figure, TEXT - 1)
    return figure


def _span(least: int, most: int) -> str:
    return f"{least}" if least == most else f"{least}-{most}"


def set_examples_figure(
    run: Run, images: np.ndarray, truth: Sequence[str], sets: Sequence[Sequence[str]], sizes: Sequence[int]
) -> Figure:
    """Images with their classes and their sets. images uint8 (N, H, W, C); of each a name, a set in words, its size."""
    rows = -(-len(images) // COLUMNS)
    heading = f"Sets of coverage {100 * run.conformal['coverage']:g}%: from the smallest to the largest"
    size = (COLUMNS * SIDE, rows * (SIDE + 1.1) + 1)
    figure, axes = new_figure(run, heading, size, nrows=rows, ncols=COLUMNS, squeeze=False)
    for ax in axes.ravel():
        ax.set_axis_off()
    for ax, image, name, names, count in zip(axes.ravel(), images, truth, sets, sizes, strict=False):
        ax.set_axis_on()
        ax.imshow(image if image.shape[2] == 3 else image[..., 0], cmap="gray", vmin=0, vmax=255)
        ax.set(xticks=[], yticks=[])
        ax.set_title(text_of(name), fontsize=TEXT, color=INK)
        shown = [text_of(one) for one in names[:WORDS]] + ["…"] * (len(names) > WORDS)
        lines = textwrap.wrap(", ".join(shown), 28)[:5]
        ax.set_xlabel("\n".join([f"{count} class{'' if count == 1 else 'es'}", *lines]), fontsize=SMALL, color=INK)
    return figure
