"""Matrix products shared out to threads: the same as NumPy's, for every layout and number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npsoftmax import host
from npsoftmax.kernels import matmul

sizes = st.integers(1, 40)
LAYOUTS = {
    "rows": lambda a: a,
    "columns": np.asfortranarray,
    "gaps": lambda a: np.repeat(np.repeat(a, 2, axis=0), 2, axis=1)[::2, ::2],
    "backwards": lambda a: np.flip(np.flip(a).copy()),
}
layouts = st.sampled_from(sorted(LAYOUTS))


@given(
    sizes, sizes, sizes, layouts, layouts, st.sampled_from([np.float32, np.float64]), st.integers(1, 5), st.booleans()
)
def test_it_is_the_matrix_product(m, k, n, layout_a, layout_b, dtype, threads, with_bias):
    rng = np.random.default_rng(m + 41 * k + 1681 * n)
    a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    bias = rng.standard_normal(2 * n).astype(dtype)[::2] if with_bias else None
    added = 0.0 if bias is None else bias.astype(float)
    host.set_threads(threads)
    try:
        c = matmul(LAYOUTS[layout_a](a), LAYOUTS[layout_b](b), bias)
    finally:
        host.set_threads(None)
    allowed = (k + 3) * np.finfo(dtype).eps * (np.abs(a).astype(float) @ np.abs(b) + np.abs(added))
    assert c.dtype == dtype and c.flags.c_contiguous
    assert (np.abs(c - (a.astype(float) @ b + added)) <= allowed).all()


@pytest.mark.parametrize(
    "shape", [(700, 300, 5), (5, 300, 700), (257, 33, 129), (40, 5000, 30), (300, 620, 290), (650, 230, 690)]
)
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_products_large_enough_for_threads(shape, threads):
    m, k, n = shape
    rng = np.random.default_rng(0)
    a, b, bias = rng.standard_normal((m, k)), rng.standard_normal((k, n)), rng.standard_normal(n)
    host.set_threads(threads)
    try:
        c, again = matmul(a, b), matmul(a, b)
        transposed = matmul(a.T.copy().T, b.T.copy().T)
        sum_over_rows = matmul(a.T.copy().T, b)  # where k is long, this is what a weight's gradient is
        biased = matmul(a, b, bias)
    finally:
        host.set_threads(None)
    np.testing.assert_allclose(sum_over_rows, a @ b, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(biased, a @ b + bias, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(c, a @ b, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(transposed, a @ b, rtol=1e-12, atol=1e-12)
    assert c.tobytes() == again.tobytes()


@pytest.mark.parametrize("shape", [(0, 3, 2), (3, 0, 2), (3, 2, 0)])
def test_empty_matrices(shape):
    m, k, n = shape
    c = matmul(np.zeros((m, k)), np.zeros((k, n)))
    assert c.shape == (m, n) and not c.any()


def test_other_dtypes_are_left_to_numpy():
    a = np.arange(6).reshape(2, 3)
    assert matmul(a, a.T).tolist() == [[5, 14], [14, 50]]
    with pytest.raises(ValueError):
        matmul(np.zeros((2, 3)), np.zeros((2, 3)))
