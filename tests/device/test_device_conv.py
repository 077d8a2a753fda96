"""Convolution without columns, and products in bfloat16, on the CPU and over random shapes, against readable NumPy.

The kernels of tensor cores run too: what they multiply is laid out to the lanes of a warp by cuda_on_cpu.h.
"""

from __future__ import annotations

import contextlib

import cuda_on_cpu
import numpy as np
import pytest
from everyday import mostly_slow
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from npsoftmax import autocast, cuda, kernels
from npsoftmax.backend import get_backend
from npsoftmax.bfloat16 import BFloat16
from npsoftmax.errors import InputError
from npsoftmax.kernels.conv import device as device_conv
from npsoftmax.kernels.elementwise import relu
from npsoftmax.kernels.matmul.device import rounded as rounded_to_bf16
from npsoftmax.kernels.matmul.device import rounded_to_tf32
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
def convolutions(draw, largest=4, channels=(16, 24, 40, 64, 72)):
    """Sizes that fill no tile, one tile just so, and several; strides; frames, also of more than the kernel needs."""
    k = draw(st.tuples(*[st.integers(1, largest)] * 2))
    stride = draw(st.tuples(*[st.integers(1, 3)] * 2))
    pad = draw(st.tuples(*[st.integers(0, largest // 2)] * 2))
    h, w = (draw(st.integers(max(1, k[a] - 2 * pad[a]), largest + 5)) for a in (0, 1))
    c, f = (draw(st.sampled_from(channels)) for _ in "cf")
    return (draw(st.integers(1, 3)), h, w, c), (*k, c, f), stride, pad


MANY = convolutions(7, (16, 24, 32, 40, 48, 64, 72, 96, 104, 128, 136, 192))


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


WAYS = {
    "kind": st.sampled_from([*KINDS]),
    "relu": st.booleans(),
    "bias": st.booleans(),
    "seed": st.integers(0, 99),
    "blocks": st.sampled_from([1, 1024]),
}


@few
@given(case=convolutions(), **WAYS)
def test_convolution_without_columns(strict, case, kind, relu, bias, seed, blocks):
    convolve(strict, case, kind, relu, bias, seed, blocks)


@pytest.mark.slow
@settings(few, max_examples=120)
@given(case=MANY, **WAYS)
def test_convolution_without_columns_of_many_more(strict, case, kind, relu, bias, seed, blocks):
    convolve(strict, case, kind, relu, bias, seed, blocks)


def convolve(strict, case, kind, relu, bias, seed, blocks):
    """Output and gradients, against columns in float64 whose factors were rounded."""
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


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "pad"),
    [
        ((2, 5, 6, 24), (3, 3, 24, 40), (1, 1), (1, 1)),
        ((1, 7, 5, 64), (1, 1, 64, 136), (1, 1), (0, 0)),
        ((2, 6, 6, 16), (2, 3, 16, 16), (2, 1), (0, 1)),  # dx by columns
        ((2, 6, 6, 3), (3, 3, 3, 16), (1, 1), (1, 1)),  # all by columns
    ],
)
def test_activations_in_bfloat16_are_read_and_written_as_they_are(shape, kernel, stride, pad, strict):
    """The same products as of float32 that was rounded, and the same result, rounded once.

    By columns the bias is rounded before it is added, so this one is rounded already.
    """
    get_backend("cupy", precision="bf16")
    w, b = (strict.asarray(to_bf16(a)) for a in drawn("bf16", 4, kernel, kernel[3:]))
    oh, ow = reference.output_sizes(shape, kernel[:2], stride, pad)
    x, dy = (autocast.rounded(strict.asarray(a)) for a in drawn("bf16", 5, shape, (shape[0], oh, ow, kernel[3])))

    def made(x, dy):
        y = kernels.conv2d_tiled(x, w, b, stride, pad, relu=True)
        return (
            y,
            kernels.conv2d_tiled_dx(dy, w, shape, stride, pad),
            kernels.conv2d_tiled_dw(x, dy, kernel[:2], stride, pad),
        )

    (y, dx, dw), expected = made(x, dy), made(autocast.widened(x), autocast.widened(dy))
    for found, full in ((y, expected[0]), (dx, expected[1])):
        assert isinstance(found, BFloat16)
        assert (found.get() == to_bf16(full.get())).all()
    assert dw.dtype == np.float32 and not isinstance(dw, BFloat16)
    np.testing.assert_allclose(dw.get(), expected[2].get(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("stride", "times"), [((1, 1), 3), ((2, 1), 2)])
def test_what_is_rounded_for_both_gradients_is_rounded_once(stride, times, strict, monkeypatch):
    """x, dy and w; at larger strides dx goes by columns."""
    get_backend("cupy", precision="tf32")
    x, w, dy = map(strict.asarray, drawn("tf32", 6, (1, 6, 6, 16), (3, 3, 16, 24), (1, 6 // stride[0], 6, 24)))
    dx, dw = (
        kernels.conv2d_tiled_dx(dy, w, x.shape, stride, (1, 1)),
        kernels.conv2d_tiled_dw(x, dy, (3, 3), stride, (1, 1)),
    )
    rounded = []
    monkeypatch.setattr(device_conv, "rounded_to_tf32", lambda a: rounded.append(a) or rounded_to_tf32(a))
    both = kernels.conv2d_tiled_backward(x, dy, w, stride, (1, 1))
    assert len(rounded) == times
    assert (both[0].get() == dx.get()).all() and (both[1].get() == dw.get()).all()


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
        ((2, 4, 4, 512), (3, 3, 512, 512), (1, 1), (1, 1), "tf32", "tf32"),
        ((2, 12, 12, 16), (11, 11, 16, 16), (1, 1), (1, 1), "tf32", "tf32"),
        ((2, 12, 12, 16), (12, 3, 16, 16), (1, 1), (1, 1), "tf32", None),  # more than there are bits for
        ((2, 12, 12, 16), (12, 3, 16, 16), (1, 1), (1, 1), "fp32", "full"),
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
    for view in views:
        numbers = device_conv._numbers(device_conv.Kind("full", 4), view)
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
CODE = cuda.source("conv_tensor")
X, W, DY = drawn("fp32", 0, (1, 4, 12, 24), (16, 3, 3, 24), (1, 4, 12, 16))  # not all in one slice
SIZES = tuple(map(np.int32, (4, 12, 24, 4, 12, 3, 3, 1, 1, 1, 1, 16, 48)))
needs_compiler = pytest.mark.skipif(cuda_on_cpu.COMPILER is None, reason="there is no C++ compiler")


def made_by(code, kernel, bits, *, shared=2 * 192 * 128 + 8 * 137, falling=False):
    """What a kernel makes of X, and W or DY, and what that should be."""
    kind = {32: "tf32", 16: "bf16"}[bits]
    x, w, dy = (ROUNDED[kind](a) for a in (X, W, DY))
    columns = reference.im2col(x, (3, 3), (1, 1), (1, 1))
    exact = columns @ w.reshape(16, -1).T if kernel == "outputs" else columns.T @ dy.reshape(-1, 16)
    found = np.zeros(exact.shape, np.float32)
    x, w, dy = (a if bits == 32 else (a.view(np.uint32) >> 16).astype(np.uint16) for a in (x, w, dy))
    args = (x, w, np.intp(0), found, np.int32(0)) if kernel == "outputs" else (x, dy, found, np.int32(8))
    options = (*cuda.options("f"), *device_conv.tensor_options(bits, 32, 64))
    grid = (1, 1) if kernel == "outputs" else (2, 1)
    cuda_on_cpu.run(code, options, kernel, grid, (64,), (*args, *SIZES), shared=shared, falling=falling)
    return found, exact


PLANTED = {  # what is wrong, and in which kernel it shows
    "a stage that is not waited for": ("        wait_for_stages<STAGES - 2>();\n", "", "outputs", 32),
    "a stage too few waited for": ("wait_for_stages<STAGES - 2>", "wait_for_stages<STAGES - 1>", "outputs", 32),
    "a missing barrier": ("        __syncthreads();  // all have", "        // all have", "outputs", 32),
    "tables read before they are there": ("        __syncthreads();  // all can", "        // all can", "weights", 32),
    "a stage overwritten too early": ("free = STAGES - 1;", "free = STAGES - 2;", "outputs", 32),
    "rows of a square in another order": (
        "row() + lane() % 16",
        "row() + (lane() ^ 1) % 16",
        "outputs",
        32,
    ),
    "squares of the left factor exchanged": ("row() + lane() % 16", "row() + (lane() ^ 8) % 16", "outputs", 16),
    "squares of the right factor exchanged": (
        "2 * step + lane() / 8 % 2",
        "2 * step + 1 - lane() / 8 % 2",
        "outputs",
        32,
    ),
    "squares of positions exchanged": ("place(q / 2 * 8 + k", "place(q % 2 * 8 + k", "weights", 16),
    "squares that are not transposed": ("ldmatrix_trans(f.right", "ldmatrix(f.right", "weights", 16),
    "words of a lane in another order": ("j % 2 * 2 + k,", "j % 2 + 2 * k,", "weights", 32),
    "results of a lane in another column": ("2 * t + k % 2);", "2 * t + 1 - k % 2);", "outputs", 32),
    "results of a lane in another row": ("[row % 2 * 2 + n]", "[row % 2 + 2 * n]", "outputs", 32),
    "a carry that is forgotten": (", job.i++;  // at most", ";  // at most", "weights", 32),
    "a tap whose row is not looked at": ("s.c, 1u << down | ", "s.c, ", "outputs", 32),
}


@needs_compiler
@pytest.mark.parametrize("kernel", ["outputs", "weights"])
@pytest.mark.parametrize("bits", [32, 16])
def test_the_kernels_that_mistakes_are_planted_in(kernel, bits):
    for falling in (False, True):
        found, exact = made_by(CODE, kernel, bits, falling=falling)
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-4)


EVERYDAY = {"a missing barrier", "squares that are not transposed", "a carry that is forgotten"}


@needs_compiler
@pytest.mark.parametrize("mistake", mostly_slow(PLANTED, EVERYDAY))
def test_a_planted_mistake_is_found(mistake):
    right, wrong, kernel, bits = PLANTED[mistake]
    assert CODE.count(right) == 1
    good = []
    for falling in (False, True):
        with contextlib.suppress(cuda_on_cpu.KernelError), np.errstate(invalid="ignore"):
            found, exact = made_by(CODE.replace(right, wrong), kernel, bits, falling=falling)
            good.append(np.allclose(found, exact, rtol=0, atol=1e-3))
    assert not all(good) or len(good) < 2


@needs_compiler
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("there && falls_on_a_pixel(tap, corners[i])", "there"),  # of 128 positions 48 are there
        ("there && of < job.s.f", "there"),
        ("tap.offset + job.channel)", "tap.offset + job.channel + 1)"),
    ],
)
def test_fetching_beside_an_array_is_found_though_nobody_uses_it(right, wrong):
    assert right in CODE
    with pytest.raises(cuda_on_cpu.KernelError, match="outputs fetches from outside of its arrays, or not from a mult"):
        made_by(CODE.replace(right, wrong), "outputs", 32)


@needs_compiler
def test_writing_beyond_the_shared_memory_is_found():
    with pytest.raises(cuda_on_cpu.KernelError, match="outputs writes beyond the 50240 bytes"):
        made_by(CODE, "outputs", 32, shared=2 * 192 * 128 + 8 * 136)


# ---------------------------------------------------------------- shared memory
H100, A100, RTX_4090 = 228 << 10, 164 << 10, 100 << 10


@pytest.mark.parametrize(
    ("there", "columns", "share"),
    [(H100, 128, 58), (H100, 64, 88), (A100, 128, 81), (A100, 64, 100), (RTX_4090, 128, 100)],
)
def test_each_device_is_asked_for_room_for_as_many_blocks_as_have_registers(there, columns, share, strict, monkeypatch):
    device = strict.xp.cuda.Device
    monkeypatch.setattr(device, "attributes", {"MaxSharedMemoryPerMultiprocessor": there})
    kernels = cuda.Kernels(strict.xp, strict.xp.RawModule(code=cuda.source("bfloat16"), options=cuda.options("f")), "f")
    shared = device_conv.STAGES * (device_conv.ROWS + columns) * device_conv.LINE + device_conv.PLACE * 137
    for current in (0, 1, 0):
        monkeypatch.setattr(device, "current", current)
        y = strict.asarray(np.zeros(1, np.uint16))
        kernels.blocks("round_bf16", (1,), strict.asarray(np.ones(1, "f")), y, 1, threads=columns, shared=shared)
        function = kernels._functions["round_bf16"]
        assert y.get() == [0x3F80]
        assert function.max_dynamic_shared_size_bytes == shared
        assert function.preferred_shared_memory_carveout == share


def test_an_activation_in_bfloat16_that_is_too_large_is_an_error(strict, monkeypatch):
    monkeypatch.setattr(cuda, "MOST_ITEMS", 5)
    x = autocast.rounded(strict.asarray(np.ones((2, 3), np.float32)))
    with pytest.raises(InputError, match=r"bfloat16 has shape \(2, 3\), but kernels take 5 .* smaller --batch-size"):
        relu(x)
