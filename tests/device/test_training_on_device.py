"""Training with --backend cupy on the strict stand-in: the run of the host, without waiting, with its errors."""

from __future__ import annotations

import json
import platform
import shlex
import weakref
from pathlib import Path

import cuda_on_cpu
import numpy as np
import pytest
import strict_cupy
import strict_graph
from parity import assert_same, table

from npsoftmax import cuda
from npsoftmax.backend import get_backend
from npsoftmax.cli.main import main
from npsoftmax.data import AUGMENTATIONS, Batches, fit_normalization
from npsoftmax.data.augment import DRAWS
from npsoftmax.data.sizes import Growth
from npsoftmax.errors import InputError
from npsoftmax.heads import HEADS, ClassInfo
from npsoftmax.models import MODELS, build_model
from npsoftmax.params import leaves
from npsoftmax.random import Rng
from npsoftmax.training.checkpoint import load_arrays
from npsoftmax.training.clipping import clip_by_norm, clip_by_value
from npsoftmax.training.optimizers import OPTIMIZERS

TINY, samples = table("models/test_models.py", "TINY"), table("models/test_models.py", "samples")
pytestmark = [
    pytest.mark.filterwarnings("ignore::npsoftmax.heads.LegacyWiringWarning"),
    pytest.mark.filterwarnings("ignore:adaptive softmax"),
]


# ---------------------------------------------------------------- batches
@pytest.mark.parametrize("augment", AUGMENTATIONS)
@pytest.mark.parametrize("shape", [(11, 8, 6, 3), (5, 32, 32, 3), (4, 1, 1, 1), (7, 9, 17, 2)])
def test_batches_are_those_of_the_host(augment, shape, strict, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, shape, dtype=np.uint8), rng.integers(0, 9, shape[0])
    options = {"rng": Rng(3), "normalize": fit_normalization("standard", x), "augment": augment}
    here, there = Batches(x, y, 3, **options), Batches(x, y, 3, backend=strict, **options)
    with strict_cupy.no_waiting():
        found = list(there.epoch(4, first=1))
    expected = list(here.epoch(4, first=1))
    assert len(found) == len(expected) == len(here) - 1
    for got, want in zip(found, expected, strict=True):
        assert_same([got[0], got[2]], [want[0], want[2]], strict, augment, rtol=0, atol=0)
        assert got[1].dtype == want[1].dtype and (got[1] == want[1]).all(), "labels are on the host"


def test_windows_of_words_are_those_of_the_host(strict):
    x, y = np.arange(33, dtype=np.uint16).reshape(11, 3), np.arange(11)
    here, there = (Batches(x, y, 4, rng=Rng(3), normalize=None, backend=backend) for backend in (None, strict))
    with strict_cupy.no_waiting():
        found = list(there.epoch(2))
    for got, want in zip(found, here.epoch(2), strict=True):
        assert_same([got[0], got[2]], [want[0], want[2]], strict, "words", rtol=0, atol=0)


def test_images_that_grow_and_shift_are_those_of_the_host(strict):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (7, 12, 12, 3), dtype=np.uint8), np.arange(7)
    options = {"rng": Rng(3), "normalize": fit_normalization("standard", x), "augment": "alternating", "shift": 3}
    options["growth"] = Growth.of("6:0.2,8:0.5", 12, 12)  # in steps 2 and 6 of 12
    here, there = Batches(x, y, 2, **options), Batches(x, y, 2, backend=strict, **options)
    for epoch in range(3):
        for got, want in zip(there.epoch(epoch), here.epoch(epoch), strict=True):
            assert_same([got[0], got[2]], [want[0], want[2]], strict, "grown", rtol=0, atol=0)


def test_a_mean_colour_of_more_channels_than_a_block_has_threads(strict):
    x = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 300), dtype=np.uint8)
    options = {"rng": Rng(3), "normalize": fit_normalization("standard", x), "augment": "cutout"}
    batches = (Batches(x, np.arange(3), 3, **options, **more).epoch(0) for more in ({}, {"backend": strict}))
    (want, *_), (got, *_) = map(next, map(iter, batches))
    np.testing.assert_array_equal(got.get(), want)


@pytest.mark.parametrize("kind", ["standard", "half"])
def test_a_compiler_that_contracts_makes_the_batch_of_the_host(kind, strict, monkeypatch):
    """A device's compiler makes one instruction of a product and a sum, which rounds once; the host rounds twice."""
    if platform.machine().lower() in ("x86_64", "amd64") and "fma" not in Path("/proc/cpuinfo").read_text().split():
        pytest.skip("this processor has no such instruction")
    x = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1).repeat(3, axis=3)
    options = {"rng": Rng(3), "normalize": fit_normalization(kind, x), "augment": "cutout"}
    ((want, *_),) = Batches(x, np.arange(4), 4, **options).epoch(0)

    def batch(text):
        made = cuda.Kernels(strict.xp, strict.xp.RawModule(code=text, options=told), "f")
        monkeypatch.setattr("npsoftmax.data.device.compiled_for", lambda xp, name, kind: made)
        ((got, *_),) = Batches(x, np.arange(4), 4, backend=strict, **options).epoch(0)
        return got.get()

    code, told = cuda.source("images"), (*cuda.options("f"), *cuda_on_cpu.CONTRACTED)
    np.testing.assert_array_equal(batch(code), want)
    careless = code.replace(
        "__fsub_rn(__fmul_rn((float)value, scale[channel]), shift[channel])",
        "(float)value * scale[channel] - shift[channel]",
    )
    assert (batch(careless) != want).any(), "else the test could not see it"


def test_every_augmentation_can_be_made_on_a_device():
    assert set(DRAWS) == set(AUGMENTATIONS)


def test_images_are_uploaded_once(strict, monkeypatch):
    x, y = np.zeros((6, 4, 4, 3), np.uint8), np.zeros(6, np.int64)
    batches = Batches(x, y, 2, rng=Rng(0), normalize=fit_normalization("none", x), augment="cutout", backend=strict)
    uploaded = []
    real = strict.xp.asarray
    monkeypatch.setattr(strict.xp, "asarray", lambda a, dtype=None: uploaded.append(a) or real(a, dtype))
    list(batches.epoch(0))
    assert [a.shape for a in uploaded if isinstance(a, np.ndarray)] == [(6,)], "the order of the epoch and no more"


# ---------------------------------------------------------------- a step does not wait
LABELS = np.array([1, 6, 0, 1, 2])


def one_step(model, optimizer, clip, x, t):
    """As the trainer's: labels are on the host, and on the device for the training accuracy."""
    rng = Rng(0, "noise").at(3)
    h, _, cache = model.forward(x, LABELS, train=True, rng=rng)
    correct = (model.head.predict(h, rng=rng.child("predict"))[:, 0] == t).sum()
    grads = model.backward(cache)
    if clip:
        grads = clip_by_norm(clip_by_value(grads, 1.0), 0.1)[0]
    optimizer.step(model.params, grads, lr=0.1)
    return correct


def device_model(name, head, strict, **options):
    classes = ClassInfo(7, counts=np.arange(1, 8), coarse=np.arange(7) % 2)
    model_opts, shape = TINY[name]
    if head == "legacy_adaptive_untrained":
        model_opts, options = {**model_opts, "logits": 7}, {"head_opts": {"cutoffs": (3, 5)}, **options}
    model = build_model(name, head, classes, shape, model_opts=model_opts, **options).to(strict)
    x = samples(name, 5, np.float32)
    return model, strict.asarray(x), strict.asarray(LABELS)


@pytest.mark.parametrize("name", MODELS)
def test_a_step_of_no_model_waits_for_the_device(name, strict):
    model, x, t = device_model(name, "softmax", strict)
    optimizer = OPTIMIZERS["adam"](model.params)
    with strict_cupy.no_waiting():
        one_step(model, optimizer, True, x, t)


@pytest.mark.parametrize("head", [*HEADS, "huffman", "superclass"])
def test_a_step_of_no_head_waits_for_the_device(head, strict):
    options = {"head_opts": {"tree": head}} if head in ("huffman", "superclass") else {}
    model, x, t = device_model("mlp", "hierarchical" if options else head, strict, **options)
    optimizer = OPTIMIZERS["sgd"](model.params, momentum=0.9)
    model.loss(x, LABELS, train=True, rng=Rng(0))  # a tree and the ranks of classes are looked at once
    model.predict(x, rng=Rng(0))
    with strict_cupy.no_waiting():
        one_step(model, optimizer, False, x, t)


# ---------------------------------------------------------------- a run
SHORT = """train --data digits --limit-train 60 --limit-test 20 --epochs 2 --batch-size 16 --log-every 3 --no-plots
    --quiet --lr 0.01 --seed 5"""
RUN = shlex.split(SHORT)
CONVNET = shlex.split("--model convnet --model-opt widths=2,4 --model-opt fc=8 --head hierarchical --augment cutout")


def train(path, *words):
    assert main([*RUN, "--out", str(path), *words]) == 0
    return json.loads((path / "summary.json").read_text()), load_arrays(path / "checkpoints" / "last.safetensors")


def test_a_run_on_sets_of_labels_is_that_of_the_host(strict, tmp_path):
    words = ["--data", "digit_sets", "--model", "mlp", "--model-opt", "hidden=8", "--head", "sigmoid"]
    here, host = train(tmp_path / "numpy", *words)
    there, device = train(tmp_path / "cupy", *words, "--backend", "cupy")
    for name, expected in host.items():
        np.testing.assert_allclose(device[name], expected, rtol=1e-3, atol=2e-5, err_msg=name)
    assert there["test"]["mean_average_precision"] == pytest.approx(here["test"]["mean_average_precision"], abs=0.02)
    tables = [(tmp_path / name / "metrics.csv").read_text().splitlines()[-1].split(",") for name in ("numpy", "cupy")]
    assert float(tables[1][2]) == pytest.approx(float(tables[0][2]), abs=0.02), "accuracy in training"


def test_a_run_is_that_of_the_host_and_says_where_it_was(strict, tmp_path):
    words = [*CONVNET, "--clip-norm", "1", "--mixup", "0.4"]
    here, host = train(tmp_path / "numpy", *words)
    there, device = train(tmp_path / "cupy", *words, "--backend", "cupy", "--device", "1", "--precision", "fp32")
    assert host.keys() == device.keys()
    for name, expected in host.items():
        np.testing.assert_allclose(device[name], expected, rtol=1e-3, atol=2e-5, err_msg=name)
    assert there["test"]["nll"] == pytest.approx(here["test"]["nll"], rel=1e-4)
    environment = json.loads((tmp_path / "cupy" / "env.json").read_text())
    assert environment["device"] == "Pretended GPU 1" and environment["device_number"] == 1
    assert (environment["driver"], environment["cuda"], environment["precision"]) == ("12.8", "12.9", "fp32")
    assert there["device_bytes_held"] == 5 << 20 and "device_bytes_held" not in here
    assert "device" not in json.loads((tmp_path / "numpy" / "env.json").read_text())


def test_two_runs_agree_to_the_bit_and_a_resumed_one_too(strict, tmp_path):
    words = [*CONVNET, "--backend", "cupy"]
    _, first = train(tmp_path / "first", *words)
    _, second = train(tmp_path / "second", *words)
    train(tmp_path / "third", *words, "--stop-after", "1")
    assert main(["train", "--resume", str(tmp_path / "third"), "--quiet", "--no-plots"]) == 0
    third = load_arrays(tmp_path / "third" / "checkpoints" / "last.safetensors")
    for name, expected in first.items():
        assert (second[name] == expected).all() and (third[name] == expected).all(), name


def test_a_run_of_the_host_goes_on_on_a_device(strict, tmp_path):
    train(tmp_path / "run", "--model", "mlp", "--stop-after", "1")
    assert main(["train", "--resume", str(tmp_path / "run"), "--backend", "cupy", "--quiet", "--no-plots"]) == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["backend"] == "cupy"


@pytest.mark.parametrize("words", [[], ["--head", "adaptive"], ["--head", "adaptive", "--mixup", "0.4"]], ids=str)
def test_losses_are_read_every_few_steps(words, strict, tmp_path, monkeypatch):
    """With 54 images in 4 steps an epoch: no step waits, though losses are read every three of them.

    Adaptive softmax reads the ranks of the classes, in the first step and never again.
    """
    from npsoftmax.training.trainer import Trainer

    waits, step = [], Trainer._write_down
    before = [0]

    def watched(self, taken):
        step(self, taken)
        waits.append(strict_graph.counts["waits"] - before[0])
        before[0] = strict_graph.counts["waits"]

    checked = Trainer._steps

    def steps(self):
        before[0] = strict_graph.counts["waits"]
        return checked(self)

    monkeypatch.setattr(Trainer, "_write_down", watched)
    monkeypatch.setattr(Trainer, "_steps", steps)
    train(tmp_path / "run", *CONVNET, *words, "--backend", "cupy")
    assert [bool(n) for n in waits] == [bool(words), *[False] * 7]


def test_bf16_is_said_and_learns_as_float32_does(strict, tmp_path, capsys):
    """With layers that go through tensor cores: 16 channels into 32."""
    words = shlex.split("--model convnet --model-opt widths=16,32 --model-opt fc=8 --head adaptive")
    here, host = train(tmp_path / "numpy", *words)
    loud = [w for w in RUN if w != "--quiet"]
    there = ["--out", str(tmp_path / "cupy"), *words, "--backend", "cupy", "--precision", "bf16"]
    assert main([*loud, *there]) == 0
    assert "on Pretended GPU 0, products in bf16" in capsys.readouterr().out
    assert strict.xp.compute_types["f"] == 7, "what CuPy multiplies by itself is in tf32"
    assert json.loads((tmp_path / "cupy" / "env.json").read_text())["precision"] == "bf16"
    last = load_arrays(tmp_path / "cupy" / "checkpoints" / "last.safetensors")
    moved = [np.abs(last[name] - array).max() for name, array in host.items() if array.dtype == np.float32]
    assert all(array.dtype == host[name].dtype for name, array in last.items()), "masters are float32"
    assert 1e-5 < max(moved) < 0.05, "rounded, and not by much"
    nll = json.loads((tmp_path / "cupy" / "summary.json").read_text())["test"]["nll"]
    assert nll == pytest.approx(here["test"]["nll"], rel=0.02)
    assert main(["eval", str(tmp_path / "cupy"), "--backend", "numpy"]) == 0, "there is no bf16 there"


def test_precision_is_said_to_the_library(strict, capsys, tmp_path):
    assert get_backend("cupy").precision == "tf32"
    assert strict.xp.compute_types["f"] == 7
    assert get_backend("cupy", precision="fp32").precision == "fp32"
    assert strict.xp.compute_types["f"] == 1
    assert (
        main(
            [*(w for w in RUN if w != "--quiet"), "--out", str(tmp_path / "run"), "--model", "mlp", "--backend", "cupy"]
        )
        == 0
    )
    assert "on Pretended GPU 0, products in tf32" in capsys.readouterr().out


# ---------------------------------------------------------------- what users will meet
def test_out_of_memory_says_what_fits(strict, tmp_path, monkeypatch, capsys):
    from npsoftmax.models.base import Model

    forward = Model.forward

    failed = []

    def limited(self, x, *args, **options):
        assert all(array() is None for array in failed), "a step that failed still holds its arrays"
        if len(x) > 9:
            large = strict.asarray(np.zeros(3))
            failed.append(weakref.ref(large))
            raise strict_cupy.OutOfMemoryError("Out of memory allocating 1 bytes")
        return forward(self, x, *args, **options)

    monkeypatch.setattr(Model, "forward", limited)
    assert main([*RUN, "--out", str(tmp_path / "run"), "--model", "mlp", "--backend", "cupy"]) == 2
    said = capsys.readouterr().err
    assert "--batch-size 16 does not fit the memory of device 0. --batch-size 8 does (tried). What" in said


def test_what_fits_is_tried_without_graphs_and_their_memory(strict, tmp_path, monkeypatch, capsys):
    from npsoftmax.training import out_of_memory
    from npsoftmax.training.graph import StepGraph

    fits, graphs, freed = out_of_memory._fits, [], []

    class Full(StepGraph):
        def take(self, step, n):
            graphs.append(self)
            if step == 2:
                assert any(self._graphs.values())
                raise strict_cupy.OutOfMemoryError("Out of memory allocating 1 bytes")
            super().take(step, n)

    def tried(session, size):
        assert session.pool in freed and not graphs[0]._graphs
        return fits(session, size)

    free = strict_graph.MemoryPool.free_all_blocks
    monkeypatch.setattr(strict_graph.MemoryPool, "free_all_blocks", lambda self: freed.append(self) or free(self))
    monkeypatch.setattr("npsoftmax.training.trainer.StepGraph", Full)
    monkeypatch.setattr(out_of_memory, "_fits", tried)
    assert main([*RUN, "--out", str(tmp_path / "run"), "--model", "mlp", "--backend", "cupy"]) == 2
    said = capsys.readouterr().err
    assert "--batch-size 8 does (tried), and perhaps this one without the memory of graphs: --no-graph." in said


def test_out_of_memory_for_a_single_image(strict, tmp_path, monkeypatch, capsys):
    from npsoftmax.models.base import Model

    def full(*_, **__):
        raise strict_cupy.OutOfMemoryError("Out of memory allocating 1 bytes")

    monkeypatch.setattr(Model, "forward", full)
    assert main([*RUN, "--out", str(tmp_path / "run"), "--model", "mlp", "--backend", "cupy"]) == 2
    assert "Not even one image does" in capsys.readouterr().err


def test_labels_out_of_range_are_found_before_they_reach_the_device(strict):
    from npsoftmax.data import Dataset

    x = np.zeros((2, 4, 4, 3), np.uint8)
    with pytest.raises(InputError, match="must be 0 to 1, but are 0 to 2"):
        Dataset("mine", x, np.array([0, 2]), x, np.array([0, 1]), ("a", "b"))


def test_evaluation_of_a_run(strict, tmp_path, capsys):
    train(tmp_path / "run", *CONVNET, "--backend", "cupy")
    assert main(["eval", str(tmp_path / "run")]) == 0
    on_device = capsys.readouterr().out
    assert main(["eval", str(tmp_path / "run"), "--backend", "numpy"]) == 0
    assert on_device == capsys.readouterr().out


# ---------------------------------------------------------------- labels on the host
@pytest.mark.parametrize("labels", [[1, 6, 0, 1, 2], [6, 6, 6, 6, 5], [0, 0, 1, 0, 1]])
def test_adaptive_asks_a_device_for_the_clusters_of_the_labels_and_no_others(labels, strict):
    model, x, _ = device_model("mlp", "adaptive", strict, head_opts={"cutoffs": (2, 4)})
    head, t, h, found = model.head, np.array(labels), model.features(x), []
    rank = head.buffers["rank"].get()[t]
    sizes = [n for n in np.histogram(rank, (0, 2, 4, 7))[0][1:] if n]
    for targets in (t, strict.asarray(t)):
        value, cache = head.loss(h, targets, train=True)
        assert [len(samples) for _, samples, *_ in cache[-1][-1][1]] == sizes
        dh, grads = head.backward(cache)
        found.append([array.get() for array in (value, dh, *(g for _, g in leaves(grads)))])
    assert all((a == b).all() for a, b in zip(*found, strict=True)), "the same wherever the labels are"
