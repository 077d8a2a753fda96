"""Calls of npsoftmax/_im2col.pyx (tiles), _direct.pyx, _planar.pyx and _winograd.pyx: NumPy arrays of one type.

All are float32 or all float64.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.host import get_threads, single_threaded_blas
from npsoftmax.kernels import elementwise
from npsoftmax.kernels.conv import reference
from npsoftmax.kernels.dispatch import threads_for_products
from npsoftmax.kernels.extension import load_extension
from npsoftmax.kernels.matmul import matmul
from npsoftmax.kernels.windows.reference import Pair, output_sizes

TILED = "npsoftmax._im2col"
DIRECT, PLANAR, WINOGRAD = (f"{__package__}.{name}" for name in ("_direct", "_planar", "_winograd"))

# Batches of up to so many output positions are one tile. Then the threads share its product, so that each of them reads
# a part of the weights only.
ONE_TILE = 256

# Winograd's tiles that go through the three steps together: enough rows for a fast matrix product, few enough that the
# transformed tiles stay in the last-level cache. Weights of more than WIDE numbers a position do not fit into the
# second level: twice the rows read them half as often, which is 18 % of the time from 768 to 512 channels. Of at most
# NARROW numbers, products are fast with a quarter of the rows too, and the tiles stay nearer: 10 to 20 % of the time.
TILES, NARROW, WIDE = 256, 8192, 32768

# Pixels side by side pay for taking images apart into planes where windows have DEEP numbers (with ReLU's zeros a third
# of that); for gradients also where weights are FEW_SUMS or no more than the pixels, and an image's planes fit into
# the second-level CACHE (bytes).
DEEP, FEW_SUMS, CACHE = 27, 1024, 2**21


# ---------------------------------------------------------------- in tiles
def conv2d_tiled(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, stride: Pair, pad: Pair, relu: bool) -> Array:
    """See `reference.conv2d_tiled`: a few rows of columns at a time, with ReLU while a tile is still in the cache."""
    k = w.shape[:2]
    oh, ow = output_sizes(x.shape, k, stride, pad)
    if x.shape[0] * oh * ow <= ONE_TILE:
        return reference.conv2d_tiled(x, w, b, stride, pad, relu)
    if _is_product(k, stride, pad):
        rows = matmul(_pixels(x), _matrix(w), b)
        return (elementwise.relu(rows) if relu else rows).reshape(x.shape[0], oh, ow, w.shape[3])
    y = np.empty((x.shape[0], oh, ow, w.shape[3]), dtype=x.dtype)
    arrays = np.ascontiguousarray(x), _matrix(w), _bias_or_zeros(b, x, w)
    with single_threaded_blas():
        load_extension(TILED)[0].conv_forward(*arrays, relu, y, *k, *stride, *pad, get_threads())
    return y


def conv2d_tiled_dw(x: np.ndarray, dy: np.ndarray, k: Pair, stride: Pair, pad: Pair) -> Array:
    """See `reference.conv2d_tiled_dw`: a few rows of columns at a time."""
    if dy[..., 0].size <= ONE_TILE:
        return reference.conv2d_tiled_dw(x, dy, k, stride, pad)
    c, f = x.shape[3], dy.shape[3]
    if _is_product(k, stride, pad):
        return matmul(_pixels(x).T, _pixels(dy)).reshape(1, 1, c, f)
    # One sum for each thread, added in a fixed order: the same result for the same number of threads.
    partial = np.zeros((get_threads(), k[0] * k[1] * c, f), dtype=x.dtype)
    arrays = np.ascontiguousarray(x), np.ascontiguousarray(dy), partial
    with single_threaded_blas():
        load_extension(TILED)[0].conv_backward_weight(*arrays, *k, *stride, *pad)
    return _sum_of_threads(partial).reshape(*k, c, f)


def conv2d_tiled_dx(dy: np.ndarray, w: np.ndarray, shape: tuple[int, ...], stride: Pair, pad: Pair) -> Array:
    """See `reference.conv2d_tiled_dx`. At stride 1 a convolution of dy with the kernel rotated by 180°: no scatter."""
    if dy[..., 0].size <= ONE_TILE:
        return reference.conv2d_tiled_dx(dy, w, shape, stride, pad)
    kh, kw = w.shape[:2]
    if stride == (1, 1) and pad[0] < kh and pad[1] < kw:
        return conv2d_tiled(
            dy, np.ascontiguousarray(reference.rotated(w)), None, stride, (kh - 1 - pad[0], kw - 1 - pad[1]), False
        )
    dx = np.empty(shape, dtype=dy.dtype)
    arrays = np.ascontiguousarray(dy), _matrix(w), dx
    with single_threaded_blas():
        load_extension(TILED)[0].conv_backward_input(*arrays, kh, kw, *stride, *pad, get_threads())
    return dx


def conv2d_tiled_backward(x: np.ndarray, dy: np.ndarray, w: np.ndarray, stride: Pair, pad: Pair) -> tuple[Array, Array]:
    """See `reference.conv2d_tiled_backward`."""
    dw = conv2d_tiled_dw(x, dy, (w.shape[0], w.shape[1]), stride, pad)
    return conv2d_tiled_dx(dy, w, x.shape, stride, pad), dw


def _is_product(k: Pair, stride: Pair, pad: Pair) -> bool:
    """Whether the columns of a convolution are the pixels themselves, so that it is one matrix product."""
    return k == stride == (1, 1) and pad == (0, 0)


def _pixels(x: np.ndarray) -> np.ndarray:
    """x (N, H, W, C) -> (N·H·W, C)."""
    return np.ascontiguousarray(x).reshape(-1, x.shape[3])


def _sum_of_threads(partial: np.ndarray) -> np.ndarray:
    """The sums that threads have made, added up in their order: (threads, …) -> (…)."""
    return functools.reduce(elementwise.add, partial)


def _matrix(w: np.ndarray) -> np.ndarray:
    """w (KH, KW, C, F) -> (KH·KW·C, F)."""
    return np.ascontiguousarray(w).reshape(-1, w.shape[3])


def _bias_or_zeros(b: np.ndarray | None, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The bias as the compiled kernels take it: never None."""
    return np.zeros(w.shape[3], dtype=x.dtype) if b is None else np.ascontiguousarray(b, dtype=x.dtype)


# ---------------------------------------------------------------- in registers
def conv2d_direct(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, pad: Pair, relu: bool) -> np.ndarray:
    """y of `conv2d_tiled` at stride 1; no array is empty."""
    k, f = w.shape[:2], w.shape[3]
    y = np.empty((x.shape[0], *output_sizes(x.shape, k, (1, 1), pad), f), dtype=x.dtype)
    numbers = w[..., 0].size
    threads = threads_for_products(y.size * numbers)
    by_pixels, by_outputs = filled(y.shape[2], f, w.itemsize)
    if numbers >= DEEP and by_outputs < 1 and by_pixels >= by_outputs:
        arrays = np.ascontiguousarray(x), _matrix(w), _bias_or_zeros(b, x, w)
        load_extension(PLANAR)[0].forward(*arrays, relu, y, *k, *pad, threads)
        return y
    fast = load_extension(DIRECT)[0]
    lanes = fast.lanes_for(f, w.itemsize)
    weights, bias = np.zeros((numbers, lanes), dtype=w.dtype), np.zeros(lanes, dtype=w.dtype)
    weights[:, :f] = w.reshape(-1, f)
    bias[:f] = 0 if b is None else b
    fast.forward(np.ascontiguousarray(x), weights, bias, relu, y, *k, *pad, threads)
    return y


def filled(pixels: int, outputs: int, itemsize: int) -> tuple[float, float]:
    """The share of the lanes of vectors that so many pixels of a row fill, and so many outputs.

    The first is 0 where it is half or less, and pixels are not worth it, without _planar.pyx, and in float64: that is
    for checks, whose bounds know the order of the sums by outputs.
    """
    planar = load_extension(PLANAR)[0]
    lanes = load_extension(DIRECT)[0].lanes_for(1, itemsize)
    by_pixels, by_outputs = (n / (-(-n // lanes) * lanes) for n in (pixels, outputs))
    return by_pixels if planar is not None and itemsize == 4 and by_pixels > 0.5 else 0.0, by_outputs


def in_one_pass(dy: np.ndarray, w: np.ndarray, pad: Pair, y: np.ndarray | None) -> bool:
    """Whether dx, dw and db are faster in one pass. Not asked is whether dx is needed: dw is the same without it."""
    (n, oh, ow, f), (kh, kw, c, _) = dy.shape, w.shape
    by_pixels, by_outputs = filled(ow, f, dy.itemsize)
    fuller = by_pixels >= by_outputs and (by_outputs < 1 or y is not None)
    deep = kh * kw * c >= (DEEP if y is None else DEEP // 3)
    few = w.size <= max(FEW_SUMS, n * oh * ow) and (c + f) * oh * ow * dy.itemsize <= CACHE
    return fuller and deep and few and pad[0] < kh and pad[1] < kw


def conv2d_direct_backward(
    x: np.ndarray, dy: np.ndarray, w: np.ndarray, pad: Pair, y: np.ndarray | None, need_dx: bool, need_db: bool
) -> tuple[Array | None, Array, Array | None]:
    """dx, dw and db, each image taken apart once; float32, PH < KH, PW < KW, no array is empty."""
    fast, (kh, kw, c, f) = load_extension(PLANAR)[0], w.shape
    threads = threads_for_products(dy.size * kh * kw * c)
    # One sum for each thread, added in a fixed order: the same result for the same number of threads.
    partial = np.empty((threads, w.size + f), dtype=np.float32)
    nothing = np.empty((0,) * 4, dtype=np.float32)
    dx = np.empty(x.shape, dtype=np.float32) if need_dx else nothing
    arrays = (np.ascontiguousarray(a) for a in (x, dy, nothing if y is None else y))
    fast.backward(*arrays, _matrix(reference.rotated(w)), dx, partial, kh, kw, *pad)
    sums = _sum_of_threads(partial)
    return dx if need_dx else None, sums[: w.size].reshape(w.shape), sums[w.size :].copy() if need_db else None


def conv2d_direct_dw(x: np.ndarray, dy: np.ndarray, k: Pair, pad: Pair) -> np.ndarray:
    """dw of `conv2d_tiled_dw` at stride 1; no array is empty."""
    fast, c, f = load_extension(DIRECT)[0], x.shape[3], dy.shape[3]
    # One sum for each thread, added in a fixed order: the same result for the same number of threads.
    threads = threads_for_products(dy.size * k[0] * k[1] * c)
    partial = np.zeros((threads, k[0] * k[1] * c, fast.lanes_for(f, dy.itemsize)), dtype=x.dtype)
    fast.backward_weight(np.ascontiguousarray(x), np.ascontiguousarray(dy), partial, *k, *pad)
    return np.ascontiguousarray(_sum_of_threads(partial)[:, :f]).reshape(*k, c, f)


# ---------------------------------------------------------------- Winograd
def conv2d_winograd(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, pad: Pair, tile: int, relu: bool) -> Array:
    """See `reference.conv2d_winograd`; ReLU is taken as the outputs are written."""
    if 0 in x.shape or 0 in w.shape:
        return reference.conv2d_winograd(x, w, b, pad, tile, relu)
    fast = load_extension(WINOGRAD)[0]
    y = np.empty((len(x), *output_sizes(x.shape, w.shape[:2], (1, 1), pad), w.shape[3]), dtype=x.dtype)
    images, v, products = _room(x, y, tile + len(w) - 1, tile)
    with single_threaded_blas():
        u = _transformed(fast, w, tile)
        bias = _bias_or_zeros(b, x, w)
        fast.forward(np.ascontiguousarray(x), u, bias, relu, y, v, products, tile, *pad, images, get_threads())
    return y


def conv2d_winograd_backward(
    x: np.ndarray, dy: np.ndarray, w: np.ndarray, pad: Pair, tile: int, need_dx: bool = True, need_dw: bool = True
) -> tuple[Array, Array]:
    """See `reference.conv2d_winograd_backward`; what is not needed is not filled in."""
    if 0 in dy.shape or 0 in w.shape:
        return reference.conv2d_winograd_backward(x, dy, w, pad, tile)
    fast, threads = load_extension(WINOGRAD)[0], get_threads()
    side, c, f = tile + len(w) - 1, x.shape[3], dy.shape[3]
    dx = np.empty(x.shape if need_dx else (1,) * 4, dtype=x.dtype)
    du = np.empty((side**2, c, f), dtype=x.dtype)
    images, v, dproducts = _room(x, dy, side, tile)
    with single_threaded_blas():
        u = _transformed(fast, w, tile) if need_dx else du
        arrays = np.ascontiguousarray(x), np.ascontiguousarray(dy), u, dx, du, v, dproducts
        fast.backward(*arrays, tile, *pad, images, need_dx, need_dw, threads)
    dw = np.empty(w.shape, dtype=x.dtype)
    if need_dw:
        fast.transform_kernel_adjoint(du, dw, tile, threads)
    return dx, dw


def conv2d_winograd_dx(x: np.ndarray, dy: np.ndarray, w: np.ndarray, pad: Pair, tile: int) -> Array:
    """See `reference.conv2d_winograd_dx`."""
    return conv2d_winograd_backward(x, dy, w, pad, tile, need_dw=False)[0]


def conv2d_winograd_dw(x: np.ndarray, dy: np.ndarray, w: np.ndarray, pad: Pair, tile: int) -> Array:
    """See `reference.conv2d_winograd_dw`."""
    return conv2d_winograd_backward(x, dy, w, pad, tile, need_dx=False)[1]


def _transformed(fast: Any, w: np.ndarray, tile: int) -> np.ndarray:
    """U = G w Gᵀ, (positions, C, F)."""
    u = np.empty(((tile + len(w) - 1) ** 2, *w.shape[2:]), dtype=w.dtype)
    fast.transform_kernel(np.ascontiguousarray(w), u, tile, get_threads())
    return u


def _room(x: np.ndarray, y: np.ndarray, side: int, tile: int) -> tuple[int, np.ndarray, np.ndarray]:
    """Images that are done together (a multiple of the threads), and room for their tiles at each position."""
    tiles, threads = -(-y.shape[1] // tile) * -(-y.shape[2] // tile), get_threads()
    weights = x.shape[3] * y.shape[3]
    together = TILES // 4 if weights <= NARROW else TILES if weights <= WIDE else 2 * TILES
    images = min(x.shape[0], -(-max(together // tiles, 1) // threads) * threads)
    # 16 more: positions a power of two apart would fall on the same lines of the cache.
    sizes = (images * tiles * array.shape[3] + 16 for array in (x, y))
    v, products = (np.empty((side**2, size), dtype=x.dtype) for size in sizes)
    return images, v, products
