"""Calls of _attention.pyx: NumPy arrays, all float32 or all float64, none of them empty."""

from __future__ import annotations

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.host import get_threads, single_threaded_blas
from npsoftmax.kernels.attention import reference
from npsoftmax.kernels.attention.reference import Three
from npsoftmax.kernels.dispatch import contiguous
from npsoftmax.kernels.extension import load_extension

MODULE = f"{__package__}._attention"


def takes(*arrays: Array) -> bool:
    """Whether there are values in all of them; else the reference runs."""
    return all(a.size for a in arrays)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, heads: int) -> tuple[Array, Array]:
    """See `reference.attention`."""
    if not takes(q, k, v):
        return reference.attention(q, k, v, heads)
    y = np.empty(q.shape, q.dtype)
    lse = np.empty((q.shape[0], heads, q.shape[1]), q.dtype)
    with single_threaded_blas():
        load_extension(MODULE)[0].attention(*_rows_of_features(q, k, v), y, lse, get_threads())
    return y, lse


def attention_backward(
    dy: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    y: np.ndarray,
    lse: np.ndarray,
    heads: int,
    out: Three | None,
) -> Three:
    """See `reference.attention_backward`."""
    if not takes(dy, q, k, v, y, lse):
        return reference.attention_backward(dy, q, k, v, y, lse, heads, out)
    if out is None:
        out = np.empty(q.shape, q.dtype), np.empty(k.shape, k.dtype), np.empty(v.shape, v.dtype)
    arrays = *_rows_of_features(dy, q, k, v), *contiguous(y, lse), *out
    with single_threaded_blas():
        load_extension(MODULE)[0].attention_backward(*arrays, get_threads())
    return out


def _rows_of_features(*arrays: np.ndarray) -> list[np.ndarray]:
    """Copies of those whose features do not lie side by side: rows may have any distance, features may not."""

    def fits(a: np.ndarray) -> bool:
        rows = a.strides[1] // a.itemsize
        return a.strides[2] == a.itemsize and a.strides[1] % a.itemsize == 0 and rows >= a.shape[2]

    return [a if fits(a) else np.ascontiguousarray(a) for a in arrays]
