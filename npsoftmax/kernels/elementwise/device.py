"""Calls of elementwise.cu: arrays on a device, all float32, all float64 or all bfloat16."""

from __future__ import annotations

from npsoftmax.autocast import like, room
from npsoftmax.backend import Array
from npsoftmax.cuda import cuda
from npsoftmax.kernels.dispatch import contiguous


def relu(x: Array) -> Array:
    """See `reference.relu`."""
    return _each("relu", x)


def relu_backward(dy: Array, y: Array) -> Array:
    """See `reference.relu_backward`."""
    return _each("relu_backward", dy, y)


def add(a: Array, b: Array) -> Array:
    """See `reference.add`; in bfloat16 where one of them is."""
    return _each("add", like(a, b), like(b, a))


def gelu(x: Array) -> Array:
    """See `reference.gelu`."""
    return _each("gelu", x)


def gelu_backward(dy: Array, x: Array) -> Array:
    """See `reference.gelu_backward`."""
    return _each("gelu_backward", dy, x)


def silu(x: Array) -> Array:
    """See `reference.silu`."""
    return _each("silu", x)


def silu_backward(dy: Array, x: Array) -> Array:
    """See `reference.silu_backward`."""
    return _each("silu_backward", dy, x)


def _each(name: str, *arrays: Array) -> Array:
    """What a kernel gives for arrays of one type and shape: another of these."""
    y = room(arrays[0])
    cuda("elementwise", y).packs(name, y.size, *contiguous(*arrays), y)
    return y


def relu_in_place(y: Array) -> None:
    """y = max(y, 0). y contiguous."""
    cuda("elementwise", y).packs("relu", y.size, y, y)


def add_bias(y: Array, b: Array | None, relu: bool) -> None:
    """y += b, and max(y, 0) with `relu`, in place. y (…, F) contiguous, b (F,) or None."""
    cuda("elementwise", y).each("add_bias", y.size, y, b, y.shape[-1], relu)
