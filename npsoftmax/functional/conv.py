"""Two-dimensional convolution (cross-correlation, as every framework means it), five ways.

The protocol, here as in every file of this folder:
    y, cache = thing_forward(x, …)          forward returns what backward needs,
    dx, …    = thing_backward(dy, cache)    backward returns what the optimiser or the layer before needs,
    and neither keeps anything, nor changes what it is given.

    y[n, i, j, f] = b[f] + Σ_{u, v, c} x[n, i·SH + u - PH, j·SW + v - PW, c] · w[u, v, c, f]

* `conv2d_naive_*`: the definition, in loops; slow, and the judge of the others.
* `conv2d_im2col_*`: all windows as one matrix, then `@`; what a student writes.
* `conv2d_tiled_*`: the same in small tiles inside a compiled kernel; what trains.
* `conv2d_direct_*`: the definition in registers, for few channels at stride 1; what trains there.
* `conv2d_winograd_*`: fewer multiplications, for 3x3 and 2x2 kernels at stride 1; what trains where it is faster.

All agree, in every pass. `conv2d_relu_*` are those that train with max(y, 0) in the same pass; their caches keep y.
x (N, H, W, C), w (KH, KW, C, F), b (F,) or None, y (N, OH, OW, F); stride (SH, SW) and pad (PH, PW) are pairs. Each
cache is (x, w, b is not None, stride, pad, …): columns are recomputed, never kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from npsoftmax import kernels
from npsoftmax.arguments import fit_convolution, gradient_like, operands, pair, real
from npsoftmax.autocast import activation_and, gradient_of
from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError
from npsoftmax.kernels import elementwise, norm, output_size
from npsoftmax.kernels.conv.choice import TILES, has_winograd
from npsoftmax.kernels.windows.reference import Pair, kernel_size, output_sizes, pad_images

Grads = tuple[Array | None, Array, Array | None]


# ---------------------------------------------------------------- the definition
def conv2d_naive_forward(
    x: Array, w: Array, b: Array | None = None, stride: Pair = (1, 1), pad: Pair = (0, 0)
) -> tuple[Array, Any]:
    """y by the definition: one window and one dot product at a time.

    x (N, H, W, C), w (KH, KW, C, F), b (F,) or None, stride (SH, SW) >= 1, pad (PH, PW) >= 0 -> y (N, OH, OW, F), with
    OH = (H + 2·PH - KH) // SH + 1, and OW likewise. InputError where shapes do not fit.
    """
    x, w, b, stride, pad = _given(x, w, b, stride, pad)
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
    """Gradients of `conv2d_naive_forward`: each window returns its share to its pixels and weights.

    dy (N, OH, OW, F) -> dx (N, H, W, C), dw (KH, KW, C, F), db (F,) or None
    """
    x, w, has_bias, (sh, sw), pad = cache
    dy = gradient_like(dy, fit_convolution(x.shape, w.shape, None, (sh, sw), pad))
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
    x, w, b, stride, pad = _given(x, w, b, stride, pad)
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
    dy = gradient_like(dy, fit_convolution(x.shape, w.shape, None, stride, pad))
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
    x, w, b, stride, pad = _given(x, w, b, stride, pad, activation_and)
    y = kernels.conv2d_tiled(x, w, b, stride, pad)
    return y, (x, w, b is not None, stride, pad)


def conv2d_tiled_backward(dy: Array, cache: Any, need_dx: bool = True) -> Grads:
    """Gradients of `conv2d_tiled_forward`.

    dy (N, OH, OW, F) -> dx (N, H, W, C), dw (KH, KW, C, F), db (F,) or None
    """
    x, w, has_bias, stride, pad = cache
    dy = gradient_of(x, dy)
    if need_dx:
        dx, dw = kernels.conv2d_tiled_backward(x, dy, w, stride, pad)
    else:
        dx, dw = None, kernels.conv2d_tiled_dw(x, dy, w.shape[:2], stride, pad)
    return dx, dw, _bias_gradient(dy, has_bias)


def conv2d_relu_tiled_forward(
    x: Array, w: Array, b: Array | None = None, stride: Pair = (1, 1), pad: Pair = (0, 0)
) -> tuple[Array, Any]:
    """y = max(im2col(x) @ w + b, 0), with max taken while a tile is in the cache (shapes: see the module)."""
    x, w, b, stride, pad = _given(x, w, b, stride, pad, activation_and)
    y = kernels.conv2d_tiled(x, w, b, stride, pad, relu=True)
    return y, (x, w, b is not None, stride, pad, y)


def conv2d_relu_tiled_backward(dy: Array, cache: Any, need_dx: bool = True) -> Grads:
    """Gradients of `conv2d_relu_tiled_forward`: dy counts where y > 0.

    dy (N, OH, OW, F) -> dx (N, H, W, C), dw (KH, KW, C, F), db (F,) or None
    """
    *conv_cache, y = cache
    dy = gradient_of(y, dy)
    return conv2d_tiled_backward(elementwise.relu_backward(dy, y), tuple(conv_cache), need_dx)


# ---------------------------------------------------------------- few channels
def conv2d_direct_forward(
    x: Array, w: Array, b: Array | None = None, stride: Pair = (1, 1), pad: Pair = (0, 0)
) -> tuple[Array, Any]:
    """y by the definition, in registers; shapes: see the module, with stride (1, 1). InputError for other strides."""
    x, w, b, stride, pad = _given(x, w, b, stride, pad)
    _check_direct(stride)
    return kernels.conv2d_direct(x, w, b, pad), (x, w, b is not None, stride, pad)


def conv2d_direct_backward(dy: Array, cache: Any, need_dx: bool = True) -> Grads:
    """Gradients of `conv2d_direct_forward`.

    dy (N, OH, OW, F) -> dx (N, H, W, C), dw (KH, KW, C, F), db (F,) or None
    """
    x, w, has_bias, _, pad = cache
    return kernels.conv2d_direct_backward(x, real(dy, "dy"), w, pad, None, need_dx, has_bias)


def conv2d_relu_direct_forward(
    x: Array, w: Array, b: Array | None = None, stride: Pair = (1, 1), pad: Pair = (0, 0)
) -> tuple[Array, Any]:
    """max(y, 0) of `conv2d_direct_forward`, taken as the outputs are written (shapes: see the module)."""
    x, w, b, stride, pad = _given(x, w, b, stride, pad)
    _check_direct(stride)
    y = kernels.conv2d_direct(x, w, b, pad, relu=True)
    return y, (x, w, b is not None, stride, pad, y)


def conv2d_relu_direct_backward(dy: Array, cache: Any, need_dx: bool = True) -> Grads:
    """Gradients of `conv2d_relu_direct_forward`: dy counts where y > 0.

    dy (N, OH, OW, F) -> dx (N, H, W, C), dw (KH, KW, C, F), db (F,) or None
    """
    x, w, has_bias, _, pad, y = cache
    return kernels.conv2d_direct_backward(x, real(dy, "dy"), w, pad, y, need_dx, has_bias)


def _check_direct(stride: Pair) -> None:
    if stride != (1, 1):
        raise InputError(
            f"direct convolution is for stride 1x1, but the stride is {stride[0]}x{stride[1]}. "
            'Use algorithm="tiled" or "auto".'
        )


# ---------------------------------------------------------------- fewer multiplications
def conv2d_winograd_forward(
    x: Array, w: Array, b: Array | None = None, stride: Pair = (1, 1), pad: Pair = (0, 0), tile: int | None = None
) -> tuple[Array, Any]:
    """y by Winograd's F(tile x tile, k x k); shapes: see the module, with KH = KW = k = 3 or 2 and stride (1, 1).

    tile: 2, 3 or 4, or for 2x2 3 or 4; None: the one with the fewest multiplications for this size of
    image. Derivation: docs/how-it-is-fast.md.
    Raises InputError for other kernels and strides.
    """
    x, w, b, stride, pad = _given(x, w, b, stride, pad)
    tile = check_winograd(x, w, stride, pad, tile)
    return kernels.conv2d_winograd(x, w, b, pad, tile), (x, w, b is not None, stride, pad, tile)


def conv2d_winograd_backward(dy: Array, cache: Any, need_dx: bool = True) -> Grads:
    """Gradients of `conv2d_winograd_forward`: its exact adjoint, so they are those of the same polynomials.

    dy (N, OH, OW, F) -> dx (N, H, W, C), dw (k, k, C, F), db (F,) or None
    """
    x, w, has_bias, _, pad, tile = cache
    dy = real(dy, "dy")
    if need_dx:
        dx, dw = kernels.conv2d_winograd_backward(x, dy, w, pad, tile)
    else:
        dx, dw = None, kernels.conv2d_winograd_dw(x, dy, w, pad, tile)
    return dx, dw, _bias_gradient(dy, has_bias)


def conv2d_relu_winograd_forward(
    x: Array, w: Array, b: Array | None = None, stride: Pair = (1, 1), pad: Pair = (0, 0), tile: int | None = None
) -> tuple[Array, Any]:
    """max(y, 0) of `conv2d_winograd_forward`, taken as the outputs are written (shapes: see the module)."""
    x, w, b, stride, pad = _given(x, w, b, stride, pad)
    tile = check_winograd(x, w, stride, pad, tile)
    y = kernels.conv2d_winograd(x, w, b, pad, tile, relu=True)
    return y, (x, w, b is not None, stride, pad, tile, y)


def conv2d_relu_winograd_backward(dy: Array, cache: Any, need_dx: bool = True) -> Grads:
    """Gradients of `conv2d_relu_winograd_forward`: dy counts where y > 0.

    dy (N, OH, OW, F) -> dx (N, H, W, C), dw (k, k, C, F), db (F,) or None
    """
    *conv_cache, y = cache
    dy = real(dy, "dy")
    return conv2d_winograd_backward(elementwise.relu_backward(dy, y), tuple(conv_cache), need_dx)


def check_winograd(x: Array, w: Array, stride: Pair, pad: Pair, tile: int | None) -> int:
    """The tile to use; InputError where Winograd's algorithm is not defined."""
    if not has_winograd(kernel_size(w), stride):
        raise InputError(
            "Winograd convolution is for 3x3 and 2x2 kernels at stride 1x1, but the kernel is "
            f"{w.shape[0]}x{w.shape[1]} and the stride {stride[0]}x{stride[1]}. "
            'Use algorithm="tiled" or "auto".'
        )
    k = len(w)
    if tile not in (None, *TILES[k]):
        sides = ", ".join(map(str, TILES[k]))
        raise InputError(f"Winograd tile is {tile!r}, but {sides} or None (choose by size) was expected for {k}x{k}.")
    return int(tile) if tile else kernels.winograd_tile(*output_sizes(x.shape, (k, k), stride, pad), k)


def _bias_gradient(dy: Array, has_bias: bool) -> Array | None:
    return norm.column_sum(dy.reshape(-1, dy.shape[-1])) if has_bias else None


def _given(
    x: Array, w: Array, b: Array | None, stride: Pair, pad: Pair, operands: Callable[..., Any] = operands
) -> tuple[Array, Array, Array | None, Pair, Pair]:
    """The arguments of a forward, where they fit. operands: what makes x, w and b real numbers."""
    x, w, b = operands(x, w, b)
    stride, pad = pair("stride", stride, 1), pair("pad", pad, 0)
    fit_convolution(x.shape, w.shape, None if b is None else b.shape, stride, pad)
    return x, w, b, stride, pad
