"""Convolution of few channels at stride 1 in registers: the array's type decides which version runs.

Where _direct.pyx was not built or does not take the arrays, `conv2d_tiled` does the same.
"""

from __future__ import annotations

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.kernels.conv import conv2d_tiled, conv2d_tiled_dw, conv2d_tiled_dx, geometry, sum_of_threads
from npsoftmax.kernels.dispatch import compiled, threads_for_products
from npsoftmax.kernels.reference import Pair

ONE = (1, 1)


def conv2d_direct(x: Array, w: Array, b: Array | None, pad: Pair, relu: bool = False) -> Array:
    """y of `conv2d_tiled` at stride 1. w (KH, KW, C, F), b (F,) or None -> (N, OH, OW, F)."""
    fast = compiled("_direct", x, w)
    if fast is None or 0 in x.shape or 0 in w.shape:
        return conv2d_tiled(x, w, b, ONE, pad, relu)
    k = w.shape[:2]
    lanes = fast.lanes_for(w.shape[3], w.itemsize)
    weights, bias = np.zeros((w[..., 0].size, lanes), dtype=w.dtype), np.zeros(lanes, dtype=w.dtype)
    weights[:, : w.shape[3]] = w.reshape(-1, w.shape[3])
    bias[: w.shape[3]] = 0 if b is None else b
    y = np.empty((x.shape[0], *geometry(x.shape, k, ONE, pad), w.shape[3]), dtype=x.dtype)
    threads = threads_for_products(y.size * len(weights))
    fast.forward(np.ascontiguousarray(x), weights, bias, relu, y, *k, *pad, threads)
    return y


def conv2d_direct_dw(x: Array, dy: Array, k: Pair, pad: Pair) -> Array:
    """dw of `conv2d_tiled_dw` at stride 1. dy (N, OH, OW, F) -> (KH, KW, C, F)."""
    fast = compiled("_direct", x, dy)
    if fast is None or 0 in x.shape or 0 in dy.shape:
        return conv2d_tiled_dw(x, dy, k, ONE, pad)
    c, f = x.shape[3], dy.shape[3]
    # One sum for each thread, added in a fixed order: the same result for the same number of threads.
    threads = threads_for_products(dy.size * k[0] * k[1] * c)
    partial = np.zeros((threads, k[0] * k[1] * c, fast.lanes_for(f, dy.itemsize)), dtype=x.dtype)
    fast.backward_weight(np.ascontiguousarray(x), np.ascontiguousarray(dy), partial, *k, *pad)
    return np.ascontiguousarray(sum_of_threads(partial)[:, :f]).reshape(*k, c, f)


def conv2d_direct_dx(dy: Array, w: Array, shape: tuple[int, ...], pad: Pair) -> Array:
    """dx of `conv2d_tiled_dx` at stride 1: a convolution of dy with the kernel turned round."""
    kh, kw = w.shape[:2]
    if pad[0] >= kh or pad[1] >= kw:
        return conv2d_tiled_dx(dy, w, shape, ONE, pad)
    return conv2d_direct(dy, w[::-1, ::-1].transpose(0, 1, 3, 2), None, (kh - 1 - pad[0], kw - 1 - pad[1]))
