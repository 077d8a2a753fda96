"""Rectifier, Gaussian error and sigmoid linear units, element by element."""

from __future__ import annotations

import math
from typing import Any

from npsoftmax.arguments import gradient_like, real
from npsoftmax.autocast import activation, gradient_as
from npsoftmax.backend import Array, array_module
from npsoftmax.functional.path import sigmoid
from npsoftmax.kernels import elementwise as kernels


# ---------------------------------------------------------------- ReLU
def relu_forward(x: Array) -> tuple[Array, Any]:
    """y = max(x, 0). Any shape. The cache is y itself: where y > 0, x was."""
    x = real(x)
    xp = array_module(x)
    y = xp.maximum(x, 0)
    return y, y


def relu_backward(dy: Array, cache: Any) -> Array:
    """dx = dy where x > 0, else 0 (the subgradient at the kink is 0). dy like x -> dx like x."""
    y = cache
    dy = gradient_like(dy, y.shape)
    return array_module(y).where(y > 0, dy, 0)  # dy · (y > 0) would be NaN for an infinite dy where x <= 0


def relu_fused_forward(x: Array) -> tuple[Array, Any]:
    """`relu_forward` in one pass. Any shape."""
    x = activation(x)
    y = kernels.relu(x)
    return y, y


def relu_fused_backward(dy: Array, cache: Any) -> Array:
    """`relu_backward` in one pass. dy like x -> dx like x."""
    y = cache
    dy = gradient_as(dy, y.shape, y)
    return kernels.relu_backward(dy, y)


# ---------------------------------------------------------------- GELU
def normal_cdf(x: Array) -> Array:
    """Φ(x), the standard normal distribution function, by SciPy or CuPy's SciPy: NumPy and CuPy have no erf."""
    if array_module(x).__name__ == "cupy":
        from cupyx.scipy.special import ndtr
    else:
        from scipy.special import ndtr
    return ndtr(x)


def gelu_forward(x: Array) -> tuple[Array, Any]:
    """y = x · Φ(x), Φ the standard normal distribution function. Any shape.

    Source: Hendrycks and Gimpel, 2016 (arXiv 1606.08415).
    """
    x = real(x)
    phi = normal_cdf(x)
    return x * phi, (x, phi)


def gelu_backward(dy: Array, cache: Any) -> Array:
    """dx = dy · (Φ(x) + x · φ(x)), φ the standard normal density. dy like x -> dx like x."""
    x, phi = cache
    dy = gradient_like(dy, x.shape)
    xp = array_module(x)
    density = xp.exp(-0.5 * xp.square(x)) / math.sqrt(2 * math.pi)
    return dy * (phi + x * density)


def gelu_fused_forward(x: Array) -> tuple[Array, Any]:
    """`gelu_forward` in one pass. Any shape. Only x is kept: Φ(x) is computed again in the backward."""
    x = activation(x)
    return kernels.gelu(x), x


def gelu_fused_backward(dy: Array, cache: Any) -> Array:
    """`gelu_backward` in one pass. dy like x -> dx like x."""
    dy = gradient_as(dy, cache.shape, cache)
    return kernels.gelu_backward(dy, cache)


# ---------------------------------------------------------------- SiLU
def silu_forward(x: Array) -> tuple[Array, Any]:
    """y = x · σ(x), σ(x) = 1 / (1 + exp(-x)). Any shape.

    Source: Elfwing, Uchibe and Doya, 2017 (arXiv 1702.03118); as "swish" Ramachandran et al., 2017.
    """
    x = real(x)
    s = sigmoid(x)
    return x * s, (x, s)


def silu_backward(dy: Array, cache: Any) -> Array:
    """dx = dy · σ(x) · (1 + x · (1 - σ(x))). dy like x -> dx like x."""
    x, s = cache
    dy = gradient_like(dy, x.shape)
    return dy * (s * (1 + x * (1 - s)))


def silu_fused_forward(x: Array) -> tuple[Array, Any]:
    """`silu_forward` in one pass. Any shape. Only x is kept: σ(x) is computed again in the backward."""
    x = activation(x)
    return kernels.silu(x), x


def silu_fused_backward(dy: Array, cache: Any) -> Array:
    """`silu_backward` in one pass. dy like x -> dx like x."""
    dy = gradient_as(dy, cache.shape, cache)
    return kernels.silu_backward(dy, cache)
