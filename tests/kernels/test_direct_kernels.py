"""Convolution of few channels in registers: the same as in tiles, in all passes, for any small shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from npsoftmax import host, kernels
from npsoftmax.kernels.conv import compiled
from npsoftmax.kernels.extension import load_extension

ONE = (1, 1)
needs_extension = pytest.mark.skipif(load_extension(compiled.DIRECT)[0] is None, reason="not built")
LAYOUTS = {
    "C": lambda a: a,
    "F": np.asfortranarray,
    "backwards": lambda a: np.flip(np.flip(a).copy()),
    "every other": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
}


def arrays_of(n, h, width, c, f, k, pad, dtype, layout, seed=0):
    """x, w, b, dy."""
    rng = np.random.default_rng(seed)
    out = (n, h + 2 * pad[0] - k[0] + 1, width + 2 * pad[1] - k[1] + 1, f)
    shapes = ((n, h, width, c), (*k, c, f), (f,), out)
    return tuple(LAYOUTS[layout](rng.standard_normal(shape).astype(dtype)) for shape in shapes)


def check(arrays, pad, threads):
    x, w, b, dy = arrays
    k = w.shape[:2]
    before = [a.tobytes() for a in arrays]
    host.set_threads(threads)
    try:
        got = (
            kernels.conv2d_direct(x, w, b, pad),
            kernels.conv2d_direct(x, w, None, pad, relu=True),
            kernels.conv2d_direct_dx(dy, w, x.shape, pad),
            kernels.conv2d_direct_dw(x, dy, k, pad),
        )
        again = kernels.conv2d_direct(x, w, b, pad), kernels.conv2d_direct_dw(x, dy, k, pad)
    finally:
        host.set_threads(None)
    x64, w64, b64, dy64 = (a.astype(np.float64) for a in arrays)
    expected = (
        kernels.conv2d_tiled(x64, w64, b64, ONE, pad),
        np.maximum(kernels.conv2d_tiled(x64, w64, None, ONE, pad), 0),
        kernels.conv2d_tiled_dx(dy64, w64, x.shape, ONE, pad),
        kernels.conv2d_tiled_dw(x64, dy64, k, ONE, pad),
    )
    ax, aw, ab, ady = (np.abs(a) for a in (x64, w64, b64, dy64))
    plain = kernels.conv2d_tiled(ax, aw, ab, ONE, pad)
    of_dx, of_dw = kernels.conv2d_tiled_dx(ady, aw, x.shape, ONE, pad), kernels.conv2d_tiled_dw(ax, ady, k, ONE, pad)
    terms = plain, plain, of_dx, of_dw
    # The rounding bound of a sum, |error| <= (terms + 2)·eps·Σ|a||b|, of the longest sum: the weight gradient's.
    depth = max(w[..., 0].size, w[0, 0].size * 9, dy[..., 0].size) + 2
    for ours, exact, size in zip(got, expected, terms, strict=True):
        assert ours.dtype == x.dtype and ours.shape == exact.shape and ours.flags.c_contiguous
        assert (np.abs(ours - exact) <= depth * np.finfo(x.dtype).eps * size + np.finfo(x.dtype).tiny).all()
    assert [a.tobytes() for a in again] == [got[0].tobytes(), got[3].tobytes()]
    assert [a.tobytes() for a in arrays] == before


@given(st.data())
def test_any_small_shape(data):
    draw = data.draw
    pair = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))  # noqa: E731
    (h, width), k, pad = draw(pair(1, 9)), draw(pair(1, 4)), draw(pair(0, 5))
    assume(h + 2 * pad[0] >= k[0] and width + 2 * pad[1] >= k[1])
    n, c, f = draw(st.integers(1, 4)), draw(st.integers(1, 7)), draw(st.sampled_from([1, 3, 8, 15, 16, 17]))
    dtype, layout = draw(st.sampled_from([np.float32, np.float64])), draw(st.sampled_from(sorted(LAYOUTS)))
    check(arrays_of(n, h, width, c, f, k, pad, dtype, layout), pad, draw(st.sampled_from([1, 2, 5])))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "f", "k", "pad"),
    [((3, 32, 33, 10), 10, (3, 3), ONE), ((5, 16, 70, 3), 64, (5, 5), (2, 2)), ((9, 6, 6, 15), 33, (1, 1), (0, 0))],
)
def test_rows_longer_than_the_registers(shape, f, k, pad, dtype):
    check(arrays_of(*shape, f, k, pad, dtype, "C"), pad, 3)


def test_a_nan_stays_one_through_the_relu():
    x, w = np.zeros((1, 3, 3, 1), np.float32), np.ones((3, 3, 1, 2), np.float32)
    x[0, 0, 0] = np.nan
    y = kernels.conv2d_direct(x, w, None, ONE, relu=True)
    assert np.isnan(y[0, :2, :2]).all() and not y[0, 2].any()


def test_other_dtypes_take_the_readable_road():
    x, w = np.ones((1, 3, 3, 2), np.longdouble), np.ones((3, 3, 2, 1), np.longdouble)
    y = kernels.conv2d_direct(x, w, None, ONE)
    assert y.dtype == np.longdouble and y[0, 1, 1] == 18


@needs_extension
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("f", [1, 10, 16, 21, 40])
def test_whole_vectors_end_where_the_arrays_do(f, dtype):
    """Vectors of outputs are read and written whole: what follows an array is neither changed nor added up."""
    x, _, b, dy = arrays_of(2, 5, 9, 3, f, (3, 3), ONE, dtype, "C")
    fast = load_extension(compiled.DIRECT)[0]
    lanes = fast.lanes_for(f, x.itemsize)
    w, bias = np.ones((27, lanes), dtype), np.append(b, np.zeros(lanes - f, dtype))
    after = np.full((1, 5, 9, f), np.nan, dtype)
    y = np.concatenate([dy, after])
    fast.forward(x, w, bias, False, y[:2], 3, 3, *ONE, 1)
    assert np.isfinite(y[:2]).all() and np.isnan(y[2]).all()
    dw = np.zeros((1, 27, lanes), dtype)
    fast.backward_weight(x, np.concatenate([dy, after])[:2], dw, 3, 3, *ONE)
    assert np.isfinite(dw[..., :f]).all()
