"""Winograd convolution, 3x3 at stride 1: the array's type decides which version runs; see `winograd_reference`."""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array, array_module, get_threads, single_threaded_blas
from npsoftmax.kernels import winograd_reference as reference
from npsoftmax.kernels.conv import bias_or_zeros
from npsoftmax.kernels.dispatch import compiled
from npsoftmax.kernels.reference import Pair

# Tiles that go through the three steps together: enough rows for a fast matrix product, few enough that the
# transformed tiles stay in the last-level cache.
TILES = 256


def winograd_tile(oh: int, ow: int) -> int:
    """2 or 4: the side of a tile of outputs that needs fewer multiplications for an image of (OH, OW)."""
    work = {m: (m + 2) ** 2 * -(-oh // m) * -(-ow // m) for m in (2, 4)}
    return 4 if work[4] < work[2] else 2


def conv2d_winograd(x: Array, w: Array, b: Array | None, pad: Pair, tile: int, relu: bool = False) -> Array:
    """y of `winograd_reference.conv2d_winograd`; with `relu` max(y, 0), taken as the outputs are written."""
    fast = compiled("_winograd", x, w)
    if fast is None or 0 in x.shape or 0 in w.shape:
        y = reference.conv2d_winograd(x, w, b, pad, tile)
        return array_module(x).maximum(y, 0) if relu else y
    n, h, width, _ = x.shape
    y = np.empty((n, h + 2 * pad[0] - 2, width + 2 * pad[1] - 2, w.shape[3]), dtype=x.dtype)
    images, v, products = _room(x, y, tile)
    with single_threaded_blas():
        u = _transformed(fast, w, tile)
        bias = bias_or_zeros(b, x, w)
        fast.forward(np.ascontiguousarray(x), u, bias, relu, y, v, products, tile, *pad, images, get_threads())
    return y


def conv2d_winograd_backward(x: Array, dy: Array, w: Array, pad: Pair, tile: int) -> tuple[Array, Array]:
    """dx and dw, which share the transform of dy; see `winograd_reference.conv2d_winograd_backward`."""
    return _backward(x, dy, w, pad, tile)


def conv2d_winograd_dx(x: Array, dy: Array, w: Array, pad: Pair, tile: int) -> Array:
    """dx of `conv2d_winograd_backward` alone; x is read for its shape only."""
    return _backward(x, dy, w, pad, tile, need_dw=False)[0]


def conv2d_winograd_dw(x: Array, dy: Array, w: Array, pad: Pair, tile: int) -> Array:
    """dw of `conv2d_winograd_backward` alone; w is read for its shape only."""
    return _backward(x, dy, w, pad, tile, need_dx=False)[1]


def _backward(
    x: Array, dy: Array, w: Array, pad: Pair, tile: int, need_dx: bool = True, need_dw: bool = True
) -> tuple[Array, Array]:
    fast = compiled("_winograd", x, dy, w)
    if fast is None or 0 in dy.shape or 0 in w.shape:
        return reference.conv2d_winograd_backward(x, dy, w, pad, tile)
    threads = get_threads()
    positions, c, f = (tile + 2) ** 2, x.shape[3], dy.shape[3]
    dx = np.empty(x.shape if need_dx else (1,) * 4, dtype=x.dtype)
    du = np.empty((positions, c, f), dtype=x.dtype)
    images, v, dproducts = _room(x, dy, tile)
    with single_threaded_blas():
        u = _transformed(fast, w, tile) if need_dx else du
        fast.backward(
            *(np.ascontiguousarray(x), np.ascontiguousarray(dy), u, dx, du, v, dproducts),
            *(tile, *pad, images, need_dx, need_dw, threads),
        )
    dw = np.empty((3, 3, c, f), dtype=x.dtype)
    if need_dw:
        fast.transform_kernel_adjoint(du, dw, tile, threads)
    return dx, dw


def _transformed(fast: Any, w: np.ndarray, tile: int) -> np.ndarray:
    """U = G w Gᵀ, (positions, C, F)."""
    u = np.empty(((tile + 2) ** 2, *w.shape[2:]), dtype=w.dtype)
    fast.transform_kernel(np.ascontiguousarray(w), u, tile, get_threads())
    return u


def _room(x: np.ndarray, y: np.ndarray, tile: int) -> tuple[int, np.ndarray, np.ndarray]:
    """Images that are done together (a multiple of the threads), and room for their tiles at each position."""
    tiles, threads = -(-y.shape[1] // tile) * -(-y.shape[2] // tile), get_threads()
    images = min(x.shape[0], -(-max(TILES // tiles, 1) // threads) * threads)
    # 16 more: positions a power of two apart would fall on the same lines of the cache.
    sizes = (images * tiles * array.shape[3] + 16 for array in (x, y))
    v, products = (np.empty(((tile + 2) ** 2, size), dtype=x.dtype) for size in sizes)
    return images, v, products
