"""Convolution by columns and by Winograd in readable NumPy: the documentation of the kernels, and the fallback.

Every function takes any array type. By columns, a convolution is one matrix product; its columns are explained in
kernels/windows/reference.py. By Winograd's algorithm:

A kernel of k and a tile of m outputs are one product of polynomials of degree k - 1 and m - 1, found by its values at
m + k - 1 points, one of them ∞ (Winograd 1980; Lavin and Gray 2016, arXiv 1509.09308). `matrices` makes A, B and G from
the points in exact fractions; all else is two matrix products around an element-wise one. Derivation:
docs/how-it-is-fast.md.
"""

from __future__ import annotations

import functools
from fractions import Fraction
from math import prod
from typing import Any

from npsoftmax.arguments import refuse
from npsoftmax.backend import Array, array_module
from npsoftmax.kernels.dispatch import A
from npsoftmax.kernels.matmul import matmul
from npsoftmax.kernels.windows import col2im, im2col
from npsoftmax.kernels.windows.reference import Pair, kernel_size, output_sizes, pad_images

# The finite points, by the side of a tile of inputs. 5/8 and 3/2 keep float32 twice as accurate as 1 and 2.
POINTS = {
    4: (Fraction(0), Fraction(1), Fraction(-1)),
    5: (Fraction(0), Fraction(3, 4), Fraction(-3, 4), Fraction(2)),
    6: (Fraction(0), Fraction(5, 8), Fraction(-5, 8), Fraction(3, 2), Fraction(-3, 2)),
}

Matrix = tuple[tuple[float, ...], ...]


# ---------------------------------------------------------------- by columns
def conv2d_tiled(x: Array, w: Array, b: Array | None, stride: Pair, pad: Pair, relu: bool = False) -> Array:
    """y = im2col(x) @ w + b, or max(y, 0) with `relu`. w (KH, KW, C, F), b (F,) or None -> (N, OH, OW, F)."""
    k, f = kernel_size(w), w.shape[3]
    oh, ow = output_sizes(x.shape, k, stride, pad)
    y = matmul(im2col(x, k, stride, pad), w.reshape(-1, f))
    y = (y if b is None else y + b).reshape(x.shape[0], oh, ow, f)
    return array_module(x).maximum(y, 0) if relu else y


def conv2d_tiled_dw(x: Array, dy: Array, k: Pair, stride: Pair, pad: Pair) -> Array:
    """dw = im2col(x)ᵀ @ dy. dy (N, OH, OW, F) -> (KH, KW, C, F)."""
    c, f = x.shape[3], dy.shape[3]
    return matmul(im2col(x, k, stride, pad).T, dy.reshape(-1, f)).reshape(*k, c, f)


def conv2d_tiled_dx(dy: Array, w: Array, shape: tuple[int, ...], stride: Pair, pad: Pair) -> Array:
    """dx = col2im(dy @ wᵀ). dy (N, OH, OW, F) -> (N, H, W, C) = shape."""
    f = w.shape[3]
    return col2im(matmul(dy.reshape(-1, f), w.reshape(-1, f).T), shape, kernel_size(w), stride, pad)


def conv2d_tiled_backward(x: Array, dy: Array, w: Array, stride: Pair, pad: Pair) -> tuple[Array, Array]:
    """dx and dw of the two functions above."""
    dw = conv2d_tiled_dw(x, dy, kernel_size(w), stride, pad)
    return conv2d_tiled_dx(dy, w, x.shape, stride, pad), dw


def rotated(w: A) -> A:
    """The kernel turned by 180°, from outputs to inputs: (KH, KW, C, F) -> (KH, KW, F, C)."""
    return w[::-1, ::-1].transpose(0, 1, 3, 2)


# ---------------------------------------------------------------- Winograd's matrices
@functools.cache
def matrices(m: int, k: int = 3) -> tuple[Matrix, Matrix, Matrix]:
    """Aᵀ (m, side), Bᵀ (side, side) and G (side, k), side = m + k - 1, so that Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A."""
    points = POINTS[m + k - 1]
    others = [[q for q in points if q != p] for p in points]
    evaluate_kernel = [
        [p**i / prod((p - q for q in rest), start=Fraction(1)) for i in range(k)]
        for p, rest in zip(points, others, strict=True)
    ]
    evaluate_kernel.append([Fraction(i == k - 1) for i in range(k)])  # at ∞: the leading coefficient
    interpolate = [[p**i for p in points] + [Fraction(i == m - 1)] for i in range(m)]
    transform = [[*coefficients(rest), Fraction(0)] for rest in others] + [coefficients(points)]
    return _floats(interpolate), _floats(transform), _floats(evaluate_kernel)


def coefficients(roots: Any) -> list[Fraction]:
    """Of Π (x - root), the constant first."""
    result = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *result], [root * c for c in result] + [Fraction(0)]
        result = [a - b for a, b in zip(shifted, scaled, strict=True)]
    return result


def _floats(rows: list[list[Fraction]]) -> Matrix:
    return tuple(tuple(float(value) for value in row) for row in rows)


# ---------------------------------------------------------------- tiles of a batch
def tiles_of(x: Array, size: int, step: int, counts: Pair) -> Array:
    """Squares of `size`, every `step` pixels. x (N, H, W, C) -> (size, size, N, rows, cols, C)."""
    xp = array_module(x)
    rows, cols = counts
    square = [[x[:, i : i + rows * step : step, j : j + cols * step : step] for j in range(size)] for i in range(size)]
    return xp.stack([xp.stack(line) for line in square])


def _padded(x: Array, pad: Pair, height: int, width: int) -> Array:
    """x padded, and more zeros below and to the right up to (height, width)."""
    x = pad_images(x, pad)
    xp = array_module(x)
    y = xp.zeros((x.shape[0], max(height, x.shape[1]), max(width, x.shape[2]), x.shape[3]), dtype=x.dtype)
    y[:, : x.shape[1], : x.shape[2]] = x
    return y


def _sandwich(matrix: Matrix, x: Array, transposed: bool = False) -> Array:
    """M X Mᵀ over the first two axes of x; with `transposed` Mᵀ X M."""
    if x.dtype.kind != "f":
        raise refuse(f"an array holds {x.dtype}, but Winograd's matrices hold fractions; type array.astype(float).")
    xp = array_module(x)
    m = xp.asarray(matrix, dtype=x.dtype)
    m = m.T if transposed else m
    return xp.einsum("ai,bj,ij...->ab...", m, m, x, optimize=True)


def _counts(oh: int, ow: int, m: int) -> Pair:
    return -(-oh // m), -(-ow // m)


# ---------------------------------------------------------------- Winograd's convolution and its adjoint
def conv2d_winograd(x: Array, w: Array, b: Array | None, pad: Pair, tile: int, relu: bool = False) -> Array:
    """y, a convolution at stride 1 in tiles of m x m outputs, m = `tile`, or max(y, 0) with `relu`.

    x (N, H, W, C), w (k, k, C, F), b (F,) or None -> (N, OH, OW, F). k and m: see `choice.TILES`.
    """
    xp = array_module(x)
    m, k, (interpolate, transform, evaluate_kernel) = tile, len(w), matrices(tile, len(w))
    oh, ow = output_sizes(x.shape, (k, k), (1, 1), pad)
    rows, cols = _counts(oh, ow, m)
    padded = _padded(x, pad, rows * m + k - 1, cols * m + k - 1)
    v = _sandwich(transform, tiles_of(padded, m + k - 1, m, (rows, cols)))
    u = _sandwich(evaluate_kernel, w)  # (side, side, C, F)
    products = xp.einsum("abnrsc,abcf->abnrsf", v, u, optimize=True)
    tiles = _sandwich(interpolate, products)  # (m, m, N, rows, cols, F)
    y = tiles.transpose(2, 3, 0, 4, 1, 5).reshape(x.shape[0], rows * m, cols * m, w.shape[3])[:, :oh, :ow]
    y = xp.ascontiguousarray(y if b is None else y + b)
    return xp.maximum(y, 0) if relu else y


def conv2d_winograd_backward(x: Array, dy: Array, w: Array, pad: Pair, tile: int) -> tuple[Array, Array]:
    """dx (N, H, W, C) and dw (k, k, C, F): each step of the forward transposed, last step first."""
    xp = array_module(x)
    m, k, (interpolate, transform, evaluate_kernel) = tile, len(w), matrices(tile, len(w))
    side, counts = m + k - 1, _counts(dy.shape[1], dy.shape[2], m)
    rows, cols = counts
    dproducts = _sandwich(interpolate, tiles_of(_padded(dy, (0, 0), rows * m, cols * m), m, m, counts), transposed=True)
    padded = _padded(x, pad, rows * m + k - 1, cols * m + k - 1)
    v = _sandwich(transform, tiles_of(padded, side, m, counts))
    du = xp.einsum("abnrsc,abnrsf->abcf", v, dproducts, optimize=True)
    dv = xp.einsum("abnrsf,abcf->abnrsc", dproducts, _sandwich(evaluate_kernel, w), optimize=True)
    dtiles = _sandwich(transform, dv, transposed=True)
    dpadded = xp.zeros(padded.shape, dtype=x.dtype)
    for i in range(side):
        for j in range(side):  # tiles overlap by k - 1 pixels, so their shares are added
            dpadded[:, i : i + rows * m : m, j : j + cols * m : m] += dtiles[i, j]
    dx = dpadded[:, pad[0] : pad[0] + x.shape[1], pad[1] : pad[1] + x.shape[2]]
    dw = _sandwich(evaluate_kernel, du, transposed=True)
    return xp.ascontiguousarray(dx), xp.ascontiguousarray(dw)


def conv2d_winograd_dx(x: Array, dy: Array, w: Array, pad: Pair, tile: int) -> Array:
    """dx of `conv2d_winograd_backward`."""
    return conv2d_winograd_backward(x, dy, w, pad, tile)[0]


def conv2d_winograd_dw(x: Array, dy: Array, w: Array, pad: Pair, tile: int) -> Array:
    """dw of `conv2d_winograd_backward`."""
    return conv2d_winograd_backward(x, dy, w, pad, tile)[1]
