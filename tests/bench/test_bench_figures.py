"""Rounds, ratios, tables, shapes of layers and the roofline: from given answers, with nothing measured."""

from __future__ import annotations

import math

import numpy as np
import pytest

from npsoftmax.bench import layers, machine, our_layers, report, step, turns, workers
from npsoftmax.bench.roofline import roofline_figure
from npsoftmax.bench.shapes import RESNET9, Conv, NormReLU, Pool, parse_shape
from npsoftmax.errors import InputError
from npsoftmax.layers.conv import ALGORITHMS

SIDES = ("npsoftmax", "torch-nchw", "torch-channels-last")
ROOFS = {"sgemm": 200.0, "L2": 150.0, "L3": 135.0, "DRAM": 35.0}


# ---------------------------------------------------------------- rounds and ratios
def test_the_ratio_is_to_the_better_rival():
    ours, slow, fast = (turns.summary(rounds) for rounds in ([30.0, 20.0, 25.0], [1.0, 8.0, 2.0], [4.0, 5.0, 5.0]))
    assert turns.ratio_to_better(ours, [slow, fast]) == {"ratio": 25 / 5, "ratio_per_round": [30 / 4, 20 / 8, 25 / 5]}
    assert turns.ratio_to_better(ours, [slow, fast], min)["ratio"] == 25 / 2
    assert turns.ratio_to_better(ours, []) == {"ratio": None, "ratio_per_round": None}


def test_sides_take_turns():
    calls, told = [], []

    def measure(model, side):
        calls.append(side)
        return len(calls)

    measured = turns.take_turns([("m", "a"), ("m", "b")], 3, measure, lambda *round_: told.append(round_))
    assert calls == ["a", "b"] * 3 and told[2] == (2, ("m", "a"), 3)
    assert measured["m", "a"] == [1, 3, 5]
    assert turns.of_kind(measured, "m") == {("a",): [1, 3, 5], ("b",): [2, 4, 6]} and not turns.of_kind(measured, "n")
    assert turns.summary([5.0, 1.0, 3.0]) == {"median": 3.0, "min": 1.0, "max": 5.0, "rounds": [5.0, 1.0, 3.0]}


def test_calls_are_timed_in_turn_and_the_first_ones_left_out():
    made = []
    taken = workers.time_in_turn({"a": lambda: made.append("a"), "b": lambda: made.append("b")}, 0, warm_up=1, least=3)
    assert made == ["a", "b"] * 4
    assert [len(values) for values in taken.values()] == [3, 3] and min(taken["a"]) >= 0


# ---------------------------------------------------------------- tables
def test_columns_are_of_one_width():
    lines = report.table(["name", "figure"], [["a", "1.0"], ["longer", "1000.0"]], 1).splitlines()
    assert lines == ["name    figure", "------  ------", "a          1.0", "longer  1000.0"]


def test_ratios_that_differ_between_rounds_are_warned_of():
    steady = {"ratio_per_round": [1.9, 2.0, 2.1]}
    assert report.unsteady([steady, {"ratio_per_round": None}]) is None
    assert "1 of 2 ratios" in report.unsteady([steady, {"ratio_per_round": [1.0, 2.0, 2.0]}])


def test_the_step_table_has_the_ratio_in_our_row():
    speeds = {"npsoftmax": [200.0, 210.0, 190.0], "torch-nchw": [50.0, 60.0, 40.0], "torch-channels-last": [100.0] * 3}
    answers = {side: [{"images_per_second": s, "macs": 10**9} for s in rounds] for side, rounds in speeds.items()}
    measured = {("resnet9", "train", side): found for side, found in answers.items()}
    figures = step.figures_of(measured, "resnet9", "train", roof=2400.0)
    assert figures["images_per_second"] == 200 and figures["torch_images_per_second"] == 100 and figures["ratio"] == 2
    assert figures["ratio_per_round"] == [2.0, 2.1, 1.9] and figures["share_of_roof"] == pytest.approx(200 * 6 / 2400)
    rows = report.step_table({("resnet9", "train"): figures}).splitlines()
    assert rows[2].split() == [
        "resnet9",
        "train",
        "npsoftmax",
        "200",
        "(190-210)",
        "50%",
        "x2.00",
        "2.00",
        "2.10",
        "1.90",
    ]
    assert rows[3].split() == ["resnet9", "train", "torch-nchw", "50.0", "(40.0-60.0)", "-", "-", "-"]


# ---------------------------------------------------------------- the guards
def test_the_guard_of_steps_names_what_differs():
    agreed = {"losses": [4.6, 4.5, 4.4], "moves": {"w": 1.0, "b": 0.01, "bias_before_norm": 1e-8}}
    rounded = {"losses": [4.6001, 4.5, 4.4], "moves": {"w": 1.001, "b": 0.01, "bias_before_norm": 5e-8}}
    assert step.differences(agreed, rounded) == []
    tiny = {**agreed, "losses": [4.6, 5.2e-5, 5e-5]}
    assert step.differences({**agreed, "losses": [4.6, 5.3e-5, 5e-5]}, tiny) == []
    for losses in ([4.61, 4.5, 4.4], [4.6, math.nan, 4.4], [4.6, 4.5, 4.3]):
        assert len(step.differences({**agreed, "losses": losses}, agreed)) == 1
    [frozen] = step.differences(agreed, {**agreed, "moves": {**agreed["moves"], "b": 0.0}})
    assert "move of b" in frozen
    assert step.differences(agreed, {**agreed, "moves": {"w": 1.0}})


def test_no_figures_when_the_guard_of_steps_objects(monkeypatch):
    def worker(job):
        assert job["task"] == "guard" and job["dropout"] is False
        return {"losses": [4.0, 3.0, 2.0 if job["side"] == "npsoftmax" else 2.5], "moves": {"w": 1.0}}

    monkeypatch.setattr(step, "run_worker", worker)
    with pytest.raises(workers.BenchmarkError, match=r"same work on mlp; no ratio is given.\n  loss in evaluation"):
        step.check_same_work({"model": "mlp"})


def test_no_ratio_where_a_layer_comes_to_something_else():
    right, wrong = [[1.0, -2.0, 3.0], [0.5]], [[1.0, -2.0, 3.1], [0.5]]
    answer = {side: [{"samples": {"backward": right}}] for side in SIDES}
    measured = {("4->5@6", side, "auto"): found for side, found in answer.items()}
    layers.check_same_results(measured)
    measured["4->5@6", "npsoftmax", "winograd"] = [{"samples": {"backward": wrong}}]
    with pytest.raises(workers.BenchmarkError, match=r"winograd and npsoftmax .* backward of 4->5@6"):
        layers.check_same_results(measured)
    assert not layers.agree(right, right[:1]) and not layers.agree(right, [right[0], [math.nan]])


# ---------------------------------------------------------------- shapes
def test_shapes_are_read_as_they_are_named():
    for shape in RESNET9:
        assert parse_shape(shape.name) == shape
    assert parse_shape(" 64-128@32 ") == Conv(64, 128, 32)
    for text in ("", "64@", "a-b@3", "0-4@5", "8@9/2", "3>4@5"):
        with pytest.raises(InputError, match="no shape of a layer"):
            parse_shape(text)


def test_work_is_what_the_definition_asks_for():
    conv, n = Conv(64, 128, 32), 128
    forward, backward = conv.work("forward", n), conv.work("backward", n)
    assert forward.flops == 2 * 9 * 64 * 128 * 32 * 32 * n == conv.work("weight gradient", n).flops
    assert (
        backward.flops == 2 * forward.flops and Conv(3, 64, 32).work("backward", n).flops == 2 * 9 * 3 * 64 * 1024 * n
    )
    assert forward.bytes == 4 * (n * 1024 * (64 + 128) + 9 * 64 * 128)
    assert forward.intensity == forward.flops / forward.bytes
    assert NormReLU(64, 32).work("backward", n).bytes == 3 * 4 * n * 1024 * 64
    assert Pool(64, 32, 2).work("forward", n).bytes == 4 * n * 1024 * 64 * 5 / 4


def test_layers_are_measured_by_the_algorithms_asked_for():
    found = layers.cases([Conv(4, 5, 6), Pool(4, 6, 2)], SIDES, ("auto", "tiled"))
    assert found[:2] == [("layer", "4->5@6", "npsoftmax", "auto"), ("layer", "4->5@6", "npsoftmax", "tiled")]
    assert [case[2:] for case in found[4:]] == [(side, "auto") for side in SIDES]


def test_every_algorithm_that_trains_has_its_gradients_one_by_one():
    assert set(our_layers.KERNELS) == set(ALGORITHMS) - {"auto", "naive", "im2col"}


# ---------------------------------------------------------------- the roofline
def records(shapes, beside_torch=True):
    """Figures as they might be: convolutions at 1.5 of the roof, PyTorch's at 0.9, the others well below memory's."""
    measured = {}
    for shape in shapes:
        for side, of_roof in zip(SIDES, (1.5, 0.9, 0.8), strict=True):
            if beside_torch or side == "npsoftmax":
                work = {name: shape.work(name, 128) for name in shape.passes()}
                speed = {name: of_roof * min(200e9, 0.4 * 35e9 * found.intensity) for name, found in work.items()}
                seconds = {name: found.flops / speed[name] for name, found in work.items()}
                measured[shape.name, side, "auto"] = [{"seconds": seconds, "algorithm": "tiled"}]
    return layers.figures_of(measured, ROOFS, 128)


def drawn(figure):
    """Every level text and its box in pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    ticks = {t for ax in figure.axes for axis in (ax.xaxis, ax.yaxis) for t in axis.get_ticklabels(which="both")}
    texts = [t for t in figure.findobj(Text) if t.get_text().strip() and not t.get_rotation() and t not in ticks]
    return [(t.get_text(), t.get_window_extent(renderer).extents) for t in texts]


@pytest.mark.parametrize("beside_torch", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "shapes", [RESNET9, pytest.param(RESNET9[6:], marks=pytest.mark.slow), (Conv(3, 10, 32), Conv(10, 10, 16))]
)
def test_no_text_of_the_roofline_overlaps_another_or_leaves_it(shapes, beside_torch):
    here = {**machine.machine(2), "torch": "2.13.0", "settings": {"batch_size": 128}}
    figure = roofline_figure(records(shapes, beside_torch), ROOFS, here)
    texts = drawn(figure)
    names = " ".join(text for text, _ in texts)
    assert "200 GFLOP/s" in names and ("PyTorch" in names) == beside_torch
    assert ("3→64@32" in names and "512→512@4" in names) == (shapes == RESNET9)
    width, height = figure.get_size_inches() * figure.dpi
    box = np.array([extents for _, extents in texts])
    assert (box[:, :2] >= 0).all() and (box[:, 2] <= width).all() and (box[:, 3] <= height).all()
    shared = np.minimum(box[:, None, 2:], box[None, :, 2:]) - np.maximum(box[:, None, :2], box[None, :, :2])
    clash = (shared > 1).all(axis=2) & ~np.eye(len(texts), dtype=bool)
    assert [(texts[i][0], texts[j][0]) for i, j in np.argwhere(clash)] == []


def test_points_of_the_roofline_are_the_figures():
    [forward, *_] = found = records([Conv(64, 128, 32)])
    ours = forward["sides"]["npsoftmax"]["speed"]["median"]
    assert ours == pytest.approx(300) and forward["share_of_roof"] == pytest.approx(1.5)
    assert forward["ratio"] == pytest.approx(1.5 / 0.9)
    here = {**machine.machine(2), "torch": "2.13.0", "settings": {"batch_size": 128}}
    main = roofline_figure(found, ROOFS, here).axes[0]
    points = {(line.get_xdata()[0], round(line.get_ydata()[0], 6)) for line in main.lines if len(line.get_xdata()) == 1}
    assert {(forward["intensity"], 300.0), (forward["intensity"], 180.0)} <= points
