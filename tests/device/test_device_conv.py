"""Convolution without columns, and products in bfloat16, on the CPU and over random shapes, against readable NumPy.

The kernels of tensor cores run too: what they multiply is laid out to the lanes of a warp by cuda_on_cpu.h.
"""

from __future__ import annotations

import cuda_on_cpu
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from npsoftmax import cuda, kernels
from npsoftmax.backend import get_backend
from npsoftmax.kernels.conv import device as device_conv
from npsoftmax.kernels.matmul.device import rounded as rounded_to_bf16
from npsoftmax.kernels.windows import reference

few = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
KINDS = {"float64": "fp32", "fp32": "fp32", "tf32": "tf32", "bf16": "bf16"}  # numbers of a test: --precision


def bits_of(x):
    return x.astype(np.float32).view(np.uint32).astype(np.uint64)


def to_tf32(x):
    """10 bits after the point, of two as near the one away from 0."""
    return ((bits_of(x) + 0x1000) & 0xFFFFE000).astype(np.uint32).view(np.float32)


def to_bf16(x):
    """7 bits after the point, of two as near the even one."""
    odd = bits_of(x) >> np.uint64(16) & np.uint64(1)
    return ((bits_of(x) + np.uint64(0x7FFF) + odd) & np.uint64(0xFFFF0000)).astype(np.uint32).view(np.float32)


ROUNDED = {"float64": np.asarray, "fp32": np.asarray, "tf32": to_tf32, "bf16": to_bf16}


@st.composite
def convolutions(draw):
    """Sizes that fill no tile, one tile just so, and several; strides; frames, also of more than the kernel needs."""
    k = draw(st.tuples(*[st.integers(1, 4)] * 2))
    stride = draw(st.tuples(*[st.integers(1, 3)] * 2))
    pad = draw(st.tuples(*[st.integers(0, 2)] * 2))
    h, w = (draw(st.integers(max(1, k[a] - 2 * pad[a]), 9)) for a in (0, 1))
    c, f = (draw(st.sampled_from([16, 24, 40, 64, 72])) for _ in "cf")
    return (draw(st.integers(1, 3)), h, w, c), (*k, c, f), stride, pad


def drawn(kind, seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float64 if kind == "float64" else np.float32) for shape in shapes]


def check(found, factors, kind, dtype):
    """`found` is the product of the factors as `kind` rounds them; only sums are rounded beside."""
    a, b = (ROUNDED[kind](factor).astype(np.float64) for factor in factors)
    found = found.get().reshape(len(a), -1)
    assert found.dtype == dtype
    error = np.abs(found - a @ b) / (np.abs(a) @ np.abs(b) + 1e-30)
    assert error.max() < 8 * np.finfo(dtype).eps


@few
@given(
    case=convolutions(),
    kind=st.sampled_from([*KINDS]),
    relu=st.booleans(),
    bias=st.booleans(),
    seed=st.integers(0, 99),
    blocks=st.sampled_from([1, 1024]),
)
def test_convolution_without_columns(strict, case, kind, relu, bias, seed, blocks):
    get_backend("cupy", precision=KINDS[kind])
    x_shape, w_shape, stride, pad = case
    (*k, _, f), (n, h, width, _) = w_shape, x_shape
    geometry = tuple(k), stride, pad
    oh, ow = (reference.output_size(*sizes) for sizes in zip((h, width), *geometry, strict=True))
    x, w, b, dy = drawn(kind, seed, x_shape, w_shape, (f,), (n, oh, ow, f))
    b = b if bias else None
    there = [a if a is None else strict.asarray(a) for a in (x, w, b, dy)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_conv, "BLOCKS", blocks)
        patch.setattr(device_conv, "FEWEST_SLICES", 1)
        for name in ("_by_columns", "_dw_by_columns"):
            if (tuple(k), stride, pad) != ((1, 1), (1, 1), (0, 0)):
                patch.setattr(device_conv, name, lambda *_: pytest.fail("columns were made"))
        y = kernels.conv2d_tiled(*there[:3], stride, pad, relu=relu).get()
        dw = kernels.conv2d_tiled_dw(there[0], there[3], tuple(k), stride, pad)
    dx = kernels.conv2d_tiled_dx(there[3], there[1], x_shape, stride, pad)
    if not device_conv.kind_for(there[0], w_shape, stride, pad):
        return  # 1x1: a product of cuBLAS
    columns, matrix, rows = reference.im2col(x, *geometry), w.reshape(-1, f), dy.reshape(-1, f)
    z = ROUNDED[kind](columns).astype(np.float64) @ ROUNDED[kind](matrix) + (0 if b is None else b)
    size = np.abs(columns) @ np.abs(matrix) + 10
    assert (np.abs(y.reshape(z.shape) - (np.maximum(z, 0) if relu else z)) < 8 * np.finfo(x.dtype).eps * size).all()
    check(dw, (columns.T, rows), kind, x.dtype)
    if stride == (1, 1) and pad[0] < k[0] and pad[1] < k[1]:
        exact = ROUNDED[kind](rows).astype(np.float64) @ ROUNDED[kind](matrix).T
        size = reference.col2im(np.abs(rows) @ np.abs(matrix).T, x_shape, *geometry) + 1e-30
        exact = reference.col2im(exact, x_shape, *geometry)
        assert (np.abs(dx.get() - exact) < 8 * np.finfo(x.dtype).eps * size).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1, 1, 16), (1, 13, 11, 64), (2, 9, 16, 72)])
def test_tiles_with_little_in_them_and_several(shape, kind, strict):
    """128 positions and 64 filters are a tile: one position of it, and two and three tiles each way."""
    get_backend("cupy", precision=KINDS[kind])
    x, w, dy = drawn(kind, 1, shape, (3, 3, shape[3], 136), (*shape[:3], 136))
    there = [strict.asarray(a) for a in (x, w, dy)]
    geometry = (3, 3), (1, 1), (1, 1)
    columns = reference.im2col(x, *geometry)
    check(kernels.conv2d_tiled(*there[:2], None, *geometry[1:]), (columns, w.reshape(-1, 136)), kind, x.dtype)
    check(kernels.conv2d_tiled_dw(there[0], there[2], *geometry), (columns.T, dy.reshape(-1, 136)), kind, x.dtype)
    turned = w[::-1, ::-1].transpose(0, 1, 3, 2).reshape(-1, shape[3])
    found = kernels.conv2d_tiled_dx(there[2], there[1], shape, *geometry[1:])
    check(found, (reference.im2col(dy, *geometry), turned), kind, x.dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_finite_stays_so(kind, strict):
    get_backend("cupy", precision=KINDS[kind])
    x, w = drawn(kind, 2, (1, 4, 4, 16), (3, 3, 16, 16))
    x[0, 0, 0, 3], x[0, 3, 3, 5] = np.nan, np.inf
    y = kernels.conv2d_tiled(strict.asarray(x), strict.asarray(w), None, (1, 1), (1, 1), relu=True).get()
    assert np.isnan(y[0, :2, :2]).all() and not np.isfinite(y[0, 2:, 2:]).all()
    assert np.isfinite(y[0, 0, 2:]).all() and np.isfinite(y[0, 2:, 0]).all()


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "pad", "precision", "expected"),
    [
        ((2, 8, 8, 64), (3, 3, 64, 64), (1, 1), (1, 1), "tf32", "tf32"),
        ((2, 8, 8, 64), (3, 3, 64, 64), (1, 1), (1, 1), "bf16", "bf16"),
        ((2, 8, 8, 64), (3, 3, 64, 64), (1, 1), (1, 1), "fp32", "full"),
        ((2, 8, 8, 64), (1, 1, 64, 64), (2, 2), (0, 0), "tf32", "tf32"),
        ((2, 8, 8, 64), (1, 1, 64, 64), (1, 1), (0, 0), "tf32", None),  # a matrix product as it is
        ((2, 8, 8, 3), (3, 3, 3, 64), (1, 1), (1, 1), "tf32", None),  # the first layer
        ((2, 8, 8, 20), (3, 3, 20, 20), (1, 1), (1, 1), "tf32", "tf32"),
        ((2, 4, 4, 256), (3, 3, 256, 128), (1, 1), (1, 1), "tf32", "tf32"),
        ((2, 4, 4, 252), (3, 3, 252, 252), (1, 1), (1, 1), "tf32", "tf32"),
        ((2, 4, 4, 256), (3, 3, 256, 256), (1, 1), (1, 1), "tf32", None),  # deep
        ((2, 4, 4, 256), (3, 3, 256, 256), (1, 1), (1, 1), "bf16", "bf16"),
        ((2, 8, 8, 20), (3, 3, 20, 20), (1, 1), (1, 1), "bf16", None),  # 16 bytes are 8 channels
        ((2, 8, 8, 18), (3, 3, 18, 16), (1, 1), (1, 1), "tf32", None),
        ((0, 8, 8, 64), (3, 3, 64, 64), (1, 1), (1, 1), "tf32", None),
    ],
)
def test_the_shape_decides(shape, kernel, stride, pad, precision, expected, strict):
    get_backend("cupy", precision=precision)
    kind = device_conv.kind_for(strict.asarray(np.zeros(shape, np.float32)), kernel, stride, pad)
    assert (kind and kind.name) == expected
    if expected:
        assert device_conv.kind_for(strict.asarray(np.zeros(shape)), kernel, stride, pad) == ("full", 8)


def test_what_is_fetched_begins_at_a_multiple_of_16_bytes(strict):
    """A device stops at others; a view can begin anywhere."""
    images = strict.asarray(np.arange(1.0 + 2 * 3 * 3 * 16, dtype=np.float32))
    views = [images[first : first + 288].reshape(2, 3, 3, 16) for first in (0, 1)]
    assert any(view.data.ptr % 16 for view in views)
    for view, numbers in zip(views, device_conv._numbers(device_conv.Kind("tf32", 4), *views), strict=True):
        assert numbers.data.ptr % 16 == 0
        assert (numbers.get() == view.get()).all()


# ---------------------------------------------------------------- products in bfloat16
def test_rounding_to_bfloat16(strict):
    """Of two as near the even one, over the edge to infinity, and what is not finite."""
    x = np.array([1, 1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8 - 2**-20, 3.4e38, 1e-40, np.inf, -np.inf, np.nan], np.float32)
    x[-1:].view(np.uint32)[:] = 0x7FFFFFFF  # the NaN of a device: rounded as a number it would be -0
    found = rounded_to_bf16(strict.asarray(x)).get()
    assert found.dtype == np.uint16
    assert [f"{bits:04X}" for bits in found[:-1]] == ["3F80", "3F80", "3F82", "BF81", "7F80", "0001", "7F80", "FF80"]
    assert np.isnan((found.astype(np.uint32) << 16).view(np.float32)[-1])


@few
@given(
    sizes=st.tuples(*[st.integers(1, 70)] * 3),
    turned=st.tuples(st.booleans(), st.booleans()),
    gaps=st.booleans(),
    seed=st.integers(0, 99),
)
def test_products_in_bfloat16(strict, sizes, turned, gaps, seed):
    get_backend("cupy", precision="bf16")
    m, k, n = sizes
    step = 2 if gaps else 1
    a, b = (x[:, ::step] for x in drawn("bf16", seed, (m, step * k), (k, step * n)))
    there = [
        strict.asarray(np.ascontiguousarray(x.T)).T if flag else strict.asarray(x)
        for x, flag in zip((a, b), turned, strict=True)
    ]
    check(kernels.matmul(*there), (a, b), "bf16", np.float32)
    double = kernels.matmul(*(x.astype(np.float64) for x in there)).get()
    np.testing.assert_allclose(double, a.astype(np.float64) @ b, rtol=1e-12, atol=1e-12)


def test_columns_are_multiplied_in_bfloat16_too(strict):
    get_backend("cupy", precision="bf16")
    x, w, dy = drawn("bf16", 3, (3, 6, 5, 3), (3, 3, 3, 8), (3, 3, 3, 8))
    there = [strict.asarray(a) for a in (x, w, dy)]
    geometry = (3, 3), (2, 2), (1, 1)
    columns, rows, matrix = reference.im2col(x, *geometry), dy.reshape(-1, 8), w.reshape(-1, 8)
    check(kernels.conv2d_tiled(*there[:2], None, *geometry[1:]), (columns, matrix), "bf16", np.float32)
    check(kernels.conv2d_tiled_dw(there[0], there[2], *geometry), (columns.T, rows), "bf16", np.float32)
    dx = kernels.conv2d_tiled_dx(there[2], there[1], x.shape, *geometry[1:]).get()
    expected = reference.col2im(to_bf16(rows) @ to_bf16(matrix).T, x.shape, *geometry)
    np.testing.assert_allclose(dx, expected, rtol=1e-5, atol=1e-5)


def test_factors_that_do_not_fit_are_refused(strict):
    get_backend("cupy", precision="bf16")
    a, b = (strict.asarray(x) for x in drawn("bf16", 0, (3, 4), (5, 2)))
    with pytest.raises(ValueError, match=r"right has shape \(5, 2\), but \(K, N\) with K = 4"):
        kernels.matmul(a, b)


# ---------------------------------------------------------------- what the harness finds
CODE = cuda.source("conv")
X, W, DY = drawn("fp32", 0, (1, 4, 4, 16), (16, 3, 3, 16), (1, 4, 4, 16))
SIZES = tuple(map(np.int32, (4, 4, 16, 4, 4, 3, 3, 1, 1, 1, 1, 16, 16)))


def outputs(code, kind="full", x=X):
    y = np.zeros(DY.shape, np.float32)
    args = x, W, np.intp(0), y, np.int32(0), *SIZES
    cuda_on_cpu.run(code, cuda.options("f"), f"outputs_{kind}", (1, 1), (cuda.BLOCK,), args)
    return y


PLANTED = {
    "a stage that is not waited for": ("        wait_for_stage();\n", ""),
    "a missing barrier": ("        __syncthreads();  // all", "        // all"),
    "a stage overwritten too early": ("(next - first) % STAGES", "(next - first + 1) % STAGES"),
    "registers of a lane in another order": ("k + q / 2 * 4)", "k + q % 2 * 4)"),
    "results of a lane in another row": ("+ n / 2 % 2 * 8", "+ n / 2 % 2 * 4"),
    "factors that are cut off, not rounded": (
        "return tf32(slice[row * ROW",
        "return (unsigned&)(slice[row * ROW",
    ),
}


@pytest.mark.skipif(cuda_on_cpu.COMPILER is None, reason="there is no C++ compiler")
@pytest.mark.parametrize(("right", "wrong"), PLANTED.values(), ids=PLANTED)
def test_a_planted_mistake_is_found(right, wrong):
    exact = to_tf32(reference.im2col(X, (3, 3), (1, 1), (1, 1))) @ to_tf32(W.reshape(16, -1).T)
    size = 1e-5 * np.abs(exact).max()
    np.testing.assert_allclose(outputs(CODE, "tf32").reshape(exact.shape), exact, rtol=0, atol=size)
    assert right in CODE
    with np.errstate(invalid="ignore"):
        found = [outputs(CODE.replace(right, wrong), kind).reshape(exact.shape) for kind in ("full", "tf32")]
    assert not np.allclose(found[0], exact, rtol=0, atol=0.01) or not np.allclose(found[1], exact, rtol=0, atol=size)


@pytest.mark.skipif(cuda_on_cpu.COMPILER is None, reason="there is no C++ compiler")
def test_fetching_beside_an_array_is_found_though_nobody_uses_it():
    """A tile has 128 positions and the image 16."""
    wrong = CODE.replace("there && job.position + row + 64 * i < job.s.positions", "there")
    assert wrong != CODE
    with pytest.raises(cuda_on_cpu.KernelError, match="outputs_full fetches from outside"):
        outputs(wrong)


@pytest.mark.skipif(cuda_on_cpu.COMPILER is None, reason="there is no C++ compiler")
def test_fetching_from_no_multiple_of_16_bytes_is_found():
    wrong = CODE.replace("column % s.c};", "column % s.c + (column < 4)};")
    assert wrong != CODE
    with pytest.raises(cuda_on_cpu.KernelError, match="multiple of 16"):
        outputs(wrong)
