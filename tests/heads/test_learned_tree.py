"""Trees that are learned: each cut is the best there is where that can be tried, and the tree is one of all classes."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npsoftmax.errors import InputError
from npsoftmax.heads import ClassInfo, tree
from npsoftmax.heads.learned_tree import from_confusions, from_means, least_cut, two_means


def halves(m):
    """Every cut of m things in two halves, as masks; each once or twice."""
    for right in itertools.combinations(range(m), m // 2):
        mask = np.zeros(m, dtype=bool)
        mask[list(right)] = True
        yield mask


def spread(points, right):
    """Σ ‖x - mean of its side‖², what 2-means makes small."""
    return sum(((points[side] - points[side].mean(axis=0)) ** 2).sum() for side in (right, ~right))


def crossing(weights, right):
    return weights[np.ix_(right, ~right)].sum()


def clustered(seed, n=8, d=3):
    """n points in two heaps of n/2, each of two smaller heaps, in any order; and which heap each is in."""
    rng = np.random.default_rng(seed)
    heap = rng.permutation(np.arange(n) % 4)
    centres = rng.normal(size=(4, d)) * 2 + np.array([30, 30, -30, -30])[:, None]
    return centres[heap] + rng.normal(size=(n, d)) * 0.1, heap


@pytest.mark.parametrize("seed", range(5))
def test_two_means_of_clear_heaps_is_the_best_of_all_cuts(seed):
    points, heap = clustered(seed)
    best = min(halves(8), key=lambda right: spread(points, right))
    assert spread(points, two_means(points)) == pytest.approx(spread(points, best))
    assert len(set(two_means(points)[heap < 2])) == 1


@pytest.mark.parametrize("seed", range(20))
def test_two_means_is_near_the_best_of_all_cuts_where_nothing_is_clear(seed):
    points = np.random.default_rng(seed).normal(size=(10, 4))
    found = two_means(points)
    values = sorted({round(spread(points, right), 9) for right in halves(10)})
    assert found.sum() == 5
    assert spread(points, found) <= values[len(values) // 10]  # better than nine cuts in ten
    middle = (points[found].mean(axis=0) + points[~found].mean(axis=0)) / 2
    along = (points - middle) @ (points[found].mean(axis=0) - points[~found].mean(axis=0))
    assert along[found].min() >= along[~found].max()  # no swap of two points brings both nearer


@pytest.mark.parametrize("seed", range(20))
def test_a_cut_through_confusions_is_near_the_least_of_all(seed):
    rng = np.random.default_rng(seed)
    weights = rng.random((10, 10)) ** 4
    weights += weights.T
    np.fill_diagonal(weights, 0)
    found = least_cut(weights)
    values = sorted({round(crossing(weights, right), 9) for right in halves(10)})
    assert found.sum() == 5
    assert crossing(weights, found) <= values[len(values) // 20]
    swapped = found.copy()
    for a, b in itertools.product(np.flatnonzero(found), np.flatnonzero(~found)):
        swapped[[a, b]] = swapped[[b, a]]
        assert crossing(weights, swapped) >= crossing(weights, found) - 1e-6  # no single swap cuts less
        swapped[[a, b]] = swapped[[b, a]]


def test_trees_of_clear_data_are_the_ones_that_one_would_draw():
    means = np.array([[0.0], [10.0], [0.1], [10.2]])
    assert json.loads(tree.to_json(from_means(means))) == [[0, 2], [1, 3]]
    confusions = np.array([[9, 0, 0, 1], [0, 8, 2, 0], [0, 1, 9, 0], [3, 0, 0, 7]])
    assert json.loads(tree.to_json(from_confusions(confusions))) == [[0, 3], [1, 2]]


@settings(max_examples=40)
@given(st.integers(2, 60), st.integers(0, 2**32 - 1), st.booleans())
def test_every_class_is_in_the_tree_once_and_halves_are_even(n, seed, ties):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2, (n, n)) if ties else rng.random((n, n))
    for children in (from_means(values), from_confusions(values)):
        assert sorted(children.reshape(-1).tolist()) == list(range(1, 2 * n - 1))
        assert sorted(np.diff(children[children < n - 1]).tolist()) == [1] * max(0, n - 3)  # breadth first
        assert set(tree.depths(children)) <= {math.floor(math.log2(n)), math.ceil(math.log2(n))}
        np.testing.assert_array_equal(tree.build(tree.to_json(children), ClassInfo(n)), children)


@pytest.mark.parametrize("make", [from_means, from_confusions])
def test_the_same_numbers_give_the_same_tree(make):
    values = np.random.default_rng(0).random((30, 30))
    np.testing.assert_array_equal(make(values), make(values.copy(order="F")))
    np.testing.assert_array_equal(make(values), make(values.tolist()))
    np.testing.assert_array_equal(make(np.ones((9, 9))), make(np.ones((9, 9))))


def test_means_that_are_all_alike_are_halved_in_the_order_of_the_labels():
    np.testing.assert_array_equal(from_means(np.ones((9, 2))), tree.build("halving", ClassInfo(9)))


def test_a_frequent_class_does_not_decide_alone():
    confusions = np.array([[9, 0, 0, 1], [0, 8, 2, 0], [0, 1, 9, 0], [3, 0, 0, 7]])
    np.testing.assert_array_equal(
        from_confusions(confusions), from_confusions(confusions * np.array([1, 1000, 1, 1])[:, None])
    )


def test_classes_that_never_occur_have_a_place():
    means = np.array([[0.0], [10.0], [0.1], [10.2], [np.nan]])
    assert sorted(tree.depths(from_means(means)).tolist()) == [2, 2, 2, 3, 3]
    confusions = np.zeros((4, 4))
    confusions[:2, :2] = 1
    assert json.loads(tree.to_json(from_confusions(confusions))) == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: from_means(np.ones(4)), r"means have shape \(4,\).*row a class"),
        (lambda: from_means(np.full((3, 2), np.nan)), "a row of NaN for a class that never occurs"),
        (lambda: from_means([[1.0, np.inf], [0, 0]]), "finite numbers"),
        (lambda: from_confusions(np.ones((3, 4))), r"\(3, 4\).*a row and a column a class"),
        (lambda: from_confusions(-np.eye(3)), "at least 0"),
        (lambda: from_confusions(np.full((3, 3), np.nan)), "finite"),
    ],
)
def test_numbers_that_make_no_tree(call, message):
    with pytest.raises(InputError, match=message):
        call()
