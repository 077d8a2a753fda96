"""SparseRows: sums repeats as np.add.at does, stands for its dense array, refuses what would be wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npsoftmax.errors import InputError
from npsoftmax.params import SparseRows


def some_rows():
    return SparseRows(np.array([1, 3]), np.array([[1.0, -2.0, 3.0], [0.5, 0.0, -4.0]]), 5)


@settings(deadline=None)
@given(
    st.integers(1, 12).flatmap(
        lambda n: st.tuples(
            st.just(n), st.lists(st.integers(0, n - 1), max_size=60), st.sampled_from([(), (3,), (2, 4)])
        )
    ),
    st.integers(0, 2**32 - 1),
    st.sampled_from([np.int64, np.int32, np.uint16]),
)
def test_from_indices_sums_as_add_at(case, seed, index_type):
    n_rows, indices, tail = case
    indices = np.array(indices, dtype=index_type)
    values = np.random.default_rng(seed).normal(size=(len(indices), *tail))
    expected = np.zeros((n_rows, *tail))
    np.add.at(expected, indices, values)
    given_indices, given_values = indices.copy(), values.copy()

    sparse = SparseRows.from_indices(indices, values, n_rows)

    np.testing.assert_allclose(sparse.to_dense(), expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(sparse.rows, np.unique(indices))
    assert sparse.rows.dtype == np.int64 and sparse.shape == expected.shape
    np.testing.assert_array_equal(indices, given_indices)
    np.testing.assert_array_equal(values, given_values)


def test_long_runs_of_float32_lose_nothing():
    # One row that occurs ten thousand times: added one by one, float32 would be off by hundreds of eps.
    values = np.full((10_000, 1), 0.1, np.float32)
    total = SparseRows.from_indices(np.zeros(10_000, np.int64), values, 1)
    assert total.dtype == np.float32
    np.testing.assert_allclose(total.values, 10_000 * np.float64(np.float32(0.1)), rtol=1e-6)


def test_one_index_gives_its_own_value():
    values = np.array([[7.0, 8.0]])
    sparse = SparseRows.from_indices(np.array([2]), values, 4)
    np.testing.assert_array_equal(sparse.to_dense(), [[0, 0], [0, 0], [7, 8], [0, 0]])


def test_to_dense_shape_and_dtype():
    sparse = SparseRows(np.array([0, 2]), np.ones((2, 3, 2), np.float32), 4)
    assert sparse.shape == sparse.to_dense().shape == (4, 3, 2)
    assert sparse.dtype == sparse.to_dense().dtype == np.float32
    np.testing.assert_array_equal(sparse.to_dense().sum(axis=(1, 2)), [6, 0, 6, 0])


def test_arithmetic_is_that_of_the_dense_array():
    sparse = some_rows()
    dense = sparse.to_dense()
    np.testing.assert_array_equal(sparse.scaled(-0.5).to_dense(), -0.5 * dense)
    np.testing.assert_array_equal(sparse.clipped(1.5).to_dense(), np.clip(dense, -1.5, 1.5))
    assert sparse.square_sum() == pytest.approx((dense**2).sum(), rel=1e-15)
    np.testing.assert_array_equal(sparse.to_dense(), dense)  # nothing of that changed it


def test_float64_factors_leave_float32_alone():
    sparse = SparseRows(np.array([1]), np.ones((1, 2), np.float32), 3)
    assert sparse.scaled(np.float64(0.3)).dtype == np.float32
    assert sparse.clipped(np.float64(0.3)).dtype == np.float32


def test_no_rows_at_all():
    sparse = SparseRows.from_indices(np.empty(0, np.int64), np.empty((0, 3)), 4)
    np.testing.assert_array_equal(sparse.to_dense(), np.zeros((4, 3)))
    assert sparse.square_sum() == 0


@pytest.mark.parametrize(
    ("rows", "shape", "message"),
    [
        (np.array([3, 1]), (2, 3), "repeat or are out of order"),
        (np.array([1, 1]), (2, 3), "repeat or are out of order"),
        (np.array([1, 5]), (2, 3), "rows run from 1 to 5, but there are 5"),
        (np.array([-1, 2]), (2, 3), "rows run from -1 to 2, but there are 5"),
        (np.array([1, 2, 3]), (2, 3), r"rows is int64 of shape \(3,\), values has shape \(2, 3\)"),
        (np.array([1.0, 2.0]), (2, 3), "rows is float64"),
        (np.array([[1, 2]]), (1, 3), r"of shape \(1, 2\)"),
        (np.array([1]), (), r"values has shape \(\)"),
    ],
)
def test_what_would_be_wrong_is_refused(rows, shape, message):
    with pytest.raises(InputError, match=message):
        SparseRows(rows, np.ones(shape), 5)


@pytest.mark.parametrize(
    ("indices", "shape", "message"),
    [
        (np.array([4, 5]), (2, 3), "rows run from 4 to 5, but there are 5"),
        (np.array([0, -1]), (2, 3), "rows run from -1 to 0, but there are 5"),
        (np.array([0.0, 1.0]), (2, 3), "whole numbers"),
        (np.array([0, 1]), (3, 3), r"values has shape \(3, 3\)"),
        (np.array([[0, 1]]), (1, 3), r"of shape \(1, 2\)"),
    ],
)
def test_indices_that_do_not_fit_are_refused(indices, shape, message):
    with pytest.raises(InputError, match=message):
        SparseRows.from_indices(indices, np.ones(shape), 5)
