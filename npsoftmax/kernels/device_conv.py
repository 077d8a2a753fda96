"""Convolution on a device as one matrix product without columns: conv.cu, where it takes the shape."""

from __future__ import annotations

from typing import NamedTuple

from npsoftmax.backend import Array, array_module, device_precision
from npsoftmax.cuda import MOST_ITEMS, compiled_for
from npsoftmax.kernels import bf16
from npsoftmax.kernels.device_windows import geometry, is_plain
from npsoftmax.kernels.reference import Pair

FEWEST = 16  # channels, in and out: fewer leave most of a tile empty
# Channels, in and out, from which tf32 goes by columns: on an H100, output and gradients of 512 images took 1.5 times
# as long without them at 256 channels to 512 on 8x8, and 1.4 times at 512 on 4x4.
DEEP = 256
ROWS, COLUMNS = 128, 64  # a tile, as in conv.cu
SLICE = 64  # bytes of a row of a slice
BLOCKS = 1024  # that a weight gradient is shared out to, about
FEWEST_SLICES = 16  # that a block has at least: what it makes is written and read once more


class Kind(NamedTuple):
    """How conv.cu multiplies: the end of its kernels' names, and the bytes of a number."""

    name: str
    size: int


def kind_for(x: Array, w_shape: tuple[int, ...], stride: Pair, pad: Pair) -> Kind | None:
    """How to convolve x (N, H, W, C) with w (KH, KW, C, F); None: by columns.

    The first layer has too few channels; 1x1 at stride 1 is a matrix product already; cuBLAS gains more on deep layers
    than their columns cost. Kernels fetch 16 bytes at once.
    """
    kind = Kind("full", x.dtype.itemsize)
    if x.dtype.itemsize == 4:
        kind = {"fp32": kind, "tf32": Kind("tf32", 4), "bf16": Kind("bf16", 2)}[device_precision()]
    *k, c, f = w_shape
    _, _, _, oh, ow, *_ = geometry(x.shape, (k[0], k[1]), stride, pad)
    rest = c % (16 // kind.size) or f % (16 // kind.size)
    sizes = len(x) * oh * ow * max(c, f), k[0] * k[1] * c * f
    fits = min(sizes) > 0 and max(sizes) <= MOST_ITEMS
    deep = kind.name == "tf32" and min(c, f) >= DEEP
    by_columns = rest or min(c, f) < FEWEST or deep or not fits or is_plain((k[0], k[1]), stride, pad)
    return None if by_columns else kind


def conv2d(kind: Kind, x: Array, w: Array, b: Array | None, stride: Pair, pad: Pair, relu: bool) -> Array:
    """y = im2col(x) @ w + b, or max(y, 0). w (KH, KW, C, F), b (F,) or None -> (N, OH, OW, F)."""
    return _outputs(kind, x, w.transpose(3, 0, 1, 2), b, stride, pad, relu)


def conv2d_dx(kind: Kind, dy: Array, w: Array, pad: Pair) -> Array:
    """dx at stride 1: a convolution of dy with the kernel turned round. dy (N, OH, OW, F) -> (N, H, W, C)."""
    kh, kw = w.shape[:2]
    turned = w[::-1, ::-1].transpose(2, 0, 1, 3)  # (C, KH, KW, F)
    return _outputs(kind, dy, turned, None, (1, 1), (kh - 1 - pad[0], kw - 1 - pad[1]), False)


def _outputs(kind: Kind, x: Array, w: Array, b: Array | None, stride: Pair, pad: Pair, relu: bool) -> Array:
    """w (F, KH, KW, C), any strides."""
    xp, f, sizes = array_module(x), len(w), geometry(x.shape, w.shape[1:3], stride, pad)
    y = xp.empty((len(x), sizes[3], sizes[4], f), dtype=x.dtype)
    positions = y.size // f
    blocks = -(-positions // ROWS), -(-f // COLUMNS)
    arrays = *_numbers(kind, x, w), None if b is None else xp.ascontiguousarray(b), y
    gpu = compiled_for(xp, "conv", x.dtype.char)
    gpu.blocks(f"outputs_{kind.name}", blocks, *arrays, relu, *sizes, f, positions)
    return y


def conv2d_dw(kind: Kind, x: Array, dy: Array, k: Pair, stride: Pair, pad: Pair) -> Array:
    """dw = im2col(x)ᵀ @ dy. dy (N, OH, OW, F) -> (KH, KW, C, F).

    Blocks share out the positions by shape alone, and what they make is added up in their order.
    """
    xp, c, f = array_module(x), x.shape[3], dy.shape[3]
    columns, positions = k[0] * k[1] * c, dy.size // f
    tiles, slices = -(-columns // ROWS) * -(-f // COLUMNS), -(-positions * kind.size // SLICE)
    each = max(FEWEST_SLICES, -(-slices * tiles // BLOCKS))
    parts = xp.empty((-(-slices // each), columns, f), dtype=x.dtype)
    gpu = compiled_for(xp, "conv", x.dtype.char)
    sizes = geometry(x.shape, k, stride, pad)
    gpu.blocks(f"weights_{kind.name}", (tiles, len(parts)), *_numbers(kind, x, dy), parts, each, *sizes, f, positions)
    dw = xp.empty((*k, c, f), dtype=x.dtype)
    gpu.each("add_parts", dw.size, parts, dw, len(parts))
    return dw


def _numbers(kind: Kind, *arrays: Array) -> list[Array]:
    """Contiguous and from a multiple of 16 bytes on, as the kernels take them."""
    if kind.name == "bf16":
        return [bf16.rounded(a) for a in arrays]
    contiguous = (array_module(a).ascontiguousarray(a) for a in arrays)
    return [a.copy() if a.data.ptr % 16 else a for a in contiguous]
