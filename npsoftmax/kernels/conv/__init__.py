"""Convolution by columns in tiles, in registers (direct) and by Winograd; the array decides which version runs.

Which of the three algorithms a layer runs on is decided in `choice`. What each function does stands in `reference`. The
tiles are compiled from npsoftmax/_im2col.pyx (see `kernels.windows`), the others from _direct.pyx, _planar.pyx and
_winograd.pyx here. On a device only tiles have kernels of their own: the direct functions use those, Winograd's run on
the reference.
"""

from __future__ import annotations

from types import ModuleType

from npsoftmax.arguments import Shape, fit_convolution, refuse
from npsoftmax.backend import Array
from npsoftmax.kernels import elementwise, norm
from npsoftmax.kernels.conv import compiled, device, reference
from npsoftmax.kernels.conv.choice import TILES, has_winograd
from npsoftmax.kernels.dispatch import chooser
from npsoftmax.kernels.windows.reference import Pair, kernel_size

__all__ = [
    "conv2d_direct",
    "conv2d_direct_backward",
    "conv2d_direct_dw",
    "conv2d_direct_dx",
    "conv2d_tiled",
    "conv2d_tiled_backward",
    "conv2d_tiled_dw",
    "conv2d_tiled_dx",
    "conv2d_winograd",
    "conv2d_winograd_backward",
    "conv2d_winograd_dw",
    "conv2d_winograd_dx",
]

tiled_version_for = chooser(compiled.TILED, compiled, reference, device)
direct_version_for = chooser(compiled.DIRECT, compiled, reference)
winograd_version_for = chooser(compiled.WINOGRAD, compiled, reference)


# ---------------------------------------------------------------- in tiles: no column matrix of the batch
def conv2d_tiled(x: Array, w: Array, b: Array | None, stride: Pair, pad: Pair, relu: bool = False) -> Array:
    """y = im2col(x) @ w + b, and ReLU of it with `relu`; see `reference.conv2d_tiled`."""
    fit_convolution(x.shape, w.shape, None if b is None else b.shape, stride, pad)
    return tiled_version_for(x, w).conv2d_tiled(x, w, b, stride, pad, relu)


def conv2d_tiled_dw(x: Array, dy: Array, k: Pair, stride: Pair, pad: Pair) -> Array:
    """dw = im2col(x)ᵀ @ dy; see `reference.conv2d_tiled_dw`."""
    fit_convolution(x.shape, (*k, x.shape[-1], dy.shape[-1]), None, stride, pad, dy.shape)
    return tiled_version_for(x, dy).conv2d_tiled_dw(x, dy, k, stride, pad)


def conv2d_tiled_dx(dy: Array, w: Array, shape: tuple[int, ...], stride: Pair, pad: Pair) -> Array:
    """dx = col2im(dy @ wᵀ); see `reference.conv2d_tiled_dx`."""
    fit_convolution(shape, w.shape, None, stride, pad, dy.shape)
    return tiled_version_for(dy, w).conv2d_tiled_dx(dy, w, shape, stride, pad)


def conv2d_tiled_backward(x: Array, dy: Array, w: Array, stride: Pair, pad: Pair) -> tuple[Array, Array]:
    """dx and dw, which share what a device rounds dy to; see `reference.conv2d_tiled_backward`."""
    fit_convolution(x.shape, w.shape, None, stride, pad, dy.shape)
    return tiled_version_for(x, dy, w).conv2d_tiled_backward(x, dy, w, stride, pad)


# ---------------------------------------------------------------- in registers: few channels, stride 1
def _direct_for(a: Array, b: Array, *others: Array | None) -> ModuleType | None:
    """The version in registers, if _direct.pyx was built and takes the arrays; None: the tiles do the same."""
    version = direct_version_for(a, b, *others)
    return version if version is compiled and 0 not in a.shape and 0 not in b.shape else None


def conv2d_direct(x: Array, w: Array, b: Array | None, pad: Pair, relu: bool = False) -> Array:
    """y of `conv2d_tiled` at stride 1. w (KH, KW, C, F), b (F,) or None -> (N, OH, OW, F)."""
    fit_convolution(x.shape, w.shape, None if b is None else b.shape, (1, 1), pad)
    if direct := _direct_for(x, w):
        return direct.conv2d_direct(x, w, b, pad, relu)
    return conv2d_tiled(x, w, b, (1, 1), pad, relu)


def conv2d_direct_backward(
    x: Array, dy: Array, w: Array, pad: Pair, y: Array | None = None, need_dx: bool = True, need_db: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """dx, dw and db, None where not needed; with y (N, OH, OW, F) dy counts where that is above 0."""
    fit_convolution(x.shape, w.shape, None, (1, 1), pad, dy.shape)
    if y is not None and y.shape != dy.shape:
        raise refuse(f"y has shape {y.shape}, but that of dy, {dy.shape}, was expected.")
    direct = _direct_for(x, dy, w, y)
    if direct and direct.in_one_pass(dy, w, pad, y):
        return direct.conv2d_direct_backward(x, dy, w, pad, y, need_dx, need_db)
    if y is not None:
        dy = elementwise.relu_backward(dy, y)
    dx = conv2d_direct_dx(dy, w, x.shape, pad) if need_dx else None
    db = norm.column_sum(dy.reshape(-1, dy.shape[-1])) if need_db else None
    return dx, conv2d_direct_dw(x, dy, (w.shape[0], w.shape[1]), pad), db


def conv2d_direct_dw(x: Array, dy: Array, k: Pair, pad: Pair) -> Array:
    """dw of `conv2d_tiled_dw` at stride 1. dy (N, OH, OW, F) -> (KH, KW, C, F)."""
    fit_convolution(x.shape, (*k, x.shape[-1], dy.shape[-1]), None, (1, 1), pad, dy.shape)
    if direct := _direct_for(x, dy):
        return direct.conv2d_direct_dw(x, dy, k, pad)
    return conv2d_tiled_dw(x, dy, k, (1, 1), pad)


def conv2d_direct_dx(dy: Array, w: Array, shape: tuple[int, ...], pad: Pair) -> Array:
    """dx of `conv2d_tiled_dx` at stride 1: a convolution of dy with the kernel rotated by 180°."""
    fit_convolution(shape, w.shape, None, (1, 1), pad, dy.shape)
    kh, kw = w.shape[:2]
    if pad[0] >= kh or pad[1] >= kw:
        return conv2d_tiled_dx(dy, w, shape, (1, 1), pad)
    return conv2d_direct(dy, reference.rotated(w), None, (kh - 1 - pad[0], kw - 1 - pad[1]))


# ---------------------------------------------------------------- Winograd: 3x3 and 2x2 at stride 1
def conv2d_winograd(x: Array, w: Array, b: Array | None, pad: Pair, tile: int, relu: bool = False) -> Array:
    """y in tiles of (tile, tile) outputs, and ReLU of it with `relu`; see `reference.conv2d_winograd`."""
    _fit_winograd(x, w, None if b is None else b.shape, pad, tile)
    return winograd_version_for(x, w).conv2d_winograd(x, w, b, pad, tile, relu)


def conv2d_winograd_backward(x: Array, dy: Array, w: Array, pad: Pair, tile: int) -> tuple[Array, Array]:
    """dx and dw, which share the transform of dy; see `reference.conv2d_winograd_backward`."""
    _fit_winograd(x, w, None, pad, tile, dy.shape)
    return winograd_version_for(x, dy, w).conv2d_winograd_backward(x, dy, w, pad, tile)


def conv2d_winograd_dx(x: Array, dy: Array, w: Array, pad: Pair, tile: int) -> Array:
    """dx of `conv2d_winograd_backward` alone; x is read for its shape only."""
    _fit_winograd(x, w, None, pad, tile, dy.shape)
    return winograd_version_for(x, dy, w).conv2d_winograd_dx(x, dy, w, pad, tile)


def conv2d_winograd_dw(x: Array, dy: Array, w: Array, pad: Pair, tile: int) -> Array:
    """dw of `conv2d_winograd_backward` alone; w is read for its shape only."""
    _fit_winograd(x, w, None, pad, tile, dy.shape)
    return winograd_version_for(x, dy, w).conv2d_winograd_dw(x, dy, w, pad, tile)


def _fit_winograd(x: Array, w: Array, b: Shape | None, pad: Pair, tile: int, dy: Shape | None = None) -> None:
    fit_convolution(x.shape, w.shape, b, (1, 1), pad, dy)
    if not has_winograd(kernel_size(w), (1, 1)) or tile not in TILES[len(w)]:
        raise refuse(
            f"Winograd is for 3x3 kernels with tiles of 2, 3 or 4 and 2x2 with tiles of 3 or 4, not "
            f"{w.shape[0]}x{w.shape[1]} with {tile!r}."
        )
