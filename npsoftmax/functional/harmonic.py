"""Scores by distance: the nearer a class centre, the more probable its class. Derivation: docs/margins-and-priors.md.

Design: a distance is √(‖x - w‖² + ε²). At a centre itself the score stays finite, and its gradient, n · d / (d² + ε²),
is 0 there and nowhere above n / (2ε). Squares come from ‖x‖² - 2 x·w + ‖w‖², one matrix product; what rounding takes
below 0 is 0.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import gradient_like, taken
from npsoftmax.backend import Array, array_module
from npsoftmax.functional.softmax import positive
from npsoftmax.kernels.matmul import products

EPS = 1e-2


def harmonic_forward(x: Array, w: Array, n: float, *, eps: float = EPS) -> tuple[Array, Any]:
    """z_nc = -n · log √(‖x_n - w_c‖² + ε²), so that softmax(z)_c is in proportion to distance^{-n}.

    x (N, D), centres w (D, C) -> z (N, C). InputError unless n > 0.
    Source: Baek et al., 2025 (arXiv 2502.01628).
    """
    x, w = taken("x (N, D), w (D, C)", x, w)
    xp, n = array_module(x), positive("n", n)
    square = (x * x).sum(axis=1, keepdims=True) - 2 * products(x, w) + (w * w).sum(axis=0)
    square = xp.maximum(square, 0) + eps * eps
    return -n / 2 * xp.log(square), (x, w, square, n)


def harmonic_backward(dz: Array, cache: Any) -> tuple[Array, Array]:
    """∂z_nc/∂x_n = -n · (x_n - w_c) / (‖x_n - w_c‖² + ε²) = -∂z_nc/∂w_c. dz (N, C) -> dx (N, D), dw (D, C)."""
    x, w, square, n = cache
    dz = gradient_like(dz, square.shape, "dz")
    pull = dz * (-n) / square
    dx = pull.sum(axis=1, keepdims=True) * x - products(pull, w.T)
    dw = pull.sum(axis=0) * w - products(x.T, pull)
    return dx, dw
