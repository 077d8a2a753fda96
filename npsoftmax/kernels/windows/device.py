"""Calls of windows.cu: arrays on a device, all float32, all float64 or all bfloat16."""

from __future__ import annotations

from npsoftmax.autocast import like, room, widened
from npsoftmax.backend import Array, array_module
from npsoftmax.cuda import MOST_ITEMS, cuda
from npsoftmax.kernels.dispatch import contiguous
from npsoftmax.kernels.windows import reference
from npsoftmax.kernels.windows.reference import Pair, output_sizes


def sizes_of(shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> tuple[int, ...]:
    """What every kernel of windows.cu gets: H, W, C, OH, OW, KH, KW, SH, SW, PH, PW."""
    return (*shape[1:], *output_sizes(shape, k, stride, pad), *k, *stride, *pad)


# ---------------------------------------------------------------- columns
def im2col(x: Array, k: Pair, stride: Pair, pad: Pair) -> Array:
    """See `reference.im2col`."""
    sizes = sizes_of(x.shape, k, stride, pad)
    shape = len(x) * sizes[3] * sizes[4], k[0] * k[1] * x.shape[3]
    if shape[0] * shape[1] > MOST_ITEMS:
        return reference.im2col(x, k, stride, pad)
    cols = room(x, shape)
    cuda("windows", x).each("im2col", cols.size, *contiguous(x), cols, *sizes)
    return cols


def col2im(cols: Array, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair, out: Array | None = None) -> Array:
    """See `reference.col2im`; into `out`, contiguous, if given, which may be bfloat16."""
    dx = room(cols, shape) if out is None else out
    cuda("windows", dx).each("col2im", dx.size, *contiguous(cols), dx, *sizes_of(shape, k, stride, pad))
    return dx


# ---------------------------------------------------------------- max pooling
def max_pool(x: Array, k: Pair, stride: Pair, pad: Pair, relu: bool) -> tuple[Array, Array]:
    """See `reference.max_pool`."""
    if k[0] * k[1] > reference.MOST_TAPS:
        y, index = reference.max_pool(widened(x), k, stride, pad, relu)
        return like(y, x), index
    xp, sizes = array_module(x), sizes_of(x.shape, k, stride, pad)
    y = room(x, (len(x), sizes[3], sizes[4], x.shape[3]))
    index = xp.empty(y.shape, dtype=xp.uint8)
    cuda("windows", x).each("max_pool", y.size, *contiguous(x), y, index, *sizes, relu)
    return y, index


def max_pool_backward(dy: Array, index: Array, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> Array:
    """See `reference.max_pool_backward`."""
    if index.dtype != "uint8":
        return like(reference.max_pool_backward(widened(dy), index, shape, k, stride, pad), dy)
    dx = room(dy, shape)
    arrays = *contiguous(dy, index), dx
    cuda("windows", dy).each("max_pool_backward", dx.size, *arrays, *sizes_of(shape, k, stride, pad))
    return dx
