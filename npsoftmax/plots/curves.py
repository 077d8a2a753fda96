"""What changes as a run goes on: loss, accuracy, learning rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from npsoftmax.plots.run_files import Run
from npsoftmax.plots.style import BLUE, ORANGE, add_legend, draw_line, dress, new_figure, whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def loss_figure(run: Run) -> Figure:
    """Training and validation loss against epochs."""
    return _epoch_figure(run, "Loss", "loss", "loss", 1.0, "{:.4g}", np.argmin)


def accuracy_figure(run: Run) -> Figure:
    """Training and validation accuracy against epochs."""
    return _epoch_figure(run, "Accuracy", "accuracy", "accuracy (%)", 100.0, "{:.2f}%", np.argmax)


def _epoch_figure(
    run: Run, heading: str, column: str, ylabel: str, scale: float, form: str, best: Callable[..., Any]
) -> Figure:
    figure, ax = new_figure(run, heading, (6.4, 4.2))
    dress(ax, "epoch", ylabel)
    epochs = run.epochs["epoch"]
    draw_line(ax, epochs, scale * run.epochs[f"train_{column}"], color=BLUE, label="training")
    validation = scale * run.epochs[f"val_{column}"]
    measured = np.flatnonzero(np.isfinite(validation))
    if measured.size:
        at = measured[best(validation[measured])]
        label = f"validation (best {form.format(validation[at])}, epoch {epochs[at]:.0f})"
        draw_line(ax, epochs, validation, color=ORANGE, label=label)
        ax.plot(epochs[at], validation[at], "o", markersize=8, mfc="none", mec=ORANGE)
    if epochs.size:  # all of them, so that a curve that became NaN is seen to end early
        ax.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    whole_numbers(ax)
    add_legend(ax)
    return figure


def steps_figure(run: Run) -> Figure:
    """Training loss of every step, and its running mean."""
    figure, ax = new_figure(run, "Training loss per step", (6.4, 4.2))
    dress(ax, "step", "loss")
    finite = np.isfinite(run.steps["loss"])
    step, loss = run.steps["step"][finite], run.steps["loss"][finite]
    window = max(1, len(loss) // 50) | 1  # odd: as many steps before as after
    if window > 1:
        draw_line(ax, step, loss, color=BLUE, alpha=0.3, linewidth=0.7, label="each step")
        draw_line(ax, step, running_mean(loss, window), color=BLUE, label=f"mean of {window} steps")
    else:
        draw_line(ax, step, loss, color=BLUE)
    _step_axis(ax, run.steps["step"])
    add_legend(ax)
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
    figure, axes = new_figure(run, "Learning rate", (6.4, 2.4 + 1.2 * rows), nrows=rows, sharex=True, squeeze=False)
    for ax, column in zip(axes[:, 0], columns, strict=True):
        dress(ax, "", column.replace("_", " "))
        draw_line(ax, run.steps["step"], run.steps[column], color=BLUE)
        add_legend(ax)
    axes[0, 0].set_ylim(bottom=0)
    axes[-1, 0].set_xlabel("step")
    _step_axis(axes[-1, 0], run.steps["step"])
    return figure


def _step_axis(ax: Axes, step: np.ndarray) -> None:
    if step.size:
        ax.set_xlim(0, step[-1] + 1)
    whole_numbers(ax)
    ax.xaxis.set_major_formatter("{x:,.0f}")
