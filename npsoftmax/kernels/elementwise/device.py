"""Calls of elementwise.cu: arrays on a device, all float32 or all float64."""

from __future__ import annotations

from npsoftmax.backend import Array, array_module
from npsoftmax.cuda import cuda
from npsoftmax.kernels.dispatch import contiguous
from npsoftmax.kernels.elementwise.reference import add, relu  # one kernel of CuPy's each

__all__ = ["add", "add_bias", "gelu", "gelu_backward", "relu", "relu_backward", "silu", "silu_backward"]


def relu_backward(dy: Array, y: Array) -> Array:
    """See `reference.relu_backward`."""
    dx = array_module(y).empty(y.shape, dtype=y.dtype)
    cuda("elementwise", y).each("relu_backward", y.size, *contiguous(dy, y), dx)
    return dx


def gelu(x: Array) -> Array:
    """See `reference.gelu`."""
    y = array_module(x).empty(x.shape, dtype=x.dtype)
    cuda("elementwise", x).each("gelu", x.size, *contiguous(x), y)
    return y


def gelu_backward(dy: Array, x: Array) -> Array:
    """See `reference.gelu_backward`."""
    dx = array_module(x).empty(x.shape, dtype=x.dtype)
    cuda("elementwise", x).each("gelu_backward", x.size, *contiguous(dy, x), dx)
    return dx


def silu(x: Array) -> Array:
    """See `reference.silu`."""
    y = array_module(x).empty(x.shape, dtype=x.dtype)
    cuda("elementwise", x).each("silu", x.size, *contiguous(x), y)
    return y


def silu_backward(dy: Array, x: Array) -> Array:
    """See `reference.silu_backward`."""
    dx = array_module(x).empty(x.shape, dtype=x.dtype)
    cuda("elementwise", x).each("silu_backward", x.size, *contiguous(dy, x), dx)
    return dx


def add_bias(y: Array, b: Array | None, relu: bool) -> None:
    """y += b, and max(y, 0) with `relu`, in place. y (…, F) contiguous, b (F,) or None."""
    cuda("elementwise", y).each("add_bias", y.size, y, b, y.shape[-1], relu)
