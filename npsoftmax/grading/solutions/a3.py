"""Convolution by its definition and as one matrix product, and max-pooling with windows that overlap."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.functional.conv import Grads
from npsoftmax.kernels.windows.reference import Pair, output_size


# ---------------------------------------------------------------- step 1
def pad_images(x: Array, pad: Pair, value: float = 0.0) -> Array:
    """Every image with a border of `value`, pad = (PH, PW) wide. x (N, H, W, C) -> (N, H + 2·PH, W + 2·PW, C)."""
    ph, pw = pad
    return np.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0)), constant_values=value)


# ---------------------------------------------------------------- step 2
def conv2d_naive_forward(
    x: Array, w: Array, b: Array | None = None, stride: Pair = (1, 1), pad: Pair = (0, 0)
) -> tuple[Array, Any]:
    """y by the definition: one window and one dot product at a time.

    x (N, H, W, C), w (KH, KW, C, F), b (F,) or None, stride (SH, SW), pad (PH, PW) -> y (N, OH, OW, F)
    """
    n, h, width, _ = x.shape
    kh, kw, _, f = w.shape
    sh, sw = stride
    oh, ow = output_size(h, kh, sh, pad[0]), output_size(width, kw, sw, pad[1])
    padded = pad_images(x, pad)
    y = np.zeros((n, oh, ow, f), dtype=x.dtype)
    for i in range(oh):
        for j in range(ow):
            window = padded[:, i * sh : i * sh + kh, j * sw : j * sw + kw]  # (N, KH, KW, C)
            y[:, i, j] = np.tensordot(window, w, axes=3)
    if b is not None:
        y = y + b
    return y, (x, w, b is not None, stride, pad)


def conv2d_naive_backward(dy: Array, cache: Any, need_dx: bool = True) -> Grads:
    """Gradients of `conv2d_naive_forward`, in the same loops.

    dy (N, OH, OW, F) -> dx (N, H, W, C), dw (KH, KW, C, F), db (F,), or None where there is no bias. need_dx=False
    means that nobody needs dx: you may compute it all the same.

    Formula: for each window dw += windowᵀ · dy_ij and dpixels += dy_ij · wᵀ; db = Σ_{n, i, j} dy.
    """
    x, w, has_bias, (sh, sw), pad = cache
    kh, kw = w.shape[:2]
    padded = pad_images(x, pad)
    dpadded = np.zeros(padded.shape, dtype=x.dtype)
    dw = np.zeros(w.shape, dtype=w.dtype)
    for i in range(dy.shape[1]):
        for j in range(dy.shape[2]):
            rows, columns = slice(i * sh, i * sh + kh), slice(j * sw, j * sw + kw)
            dw += np.tensordot(padded[:, rows, columns], dy[:, i, j], axes=(0, 0))
            dpadded[:, rows, columns] += np.tensordot(dy[:, i, j], w, axes=(1, 3))
    dx = dpadded[:, pad[0] : pad[0] + x.shape[1], pad[1] : pad[1] + x.shape[2]]
    db = dy.sum(axis=(0, 1, 2)) if has_bias else None
    return dx, dw, db


# ---------------------------------------------------------------- step 3
def im2col(x: Array, k: Pair, stride: Pair, pad: Pair) -> Array:
    """Columns of a convolution: a row for each output position, a column for each number of its window.

    x (N, H, W, C), k (KH, KW), stride (SH, SW), pad (PH, PW) -> cols (N·OH·OW, KH·KW·C), the channels fastest
    """
    n, h, w, c = x.shape
    (kh, kw), (sh, sw) = k, stride
    oh, ow = output_size(h, kh, sh, pad[0]), output_size(w, kw, sw, pad[1])
    padded = pad_images(x, pad)
    cols = np.empty((n, oh, ow, kh, kw, c), dtype=x.dtype)
    for u in range(kh):
        for v in range(kw):
            cols[:, :, :, u, v] = padded[:, u : u + sh * oh : sh, v : v + sw * ow : sw]
    return cols.reshape(n * oh * ow, kh * kw * c)


# ---------------------------------------------------------------- step 4
def col2im(cols: Array, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> Array:
    """The adjoint of `im2col`: every entry of the columns is ADDED to the pixel that im2col would read it from.

    cols (N·OH·OW, KH·KW·C), shape (N, H, W, C), k (KH, KW), stride (SH, SW), pad (PH, PW) -> x of that shape
    """
    n, h, w, c = shape
    (kh, kw), (sh, sw), (ph, pw) = k, stride, pad
    oh, ow = output_size(h, kh, sh, ph), output_size(w, kw, sw, pw)
    cols = cols.reshape(n, oh, ow, kh, kw, c)
    padded = np.zeros((n, h + 2 * ph, w + 2 * pw, c), dtype=cols.dtype)
    for u in range(kh):
        for v in range(kw):
            padded[:, u : u + sh * oh : sh, v : v + sw * ow : sw] += cols[:, :, :, u, v]
    return padded[:, ph : ph + h, pw : pw + w]


# ---------------------------------------------------------------- step 5
def conv2d_im2col_forward(
    x: Array, w: Array, b: Array | None = None, stride: Pair = (1, 1), pad: Pair = (0, 0)
) -> tuple[Array, Any]:
    """The same convolution as one product: y = cols @ w + b, with the columns of `im2col` and w as a matrix.

    x (N, H, W, C), w (KH, KW, C, F), b (F,) or None, stride (SH, SW), pad (PH, PW) -> y (N, OH, OW, F)
    """
    n, h, width, _ = x.shape
    kh, kw, _, f = w.shape
    oh, ow = output_size(h, kh, stride[0], pad[0]), output_size(width, kw, stride[1], pad[1])
    y = im2col(x, (kh, kw), stride, pad) @ w.reshape(-1, f)  # (N·OH·OW, F)
    if b is not None:
        y = y + b
    return y.reshape(n, oh, ow, f), (x, w, b is not None, stride, pad)


def conv2d_im2col_backward(dy: Array, cache: Any, need_dx: bool = True) -> Grads:
    """Gradients of `conv2d_im2col_forward`, with matrix products, `im2col` and `col2im`.

    dy (N, OH, OW, F) -> dx (N, H, W, C), dw (KH, KW, C, F), db (F,), or None where there is no bias. need_dx=False
    means that nobody needs dx: you may compute it all the same.

    Formula: with dy as rows (N·OH·OW, F), dw = colsᵀ @ rows, db = Σ rows, dcols = rows @ wᵀ, dx = col2im(dcols).
    """
    x, w, has_bias, stride, pad = cache
    kh, kw, _, f = w.shape
    rows = dy.reshape(-1, f)
    cols = im2col(x, (kh, kw), stride, pad)
    dw = (cols.T @ rows).reshape(w.shape)
    db = rows.sum(axis=0) if has_bias else None
    dcols = rows @ w.reshape(-1, f).T
    dx = col2im(dcols, x.shape, (kh, kw), stride, pad)
    return dx, dw, db


# ---------------------------------------------------------------- step 6
def max_pool(x: Array, k: Pair, stride: Pair, pad: Pair, relu: bool = False) -> tuple[Array, Array]:
    """The largest value of every window, and which of its taps held it (the first, in a tie).

    x (N, H, W, C), k (KH, KW), stride (SH, SW), pad (PH, PW) -> y (N, OH, OW, C), index (N, OH, OW, C): integers
    u·KW + v for the tap (u, v). Padding counts as -infinity.
    """
    _, h, w, _ = x.shape
    (kh, kw), (sh, sw) = k, stride
    oh, ow = output_size(h, kh, sh, pad[0]), output_size(w, kw, sw, pad[1])
    padded = pad_images(x, pad, -math.inf)
    y = padded[:, : sh * oh : sh, : sw * ow : sw]  # what tap (0, 0) sees
    index = np.zeros(y.shape, dtype=int)
    for u in range(kh):
        for v in range(kw):
            seen = padded[:, u : u + sh * oh : sh, v : v + sw * ow : sw]
            larger = seen > y
            y = np.where(larger, seen, y)
            index = np.where(larger, u * kw + v, index)
    return y, index


def max_pool_backward(dy: Array, index: Array, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> Array:
    """Gradient of `max_pool` with respect to x, from dy and the index that the forward gave.

    dy, index (N, OH, OW, C), shape (N, H, W, C), k (KH, KW), stride (SH, SW), pad (PH, PW) -> dx of that shape

    Formula: each dy is ADDED to the pixel that won its window, since windows may overlap.
    """
    n, h, w, c = shape
    (kh, kw), (sh, sw), (ph, pw) = k, stride, pad
    oh, ow = dy.shape[1:3]
    padded = np.zeros((n, h + 2 * ph, w + 2 * pw, c), dtype=dy.dtype)
    for u in range(kh):
        for v in range(kw):
            won = np.where(index == u * kw + v, dy, 0)
            padded[:, u : u + sh * oh : sh, v : v + sw * ow : sw] += won
    return padded[:, ph : ph + h, pw : pw + w]
