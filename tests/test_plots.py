"""The figures of made-up runs: what they show, that their texts do not overlap, and which files they need."""

from __future__ import annotations

import argparse
import itertools
import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from everyday import slow

from npsoftmax import plots
from npsoftmax.calibration import Scaling, class_scores, fit_temperature
from npsoftmax.cli import plot as command
from npsoftmax.errors import InputError
from npsoftmax.metrics import (
    classification_metrics,
    confusion_matrix,
    read_reliability,
    reliability,
    write_confusion,
    write_reliability,
)
from npsoftmax.plots import many_lines
from npsoftmax.training.calibrate import scores, table_of
from npsoftmax.training.checkpoint import write_json
from npsoftmax.training.conform import summary as summary_of
from npsoftmax.training.held_out import Answers

pytestmark = pytest.mark.filterwarnings("error")  # matplotlib warns of a layout that does not fit

ALL = ["loss", "accuracy", "learning_rate", "steps", "confusion", "per_class", "reliability", "calibrated", "set_sizes"]
LONG = "large_omnivores_and_herbivores"


def make_run(folder, n_classes=10, n_groups=None, epochs=6, validation=True, momentum=True, finished=True, steps=120):
    """A run directory with curves as they look in practice, and predictions that err within superclasses."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(n_classes)
    (folder / "config.toml").write_text("")
    time = np.arange(1, epochs + 1) / epochs
    loss, accuracy = np.log(n_classes) * np.exp(-2 * time), 1 - np.exp(-2 * time)
    lines = ["epoch,train_loss,train_accuracy,val_loss,val_accuracy,learning_rate,seconds"]
    for i in range(epochs):
        held_out = f"{loss[i] + 0.5 * time[i] ** 2},{accuracy[i] * 0.8}" if validation else ","
        lines.append(f"{i + 1},{loss[i]},{accuracy[i]},{held_out},0.1,20.5")
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    lines = ["step,loss,learning_rate,momentum"]
    for step in range(1, steps + 1):
        rate = 0.1 * np.sin(np.pi * step / steps)
        noisy = np.exp(-2 * step / steps + 0.1 * random.normal())
        lines.append(f"{step},{noisy},{rate},{0.95 - rate if momentum else ''}")
    (folder / "steps.csv").write_text("\n".join(lines) + "\n")
    if finished:
        evaluate(folder, n_classes, n_groups, random)
    return folder


def evaluate(folder, n_classes, n_groups, random):
    names = [f"class_{c:03d}" for c in range(n_classes)]
    coarse = None if n_groups is None else [c * 7 % n_groups for c in range(n_classes)]
    coarse_names = None if n_groups is None else [LONG[: 8 + g] + f"_{g}" for g in range(n_groups)]
    targets = np.repeat(np.arange(n_classes), 20)
    logits = random.normal(size=(len(targets), n_classes)) + 4 * random.uniform(size=len(targets))[:, None] * (
        np.arange(n_classes) == targets[:, None]
    )
    if coarse is not None:
        logits += np.array(coarse) == np.array(coarse)[targets][:, None]
    log_prob = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    ranked = np.argsort(-log_prob, axis=1)[:, :5]
    test = classification_metrics(targets, ranked, log_prob, n_classes, likelihood=True)
    write_confusion(folder / "confusion.csv", confusion_matrix(targets, ranked, n_classes), names)
    write_reliability(folder / "reliability.csv", reliability(log_prob, targets))
    found = Answers(log_prob, targets, random.uniform(size=len(targets)))
    inside = class_scores(np.exp(log_prob), found.u) <= 0.9
    scaling = Scaling.by_temperature(fit_temperature(log_prob, targets))
    fitted = {
        "calibration": {
            "temperature": float(1 / scaling.scale),
            "test": {"before": scores(found), "after": scores(found, scaling)},
            "reliability": {"before": table_of(found), "after": table_of(found, scaling)},
        },
        "conformal": {"coverage": 0.9, "test": summary_of(inside, found)},
    }
    for name, content in fitted.items():
        write_json(folder / f"{name}.json", content)
    classes = {"names": names, "coarse": coarse, "coarse_names": coarse_names}
    (folder / "classes.json").write_text(json.dumps(classes))
    summary = {"dataset": "cifar100", "model": "resnet18", "head": "two-level", "test": test}
    (folder / "summary.json").write_text(json.dumps(summary))


SHAPES = {
    "hundred": {"n_classes": 100, "n_groups": 20, "epochs": 30},
    "ten": {"n_classes": 10},
    "one epoch": {"n_classes": 20, "n_groups": 4, "epochs": 1, "momentum": False, "steps": 3},
    "no validation": {"n_classes": 150, "n_groups": 50, "validation": False},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return {name: make_run(root / name.replace(" ", "-"), **shape) for name, shape in SHAPES.items()}


@pytest.fixture(scope="module")
def runs(folders):
    return {name: plots.read_run(folder) for name, folder in folders.items()}


def boxes(figure):
    """(text, box in pixels) of every text that is drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    renderer = canvas.get_renderer()
    outside = set()  # matplotlib keeps labels of ticks beyond the limits, and does not draw them
    for ax in figure.axes:
        for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            for tick in axis.get_major_ticks() + axis.get_minor_ticks():
                if not min(limits) <= tick.get_loc() <= max(limits):
                    outside |= {tick.label1, tick.label2}
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in outside]
    return [(t.get_text(), t.get_window_extent(renderer).extents) for t in texts]


def widths(ax):
    return [bar.get_width() for bar in ax.patches]


# ---------------------------------------------------------------- all figures
@pytest.mark.parametrize("shape", ["hundred", *slow(s for s in SHAPES if s != "hundred")])
@pytest.mark.parametrize("name", ALL)
def test_no_text_overlaps_another_or_leaves_the_figure(runs, shape, name):
    figure = plots.FIGURES[name][0](runs[shape])
    texts = boxes(figure)
    assert len(texts) > 4
    width, height = figure.get_size_inches() * figure.dpi
    box = np.array([extents for _, extents in texts])
    assert (box[:, :2] >= 0).all() and (box[:, 2] <= width).all() and (box[:, 3] <= height).all()
    low, high = box[:, None, :2], box[:, None, 2:]
    shared = np.minimum(high, box[None, :, 2:]) - np.maximum(low, box[None, :, :2])  # (T, T, 2) overlap in x and y
    clash = (shared > 1).all(axis=2) & ~np.eye(len(texts), dtype=bool)
    assert [(texts[i][0], texts[j][0]) for i, j in np.argwhere(clash)] == []


def test_plot_run_writes_every_figure_at_150_dots_an_inch(folders):
    paths = plots.plot_run(folders["ten"])
    assert paths == [folders["ten"] / "plots" / f"{name}.png" for name in ALL]
    for content in (path.read_bytes() for path in paths):
        assert content[:8] == b"\x89PNG\r\n\x1a\n" and len(content) > 10_000
        width, height = struct.unpack(">II", content[16:24])
        assert 700 <= width <= 1300 and 400 <= height <= 1600


@pytest.mark.parametrize("name", ALL)
def test_titles_say_what_the_run_was(runs, name):
    title = plots.FIGURES[name][0](runs["ten"]).get_suptitle()
    accuracy = runs["ten"].summary["test"]["accuracy"]
    assert f"cifar100 · resnet18 · two-level · test accuracy {100 * accuracy:.2f}%" in title


def test_a_long_title_is_broken_into_lines(runs):
    from dataclasses import replace

    run = replace(runs["ten"], summary={**runs["ten"].summary, "head": "a head with a very long name " * 4})
    box = np.array([extents for _, extents in boxes(plots.loss_figure(run))])
    assert (box[:, 0] >= 0).all() and (box[:, 2] <= 6.4 * plots.DPI).all()


def test_matplotlib_is_imported_late_and_pyplot_never(folders):
    code = (
        "import sys, npsoftmax.plots as p; assert 'matplotlib' not in sys.modules;"
        f"p.loss_figure(p.read_run({str(folders['ten'])!r})).savefig(sys.argv[1]);"
        "assert 'matplotlib.pyplot' not in sys.modules and 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, folders["ten"] / "loss.png"], check=True)
    assert (folders["ten"] / "loss.png").stat().st_size > 10_000


# ---------------------------------------------------------------- curves
@pytest.mark.parametrize(
    ("draw", "column", "scale", "best"),
    [(plots.loss_figure, "loss", 1, np.argmin), (plots.accuracy_figure, "accuracy", 100, np.argmax)],
)
def test_curves_are_the_columns_and_the_best_epoch_is_marked(runs, draw, column, scale, best):
    run = runs["hundred"]
    training, validation, mark = draw(run).axes[0].lines
    np.testing.assert_array_equal(training.get_xdata(), np.arange(1, 31))
    np.testing.assert_allclose(training.get_ydata(), scale * run.epochs[f"train_{column}"])
    np.testing.assert_allclose(validation.get_ydata(), scale * run.epochs[f"val_{column}"])
    at = best(run.epochs[f"val_{column}"])
    assert mark.get_xdata()[0] == at + 1 and f"epoch {at + 1}" in validation.get_label()
    assert training.get_color() != validation.get_color()


def test_a_single_epoch_is_shown_by_markers_on_a_whole_number(runs):
    ax = plots.loss_figure(runs["one epoch"]).axes[0]
    assert all(line.get_marker() == "o" for line in ax.lines) and len(ax.lines) == 3
    assert [t for t in ax.get_xticks() if 0.5 <= t <= 1.5] == [1]


def test_without_validation_there_is_one_curve(runs):
    ax = plots.accuracy_figure(runs["no validation"]).axes[0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training"]
    assert len(ax.lines) == 1


def test_missing_and_infinite_values_leave_gaps_and_do_not_crash(tmp_path):
    folder = make_run(tmp_path / "run", finished=False)
    (folder / "metrics.csv").write_text(
        "epoch,train_loss,train_accuracy,val_loss,val_accuracy\n1,2.5,,2.6,\n2,inf,,,\n3,nan,,2.4,\n"
    )
    run = plots.read_run(folder)
    ax = plots.loss_figure(run).axes[0]
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [1])
    np.testing.assert_array_equal(ax.lines[1].get_xdata(), [1, 3])
    assert ax.get_xlim()[1] >= 3  # the curve is seen to end early
    empty = plots.accuracy_figure(run).axes[0]
    assert not empty.lines and [text.get_text() for text in empty.texts] == ["nothing recorded"]


def test_logs_with_a_header_only_are_drawn_as_empty(tmp_path):
    folder = make_run(tmp_path / "run", epochs=0, steps=0, finished=False)
    assert [path.stem for path in plots.plot_run(folder)] == ["loss", "accuracy", "learning_rate", "steps"]


def test_running_mean_agrees_with_a_loop():
    y = np.random.default_rng(0).normal(size=23)
    for window in (1, 5, 23, 99):
        expected = [y[max(i - window // 2, 0) : i + window // 2 + 1].mean() for i in range(len(y))]
        np.testing.assert_allclose(plots.running_mean(y, window), expected, atol=1e-14)
    assert len(plots.running_mean(y[:0], 3)) == 0


def test_steps_are_drawn_light_under_their_running_mean(runs):
    steps = runs["ten"].steps
    raw, smooth = plots.steps_figure(runs["ten"]).axes[0].lines
    np.testing.assert_array_equal(raw.get_ydata(), steps["loss"])
    np.testing.assert_allclose(smooth.get_ydata(), plots.running_mean(steps["loss"], 3))
    assert raw.get_alpha() < 0.5 and smooth.get_alpha() is None and smooth.get_label() == "mean of 3 steps"
    (only,) = plots.steps_figure(runs["one epoch"]).axes[0].lines  # too few to smooth
    assert only.get_alpha() is None


def test_learning_rate_has_a_second_panel_where_there_is_a_momentum(runs):
    rate, momentum = plots.learning_rate_figure(runs["ten"]).axes
    np.testing.assert_array_equal(rate.lines[0].get_ydata(), runs["ten"].steps["learning_rate"])
    np.testing.assert_array_equal(momentum.lines[0].get_ydata(), runs["ten"].steps["momentum"])
    assert rate.get_ylabel() == "learning rate" and momentum.get_xlabel() == "step"
    assert len(plots.learning_rate_figure(runs["one epoch"]).axes) == 1


# ---------------------------------------------------------------- classes
def test_confusion_is_normalised_by_row_and_ordered_by_superclass(runs):
    run = runs["hundred"]
    ax = plots.confusion_figure(run).axes[0]
    share = np.asarray(ax.images[0].get_array())
    np.testing.assert_allclose(share.sum(axis=1), 100)
    order = sorted(range(100), key=lambda c: (run.coarse[c], c))
    for row, column in ((0, 0), (17, 17), (3, 96)):
        true, predicted = order[row], order[column]
        assert share[row, column] == pytest.approx(100 * run.confusion[true, predicted] / 20)
    assert [(r.get_x(), r.get_y(), r.get_width()) for r in ax.patches] == [
        (5 * g - 0.5, 5 * g - 0.5, 5) for g in range(20)
    ]
    assert [label.get_text() for label in ax.get_yticklabels()] == [name.replace("_", " ") for name in run.coarse_names]
    np.testing.assert_array_equal(ax.get_yticks(), np.arange(20) * 5 + 2)


def test_confusion_of_few_classes_names_them_and_writes_the_numbers(runs):
    ax = plots.confusion_figure(runs["ten"]).axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == [f"class {c:03d}" for c in range(10)]
    assert len(ax.texts) == 100 and not ax.patches
    share = 100 * runs["ten"].confusion / 20
    assert [text.get_text() for text in ax.texts] == [f"{value:.0f}" for value in share.ravel()]
    twenty = runs["one epoch"]
    labels = [label.get_text() for label in plots.confusion_figure(twenty).axes[0].get_xticklabels()]
    assert labels == [f"class {c:03d}" for c in sorted(range(20), key=lambda c: (twenty.coarse[c], c))]


def test_confusion_heading_says_how_many_mistakes_stay_in_the_superclass(runs):
    run = runs["one epoch"]
    inside = outside = 0
    for (true, predicted), count in np.ndenumerate(run.confusion):
        if true != predicted:
            same = run.coarse[true] == run.coarse[predicted]
            inside, outside = inside + same * count, outside + (not same) * count
    assert f"({inside / (inside + outside):.0%} of the mistakes" in plots.confusion_figure(run).get_suptitle()


def test_superclasses_too_narrow_for_a_name_have_none(runs):
    from dataclasses import replace

    coarse = np.array([0] * 81 + list(range(1, 20)))
    ax = plots.confusion_figure(replace(runs["hundred"], coarse=coarse)).axes[0]
    assert len(ax.patches) == 20 and len(ax.get_xticks()) == 0


def test_per_class_bars_are_sorted_and_coloured_by_superclass(runs):
    run = runs["hundred"]
    figure = plots.per_class_figure(run)
    bars = [bar for ax in figure.axes for bar in ax.patches]
    names = [label.get_text() for ax in figure.axes for label in ax.get_yticklabels()]
    accuracy = {f"class {c:03d}": 100 * run.confusion[c, c] / 20 for c in range(100)}
    assert sorted(names) == sorted(accuracy)
    assert [bar.get_width() for bar in bars] == pytest.approx(sorted(accuracy.values(), reverse=True))
    assert [bar.get_width() for bar in bars] == pytest.approx([accuracy[name] for name in names])
    style = {}  # superclass -> its looks
    for name, bar in zip(names, bars, strict=True):
        style.setdefault(run.coarse[int(name[-3:])], set()).add((bar.get_facecolor(), bar.get_hatch()))
    assert all(len(looks) == 1 for looks in style.values())
    assert len(set.union(*style.values())) == 20
    assert len(figure.legends[0].get_texts()) == 20


def test_a_class_without_samples_is_last_and_says_so(runs):
    from dataclasses import replace

    counts = runs["ten"].confusion.copy()
    counts[3] = 0
    run = replace(runs["ten"], confusion=counts)
    (ax,) = plots.per_class_figure(run).axes
    assert ax.get_yticklabels()[-1].get_text() == "class 003" and ax.texts[-1].get_text() == "no samples"
    assert not plots.per_class_figure(run).legends
    assert not np.asarray(plots.confusion_figure(run).axes[0].images[0].get_array())[3].any()


def test_many_classes_are_a_curve_without_names(runs):
    run = runs["no validation"]
    (line,) = plots.per_class_figure(run).axes[0].lines
    expected = np.sort(100 * np.diag(run.confusion) / run.confusion.sum(axis=1))[::-1]
    np.testing.assert_allclose(line.get_ydata(), expected)


# ---------------------------------------------------------------- calibration
def test_reliability_shows_accuracy_confidence_and_shares(folders, runs):
    table = read_reliability(folders["ten"] / "reliability.csv")
    filled = table["count"] > 0
    figure = plots.reliability_figure(runs["ten"])
    top, bottom = figure.axes
    accuracy, excess = top.containers
    assert [bar.get_height() for bar in accuracy] == pytest.approx(table["accuracy"][filled].tolist())
    over = np.maximum(table["confidence"] - table["accuracy"], 0)[filled]
    assert [bar.get_height() for bar in excess] == pytest.approx(over.tolist())
    marks = [segment[0, 1] for segment in top.collections[0].get_segments()]
    assert marks == pytest.approx(table["confidence"][filled].tolist())
    assert sum(bar.get_height() for bar in bottom.containers[0]) == pytest.approx(100)
    test = runs["ten"].summary["test"]
    assert f"ECE {test['ece']:.3f}" in figure.get_suptitle()
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert f"mean accuracy {test['accuracy']:.3f}" in legend and "perfect calibration" in legend


# ---------------------------------------------------------------- files
def test_an_unfinished_run_is_drawn_as_far_as_it_goes(tmp_path):
    folder = make_run(tmp_path / "half", finished=False)
    assert [path.stem for path in plots.plot_run(folder)] == ["loss", "accuracy", "learning_rate", "steps"]
    assert plots.read_run(folder).title == "half · unfinished, 6 epochs so far"
    (folder / "steps.csv").unlink()
    first = (folder / "plots" / "loss.png").read_bytes()
    assert [path.stem for path in plots.plot_run(folder)] == ["loss", "accuracy"]
    assert (folder / "plots" / "loss.png").read_bytes() == first


GIVES = {
    "metrics.csv": ["loss", "accuracy"],
    "steps.csv": ["learning_rate", "steps"],
    "confusion.csv": ["confusion", "per_class"],
    "classes.json": [],
    "reliability.csv": ["reliability"],
}


FIRST, *OTHERS = GIVES


@pytest.mark.parametrize("name", [FIRST, *slow(OTHERS)])
def test_a_finished_run_that_lost_a_file_is_drawn_without_it_and_says_so(tmp_path, name, capsys):
    folder = make_run(tmp_path / "run", n_groups=2)
    (folder / name).unlink()
    assert run_command(folder) == 0
    said = capsys.readouterr()
    drawn = [figure for figure in ALL if figure not in GIVES[name]]
    assert said.out.split() == [str(folder / "plots" / f"{figure}.png") for figure in drawn]
    assert name in said.err and str(folder) in said.err and said.err.count("\n") == 1
    assert all(figure in said.err for figure in GIVES[name])
    assert plots.read_run(folder).missing == (name,)


def test_a_run_that_lost_nothing_says_nothing(folders, capsys):
    assert run_command(folders["one epoch"]) == 0
    assert capsys.readouterr().err == ""


def test_an_unfinished_run_says_what_is_not_drawn_yet_and_how_to_go_on(tmp_path, capsys):
    folder = make_run(tmp_path / "half", finished=False)
    assert run_command(folder) == 0
    told = capsys.readouterr().err
    assert "not drawn: confusion, per_class; there is no confusion.csv" in told
    assert "not drawn: reliability; there is no reliability.csv" in told
    assert f"npsoftmax train --resume {folder} goes on" in told


@pytest.mark.parametrize("name", ["calibration", pytest.param("conformal", marks=pytest.mark.slow)])
def test_a_run_without_what_calibrate_and_conform_find_is_drawn_without_a_word(tmp_path, name, capsys):
    folder = make_run(tmp_path / "run")
    (folder / f"{name}.json").unlink()
    assert run_command(folder) == 0
    drawn = [figure for figure in ALL if figure != {"calibration": "calibrated", "conformal": "set_sizes"}[name]]
    said = capsys.readouterr()
    assert said.out.split() == [str(folder / "plots" / f"{figure}.png") for figure in drawn] and said.err == ""
    (folder / f"{name}.json").write_text('{"test": 3}')
    with pytest.raises(InputError, match=f"{name}.json has no test.*fit it again"):
        plots.read_run(folder)


def test_calibrated_shows_the_reliability_before_and_after(runs):
    figure = plots.calibrated_figure(runs["hundred"])
    found = runs["hundred"].calibration
    assert f"ECE {found['test']['before']['ece']:.3f} before, {found['test']['after']['ece']:.3f} after" in title_of(
        figure
    )
    for ax, when in ((figure.axes[0], "before"), (figure.axes[1], "after")):
        table = found["reliability"][when]
        heights = [bar.get_height() for bar in ax.patches][: sum(n > 0 for n in table["count"])]
        assert heights == pytest.approx([a for a, n in zip(table["accuracy"], table["count"], strict=True) if n])


def test_set_sizes_are_shares_of_the_images(runs):
    figure = plots.set_sizes_figure(runs["ten"])
    test = runs["ten"].conformal["test"]
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == pytest.approx([100 * n / test["images"] for n in test["sizes"]]) and sum(
        heights
    ) == pytest.approx(100)
    assert f"held on the test images: {100 * test['coverage']:.1f}%" in title_of(figure)


def title_of(figure):
    return figure.get_suptitle()


@pytest.mark.parametrize("content", ["", "epoch,train_lo"])
def test_a_table_without_a_whole_line_is_not_there_yet(tmp_path, content):
    folder = make_run(tmp_path / "run", finished=False)
    (folder / "metrics.csv").write_text(content)
    assert [path.stem for path in plots.plot_run(folder)] == ["learning_rate", "steps"]


def test_whatever_is_left_of_a_run_is_drawn(tmp_path):
    folder = make_run(tmp_path / "run")
    for name in ("config.toml", "metrics.csv", "steps.csv", "classes.json", "reliability.csv", "summary.json"):
        (folder / name).unlink()
    left = ["confusion", "per_class", "calibrated", "set_sizes"]
    assert [path.stem for path in plots.plot_run(folder)] == left


def test_an_interrupted_run_says_so_in_its_titles(runs):
    from dataclasses import replace

    summary = {**runs["ten"].summary, "interrupted": True, "epochs": 3, "planned_epochs": 10}
    assert replace(runs["ten"], summary=summary).title.endswith(" · interrupted after 3 of 10 epochs")


def test_a_finished_run_without_calibration_needs_no_reliability_file(tmp_path):
    folder = make_run(tmp_path / "run")
    (folder / "reliability.csv").unlink()
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "test": {"accuracy": 0.5, "ece": None}}))
    assert plots.read_run(folder).reliability == {}
    assert plots.read_run(folder).title.endswith("two-level · test accuracy 50.00%")


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"is not a run: it has no config\.toml and no metrics\.csv"):
        plots.plot_run(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("summary.json", "{", r"summary\.json cannot be read as JSON"),
        ("summary.json", "[1]", r"summary\.json holds a list; expected a JSON object"),
        (
            "classes.json",
            '{"coarse": [0, 1], "coarse_names": ["a"]}',
            "coarse must be 10 numbers from 0 to 0",
        ),
        ("classes.json", '{"coarse": [0,0,0,0,0,0,0,0,0,5], "coarse_names": ["a"]}', "one a class"),
        (
            "metrics.csv",
            "epoch,train_loss\n1,2\n",
            r"metrics\.csv line 1: no column train_accuracy, val_loss",
        ),
        (
            "steps.csv",
            "step,loss,learning_rate,momentum\n1,a,1,1\n",
            r"steps\.csv line 2: 'a' is not a number",
        ),
    ],
)
def test_a_malformed_file_is_named(tmp_path, name, text, message):
    folder = make_run(tmp_path / "run", epochs=1, steps=1)
    (folder / name).write_text(text)
    with pytest.raises(InputError, match=message):
        plots.plot_run(folder)


# ---------------------------------------------------------------- command
def run_command(*arguments):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["plot", *map(str, arguments)])
    return args.run(args)


def test_the_command_prints_the_paths(tmp_path, capsys):
    folder = make_run(tmp_path / "run", finished=False, steps=5)
    assert run_command(folder) == 0
    printed = capsys.readouterr().out.split()
    assert printed == [str(folder / "plots" / f"{name}.png") for name in ALL[:4]]


def test_the_command_says_when_there_is_nothing_yet(tmp_path, capsys):
    (tmp_path / "config.toml").write_text("")
    assert run_command(tmp_path) == 0
    assert "nothing is recorded yet" in capsys.readouterr().out


FORMATS = [
    ("svg", b"<?xml"),
    *(pytest.param(*f, marks=pytest.mark.slow) for f in (("pdf", b"%PDF"), ("PNG", b"\x89PNG"))),
]


@pytest.mark.parametrize(("form", "begins"), FORMATS)
def test_the_command_writes_other_formats_the_same_every_time(tmp_path, form, begins, capsys):
    folder = make_run(tmp_path / "run", finished=False, steps=5)
    assert run_command(folder, "--format", form) == 0
    paths = capsys.readouterr().out.split()
    assert paths == [str(folder / "plots" / f"{name}.{form.lower()}") for name in ALL[:4]]
    first = [(folder / "plots" / f"{name}.{form.lower()}").read_bytes() for name in ALL[:4]]
    assert all(content.startswith(begins) for content in first)
    run_command(folder, "--format", form)
    assert [(folder / "plots" / f"{name}.{form.lower()}").read_bytes() for name in ALL[:4]] == first


@pytest.mark.parametrize("form", ["jpg", "", "sgv", "svg,pdf", "../svg"])
def test_an_unknown_format_is_refused_before_anything_is_drawn(tmp_path, form):
    folder = make_run(tmp_path / "run", finished=False, steps=5)
    with pytest.raises(InputError, match=r"unknown --format .* Known: pdf, png, svg"):
        run_command(folder, "--format", form)
    assert not (folder / "plots").exists()


# ---------------------------------------------------------------- many lines
def test_25_lines_differ_in_colour_or_dashes_and_in_colour_or_marker():
    found = many_lines.looks(f"head {i}" for i in range(25))
    assert len({(look["color"], look["linestyle"]) for look in found.values()}) == 25
    assert len({(look["color"], look["marker"]) for look in found.values()}) == 25
    assert many_lines.looks(["a", "b"])["b"] == list(found.values())[1]


def test_labels_keep_their_distance_and_move_little():
    assert many_lines.apart([0.1, 0.5, 0.9], 0.1).tolist() == pytest.approx([0.1, 0.5, 0.9])
    assert many_lines.apart([0.5, 0.5, 0.5], 0.1).tolist() == pytest.approx([0.4, 0.5, 0.6])
    assert many_lines.apart([1.0, 1.0], 0.2).tolist() == pytest.approx([0.8, 1.0])
    assert len(many_lines.apart([], 0.1)) == 0
    crowded = many_lines.apart(np.sort(np.random.default_rng(0).random(30)), 0.05)
    assert (np.diff(crowded) >= 0.05 - 1e-9).all() and crowded[0] == 0


def test_what_rises_is_nearest_as_scikit_learn_finds_it():
    from sklearn.isotonic import isotonic_regression

    for seed in range(20):
        values = np.random.default_rng(seed).normal(size=1 + seed) + 0.1 * np.arange(1 + seed)
        np.testing.assert_allclose(many_lines.rising(values), isotonic_regression(values), atol=1e-12)


@pytest.mark.parametrize("n", [1, 17, 25])
def test_ends_are_numbered_from_top_to_bottom_without_touching(n):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 3.6), dpi=100, layout="constrained")
    ax = figure.subplots()
    names = [f"head {i}" for i in range(n)]
    x, ends = np.arange(1, 6), np.random.default_rng(n).permutation(n) * 0.01
    look = many_lines.looks(names)
    lines = [many_lines.draw_look(ax, x, x + end, look[name], name) for name, end in zip(names, ends, strict=True)]
    lines.append(many_lines.draw_look(ax, x, x * np.nan, look[names[0]], "nothing"))
    ordered = many_lines.number_ends(ax, lines, 3.0)
    assert [line.get_label() for line in ordered] == [*(names[i] for i in np.argsort(-ends)), "nothing"]
    texts = {text: box for text, box in boxes(figure) if text in {str(i + 1) for i in range(n)} and box[0] > 380}
    assert len(texts) == n
    tops = [texts[str(i + 1)][[1, 3]] for i in range(n)]  # bottom and top of each number
    assert all(above[0] > below[1] - 1 for above, below in itertools.pairwise(tops))


def test_a_very_long_label_loses_its_middle_and_a_dollar_is_a_dollar():
    assert many_lines.shorter("softmax tau=0.5") == "softmax tau=0.5"
    assert len(many_lines.shorter("x" * 300)) == many_lines.LETTERS
    assert many_lines.shorter("x" * 100 + "=7").endswith("x=7") and many_lines.shorter("$a$") == r"\$a\$"
