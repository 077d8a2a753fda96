"""Images of another size, each pixel a weighted mean: the readable pair.

Training resizes in whole numbers: data/sizes.py. Derivation: docs/few-epochs.md, section 1.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import fit, gradient_like, real, whole
from npsoftmax.backend import Array, array_module


def resizing_weights(old: int, new: int, like: Array) -> Array:
    """How much each of `old` pixels counts in each of `new`: (new, old) of the dtype of `like`, each row sums to 1.

    w_ij ∝ max(0, 1 - |j + 1/2 - s · (i + 1/2)| / max(s, 1)), s = old / new: a triangle as wide as the larger pixel.
    """
    old, new, xp = whole("old", old), whole("new", new), array_module(like)
    s = old / new
    distance = abs(xp.arange(old) + 0.5 - s * (xp.arange(new)[:, None] + 0.5))
    w = xp.maximum(0, 1 - distance / max(s, 1))
    return (w / w.sum(axis=1, keepdims=True)).astype(like.dtype)


def resize_forward(x: Array, height: int, width: int) -> tuple[Array, Any]:
    """y = down @ x @ acrossᵀ for each channel, with `resizing_weights` of height and of width.

    x (N, H, W, C) -> y (N, height, width, C)
    """
    x = real(x)
    fit("x (N, H, W, C)", x.shape)
    xp, (n, h, w, c) = array_module(x), x.shape
    down, across = resizing_weights(h, height, x), resizing_weights(w, width, x)
    rows = xp.matmul(down, x.reshape(n, h, w * c)).reshape(n, height, w, c)
    return xp.matmul(across, rows), (down, across)


def resize_backward(dy: Array, cache: Any) -> Array:
    """dx = downᵀ @ dy @ across for each channel. dy (N, height, width, C) -> dx (N, H, W, C)."""
    (down, across), dy = cache, real(dy, "dy")
    fit("dy (N, H, W, C)", dy.shape)
    n, c = dy.shape[0], dy.shape[3]
    dy = gradient_like(dy, (n, len(down), len(across), c))
    xp, (h, w) = array_module(dy), (down.shape[1], across.shape[1])
    rows = xp.matmul(across.T, dy)
    return xp.matmul(down.T, rows.reshape(n, len(down), w * c)).reshape(n, h, w, c)
