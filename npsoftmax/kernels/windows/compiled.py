"""Calls of npsoftmax/_im2col.pyx (columns) and _pool.pyx: NumPy arrays, all float32 or all float64."""

from __future__ import annotations

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.kernels.dispatch import threads_for
from npsoftmax.kernels.extension import load_extension
from npsoftmax.kernels.windows import reference
from npsoftmax.kernels.windows.reference import Pair, output_sizes

COLUMNS, POOL = "npsoftmax._im2col", f"{__package__}._pool"


# ---------------------------------------------------------------- columns
def im2col(x: np.ndarray, k: Pair, stride: Pair, pad: Pair) -> np.ndarray:
    """See `reference.im2col`."""
    oh, ow = output_sizes(x.shape, k, stride, pad)
    cols = np.empty((x.shape[0] * oh * ow, k[0] * k[1] * x.shape[3]), dtype=x.dtype)
    fast, threads = load_extension(COLUMNS)[0], threads_for(cols.size)
    fast.im2col(np.ascontiguousarray(x), cols, *k, *stride, *pad, oh, ow, threads)
    return cols


def col2im(cols: np.ndarray, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> np.ndarray:
    """See `reference.col2im`."""
    oh, ow = output_sizes(shape, k, stride, pad)
    dx = np.empty(shape, dtype=cols.dtype)
    fast, threads = load_extension(COLUMNS)[0], threads_for(cols.size)
    fast.col2im(np.ascontiguousarray(cols), dx, *k, *stride, *pad, oh, ow, threads)
    return dx


# ---------------------------------------------------------------- max pooling
def max_pool(x: np.ndarray, k: Pair, stride: Pair, pad: Pair, relu: bool) -> tuple[Array, Array]:
    """See `reference.max_pool`."""
    if k[0] * k[1] > reference.MOST_TAPS:
        return reference.max_pool(x, k, stride, pad, relu)
    y = np.empty((x.shape[0], *output_sizes(x.shape, k, stride, pad), x.shape[3]), dtype=x.dtype)
    index = np.empty(y.shape, dtype=np.uint8)
    fast, threads = load_extension(POOL)[0], threads_for(x.size)
    fast.max_pool(np.ascontiguousarray(x), y, index, *k, *stride, *pad, relu, threads)
    return y, index


def max_pool_backward(
    dy: np.ndarray, index: np.ndarray, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair
) -> Array:
    """See `reference.max_pool_backward`."""
    if index.dtype != np.uint8:
        return reference.max_pool_backward(dy, index, shape, k, stride, pad)
    dx = np.empty(shape, dtype=dy.dtype)
    fast, threads = load_extension(POOL)[0], threads_for(dx.size)
    fast.max_pool_backward(np.ascontiguousarray(dy), np.ascontiguousarray(index), dx, *k, *stride, *pad, threads)
    return dx
