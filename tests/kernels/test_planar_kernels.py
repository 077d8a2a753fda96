"""Convolution of few channels with pixels side by side: the same as in tiles, in all passes, wherever it is chosen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from npsoftmax import host, kernels
from npsoftmax.functional import conv
from npsoftmax.kernels import elementwise
from npsoftmax.kernels.conv import compiled
from npsoftmax.kernels.extension import load_extension

ONE = (1, 1)
pytestmark = pytest.mark.skipif(load_extension(compiled.PLANAR)[0] is None, reason="not built")


def arrays_of(shape, f, k, pad, seed=0):
    """x, w, b, dy, and y, of which dy counts where it is above 0; in float32, since for float64 the parts serve."""
    rng = np.random.default_rng(seed)
    n, h, width, c = shape
    out = (n, h + 2 * pad[0] - k[0] + 1, width + 2 * pad[1] - k[1] + 1, f)
    shapes = (shape, (*k, c, f), (f,), out, out)
    return tuple(rng.standard_normal(shape).astype(np.float32) for shape in shapes)


def forward(x, w, b, pad, relu, threads):
    y = np.full(
        (len(x), *(n + 2 * p - m + 1 for n, p, m in zip(x.shape[1:3], pad, w.shape, strict=False)), len(b)), np.nan
    )
    y = y.astype(x.dtype)
    rows = np.ascontiguousarray(w).reshape(-1, w.shape[3])
    load_extension(compiled.PLANAR)[0].forward(x, rows, b, relu, y, *w.shape[:2], *pad, threads)
    return y


def near(ours, exact, size, depth):
    """The rounding bound of a sum, |error| <= (terms + 2)·eps·Σ|a||b|."""
    assert ours.shape == exact.shape and ours.flags.c_contiguous
    assert (np.abs(ours - exact) <= (depth + 2) * np.finfo(ours.dtype).eps * size + np.finfo(ours.dtype).tiny).all()


def check_forward(arrays, pad, threads):
    x, w, b, *_ = arrays
    x64, w64, b64 = (a.astype(np.float64) for a in (x, w, b))
    exact = kernels.conv2d_tiled(x64, w64, b64, ONE, pad)
    size = kernels.conv2d_tiled(abs(x64), abs(w64), abs(b64), ONE, pad)
    for relu in (False, True):
        near(forward(x, w, b, pad, relu, threads), np.maximum(exact, 0) if relu else exact, size, w[..., 0].size)


def check_backward(arrays, pad, threads, masked, need_dx):
    x, w, _, dy, y = arrays
    k, before = w.shape[:2], [a.tobytes() for a in arrays]
    given = (x, dy, w, pad, y if masked else None, need_dx, True)
    host.set_threads(threads)
    try:
        dx, dw, db = compiled.conv2d_direct_backward(*given)
        assert [a.tobytes() for a in compiled.conv2d_direct_backward(*given)[1:]] == [dw.tobytes(), db.tobytes()]
    finally:
        host.set_threads(None)
    x64, w64, dy64 = x.astype(np.float64), w.astype(np.float64), (dy * (y > 0) if masked else dy).astype(np.float64)
    n = dy[..., 0].size
    near(dw, *(kernels.conv2d_tiled_dw(f(x64), f(dy64), k, ONE, pad) for f in (np.positive, abs)), n)
    near(db, dy64.sum(axis=(0, 1, 2)), abs(dy64).sum(axis=(0, 1, 2)), n)
    assert (dx is not None) == need_dx
    if need_dx:
        terms = w[:, :, 0].size
        near(dx, *(kernels.conv2d_tiled_dx(f(dy64), f(w64), x.shape, ONE, pad) for f in (np.positive, abs)), terms)
    assert [a.tobytes() for a in arrays] == before


@given(st.data())
def test_any_shape(data):
    draw = data.draw
    pair = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))  # noqa: E731
    h, width, k = draw(st.integers(1, 9)), draw(st.integers(1, 40)), draw(pair(1, 5))
    pad = draw(pair(0, 6))
    assume(h + 2 * pad[0] >= k[0] and width + 2 * pad[1] >= k[1])
    shape = draw(st.integers(1, 4)), h, width, draw(st.integers(1, 18))
    arrays = arrays_of(shape, draw(st.integers(1, 26)), k, pad)
    threads = draw(st.sampled_from([1, 2, 5]))
    check_forward(arrays, pad, threads)
    if pad[0] < k[0] and pad[1] < k[1]:
        check_backward(arrays, pad, threads, draw(st.booleans()), draw(st.booleans()))


@pytest.mark.parametrize("f", range(1, 14))
def test_every_number_of_outputs(f):
    arrays = arrays_of((3, 8, 16, 10), f, (3, 3), ONE)
    check_forward(arrays, ONE, 2)
    check_backward(arrays, ONE, 2, True, True)


@pytest.mark.parametrize(
    ("shape", "f", "k", "pad"),
    [((13, 2, 5, 6), 8, (1, 2), (0, 1)), ((2, 32, 33, 17), 10, (3, 3), ONE), ((3, 6, 70, 33), 5, (5, 7), (4, 0))],
)
def test_small_images_together_and_large_ones(shape, f, k, pad):
    arrays = arrays_of(shape, f, k, pad)
    check_forward(arrays, pad, 3)
    for masked, need_dx in ((False, True), (True, False)):
        check_backward(arrays, pad, 3, masked, need_dx)


@pytest.mark.parametrize("width", [5, 16, 21])
def test_what_follows_an_array_is_neither_read_nor_written(width):
    """The last pixels of an array are moved one by one; the others in squares, whose other lanes nobody looks at."""
    x, w, b, dy, y = arrays_of((2, 4, width, 3), 6, (3, 3), ONE)
    after = [np.concatenate([a, np.full_like(a[:1], np.nan)])[:2] for a in (x, dy, y)]
    assert np.isfinite(forward(after[0], w, b, ONE, False, 1)).all()
    room = np.full((3, 4, width, 6), np.nan, np.float32)
    rows = w.reshape(-1, 6)
    load_extension(compiled.PLANAR)[0].forward(x, rows, b, False, room[:2], 3, 3, *ONE, 1)
    assert np.isfinite(room[:2]).all() and np.isnan(room[2]).all()
    parts = compiled.conv2d_direct_backward(after[0], after[1], w, ONE, after[2], True, True)
    for part, expected in zip(parts, compiled.conv2d_direct_backward(x, dy, w, ONE, y, True, True), strict=True):
        assert part.tobytes() == expected.tobytes()


def test_a_nan_stays_one_through_the_relu():
    x, w = np.zeros((1, 3, 16, 1), np.float32), np.ones((3, 3, 1, 2), np.float32)
    x[0, 0, 0] = np.nan
    y = forward(x, w, np.zeros(2, np.float32), ONE, True, 1)
    assert np.isnan(y[0, :2, :2]).all() and not y[0, 2].any() and not y[0, :, 2:].any()


@pytest.mark.parametrize("width", [17, 28, 35])
def test_what_is_infinite_stays_with_the_taps_that_see_it(width):
    """Behind the last pixel of a row, vectors of dy hold zeros, but those of x the columns of other taps."""
    x, w, _, dy, _ = arrays_of((1, 6, width, 2), 3, (3, 3), ONE)
    x[0, 3, -1, 0], x[0, 0, 0, 1] = np.inf, np.nan
    dw = compiled.conv2d_direct_backward(x, dy, w, ONE, None, True, True)[1]
    exact = kernels.conv2d_tiled_dw(x.astype(float), dy.astype(float), (3, 3), ONE, ONE)
    assert np.isfinite(exact).any() and not np.isfinite(exact).all()
    np.testing.assert_allclose(dw, exact, rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------- which way is taken
@pytest.mark.parametrize(
    ("shape", "f", "k", "masked", "expected"),
    [
        ((128, 32, 32, 10), 10, 3, False, True),
        ((128, 32, 32, 3), 32, 3, True, True),
        ((1, 16, 16, 6), 9, 3, False, True),
        ((2000, 8, 2, 3), 2, 3, True, False),  # narrow rows fill no vectors
        ((64, 32, 32, 3), 10, 1, True, False),  # a small window
        ((1, 9, 48, 9), 33, 9, True, False),  # more weights than pixels
        ((1, 1024, 1024, 10), 10, 3, True, False),  # planes that the cache does not hold
    ],
)
def test_one_pass_is_taken_where_it_is_faster(shape, f, k, masked, expected):
    shapes = (*shape[:3], f), (k, k, shape[3], f)
    dy, w = (np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), shape, (0,) * 4) for shape in shapes)
    assert compiled.in_one_pass(dy, w, (k // 2, k // 2), dy if masked else None) == expected


def test_double_precision_keeps_to_the_parts():
    dy, w = np.zeros((8, 32, 32, 10)), np.zeros((3, 3, 10, 10))
    assert not compiled.in_one_pass(dy, w, ONE, dy)
    assert compiled.in_one_pass(dy.astype(np.float32), w.astype(np.float32), ONE, dy)


@pytest.mark.parametrize(
    ("width", "f", "pad", "masked", "need_dx", "in_one_pass"),
    [
        (16, 10, ONE, False, False, True),
        (16, 16, ONE, True, False, True),
        (16, 16, ONE, False, True, False),  # vectors of outputs are full, and there is no ReLU to set zeros for
        (5, 16, ONE, True, True, False),
        (16, 10, (3, 1), True, True, False),
    ],
)
def test_the_gradients_are_those_of_their_parts(width, f, pad, masked, need_dx, in_one_pass, monkeypatch):
    x, w, _, dy, y = arrays_of((2, 6, width, 3), f, (3, 3), pad)
    calls, real = [], compiled.conv2d_direct_backward
    monkeypatch.setattr(compiled, "conv2d_direct_backward", lambda *given: calls.append(1) or real(*given))
    cache = (x, w, True, ONE, pad)
    if masked:
        found = conv.conv2d_relu_direct_backward(dy, (*cache, y), need_dx)
        dy = elementwise.relu_backward(dy, y)
    else:
        found = conv.conv2d_direct_backward(dy, cache, need_dx)
    assert bool(calls) == in_one_pass
    dx = kernels.conv2d_tiled_dx(dy, w, x.shape, ONE, pad) if need_dx else None
    expected = dx, kernels.conv2d_tiled_dw(x, dy, (3, 3), ONE, pad), dy.sum(axis=(0, 1, 2))
    for ours, other in zip(found, expected, strict=True):
        assert (ours is None) == (other is None)
        assert ours is None or np.allclose(ours, other, rtol=1e-4, atol=1e-4)


def test_a_layer_without_bias_gets_no_gradient_of_one():
    x, w, _, dy, _ = arrays_of((2, 6, 16, 3), 10, (3, 3), ONE)
    assert conv.conv2d_direct_backward(dy, (x, w, False, ONE, ONE))[2] is None
    assert kernels.conv2d_direct_backward(x, dy, w, ONE, need_db=False)[2] is None
