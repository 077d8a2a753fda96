"""Convolution on a device: one matrix product without columns, by tensor cores (conv_tensor.cu) or in full (conv.cu),
where `kind_for` has one for the shape; else products with the columns of a few images at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from npsoftmax.autocast import room
from npsoftmax.backend import Array, array_module, device_precision
from npsoftmax.bfloat16 import BFloat16
from npsoftmax.cuda import BLOCK, MOST_ITEMS, Kernels, compiled_for, cuda
from npsoftmax.kernels.elementwise.device import add_bias, relu_in_place
from npsoftmax.kernels.matmul.device import activation, product, rounded, rounded_to_tf32
from npsoftmax.kernels.windows import device as windows
from npsoftmax.kernels.windows.device import sizes_of
from npsoftmax.kernels.windows.reference import Pair, kernel_size

FEWEST = 16  # channels, in and out: fewer leave most of a tile empty
LARGEST = 11  # rows and columns of a kernel: what a pixel sees of it is noted in bits
ROWS = 128  # of a tile, as in both files
LINE = 128  # bytes of a row of a slice, as in conv_tensor.cu
STAGES = 2  # slices in shared memory: two wide blocks leave an H100 92 KiB of first-level cache; with three it were 28
PLACE = 8  # bytes of a `Place` there
BLOCKS = 528  # that a weight gradient is shared out to, about: twice what an H100 runs at once
FEWEST_SLICES = 8  # that a block has at least: what it makes is written and read once more

# Column entries that are there at once: 32 MiB in float32, so that a product finds them in the second-level cache of a
# large device instead of in its memory.
ENTRIES = 2**23


# ---------------------------------------------------------------- the three functions of a convolution
# Activations and their gradients in bfloat16 are read and written as they are.
def conv2d_tiled(x: Array, w: Array, b: Array | None, stride: Pair, pad: Pair, relu: bool) -> Array:
    """See `reference.conv2d_tiled`."""
    if kind := kind_for(x, w.shape, stride, pad):
        return _outputs(kind, x, _numbers(kind, x), w.transpose(3, 0, 1, 2), b, stride, pad, relu)
    return _by_columns(x, w, b, stride, pad, relu)


def conv2d_tiled_dw(x: Array, dy: Array, k: Pair, stride: Pair, pad: Pair) -> Array:
    """See `reference.conv2d_tiled_dw`."""
    if kind := kind_for(x, (*k, x.shape[3], dy.shape[3]), stride, pad):
        return _weights(kind, x, dy, _numbers(kind, dy), k, stride, pad)
    return _dw_by_columns(x, dy, k, stride, pad)


def conv2d_tiled_dx(dy: Array, w: Array, shape: tuple[int, ...], stride: Pair, pad: Pair) -> Array:
    """See `reference.conv2d_tiled_dx`; at stride 1 a convolution of dy with the kernel rotated by 180°."""
    if kind := _kind_for_dx(dy, w.shape, stride, pad):
        return _dx(kind, dy, _numbers(kind, dy), w, pad)
    return _dx_by_columns(dy, w, shape, stride, pad)


def conv2d_tiled_backward(x: Array, dy: Array, w: Array, stride: Pair, pad: Pair) -> tuple[Array, Array]:
    """See `reference.conv2d_tiled_backward`; dy is rounded once for both."""
    k = kernel_size(w)
    kind = kind_for(x, w.shape, stride, pad)
    if kind is None or kind != _kind_for_dx(dy, w.shape, stride, pad):
        dw = conv2d_tiled_dw(x, dy, k, stride, pad)
        return conv2d_tiled_dx(dy, w, x.shape, stride, pad), dw
    factor = _numbers(kind, dy)
    return _dx(kind, dy, factor, w, pad), _weights(kind, x, dy, factor, k, stride, pad)


# ---------------------------------------------------------------- without columns: conv_tensor.cu and conv.cu


class Kind(NamedTuple):
    """How numbers are multiplied, and the bytes of one of the factors."""

    name: str  # "full", or of tensor cores "tf32" or "bf16"
    size: int


class Tiles(NamedTuple):
    """Compiled kernels, and what their launches need to know."""

    kernels: Kernels
    end: str  # of their names
    columns: int  # of a tile
    threads: int  # of a block
    depth: int  # numbers of a row of a slice
    slices: int  # bytes of shared memory for those that are there at once


def kind_for(x: Array, w_shape: tuple[int, ...], stride: Pair, pad: Pair) -> Kind | None:
    """How to convolve x (N, H, W, C) with w (KH, KW, C, F); None: by columns.

    The first layer has too few channels; 1x1 at stride 1 is a matrix product already (but of bfloat16, whose result is
    to be bfloat16 at once). Kernels fetch 16 bytes at once.
    """
    precision = "bf16" if isinstance(x, BFloat16) else device_precision() if x.dtype.itemsize == 4 else "fp32"
    kind = {"fp32": Kind("full", x.dtype.itemsize), "tf32": Kind("tf32", 4), "bf16": Kind("bf16", 2)}[precision]
    *k, c, f = w_shape
    _, _, _, oh, ow, *_ = sizes_of(x.shape, (k[0], k[1]), stride, pad)
    rest = c % (16 // kind.size) or f % (16 // kind.size)
    sizes = len(x) * oh * ow * max(c, f), k[0] * k[1] * c * f
    fits = min(sizes) > 0 and max(sizes) <= MOST_ITEMS and (kind.name == "full" or max(k) <= LARGEST)
    by_columns = _is_plain((k[0], k[1]), stride, pad) and not isinstance(x, BFloat16)
    return None if by_columns or rest or min(c, f) < FEWEST or not fits else kind


def _kind_for_dx(dy: Array, w_shape: tuple[int, ...], stride: Pair, pad: Pair) -> Kind | None:
    """How to make dx of dy (N, OH, OW, F) and w (KH, KW, C, F) as a convolution; None: by columns."""
    kh, kw, c, f = w_shape
    if stride != (1, 1) or pad[0] >= kh or pad[1] >= kw:
        return None
    return kind_for(dy, (kh, kw, f, c), stride, (kh - 1 - pad[0], kw - 1 - pad[1]))


def tiles_for(kind: Kind, result: Array, f: int) -> Tiles:
    """The kernels for so many filters: tiles are 64 wide where 128 would leave half of the last one empty."""
    if kind.name == "full":
        return Tiles(cuda("conv", result), "_full", 64, BLOCK, 64 // kind.size, 0)
    columns = 64 if 0 < f % 128 <= 64 else 128
    defines = tensor_options(8 * kind.size, 8 * result.itemsize, columns)
    kernels = compiled_for(array_module(result), "conv_tensor", "f", *defines)
    return Tiles(kernels, "", columns, columns, LINE // kind.size, STAGES * (ROWS + columns) * LINE)


def tensor_options(factors: int, result: int, columns: int) -> tuple[str, ...]:
    """What conv_tensor.cu is told: bits of a number of the factors and of a result, columns of a tile, slices."""
    return f"-DFACTORS={factors}", f"-DRESULT={result}", f"-DCOLUMNS={columns}", f"-DSTAGES={STAGES}"


def _outputs(
    kind: Kind, x: Array, factor: Array, w: Array, b: Array | None, stride: Pair, pad: Pair, relu: bool
) -> Array:
    """y = im2col(x) @ w + b, or max(y, 0). factor: x as the kernels take it; w (F, KH, KW, C), any strides -> y."""
    f, k = len(w), (w.shape[1], w.shape[2])
    sizes = sizes_of(x.shape, k, stride, pad)
    y = room(x, (len(x), sizes[3], sizes[4], f))
    tiles = tiles_for(kind, y, f)
    positions = y.size // f
    blocks = (-(-positions // ROWS) * -(-f // tiles.columns),)
    arrays = factor, _numbers(kind, w), None if b is None else _aligned(b), y
    shared = tiles.slices and tiles.slices + PLACE * (ROWS + k[0] * k[1])
    launch = {"threads": tiles.threads, "shared": shared}
    tiles.kernels.blocks(f"outputs{tiles.end}", blocks, *arrays, relu, *sizes, f, positions, **launch)
    return y


def _dx(kind: Kind, dy: Array, factor: Array, w: Array, pad: Pair) -> Array:
    """dx at stride 1, by the kernel rotated by 180°. factor: dy as the kernels take it."""
    rest = w.shape[0] - 1 - pad[0], w.shape[1] - 1 - pad[1]
    rotated = w[::-1, ::-1].transpose(2, 0, 1, 3)  # (C, KH, KW, F)
    return _outputs(kind, dy, factor, rotated, None, (1, 1), rest, False)


def _weights(kind: Kind, x: Array, dy: Array, factor: Array, k: Pair, stride: Pair, pad: Pair) -> Array:
    """dw = im2col(x)ᵀ @ dy. dy (N, OH, OW, F) -> (KH, KW, C, F). factor: dy as the kernels take it.

    Blocks share out the positions by shape alone, and what they make is added up in their order.
    """
    xp, c, f = array_module(x), x.shape[3], dy.shape[3]
    dw = xp.empty((*k, c, f), dtype=x.dtype)
    sizes, tiles = sizes_of(x.shape, k, stride, pad), tiles_for(kind, dw, f)
    columns, positions = k[0] * k[1] * c, dy.size // f
    across, slices = -(-columns // ROWS) * -(-f // tiles.columns), -(-positions // tiles.depth)
    each = max(FEWEST_SLICES, -(-slices // max(1, BLOCKS // across)))
    parts = xp.empty((-(-slices // each), columns, f), dtype=dw.dtype)
    arrays, blocks = (_numbers(kind, x), factor, parts), (across, len(parts))
    launch = {"threads": tiles.threads, "shared": tiles.slices and tiles.slices + PLACE * 2 * tiles.depth}
    tiles.kernels.blocks(f"weights{tiles.end}", blocks, *arrays, each, *sizes, f, positions, **launch)
    cuda("conv", dw).each("add_parts", dw.size, parts, dw, len(parts))
    return dw


def _numbers(kind: Kind, a: Array) -> Array:
    """As the kernels take them: for tensor cores rounded, once."""
    if kind.name == "tf32":
        return rounded_to_tf32(a)
    return _aligned(rounded(a) if kind.name == "bf16" else a)


def _aligned(a: Array) -> Array:
    """Contiguous, and from a multiple of 16 bytes on."""
    a = array_module(a).ascontiguousarray(a)
    return a.copy() if a.data.ptr % 16 else a


# ---------------------------------------------------------------- by columns, a few images at a time
def _by_columns(x: Array, w: Array, b: Array | None, stride: Pair, pad: Pair, relu: bool) -> Array:
    """y = im2col(x) @ w + b, or max(y, 0). w (KH, KW, C, F), b (F,) or None -> (N, OH, OW, F)."""
    k, f = kernel_size(w), w.shape[3]
    sizes = sizes_of(x.shape, k, stride, pad)
    y, narrow = room(x, (len(x), sizes[3], sizes[4], f)), isinstance(x, BFloat16)
    matrix = w.reshape(-1, f)
    for images in _chunks(len(x), sizes):
        rows = y[images].reshape(-1, f)  # a view: y is contiguous
        columns = _columns(x[images], k, stride, pad)
        if narrow:
            activation(columns, matrix, b, out=rows)
        else:
            product(columns, matrix, out=rows)
    if narrow and relu:
        relu_in_place(y)
    elif not narrow and (b is not None or relu):
        add_bias(y, b, relu)
    return y


def _dw_by_columns(x: Array, dy: Array, k: Pair, stride: Pair, pad: Pair) -> Array:
    """dw = im2col(x)ᵀ @ dy, summed in the order of the images. dy (N, OH, OW, F) -> (KH, KW, C, F)."""
    xp, c, f = array_module(x), x.shape[3], dy.shape[3]
    dw = xp.zeros((k[0] * k[1] * c, f), dtype=x.dtype)
    for images in _chunks(len(x), sizes_of(x.shape, k, stride, pad)):
        dw += product(_columns(x[images], k, stride, pad).T, dy[images].reshape(-1, f))
    return dw.reshape(*k, c, f)


def _dx_by_columns(dy: Array, w: Array, shape: tuple[int, ...], stride: Pair, pad: Pair) -> Array:
    """dx = col2im(dy @ wᵀ). dy (N, OH, OW, F) -> (N, H, W, C) = shape."""
    k, f = kernel_size(w), w.shape[3]
    dx, matrix = room(dy, shape), w.reshape(-1, f)
    for images in _chunks(len(dy), sizes_of(shape, k, stride, pad)):
        part, out = dy[images].reshape(-1, f), dx[images]
        if not _is_plain(k, stride, pad):
            windows.col2im(product(part, matrix.T), out.shape, k, stride, pad, out)
        elif isinstance(dy, BFloat16):
            activation(part, matrix.T, None, out.reshape(-1, out.shape[3]))
        else:
            product(part, matrix.T, out.reshape(-1, out.shape[3]))
    return dx


def _columns(x: Array, k: Pair, stride: Pair, pad: Pair) -> Array:
    return x.reshape(-1, x.shape[3]) if _is_plain(k, stride, pad) else windows.im2col(x, k, stride, pad)


def _is_plain(k: Pair, stride: Pair, pad: Pair) -> bool:
    """Whether the columns are the images themselves."""
    return k == (1, 1) and stride == (1, 1) and pad == (0, 0)


def _chunks(images: int, sizes: tuple[int, ...]) -> Iterator[slice]:
    """The images of a batch in runs that have at most ENTRIES column entries, one image at least."""
    _, _, c, oh, ow, kh, kw, *_ = sizes
    step = max(1, ENTRIES // max(1, oh * ow * kh * kw * c))
    return (slice(first, min(first + step, images)) for first in range(0, images, step))
