"""Whether a model knows how often it is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from npsoftmax.metrics import calibration_error
from npsoftmax.plots.run_files import Run
from npsoftmax.plots.style import BLUE, FAINT, INK, ORANGE, TEXT, dress, legend_below, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def reliability_figure(run: Run) -> Figure:
    """Accuracy and confidence in bins of the confidence, and how many samples are in each."""
    table = run.reliability
    heading = f"Reliability (ECE {calibration_error(table):.3f}, {len(table['count'])} bins)"
    figure, (top, bottom) = new_figure(run, heading, (5.6, 6.8), nrows=2, sharex=True, height_ratios=[3, 1])
    _draw(top, bottom, table)
    legend_below(figure, TEXT - 1)
    return figure


def calibrated_figure(run: Run) -> Figure:
    """The reliability of the test images before and after `npsoftmax calibrate`, side by side."""
    found = run.calibration
    before, after = (found["test"][when]["ece"] for when in ("before", "after"))
    how = "vector scaling" if found["temperature"] is None else f"temperature {found['temperature']:.3g}"
    heading = f"Calibrated by {how}: ECE {before:.3f} before, {after:.3f} after"
    figure, axes = new_figure(run, heading, (7.2, 5.6), nrows=2, ncols=2, sharex=True, height_ratios=[3, 1])
    for column, when in enumerate(("before", "after")):
        table = {name: np.array(values, dtype=np.float64) for name, values in found["reliability"][when].items()}
        _draw(axes[0, column], axes[1, column], table)
        axes[0, column].set_title(when, fontsize=TEXT, color=INK)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=TEXT - 1, frameon=False)
    return figure


def _draw(top: Axes, bottom: Axes, table: dict[str, np.ndarray]) -> None:
    """Accuracy and confidence of each bin above, its share of the samples below."""
    filled = table["count"] > 0
    low, high, count, confidence, accuracy = (column[filled] for column in table.values())
    style: dict[str, Any] = {"align": "edge", "edgecolor": "white", "linewidth": 0.8}
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
