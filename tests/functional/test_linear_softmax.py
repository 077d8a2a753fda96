"""The softmax whose logits are never held: blocks against the definition, gradients, threads, and every way to lie."""

import functools
import tracemalloc

import numpy as np
import pytest

from npsoftmax import host
from npsoftmax.errors import InputError
from npsoftmax.functional import linear_softmax
from npsoftmax.functional.cosine import EPS, unit_rows_backward, unit_rows_forward
from npsoftmax.gradcheck import check_pair
from npsoftmax.kernels.linear_softmax import compiled, reference

forward, backward = linear_softmax.linear_softmax_nll_forward, linear_softmax.linear_softmax_nll_backward
OPTIONS = [
    {},
    {"scale": 0.5},
    {"lead": 0.7},
    {"label_smoothing": 0.1},
    {"z_loss": 0.01},
    {"scale": 3.0, "lead": 0.7, "label_smoothing": 0.2, "z_loss": 0.02, "gain": True},
]


def drawn(n, c, d, dtype=np.float64, bias=True, turned=False, seed=0):
    rng = np.random.default_rng(seed)
    h, w = rng.standard_normal((n, d)).astype(dtype), (3 * rng.standard_normal((c, d)) / np.sqrt(d)).astype(dtype)
    b = rng.standard_normal(c).astype(dtype) if bias else None
    return h, np.ascontiguousarray(w.T).T if turned else w, b, rng.integers(0, c, n)


def defined(h, w, b, t, scale=1.0, gain=None, lead=0.0, label_smoothing=0.0, z_loss=0.0):
    """The losses by their definition, with all logits and in double precision."""
    h, w = h.astype(float), w.astype(float)
    rows, c = np.arange(len(h)), len(w)
    z = scale * (h @ w.T * (1 if gain is None else gain) + (0 if b is None else b))
    z[rows, t] -= lead
    top = z.max(axis=1)
    lse = np.log(np.exp(z - top[:, None]).sum(axis=1)) + top
    q = np.full(z.shape, label_smoothing / c)
    q[rows, t] += 1 - label_smoothing
    return lse - (q * z).sum(axis=1) + z_loss * lse**2


@pytest.fixture
def nothing_kept(monkeypatch):
    monkeypatch.setattr(linear_softmax, "KEPT", 0)


@pytest.fixture
def small_blocks(monkeypatch, nothing_kept):
    """Several blocks and groups already for a few classes."""
    monkeypatch.setattr(compiled, "FEWEST", 8)
    monkeypatch.setattr(compiled, "BLOCK", 1)
    monkeypatch.setattr(compiled, "SHARE", 1)
    monkeypatch.setattr(reference, "BLOCK", 40)


# ---------------------------------------------------------------- the same numbers, however it is cut
@pytest.mark.parametrize("kept", [0, 10**6])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("n", [1, 5, 13])
def test_losses_are_those_of_the_definition_and_gradients_are_derivatives(small_blocks, monkeypatch, n, options, kept):
    monkeypatch.setattr(linear_softmax, "KEPT", kept)
    h, w, b, t = drawn(n, 21, 3, bias=n != 5, turned=n == 13)
    options = {k: np.linspace(0.5, 2, 21) if k == "gain" else v for k, v in options.items()}
    nll, _ = forward(h, w, b, t, **options)
    np.testing.assert_allclose(nll, defined(h, w, b, t, **options), rtol=1e-12)
    check_pair(functools.partial(forward, **options), backward, (h, w, b, t)).assert_ok()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "c", "d"), [(12, 8, 1), (31, 65, 7), (257, 300, 33), (40, 513, 130)])
@pytest.mark.parametrize("turned", [False, True])
def test_blocks_of_classes_and_samples_do_not_change_a_softmax(nothing_kept, monkeypatch, n, c, d, dtype, turned):
    """Neither number is one of blocks, panels or vectors; and w may be the transpose of what lies in memory."""
    monkeypatch.setattr(compiled, "BLOCK", 2048)
    h, w, b, t = drawn(n, c, d, dtype, turned=turned)
    dnll = np.random.default_rng(1).random(n).astype(dtype)
    nll, cache = forward(h, w, b, t, label_smoothing=0.1)
    grads = backward(dnll, cache)
    assert nll.dtype == dtype and all(g.dtype == dtype for g in grads)
    assert grads[1].flags.c_contiguous != turned or 1 in w.shape
    monkeypatch.setattr(linear_softmax, "KEPT", 10**9)
    whole, cache = forward(h, w, b, t, label_smoothing=0.1)
    tolerance = 1e-12 if dtype == np.float64 else 2e-5
    for found, expected in zip((nll, *grads), (whole, *backward(dnll, cache)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("turned", [False, True])
def test_threads_do_not_change_a_bit(small_blocks, turned):
    h, w, b, t = drawn(300, 700, 16, np.float32, turned=turned)
    dnll = np.random.default_rng(1).random(300).astype(np.float32)
    results = []
    for threads in (1, 2, 5):
        host.set_threads(threads)
        try:
            nll, cache = forward(h, w, b, t)
            results.append((nll, *backward(dnll, cache)))
        finally:
            host.set_threads(None)
    for other in results[1:]:
        for found, expected in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(found, expected)


def test_backward_may_be_called_again_and_changes_nothing(nothing_kept):
    h, w, b, t = drawn(20, 50, 6)
    copies = [a.copy() for a in (h, w, b, t)]
    nll, cache = forward(h, w, b, t)
    first, again = backward(nll, cache), backward(nll, cache)
    for found, expected in zip(again, first, strict=True):
        np.testing.assert_array_equal(found, expected)
    for found, expected in zip((h, w, b, t), copies, strict=True):
        np.testing.assert_array_equal(found, expected)


# ---------------------------------------------------------------- numbers at the ends
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [3, 15])
def test_large_logits_neither_overflow_nor_lose_the_loss(nothing_kept, n, dtype):
    h, w = np.tile(np.eye(3, dtype=dtype), (n // 3, 1)), np.diag([1e4, -1e4, 1e4]).astype(dtype)
    nll, cache = forward(h, w, None, np.tile([0, 1, 1], n // 3))
    np.testing.assert_allclose(nll, np.tile([0, 1e4 + np.log(2), 1e4], n // 3), rtol=1e-7)
    assert all(np.isfinite(g).all() for g in backward(nll, cache)[:2])


def test_a_sure_and_right_answer_costs_nothing_and_never_less(nothing_kept):
    h, w, _, _ = drawn(64, 200, 8, np.float32, bias=False)
    nll, _ = forward(h, 100 * w, None, (h @ w.T).argmax(axis=1))
    assert (nll >= 0).all() and (nll == 0).any()


@pytest.mark.parametrize("place", ["h", "w", "b"])
def test_nan_stays_nan(nothing_kept, place):
    arrays = dict(zip("hwbt", drawn(20, 50, 6, np.float32), strict=True))
    arrays[place].flat[0] = np.nan
    nll, cache = forward(*arrays.values())
    dh, dw, db = backward(np.ones_like(nll), cache)
    hit = [0] if place == "h" else range(20)
    assert np.isnan(nll[hit]).all() and np.isnan(dh[hit]).all() and np.isnan(dw).any() and np.isnan(db).any()
    assert place != "h" or np.isfinite(nll[1:]).all()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_labels_of_every_integer_type(nothing_kept, dtype):
    h, w, b, t = drawn(20, 100, 6)
    expected, cache = forward(h, w, b, t)
    nll, other = forward(h, w, b, t.astype(dtype))
    np.testing.assert_array_equal(nll, expected)
    np.testing.assert_array_equal(backward(nll, other)[1], backward(nll, cache)[1])


def test_a_batch_of_no_samples(nothing_kept):
    h, w, b, t = drawn(0, 9, 4)
    nll, cache = forward(h, w, b, t)
    dh, dw, db = backward(nll, cache)
    assert nll.shape == (0,) and dh.shape == (0, 4) and not dw.any() and not db.any()


# ---------------------------------------------------------------- memory
def test_a_step_holds_less_than_a_tenth_of_the_logits(nothing_kept):
    """What NumPy allocates beyond what is returned; the kernel has a megabyte or so a thread besides."""
    h, w, b, t = drawn(512, 20_000, 16, np.float32)
    dnll = np.ones(512, np.float32)
    tracemalloc.start()
    try:
        _, cache = forward(h, w, b, t)
        grads = backward(dnll, cache)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - sum(g.nbytes for g in grads) < 512 * 20_000 * 4 / 10


# ---------------------------------------------------------------- classes of unit length
def test_the_gain_of_directions_makes_the_logits_of_unit_vectors(small_blocks):
    h, w, _, t = drawn(13, 21, 3, bias=False)
    units, cache = unit_rows_forward(w)
    expected, whole = forward(h, units, None, t, scale=4.0)
    gain, gain_cache = linear_softmax.direction_gain_forward(w, eps=EPS)
    nll, blocks = forward(h, w, None, t, scale=4.0, gain=gain)
    np.testing.assert_allclose(nll, expected, rtol=1e-12)
    dh, dw, _ = backward(nll, blocks)
    for found, right in zip(
        (dh, linear_softmax.direction_gain_backward(dw, gain_cache)),
        (backward(nll, whole)[0], unit_rows_backward(backward(nll, whole)[1], cache)),
        strict=True,
    ):
        np.testing.assert_allclose(found, right, rtol=1e-10, atol=1e-12)


# ---------------------------------------------------------------- wrong calls
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0.0}, "scale is 0.0.*above 0"),
        ({"scale": np.nan}, "scale is nan.*above 0"),
        ({"label_smoothing": 1.5}, "label_smoothing is 1.5"),
        ({"gain": np.ones(3)}, "gain has shape"),
    ],
)
def test_options_that_are_none(options, message):
    with pytest.raises(InputError, match=message):
        forward(*drawn(4, 9, 2), **options)
