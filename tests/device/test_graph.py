"""A step as a CUDA graph: the same bits as by hand, whatever changes from step to step; what cannot be one says so.

The stand-in records what is launched while a stream is captured, runs none of it, and replays it when the graph is
launched, with the same memory and the same arguments: a number of the host that should have changed stays as it was.
"""

from __future__ import annotations

import gc
import json
import shlex

import numpy as np
import pytest
import strict_cupy
import strict_graph
from everyday import mostly_slow
from parity import table

from npsoftmax import cublas
from npsoftmax.backend import array_module
from npsoftmax.cli.main import main
from npsoftmax.cuda import Constant, joined
from npsoftmax.functional import linear_softmax
from npsoftmax.heads import HEADS, ClassInfo
from npsoftmax.kernels.linear_softmax import reference as linear_softmax_kernels
from npsoftmax.layers import all_layers
from npsoftmax.models import MODELS, build_model
from npsoftmax.params import leaves
from npsoftmax.random import Rng
from npsoftmax.training.checkpoint import load_arrays
from npsoftmax.training.graph import Capturing, StepGraph
from npsoftmax.training.optimizers import OPTIMIZERS
from npsoftmax.training.step import TrainingStep
from npsoftmax.training.trainer import MOST_PREDICTED

pytestmark = [
    pytest.mark.filterwarnings("ignore::npsoftmax.heads.LegacyWiringWarning"),
    pytest.mark.filterwarnings("ignore:adaptive softmax"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # of numbers that nobody computes while it is recorded
]
TINY, samples = table("models/test_models.py", "TINY"), table("models/test_models.py", "samples")
LABELS = np.array([1, 6, 0, 1, 2])
CLASSES = ClassInfo(7, counts=np.arange(1, 8), coarse=np.arange(7) % 2)


# ---------------------------------------------------------------- single steps, of all models and heads
class Steps:
    """A training step of which all that changes lies on the device, and all that it changes."""

    def __init__(
        self, strict, name, head, optimizer="adam", classes=CLASSES, decay=0.1, momentum=0.9, predicts=True, **options
    ):
        model_opts, shape = TINY[name]
        if head == "legacy_adaptive_untrained":
            model_opts, options = {**model_opts, "logits": 7}, {"head_opts": {"cutoffs": (3, 5)}, **options}
        self.model = build_model(name, head, classes, shape, model_opts=model_opts, **options).to(strict)
        momentum = {"momentum": momentum} if optimizer == "sgd" else {}
        self.predicts, self.plain = predicts, momentum == {"momentum": 0}
        self.optimizer = OPTIMIZERS[optimizer](self.model.params, weight_decay=decay, **momentum)
        self.step = TrainingStep(self.model, self.optimizer, strict, Rng(0), clip_value=0.5, clip_norm=0.1)
        self.x, self.labels, self.samples = map(strict.asarray, (samples(name, 5, np.float32), LABELS, np.arange(5)))
        self.number = strict.asarray(np.zeros(1, np.uint64))
        self.rates = strict.asarray(np.zeros(len(self.optimizer.rates(0.1, None, 1))))
        self.xp = strict.xp

    @property
    def uncaptured(self):
        layers = (layer.uncaptured for layer in all_layers(self.model.trunk))
        return self.model.head.uncaptured or next(filter(None, layers), "")

    def by_hand(self):
        found = self.step.forward(self.x, self.labels, self.samples, self.number, 5)
        results = [found.loss]
        if self.predicts:
            best = self.model.head.predict(found.h, rng=found.rng.child("predict"))[:, 0]
            results.append((best == self.labels).sum())
        self.step.update(found, rates=self.rates)
        return results

    def captured(self):
        self.capturing, results = Capturing(self.xp), []
        graph = self.capturing.graph_of(lambda: results.extend(self.by_hand()))
        return graph, results

    def set(self, number):
        self.number.set(np.array([number], np.uint64))
        self.rates.set(
            np.array(self.optimizer.rates(0.1 / (1 + number), None if self.plain else 0.9 - 0.1 * number, number + 1))
        )

    def state(self):
        trees = self.model.params, self.model.buffers, self.optimizer.state
        return {f"{i} {name}": a.get() for i, tree in enumerate(trees) for name, a in leaves(tree)}


def replayed_and_by_hand(make):
    """State and results after a step by hand and two of a graph, and after three by hand."""
    found = []
    for graph_too in (True, False):
        steps = make()
        results = []
        for number in range(3):
            steps.set(number)
            if number == 1 and graph_too:
                graph, there = steps.captured()
            if number and graph_too:
                graph.launch()
            else:
                there = steps.by_hand()
            results.append([float(a.get()) for a in there])
        found.append((steps.state(), results))
    return found


def assert_the_same_bits(make):
    (state, results), (expected, expected_results) = replayed_and_by_hand(make)
    assert results == expected_results and len({loss for loss, *_ in results}) == 3
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert state[name].tobytes() == value.tobytes(), name


VARIANTS = {
    "huffman": ("hierarchical", {"tree": "huffman"}),
    "superclass": ("hierarchical", {"tree": "superclass"}),
    "weights": ("softmax", {"class_weight": "balanced", "ignore_label": 3, "label_smoothing": 0.1, "z_loss": 0.01}),
    "prior": ("balanced", {"prior": "train"}),
    "noise in evaluation": ("gumbel_softmax", {"eval_noise": True, "noise": "normal"}),
}


@pytest.mark.parametrize("name", mostly_slow([*HEADS, *VARIANTS], {"log_softmax", "hierarchical", "weights"}))
def test_a_step_of_a_head_is_a_graph_or_the_head_says_why_not(name, strict):
    head, options = VARIANTS.get(name, (name, {}))

    def make():
        return Steps(strict, "mlp", head, **({"head_opts": options} if options else {}))

    if why := make().uncaptured:
        assert why[0].islower() and not why.endswith(".")
        return
    assert_the_same_bits(make)


MANY = ClassInfo(10_000, counts=np.arange(1, 10_001), coarse=np.arange(10_000) // 50)
OF_FEW_ROWS = {"plain": ("sgd", {"decay": 0, "momentum": 0}), "sgd": ("sgd", {}), "adam": ("adam", {})}


@pytest.mark.parametrize("rule", mostly_slow(OF_FEW_ROWS, {"sgd"}))
@pytest.mark.parametrize("name", mostly_slow(["sampled", "nce", "hierarchical", "huffman", "superclass"], {"sampled"}))
def test_a_step_with_gradients_of_a_few_rows_is_a_graph(name, rule, strict):
    """Of so many classes a run predicts nothing while it trains: a tree of superclasses would be waited for."""
    head, options = VARIANTS.get(name, (name, {}))
    optimizer, settings = OF_FEW_ROWS[rule]
    options = {"classes": MANY, "head_opts": options, "predicts": name != "superclass"}
    assert not Steps(strict, "mlp", head, **options).uncaptured and MANY.n > MOST_PREDICTED
    assert_the_same_bits(lambda: Steps(strict, "mlp", head, optimizer, **options, **settings))


def test_a_softmax_in_blocks_of_classes_is_a_graph(strict, monkeypatch):
    monkeypatch.setattr(linear_softmax, "DEVICE_KEPT", 0)
    monkeypatch.setattr(linear_softmax_kernels, "DEVICE_BLOCK", 3 * len(LABELS))
    options = {"logits": "blocks", "label_smoothing": 0.1, "z_loss": 0.01}
    assert_the_same_bits(lambda: Steps(strict, "mlp", "softmax", head_opts=options))


@pytest.mark.parametrize("name", mostly_slow(MODELS, {"convnet"}))
def test_a_step_of_a_model_is_a_graph(name, strict):
    assert not Steps(strict, name, "softmax").uncaptured
    assert_the_same_bits(lambda: Steps(strict, name, "softmax"))


@pytest.mark.parametrize("name", mostly_slow(OPTIMIZERS, {"adamw"}))
def test_a_step_of_an_optimiser_is_a_graph(name, strict):
    assert_the_same_bits(lambda: Steps(strict, "convnet" if name == "muon" else "mlp", "softmax", name))


def test_what_has_to_run_by_hand_says_so():
    for head, options in (
        ("gumbel_softmax", {"tau": 2.0, "tau_end": 1.0, "anneal_steps": 9}),
        ("arcface", {"share": 0.5}),
    ):
        assert build_model("mlp", head, CLASSES, (8, 8, 1), head_opts=options).head.uncaptured


# ---------------------------------------------------------------- runs
RUN = shlex.split(
    """train --data digits --limit-train 60 --limit-test 20 --epochs 3 --batch-size 16 --log-every 3 --no-plots --quiet
    --lr 0.01 --seed 5 --backend cupy"""
)
CONVNET = shlex.split("--model convnet --model-opt widths=2,4 --model-opt fc=8")
LOUD = [*(word for word in RUN if word != "--quiet"), *CONVNET]
NOISY = shlex.split("--head gumbel_softmax --augment cutout --clip-norm 1")


def train(path, *words):
    model = [] if "--model" in words else CONVNET
    assert main([*RUN, *model, "--out", str(path), *words]) == 0
    return outcome(path)


def outcome(path):
    tables = [(path / name).read_text().splitlines() for name in ("steps.csv", "metrics.csv")]
    rows = [*tables[0], *(line.rpartition(",")[0] for line in tables[1])]  # without the seconds
    arrays = load_arrays(path / "checkpoints" / "last.safetensors")
    return {name: a.tobytes() for name, a in arrays.items()}, rows


def test_a_run_of_graphs_ends_with_the_bits_of_one_by_hand(strict, tmp_path):
    """Noise, augmentation, one-cycle with its momentum, clipping, a shorter last batch that is captured apart."""
    strict_graph.counts.clear()
    graphs = train(tmp_path / "graphs", *NOISY)
    assert strict_graph.counts["graphs"] == 3 * 4 - 2, "all but the first of each length"
    hand = train(tmp_path / "hand", *NOISY, "--no-graph")
    assert strict_graph.counts["graphs"] == 10
    assert graphs == hand
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("graphs", "hand")]
    assert [summary["steps_by_hand"] for summary in summaries] == [None, "--no-graph"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        "--augment alternating --schedule cosine --optimizer adamw --weight-decay 0.1",
        "--augment standard --optimizer sgd --nesterov --schedule step",
        "--augment flip --optimizer muon --weight-decay 0.1 --muon-matrices",
        "--model whitened_resnet --model-opt widths=2 --model-opt inner=3 --model-opt kernels=2,1,3 "
        "--image-sizes 6:0.6,8",
        "--precision bf16 --augment standard --head hierarchical",
        "--data digit_sets --head sigmoid",
    ],
)
def test_other_runs_of_graphs(words, strict, tmp_path):
    words = shlex.split(words)
    strict_graph.counts.clear()
    graphs = train(tmp_path / "graphs", *words)
    assert strict_graph.counts["graphs"]
    assert graphs == train(tmp_path / "hand", *words, "--no-graph")


@pytest.mark.slow
def test_a_run_of_graphs_goes_on_in_the_middle_of_an_epoch(strict, tmp_path, monkeypatch):
    whole = train(tmp_path / "whole", *NOISY)
    take, taken = StepGraph.take, []

    def killed(self, step, n):
        if step == 6:
            raise KeyboardInterrupt
        taken.append(step)
        take(self, step, n)

    monkeypatch.setattr(StepGraph, "take", killed)
    main([*RUN, *CONVNET, "--out", str(tmp_path / "run"), *NOISY, "--checkpoint-every", "5"])
    monkeypatch.setattr(StepGraph, "take", take)
    assert taken == [0, 1, 2, 3, 4, 5]
    assert main(["train", "--resume", str(tmp_path / "run"), "--quiet", "--no-plots"]) == 0
    assert outcome(tmp_path / "run") == whole


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--head adaptive", "head adaptive: its products have the sizes of"),
        ("--mixup 0.4", "mixing draws another weight for each batch"),
        ("--no-graph", "--no-graph"),
    ],
)
def test_a_run_says_why_its_steps_are_no_graphs(words, why, strict, tmp_path, capsys):
    assert main([*LOUD, "--out", str(tmp_path / "run"), *words.split(), "--epochs", "1"]) == 0
    said = capsys.readouterr().out
    assert f"steps are launched kernel by kernel, not as one CUDA graph: {why}" in said
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["steps_by_hand"].startswith(why)


@pytest.mark.slow
def test_what_cupy_refuses_to_capture_runs_by_hand(strict, tmp_path, capsys, monkeypatch):
    """Something that nobody knew to wait: the run goes on, to the same bits, and says what happened."""
    from npsoftmax.training.trainer import Trainer

    expected = train(tmp_path / "hand", "--no-graph")
    right = Trainer._right

    def waiting(self, found):
        number = right(self, found)
        number.item()
        return number

    monkeypatch.setattr(Trainer, "_right", waiting)
    assert main([*LOUD, "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert said.count("CuPy cannot capture them (CaptureError: item waits for the device while a stream is cap") == 1
    assert outcome(tmp_path / "run") == expected


def full_while_captured(monkeypatch, of):
    """There is no memory for more than `of` graphs; -> what is captured and freed, in order."""
    asked, real = [], Capturing.graph_of

    def graph_of(self, work):
        asked.append("capture")
        if len(asked) > 2 * of:
            raise strict_cupy.OutOfMemoryError("Out of memory allocating 1 bytes")
        return real(self, work)

    monkeypatch.setattr(Capturing, "graph_of", graph_of)
    freed = strict_graph.MemoryPool.free_all_blocks
    monkeypatch.setattr(strict_graph.MemoryPool, "free_all_blocks", lambda self: asked.append("freed") or freed(self))
    return asked


@pytest.mark.parametrize("graphs", [0, 1])
def test_without_room_for_a_graph_steps_run_by_hand(graphs, strict, tmp_path, capsys, monkeypatch):
    """What steps by hand worked in is given back before; what was captured until then, with its memory, afterwards."""
    expected = train(tmp_path / "hand", "--no-graph")
    asked = full_while_captured(monkeypatch, graphs)
    assert main([*LOUD, "--out", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.count("one CUDA graph: the memory of the device has no room for a graph") == 1
    assert asked == ["freed", "capture"] * (graphs + 1) + ["freed"]
    assert outcome(tmp_path / "run") == expected


def test_the_reason_of_a_refused_capture_is_not_lost(strict, monkeypatch):
    """CUDA may have ended the capture; to end it once more is then an error of its own."""
    end = strict_graph.Stream.end_capture

    def ended(self):
        end(self)
        raise RuntimeError("cudaErrorStreamCaptureInvalidated")

    monkeypatch.setattr(strict_graph.Stream, "end_capture", ended)
    x = strict.xp.ones(3)
    with pytest.raises(strict_graph.CaptureError, match="float waits for the device"):
        Capturing(strict.xp).graph_of(lambda: float(x[0]))
    assert strict_graph.Capture.now is None


@pytest.mark.slow
def test_without_cublas_by_name_steps_run_by_hand(strict, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cublas, "handle_of", lambda *_: None)
    assert main([*LOUD, "--out", str(tmp_path / "run"), "--epochs", "1"]) == 0
    assert "not as one CUDA graph: cuBLAS is not found by name" in capsys.readouterr().out


# ---------------------------------------------------------------- the trainer keeps up
def test_no_step_of_a_graph_waits_copies_or_is_launched_in_pieces(strict, tmp_path, monkeypatch):
    """Between the beginning of an epoch and its end: one launch a step, and one copy from the device each --log-every
    steps, which is waited for when it has long arrived."""
    take, rows = StepGraph.take, []

    def counted(self, step, n):
        rows.append(dict(strict_graph.counts))
        take(self, step, n)

    monkeypatch.setattr(StepGraph, "take", counted)
    train(tmp_path / "run", *NOISY, "--batch-size", "4", "--log-every", "4", "--epochs", "2")
    steps = len(rows) // 2
    first, last = rows[steps + 1], rows[-1]
    difference = {name: last[name] - first.get(name, 0) for name in last}
    assert difference["graphs"] == difference["launches"] == steps - 2
    assert difference["waits"] == difference["copies in"] == 0
    assert difference["copies out"] <= steps // 4 + 1


def test_what_an_epoch_copies_does_not_grow_with_its_steps(strict, tmp_path, monkeypatch):
    begin, copies, drawn = StepGraph.begin, [], []

    def counted(self, epoch, first):
        before = strict_graph.counts["copies in"]
        begin(self, epoch, first)
        copies.append(strict_graph.counts["copies in"] - before)

    from npsoftmax.data import Batches

    order = Batches.order
    monkeypatch.setattr(Batches, "order", lambda self, epoch: drawn.append((epoch, len(copies))) or order(self, epoch))
    monkeypatch.setattr(StepGraph, "begin", counted)
    train(tmp_path / "run", "--epochs", "2")
    assert copies == [4, 4], "order, counts, rates, and the row at which it begins"
    shuffled = [pair for pair in drawn if pair[1] or pair[0]]
    assert (1, 1) in shuffled and (1, 2) not in shuffled, "drawn while the device has the last step of epoch 0 to do"


# ---------------------------------------------------------------- what is planted is caught
def plant_a_rate(monkeypatch):
    from npsoftmax.training.optimizers.base import Optimizer

    apply = Optimizer.apply
    monkeypatch.setattr(Optimizer, "apply", lambda self, p, g, rates: apply(self, p, g, as_numbers(rates)))


def plant_a_step(monkeypatch):
    at = Rng.at
    monkeypatch.setattr(Rng, "at", lambda self, step, samples=None: at(self, as_numbers(step)[0], samples))


def plant_a_place(monkeypatch):
    from npsoftmax.cuda import Kernels

    each = Kernels.each

    def with_copy(self, name, items, *args):
        if name == "pick":
            order, place, found = args
            kept = array_module(order).empty(place.shape, place.dtype)
            kept._a[...] = place._a  # as it was when the step was captured
            args = order, kept, found
        each(self, name, items, *args)

    monkeypatch.setattr(Kernels, "each", with_copy)


def as_numbers(x):
    """What a host that may look at a device would see now: numbers, which a capture then holds."""
    if not isinstance(x, strict_cupy.ndarray):
        return x if isinstance(x, tuple) else (x,)
    return tuple(x._a.tolist())


@pytest.mark.slow
@pytest.mark.parametrize("plant", [plant_a_rate, plant_a_step, plant_a_place])
def test_a_number_that_a_capture_holds_changes_the_bits(plant, strict, tmp_path, monkeypatch):
    expected = train(tmp_path / "hand", *NOISY, "--no-graph")
    plant(monkeypatch)
    assert train(tmp_path / "graphs", *NOISY) != expected


# ---------------------------------------------------------------- the stand-in is as strict as that
@pytest.fixture
def capture(strict):
    xp = strict.xp
    pool, stream = xp.cuda.MemoryPool(), xp.cuda.Stream(non_blocking=True)

    def of(function, allocator=pool.malloc):
        with stream, xp.cuda.using_allocator(allocator):
            stream.begin_capture()
            try:
                kept = function()
            finally:
                graph = stream.end_capture()
        return graph, kept

    of.xp, of.pool = xp, pool
    return of


def test_nothing_runs_until_a_graph_is_launched(capture):
    xp = capture.xp
    x, y = xp.ones(3), xp.zeros(3)

    def add():
        nonlocal y
        y += x
        y[1:2] = 7.0
        return xp.exp(x).sum() + y[0]

    graph, kept = capture(add)
    assert (y.get() == 0).all() and np.isnan(kept.get())
    for times in (1, 2):
        graph.launch()
        assert y.get().tolist() == [times, 7, times] and kept.get() == pytest.approx(3 * np.e + times)
    x += 1
    graph.launch()
    assert y.get().tolist() == [4, 7, 4], "it reads what is there now"


REFUSED = {
    "a wait": lambda xp, x: float(x[0]),
    "a copy to the device": lambda xp, x: xp.asarray(np.ones(3)),
    "set": lambda xp, x: x.set(np.ones(3)),
    "CuPy's cuBLAS": lambda xp, x: x @ x,
    "concatenate": lambda xp, x: xp.concatenate([x, x]),
    "sort": lambda xp, x: xp.sort(x),
    "a boolean index": lambda xp, x: x[x > 0],
    "synchronize": lambda xp, x: xp.cuda.Device().synchronize(),
    "an event": lambda xp, x: xp.cuda.Event().record(),
    "a second capture": lambda xp, x: xp.cuda.Stream().begin_capture(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_capture_refuses(name, capture):
    x = capture.xp.ones(3)
    with pytest.raises((strict_graph.CaptureError, strict_cupy.Synchronised)):
        capture(lambda: REFUSED[name](capture.xp, x))
    assert strict_graph.Capture.now is None


def test_memory_of_a_graph_is_of_a_pool_and_stays(capture):
    xp = capture.xp
    x = xp.ones(3)
    stream = xp.cuda.Stream(non_blocking=True)
    with pytest.raises(strict_graph.CaptureError, match="a pool of its own"), stream:
        stream.begin_capture()
        try:
            xp.exp(x)
        finally:
            stream.end_capture()
    graph, _ = capture(lambda: xp.exp(x).sum())
    graph.launch()
    x = xp.ones(3)
    with pytest.raises(strict_graph.CaptureError, match="memory that was given back"):
        graph.launch()
    lost = xp.cuda.MemoryPool()
    graph, _ = capture(lambda: xp.exp(x).sum(), lost.malloc)
    graph.launch()
    del lost
    gc.collect()
    with pytest.raises(strict_graph.CaptureError, match="the pool"):
        graph.launch()


def test_a_stream_that_cannot_be_captured(strict):
    with pytest.raises(RuntimeError, match="legacy"):
        strict.xp.cuda.get_current_stream().begin_capture()


def test_a_copy_from_the_device_arrives_with_its_event(strict):
    import cupyx

    x, here, event = strict.xp.ones(3), cupyx.empty_pinned(3, np.float64), strict.xp.cuda.Event()
    x.get(out=here, blocking=False)
    assert np.isnan(here).all()
    event.record()
    x += 1
    event.synchronize()
    assert here.tolist() == [1, 1, 1], "as it was when the copy was asked for"
    with pytest.raises(TypeError, match="pinned"):
        x.get(out=np.empty(3), blocking=False)


# ---------------------------------------------------------------- without CuPy's ways that copy to the device
def test_joined_is_concatenate(strict):
    rng = np.random.default_rng(0)
    for axis, shapes in ((0, ((2, 3), (1, 3))), (1, ((2, 3), (2, 1), (2, 2)))):
        arrays = [rng.standard_normal(shape) for shape in shapes]
        expected = np.concatenate(arrays, axis)
        assert (joined(arrays, axis) == expected).all()
        assert (joined([strict.asarray(a) for a in arrays], axis).get() == expected).all()


def test_a_constant_is_copied_once(strict):
    constant, x = Constant([1.0, 2.0]), strict.xp.ones(2, dtype=np.float32)
    strict_graph.counts.clear()
    there = [constant.like(x) for _ in range(3)]
    assert strict_graph.counts["copies in"] == 1 and there[0].dtype == np.float32
    assert constant.like(np.ones(2)).tolist() == [1, 2]


# ---------------------------------------------------------------- on a device
@pytest.mark.gpu
@pytest.mark.parametrize("words", ["--head log_softmax --augment cutout", "--model vit_small --head gumbel_softmax"])
def test_on_a_gpu_a_run_of_graphs_ends_with_the_bits_of_one_by_hand(words, cupy, tmp_path):
    run = shlex.split(
        "train --data synthetic100 --limit-train 1000 --limit-test 100 --epochs 3 --quiet --no-plots --backend cupy"
    )
    found = []
    for name, more in (("graphs", []), ("hand", ["--no-graph"])):
        assert main([*run, *words.split(), *more, "--out", str(tmp_path / name)]) == 0
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        assert summary["steps_by_hand"] == (more[0] if more else None)
        found.append(outcome(tmp_path / name))
    assert found[0] == found[1]
