"""Labels and weights as the scikit-learn estimators are given them."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, column_or_1d

from npsoftmax.errors import InputError, in_words


def checked_labels(X: Any, y: Any) -> np.ndarray:
    """y as labels (N,), one for each sample of X; InputError in scikit-learn's words else."""
    if y is None:
        raise InputError("requires y to be passed, but the target y is None: give the label of each sample.")
    with in_words():
        given = np.asarray(y)
        if given.dtype == object and (plain_y := np.array(given.tolist())).dtype.kind in "biu":
            y = plain_y  # whole numbers in an array of objects
        shape = given.shape
        if len(shape) == 2 and shape[1] > 1:
            raise InputError(
                f"y should be a 1d array, not {shape}: of one-hot rows pass y.argmax(axis=1); for sets of labels take "
                "head='sigmoid'."
            )
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        check_consistent_length(X, y)
    return y


def checked_sets(X: Any, y: Any, class_weight: Any) -> np.ndarray | None:
    """y as sets of labels, uint8 (N, C) of 0 and 1, one for each sample of X; None where it has not several columns.

    An indicator matrix, dense or sparse, as scikit-learn has it. InputError for other numbers, and for class_weight,
    which is of the label of a sample.
    """
    y = y.toarray() if issparse(y) else y
    try:
        sets = np.asarray(y)
    except ValueError:  # rows of different lengths
        return None
    if sets.ndim != 2 or sets.shape[1] < 2:
        return None
    if sets.dtype.kind not in "biuf" or not np.isin(sets, (0, 1)).all():
        raise InputError(
            f"y is {sets.dtype} {sets.shape}, but sets of labels are rows of 0 and 1: whether each is there."
        )
    if class_weight is not None:
        raise InputError(
            f"class_weight is {class_weight!r:.60}, but a sample with a set of labels has no class; weigh labels by "
            "head_opts={'class_weight': 'balanced'}."
        )
    with in_words():
        check_consistent_length(X, sets)
    return sets.astype(np.uint8)


def checked_weights(sample_weight: Any, n: int) -> np.ndarray | None:
    """sample_weight as n finite numbers of at least 0, not all 0; one number is that of every sample, None stays."""
    if sample_weight is None:
        return None
    with in_words():
        weights = np.asarray(sample_weight).astype(np.float64)
    if weights.ndim == 0:
        weights = np.full(n, weights)
    if weights.shape != (n,):
        raise InputError(f"sample_weight has shape {weights.shape}, but one for each of {n} samples was expected.")
    good = np.isfinite(weights) & (weights >= 0)
    if not good.all():
        first = int(np.argmin(good))
        raise InputError(
            f"sample_weight is {weights[first]} for sample {first}, but finite numbers of at least 0 were expected."
        )
    if not weights.any():
        raise InputError("the weights of all samples are zero, so there is nothing to learn from.")
    return weights


def by_class(weights: np.ndarray | None, class_weight: Any, classes: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """Weights of samples (N,) times those of their classes: None, "balanced" or a dict, label -> weight."""
    if class_weight is None:
        return weights
    if class_weight != "balanced" and not isinstance(class_weight, dict):
        raise InputError(
            f"class_weight is {class_weight!r:.60}, but None, 'balanced' or a dict, label to weight, was expected."
        )
    with in_words():
        of_classes = compute_class_weight(class_weight, classes=classes, y=y)
    of_samples = checked_weights(of_classes[np.searchsorted(classes, y)], len(y))
    return of_samples if weights is None else checked_weights(weights * of_samples, len(y))
