"""Whether a model knows how often it is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from npsoftmax.metrics import calibration_error
from npsoftmax.plots.run_files import Run
from npsoftmax.plots.style import BLUE, FAINT, INK, ORANGE, TEXT, dress, legend_below, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def reliability_figure(run: Run) -> Figure:
    """Accuracy and confidence in bins of the confidence, and how many samples are in each."""
    table = run.reliability
    filled = table["count"] > 0
    low, high, count, confidence, accuracy = (column[filled] for column in table.values())
    heading = f"Reliability (ECE {calibration_error(table):.3f}, {len(filled)} bins)"
    figure, (top, bottom) = new_figure(run, heading, (5.6, 6.8), nrows=2, sharex=True, height_ratios=[3, 1])
    style = {"align": "edge", "edgecolor": "white", "linewidth": 0.8}
    dress(top, "", "accuracy")
    top.bar(low, accuracy, high - low, color=BLUE, alpha=0.8, label="accuracy", **style)
    excess = np.maximum(confidence - accuracy, 0)
    top.bar(low, excess, high - low, bottom=accuracy, color=ORANGE, alpha=0.25, **style)
    top.hlines(confidence, low, high, color=ORANGE, linewidth=2, label="confidence")
    top.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1, label="perfect calibration")
    top.set(xlim=(0, 1), ylim=(0, 1))
    dress(bottom, "confidence (largest probability)", "samples (%)")
    bottom.bar(low, 100 * count / count.sum(), high - low, color=FAINT, **style)
    for name, values, colour in (("accuracy", accuracy, BLUE), ("confidence", confidence, ORANGE)):
        mean = count @ values / count.sum()
        bottom.axvline(mean, color=colour, linewidth=1.6, label=f"mean {name} {mean:.3f}")
    legend_below(figure, TEXT - 1)
    return figure
