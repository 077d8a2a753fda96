"""Calls of _norm.pyx and _layer_norm.pyx: NumPy arrays, all of one type; what is not contiguous is copied."""

from __future__ import annotations

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.kernels.dispatch import contiguous, flat, threads_for
from npsoftmax.kernels.extension import load_extension
from npsoftmax.kernels.norm import reference
from npsoftmax.kernels.norm.reference import AFTER, After, Three

MODULE, LAYER_NORM = f"{__package__}._norm", f"{__package__}._layer_norm"

WIDE = 256  # values in a wide row, at least; see _norm.pyx
PARTS = 64  # sums over rows that threads share out, at most: their number must not depend on that of the threads
FEW = 4096  # values that NumPy adds up before a kernel is even called


# ---------------------------------------------------------------- columns
def column_sum(rows: np.ndarray) -> Array:
    """See `reference.column_sum`."""
    if rows.size < FEW:
        return reference.column_sum(np.ascontiguousarray(rows))  # NumPy's order follows the layout
    fast, c = load_extension(MODULE)[0], rows.shape[1]
    width = c * max(1, WIDE // c)
    sums = np.zeros((min(PARTS, fast.count_blocks(rows.size, c, width)), c))
    fast.column_sum(flat(rows), c, width, sums, threads_for(rows.size))
    return sums.sum(axis=0).astype(rows.dtype)


def column_moments(rows: np.ndarray) -> tuple[Array, Array]:
    """See `reference.column_moments`."""
    if not rows.size:
        return reference.column_moments(rows)
    fast, c = load_extension(MODULE)[0], rows.shape[1]
    width = c * max(1, WIDE // c)
    parts = min(PARTS, fast.count_blocks(rows.size, c, width))
    count, means, m2 = np.zeros(parts), np.zeros((parts, c)), np.zeros((parts, c))
    fast.column_moments(flat(rows), c, width, count, means, m2, threads_for(rows.size))
    share = (count / len(rows))[:, None]
    mean = (share * means).sum(axis=0)
    var = m2.sum(axis=0) / len(rows) + (share * np.square(means - mean)).sum(axis=0)
    return mean.astype(rows.dtype), var.astype(rows.dtype)


# ---------------------------------------------------------------- batch norm
def normalise(x: np.ndarray, mean: np.ndarray, factor: np.ndarray, shift: np.ndarray, after: After) -> Array:
    """See `reference.normalise`."""
    if not x.size:
        return reference.normalise(x, mean, factor, shift, after)
    y = np.empty(x.shape, dtype=x.dtype)
    v = _wide(mean, factor, shift)
    load_extension(MODULE)[0].normalise(flat(x), v, AFTER[after], y.reshape(-1), threads_for(x.size))
    return y


def normalise_sums(
    dy: np.ndarray, x: np.ndarray, mean: np.ndarray, factor: np.ndarray, shift: np.ndarray, after: After
) -> tuple[Array, Array]:
    """See `reference.normalise_sums`."""
    if not x.size:
        return reference.normalise_sums(dy, x, mean, factor, shift, after)
    fast, c, v = load_extension(MODULE)[0], len(mean), _wide(mean, factor, shift)
    sums = np.zeros((2, min(PARTS, fast.count_blocks(x.size, c, v.shape[1])), c))
    fast.normalise_sums(flat(dy), flat(x), c, v, AFTER[after], *sums, threads_for(x.size))
    g, products = sums.sum(axis=1).astype(x.dtype)
    return g, products


def normalise_dx(
    dy: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    factor: np.ndarray,
    shift: np.ndarray,
    slope: np.ndarray,
    offset: np.ndarray,
    after: After,
) -> Array:
    """See `reference.normalise_dx`."""
    if not x.size:
        return reference.normalise_dx(dy, x, mean, factor, shift, slope, offset, after)
    dx = np.empty(x.shape, dtype=x.dtype)
    v = _wide(mean, factor, shift, slope, offset)
    load_extension(MODULE)[0].normalise_dx(flat(dy), flat(x), v, AFTER[after], dx.reshape(-1), threads_for(x.size))
    return dx


def _wide(*channels: np.ndarray) -> np.ndarray:
    """Each (C,) laid out along a wide row: (how many, width)."""
    return np.tile(np.stack(channels), max(1, WIDE // len(channels[0])))


# ---------------------------------------------------------------- layer norm
def layer_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray | None, eps: float) -> Three:
    """See `reference.layer_norm`."""
    if not x.size:
        return reference.layer_norm(x, gamma, beta, eps)
    y, mean, scale = np.empty(x.shape, x.dtype), np.empty(len(x), x.dtype), np.empty(len(x), x.dtype)
    arrays = contiguous(x, gamma, beta)
    load_extension(LAYER_NORM)[0].layer_norm(*arrays, y, mean, scale, eps, threads_for(x.size))
    return y, mean, scale


def layer_norm_backward(dy: np.ndarray, x: np.ndarray, gamma: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> Three:
    """See `reference.layer_norm_backward`."""
    if not x.size:
        return reference.layer_norm_backward(dy, x, gamma, mean, scale)
    dx = np.empty(x.shape, x.dtype)
    sums = np.zeros((2, min(PARTS, len(x)), x.shape[1]), x.dtype)
    arrays = contiguous(dy, x, gamma, mean, scale)
    load_extension(LAYER_NORM)[0].layer_norm_backward(*arrays, dx, *sums, threads_for(x.size))
    dgamma, dbeta = sums.sum(axis=1)
    return dx, dgamma, dbeta
