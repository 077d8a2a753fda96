"""Calls of norm.cu: arrays on a device, all float32 or all float64; an empty one has no rows for a block.

Activations and their gradients may be bfloat16; then the rest is float32.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.autocast import like, room, widened
from npsoftmax.backend import Array, array_module
from npsoftmax.cuda import cuda
from npsoftmax.kernels.dispatch import contiguous
from npsoftmax.kernels.norm import reference
from npsoftmax.kernels.norm.reference import AFTER, After, Three

WIDTH = 32  # columns that a block of norm.cu sums
MOST_BLOCKS, FEWEST_ROWS = 128, 64  # that share out the rows of a column; in one of them


def _shares(xp: Any, m: int, c: int) -> tuple[tuple[int, int], int, tuple[int, int]]:
    """How sums of the columns of (m, c) are shared out: blocks, rows of each, and the shape of what they find."""
    each = max(FEWEST_ROWS, -(-m // MOST_BLOCKS))
    parts = max(1, -(-m // each))
    return (-(-c // WIDTH), parts), each, (parts, c)


# ---------------------------------------------------------------- columns
def column_sum(rows: Array) -> Array:
    """See `reference.column_sum`."""
    if not rows.size:
        return reference.column_sum(widened(rows))
    gpu, xp, (m, c) = cuda("norm", rows), array_module(rows), rows.shape
    blocks, each, shape = _shares(xp, m, c)
    sums, out = xp.empty(shape, dtype=xp.float64), xp.empty(c, dtype=rows.dtype)
    gpu.blocks("column_sum", blocks, *contiguous(rows), sums, m, c, each)
    gpu.each("add_parts", c, sums, out, shape[0])
    return out


def column_moments(rows: Array) -> tuple[Array, Array]:
    """See `reference.column_moments`."""
    if not rows.size:
        return reference.column_moments(widened(rows))
    gpu, xp, (m, c) = cuda("norm", rows), array_module(rows), rows.shape
    blocks, each, shape = _shares(xp, m, c)
    (rows,) = contiguous(rows)
    sums, squares = (xp.empty(shape, dtype=xp.float64) for _ in range(2))
    mean, var = xp.empty(c, dtype=rows.dtype), xp.empty(c, dtype=rows.dtype)
    gpu.blocks("column_moments", blocks, rows, sums, squares, m, c, each)
    gpu.each("finish_moments", c, sums, squares, rows, mean, var, shape[0], m)
    return mean, var


# ---------------------------------------------------------------- batch norm
def normalise(x: Array, mean: Array, factor: Array, shift: Array, after: After) -> Array:
    """See `reference.normalise`."""
    y = room(x)
    cuda("norm", x).packs("normalise", x.size, *contiguous(x, mean, factor, shift), y, x.shape[-1], AFTER[after])
    return y


def normalise_sums(dy: Array, x: Array, mean: Array, factor: Array, shift: Array, after: After) -> tuple[Array, Array]:
    """See `reference.normalise_sums`."""
    if not x.size:
        return reference.normalise_sums(widened(dy), widened(x), mean, factor, shift, after)
    gpu, xp, c = cuda("norm", x), array_module(x), x.shape[-1]
    m = x.size // c
    blocks, each, shape = _shares(xp, m, c)
    sums, products = (xp.empty(shape, dtype=xp.float64) for _ in range(2))
    arrays = *contiguous(dy, x, mean, factor, shift), sums, products
    gpu.blocks("normalise_sums", blocks, *arrays, AFTER[after], m, c, each)
    return _added(gpu, sums, x.dtype), _added(gpu, products, x.dtype)


def normalise_dx(
    dy: Array, x: Array, mean: Array, factor: Array, shift: Array, slope: Array, offset: Array, after: After
) -> Array:
    """See `reference.normalise_dx`."""
    arrays = dy, x, mean, factor, shift, slope, offset
    dx = room(x)
    cuda("norm", x).packs("normalise_dx", x.size, *contiguous(*arrays), dx, x.shape[-1], AFTER[after])
    return dx


def _added(gpu: Any, sums: Array, dtype: Any) -> Array:
    parts, c = sums.shape
    out = array_module(sums).empty(c, dtype=dtype)
    gpu.each("add_parts", c, sums, out, parts)
    return out


# ---------------------------------------------------------------- layer norm
def layer_norm(x: Array, gamma: Array, beta: Array | None, eps: float) -> Three:
    """See `reference.layer_norm`."""
    if not x.size:
        y, mean, scale = reference.layer_norm(widened(x), gamma, beta, eps)
        return like(y, x), mean, scale
    gpu, xp, (m, d) = cuda("norm", x), array_module(x), x.shape
    y, mean, scale = room(x), xp.empty(m, dtype=x.dtype), xp.empty(m, dtype=x.dtype)
    gpu.blocks("layer_norm", (m,), *contiguous(x, gamma, beta), y, mean, scale, float(eps), d)
    return y, mean, scale


def layer_norm_backward(dy: Array, x: Array, gamma: Array, mean: Array, scale: Array) -> Three:
    """See `reference.layer_norm_backward`."""
    if not x.size:
        dx, dgamma, dbeta = reference.layer_norm_backward(widened(dy), widened(x), gamma, mean, scale)
        return like(dx, x), dgamma, dbeta
    gpu, xp, (m, d) = cuda("norm", x), array_module(x), x.shape
    dy, x, gamma = contiguous(dy, x, gamma)
    dx = room(x)
    gpu.blocks("layer_norm_dx", (m,), dy, x, gamma, mean, scale, dx, d)
    blocks, each, shape = _shares(xp, m, d)
    dgamma, dbeta = (xp.empty(shape, dtype=xp.float64) for _ in range(2))
    gpu.blocks("layer_norm_sums", blocks, dy, x, mean, scale, dgamma, dbeta, m, d, each)
    return dx, _added(gpu, dgamma, x.dtype), _added(gpu, dbeta, x.dtype)
