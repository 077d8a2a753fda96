"""What only a real device can show, with `pytest -m gpu`: the kernels as NVRTC makes them, repeatable to the bit."""

from __future__ import annotations

import json

import numpy as np
import pytest
from parity import move_tree, table

from npsoftmax import cuda
from npsoftmax.backend import get_backend
from npsoftmax.cli.main import main
from npsoftmax.heads import HEADS, ClassInfo
from npsoftmax.models import MODELS, OF_TOKENS, build_model
from npsoftmax.params import SparseRows, leaves
from npsoftmax.random import Rng
from npsoftmax.training.checkpoint import load_arrays
from npsoftmax.training.optimizers import OPTIMIZERS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore::npsoftmax.heads.LegacyWiringWarning"),
    pytest.mark.filterwarnings("ignore:adaptive softmax"),
]
CLASSES = ClassInfo(100, counts=np.arange(1, 101), coarse=np.arange(100) // 5)
RUN = ("train", "--data", "synthetic100", "--limit-train", "2000", "--limit-test", "500", "--quiet", "--no-plots")


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in sorted(cuda.files()) for kind in cuda.kinds(name)])
def test_a_file_of_kernels_loads(name, kind, cupy):
    from cuda_on_cpu import parameters

    kernels = cuda.compiled_for(cupy.xp, name, kind)
    for function in parameters(cuda.source(name)):
        kernels._raw.get_function(function)


# Channels and filters of layers that go without columns; sizes that fill no tile; a batch of one.
SHAPES = [((1, 8, 8, 64), 64, 1), ((7, 9, 5, 40), 72, 1), ((3, 16, 16, 16), 136, 2), ((128, 32, 32, 64), 128, 1)]


@pytest.mark.parametrize(("shape", "filters", "stride"), SHAPES, ids=str)
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_convolution_without_columns(shape, filters, stride, precision, cupy):
    """By the real tensor cores: against columns in float64 whose factors were rounded, and twice the same bits."""
    from npsoftmax import autocast, kernels
    from npsoftmax.kernels.conv import device as device_conv
    from npsoftmax.kernels.windows import reference

    rounded = table("device/test_device_conv.py", "ROUNDED")[precision]
    get_backend("cupy", precision=precision)
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in (shape, (3, 3, shape[3], filters)))
    geometry = (3, 3), (stride, stride), (1, 1)
    there = cupy.asarray(x), cupy.asarray(w)
    assert device_conv.kind_for(there[0], w.shape, *geometry[1:])
    y = kernels.conv2d_tiled(*there, None, *geometry[1:])
    dy = rng.standard_normal(y.shape).astype(np.float32)
    dw = kernels.conv2d_tiled_dw(there[0], cupy.asarray(dy), *geometry)
    assert (dw == kernels.conv2d_tiled_dw(there[0], cupy.asarray(dy), *geometry)).all()
    assert (y == kernels.conv2d_tiled(*there, None, *geometry[1:])).all()
    if precision == "bf16":  # an activation that is kept so: the same result, rounded once
        kept = kernels.conv2d_tiled(autocast.rounded(there[0]), there[1], None, *geometry[1:])
        assert (kept.bits == autocast.rounded(y).bits).all()
    columns = cupy.asarray(rounded(reference.im2col(x, *geometry)).astype(np.float64))
    exact = [
        (y, columns @ cupy.asarray(rounded(w).reshape(-1, filters))),
        (dw, columns.T @ cupy.asarray(rounded(dy).reshape(-1, filters))),
    ]
    if stride == 1:
        dx = kernels.conv2d_tiled_backward(there[0], cupy.asarray(dy), there[1], *geometry[1:])[0]
        turned = rounded(w[::-1, ::-1].transpose(0, 1, 3, 2)).reshape(-1, shape[3])
        exact += [
            (dx, cupy.asarray(rounded(reference.im2col(dy, *geometry)).astype(np.float64)) @ cupy.asarray(turned))
        ]
    for found, other in exact:
        error = np.linalg.norm((found.reshape(other.shape) - other).get()) / np.linalg.norm(other.get())
        assert error < 1e-5, "a hundredth of what rounding to tf32 makes"


def bytes_of(model, x, t, steps=3):
    optimizer = OPTIMIZERS["sgd"](model.params, momentum=0.9)
    for step in range(steps):
        loss, cache = model.loss(x, t, train=True, rng=Rng(0, "noise").at(step))
        optimizer.step(model.params, model.backward(cache), lr=0.01)
    found = {name: p.get().tobytes() for name, p in leaves(model.params)}
    return found | {"loss": loss.get().tobytes()}


@pytest.mark.parametrize("name", [name for name in MODELS if name not in OF_TOKENS])
@pytest.mark.parametrize("precision", ["fp32", "auto", "bf16"])
def test_steps_of_a_full_size_model_agree_to_the_bit(name, precision, cupy):
    backend = get_backend("cupy", precision=precision)
    rng = np.random.default_rng(0)
    x = backend.asarray(rng.standard_normal((64, 32, 32, 3)).astype(np.float32))
    t = backend.asarray(rng.integers(0, 100, 64))
    runs = [bytes_of(build_model(name, "softmax", CLASSES, (32, 32, 3)).to(backend), x, t) for _ in range(2)]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("name", [name for name in HEADS if name != "legacy_adaptive_untrained"])
def test_gradients_of_a_head_agree_to_the_bit(name, cupy):
    rng = np.random.default_rng(0)
    h = cupy.asarray(rng.standard_normal((256, 64)).astype(np.float32))
    t = cupy.asarray(rng.integers(0, 100, 256))
    head = HEADS[name](64, CLASSES, rng=Rng(0))
    move_tree(head.params, cupy)
    move_tree(head.buffers, cupy)

    def once():
        loss, cache = head.loss(h, t, train=True, rng=Rng(5).at(3))
        dh, grads = head.backward(cache)
        dense = [g.to_dense() if isinstance(g, SparseRows) else g for _, g in leaves(grads)]
        return [array.get().tobytes() for array in (loss, dh, *dense)]

    assert once() == once()


@pytest.mark.parametrize("name", [name for name in MODELS if name not in OF_TOKENS])
def test_a_step_does_not_wait(name, cupy):
    """By CuPy's own watch over synchronisation."""
    cupyx = pytest.importorskip("cupyx")
    model_opts, shape = table("models/test_models.py", "TINY")[name]
    model = build_model(name, "softmax", ClassInfo(7), shape, model_opts=model_opts).to(cupy)
    x = cupy.asarray(np.random.default_rng(0).standard_normal((5, *shape)).astype(np.float32))
    t = cupy.asarray(np.array([1, 6, 0, 1, 2]))
    optimizer = OPTIMIZERS["adam"](model.params)

    def step():
        _, cache = model.loss(x, t, train=True, rng=Rng(0).at(1))
        optimizer.step(model.params, model.backward(cache), lr=0.1)

    step()
    with cupyx.allow_synchronize(False):
        step()


def test_a_step_of_the_adaptive_head_does_not_wait_either(cupy):
    cupyx = pytest.importorskip("cupyx")
    head = HEADS["adaptive"](64, CLASSES, rng=Rng(0))
    move_tree(head.params, cupy)
    move_tree(head.buffers, cupy)
    h = cupy.asarray(np.random.default_rng(0).standard_normal((256, 64)).astype(np.float32))
    t = np.random.default_rng(1).integers(0, 100, 256)

    def step():
        _, cache = head.loss(h, t, train=True)
        head.backward(cache)
        head.predict(h)

    step()
    with cupyx.allow_synchronize(False):
        step()


def trained(path, *words):
    assert main([*RUN, "--out", str(path), "--backend", "cupy", *words]) == 0
    return json.loads((path / "summary.json").read_text()), load_arrays(path / "checkpoints" / "last.safetensors")


def test_a_run_learns_and_another_agrees_to_the_bit(cupy, tmp_path):
    settings = {"model": "convnet", "head": "hierarchical", "epochs": "10", "augment": "cutout", "batch-size": "64"}
    words = [word for name, value in settings.items() for word in (f"--{name}", value)]
    summary, first = trained(tmp_path / "first", *words)
    _, second = trained(tmp_path / "second", *words)
    assert all((first[name] == second[name]).all() for name in first)
    assert summary["test"]["accuracy"] > 0.05, "five times as good as a guess"
    environment = json.loads((tmp_path / "first" / "env.json").read_text())
    assert environment["device"] and environment["driver"] and environment["cuda"]
    assert summary["device_bytes_held"] > 0


def test_out_of_memory_says_what_fits(cupy, tmp_path, capsys):
    pool = cupy.xp.get_default_memory_pool()
    pool.free_all_blocks()
    pool.set_limit(size=pool.total_bytes() + (1 << 30))
    try:
        assert (
            main(
                [
                    *RUN,
                    "--out",
                    str(tmp_path / "run"),
                    "--backend",
                    "cupy",
                    "--model",
                    "resnet9",
                    "--batch-size",
                    "1800",
                ]
            )
            == 2
        )
    finally:
        pool.set_limit(size=0)
    assert "does not fit the memory of device 0. --batch-size" in capsys.readouterr().err
