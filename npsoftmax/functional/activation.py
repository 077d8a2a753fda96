"""Rectifier and Gaussian error linear unit, element by element."""

from __future__ import annotations

import math
from typing import Any

from npsoftmax.backend import Array, array_module


def relu_forward(x: Array) -> tuple[Array, Any]:
    """y = max(x, 0). Any shape. The cache is y itself: where y > 0, x was."""
    xp = array_module(x)
    y = xp.maximum(x, 0)
    return y, y


def relu_backward(dy: Array, cache: Any) -> Array:
    """dx = dy where x > 0, else 0 (the subgradient at the kink is 0)."""
    y = cache
    return dy * (y > 0)


def gelu_forward(x: Array) -> tuple[Array, Any]:
    """y = x · Φ(x), Φ the standard normal distribution function (Hendrycks and Gimpel 2016, arXiv 1606.08415)."""
    phi = _normal_cdf(x)
    return x * phi, (x, phi)


def gelu_backward(dy: Array, cache: Any) -> Array:
    """dx = dy · (Φ(x) + x · φ(x)), φ the standard normal density."""
    x, phi = cache
    xp = array_module(x)
    density = xp.exp(-0.5 * xp.square(x)) / math.sqrt(2 * math.pi)
    return dy * (phi + x * density)


def _normal_cdf(x: Array) -> Array:
    # (1 + erf(x / √2)) / 2 by SciPy or CuPy's SciPy: erf is in neither NumPy nor CuPy itself.
    xp = array_module(x)
    if xp.__name__ == "cupy":
        from cupyx.scipy.special import ndtr
    else:
        from scipy.special import ndtr
    return ndtr(x)
