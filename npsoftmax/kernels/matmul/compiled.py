"""Calls of _matmul.pyx: NumPy arrays, all float32 or all float64."""

from __future__ import annotations

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.host import single_threaded_blas
from npsoftmax.kernels.dispatch import as_stored, threads_for_products
from npsoftmax.kernels.extension import load_extension
from npsoftmax.kernels.matmul import reference
from npsoftmax.kernels.matmul.reference import products

__all__ = ["matmul", "products"]

MODULE = f"{__package__}._matmul"

# How many times longer than both sides of the result a sum must be to be shared out itself.
LONG = 4


def matmul(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None) -> Array:
    """See `reference.matmul`."""
    if 0 in a.shape or 0 in b.shape or a.shape[1:] != b.shape[:1] or b.ndim != 2:
        return reference.matmul(a, b, bias)
    m, k = a.shape
    n = b.shape[1]
    if min(m, k, n) == 1:  # one row, column or sample: nothing is used twice, so packing would not pay
        y = a * b if k == 1 else a @ b
        return y if bias is None else y + bias
    (a, ta), (b, tb) = as_stored(a), as_stored(b)
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    threads = threads_for_products(m * k * n)
    fast = load_extension(MODULE)[0]
    with single_threaded_blas():
        if ta and not tb and bias is None and threads > 1 and k >= LONG * max(m, n):
            parts = np.empty((threads, m, n), dtype=a.dtype)
            fast.matmul_parts(a, b, parts)
            return parts.sum(axis=0)
        c = np.empty((m, n), dtype=a.dtype)
        fast.matmul(a, b, None if bias is None else np.ascontiguousarray(bias), c, ta, tb, threads)
    return c
