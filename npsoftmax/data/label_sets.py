"""Images with several labels at once, or none: two data sets made of others.

Their labels are a set an image, uint8 (N, C): 1 where the label is in it.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from npsoftmax.data.dataset import Dataset
from npsoftmax.data.digits import load_digits
from npsoftmax.random import Rng

DIGIT_SETS, BOTH_LEVELS = "digit_sets", "cifar100-both"
N_TRAIN, N_TEST, PLACES = 4000, 1000, 3


def load_digit_sets() -> Dataset:
    """One to three handwritten digits side by side: grey images of 8 x 24, whose labels are the digits to be seen.

    Drawn from scikit-learn's digits, always the same; those of the test images occur in no training image. A digit
    that is there twice is one label.
    """
    digits, rng = load_digits(), Rng(0, DIGIT_SETS)
    x_train, y_train = _rows_of(digits.x_train, digits.y_train, N_TRAIN, rng.child("train"))
    x_test, y_test = _rows_of(digits.x_test, digits.y_test, N_TEST, rng.child("test"))
    note = f"{N_TRAIN:,} + {N_TEST:,} rows of one to three of scikit-learn's handwritten digits, 8 x 24"
    return Dataset(DIGIT_SETS, x_train, y_train, x_test, y_test, digits.class_names, note=note)


def _rows_of(x: np.ndarray, y: np.ndarray, n: int, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """n rows of digits (n, 8, 8 · PLACES, 1) with their label sets (n, 10)."""
    u = rng.at(0, np.arange(n)).uniform((n, 1 + 2 * PLACES), np.float64)
    how_many = 1 + (u[:, 0] * PLACES).astype(int)
    which = (u[:, 1 : 1 + PLACES] * len(x)).astype(int)
    rank = np.argsort(np.argsort(u[:, 1 + PLACES :], axis=1), axis=1)  # of the places, as they are filled
    filled = rank < how_many[:, None]
    rows = np.where(filled[..., None, None, None], x[which], 0).astype(np.uint8)  # (n, PLACES, 8, 8, 1)
    sets = np.zeros((n, 10), np.uint8)
    sets[np.nonzero(filled)[0], y[which[filled]]] = 1
    return rows.transpose(0, 2, 1, 3, 4).reshape(n, x.shape[1], -1, 1), sets


def under_both_levels(fine: Dataset) -> Dataset:
    """The images of a data set with superclasses, each labelled by its class and by its superclass."""
    assert fine.coarse is not None and fine.coarse_names is not None  # CIFAR-100 has them
    c, total = fine.n_classes, fine.n_classes + len(fine.coarse_names)
    table = np.zeros((c, total), np.uint8)  # the label set of each class
    table[np.arange(c), np.arange(c)] = table[np.arange(c), c + fine.coarse] = 1
    return dataclasses.replace(
        fine,
        name=BOTH_LEVELS,
        y_train=table[fine.y_train],
        y_test=table[fine.y_test],
        class_names=(*fine.class_names, *fine.coarse_names),
        coarse=None,
        coarse_names=None,
        note=f"{fine.note}, labelled by class and superclass",
    )
