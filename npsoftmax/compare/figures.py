"""The figures of a report: all rows on shared axes.

Sizes are those of a phone held upright (4.6 inches are 440 CSS pixels), so that nothing has to be shrunk much.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npsoftmax.compare.collect import RowResult, curve, fastest_epoch, relation, test_score
from npsoftmax.compare.tables import SATURATED
from npsoftmax.plots.run_files import Run
from npsoftmax.plots.style import FAINT, INK, SMALL, TEXT, TITLE, draw_line, dress, whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 4.6, 3.6
# Okabe and Ito's eight, the faint yellow last; then again with other lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#B5A800")
LINES = ("-", "--", ":", "-.")
LEGEND_ROWS = 4  # labels in a row of the legend take about a quarter of the figure's height in all


def styles(results: Sequence[RowResult]) -> dict[str, dict[str, Any]]:
    """Colour and line of each row, the same in every figure."""
    looks = itertools.product(LINES, COLOURS)
    return {result.row.name: {"color": c, "linestyle": line} for result, (line, c) in zip(results, looks, strict=False)}


def canvas(heading: str, rows: int = 0, height: float = HEIGHT, **grid: Any) -> tuple[Figure, Any]:
    """A figure with its heading and room for a legend of `rows` labels below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height + 0.19 * rows), layout="constrained", facecolor="white")
    figure.suptitle("\n".join(textwrap.wrap(heading, 52)), fontsize=TITLE, color=INK)
    return figure, figure.subplots(**grid)


def labels_below(figure: Figure, ax: Axes) -> None:
    """One label a line below the axes: row names are long."""
    handles, labels = ax.get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside lower left", fontsize=TEXT - 1, labelcolor=INK, frameon=False)


# ---------------------------------------------------------------- curves
def curves_figure(results: Sequence[RowResult], what: str, heading: str, ylabel: str, scale: float) -> Figure:
    """The validation `what` against epochs, a row a line: the mean over its seeds, their range as a band."""
    shown = [result for result in results if result.runs]
    figure, ax = canvas(heading, len(shown))
    dress(ax, "epoch", ylabel)
    whole_numbers(ax)
    looks = styles(results)
    for result in shown:
        epochs, values = mean_curve([curve(run, what) for run in result.runs])
        look = looks[result.row.name]
        draw_line(ax, epochs, scale * values.mean(axis=0), label=result.row.name, **look)
        if len(values) > 1:
            low, high = scale * values.min(axis=0), scale * values.max(axis=0)
            ax.fill_between(epochs, low, high, color=look["color"], alpha=0.15, linewidth=0)
    labels_below(figure, ax)
    return figure


def mean_curve(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """(epochs (E,), values (runs, E)) over the epochs that all have."""
    length = min(len(epochs) for epochs, _ in curves)
    return curves[0][0][:length], np.array([values[:length] for _, values in curves])


def loss_figure(results: Sequence[RowResult]) -> Figure:
    """Loss curves."""
    return curves_figure(results, "loss", "Loss by epoch (of validation, else of training)", "loss", 1.0)


def accuracy_figure(results: Sequence[RowResult]) -> Figure:
    """Accuracy curves."""
    return curves_figure(
        results, "accuracy", "Accuracy by epoch (of validation, else of training)", "accuracy (%)", 100
    )


def learning_rate_figure(results: Sequence[RowResult]) -> Figure:
    """Learning rate of every step, of the first run of each row; rows with the same share a line."""
    lines: dict[bytes, tuple[Run, list[str]]] = {}
    for result in results:
        for run in result.runs[:1]:
            rates = run.steps["learning_rate"]
            lines.setdefault(rates.tobytes(), (run, []))[1].append(result.row.name)
    figure, ax = canvas("Learning rate", len(lines), 2.6)
    dress(ax, "step", "learning rate")
    for colour, (run, names) in zip(itertools.cycle(COLOURS), lines.values(), strict=False):
        label = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        draw_line(ax, run.steps["step"], run.steps["learning_rate"], color=colour, label=label)
    labels_below(figure, ax)
    return figure


# ---------------------------------------------------------------- one point or line a row
def time_figure(results: Sequence[RowResult]) -> Figure:
    """Test accuracy against the seconds of an epoch."""
    shown = [result for result in results if result.values(fastest_epoch)]
    figure, ax = canvas("Seconds of an epoch and test accuracy", len(shown))
    dress(ax, "seconds of the fastest epoch", "test accuracy (%)")
    for result in shown:
        x, y = result.values(fastest_epoch), [100 * value for value in result.values(test_score("accuracy"))]
        look = styles(results)[result.row.name]
        ax.plot(x, y, "o" if look["linestyle"] == "-" else "^", color=look["color"], label=result.row.name, ms=6)
    ax.set_xlim(0, 1.05 * max((max(result.values(fastest_epoch)) for result in shown), default=1.0))
    labels_below(figure, ax)
    return figure


def reliability_figure(results: Sequence[RowResult]) -> Figure:
    """Accuracy against confidence in bins, of each row's first run that has probabilities."""
    shown = [(result, run) for result in results for run in result.runs[:1] if len(run.reliability)]
    figure, ax = canvas("Reliability: above the diagonal is too modest", len(shown))
    dress(ax, "confidence", "accuracy")
    ax.plot([0, 1], [0, 1], color=FAINT, linewidth=1, zorder=0)
    for result, run in shown:
        table = run.reliability
        filled = table["count"] >= 10  # fewer samples say nothing
        draw_line(
            ax,
            table["confidence"][filled],
            table["accuracy"][filled],
            label=result.row.name,
            **styles(results)[result.row.name],
        )
    ax.set(xlim=(0, 1), ylim=(0, 1))
    labels_below(figure, ax)
    return figure


def confusion_figure(result: RowResult) -> Figure:
    """The confusion matrix of the row's first run, as shares of the true class."""
    run = result.runs[0]
    matrix = run.confusion / np.maximum(run.confusion.sum(axis=1, keepdims=True), 1)
    figure, ax = canvas(f"Confusions: {result.row.name}", 0, 4.2)
    image = ax.imshow(matrix, cmap="Blues", vmin=0, vmax=max(matrix.max(), 1e-9), interpolation="nearest")
    ax.set_xlabel("predicted class", fontsize=TEXT, color=INK)
    ax.set_ylabel("true class", fontsize=TEXT, color=INK)
    ax.tick_params(labelsize=TEXT - 1, colors=INK)
    bar = figure.colorbar(image, ax=ax, shrink=0.8)
    bar.set_label("share of the true class", fontsize=TEXT, color=INK)
    bar.ax.tick_params(labelsize=SMALL + 1, colors=INK)
    return figure


def relation_figure(results: Sequence[RowResult]) -> Figure | None:
    """Loss against accuracy of heads that normalise twice: on the line where they are saturated."""
    shown = [(result, run, found) for result in results for run in result.runs if (found := relation(run))]
    if not shown:
        return None
    classes = {run.summary["classes"]: found for _, run, found in shown}
    figure, ax = canvas("Softmax applied twice: the loss is the accuracy", len(shown) + len(classes))
    dress(ax, "test accuracy (%)", "test loss")
    best = max(found["accuracy"] for _, _, found in shown)
    line = np.array([0, min(1.0, 1.3 * best + 0.02)])
    for (number, found), dash in zip(classes.items(), itertools.cycle(("-", "--", ":")), strict=False):
        label = f"ln(e + C − 1) − accuracy, C = {number}"
        ax.plot(100 * line, found["if_saturated"] + found["accuracy"] - line, dash, color=FAINT, label=label)
    for result, _, found in shown:
        saturated = found["mean_max_p"] > SATURATED
        how = f"{'saturated' if saturated else 'NOT saturated'}, max p {found['mean_max_p']:.3f}"
        ax.plot(
            100 * found["accuracy"],
            found["loss"],
            "o" if saturated else "s",
            color=styles(results)[result.row.name]["color"],
            mfc=None if saturated else "none",
            label=f"{result.row.name} ({how})",
        )
    labels_below(figure, ax)
    return figure


def sweep_figure(results: Sequence[RowResult]) -> Figure | None:
    """Test accuracy against what a sweep varied, if that was one number."""
    lines = sweep_lines(results)
    if not lines:
        return None
    figure, ax = canvas(f"Test accuracy by {lines[0][1]}", len(lines))
    dress(ax, lines[0][1], "test accuracy (%)")
    for colour, (label, _, points) in zip(itertools.cycle(COLOURS), lines, strict=False):
        x = np.array([value for value, _ in points], dtype=float)
        mean = np.array([np.mean(values) for _, values in points])
        draw_line(ax, x, 100 * mean, color=colour, label=label)
        for value, values in points:
            ax.plot([value] * len(values), 100 * np.array(values), ".", color=colour, alpha=0.5)
        if (x > 0).all() and x.max() / x.min() > 20:
            ax.set_xscale("log")
    labels_below(figure, ax)
    return figure


def sweep_lines(results: Sequence[RowResult]) -> list[tuple[str, str, list[tuple[float, list[float]]]]]:
    """(head, what varies, [(value, accuracies)]) for each head that was run with several values of one number."""
    lines: dict[tuple[str, str], list[tuple[float, list[float]]]] = {}
    for result in results:
        accuracies = result.values(test_score("accuracy"))
        for name, value in result.row.varied.items():
            if len(result.row.varied) == 1 and accuracies and isinstance(value, int | float):
                lines.setdefault((result.row.config.head, name), []).append((value, accuracies))
    return [(head, name, sorted(points)) for (head, name), points in lines.items() if len(points) > 1]


# ---------------------------------------------------------------- all of them
def all_figures(results: Sequence[RowResult]) -> dict[str, Figure]:
    """name -> figure, of what there is to draw."""
    done = [result for result in results if result.runs]
    if not done:
        return {}
    shared: dict[str, Callable[[Sequence[RowResult]], Figure | None]] = {
        "accuracy": accuracy_figure,
        "loss": loss_figure,
        "time": time_figure,
        "sweep": sweep_figure,
        "relation": relation_figure,
        "reliability": reliability_figure,
        "learning_rate": learning_rate_figure,
    }
    made = {name: draw(results) for name, draw in shared.items()}
    made |= {
        f"confusion_{result.row.folder}": confusion_figure(result) for result in done if result.runs[0].confusion.size
    }
    return {name: figure for name, figure in made.items() if figure is not None}
