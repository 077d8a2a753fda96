"""Every kernel three ways, compiled, in readable NumPy and by its definition in loops: all agree.

The definitions below visit one pixel at a time; float results are held to the rounding bound of a dot product,
|error| <= (depth + 2) · eps · Σ|a||b|, and copies to equality.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from npsoftmax import host, kernels
from npsoftmax.kernels.conv import compiled as conv_kernels
from npsoftmax.kernels.windows import reference

COMPILED, STATUS = kernels.compiled_status()
needs_extension = pytest.mark.skipif(not COMPILED, reason=f"compiled kernels are not in use: {STATUS}")


# ---------------------------------------------------------------- cases
@dataclass(frozen=True)
class Case:
    """A geometry with everything about it that could go wrong: dtype, memory layout and number of threads."""

    shape: tuple[int, int, int, int]
    k: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    filters: int = 3
    dtype: type = np.float64
    layout: str = "C"
    threads: int = 2
    seed: int = 0

    @property
    def geometry(self):
        return self.k, self.stride, self.pad

    @property
    def out(self):
        """(OH, OW)."""
        return tuple((n + 2 * p - k) // s + 1 for n, k, s, p in zip(self.shape[1:3], *self.geometry, strict=True))

    @property
    def cols_shape(self):
        n, c = self.shape[0], self.shape[3]
        return n * math.prod(self.out), math.prod(self.k) * c

    def array(self, shape, seed=0):
        values = np.random.default_rng((self.seed, seed)).standard_normal(shape).astype(self.dtype)
        return LAYOUTS[self.layout](values)

    def images(self, seed=0):
        return self.array(self.shape, seed)

    def upstream(self, channels, seed=1):
        return self.array((self.shape[0], *self.out, channels), seed)


def spread(a):
    """The same values with a gap of NaN after each element, along every axis."""
    wide = np.full([2 * n for n in a.shape], np.nan, a.dtype)
    every_other = wide[(slice(None, None, 2),) * a.ndim]
    every_other[...] = a
    return every_other


def frozen(a):
    a = a.copy()
    a.flags.writeable = False
    return a


LAYOUTS = {
    "C": lambda a: a,
    "F": np.asfortranarray,
    "backwards": lambda a: np.flip(np.flip(a).copy()),
    "spread": spread,
    "read-only": frozen,
}


@st.composite
def cases(draw, max_channels=5):
    pair = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))  # noqa: E731
    h, w = draw(pair(1, 9))
    k, pad = draw(pair(1, 4)), draw(pair(0, 5))
    assume(h + 2 * pad[0] >= k[0] and w + 2 * pad[1] >= k[1])
    return Case(
        shape=(draw(st.integers(1, 3)), h, w, draw(st.integers(1, max_channels))),
        k=k,
        stride=draw(st.just((1, 1)) | pair(1, 5)),  # stride 1 has a road of its own in dx
        pad=pad,
        filters=draw(st.integers(1, 4)),
        dtype=draw(st.sampled_from([np.float32, np.float64])),
        layout=draw(st.sampled_from(sorted(LAYOUTS))),
        threads=draw(st.sampled_from([1, 2, 3, 5])),
        seed=draw(st.integers(0, 2**16)),
    )


# Too large for hypothesis: runs above 64 channels, several tiles a thread, a tile of one row, more threads than rows.
LARGE = {
    "long runs": Case((2, 5, 4, 130), (3, 2), (1, 2), (1, 0), dtype=np.float32),
    "many tiles": Case((2, 33, 31, 16), (5, 4), (1, 1), (1, 3), filters=7, threads=3),
    "many tiles, strided": Case((3, 33, 31, 16), (5, 4), (2, 1), (3, 2), filters=5, dtype=np.float32),
    "one matrix product": Case((3, 33, 5, 6), (1, 1), (1, 1), (0, 0), filters=7),
    "rows beyond a tile": Case((2, 3, 600, 2), (2, 3), (1, 1), (1, 1), filters=2),
    "rows beyond a tile, strided": Case((1, 5, 1100, 2), (3, 3), (2, 2), (1, 1), filters=2),
    "idle threads": Case((1, 2, 3, 2), (2, 2), threads=8),
}
large = pytest.mark.parametrize("case", LARGE.values(), ids=LARGE)


@contextmanager
def threads(n):
    host.set_threads(n)
    try:
        yield
    finally:
        host.set_threads(None)


# ---------------------------------------------------------------- definitions
def looks(case):
    """(row of the output, place in it, place in the kernel, pixel or None outside the image), all of them."""
    (h, w), (oh, ow) = case.shape[1:3], case.out
    for i, j in np.ndindex(oh, ow):
        for u, v in np.ndindex(*case.k):
            y, x = i * case.stride[0] - case.pad[0] + u, j * case.stride[1] - case.pad[1] + v
            yield (i, j), (u, v), (y, x) if 0 <= y < h and 0 <= x < w else None


def naive_im2col(x, case):
    n, c = case.shape[0], case.shape[3]
    cols = np.zeros((n, *case.out, *case.k, c), x.dtype)
    for at, tap, pixel in looks(case):
        if pixel:
            cols[:, *at, *tap] = x[:, *pixel]
    return cols.reshape(case.cols_shape)


def naive_col2im(cols, case):
    n, c = case.shape[0], case.shape[3]
    dx = np.zeros(case.shape, cols.dtype)
    cols = cols.reshape(n, *case.out, *case.k, c)
    for at, tap, pixel in looks(case):
        if pixel:
            dx[:, *pixel] += cols[:, *at, *tap]
    return dx


def naive_max_pool(x, case):
    """The frame is -inf. Of NaN only that it wins, not which of several."""
    n, c = case.shape[0], case.shape[3]
    taps = np.full((n, *case.out, *case.k, c), -np.inf, x.dtype)
    for at, tap, pixel in looks(case):
        if pixel:
            taps[:, *at, *tap] = x[:, *pixel]
    taps = taps.reshape(n, *case.out, -1, c)
    return taps.max(axis=3), taps.argmax(axis=3), taps


def naive_max_pool_backward(dy, index, case):
    dx = np.zeros(case.shape, dy.dtype)
    for (i, j), (u, v), pixel in looks(case):
        if pixel:
            dx[:, *pixel] += np.where(index[:, i, j] == u * case.k[1] + v, dy[:, i, j], 0)
    return dx


def product_of(a, b):
    """a @ b in float64 and the rounding error that a product of their dtype may have."""
    exact = a.astype(np.float64) @ b.astype(np.float64)
    bound = (a.shape[1] + 2) * np.finfo(a.dtype).eps * (np.abs(a).astype(np.float64) @ np.abs(b))
    return exact, bound + np.finfo(a.dtype).tiny


def assert_within(got, exact, bound, dtype):
    assert got.dtype == dtype and got.shape == exact.shape
    excess = np.abs(got - exact) - bound
    assert (excess <= 0).all(), f"off by {np.abs(got - exact).max():.3g}, allowed {bound.max():.3g}"


def inner(a, b):
    return float(np.sum(np.asarray(a, np.float64) * np.asarray(b, np.float64)))


# ---------------------------------------------------------------- columns
class ColumnChecks:
    def check_im2col(self, case):
        x = case.images()
        expected = naive_im2col(x, case)
        with threads(case.threads):
            got = kernels.im2col(x, *case.geometry)
        for cols in (got, reference.im2col(x, *case.geometry)):
            assert cols.dtype == x.dtype
            np.testing.assert_array_equal(cols, expected)

    def check_col2im(self, case):
        cols = case.array(case.cols_shape)
        expected = naive_col2im(cols.astype(np.float64), case)
        bound = (math.prod(case.k) + 2) * np.finfo(cols.dtype).eps * naive_col2im(np.abs(cols).astype(np.float64), case)
        with threads(case.threads):
            got = kernels.col2im(cols, case.shape, *case.geometry)
        for dx in (got, reference.col2im(cols, case.shape, *case.geometry)):
            assert_within(dx, expected, bound, cols.dtype)

    def check_adjoint(self, case):
        """<im2col(x), c> = <x, col2im(c)>: one is the transpose of the other, as matrices."""
        x, c = case.images(), case.array(case.cols_shape, seed=1)
        with threads(case.threads):
            cols, dx = kernels.im2col(x, *case.geometry), kernels.col2im(c, case.shape, *case.geometry)
        eps = np.finfo(x.dtype).eps * (math.prod(case.k) + 2)
        assert abs(inner(cols, c) - inner(x, dx)) <= eps * inner(np.abs(cols), np.abs(c))


class TestColumns(ColumnChecks):
    @given(cases())
    def test_im2col(self, case):
        self.check_im2col(case)

    @given(cases())
    def test_col2im(self, case):
        self.check_col2im(case)

    @given(cases())
    def test_adjoint(self, case):
        self.check_adjoint(case)

    @large
    def test_large(self, case):
        self.check_im2col(case)
        self.check_col2im(case)
        self.check_adjoint(case)


def test_im2col_of_the_picture_in_the_documentation():
    x = np.arange(12.0).reshape(1, 3, 4, 1)
    cols = kernels.im2col(x, (2, 2), (1, 1), (0, 0))
    assert cols[:4].tolist() == [[0, 1, 4, 5], [1, 2, 5, 6], [2, 3, 6, 7], [4, 5, 8, 9]]


# ---------------------------------------------------------------- max-pooling
def awkward_images(case):
    """Few distinct values, so that most windows tie; some -inf and NaN."""
    rng = np.random.default_rng(case.seed)
    share = {-np.inf: 0.2, -1.0: 0.2, -0.0: 0.2, 1.0: 0.2, 2.0: 0.1, np.inf: 0.05, np.nan: 0.05}
    values = rng.choice(list(share), size=case.shape, p=list(share.values()))
    return LAYOUTS[case.layout](values.astype(case.dtype))


class PoolChecks:
    def check(self, x, case):
        values, index, taps = naive_max_pool(x, case)
        with threads(case.threads):
            got = kernels.max_pool(x, *case.geometry)
        slow = reference.max_pool(x, *case.geometry)
        for y, winner in (got, slow):
            assert y.dtype == x.dtype and winner.dtype == np.uint8
            np.testing.assert_array_equal(y, values)
            number = ~np.isnan(values)
            np.testing.assert_array_equal(winner[number], index[number])
            np.testing.assert_array_equal(np.take_along_axis(taps, winner[:, :, :, None].astype(int), 3)[:, :, :, 0], y)
        np.testing.assert_array_equal(got[1], slow[1])

    def check_backward(self, x, case):
        dy = case.upstream(case.shape[3])
        with threads(case.threads):
            index = kernels.max_pool(x, *case.geometry)[1]
            got = kernels.max_pool_backward(dy, index, case.shape, *case.geometry)
        expected = naive_max_pool_backward(dy.astype(np.float64), index, case)
        bound = 20 * np.finfo(dy.dtype).eps * naive_max_pool_backward(np.abs(dy).astype(np.float64), index, case)
        for dx in (got, reference.max_pool_backward(dy, index, case.shape, *case.geometry)):
            assert_within(dx, expected, bound, dy.dtype)

    def check_relu(self, x, case):
        """The same values cut off at 0, and the tap of no window where nothing is above it."""
        nobody = math.prod(case.k)
        with threads(case.threads):
            (y, index), got = (kernels.max_pool(x, *case.geometry, relu=relu) for relu in (False, True))
        for cut, winner in (got, reference.max_pool(x, *case.geometry, relu=True)):
            assert cut.dtype == x.dtype and winner.dtype == np.uint8
            np.testing.assert_array_equal(cut, np.maximum(y, 0))
            np.testing.assert_array_equal(winner, np.where(y > 0, index, nobody))


class TestMaxPool(PoolChecks):
    @given(cases())
    def test_distinct_values(self, case):
        self.check(case.images(), case)
        self.check_relu(case.images(), case)
        self.check_backward(case.images(), case)

    @given(cases())
    def test_ties_infinities_and_nan(self, case):
        self.check(awkward_images(case), case)
        self.check_relu(awkward_images(case), case)
        self.check_backward(awkward_images(case), case)

    @large
    def test_large(self, case):
        self.check(case.images(), case)
        self.check_relu(case.images(), case)
        self.check_backward(case.images(), case)

    @given(
        hw=st.tuples(st.integers(1, 5), st.integers(1, 5)),
        k=st.tuples(st.integers(1, 4), st.integers(1, 4)),
        rest=st.tuples(st.integers(0, 1), st.integers(0, 1)),
        c=st.sampled_from([1, 10, 33, 1025, 2050]),
        dtype=st.sampled_from([np.float32, np.float64]),
    )
    def test_windows_that_tile_the_image_or_nearly(self, hw, k, rest, c, dtype):
        """Those write every pixel once; a row or column too many, and they must not. c: also more than LANES."""
        shape = (2, *(n * size + more for n, size, more in zip(hw, k, rest, strict=True)), c)
        case = Case(shape, k, k, dtype=dtype, threads=3)
        self.check(case.images(), case)
        self.check_relu(case.images(), case)
        self.check_backward(case.images(), case)

    def test_the_first_of_equals_wins(self):
        y, index = kernels.max_pool(np.ones((1, 2, 4, 1)), (2, 2), (2, 2), (0, 0))
        assert y.ravel().tolist() == [1, 1] and index.ravel().tolist() == [0, 0]

    def test_a_nan_is_never_hidden_by_a_number(self):
        for place in np.ndindex(2, 2):
            x = np.ones((1, 2, 2, 1), np.float32)
            x[0, *place] = np.nan
            y, index = kernels.max_pool(x, (2, 2), (2, 2), (0, 0))
            assert np.isnan(y).all() and index.item() == 2 * place[0] + place[1]

    def test_a_pixel_that_wins_two_windows_gets_both_gradients(self):
        x = np.array([0.0, 5.0, 0.0]).reshape(1, 1, 3, 1)
        _, index = kernels.max_pool(x, (1, 2), (1, 1), (0, 0))
        dx = kernels.max_pool_backward(np.array([3.0, 4.0]).reshape(1, 1, 2, 1), index, x.shape, (1, 2), (1, 1), (0, 0))
        assert dx.ravel().tolist() == [0, 7, 0]

    def test_windows_of_more_than_256_taps(self):
        case = Case((2, 19, 18, 3), (17, 16), (1, 2))
        x, dy = case.images(), case.upstream(3)
        y, index = kernels.max_pool(x, *case.geometry)
        values, winner, _ = naive_max_pool(x, case)
        np.testing.assert_array_equal(y, values)
        np.testing.assert_array_equal(index, winner)
        dx = kernels.max_pool_backward(dy, index, case.shape, *case.geometry)
        np.testing.assert_allclose(dx, naive_max_pool_backward(dy, index, case), rtol=1e-13, atol=1e-14)


# ---------------------------------------------------------------- convolution in tiles
class ConvChecks:
    def arrays(self, case):
        c, f = case.shape[3], case.filters
        return case.images(), case.array((*case.k, c, f), seed=1), case.array((f,), seed=2), case.upstream(f, seed=3)

    def check_forward(self, case):
        x, w, b, _ = self.arrays(case)
        f = case.filters
        with_one = np.hstack([naive_im2col(x, case), np.ones((case.cols_shape[0], 1), x.dtype)])
        for bias in (b, None):
            column = np.zeros(f, x.dtype) if bias is None else bias
            exact, bound = product_of(with_one, np.vstack([w.reshape(-1, f), column]))
            with threads(case.threads):
                y = kernels.conv2d_tiled(x, w, bias, case.stride, case.pad)
            shape = (case.shape[0], *case.out, f)
            assert_within(y, exact.reshape(shape), bound.reshape(shape), x.dtype)

    def check_dw(self, case):
        x, w, _, dy = self.arrays(case)
        exact, bound = product_of(naive_im2col(x, case).T, dy.reshape(-1, case.filters))
        with threads(case.threads):
            dw = kernels.conv2d_tiled_dw(x, dy, case.k, case.stride, case.pad)
        assert_within(dw, exact.reshape(w.shape), bound.reshape(w.shape), x.dtype)

    def check_dx(self, case):
        _, w, _, dy = self.arrays(case)
        exact, bound = product_of(dy.reshape(-1, case.filters), w.reshape(-1, case.filters).T)
        with threads(case.threads):
            dx = kernels.conv2d_tiled_dx(dy, w, case.shape, case.stride, case.pad)
        # Columns that meet in a pixel are added on top: KH·KW more roundings of what the bound already holds.
        assert_within(dx, naive_col2im(exact, case), (1 + math.prod(case.k)) * naive_col2im(bound, case), dy.dtype)

    def check_adjoints(self, case):
        """<conv(x), dy> = <x, dx> = <w, dw>: the passes are one trilinear form."""
        x, w, _, dy = self.arrays(case)
        with threads(case.threads):
            y = kernels.conv2d_tiled(x, w, None, case.stride, case.pad)
            dx = kernels.conv2d_tiled_dx(dy, w, case.shape, case.stride, case.pad)
            dw = kernels.conv2d_tiled_dw(x, dy, case.k, case.stride, case.pad)
        pairings = [(y, dy), (x, dx), (w, dw)]
        size = sum(inner(np.abs(a), np.abs(b)) for a, b in pairings)
        allowed = 4 * np.finfo(x.dtype).eps * sum(case.cols_shape) * size
        form, by_x, by_w = (inner(a, b) for a, b in pairings)
        assert abs(form - by_x) <= allowed and abs(form - by_w) <= allowed


@contextmanager
def one_tile(positions):
    """Output positions that are a single tile: 0 for tiles always."""
    usual, conv_kernels.ONE_TILE = conv_kernels.ONE_TILE, positions
    try:
        yield
    finally:
        conv_kernels.ONE_TILE = usual


@pytest.mark.parametrize("positions", [0, 10**9], ids=["tiles", "one tile"])
class TestTiledConvolution(ConvChecks):
    @given(case=cases())
    def test_forward(self, positions, case):
        with one_tile(positions):
            self.check_forward(case)

    @given(case=cases())
    def test_dw(self, positions, case):
        with one_tile(positions):
            self.check_dw(case)

    @given(case=cases())
    def test_dx(self, positions, case):
        with one_tile(positions):
            self.check_dx(case)

    @given(case=cases())
    def test_adjoints(self, positions, case):
        with one_tile(positions):
            self.check_adjoints(case)

    @large
    def test_large(self, positions, case):
        with one_tile(positions):
            self.check_forward(case)
            self.check_dw(case)
            self.check_dx(case)

    @given(case=cases())
    def test_relu_in_the_epilogue(self, positions, case):
        x, w, b, _ = self.arrays(case)
        with one_tile(positions), threads(case.threads):
            plain = kernels.conv2d_tiled(x, w, b, case.stride, case.pad)
            cut = kernels.conv2d_tiled(x, w, b, case.stride, case.pad, relu=True)
        np.testing.assert_array_equal(cut, np.maximum(plain, 0))


class TestWeightViews(ConvChecks):
    def test_a_transposed_weight_view(self):
        case = Case((2, 5, 6, 3), (3, 2), pad=(1, 1), filters=4)
        x, w, _, dy = self.arrays(case)
        view = np.ascontiguousarray(w.transpose(3, 2, 0, 1)).transpose(2, 3, 1, 0)
        assert not view.flags.c_contiguous
        for kernel, args in ((kernels.conv2d_tiled, (x,)), (kernels.conv2d_tiled_dx, (dy,))):
            last = None if kernel is kernels.conv2d_tiled else case.shape
            results = [kernel(*args, weight, last, case.stride, case.pad) for weight in (view, w)]
            np.testing.assert_array_equal(*results)


# ---------------------------------------------------------------- what all kernels keep
def all_results(case):
    x, w, b, dy = ConvChecks().arrays(case)
    g = case.geometry
    y, index = kernels.max_pool(x, *g)
    return {
        "im2col": kernels.im2col(x, *g),
        "col2im": kernels.col2im(case.array(case.cols_shape, seed=4), case.shape, *g),
        "max_pool": (y, index, *kernels.max_pool(x, *g, relu=True)),
        "max_pool_backward": kernels.max_pool_backward(case.upstream(case.shape[3]), index, case.shape, *g),
        "conv2d_tiled": kernels.conv2d_tiled(x, w, b, *g[1:]),
        "conv2d_tiled_backward": kernels.conv2d_tiled_backward(x, dy, w, *g[1:]),
        "conv2d_tiled_dw": kernels.conv2d_tiled_dw(x, dy, *g),
        "conv2d_tiled_dx": kernels.conv2d_tiled_dx(dy, w, case.shape, *g[1:]),
    }


def bits(results):
    return {name: [a.tobytes() for a in (r if isinstance(r, tuple) else (r,))] for name, r in results.items()}


def test_every_kernel_is_tested_here():
    # A new kernel belongs in `all_results` and gets a class of checks above.
    helpers = {"compiled_status", "has_compiled", "on_device", "output_size"}
    own_files = ("matmul", "direct", "winograd")
    elsewhere = {name for name in kernels.__all__ if any(part in name for part in own_files)}
    assert set(kernels.__all__) - helpers - elsewhere == set(all_results(Case((1, 3, 4, 2), (2, 2))))


@large
@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_same_number_of_threads_gives_the_same_bits(case, n):
    with threads(n):
        assert bits(all_results(case)) == bits(all_results(case))


@large
def test_data_movement_does_not_depend_on_the_number_of_threads(case):
    movement = ("im2col", "col2im", "max_pool", "max_pool_backward")
    found = []
    for n in (1, 2, 5):
        with threads(n):
            found.append({name: b for name, b in bits(all_results(case)).items() if name in movement})
    assert found[0] == found[1] == found[2]


@given(cases())
def test_no_kernel_changes_its_arguments(case):
    arrays = ConvChecks().arrays(case)
    before = [a.tobytes() for a in arrays]
    x, w, b, dy = arrays
    with threads(case.threads):
        cols = kernels.im2col(x, *case.geometry)
        kept = cols.tobytes()
        kernels.col2im(cols, case.shape, *case.geometry)
        kernels.max_pool(x, *case.geometry)
        kernels.conv2d_tiled(x, w, b, case.stride, case.pad)
        kernels.conv2d_tiled_dw(x, dy, case.k, case.stride, case.pad)
        kernels.conv2d_tiled_dx(dy, w, case.shape, case.stride, case.pad)
    assert [a.tobytes() for a in arrays] == before and cols.tobytes() == kept


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble, np.int64])
def test_other_dtypes_take_the_readable_road(dtype):
    case = Case((2, 5, 4, 3), (2, 3), (1, 2), (1, 0))
    x = np.random.default_rng(0).integers(-9, 9, case.shape).astype(dtype)
    assert not kernels.has_compiled(x)
    np.testing.assert_array_equal(kernels.im2col(x, *case.geometry), naive_im2col(x, case))
    w = np.ones((2, 3, 3, 4), dtype)
    y = kernels.conv2d_tiled(x, w, None, case.stride, case.pad)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.reshape(-1, 4), naive_im2col(x, case) @ w.reshape(-1, 4))


@needs_extension
def test_float32_and_float64_take_the_compiled_road():
    assert all(kernels.has_compiled(np.zeros(1, d)) for d in (np.float32, np.float64))
    assert "compiled" in STATUS


# ---------------------------------------------------------------- switching the extension off
SWITCHED_OFF = """
import sys
import numpy as np
from npsoftmax import kernels
y = kernels.conv2d_tiled(np.ones((1, 3, 3, 1)), np.ones((2, 2, 1, 1)), None, (1, 1), (0, 0))
assert y.ravel().tolist() == [4.0] * 4, y
assert not kernels.has_compiled(y)
assert "npsoftmax._im2col" not in sys.modules
print(kernels.compiled_status())
"""


def test_the_extension_can_be_switched_off_by_the_environment():
    environment = os.environ | {"NPSOFTMAX_COMPILED": "0"}
    done = subprocess.run([sys.executable, "-c", SWITCHED_OFF], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str((False, "switched off by NPSOFTMAX_COMPILED=0"))
