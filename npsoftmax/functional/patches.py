"""Images cut into square patches that do not overlap, each one a row: what makes tokens of an image."""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import fit, refuse, whole
from npsoftmax.autocast import activation, kept_gradient
from npsoftmax.backend import Array


def patches_forward(x: Array, size: int) -> tuple[Array, Any]:
    """Cut images into patches, row by row of the image. The dense map of a patch is a convolution of stride `size`.

    x (N, H, W, C), H and W divisible by `size` -> y (N, P, size·size·C), P = H/size · W/size
    """
    x, size = activation(x), whole("size", size)
    fit("x (N, H, W, C)", x.shape)
    if x.shape[1] % size or x.shape[2] % size:
        raise refuse(f"{x.shape[1]}x{x.shape[2]} pixels do not divide into patches of {size}x{size}; choose a divisor.")
    n, h, w, c = x.shape
    cut = x.reshape(n, h // size, size, w // size, size, c).transpose(0, 1, 3, 2, 4, 5)
    return cut.reshape(n, (h // size) * (w // size), size * size * c), (x.shape, size)


def patches_backward(dy: Array, cache: Any) -> Array:
    """Every value goes back to its pixel. dy (N, P, size·size·C) -> dx (N, H, W, C)."""
    (n, h, w, c), size = cache
    dy = kept_gradient(dy, (n, (h // size) * (w // size), size * size * c))
    cut = dy.reshape(n, h // size, w // size, size, size, c).transpose(0, 1, 3, 2, 4, 5)
    return cut.reshape(n, h, w, c)
