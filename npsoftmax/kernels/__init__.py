"""Data movement and fused fast paths: the array's type decides which version runs.

NumPy arrays in float32 or float64 go to the compiled extension where it was built, everything else to the readable
`reference`. A test asserts that all versions agree. `NPSOFTMAX_COMPILED=0` switches the extension off (for tests).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array, get_threads, single_threaded_blas
from npsoftmax.kernels import reference
from npsoftmax.kernels.extension import compiled_status, load_extension
from npsoftmax.kernels.reference import Pair, output_size

__all__ = [
    "col2im",
    "compiled_status",
    "conv2d_tiled",
    "conv2d_tiled_dw",
    "conv2d_tiled_dx",
    "im2col",
    "max_pool",
    "max_pool_backward",
    "output_size",
]


def has_compiled(x: Array) -> bool:
    """Whether an array like `x` would run on the compiled kernels."""
    return _compiled(x) is not None


def _compiled(*arrays: Array) -> Any:
    """The extension, if it takes these arrays: NumPy, all float32 or all float64."""
    if not all(isinstance(a, np.ndarray) for a in arrays):
        return None
    dtype = arrays[0].dtype
    if dtype not in (np.float32, np.float64) or any(a.dtype != dtype for a in arrays):
        return None
    return load_extension("npsoftmax._im2col")[0]


def _geometry(shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> tuple[int, int]:
    return output_size(shape[1], k[0], stride[0], pad[0]), output_size(shape[2], k[1], stride[1], pad[1])


# ---------------------------------------------------------------- columns
def im2col(x: Array, k: Pair, stride: Pair, pad: Pair) -> Array:
    """x (N, H, W, C) -> cols (N·OH·OW, KH·KW·C); see `reference.im2col`."""
    fast = _compiled(x)
    if fast is None:
        return reference.im2col(x, k, stride, pad)
    oh, ow = _geometry(x.shape, k, stride, pad)
    cols = np.empty((x.shape[0] * oh * ow, k[0] * k[1] * x.shape[3]), dtype=x.dtype)
    fast.im2col(np.ascontiguousarray(x), cols, *k, *stride, *pad, oh, ow, get_threads())
    return cols


def col2im(cols: Array, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> Array:
    """cols (N·OH·OW, KH·KW·C) -> (N, H, W, C) = shape; see `reference.col2im`."""
    fast = _compiled(cols)
    if fast is None:
        return reference.col2im(cols, shape, k, stride, pad)
    oh, ow = _geometry(shape, k, stride, pad)
    dx = np.empty(shape, dtype=cols.dtype)
    fast.col2im(np.ascontiguousarray(cols), dx, *k, *stride, *pad, oh, ow, get_threads())
    return dx


# ---------------------------------------------------------------- pooling
def max_pool(x: Array, k: Pair, stride: Pair, pad: Pair) -> tuple[Array, Array]:
    """y and the winning tap of every window; see `reference.max_pool`."""
    fast = _compiled(x)
    if fast is None or k[0] * k[1] > 256:
        return reference.max_pool(x, k, stride, pad)
    oh, ow = _geometry(x.shape, k, stride, pad)
    y = np.empty((x.shape[0], oh, ow, x.shape[3]), dtype=x.dtype)
    index = np.empty(y.shape, dtype=np.uint8)
    fast.max_pool(np.ascontiguousarray(x), y, index, *k, *stride, *pad, get_threads())
    return y, index


def max_pool_backward(dy: Array, index: Array, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> Array:
    """dx of `max_pool`; see `reference.max_pool_backward`."""
    fast = _compiled(dy)
    if fast is None or index.dtype != np.uint8:
        return reference.max_pool_backward(dy, index, shape, k, stride, pad)
    dx = np.empty(shape, dtype=dy.dtype)
    fast.max_pool_backward(np.ascontiguousarray(dy), np.ascontiguousarray(index), dx, *k, *stride, *pad, get_threads())
    return dx


# ---------------------------------------------------------------- convolution in tiles: no column matrix of the batch
def conv2d_tiled(x: Array, w: Array, b: Array | None, stride: Pair, pad: Pair) -> Array:
    """y = im2col(x) @ w + b, a few rows of columns at a time. w (KH, KW, C, F), b (F,) or None -> (N, OH, OW, F)."""
    fast = _compiled(x, w)
    k = w.shape[:2]
    oh, ow = _geometry(x.shape, k, stride, pad)
    if fast is None:
        y = reference.im2col(x, k, stride, pad) @ w.reshape(-1, w.shape[3])
        return (y if b is None else y + b).reshape(x.shape[0], oh, ow, -1)
    y = np.empty((x.shape[0], oh, ow, w.shape[3]), dtype=x.dtype)
    bias = np.zeros(w.shape[3], dtype=x.dtype) if b is None else np.ascontiguousarray(b, dtype=x.dtype)
    with single_threaded_blas():
        fast.conv_forward(np.ascontiguousarray(x), _matrix(w), bias, y, *k, *stride, *pad, get_threads())
    return y


def conv2d_tiled_dw(x: Array, dy: Array, k: Pair, stride: Pair, pad: Pair) -> Array:
    """dw = im2col(x)ᵀ @ dy, a few rows of columns at a time. dy (N, OH, OW, F) -> (KH, KW, C, F)."""
    fast = _compiled(x, dy)
    c, f = x.shape[3], dy.shape[3]
    if fast is None:
        cols = reference.im2col(x, k, stride, pad)
        return (cols.T @ dy.reshape(-1, f)).reshape(*k, c, f)
    # One sum for each thread, added in a fixed order: the same result for the same number of threads.
    partial = np.zeros((get_threads(), k[0] * k[1] * c, f), dtype=x.dtype)
    with single_threaded_blas():
        fast.conv_backward_weight(np.ascontiguousarray(x), np.ascontiguousarray(dy), partial, *k, *stride, *pad)
    return partial.sum(axis=0).reshape(*k, c, f)


def conv2d_tiled_dx(dy: Array, w: Array, shape: tuple[int, ...], stride: Pair, pad: Pair) -> Array:
    """dx = col2im(dy @ wᵀ). At stride 1 that is a convolution of dy with the kernel turned round: no scatter at all."""
    fast = _compiled(dy, w)
    kh, kw, _, f = w.shape
    if fast is None:
        dcols = dy.reshape(-1, f) @ w.reshape(-1, f).T
        return reference.col2im(dcols, shape, (kh, kw), stride, pad)
    if stride == (1, 1) and pad[0] < kh and pad[1] < kw:
        turned = np.ascontiguousarray(w[::-1, ::-1].transpose(0, 1, 3, 2))  # (KH, KW, F, C)
        return conv2d_tiled(dy, turned, None, stride, (kh - 1 - pad[0], kw - 1 - pad[1]))
    dx = np.empty(shape, dtype=dy.dtype)
    with single_threaded_blas():
        fast.conv_backward_input(np.ascontiguousarray(dy), _matrix(w), dx, kh, kw, *stride, *pad, get_threads())
    return dx


def _matrix(w: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(w).reshape(-1, w.shape[3])  # (KH·KW·C, F)
