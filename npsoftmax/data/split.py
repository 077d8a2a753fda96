"""Dividing samples: a validation set, and small subsets with all classes in them."""

from __future__ import annotations

import numpy as np

from npsoftmax.errors import InputError
from npsoftmax.random import Rng


def train_validation_split(y: np.ndarray, size: int | float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and of the validation samples, each ascending; together all of 0 … N-1.

    y: labels (N,); every class gives the same share (to within one sample); of label sets (N, C) any samples. size: how
    many validation samples, or a fraction in [0, 1) written with a decimal point; 0 for none. The choice depends on
    `seed` alone.
    Raises InputError when no training sample would be left.
    """
    count = round(size * len(y)) if isinstance(size, float) and 0 <= size < 1 else size
    if isinstance(count, float) or not 0 <= count < len(y):
        raise InputError(
            f"--val-split is {size}, but a fraction below 1 (0.2) or a whole number below {len(y)} was expected."
        )
    order = Rng(seed, "validation").permutation(len(y))
    validation = stratified_subset(y, count, order)
    training = np.setdiff1d(np.arange(len(y)), validation, assume_unique=True)
    return training, validation


def choosing_calibration_split(
    y: np.ndarray, held_out: np.ndarray, size: int | float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of the images held out, those that choose the best epoch, and those that choose nothing; each ascending.

    y: labels of all training images; held_out: indices into it. size: how many choose nothing, or a fraction in [0, 1)
    of those held out; each class gives its share. The choice depends on `seed` alone. InputError where none would be
    left to choose.
    """
    count = round(size * len(held_out)) if isinstance(size, float) and 0 <= size < 1 else size
    if isinstance(count, float) or not 0 <= count <= max(0, len(held_out) - 1):
        raise InputError(
            f"--calibration-split is {size}, but a fraction below 1 (0.5) or a whole number below {len(held_out)}, the "
            "number of validation images, was expected: it is a part of them."
        )
    order = Rng(seed, "calibration").permutation(len(held_out))
    aside = stratified_subset(y[held_out], count, order)
    return np.delete(held_out, aside), held_out[aside]


def stratified_subset(y: np.ndarray, count: int, order: np.ndarray | None = None) -> np.ndarray:
    """Indices, ascending, of `count` samples in which each class has its share (to within one sample).

    Samples that come first in `order` (None: as they are) are taken first. y: labels (N,); of label sets (N, C) the
    first in `order` are taken (None: drawn, always the same). Raises InputError for a count that is negative or above
    the number of samples.
    """
    if not 0 <= count <= len(y):
        raise InputError(f"{count} samples were asked for, but there are {len(y)}.")
    if y.ndim == 2:
        return np.sort((Rng(0, "subset").permutation(len(y)) if order is None else order)[:count])
    order = np.arange(len(y)) if order is None else order
    labels = y[order]
    by_class = np.argsort(labels, kind="stable")  # each class in a run, inside it the given order
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    rank = np.arange(len(y)) - starts[labels[by_class]]
    # The r-th of a class of n stands at (r + 1/2) / n: the smallest places are an equal share of every class.
    place = (rank + 0.5) / sizes[labels[by_class]]
    return np.sort(order[by_class[np.argsort(place, kind="stable")[:count]]])


def evenly_spaced(n: int, count: int) -> np.ndarray:
    """`count` of the numbers 0 … n-1, ascending, as far from each other as can be; all where there are no more."""
    return np.arange(n) if count >= n else np.arange(count) * n // count
