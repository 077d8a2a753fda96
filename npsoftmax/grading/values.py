"""What an answer is worth as numbers, whatever holds them: arrays, lists, masks, Fractions; and when two are the same.

Design: an exercise asks for numbers, not for a type. So they are compared by value, and a container that holds the
right numbers is right.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import to_numpy


def as_array(value: Any) -> np.ndarray | None:
    """A NumPy array of numbers or booleans, or None for anything else. What np.ma hides counts as 0, as in its sums."""
    if value is None or isinstance(value, str | bytes | dict | set):
        return None
    try:
        array = np.asarray(np.ma.filled(value, 0) if isinstance(value, np.ma.MaskedArray) else to_numpy(value))
        if array.dtype.kind == "O":  # Fractions, Decimals, Python's own integers
            array = array.astype(float)
        if array.dtype.kind == "c" and not array.imag.any():
            array = array.real
    except Exception:  # rows of unequal lengths, and whatever a student's own class may raise
        return None
    return array if array.dtype.kind in "biuf" else None


def shaped(value: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """The same; of a tuple or a list around one right thing, such as `(dz,)`, the thing itself."""
    array = as_array(value)
    if isinstance(value, tuple | list) and len(value) == 1 and (array is None or array.shape != shape):
        inner = as_array(value[0])
        return inner if inner is not None and inner.shape == shape else array
    return array


def close(a: Any, b: Any) -> bool:
    """The same shape and the same numbers up to rounding; NaN equals NaN."""
    a, b = as_array(a), as_array(b)
    if a is None or b is None:
        return a is b
    with np.errstate(all="ignore"):
        return a.shape == b.shape and np.allclose(a, b, rtol=1e-9, atol=1e-11, equal_nan=True)


def same_content(yours: Any, right: Any) -> bool:
    """Whether a cache holds what the right one holds: the same numbers in the same order.

    Axes of length 1 may be there or not, a tuple of one thing is that thing, a list is a tuple, and a mask of booleans
    says the same as the indices where it is True.
    """
    if isinstance(yours, tuple | list):
        parts = right if isinstance(right, tuple | list) else (right,)
        if len(yours) == len(parts):
            return all(same_content(a, b) for a, b in zip(yours, parts, strict=True))
    if right is None or yours is None:
        return yours is right
    a, b = as_array(yours), as_array(right)
    if a is None or b is None:
        return bool(yours is right)
    if a.dtype == bool and b.dtype.kind in "iu" and a.ndim == b.ndim == 1:
        a = np.flatnonzero(a)
    return close(a.squeeze(), b.squeeze())
