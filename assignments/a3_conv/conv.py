"""Convolution by its definition and as one matrix product, and max-pooling with windows that overlap.

Replace each `raise NotImplementedError`, then type

    npsoftmax grade a3

The page that goes with it: README.md in this folder.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.functional.conv import Grads
from npsoftmax.kernels.windows.reference import Pair, output_size


def pad_images(x: Array, pad: Pair, value: float = 0.0) -> Array:
    """Every image with a border of `value`. x (N, H, W, C) -> (N, H + 2·PH, W + 2·PW, C)."""
    raise NotImplementedError("a3 pad_images")  # return padded


def conv2d_naive_forward(
    x: Array, w: Array, b: Array | None = None, stride: Pair = (1, 1), pad: Pair = (0, 0)
) -> tuple[Array, Any]:
    """y by the definition: one window and one dot product at a time (shapes: see the module)."""
    # The cache is (x, w, b is not None, stride, pad).
    # need_dx=False means that dx is not needed: you may compute it all the same.
    # You may call pad_images: while this is graded, that is the library's.
    raise NotImplementedError("a3 conv2d_naive_forward")  # return y, cache


def conv2d_naive_backward(dy: Array, cache: Any, need_dx: bool = True) -> Grads:
    """Gradients of `conv2d_naive_forward`: each window returns its share to its pixels and weights.

    dy (N, OH, OW, F) -> dx (N, H, W, C), dw (KH, KW, C, F), db (F,) or None
    """
    x, w, has_bias, (sh, sw), pad = cache
    # You may call pad_images: while this is graded, that is the library's.
    raise NotImplementedError("a3 conv2d_naive_backward")  # return dx, dw, db


def im2col(x: Array, k: Pair, stride: Pair, pad: Pair) -> Array:
    """Columns of a convolution. x (N, H, W, C) -> cols (N·OH·OW, KH·KW·C)."""
    # You may call pad_images: while this is graded, that is the library's.
    raise NotImplementedError("a3 im2col")  # return cols


def col2im(cols: Array, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> Array:
    """The adjoint of `im2col`: every column entry is ADDED to the pixel it was read from.

    cols (N·OH·OW, KH·KW·C) -> (N, H, W, C) = shape.
    """
    raise NotImplementedError("a3 col2im")  # return x


def conv2d_im2col_forward(
    x: Array, w: Array, b: Array | None = None, stride: Pair = (1, 1), pad: Pair = (0, 0)
) -> tuple[Array, Any]:
    """y = im2col(x) @ w + b (shapes: see the module)."""
    # The cache is (x, w, b is not None, stride, pad).
    # need_dx=False means that dx is not needed: you may compute it all the same.
    # You may call im2col: while this is graded, that is the library's.
    raise NotImplementedError("a3 conv2d_im2col_forward")  # return y, cache


def conv2d_im2col_backward(dy: Array, cache: Any, need_dx: bool = True) -> Grads:
    """Gradients of `conv2d_im2col_forward`: those of a dense layer, and col2im sends the columns' back to pixels.

    dy (N, OH, OW, F) -> dx (N, H, W, C), dw (KH, KW, C, F), db (F,) or None
    """
    x, w, has_bias, stride, pad = cache
    # You may call im2col and col2im: while this is graded, these are the library's.
    raise NotImplementedError("a3 conv2d_im2col_backward")  # return dx, dw, db


def max_pool(x: Array, k: Pair, stride: Pair, pad: Pair, relu: bool = False) -> tuple[Array, Array]:
    """Largest value of every window and the tap that held it (the first, in a tie).

    x (N, H, W, C) -> y (N, OH, OW, C), index (N, OH, OW, C) with tap i·KW + j. Padding counts as -infinity.
    With `relu` y = max(y, 0), and where it cuts off the index is KH·KW, that of no tap.
    """
    # relu belongs to a fused pair of the library: here it is False, and you may ignore it.
    # You may call pad_images: while this is graded, that is the library's.
    raise NotImplementedError("a3 max_pool")  # return y, index


def max_pool_backward(dy: Array, index: Array, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> Array:
    """The adjoint of `max_pool`: dy is ADDED to the pixel that won, since windows may overlap.

    dy, index (N, OH, OW, C) -> dx (N, H, W, C) = shape.
    """
    raise NotImplementedError("a3 max_pool_backward")  # return dx
