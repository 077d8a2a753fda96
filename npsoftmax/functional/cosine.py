"""Unit vectors, and the cosine between features and class weights. Derivation: docs/margins-and-priors.md.

Design: a vector is divided by √(‖x‖² + ε²) and not by its length. A vector of zeros, which a ReLU gives now
and then, has no direction; here it has length 0 and a gradient of at most dy / ε.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import gradient_like, taken
from npsoftmax.backend import Array, array_module
from npsoftmax.kernels.matmul import products

EPS = 1e-3


def unit_rows_forward(x: Array, *, eps: float = EPS) -> tuple[Array, Any]:
    """y = x / √(‖x‖² + ε²), row by row. x (N, D) -> y (N, D), of length just below 1."""
    (x,) = taken("x (N, D)", x)
    xp = array_module(x)
    length = xp.sqrt((x * x).sum(axis=1, keepdims=True) + eps * eps)
    y = x / length
    return y, (y, length)


def unit_rows_backward(dy: Array, cache: Any) -> Array:
    """dx = (dy - y · Σ_d y_d · dy_d) / √(‖x‖² + ε²): what points along y is taken out. dy (N, D) -> dx (N, D)."""
    y, length = cache
    dy = gradient_like(dy, y.shape)
    return (dy - y * (y * dy).sum(axis=1, keepdims=True)) / length


def cosine_forward(x: Array, w: Array, *, eps: float = EPS) -> tuple[Array, Any]:
    """The cosine of every feature vector with every class weight: y_nc = Σ_d x_nd · w_dc / (‖x_n‖ · ‖w_c‖).

    x (N, D), w (D, C) -> y (N, C) in (-1, 1). Both lengths are √(‖·‖² + ε²).
    """
    x, w = taken("x (N, D), w (D, C)", x, w)
    units, x_cache = unit_rows_forward(x, eps=eps)
    directions, w_cache = unit_rows_forward(w.T, eps=eps)  # (C, D)
    return products(units, directions.T), (units, directions, x_cache, w_cache)


def cosine_backward(dy: Array, cache: Any) -> tuple[Array, Array]:
    """Through the product, then through each length. dy (N, C) -> dx (N, D), dw (D, C)."""
    units, directions, x_cache, w_cache = cache
    dy = gradient_like(dy, (len(units), len(directions)))
    dx = unit_rows_backward(products(dy, directions), x_cache)
    dw = unit_rows_backward(products(dy.T, units), w_cache)  # (C, D)
    return dx, dw.T
