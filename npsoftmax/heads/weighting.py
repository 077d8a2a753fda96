"""What the losses of a batch weigh: weights of classes, weights of samples, and labels that are ignored."""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.arguments import real
from npsoftmax.backend import Array
from npsoftmax.errors import InputError
from npsoftmax.functional.targets import not_negative
from npsoftmax.heads.classes import ClassInfo


def class_weights(given: Any, classes: ClassInfo) -> np.ndarray | None:
    """The option class_weight as numbers (C,): "balanced" is N / (C · n_c), n_c the training samples of class c.

    None stays. InputError for "balanced" where a count is unknown or 0, for another number of weights than classes, and
    for weights that are no finite numbers of at least 0, or leave no training sample.
    """
    if given is None:
        return None
    if isinstance(given, str | dict | float | int):
        return _balanced(given, classes)
    weights = np.asarray(real(given, "class_weight"))
    if weights.shape != (classes.n,):
        raise InputError(
            f"class_weight has {weights.size} of them, but one weight for each of {classes.n} classes is needed; "
            "type class_weight=balanced or that many numbers."
        )
    weights = not_negative(weights, np.float32, "class_weight").astype(np.float64)
    if not (weights if classes.counts is None else weights * classes.counts).any():
        raise InputError("class_weight gives every class with training samples the weight 0, so there is no loss.")
    return weights


def _balanced(given: Any, classes: ClassInfo) -> np.ndarray:
    if given != "balanced":
        raise InputError(f"class_weight is {given!r:.60}, but balanced or {classes.n} numbers were expected.")
    if classes.counts is None:
        raise InputError(
            "class_weight=balanced needs the number of training samples of each class, and none were given; "
            "pass classes=ClassInfo.from_labels(y_train, C)."
        )
    if not classes.counts.all():
        raise InputError(
            f"class {int(np.argmin(classes.counts))} has no training sample, so no weight balances it; "
            f"give class_weight {classes.n} numbers instead of balanced."
        )
    return classes.counts.sum() / (classes.n * classes.counts.astype(np.float64))


def ignored_label(given: Any, classes: ClassInfo) -> int | None:
    """The option ignore_label, which may be any whole number; InputError where no other label is left in training."""
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | np.integer):
        raise InputError(f"ignore_label is {given!r:.60}, but a whole number was expected, or None for no label.")
    counts = classes.counts
    if counts is not None and 0 <= given < classes.n and counts.sum() and counts.sum() == counts[given]:
        raise InputError(
            f"ignore_label is {given}, but no training sample has another label: nothing is left to learn."
        )
    return int(given)


def sample_weights(weights: Any, h: Array, xp: Any) -> Array:
    """Weights (N,) of the samples of h (N, D), of its type and where it is; InputError unless finite and at least 0."""
    weights = not_negative(real(weights, "weights"), h.dtype, "weights")
    if weights.shape != (len(h),):
        raise InputError(
            f"weights have shape {tuple(weights.shape)}, but one for each of the {len(h)} samples is needed."
        )
    return xp.asarray(weights, dtype=h.dtype)
