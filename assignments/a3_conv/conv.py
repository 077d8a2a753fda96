"""Convolution by its definition and as one matrix product, and max-pooling with windows that overlap.

Replace each `raise NotImplementedError`, then type

    npsoftmax grade a3

The page that goes with it: README.md in this folder.

Array is a NumPy array. Its shape is in the docstring: (N,) is a vector, () a single number, and (…, C) has any axes
before the last one. If float32 comes in, let float32 go out: the page says how.
Pair is two ints, height first. Grads is the three results of a backward, (dx, dw, db).

    output_size(size, k, stride, pad) -> int

is the number of output positions along ONE axis: OH = output_size(H, KH, SH, PH), and
OW = output_size(W, KW, SW, PW).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.functional.conv import Grads
from npsoftmax.kernels.windows.reference import Pair, output_size


def pad_images(x: Array, pad: Pair, value: float = 0.0) -> Array:
    """Every image with a border of `value`, pad = (PH, PW) wide. x (N, H, W, C) -> (N, H + 2·PH, W + 2·PW, C)."""
    raise NotImplementedError("a3 pad_images")  # return padded


def conv2d_naive_forward(
    x: Array, w: Array, b: Array | None = None, stride: Pair = (1, 1), pad: Pair = (0, 0)
) -> tuple[Array, Any]:
    """y by the definition: one window and one dot product at a time.

    x (N, H, W, C), w (KH, KW, C, F), b (F,) or None, stride (SH, SW), pad (PH, PW) -> y (N, OH, OW, F)
    """
    # The cache is (x, w, b is not None, stride, pad): x (N, H, W, C), w (KH, KW, C, F), True or False, and the two
    # pairs.
    # You may call pad_images: while this is graded, that is the library's.
    raise NotImplementedError("a3 conv2d_naive_forward")  # return y, cache


def conv2d_naive_backward(dy: Array, cache: Any, need_dx: bool = True) -> Grads:
    """Gradients of `conv2d_naive_forward`, in the same loops.

    dy (N, OH, OW, F) -> dx (N, H, W, C), dw (KH, KW, C, F), db (F,), or None where there is no bias. need_dx=False
    means that nobody needs dx: you may compute it all the same.

    Formula: for each window dw += windowᵀ · dy_ij and dpixels += dy_ij · wᵀ; db = Σ_{n, i, j} dy.
    """
    # The cache is (x, w, b is not None, stride, pad): x (N, H, W, C), w (KH, KW, C, F), True or False, and the two
    # pairs.
    x, w, has_bias, (sh, sw), pad = cache
    # You may call pad_images: while this is graded, that is the library's.
    raise NotImplementedError("a3 conv2d_naive_backward")  # return dx, dw, db


def im2col(x: Array, k: Pair, stride: Pair, pad: Pair) -> Array:
    """Columns of a convolution: a row for each output position, a column for each number of its window.

    x (N, H, W, C), k (KH, KW), stride (SH, SW), pad (PH, PW) -> cols (N·OH·OW, KH·KW·C), the channels fastest
    """
    # You may call pad_images: while this is graded, that is the library's.
    raise NotImplementedError("a3 im2col")  # return cols


def col2im(cols: Array, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> Array:
    """The adjoint of `im2col`: every entry of the columns is ADDED to the pixel that im2col would read it from.

    cols (N·OH·OW, KH·KW·C), shape (N, H, W, C), k (KH, KW), stride (SH, SW), pad (PH, PW) -> x of that shape
    """
    raise NotImplementedError("a3 col2im")  # return x


def conv2d_im2col_forward(
    x: Array, w: Array, b: Array | None = None, stride: Pair = (1, 1), pad: Pair = (0, 0)
) -> tuple[Array, Any]:
    """The same convolution as one product: y = cols @ w + b, with the columns of `im2col` and w as a matrix.

    x (N, H, W, C), w (KH, KW, C, F), b (F,) or None, stride (SH, SW), pad (PH, PW) -> y (N, OH, OW, F)
    """
    # The cache is (x, w, b is not None, stride, pad): x (N, H, W, C), w (KH, KW, C, F), True or False, and the two
    # pairs.
    # You may call im2col: while this is graded, that is the library's.
    raise NotImplementedError("a3 conv2d_im2col_forward")  # return y, cache


def conv2d_im2col_backward(dy: Array, cache: Any, need_dx: bool = True) -> Grads:
    """Gradients of `conv2d_im2col_forward`, with matrix products, `im2col` and `col2im`.

    dy (N, OH, OW, F) -> dx (N, H, W, C), dw (KH, KW, C, F), db (F,), or None where there is no bias. need_dx=False
    means that nobody needs dx: you may compute it all the same.

    Formula: with dy as rows (N·OH·OW, F), dw = colsᵀ @ rows, db = Σ rows, dcols = rows @ wᵀ, dx = col2im(dcols).
    """
    # The cache is (x, w, b is not None, stride, pad): x (N, H, W, C), w (KH, KW, C, F), True or False, and the two
    # pairs.
    x, w, has_bias, stride, pad = cache
    # You may call im2col and col2im: while this is graded, these are the library's.
    raise NotImplementedError("a3 conv2d_im2col_backward")  # return dx, dw, db


def max_pool(x: Array, k: Pair, stride: Pair, pad: Pair, relu: bool = False) -> tuple[Array, Array]:
    """The largest value of every window, and which of its taps held it (the first, in a tie).

    x (N, H, W, C), k (KH, KW), stride (SH, SW), pad (PH, PW) -> y (N, OH, OW, C), index (N, OH, OW, C): integers
    u·KW + v for the tap (u, v). Padding counts as -infinity.
    """
    # relu belongs to a fused pair of the library: here it is False, and you may ignore it.
    # You may call pad_images: while this is graded, that is the library's.
    raise NotImplementedError("a3 max_pool")  # return y, index


def max_pool_backward(dy: Array, index: Array, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> Array:
    """Gradient of `max_pool` with respect to x, from dy and the index that the forward gave.

    dy, index (N, OH, OW, C), shape (N, H, W, C), k (KH, KW), stride (SH, SW), pad (PH, PW) -> dx of that shape

    Formula: each dy is ADDED to the pixel that won its window, since windows may overlap.
    """
    raise NotImplementedError("a3 max_pool_backward")  # return dx
