"""The definitions behind a3, pixel by pixel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

Outputs = tuple[Any, ...]
Pair = tuple[int, int]


def taps(shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> Iterator[tuple[int, int, int, int, int, int]]:
    """(i, j, u, v, h, w) of every tap of every window: output position, tap, and the pixel, which may lie outside."""
    oh, ow = ((size + 2 * p - kk) // s + 1 for size, p, kk, s in zip(shape[1:3], pad, k, stride, strict=True))
    for i in range(oh):
        for j in range(ow):
            for u in range(k[0]):
                for v in range(k[1]):
                    yield i, j, u, v, i * stride[0] + u - pad[0], j * stride[1] + v - pad[1]


def inside(shape: tuple[int, ...], h: int, w: int) -> bool:
    """Whether pixel (h, w) is in the image and not in its padding."""
    return 0 <= h < shape[1] and 0 <= w < shape[2]


def output_shape(shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> Pair:
    """(OH, OW), by counting the places where a window fits."""
    fits = [range(-p, size + p - kk + 1, s) for size, p, kk, s in zip(shape[1:3], pad, k, stride, strict=True)]
    return len(fits[0]), len(fits[1])


def pad_images(x: np.ndarray, pad: Pair, value: float = 0.0) -> Outputs:
    """A larger array of `value`, the image written into its middle pixel by pixel."""
    n, height, width, c = x.shape
    padded = np.full((n, height + 2 * pad[0], width + 2 * pad[1], c), value, dtype=float)
    for h in range(height):
        for w in range(width):
            padded[:, h + pad[0], w + pad[1]] = x[:, h, w]
    return (padded,)


def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, stride: Pair, pad: Pair) -> Outputs:
    """Every pixel that a window sees, times its weights, added up."""
    k, f = w.shape[:2], w.shape[3]
    y = np.zeros((x.shape[0], *output_shape(x.shape, k, stride, pad), f))
    for i, j, u, v, h, ww in taps(x.shape, k, stride, pad):
        if inside(x.shape, h, ww):
            for c in range(x.shape[3]):
                y[:, i, j] += x[:, h, ww, c, None] * w[u, v, c]
    return (y if b is None else y + b,)


def im2col(x: np.ndarray, k: Pair, stride: Pair, pad: Pair) -> Outputs:
    """Each pixel copied to its row and its column."""
    n, c = x.shape[0], x.shape[3]
    oh, ow = output_shape(x.shape, k, stride, pad)
    cols = np.zeros((n, oh, ow, k[0], k[1], c))
    for i, j, u, v, h, w in taps(x.shape, k, stride, pad):
        if inside(x.shape, h, w):
            cols[:, i, j, u, v] = x[:, h, w]
    return (cols.reshape(n * oh * ow, -1),)


def col2im(cols: np.ndarray, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> Outputs:
    """Each entry added to the pixel that it came from."""
    oh, ow = output_shape(shape, k, stride, pad)
    parts = cols.reshape(shape[0], oh, ow, *k, shape[3])
    x = np.zeros(shape)
    for i, j, u, v, h, w in taps(shape, k, stride, pad):
        if inside(shape, h, w):
            x[:, h, w] += parts[:, i, j, u, v]
    return (x,)


def max_pool(x: np.ndarray, k: Pair, stride: Pair, pad: Pair) -> Outputs:
    """The largest of the pixels that a window sees, and its tap; the first in a tie."""
    oh, ow = output_shape(x.shape, k, stride, pad)
    y = np.full((x.shape[0], oh, ow, x.shape[3]), -np.inf)
    index = np.zeros(y.shape, dtype=int)
    for i, j, u, v, h, w in taps(x.shape, k, stride, pad):
        if inside(x.shape, h, w):
            larger = x[:, h, w] > y[:, i, j]
            index[:, i, j] = np.where(larger, u * k[1] + v, index[:, i, j])
            y[:, i, j] = np.where(larger, x[:, h, w], y[:, i, j])
    return y, index


def max_pool_backward(
    dy: np.ndarray, index: np.ndarray, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair
) -> Outputs:
    """Each dy added to the pixel that won its window."""
    dx = np.zeros(shape)
    for i, j, u, v, h, w in taps(shape, k, stride, pad):
        if inside(shape, h, w):
            dx[:, h, w] += np.where(index[:, i, j] == u * k[1] + v, dy[:, i, j], 0.0)
    return (dx,)


def im2col_cython(x: np.ndarray, k: Pair, stride: Pair, pad: Pair) -> Outputs:
    """The same columns."""
    return im2col(x, k, stride, pad)
