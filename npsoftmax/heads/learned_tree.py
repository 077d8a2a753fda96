"""Trees that are learned: what is alike stays together as long as it can, so that a node has an easy question.

The classes are cut in halves, and each half again, by the means of their features (Prabhu et al. 2018, Parabel) or by
how often an earlier network takes one for another (Bengio, Weston and Grangier 2010). Halves, because cuts at any place
were no better when they were tried (docs/hierarchical.md, section 5), and no path is then longer than ⌈log₂ C⌉. Nothing
is drawn at random: the same numbers give the same tree.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from npsoftmax.errors import InputError

ITERATIONS = 100  # of 2-means, at most: it ends by itself, unless rounding lets two cuts take turns


# ---------------------------------------------------------------- two ways to learn one
def from_means(means: np.ndarray) -> np.ndarray:
    """A tree by 2-means of the class means, from the root down: the two parts of a node are as tight as can be.

    means (C, D): of the features of each class's training samples; a row of NaN for a class that has none, which stands
    at the mean of the others -> children (C - 1, 2) as in heads/tree.py.
    """
    means = _table("means", means)
    known = ~np.isnan(means).any(axis=1)
    if not np.isfinite(means[known]).all() or not known.any():
        raise InputError("means must be finite numbers, or a row of NaN for a class that never occurs.")
    points = np.where(known[:, None], means, means[known].mean(axis=0))
    return grow(len(points), lambda classes: two_means(points[classes]))


def from_confusions(confusions: np.ndarray) -> np.ndarray:
    """A tree by cuts through the graph of confusions, from the root down: few samples are in doubt across a node.

    confusions (C, C): row c sums the probabilities (or counts the answers) that an earlier network gives to the samples
    of class c; it is divided by its sum, so that frequent classes do not decide alone. A row of zeros: never occurs
    -> children (C - 1, 2) as in heads/tree.py.
    """
    table = _table("confusions", confusions)
    if table.shape[0] != table.shape[1]:
        raise InputError(f"confusions have shape {table.shape}, but a row and a column a class were expected.")
    if not (table >= 0).all() or not np.isfinite(table).all():
        raise InputError("confusions must be finite numbers of at least 0.")
    sums = table.sum(axis=1, keepdims=True)
    rates = np.divide(table, sums, out=np.zeros_like(table), where=sums > 0)
    weights = rates + rates.T
    np.fill_diagonal(weights, 0)
    return grow(len(weights), lambda classes: least_cut(weights[np.ix_(classes, classes)]))


def grow(n: int, cut: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The tree of n classes that `cut` makes: classes (M,), rising -> which of them are in one part, (M,) bool.

    The part with the lowest label stands on the left: which side is which has no meaning. Returns children (n - 1, 2),
    numbered breadth first.
    """
    children = np.empty((n - 1, 2), dtype=np.int64)
    waiting, made = deque([np.arange(n)]), 1
    for node in range(n - 1):
        classes = waiting.popleft()
        chosen = cut(classes)
        left = chosen == chosen[0]
        for side, part in enumerate((classes[left], classes[~left])):
            if len(part) == 1:
                children[node, side] = n - 1 + part[0]
            else:
                children[node, side] = made
                made += 1
                waiting.append(part)
    return children


# ---------------------------------------------------------------- one cut
def two_means(points: np.ndarray) -> np.ndarray:
    """2-means with halves of equal size, or off by one: which points are in one of them. points (M, D) -> (M,) bool.

    It starts from the cut across the direction in which the points vary most, and moves points to the nearer mean, as
    far as the halves stay halves, until none moves.
    """
    centred = points - points.mean(axis=0)
    along = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
    chosen = _upper_half(along)
    for _ in range(ITERATIONS):
        apart = centred[chosen].mean(axis=0) - centred[~chosen].mean(axis=0)
        moved = _upper_half(
            centred @ apart
        )  # how much nearer a point is to one mean than to the other, but for a constant
        if (moved == chosen).all():
            break
        chosen = moved
    return chosen


def least_cut(weights: np.ndarray) -> np.ndarray:
    """Halves between which little weight lies: which classes are in one of them. weights (M, M) symmetric -> (M,) bool.

    It starts from the second eigenvector of the graph's normalised Laplacian (Shi and Malik 2000) and swaps the pair of
    classes that gains most until none gains (Kernighan and Lin 1970).
    """
    degrees = weights.sum(axis=1)
    roots = np.sqrt(np.where(degrees > 0, degrees, 1))
    chosen = _upper_half(np.linalg.eigh(weights / roots / roots[:, None])[1][:, -2] / roots)
    for _ in range(weights.size):
        side = np.where(chosen, 1, -1)
        gain = -side * (weights @ side)  # weight across less weight inside: what moving one class alone would gain
        there, here = np.flatnonzero(chosen), np.flatnonzero(~chosen)
        swaps = gain[there, None] + gain[here] - 2 * weights[np.ix_(there, here)]
        first, second = np.unravel_index(swaps.argmax(), swaps.shape)
        if swaps[first, second] <= 1e-9 * degrees.sum():
            break
        chosen[there[first]], chosen[here[second]] = False, True
    return chosen


def _upper_half(along: np.ndarray) -> np.ndarray:
    """Whether each of (M,) numbers is in the upper half, the larger one where M is odd; of equal ones the later."""
    upper = np.ones(len(along), dtype=bool)
    upper[np.argsort(along, kind="stable")[: len(along) // 2]] = False
    return upper


def _table(name: str, values: np.ndarray) -> np.ndarray:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or len(table) < 2 or not table.shape[1]:
        raise InputError(f"{name} have shape {table.shape}, but a row a class was expected, and at least 2 classes.")
    return table
