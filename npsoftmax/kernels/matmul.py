"""Matrix products on all threads: the array's type decides which version runs, as in the other kernels."""

from __future__ import annotations

import numpy as np

from npsoftmax.backend import Array, single_threaded_blas
from npsoftmax.kernels.dispatch import compiled, threads_for

# Multiply-adds for which a product is worth a thread's start, in units of threads_for's values.
WORK = 16


def matmul(a: Array, b: Array) -> Array:
    """a @ b for matrices a (M, K) and b (K, N), on as many threads as `--threads` says.

    Transposed views are read where they lie. NumPy's own product runs on one thread within a training step.
    """
    fast = compiled("_matmul", a, b)
    if fast is None or 0 in a.shape or 0 in b.shape or a.shape[1:] != b.shape[:1] or b.ndim != 2:
        return a @ b
    c = np.empty((a.shape[0], b.shape[1]), dtype=a.dtype)
    (a, ta), (b, tb) = _as_stored(a), _as_stored(b)
    with single_threaded_blas():
        fast.matmul(a, b, c, ta, tb, threads_for(c.size * (a.shape[0] if ta else a.shape[1]) // WORK))
    return c


def _as_stored(x: np.ndarray) -> tuple[np.ndarray, bool]:
    """x, or what it is the transpose of, in row order; and whether it is transposed."""
    if x.flags.f_contiguous and not x.flags.c_contiguous:
        return x.T, True
    return np.ascontiguousarray(x), False
