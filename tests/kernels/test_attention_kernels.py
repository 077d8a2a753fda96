"""The kernels of a transformer block: compiled against the readable reference, and both against known values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from npsoftmax import host, kernels
from npsoftmax.kernels import attention, elementwise, norm

OTHERS = {"layer_norm", "layer_norm_backward", "gelu", "gelu_backward"}  # from norm and elementwise
COMPILED, STATUS = kernels.compiled_status()
needs_extension = pytest.mark.skipif(not COMPILED, reason=f"compiled kernels are not in use: {STATUS}")
DTYPES = (np.float32, np.float64)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
sizes = st.integers(1, 70)


@pytest.fixture(autouse=True)
def no_setting_is_left():
    yield
    host.set_threads(None)


def normal(shape, seed=0, dtype=np.float64):
    return np.random.default_rng((seed, len(shape))).standard_normal(shape).astype(dtype)


def close(got, exact, dtype, scale=1.0):
    """Within some rounding errors of numbers as large as `scale` or the largest of them."""
    assert got.dtype == dtype and got.shape == exact.shape
    assert np.abs(got - exact).max() <= 40 * np.finfo(dtype).eps * max(scale, np.abs(exact).max())


def doubled(*arrays):
    return [None if a is None else a.astype(np.float64) for a in arrays]


def run_all(dtype, m=70, d=33, n=2, t=5, s=7, heads=3, seed=0):
    """kernel -> results, on the arrays of a seed."""
    x, dy = normal((m, d), seed, dtype), normal((m, d), seed + 1, dtype)
    gamma, beta = normal((d,), seed, dtype), normal((d,), seed + 1, dtype)
    y, mean, scale = norm.layer_norm(x, gamma, beta, 1e-5)
    q, dout = normal((n, t, 4 * heads), seed, dtype), normal((n, t, 4 * heads), seed + 1, dtype)
    k, v = normal((n, s, 4 * heads), seed + 2, dtype), normal((n, s, 4 * heads), seed + 3, dtype)
    out, lse = attention.attention(q, k, v, heads)
    return {
        "layer_norm": (y, mean, scale),
        "layer_norm_backward": norm.layer_norm_backward(dy, x, gamma, mean, scale),
        "gelu": (elementwise.gelu(x),),
        "gelu_backward": (elementwise.gelu_backward(dy, x),),
        "attention": (out, lse),
        "attention_backward": attention.attention_backward(dout, q, k, v, out, lse, heads),
    }


def test_every_kernel_is_run_here():
    assert set(run_all(np.float32)) == set(attention.__all__) - {"has_compiled"} | OTHERS


@needs_extension
@every_dtype
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_changes_no_bit(dtype, threads):
    size = {"m": 700, "d": 192, "n": 3}  # enough work for several threads
    host.set_threads(1)
    one = run_all(dtype, **size)
    host.set_threads(threads)
    for name, results in run_all(dtype, **size).items():
        for a, b in zip(results, one[name], strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


@needs_extension
@given(m=sizes, d=sizes, shift=st.booleans(), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 99))
def test_layer_norm(m, d, shift, dtype, seed):
    x, dy = 2 + 3 * normal((m, d), seed, dtype), normal((m, d), seed + 1, dtype)
    gamma, beta = normal((d,), seed, dtype), normal((d,), seed + 1, dtype) if shift else None
    y, mean, scale = norm.layer_norm(x, gamma, beta, 0.1)
    exact, exact_mean, exact_scale = norm.reference.layer_norm(*doubled(x, gamma, beta), 0.1)
    close(y, exact, dtype, 3)
    close(mean, exact_mean, dtype, 3)
    close(scale, exact_scale, dtype)
    got = norm.layer_norm_backward(dy, x, gamma, mean, scale)
    for a, b in zip(got, norm.reference.layer_norm_backward(*doubled(dy, x, gamma, mean, scale)), strict=True):
        close(a, b, dtype, 10)


@needs_extension
@every_dtype
def test_gelu_over_all_sizes_of_numbers(dtype):
    x = np.concatenate([np.linspace(-40, 40, 4001), [0.0, 1e-30, -1e-30, 1e10, -1e10]]).astype(dtype)
    exact = x.astype(np.float64)
    y, dx = elementwise.gelu(x), elementwise.gelu_backward(np.ones_like(x), x)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(y, exact * ndtr(exact), rtol=4 * eps, atol=4 * eps)
    np.testing.assert_allclose(
        dx, elementwise.reference.gelu_backward(np.ones_like(exact), exact), rtol=4 * eps, atol=4 * eps
    )


@needs_extension
@every_dtype
def test_silu_over_all_sizes_of_numbers(dtype):
    x = np.concatenate([np.linspace(-100, 100, 4001), [0.0, 1e-30, -1e-30, 1e10, -1e10]]).astype(dtype)
    exact, one = x.astype(np.float64), np.ones_like(x)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(elementwise.silu(x), elementwise.reference.silu(exact), rtol=4 * eps, atol=4 * eps)
    slope = elementwise.reference.silu_backward(np.ones_like(exact), exact)
    np.testing.assert_allclose(elementwise.silu_backward(one, x), slope, rtol=4 * eps, atol=4 * eps)
    assert (
        np.isnan(elementwise.silu(one * np.nan)).all() and np.isnan(elementwise.silu_backward(one, one * np.nan)).all()
    )


@needs_extension
def test_the_tail_of_gelu_keeps_its_digits_in_float32():
    """Where 1 + erf would have cancelled to nothing."""
    x = np.linspace(-8, -1, 500).astype(np.float32)
    exact = x.astype(np.float64) * ndtr(x.astype(np.float64))
    np.testing.assert_allclose(elementwise.gelu(x), exact, rtol=1e-5)


@needs_extension
@given(
    n=st.integers(1, 3),
    t=st.integers(1, 9),
    s=st.integers(1, 20),
    heads=st.integers(1, 4),
    d=st.integers(1, 5),
    dtype=st.sampled_from(DTYPES),
    packed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_attention(n, t, s, heads, d, dtype, packed, seed):
    d *= heads
    if packed:  # views of one array, as a projection to q, k and v gives them
        s = t
        qkv, dqkv = normal((n, t, 3 * d), seed, dtype), np.full((n, t, 3 * d), np.nan, dtype)
        q, k, v = (qkv[..., i * d : (i + 1) * d] for i in range(3))
        into = tuple(dqkv[..., i * d : (i + 1) * d] for i in range(3))
    else:
        q, k, v = (normal((n, length, d), seed + i, dtype) for i, length in enumerate((t, s, s)))
        into = None
    dy = normal((n, t, d), seed + 3, dtype)
    y, lse = attention.attention(q, k, v, heads)
    exact, exact_lse = attention.reference.attention(*doubled(q, k, v), heads)
    close(y, exact, dtype)
    close(lse, exact_lse, dtype, 5)
    got = attention.attention_backward(dy, q, k, v, y, lse, heads, into)
    for a, b in zip(got, attention.reference.attention_backward(*doubled(dy, q, k, v, y, lse), heads), strict=True):
        close(a, b, dtype, 5)
    assert into is None or all(a is b for a, b in zip(got, into, strict=True))


@needs_extension
@every_dtype
def test_more_queries_than_fit_the_cache_at_once(dtype):
    q, k, v = (normal((2, length, 6), i, dtype) for i, length in enumerate((300, 150, 150)))
    dy = normal((2, 300, 6), 7, dtype)
    y, lse = attention.attention(q, k, v, 2)
    close(y, attention.reference.attention(*doubled(q, k, v), 2)[0], dtype)
    got = attention.attention_backward(dy, q, k, v, y, lse, 2)
    for a, b in zip(got, attention.reference.attention_backward(*doubled(dy, q, k, v, y, lse), 2), strict=True):
        close(a, b, dtype, 20)


@every_dtype
@pytest.mark.parametrize("size", [1e3, 1e6])
def test_scores_of_any_size_give_weights_without_overflow(dtype, size):
    q, k, v = (normal((1, 4, 6), i, dtype) for i in range(3))
    y, lse = attention.attention(q * dtype(size), k, v, 2)
    assert np.isfinite(y).all() and np.isfinite(lse).all()
    assert np.abs(y).max() <= np.abs(v).max() * (1 + 1e-5)


@every_dtype
def test_what_is_not_finite_is_not_hidden(dtype):
    x = normal((3, 5), dtype=dtype)
    x[1, 2] = np.nan
    assert np.isnan(elementwise.gelu(x)[1, 2]) and np.isnan(elementwise.gelu_backward(x, x)[1, 2])
    y, *_ = norm.layer_norm(x, np.ones(5, dtype), None, 1e-5)
    assert np.isnan(y[1]).all() and np.isfinite(y[[0, 2]]).all()
    q = x[None]
    assert np.isnan(attention.attention(q, q, q, 1)[0][0, 1]).all()


@needs_extension
def test_arrays_in_any_layout_and_read_only():
    x, gamma = np.asfortranarray(normal((6, 4))), np.repeat(normal((4,)), 2)[::2]
    x.flags.writeable = False
    for a, b in zip(
        norm.layer_norm(x, gamma, None, 1e-5), norm.reference.layer_norm(x, gamma, None, 1e-5), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
    q = np.repeat(normal((2, 3, 4)), 2, axis=2)[..., ::2]
    np.testing.assert_allclose(
        attention.attention(q, q, q, 2)[0], attention.reference.attention(q, q, q, 2)[0], rtol=1e-12
    )
    np.testing.assert_allclose(elementwise.gelu(x), elementwise.reference.gelu(x), rtol=1e-12)


def test_empty_arrays_run_on_the_reference():
    assert elementwise.gelu(np.zeros((0, 3))).shape == (0, 3)
    y, mean, _ = norm.layer_norm(np.zeros((0, 3)), np.ones(3), None, 1e-5)
    assert y.shape == (0, 3) and mean.shape == (0,)
