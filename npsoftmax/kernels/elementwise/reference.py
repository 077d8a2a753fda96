"""ReLU, GELU, SiLU and sums of arrays in readable NumPy: the documentation of the kernels, and the fallback.

Every function takes any array type. Written as below, each operation reads and writes an array of its own; compiled,
each function reads its arguments once.
"""

from __future__ import annotations

import math

from npsoftmax.backend import Array, array_module


def relu(x: Array) -> Array:
    """max(x, 0), any shape."""
    return array_module(x).maximum(x, 0)


def relu_backward(dy: Array, y: Array) -> Array:
    """dy where y > 0, else 0. Any shape, both the same."""
    return array_module(y).where(y > 0, dy, 0)  # a product would make NaN of an infinite dy


def add(a: Array, b: Array) -> Array:
    """a + b, of one shape."""
    return a + b


# ---------------------------------------------------------------- GELU
def normal_cdf(x: Array) -> Array:
    """Φ(x), the standard normal distribution function, by SciPy or CuPy's SciPy: NumPy and CuPy have no erf."""
    if array_module(x).__name__ == "cupy":
        from cupyx.scipy.special import ndtr
    else:
        from scipy.special import ndtr
    return ndtr(x)


def gelu(x: Array) -> Array:
    """x · Φ(x)."""
    return x * normal_cdf(x)


def gelu_backward(dy: Array, x: Array) -> Array:
    """dy · (Φ(x) + x · φ(x)), φ the standard normal density."""
    xp = array_module(x)
    density = xp.exp(-0.5 * xp.square(x)) / math.sqrt(2 * math.pi)
    return dy * (normal_cdf(x) + x * density)


# ---------------------------------------------------------------- SiLU
def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)); the exponential is only ever taken of -|x|."""
    xp = array_module(x)
    e = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1, e) / (1 + e)


def silu(x: Array) -> Array:
    """x · σ(x)."""
    return x * sigmoid(x)


def silu_backward(dy: Array, x: Array) -> Array:
    """dy · σ(x) · (1 + x · (1 - σ(x)))."""
    s = sigmoid(x)
    return dy * (s * (1 + x * (1 - s)))
