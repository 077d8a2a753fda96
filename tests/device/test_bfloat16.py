"""Activations in bfloat16: every kernel's numbers, bytes and repeatability; whole steps; and that nobody else pays.

A kernel computes in float32 and rounds once, so what it gives is to the bit what the float32 kernel gives, rounded.
"""

from __future__ import annotations

import gc
import json
import shlex

import cuda_on_cpu
import numpy as np
import pytest
import strict_cupy
from everyday import slow
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parity import table

from npsoftmax import autocast, cuda
from npsoftmax.backend import array_module, get_backend
from npsoftmax.bfloat16 import BFloat16
from npsoftmax.cli.main import main
from npsoftmax.functional.norm import batch_norm_shared_backward, batch_norm_shared_forward
from npsoftmax.heads import ClassInfo
from npsoftmax.kernels import (
    conv2d_tiled,
    conv2d_tiled_dw,
    conv2d_tiled_dx,
    elementwise,
    matmul,
    max_pool,
    max_pool_backward,
    norm,
)
from npsoftmax.kernels.conv import device as device_conv
from npsoftmax.layers import Conv2d, Dense, Layer, LayerNorm, MaxPool2d, Sequential, all_layers
from npsoftmax.models import build_model
from npsoftmax.params import leaves, replace_leaves
from npsoftmax.random import Rng
from npsoftmax.training.optimizers import OPTIMIZERS

few = settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
to_bf16 = table("device/test_device_conv.py", "to_bf16")
LAYERS, built = table("layers/test_layers.py", "CASES"), table("layers/test_layers.py", "build")
U = 2.0**-8  # half the distance of two neighbours, relative to the smaller: what one rounding moves at most


def drawn(seed, *shapes):
    """float32 that bfloat16 has as they are."""
    rng = np.random.default_rng(seed)
    return [to_bf16(rng.standard_normal(shape).astype(np.float32)) for shape in shapes]


def narrow(backend, *arrays):
    return [autocast.rounded(backend.asarray(a)) for a in arrays]


def bits(x):
    return x.bits.get() if isinstance(x, BFloat16) else x.get()


# ---------------------------------------------------------------- the array
def test_an_array_of_bits_is_cut_turned_and_made_real_and_nothing_else(strict):
    (x,) = drawn(0, (3, 4, 5))
    (there,) = narrow(strict, x)
    assert (there.shape, there.ndim, there.size, len(there), there.nbytes) == ((3, 4, 5), 3, 60, 3, 120)
    assert array_module(there) is strict.xp and repr(there) == "BFloat16(3, 4, 5)"
    for found, expected in [
        (there[1:, ::2], x[1:, ::2]),
        (there.reshape(12, 5), x.reshape(12, 5)),
        (there.transpose(2, 0, 1), x.transpose(2, 0, 1)),
        (there[0].T, x[0].T),
    ]:
        assert isinstance(found, BFloat16)
        np.testing.assert_array_equal(found.get(), expected)
        np.testing.assert_array_equal(autocast.widened(found).get(), expected)
        assert found.astype(np.float64).dtype == np.float64
    for wrong in (lambda: there + there, lambda: 2 * there, lambda: there.bits * there, lambda: there @ there[0]):
        with pytest.raises(TypeError):
            wrong()


def test_rounding_is_to_the_nearest_and_to_even(strict):
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [rng.standard_normal(999) * 10.0 ** rng.integers(-30, 30, 999), [1 + U, 1 + 3 * U, 3.4e38, 1e-40]]
    )
    x = x.astype(np.float32)
    found = autocast.rounded(strict.asarray(x))
    np.testing.assert_array_equal(found.get(), to_bf16(x))
    assert autocast.rounded(found) is found
    finite = np.isfinite(found.get()) & (abs(x) > 1e-37)
    assert (abs(found.get() - x)[finite] <= U * abs(x)[finite]).all()


# ---------------------------------------------------------------- kernels: the float32 result, rounded once
def check_rounded_once(found, full):
    """Tuples of arrays: activations in bfloat16, to the bit; the rest as float32 has it."""
    for f, e in zip(found, full, strict=True):
        if isinstance(f, BFloat16):
            np.testing.assert_array_equal(f.get(), to_bf16(e.get()))
        else:
            assert f.dtype == e.dtype
            np.testing.assert_array_equal(f.get(), e.get())


def both(strict, function, activations, others=()):
    """`function` of activations in bfloat16, twice, and in float32."""
    kept = [strict.asarray(a) for a in others]
    found, again = ([function(*narrow(strict, *activations), *kept)] for _ in range(2))
    full = [function(*map(strict.asarray, activations), *kept)]
    found, again, full = (x[0] if isinstance(x[0], tuple) else x for x in (found, again, full))
    assert all((bits(a) == bits(b)).all() for a, b in zip(found, again, strict=True)), "the same bits twice"
    check_rounded_once(found, full)
    return found


SIZES = [(1, 1), (33, 31), (40, 8), *slow([(3, 5), (7, 300)])]


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_element_by_element(shape, strict):
    x, dy = drawn(1, shape, shape)
    x[0, 0] = 0
    for function in (elementwise.relu, elementwise.gelu, elementwise.silu):
        assert isinstance(both(strict, function, [4 * x])[0], BFloat16)
    for function in (elementwise.add, elementwise.gelu_backward, elementwise.silu_backward, elementwise.relu_backward):
        both(strict, function, [dy, 4 * x])


@pytest.mark.parametrize("after", norm.reference.AFTER)
@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_batch_norm(shape, after, strict):
    dy, x = drawn(2, shape, shape)
    parts = np.random.default_rng(3).standard_normal((5, shape[1])).astype(np.float32)
    mean, var = both(strict, norm.column_moments, [x])
    np.testing.assert_allclose(mean.get(), x.mean(axis=0, dtype=np.float64), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(var.get(), x.var(axis=0, dtype=np.float64), rtol=1e-5, atol=1e-6)
    both(strict, norm.column_sum, [x])
    y = both(strict, lambda x, *rest: norm.normalise(x, *rest, after), [x], parts[:3])[0]
    exact = norm.reference.normalise(x.astype(float), *parts[:3].astype(float), after)
    np.testing.assert_allclose(y.get(), exact, rtol=U * 1.001, atol=1e-5)  # that of float32's own rounding beside
    both(strict, lambda dy, x, *rest: norm.normalise_sums(dy, x, *rest, after), [dy, x], parts[:3])
    both(strict, lambda dy, x, *rest: norm.normalise_dx(dy, x, *rest, after), [dy, x], parts)


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_layer_norm(shape, strict):
    dy, x = drawn(4, shape, shape)
    gamma, beta = drawn(5, shape[1], shape[1])
    _, mean, scale = both(strict, lambda x, *rest: norm.layer_norm(x, *rest, 1e-3), [x], [gamma, beta])
    assert mean.dtype == scale.dtype == np.float32
    rest = [gamma, mean.get(), scale.get()]
    found = both(strict, norm.layer_norm_backward, [dy, x], rest)
    assert [isinstance(f, BFloat16) for f in found] == [True, False, False], "gradients of parameters are float32"


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("k", [(2, 2), (3, 2)])
def test_max_pooling(k, relu, strict):
    x, stride = drawn(6, (2, 7, 6, 9))[0], (2, 1)
    y, index = both(strict, lambda x: max_pool(x, k, stride, (1, 1), relu=relu), [x])
    (dy,) = drawn(7, y.shape)
    both(strict, lambda dy: max_pool_backward(dy, index, x.shape, k, stride, (1, 1)), [dy])


@few
@given(sizes=st.tuples(*[st.integers(1, 40)] * 3), bias=st.booleans(), seed=st.integers(0, 99))
def test_products(strict, sizes, bias, seed):
    """An activation with weights is an activation again, one with another one a gradient of weights."""
    get_backend("cupy", precision="bf16")
    m, k, n = sizes
    x, dy = drawn(seed, (m, k), (m, n))
    w, b = (np.random.default_rng(seed).standard_normal(shape).astype(np.float32) for shape in ((k, n), n))
    x_, dy_ = narrow(strict, x, dy)
    w_, b_ = strict.asarray(w), strict.asarray(b) if bias else None
    b = to_bf16(b)  # as autocast does
    exact = x.astype(float) @ to_bf16(w) + (b if bias else 0)
    y = matmul(x_, w_, b_)
    assert isinstance(y, BFloat16)
    size = abs(x).astype(float) @ abs(w) + abs(b)
    assert (abs(y.get() - exact) <= U * abs(exact) + 1e-6 * size).all()
    dx, dw = matmul(dy_, w_.T), matmul(x_.T, dy_)
    assert isinstance(dx, BFloat16) and dw.dtype == np.float32
    np.testing.assert_allclose(dw.get(), x.T.astype(float) @ dy, rtol=1e-5, atol=1e-5)
    exact = dy.astype(float) @ to_bf16(w).T
    assert (abs(dx.get() - exact) <= U * abs(exact) + 1e-6 * (abs(dy).astype(float) @ abs(w.T))).all()


GEOMETRIES = {  # x, filters, kernel, stride, pad
    "tensor cores": ((2, 6, 5, 16), 24, (3, 3), (1, 1), (1, 1)),
    "tensor cores, stride 2": ((2, 7, 6, 16), 32, (3, 2), (2, 1), (1, 0)),
    "columns": ((3, 6, 5, 3), 16, (3, 3), (1, 1), (1, 1)),
    "columns, stride 2": ((3, 6, 5, 5), 7, (2, 2), (2, 2), (0, 0)),
    "a product": ((2, 5, 4, 16), 24, (1, 1), (1, 1), (0, 0)),
    "no images": ((0, 5, 4, 16), 24, (3, 3), (1, 1), (1, 1)),
}


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("case", GEOMETRIES)
def test_convolution(case, relu, strict, monkeypatch):
    """Factors are those of float32 with --precision bf16, so only the end differs."""
    get_backend("cupy", precision="bf16")
    monkeypatch.setattr(device_conv, "ENTRIES", 300)  # several chunks
    shape, f, k, stride, pad = GEOMETRIES[case]
    x, w, b = drawn(1, shape, (*k, shape[3], f), (f,))
    x_, (w_, b_) = narrow(strict, x)[0], map(strict.asarray, (w, b))
    full = conv2d_tiled(strict.asarray(x), w_, b_, stride, pad, relu=relu)
    y = conv2d_tiled(x_, w_, b_, stride, pad, relu=relu)
    assert isinstance(y, BFloat16)
    close(y, full.get(), 10)
    assert (y.get() >= 0).all() == (relu or not y.size)
    (dy,) = drawn(2, y.shape)
    dy_, full_dy = narrow(strict, dy)[0], strict.asarray(dy)
    dw, full_dw = conv2d_tiled_dw(x_, dy_, k, stride, pad), conv2d_tiled_dw(strict.asarray(x), full_dy, k, stride, pad)
    assert dw.dtype == np.float32
    np.testing.assert_allclose(dw.get(), full_dw.get(), rtol=1e-5, atol=1e-5)
    dx = conv2d_tiled_dx(dy_, w_, shape, stride, pad)
    assert isinstance(dx, BFloat16)
    close(dx, conv2d_tiled_dx(full_dy, w_, shape, stride, pad).get(), 10)


def close(found, full, size):
    """One rounding off; that of the sums in float32, of this size, may be made in another order."""
    assert (abs(found.get() - full) <= U * abs(full) + 1e-6 * size).all()


def test_an_array_that_begins_anywhere_is_read_number_by_number(strict):
    """Packs of 16 bytes are for what begins at a multiple of 16."""
    (x,) = drawn(8, (41,))
    view = autocast.rounded(strict.asarray(x))[3:]
    np.testing.assert_array_equal(elementwise.relu(view).get(), np.maximum(x[3:], 0))


# ---------------------------------------------------------------- layers
def run(layer, backend, x, dy=None):
    y, cache = layer.forward(x, train=True, rng=Rng(5).at(2, np.array([7, 1, 4])))
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32) if dy is None else dy
    (given,) = narrow(backend, dy) if isinstance(y, BFloat16) else [backend.asarray(to_bf16(dy))]
    return y, *layer.backward(given, cache)


EVERYDAY = ("Dense", "ConvReLU2d", "BatchNormReLU", "LayerNorm", "GELU", "MaxPoolReLU2d", "Dropout", "PatchEmbed")
TAKE_NUMBERS = [name for name in LAYERS if not name.startswith("Embedding")]


@pytest.mark.parametrize("name", [*EVERYDAY, *slow(sorted(set(TAKE_NUMBERS) - set(EVERYDAY)))])
def test_every_layer_takes_bfloat16_and_a_container_gives_it(name, strict):
    """A layer that knows of none works in float32; what a container gives is what it was given."""
    make, shape = LAYERS[name]
    found = {}
    (x,) = drawn(0, (3, *shape))
    for precision in ("fp32", "bf16"):
        backend = get_backend("cupy", precision=precision)
        layer = Sequential(only=built(make))
        for tree in (layer.params, layer.buffers):
            replace_leaves(tree, lambda _, p, to=backend: to.asarray(p, dtype=np.float32))
        given = narrow(backend, x)[0] if precision == "bf16" else backend.asarray(x)
        found[precision] = run(layer, backend, given)
    (y, dx, grads), (full_y, full_dx, full_grads) = found["bf16"], found["fp32"]
    assert isinstance(y, BFloat16) and isinstance(dx, BFloat16)
    largest = max(np.abs(e.get()).max() for _, e in [("dx", full_dx), *leaves(full_grads)])
    np.testing.assert_allclose(y.get(), full_y.get(), rtol=0, atol=12 * U * np.abs(full_y.get()).max())
    if "Pool" not in name:  # a maximum of values that are equal in bfloat16 sends its gradient elsewhere
        np.testing.assert_allclose(dx.get(), full_dx.get(), rtol=0, atol=24 * U * np.abs(full_dx.get()).max())
    for (path, g), (_, e) in zip(leaves(grads), leaves(full_grads), strict=True):
        assert g.dtype == np.float32, path
        np.testing.assert_allclose(g.get(), e.get(), rtol=0, atol=24 * U * largest, err_msg=path)


EMPTY = {
    "Dense": (lambda: Dense(5, 4, rng=Rng(0)), (5,)),
    "Conv2d": (lambda: Conv2d(3, 4, 3, pad=1, rng=Rng(0)), (6, 6, 3)),
    "LayerNorm": (lambda: LayerNorm(5), (3, 5)),
    "MaxPool2d": (lambda: MaxPool2d(2), (6, 6, 3)),
}


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_batch_is_one_in_bfloat16_too(name, strict):
    make, shape = EMPTY[name]
    layer = Sequential(only=make())
    replace_leaves(layer.params, lambda _, p: strict.asarray(p))
    y, dx, grads = run(layer, strict, narrow(strict, np.zeros((0, *shape), np.float32))[0])
    assert isinstance(y, BFloat16) and isinstance(dx, BFloat16) and len(y) == len(dx) == 0
    assert all((g.get() == 0).all() for _, g in leaves(grads))


def test_a_pool_of_more_taps_than_a_byte_counts(strict):
    """The reference runs, in float32."""
    (x,) = drawn(0, (2, 16, 17, 3))
    y, dx, _ = run(MaxPool2d((16, 17)), strict, narrow(strict, x)[0], x[:, :1, :1])
    np.testing.assert_array_equal(y.get(), x.max(axis=(1, 2), keepdims=True))
    assert isinstance(dx, BFloat16) and (dx.get() != 0).sum() == 6


def test_batch_norm_over_parts_of_a_batch(strict):
    x, dy = drawn(1, (8, 5, 4), (8, 5, 4))
    gamma, beta = (strict.asarray(a) for a in drawn(2, 4, 4))
    found = {}
    for kind, (x_, dy_) in {"bf16": narrow(strict, x, dy), "fp32": map(strict.asarray, (x, dy))}.items():
        y, mean, var, cache = batch_norm_shared_forward(x_, gamma, beta, 1e-5, 40, lambda values: values, "relu")
        found[kind] = y, mean, var, *batch_norm_shared_backward(dy_, cache)
    check_rounded_once(found["bf16"], found["fp32"])
    assert isinstance(found["bf16"][0], BFloat16) and isinstance(found["bf16"][3], BFloat16)


# ---------------------------------------------------------------- steps
NETWORKS = {
    "resnet9": ({"widths": (16, 16, 24, 24), "dropout": 0.25}, (8, 8, 3)),
    "convnet": ({"widths": (16, 24), "fc": 24, "dropout": 0.25}, (8, 8, 3)),
    "vit_small": ({"dim": 24, "depth": 2, "heads": 3, "mlp": 32, "dropout": 0.1, "drop_path": 0.1}, (8, 8, 3)),
    "whitened_resnet": ({"widths": (16, 24), "inner": (16, 16), "kernels": (3, 1, 1, 2, 3, 3)}, (9, 9, 3)),
}
NAMES = ["convnet", "vit_small", *slow(["resnet9", "whitened_resnet"])]
SMOOTH = {"vit_small"}  # no maximum, and no gate that opens at once


def network(name, precision):
    options, shape = NETWORKS[name]
    backend = get_backend("cupy", precision=precision)
    model = build_model(name, "softmax", ClassInfo(7), shape, model_opts=options).to(backend)
    rng = np.random.default_rng(0)
    return (
        model,
        backend.asarray(rng.standard_normal((12, *shape)).astype(np.float32)),
        backend.asarray(np.arange(12) % 7),
    )


def step(name, precision):
    """Loss and gradients of a step in training, and what the trunk keeps between."""
    model, x, t = network(name, precision)
    h, loss, cache = model.forward(x, t, train=True, rng=Rng(0, "noise").at(3, np.arange(12)))
    assert h.dtype == loss.dtype == np.float32 and not isinstance(h, BFloat16)
    kept = list(arrays_in(cache[0]))
    grads = {path: g.get() for path, g in leaves(model.backward(cache))}
    assert {g.dtype for g in grads.values()} == {np.dtype(np.float32)}
    return model, float(loss), grads, kept


def arrays_in(cache):
    if isinstance(cache, list | tuple):
        for part in cache:
            yield from arrays_in(part)
    elif isinstance(cache, strict_cupy.ndarray | BFloat16):
        yield cache


def roundings(model):
    """Those on the way of a value through the network and back: at most two a layer, sums of branches among them."""
    return 2 * sum(not layer.children() or type(layer).__name__ == "Residual" for layer in all_layers(model.trunk))


@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_that_of_float32_but_for_the_roundings(name, strict):
    """To first order each moves a gradient by U of its size at most. A maximum, or the gate of a ReLU, sends a gradient
    elsewhere where two values are closer than that: of values that are spread over 1, a share of as much.
    """
    model, loss, grads, _ = step(name, "bf16")
    _, full_loss, full_grads, _ = step(name, "fp32")
    moved = roundings(model) * U
    assert 0 < abs(loss - full_loss) < moved * full_loss
    found, full = (np.concatenate([g[path].ravel() for path in grads]) for g in (grads, full_grads))
    error = np.linalg.norm(found - full) / np.linalg.norm(full)
    assert 1e-3 < error < (moved if name in SMOOTH else moved + np.sqrt(2 * moved))


@pytest.mark.parametrize("name", NAMES)
def test_a_step_has_the_same_bits_twice_and_waits_for_nothing(name, strict):
    first = step(name, "bf16")[2]
    model, x, t = network(name, "bf16")
    optimizer = OPTIMIZERS["sgd"](model.params, momentum=0.9)
    with strict_cupy.no_waiting():
        _, cache = model.loss(x, t, train=True, rng=Rng(0, "noise").at(3, np.arange(12)))
        grads = model.backward(cache)
        optimizer.step(model.params, grads, lr=0.1)
    for path, g in leaves(grads):
        np.testing.assert_array_equal(g.get(), first[path], err_msg=path)
    assert {p.dtype for _, p in leaves(model.params)} == {np.dtype(np.float32)}, "parameters are float32"


@pytest.mark.parametrize("name", ["convnet", *slow(["resnet9"])])
def test_activations_that_are_kept_take_half_the_bytes(name, strict):
    """Of what lies between forward and backward: whatever has a number for each sample, but for winners and masks."""

    def activations(precision):
        model, _, _, kept = step(name, precision)
        weights = {p.shape for _, p in leaves(model.params)}
        kept = [a for a in kept if len(a.shape) > 1 and a.shape not in weights and a.dtype.kind == "f"]
        owners = {a.data.ptr: a for a in kept}
        return [a.shape for a in owners.values()], sum(a.nbytes for a in owners.values())

    (shapes, bytes_kept), (full_shapes, full_bytes) = activations("bf16"), activations("fp32")
    assert shapes == full_shapes
    assert full_bytes == 2 * bytes_kept


@pytest.mark.slow
def test_what_is_on_the_device_between_forward_and_backward_is_half(strict):
    """Counted over all arrays that there are, not only those that caches show."""

    def held(precision):
        model, x, _ = network("resnet9", precision)
        gc.collect()
        before = owners()
        _, cache = model.trunk.forward(autocast.narrowed(x), train=True, rng=Rng(0, "noise").at(3, np.arange(12)))
        gc.collect()
        fresh = [a for key, a in owners().items() if key not in before]
        assert cache
        return sum(a.nbytes for a in fresh if a.ndim > 1 and a.dtype in (np.float32, np.uint16))

    images = 12 * 8 * 8 * 3 * 2  # a copy in bfloat16, beside those in float32 that the caller holds
    assert held("bf16") - images == held("fp32") / 2


def owners():
    """id -> memory of all arrays that there are on the device."""
    found = [a._a for a in gc.get_objects() if isinstance(a, strict_cupy.ndarray)]
    found = [a if a.base is None else a.base for a in found]
    return {id(a): a for a in found}


HALF = {f"{name}{back}" for name in ("relu", "gelu", "silu", "max_pool") for back in ("", "_backward")}
HALF |= {"add", "normalise", "normalise_dx", "normalise_sums", "column_sum", "column_moments"}
HALF |= {"layer_norm", "layer_norm_dx", "layer_norm_sums"}


@pytest.mark.parametrize("name", slow(["resnet9", "vit_small"]))
def test_passes_between_products_read_and_write_half_the_bytes(name, strict, monkeypatch):
    def traffic(precision):
        """name of a kernel -> bytes of the activations that it is given, launch by launch."""
        launched, real = {}, cuda.Kernels.blocks

        def blocks(self, kernel, grid, *args, **launch):
            if kernel in HALF:
                kinds = [kind for kind, *_ in cuda_on_cpu.parameters(self._raw.code)[kernel]]
                read_or_written = sum(a.nbytes for a, kind in zip(args, kinds, strict=True) if kind == "stored")
                launched.setdefault(kernel, []).append(read_or_written)
            return real(self, kernel, grid, *args, **launch)

        model, x, _ = network(name, precision)
        h, cache = model.through_trunk(x, train=True, rng=Rng(0, "noise").at(3, np.arange(12)))
        monkeypatch.setattr(cuda.Kernels, "blocks", blocks)
        model.through_trunk(x, train=True, rng=Rng(0, "noise").at(3, np.arange(12)))
        model.back_through_trunk(h, cache)
        monkeypatch.setattr(cuda.Kernels, "blocks", real)
        return launched

    found, full = traffic("bf16"), traffic("fp32")
    assert found.keys() == full.keys() and len(found) > 5
    for kernel in found:
        assert [2 * n for n in found[kernel]] == full[kernel], kernel


def test_no_other_precision_knows_of_bfloat16(strict, monkeypatch):
    monkeypatch.setattr(BFloat16, "__init__", lambda *_: pytest.fail("somebody made bfloat16"))
    for precision in ("fp32", "tf32"):
        step("convnet", precision)


@pytest.mark.slow
def test_a_run_learns_as_float32_does(strict, tmp_path):
    words = """train --data digits --limit-train 300 --limit-test 100 --epochs 4 --batch-size 20 --no-plots --quiet
        --lr 0.05 --seed 5 --model convnet --model-opt widths=16,16 --model-opt fc=16 --backend cupy"""
    found = {}
    for precision in ("fp32", "bf16"):
        folder = tmp_path / precision
        assert main([*shlex.split(words), "--precision", precision, "--out", str(folder)]) == 0
        found[precision] = json.loads((folder / "summary.json").read_text())["test"]
    assert found["bf16"]["accuracy"] > 0.8 and found["fp32"]["accuracy"] > 0.8
    assert found["bf16"]["nll"] < found["fp32"]["nll"] + 0.1, "of so short a run it is now above, now below"


def test_a_layer_of_ones_own_is_rounded_by_the_container(strict):
    class Twice(Layer):
        def forward(self, x, *, train=False, rng=None):
            x = self.taken(x)
            return x.astype(np.float32) * 2, x.shape

        def backward(self, dy, cache, *, need_dx=True):
            return dy.astype(np.float32) * 2, {}

    (x,) = drawn(0, (3, 4))
    get_backend("cupy", precision="bf16")
    y, dx, _ = run(Sequential(twice=Twice()), strict, narrow(strict, x)[0], x)
    for found in (y, dx):
        np.testing.assert_array_equal(found.get(), 2 * x)
