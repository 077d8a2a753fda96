"""Columns of images, and convolution in tiles of columns: the array's type decides which version runs.

What each function does stands in `reference`; here is only who does it.
"""

from __future__ import annotations

import functools

import numpy as np

from npsoftmax.backend import Array, array_module, get_threads, single_threaded_blas
from npsoftmax.cuda import cuda
from npsoftmax.kernels import device_conv
from npsoftmax.kernels import device_windows as device
from npsoftmax.kernels.dispatch import compiled, threads_for
from npsoftmax.kernels.fused import add
from npsoftmax.kernels.matmul import matmul
from npsoftmax.kernels.reference import Pair, output_size


def geometry(shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> tuple[int, int]:
    """(OH, OW) of windows over images of `shape` (N, H, W, C)."""
    return output_size(shape[1], k[0], stride[0], pad[0]), output_size(shape[2], k[1], stride[1], pad[1])


# ---------------------------------------------------------------- columns
def im2col(x: Array, k: Pair, stride: Pair, pad: Pair) -> Array:
    """x (N, H, W, C) -> cols (N·OH·OW, KH·KW·C); see `reference.im2col`."""
    fast = compiled("_im2col", x)
    if fast is None:
        return device.im2col(x, k, stride, pad)
    oh, ow = geometry(x.shape, k, stride, pad)
    cols = np.empty((x.shape[0] * oh * ow, k[0] * k[1] * x.shape[3]), dtype=x.dtype)
    fast.im2col(np.ascontiguousarray(x), cols, *k, *stride, *pad, oh, ow, threads_for(cols.size))
    return cols


def col2im(cols: Array, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> Array:
    """cols (N·OH·OW, KH·KW·C) -> (N, H, W, C) = shape; see `reference.col2im`."""
    fast = compiled("_im2col", cols)
    if fast is None:
        return device.col2im(cols, shape, k, stride, pad)
    oh, ow = geometry(shape, k, stride, pad)
    dx = np.empty(shape, dtype=cols.dtype)
    fast.col2im(np.ascontiguousarray(cols), dx, *k, *stride, *pad, oh, ow, threads_for(cols.size))
    return dx


# ---------------------------------------------------------------- convolution in tiles: no column matrix of the batch
# Output positions of a batch that are one tile: it is its product that is then shared out to the threads, so that each
# reads a part of the weights only.
ONE_TILE = 256


def conv2d_tiled(x: Array, w: Array, b: Array | None, stride: Pair, pad: Pair, relu: bool = False) -> Array:
    """y = im2col(x) @ w + b, a few rows of columns at a time. w (KH, KW, C, F), b (F,) or None -> (N, OH, OW, F).

    With `relu` y = max(y, 0), taken while a tile is still in the cache.
    """
    if gpu := cuda("windows", x, w):
        if kind := device_conv.kind_for(x, w.shape, stride, pad):
            return device_conv.conv2d(kind, x, w, b, stride, pad, relu)
        return device.conv2d(gpu, x, w, b, stride, pad, relu)
    fast = compiled("_im2col", x, w)
    k = w.shape[:2]
    oh, ow = geometry(x.shape, k, stride, pad)
    if fast is None or x.shape[0] * oh * ow <= ONE_TILE:
        y = matmul(im2col(x, k, stride, pad), w.reshape(-1, w.shape[3]))
        y = (y if b is None else y + b).reshape(x.shape[0], oh, ow, w.shape[3])
        return array_module(x).maximum(y, 0) if relu else y
    y = np.empty((x.shape[0], oh, ow, w.shape[3]), dtype=x.dtype)
    with single_threaded_blas():
        fast.conv_forward(
            np.ascontiguousarray(x), matrix(w), bias_or_zeros(b, x, w), relu, y, *k, *stride, *pad, get_threads()
        )
    return y


def conv2d_tiled_dw(x: Array, dy: Array, k: Pair, stride: Pair, pad: Pair) -> Array:
    """dw = im2col(x)ᵀ @ dy, a few rows of columns at a time. dy (N, OH, OW, F) -> (KH, KW, C, F)."""
    if gpu := cuda("windows", x, dy):
        if kind := device_conv.kind_for(x, (*k, x.shape[3], dy.shape[3]), stride, pad):
            return device_conv.conv2d_dw(kind, x, dy, k, stride, pad)
        return device.conv2d_dw(gpu, x, dy, k, stride, pad)
    fast = compiled("_im2col", x, dy)
    c, f = x.shape[3], dy.shape[3]
    if fast is None or dy[..., 0].size <= ONE_TILE:
        return matmul(im2col(x, k, stride, pad).T, dy.reshape(-1, f)).reshape(*k, c, f)
    # One sum for each thread, added in a fixed order: the same result for the same number of threads.
    partial = np.zeros((get_threads(), k[0] * k[1] * c, f), dtype=x.dtype)
    with single_threaded_blas():
        fast.conv_backward_weight(np.ascontiguousarray(x), np.ascontiguousarray(dy), partial, *k, *stride, *pad)
    return sum_of_threads(partial).reshape(*k, c, f)


def conv2d_tiled_dx(dy: Array, w: Array, shape: tuple[int, ...], stride: Pair, pad: Pair) -> Array:
    """dx = col2im(dy @ wᵀ). At stride 1 that is a convolution of dy with the kernel turned round: no scatter at all."""
    kh, kw, c, f = w.shape
    turnable = stride == (1, 1) and pad[0] < kh and pad[1] < kw
    if gpu := cuda("windows", dy, w):
        turned_pad = kh - 1 - pad[0], kw - 1 - pad[1]
        if turnable and (kind := device_conv.kind_for(dy, (kh, kw, f, c), stride, turned_pad)):
            return device_conv.conv2d_dx(kind, dy, w, pad)
        return device.conv2d_dx(gpu, dy, w, shape, stride, pad)
    fast = compiled("_im2col", dy, w)
    if fast is None or dy[..., 0].size <= ONE_TILE:
        return col2im(matmul(dy.reshape(-1, f), w.reshape(-1, f).T), shape, (kh, kw), stride, pad)
    if turnable:
        turned = np.ascontiguousarray(w[::-1, ::-1].transpose(0, 1, 3, 2))  # (KH, KW, F, C)
        return conv2d_tiled(dy, turned, None, stride, (kh - 1 - pad[0], kw - 1 - pad[1]))
    dx = np.empty(shape, dtype=dy.dtype)
    with single_threaded_blas():
        fast.conv_backward_input(np.ascontiguousarray(dy), matrix(w), dx, kh, kw, *stride, *pad, get_threads())
    return dx


def sum_of_threads(partial: np.ndarray) -> np.ndarray:
    """The sums that threads have made, added up in their order: (threads, …) -> (…)."""
    return functools.reduce(add, partial)


def matrix(w: np.ndarray) -> np.ndarray:
    """w (KH, KW, C, F) -> (KH·KW·C, F)."""
    return np.ascontiguousarray(w).reshape(-1, w.shape[3])


def bias_or_zeros(b: np.ndarray | None, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The bias as the compiled kernels take it: always there."""
    return np.zeros(w.shape[3], dtype=x.dtype) if b is None else np.ascontiguousarray(b, dtype=x.dtype)
