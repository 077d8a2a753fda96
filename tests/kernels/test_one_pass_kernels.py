"""The kernels that go over memory once, compiled, against the reference in float64; and what they promise beyond it."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npsoftmax import host
from npsoftmax.kernels import dispatch, elementwise, norm, softmax, update, windows
from npsoftmax.kernels.extension import load_extension

needs_extension = pytest.mark.skipif(norm.version_for(np.zeros(1)) is norm.reference, reason="_norm is not in use")
FACES = {name: subject for subject in (norm, elementwise, softmax) for name in subject.__all__}

LAYOUTS = {
    "C": lambda a: a,
    "F": np.asfortranarray,
    "backwards": lambda a: np.flip(np.flip(a).copy()),
    "spread": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
}
DTYPES = [np.float32, np.float64]

# Less than a wide row, rows that do not fill one, several blocks, more channels than are summed at a time.
SHAPES = [(1, 1), (2, 3), (5, 10), (70, 10), (4000, 3), (1000, 64), (7, 100), (130, 257), (3, 600), (70, 1030)]


@contextmanager
def threads(n):
    """n threads, also for arrays that are too small to share out."""
    share, dispatch.SHARE = dispatch.SHARE, 1
    host.set_threads(n)
    try:
        yield
    finally:
        dispatch.SHARE = share
        host.set_threads(None)


def normal(*shape, dtype=np.float64, seed=0, layout="C"):
    return LAYOUTS[layout](np.random.default_rng((seed, *shape)).standard_normal(shape).astype(dtype))


def channels(count, c, dtype=np.float64, seed=3):
    return list(normal(count, c, dtype=dtype, seed=seed))


def as_tuple(results):
    return results if isinstance(results, tuple) else (results,)


def agree(name, args, slack=64.0):
    """The kernel and the reference of the same arguments in float64, within `slack` roundings of the largest value."""
    dtype = next(a.dtype for a in args if isinstance(a, np.ndarray))
    wide = [a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a for a in args]
    before = [a.tobytes() if isinstance(a, np.ndarray) else a for a in args]
    got, want = as_tuple(getattr(FACES[name], name)(*args)), as_tuple(getattr(FACES[name].reference, name)(*wide))
    assert [a.tobytes() if isinstance(a, np.ndarray) else a for a in args] == before
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert a.dtype == dtype and a.shape == b.shape
        allowed = slack * np.finfo(dtype).eps * max(1.0, np.abs(b).max(initial=0))
        np.testing.assert_allclose(a, b, rtol=0, atol=allowed)
    return got


def norm_arguments(name, shape, dtype, layout="C"):
    x, dy = normal(*shape, dtype=dtype, layout=layout), normal(*shape, dtype=dtype, seed=1, layout=layout)
    v = channels(5, shape[-1], dtype)
    return {"normalise": (x, *v[:3]), "normalise_sums": (dy, x, *v[:3]), "normalise_dx": (dy, x, *v)}[name]


# ---------------------------------------------------------------- agreement
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [1, 3])
def test_columns(shape, dtype, n):
    rows = normal(*shape, dtype=dtype)
    with threads(n):
        agree("column_sum", (rows,))
        agree("column_moments", (rows,))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("after", norm.reference.AFTER)
@pytest.mark.parametrize("name", ["normalise", "normalise_sums", "normalise_dx"])
@pytest.mark.parametrize("shape", [*SHAPES, (2, 3, 4, 5), (3, 17, 16, 12)])
def test_batch_norm_passes(shape, name, after, dtype):
    args = norm_arguments(name, shape, dtype)
    if after == "relu":  # a value next to the kink may fall on either side of it
        x, mean, factor, shift, *_ = args[0 if name == "normalise" else 1 :]
        z = (x - mean) * factor + shift
        x[np.abs(z) < 1e-4] += 0.5
    with threads(2):
        agree(name, (*args, after), slack=256 if name == "normalise_sums" else 64)


@needs_extension  # NumPy adds up in the order of memory
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_layout_gives_the_same_bits(layout, dtype):
    def results(layout):
        rows, other = normal(300, 10, dtype=dtype, layout=layout), normal(300, 10, dtype=dtype, seed=1, layout=layout)
        found = [
            norm.column_sum(rows),
            *norm.column_moments(rows),
            elementwise.relu(rows),
            elementwise.add(rows, other),
            elementwise.silu(rows),
            elementwise.silu_backward(rows, other),
        ]
        found += [elementwise.relu_backward(rows, other), *softmax.exp_rows(rows), update.scale(rows, 0.3)]
        found += [update.clip(rows, 0.5), np.asarray(update.square_sum(rows))]
        for name in ("normalise", "normalise_sums", "normalise_dx"):
            found += as_tuple(getattr(norm, name)(*norm_arguments(name, (300, 10), dtype, layout), "silu"))
        return [np.asarray(a).tobytes() for a in found if a is not None]

    assert results(layout) == results("C")


@given(st.integers(1, 300), st.integers(1, 70), st.sampled_from(DTYPES), st.integers(1, 5))
def test_sums_of_any_shape(m, c, dtype, n):
    rows = normal(m, c, dtype=dtype)
    with threads(n):
        agree("column_sum", (rows,))
        agree("column_moments", (rows,))
        agree("normalise_sums", (*norm_arguments("normalise_sums", (m, c), dtype), ""))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 40, 30, 10)])
def test_element_by_element(shape, dtype):
    a, b = normal(*shape, dtype=dtype), normal(*shape, dtype=dtype, seed=1)
    with threads(3):
        agree("relu", (a,), slack=0)
        agree("relu_backward", (a, b), slack=0)
        agree("silu", (a,))
        agree("silu_backward", (a, b))
        agree("add", (a, b))
        np.testing.assert_array_equal(update.scale(a, 0.3), a * dtype(0.3))
        np.testing.assert_array_equal(update.clip(a, 0.5), a.clip(dtype(-0.5), dtype(0.5)))
        np.testing.assert_allclose(update.square_sum(a), np.square(a.astype(np.float64)).sum(), rtol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (5, 64), (4, 100), (2, 1000)])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_rows_of_a_softmax(shape, temperature, dtype):
    z = 5 * normal(*shape, dtype=dtype)
    e, *_ = agree("exp_rows", (z, temperature), slack=1000)  # of which the sum of s, up to some 1000, has the most
    exact = softmax.reference.exp_rows(z.astype(np.float64), temperature)[0]
    np.testing.assert_allclose(e, exact, rtol=200 * eps(dtype), atol=1e-37)  # s has an error of |s| roundings
    t = np.arange(shape[0]) % shape[1]
    factor, height, low = channels(3, shape[0], dtype)
    agree("scaled_less_onehot", (e, t, factor, height, low))
    agree("scaled_less_onehot", (e, t.astype(np.uint8), factor, height))


def eps(dtype):
    return float(np.finfo(dtype).eps)


def test_exponentials_can_be_written_over_the_logits():
    z = normal(6, 100, dtype=np.float32)
    e, top, total, exponents = softmax.exp_rows(z)
    over = z.copy()
    results = softmax.exp_rows(over, out=over)
    assert results[0] is over
    for got, want in zip(results, (e, top, total, exponents), strict=True):
        np.testing.assert_array_equal(got, want)


def test_labels_outside_the_columns_take_nothing_off():
    e, ones = normal(4, 3, dtype=np.float32), np.ones(4, np.float32)
    for kernels in (softmax, softmax.reference):
        dz = kernels.scaled_less_onehot(e, np.array([-2, 0, 3, 7]), ones, ones)
        np.testing.assert_array_equal(dz[[0, 2, 3]], e[[0, 2, 3]])
        np.testing.assert_array_equal(dz[1], e[1] - np.array([1, 0, 0], np.float32))


# ---------------------------------------------------------------- accuracy
@needs_extension
@pytest.mark.parametrize("c", [1, 10, 64, 600])
@pytest.mark.parametrize("mean", [0.0, 1e3, -1e4])
def test_a_large_mean_costs_the_variance_no_digits(c, mean):
    rows = (mean + normal(20000, c)).astype(np.float32)
    exact = rows.astype(np.float64)
    got_mean, got_var = norm.column_moments(rows)
    np.testing.assert_allclose(got_mean, exact.mean(axis=0), rtol=2e-7, atol=2e-8)
    np.testing.assert_allclose(got_var, exact.var(axis=0), rtol=2e-6)


@needs_extension
def test_an_odd_first_value_costs_the_variance_no_digits():
    rows = (1e3 + normal(5000, 4)).astype(np.float32)
    rows[0] = 0
    np.testing.assert_allclose(norm.column_moments(rows)[1], rows.astype(np.float64).var(axis=0), rtol=2e-6)


@needs_extension
@pytest.mark.parametrize("c", [1, 2, 10, 600])
def test_a_million_equal_values_add_up(c):
    """All rounding goes one way: one after another they would be off by a hundredth."""
    total = norm.column_sum(np.full((2**20 // c, c), 0.1, np.float32))
    np.testing.assert_allclose(total, float(np.float32(0.1)) * (2**20 // c), rtol=1e-6)
    assert update.square_sum(np.full(2**20, 0.1, np.float32)) == pytest.approx(float(np.float32(0.1)) ** 2 * 2**20)


@needs_extension
def test_the_exponential_of_float32_is_right_to_two_units_in_the_last_place():
    z = np.concatenate([[0.0], -np.logspace(-8, np.log10(86.9), 100001)]).astype(np.float32)[None]
    e = softmax.exp_rows(z)[0]
    exact = np.exp(z.astype(np.float64))
    assert (np.abs(e - exact) <= 2 * np.spacing(exact.astype(np.float32))).all()
    low = softmax.exp_rows(np.array([[0, -88, -200, -3e38]], np.float32))[0]
    assert low.tolist() == [[1, 0, 0, 0]]


# ---------------------------------------------------------------- values that are none
def test_nan_is_not_hidden():
    x = np.array([[np.nan, -1.0, 2.0]] * 3, np.float32)
    one, nothing = np.ones(3, np.float32), np.zeros(3, np.float32)
    for y in (elementwise.relu(x), norm.normalise(x, nothing, one, nothing, "relu"), update.clip(x, 1.5)):
        assert np.isnan(y[:, 0]).all() and not np.isnan(y[:, 1:]).any()
    with np.errstate(invalid="ignore"):
        assert np.isnan(softmax.exp_rows(x)[2]).all()
    assert np.isnan(norm.column_sum(x)[0]) and np.isnan(norm.column_moments(x)[1][0])
    assert np.isnan(update.square_sum(x))


def test_a_square_that_overflows_float32_is_a_number_all_the_same():
    assert np.isfinite(update.square_sum(np.full(3, 1e25, np.float64)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_empty_batches(dtype):
    x, v = np.zeros((0, 4, 4, 3), dtype), channels(5, 3, dtype)
    assert norm.normalise(x, *v[:3], "relu").shape == x.shape
    assert norm.normalise_dx(x, x, *v, "relu").shape == x.shape
    assert [a.tolist() for a in norm.normalise_sums(x, x, *v[:3], "relu")] == [[0, 0, 0]] * 2
    assert norm.column_sum(x.reshape(0, 3)).tolist() == [0, 0, 0]
    for y in (
        elementwise.relu(x),
        elementwise.relu_backward(x, x),
        elementwise.add(x, x),
        update.scale(x, 2.0),
        update.clip(x, 1.0),
    ):
        assert y.shape == x.shape and y.dtype == dtype
    assert update.square_sum(x) == 0


def test_other_types_take_the_readable_road():
    x = np.arange(-6, 6).reshape(4, 3)
    assert elementwise.relu(x).tolist() == np.maximum(x, 0).tolist()
    assert norm.column_sum(x.astype(np.float16)).dtype == np.float16
    mixed = elementwise.add(normal(3, dtype=np.float32), normal(3))
    assert mixed.dtype == np.float64


# ---------------------------------------------------------------- threads
def everything(dtype):
    x, dy = normal(4, 31, 33, 10, dtype=dtype), normal(4, 31, 33, 10, dtype=dtype, seed=1)
    rows, v = x.reshape(-1, 10), channels(5, 10, dtype)
    factor, height = channels(2, len(rows), dtype)
    found = [norm.column_sum(rows), *norm.column_moments(rows), norm.normalise(x, *v[:3], "relu")]
    found += [*norm.normalise_sums(dy, x, *v[:3], "silu"), norm.normalise_dx(dy, x, *v, "silu")]
    found += [elementwise.relu(x), elementwise.relu_backward(dy, x), elementwise.add(x, dy), *softmax.exp_rows(rows)]
    found += [softmax.scaled_less_onehot(rows, np.arange(len(rows)) % 10, factor, height)]
    found += [update.scale(x, 0.3), update.clip(x, 0.3), np.asarray(update.square_sum(x))]
    p, b, m, q = x.copy(), dy.copy(), dy.copy(), dy**2
    update.sgd(p, dy, b, (0.1, 0.9), 0.01, True)
    update.adam(p, dy, m, q, (0.9, 0.1, 0.01, 1e-8, 0.99), beta2=0.99, decay=0.1, shrinks=True)
    return [a.tobytes() for a in (*found, p, b, m, q)]


@needs_extension
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_bit_depends_on_the_number_of_threads(dtype):
    results = []
    for n in (1, 2, 5):
        with threads(n):
            results.append(everything(dtype))
    assert results[0] == results[1] == results[2]


def test_few_values_are_not_shared_out():
    host.set_threads(4)
    try:
        assert dispatch.threads_for(100) == 1 and dispatch.threads_for(10**7) == 4
    finally:
        host.set_threads(None)


@needs_extension
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("c", [1, 10, 16, 21])
def test_whole_vectors_of_a_pool_end_where_the_arrays_do(c, dtype):
    """What follows is neither looked at nor changed, though vectors of few channels reach into the next pixel."""
    x, dy = normal(2, 6, 6, c, dtype=dtype), normal(2, 3, 3, c, dtype=dtype)
    geometry = (2, 2), (2, 2), (0, 0)
    with_more = np.concatenate([x, np.full_like(x[:1], np.inf)])[:2]
    y, winner = windows.max_pool(with_more, *geometry)
    np.testing.assert_array_equal(y, x.reshape(2, 3, 2, 3, 2, c).max(axis=(2, 4)))
    dx = np.full((3, 6, 6, c), np.nan, dtype)
    load_extension(windows.compiled.POOL)[0].max_pool_backward(dy, winner, dx[:2], 2, 2, 2, 2, 0, 0, 1)
    np.testing.assert_array_equal(dx[:2], windows.reference.max_pool_backward(dy, winner, x.shape, *geometry))
    assert np.isnan(dx[2]).all()
