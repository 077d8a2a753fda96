"""What several heads check of their features and options."""

from __future__ import annotations

import math
from numbers import Integral

import numpy as np

from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError, as_number


def check_finite(h: Array) -> None:
    """InputError naming the first sample of h (N, D) that holds NaN or an infinity.

    One dot product on the host, well below a hundredth of the head's own work. Features on a device are not
    checked, since that would wait for it.
    """
    if not isinstance(h, np.ndarray):
        return
    xp = array_module(h)
    if math.isfinite(xp.vdot(h, h)):
        return
    bad = ~xp.isfinite(h)  # finite features may still have an infinite square
    if bad.any():
        row, column = xp.argwhere(bad)[0]
        raise InputError(
            f"feature {column} of sample {row} is {h[row, column]}, but finite numbers are needed "
            f"({bad.any(axis=1).sum()} of {len(h)} samples hold others). If it happened in training, the "
            "network before the head diverged: lower the learning rate, or clip gradients."
        )


def smoothing(value: float) -> float:
    """Label smoothing as a float; InputError outside [0, 1)."""
    if not 0 <= as_number(value) < 1:
        raise InputError(f"label_smoothing is {value!r}, but a number of at least 0 and below 1 was expected.")
    return float(value)


def not_negative(name: str, value: float) -> float:
    """`value` as a float; InputError unless 0 <= value < inf."""
    if not 0 <= as_number(value) < math.inf:
        raise InputError(f"{name} is {value!r}, but a finite number of at least 0 is needed; 0 leaves it out.")
    return float(value)


def check_k(k: int, n: int) -> None:
    """InputError unless 1 <= k <= n classes."""
    if not isinstance(k, Integral) or not 1 <= k <= n:
        raise InputError(f"k is {k}, but a number from 1 to {n} classes was expected.")
