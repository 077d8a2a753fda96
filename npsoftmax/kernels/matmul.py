"""Matrix products on all threads: the array's type decides which version runs, as in the other kernels."""

from __future__ import annotations

import numpy as np

from npsoftmax.backend import Array, array_module, single_threaded_blas
from npsoftmax.kernels import bf16
from npsoftmax.kernels.dispatch import compiled, threads_for_products

# How many times longer than both sides of the result a sum must be to be shared out itself.
LONG = 4


def matmul(a: Array, b: Array, bias: Array | None = None) -> Array:
    """a @ b + bias for matrices a (M, K), b (K, N) and bias (N,) or None, on as many threads as `--threads` says.

    Transposed views are read where they lie. NumPy's own product runs on one thread within a training step.
    """
    fast = compiled("_matmul", a, b) if bias is None else compiled("_matmul", a, b, bias)
    if fast is None or 0 in a.shape or 0 in b.shape or a.shape[1:] != b.shape[:1] or b.ndim != 2:
        y = product(a, b) if a.ndim == b.ndim == 2 else a @ b
        return y if bias is None else y + bias
    m, k, n = *a.shape, b.shape[1]
    if min(m, k, n) == 1:  # one row, column or sample: nothing is used twice, and BLAS' preparations are in vain
        y = a * b if k == 1 else a @ b
        return y if bias is None else y + bias
    (a, ta), (b, tb) = _as_stored(a), _as_stored(b)
    threads = threads_for_products(m * k * n)
    with single_threaded_blas():
        if ta and not tb and bias is None and threads > 1 and k >= LONG * max(m, n):
            parts = np.empty((threads, m, n), dtype=a.dtype)
            fast.matmul_parts(a, b, parts)
            return parts.sum(axis=0)
        c = np.empty((m, n), dtype=a.dtype)
        fast.matmul(a, b, None if bias is None else np.ascontiguousarray(bias), c, ta, tb, threads)
    return c


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """a @ b of matrices by the library of their device, in the precision that was asked for; into `out` if given."""
    if a.shape[1] == b.shape[0] and bf16.wanted(a, b):
        return bf16.product(a, b, out)
    return a @ b if out is None else array_module(a).matmul(a, b, out=out)


def _as_stored(x: np.ndarray) -> tuple[np.ndarray, bool]:
    """x, or what it is the transpose of, in row order; and whether it is transposed."""
    if x.flags.f_contiguous and not x.flags.c_contiguous:
        return x.T, True
    return np.ascontiguousarray(x), False
