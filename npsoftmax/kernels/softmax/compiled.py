"""Calls of _softmax.pyx: NumPy arrays, all float32 or all float64; what is not contiguous is copied first."""

from __future__ import annotations

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.kernels.dispatch import threads_for
from npsoftmax.kernels.extension import load_extension
from npsoftmax.kernels.softmax import reference
from npsoftmax.kernels.softmax.reference import sparse_rows  # the host sorts (functional/sparse_mappings.py)

__all__ = ["exp_rows", "scaled_less_onehot", "sparse_rows"]

MODULE = f"{__package__}._softmax"


def exp_rows(
    z: np.ndarray, temperature: float, out: np.ndarray | None, threads: int | None
) -> tuple[Array, Array, Array, Array]:
    """See `reference.exp_rows`."""
    if not z.size:
        return reference.exp_rows(z, temperature, out)
    e = np.empty(z.shape, dtype=z.dtype) if out is None else out
    sums = np.empty((len(z), 3), dtype=z.dtype)
    fast = load_extension(MODULE)[0]
    fast.exp_rows(np.ascontiguousarray(z), temperature, e, sums, threads or threads_for(z.size))
    return e, sums[:, 0], sums[:, 1], sums[:, 2]


def scaled_less_onehot(
    e: np.ndarray, t: np.ndarray, factor: np.ndarray, height: np.ndarray, low: np.ndarray | None, threads: int | None
) -> Array:
    """See `reference.scaled_less_onehot`."""
    if not e.size:
        return reference.scaled_less_onehot(e, t, factor, height, low)
    dz = np.empty(e.shape, dtype=e.dtype)
    columns = np.ascontiguousarray(t, dtype=np.int64)
    rows = (
        np.ascontiguousarray(factor),
        np.ascontiguousarray(height),
        None if low is None else np.ascontiguousarray(low),
    )
    fast = load_extension(MODULE)[0]
    fast.scaled_less_onehot(np.ascontiguousarray(e), columns, *rows, dz, threads or threads_for(e.size))
    return dz
