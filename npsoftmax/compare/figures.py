"""The figures of a report: all rows on shared axes.

Sizes are those of a phone held upright (4.6 inches are 440 CSS pixels), so that nothing has to be shrunk much.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npsoftmax.compare.collect import RowResult, curve, fastest_epoch, held_out, relation, seeds_of, test_score
from npsoftmax.compare.tables import SATURATED
from npsoftmax.plots.classes import FEW, draw_matrix
from npsoftmax.plots.many_lines import draw_look, legend_of, looks, note, number_ends
from npsoftmax.plots.run_files import Run
from npsoftmax.plots.style import FAINT, INK, TITLE, dress, whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

WIDTH, HEIGHT = 4.6, 3.6
AROUND = 0.95  # inches of the height that heading, note and labels take
MATRIX_SIDE = 190  # points of a confusion matrix, at least
BANDS = 8  # rows whose bands can be told apart, at most
TICKS = 8  # values of a sweep that are written below the axis, at most
LOG = 20  # a number that varies by more than this factor has a logarithmic axis


def styles(results: Sequence[RowResult]) -> dict[str, dict[str, Any]]:
    """Colour, dashes and marker of each row, the same in every figure."""
    return looks(result.row.name for result in results)


def canvas(heading: str, rows: int = 0, height: float = HEIGHT, **grid: Any) -> tuple[Figure, Any]:
    """A figure with its heading and room for a legend of `rows` labels below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height + 0.19 * rows), layout="constrained", facecolor="white")
    figure.suptitle("\n".join(textwrap.wrap(heading.replace("$", r"\$"), 52)), fontsize=TITLE, color=INK)
    return figure, figure.subplots(**grid)


def labels_below(figure: Figure, ax: Axes) -> None:
    """One label a line below the axes, in the order of drawing."""
    legend_of(figure, *ax.get_legend_handles_labels())


def points(ax: Axes, x: Sequence[float], y: Sequence[float], look: dict[str, Any], label: str, **options: Any) -> None:
    """Markers of a look without a line."""
    options = {"markersize": 6, "mec": "white", "mew": 0.5, **options}
    ax.plot(x, y, color=look["color"], marker=look["marker"], linestyle="none", label=label, **options)


# ---------------------------------------------------------------- curves
def curves_figure(
    results: Sequence[RowResult], what: str, ylabel: str, scale: float, form: str, warning: str = ""
) -> Figure | None:
    """`what` against epochs, a row a line: the mean over its seeds, and their standard deviation as a band.

    The legend is in the order in which the lines end, with the last value as `form`; a line has its number at its end.
    """
    shown = [result for result in results if any(len(curve(run, what)[0]) for run in result.runs)]
    if not shown:
        return None
    figure, ax = canvas(_curves_heading(shown, what), len(shown))
    dress(ax, "epoch", ylabel)
    whole_numbers(ax)
    lines = []
    seeds, most = seeds_of(shown)
    bands = most > 1 and len(shown) <= BANDS
    for result in shown:
        epochs, values = mean_curve([found for run in result.runs if len((found := curve(run, what))[0])])
        look = styles(results)[result.row.name]
        mean = scale * values.mean(axis=0)
        lines.append(draw_look(ax, epochs, mean, look, result.row.name))
        if bands and len(values) > 1:
            deviation = scale * values.std(axis=0, ddof=1)
            ax.fill_between(epochs, mean - deviation, mean + deviation, color=look["color"], alpha=0.15, linewidth=0)
    note(ax, "\n".join(filter(None, [_lines_are(seeds, most, bands), warning])))
    ordered = number_ends(ax, lines, HEIGHT - AROUND)
    legend_of(figure, ordered, [_ending(number, line, form) for number, line in enumerate(ordered, 1)])
    return figure


def _ending(number: int, line: Line2D, form: str) -> str:
    """Number, name and last value of a line."""
    values = np.asarray(line.get_ydata())
    return f"{number}  {line.get_label()}: {form.format(values[-1]) if len(values) else 'not a number'}"


def _curves_heading(shown: Sequence[RowResult], what: str) -> str:
    """Which images the curves are of: those of validation where a run held some out."""
    where = {held_out(run) for result in shown for run in result.runs}
    whose = f"{what.capitalize()} by epoch (of validation, else of training)"
    return whose if len(where) != 1 else f"{'Validation' if where.pop() else 'Training'} {what} by epoch"


def _lines_are(seeds: str, most: int, bands: bool) -> str:
    """What lines and bands stand for, in a sentence."""
    if most < 2:
        return "One seed a row."
    mean = f"Line: mean of {seeds}"
    return f"{mean}. Band: ± standard deviation." if bands else f"{mean}. Too many rows for bands: see the tables."


def mean_curve(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """(epochs (E,), values (runs, E)) over the epochs that all have; what is not finite is NaN."""
    length = min(len(epochs) for epochs, _ in curves)
    values = np.array([values[:length] for _, values in curves])
    return curves[0][0][:length], np.where(np.isfinite(values), values, np.nan)


def loss_figure(results: Sequence[RowResult]) -> Figure | None:
    """Loss curves."""
    heads = {result.row.config.head for result in results}
    warning = "Heads have different losses: compare a line with itself." if len(heads) > 1 else ""
    return curves_figure(results, "loss", "loss", 1.0, "{:.3g}", warning)


def accuracy_figure(results: Sequence[RowResult]) -> Figure | None:
    """Accuracy curves."""
    return curves_figure(results, "accuracy", "accuracy (%)", 100, "{:.1f}%")


def learning_rate_figure(results: Sequence[RowResult]) -> Figure | None:
    """Learning rate of every step, of the first run of each row; rows with the same share a line."""
    lines: dict[bytes, tuple[Run, list[str]]] = {}
    for result in results:
        for run in [run for run in result.runs if run.steps][:1]:
            rates = run.steps["learning_rate"]
            lines.setdefault(rates.tobytes(), (run, []))[1].append(result.row.name)
    if not lines:
        return None
    figure, ax = canvas("Learning rate by step", len(lines), 2.6)
    dress(ax, "step", "learning rate")
    for run, names in lines.values():
        label = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        draw_look(ax, run.steps["step"], run.steps["learning_rate"], styles(results)[names[0]], label)
    ax.set_ylim(bottom=0)
    labels_below(figure, ax)
    return figure


# ---------------------------------------------------------------- one point or line a row
def time_figure(results: Sequence[RowResult]) -> Figure | None:
    """Test accuracy against the seconds of an epoch, best row first in the legend."""
    found = {
        result.row.name: [
            (seconds, 100 * accuracy)
            for run in result.runs
            if (seconds := fastest_epoch(run)) and (accuracy := test_score("accuracy")(run)) is not None
        ]
        for result in results
    }
    shown = {name: both for name, both in found.items() if both}
    if not shown:
        return None
    figure, ax = canvas("Time of an epoch and test accuracy", len(shown))
    dress(ax, "seconds of the fastest epoch", "test accuracy (%)")
    for name in sorted(shown, key=lambda name: -np.mean([accuracy for _, accuracy in shown[name]])):
        x, y = zip(*shown[name], strict=True)
        points(ax, x, y, styles(results)[name], name)
    note(ax, "A mark is one run. Up and left is better. Legend: the most accurate row first.")
    ax.set_xlim(0, 1.05 * max(x for both in shown.values() for x, _ in both))
    labels_below(figure, ax)
    return figure


def reliability_figure(results: Sequence[RowResult]) -> Figure | None:
    """Accuracy against confidence in bins, of each row's first run that has probabilities."""
    shown = [(result, run) for result in results for run in [run for run in result.runs if len(run.reliability)][:1]]
    if not shown:
        return None
    figure, ax = canvas("Reliability: is a row as often right as it is sure?", len(shown))
    dress(ax, "confidence (largest probability)", "accuracy")
    ax.plot([0, 1], [0, 1], color=FAINT, linewidth=1, zorder=0)
    for result, run in shown:
        table = run.reliability
        filled = table["count"] >= 10  # fewer samples say nothing
        look = styles(results)[result.row.name]
        draw_look(ax, table["confidence"][filled], table["accuracy"][filled], look, result.row.name)
    note(
        ax, "Above the diagonal: more often right than sure; below: too sure.\nFirst seed; bins of 10 samples or more."
    )
    ax.set(xlim=(0, 1), ylim=(0, 1))
    labels_below(figure, ax)
    return figure


def confusion_figure(result: RowResult) -> Figure:
    """The confusion matrix of the row's first run, as shares of the true class; the same colours in every report."""
    run = next(run for run in result.runs if run.confusion.size)
    figure, ax = canvas(f"Confusion matrix: {result.row.name}", 0, 5.0)
    draw_matrix(figure, ax, run, MATRIX_SIDE, "bottom")
    words = [f"Seed {run.summary.get('seed', '?')}."] if len(result.outcomes) > 1 else []
    if run.coarse is not None:
        words.append("Boxes: superclasses" + (", named at the left." if len(run.names) > FEW else "."))
    note(ax, " ".join(words))
    return figure


def relation_figure(results: Sequence[RowResult]) -> Figure | None:
    """Loss against accuracy of heads that normalise twice: on the line where they are saturated."""
    shown = [(result, run, found) for result in results for run in result.runs if (found := relation(run))]
    if not shown:
        return None
    classes = {run.summary["classes"]: found for _, run, found in shown}
    names = dict.fromkeys(result.row.name for result, _, _ in shown)
    figure, ax = canvas("Softmax applied twice: the loss is the accuracy", len(names) + len(classes))
    dress(ax, "test accuracy (%)", "test loss")
    best = max(found["accuracy"] for _, _, found in shown)
    line = np.array([0, min(1.0, 1.3 * best + 0.02)])
    for (number, found), dash in zip(classes.items(), itertools.cycle(("-", "--", ":")), strict=False):
        label = f"ln(e + C − 1) − accuracy, C = {number}"
        ax.plot(100 * line, found["if_saturated"] + found["accuracy"] - line, dash, color=FAINT, label=label)
    for name in names:
        found_here = [found for result, _, found in shown if result.row.name == name]
        mean = np.mean([found["mean_max_p"] for found in found_here])
        for number, found in enumerate(found_here):
            face = (
                {}
                if found["mean_max_p"] > SATURATED
                else {"mfc": "none", "mec": styles(results)[name]["color"], "mew": 1.4}
            )
            label = "_" if number else f"{name} (largest p {mean:.3f} on average)"
            points(ax, [100 * found["accuracy"]], [found["loss"]], styles(results)[name], label, **face)
    note(
        ax,
        f"A mark is one run. Filled: saturated (its largest p is above {SATURATED} on average),\n"
        "so it must lie on the line. Hollow: not saturated.",
    )
    labels_below(figure, ax)
    return figure


def sweep_figure(results: Sequence[RowResult]) -> Figure | None:
    """Test accuracy against what a sweep varied, if that was one number."""
    lines = sweep_lines(results)
    if not lines:
        return None
    seeds, most = seeds_of(results)
    figure, ax = canvas(f"Test accuracy by {lines[0][1]}", len(lines))
    dress(ax, lines[0][1], "test accuracy (%)")
    look = looks(label for label, _, _ in lines)
    for label, _, found in lines:
        x = np.array([value for value, _ in found], dtype=float)
        mean = np.array([np.mean(values) for _, values in found])
        draw_look(ax, x, 100 * mean, look[label], label)
        for value, values in found:
            if len(values) > 1:
                ax.plot([value] * len(values), 100 * np.array(values), ".", color=look[label]["color"], alpha=0.5)
    tried = sorted({value for _, _, found in lines for value, _ in found})
    if tried[0] > 0 and tried[-1] / tried[0] > LOG:
        ax.set_xscale("log")
    if len(tried) <= TICKS:
        ax.minorticks_off()
        ax.set_xticks(tried, [f"{value:g}" for value in tried])
    note(ax, f"Line: mean of {seeds}. Dots: single seeds." if most > 1 else "One seed a mark.")
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
        f"confusion_{result.row.folder}": confusion_figure(result)
        for result in done
        if any(run.confusion.size for run in result.runs)
    }
    return {name: figure for name, figure in made.items() if figure is not None}
