"""Clipping in readable NumPy: the documentation of the kernels, and the fallback for any array type.

The rules of SGD and Adam have no version here: in readable NumPy they are the optimisers of training/optimizers/.
"""

from __future__ import annotations

import numpy as np

from npsoftmax.backend import Array, array_module


def square_sum(g: Array) -> Array | float:
    """Σ g² of all values, squared and added up in double precision. Any shape -> ()."""
    return array_module(g).square(g, dtype=np.float64).sum()


def scale(g: Array, factor: float | Array) -> Array:
    """g · factor, in the type of g. Any shape."""
    return (g * factor).astype(g.dtype, copy=False)


def clip(g: Array, limit: float) -> Array:
    """Every value of g clipped to [-limit, limit]; NaN stays. Any shape."""
    return array_module(g).clip(g, -limit, limit)
