"""Columns, max pooling and convolution on a device; where there is no kernel for the arrays, the reference runs."""

from __future__ import annotations

from collections.abc import Iterator

from npsoftmax.backend import Array, array_module
from npsoftmax.cuda import MOST_ITEMS, Kernels, cuda
from npsoftmax.kernels import reference
from npsoftmax.kernels.matmul import product
from npsoftmax.kernels.reference import Pair, output_size

# Column entries that are there at once: 32 MiB in float32, so that a product finds them in the second-level cache of a
# large device instead of in its memory.
ENTRIES = 2**23


def geometry(shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> tuple[int, ...]:
    """What every kernel of windows.cu is told: H, W, C, OH, OW, KH, KW, SH, SW, PH, PW."""
    out = (output_size(shape[axis + 1], k[axis], stride[axis], pad[axis]) for axis in (0, 1))
    return (*shape[1:], *out, *k, *stride, *pad)


# ---------------------------------------------------------------- columns
def im2col(x: Array, k: Pair, stride: Pair, pad: Pair) -> Array:
    """See `reference.im2col`."""
    gpu, sizes = cuda("windows", x), geometry(x.shape, k, stride, pad)
    if gpu is None or len(x) * sizes[3] * sizes[4] * k[0] * k[1] * x.shape[3] > MOST_ITEMS:
        return reference.im2col(x, k, stride, pad)
    return _im2col(gpu, x, k, stride, pad)


def _im2col(gpu: Kernels, x: Array, k: Pair, stride: Pair, pad: Pair) -> Array:
    xp, sizes = array_module(x), geometry(x.shape, k, stride, pad)
    cols = xp.empty((len(x) * sizes[3] * sizes[4], k[0] * k[1] * x.shape[3]), dtype=x.dtype)
    gpu.each("im2col", cols.size, xp.ascontiguousarray(x), cols, *sizes)
    return cols


def col2im(cols: Array, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> Array:
    """See `reference.col2im`."""
    gpu = cuda("windows", cols)
    return reference.col2im(cols, shape, k, stride, pad) if gpu is None else _col2im(gpu, cols, shape, k, stride, pad)


def _col2im(gpu: Kernels, cols: Array, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> Array:
    xp = array_module(cols)
    dx = xp.empty(shape, dtype=cols.dtype)
    gpu.each("col2im", dx.size, xp.ascontiguousarray(cols), dx, *geometry(shape, k, stride, pad))
    return dx


# ---------------------------------------------------------------- max pooling
def max_pool(x: Array, k: Pair, stride: Pair, pad: Pair, relu: bool) -> tuple[Array, Array]:
    """See `reference.max_pool`."""
    gpu = cuda("windows", x)
    if gpu is None or k[0] * k[1] > reference.MOST_TAPS:
        return reference.max_pool(x, k, stride, pad, relu)
    xp, sizes = array_module(x), geometry(x.shape, k, stride, pad)
    y = xp.empty((len(x), sizes[3], sizes[4], x.shape[3]), dtype=x.dtype)
    index = xp.empty(y.shape, dtype=xp.uint8)
    gpu.each("max_pool", y.size, xp.ascontiguousarray(x), y, index, *sizes, relu)
    return y, index


def max_pool_backward(dy: Array, index: Array, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> Array:
    """See `reference.max_pool_backward`."""
    gpu = cuda("windows", dy)
    if gpu is None or index.dtype != "uint8":
        return reference.max_pool_backward(dy, index, shape, k, stride, pad)
    xp = array_module(dy)
    dx = xp.empty(shape, dtype=dy.dtype)
    arrays = xp.ascontiguousarray(dy), xp.ascontiguousarray(index), dx
    gpu.each("max_pool_backward", dx.size, *arrays, *geometry(shape, k, stride, pad))
    return dx


# ---------------------------------------------------------------- convolution, a few images at a time
def conv2d(gpu: Kernels, x: Array, w: Array, b: Array | None, stride: Pair, pad: Pair, relu: bool) -> Array:
    """y = im2col(x) @ w + b, or max(y, 0). w (KH, KW, C, F), b (F,) or None -> (N, OH, OW, F)."""
    xp, f, sizes = array_module(x), w.shape[3], geometry(x.shape, w.shape[:2], stride, pad)
    y = xp.empty((len(x), sizes[3], sizes[4], f), dtype=x.dtype)
    matrix = w.reshape(-1, f)
    for images in _chunks(len(x), sizes):
        rows = y[images].reshape(-1, f)  # a view: y is contiguous
        product(_columns(gpu, x[images], w.shape[:2], stride, pad), matrix, out=rows)
    if b is not None or relu:
        gpu_rows = cuda("softmax", y)
        assert gpu_rows is not None  # as for x
        gpu_rows.each("add_bias", y.size, y, b, f, relu)
    return y


def conv2d_dw(gpu: Kernels, x: Array, dy: Array, k: Pair, stride: Pair, pad: Pair) -> Array:
    """dw = im2col(x)ᵀ @ dy, summed in the order of the images. dy (N, OH, OW, F) -> (KH, KW, C, F)."""
    xp, c, f = array_module(x), x.shape[3], dy.shape[3]
    dw = xp.zeros((k[0] * k[1] * c, f), dtype=x.dtype)
    for images in _chunks(len(x), geometry(x.shape, k, stride, pad)):
        dw += product(_columns(gpu, x[images], k, stride, pad).T, dy[images].reshape(-1, f))
    return dw.reshape(*k, c, f)


def conv2d_dx(gpu: Kernels, dy: Array, w: Array, shape: tuple[int, ...], stride: Pair, pad: Pair) -> Array:
    """dx = col2im(dy @ wᵀ). dy (N, OH, OW, F) -> (N, H, W, C) = shape."""
    k, f = w.shape[:2], w.shape[3]
    dx, matrix = array_module(dy).empty(shape, dtype=dy.dtype), w.reshape(-1, f)
    for images in _chunks(len(dy), geometry(shape, k, stride, pad)):
        part = dy[images]
        cols = product(part.reshape(-1, f), matrix.T)
        dx[images] = (
            cols.reshape(part.shape[0], *shape[1:])
            if is_plain(k, stride, pad)
            else _col2im(gpu, cols, (len(part), *shape[1:]), k, stride, pad)
        )
    return dx


def _columns(gpu: Kernels, x: Array, k: Pair, stride: Pair, pad: Pair) -> Array:
    return x.reshape(-1, x.shape[3]) if is_plain(k, stride, pad) else _im2col(gpu, x, k, stride, pad)


def is_plain(k: Pair, stride: Pair, pad: Pair) -> bool:
    """Whether the columns are the images themselves."""
    return k == (1, 1) and stride == (1, 1) and pad == (0, 0)


def _chunks(images: int, sizes: tuple[int, ...]) -> Iterator[slice]:
    """The images of a batch in runs that have at most ENTRIES column entries, one image at least."""
    _, _, c, oh, ow, kh, kw, *_ = sizes
    step = max(1, ENTRIES // max(1, oh * ow * kh * kw * c))
    return (slice(first, min(first + step, images)) for first in range(0, images, step))
