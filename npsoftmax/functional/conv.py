"""Two-dimensional convolution (cross-correlation, as every framework means it), three ways.

    y[n, i, j, f] = b[f] + Σ_{u, v, c} x[n, i·SH + u − PH, j·SW + v − PW, c] · w[u, v, c, f]

* `conv2d_naive_*`: the definition, in loops; slow, and the judge of the others.
* `conv2d_im2col_*`: all windows as one matrix, then `@`; what a student writes.
* `conv2d_tiled_*`: the same in small tiles inside a compiled kernel; what trains.

All agree, in every pass. x (N, H, W, C), w (KH, KW, C, F), b (F,) or None, y (N, OH, OW, F); stride (SH, SW) and pad
(PH, PW) are pairs. Each cache is (x, w, b is not None, stride, pad): columns are recomputed, never kept.
"""

from __future__ import annotations

from typing import Any

from npsoftmax import kernels
from npsoftmax.backend import Array, array_module
from npsoftmax.kernels import output_size
from npsoftmax.kernels.reference import Pair, pad_images

Grads = tuple[Array | None, Array, Array | None]


# ---------------------------------------------------------------- the definition
def conv2d_naive_forward(
    x: Array, w: Array, b: Array | None = None, stride: Pair = (1, 1), pad: Pair = (0, 0)
) -> tuple[Array, Any]:
    """y by the definition: one window and one dot product at a time (shapes: see the module)."""
    xp = array_module(x)
    (kh, kw, _, f), (sh, sw) = w.shape, stride
    oh, ow = output_size(x.shape[1], kh, sh, pad[0]), output_size(x.shape[2], kw, sw, pad[1])
    framed = pad_images(x, pad)
    y = xp.zeros((x.shape[0], oh, ow, f), dtype=x.dtype)
    for i in range(oh):
        for j in range(ow):
            window = framed[:, i * sh : i * sh + kh, j * sw : j * sw + kw]  # (N, KH, KW, C)
            y[:, i, j] = xp.tensordot(window, w, axes=3)
    if b is not None:
        y += b
    return y, (x, w, b is not None, stride, pad)


def conv2d_naive_backward(dy: Array, cache: Any, need_dx: bool = True) -> Grads:
    """Gradients of `conv2d_naive_forward`: each window passes its share back to the pixels and weights it met.

    dy (N, OH, OW, F) -> dx (N, H, W, C), dw (KH, KW, C, F), db (F,) or None
    """
    x, w, has_bias, (sh, sw), pad = cache
    xp = array_module(dy)
    kh, kw = w.shape[:2]
    framed = pad_images(x, pad)
    dframed, dw = xp.zeros(framed.shape, dtype=x.dtype), xp.zeros(w.shape, dtype=w.dtype)
    for i in range(dy.shape[1]):
        for j in range(dy.shape[2]):
            rows, columns = slice(i * sh, i * sh + kh), slice(j * sw, j * sw + kw)
            dw += xp.tensordot(framed[:, rows, columns], dy[:, i, j], axes=(0, 0))
            dframed[:, rows, columns] += xp.tensordot(dy[:, i, j], w, axes=(1, 3))
    dx = dframed[:, pad[0] : pad[0] + x.shape[1], pad[1] : pad[1] + x.shape[2]] if need_dx else None
    db = dy.sum(axis=(0, 1, 2)) if has_bias else None
    return dx, dw, db


# ---------------------------------------------------------------- columns and one matrix product
def conv2d_im2col_forward(
    x: Array, w: Array, b: Array | None = None, stride: Pair = (1, 1), pad: Pair = (0, 0)
) -> tuple[Array, Any]:
    """y = im2col(x) @ w + b (shapes: see the module)."""
    kh, kw, _, f = w.shape
    oh, ow = output_size(x.shape[1], kh, stride[0], pad[0]), output_size(x.shape[2], kw, stride[1], pad[1])
    cols = kernels.im2col(x, (kh, kw), stride, pad)  # (N·OH·OW, KH·KW·C)
    y = cols @ w.reshape(-1, f)
    if b is not None:
        y += b
    y = y.reshape(x.shape[0], oh, ow, f)
    return y, (x, w, b is not None, stride, pad)


def conv2d_im2col_backward(dy: Array, cache: Any, need_dx: bool = True) -> Grads:
    """Gradients of `conv2d_im2col_forward`: those of a dense layer, and col2im sends the columns' back to pixels.

    dy (N, OH, OW, F) -> dx (N, H, W, C), dw (KH, KW, C, F), db (F,) or None
    """
    x, w, has_bias, stride, pad = cache
    kh, kw, _, f = w.shape
    rows = dy.reshape(-1, f)  # (N·OH·OW, F)
    dw = (kernels.im2col(x, (kh, kw), stride, pad).T @ rows).reshape(w.shape)
    db = rows.sum(axis=0) if has_bias else None
    dx = kernels.col2im(rows @ w.reshape(-1, f).T, x.shape, (kh, kw), stride, pad) if need_dx else None
    return dx, dw, db


# ---------------------------------------------------------------- the same, tile by tile
def conv2d_tiled_forward(
    x: Array, w: Array, b: Array | None = None, stride: Pair = (1, 1), pad: Pair = (0, 0)
) -> tuple[Array, Any]:
    """y = im2col(x) @ w + b without ever holding the columns of the batch (shapes: see the module)."""
    y = kernels.conv2d_tiled(x, w, b, stride, pad)
    return y, (x, w, b is not None, stride, pad)


def conv2d_tiled_backward(dy: Array, cache: Any, need_dx: bool = True) -> Grads:
    """Gradients of `conv2d_tiled_forward`.

    dy (N, OH, OW, F) -> dx (N, H, W, C), dw (KH, KW, C, F), db (F,) or None
    """
    x, w, has_bias, stride, pad = cache
    dw = kernels.conv2d_tiled_dw(x, dy, w.shape[:2], stride, pad)
    db = dy.sum(axis=(0, 1, 2)) if has_bias else None
    dx = kernels.conv2d_tiled_dx(dy, w, x.shape, stride, pad) if need_dx else None
    return dx, dw, db
