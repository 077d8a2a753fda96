"""ReLU, GELU, SiLU and sums of arrays, each in one pass; the array decides which version runs.

A step of training is arithmetic in convolutions and memory in everything else: these passes do one or two operations a
value, so all that counts is how often an array is read and written. What each function does stands in `reference`.
"""

from __future__ import annotations

from npsoftmax.arguments import fit
from npsoftmax.backend import Array
from npsoftmax.kernels.dispatch import chooser
from npsoftmax.kernels.elementwise import compiled, device, reference

__all__ = ["add", "gelu", "gelu_backward", "in_one_pass", "relu", "relu_backward", "silu", "silu_backward"]

version_for = chooser(compiled.MODULE, compiled, reference, device)


def in_one_pass(x: Array) -> bool:
    """Whether GELU of an array like `x` runs in one pass: compiled, or by a kernel of the device."""
    return x.size > 0 and version_for(x) is not reference


def relu(x: Array) -> Array:
    """max(x, 0); see `reference.relu`."""
    return version_for(x).relu(x)


def relu_backward(dy: Array, y: Array) -> Array:
    """dy where y > 0; see `reference.relu_backward`."""
    fit("y (…), dy (…)", y.shape, dy.shape)
    return version_for(dy, y).relu_backward(dy, y)


def add(a: Array, b: Array) -> Array:
    """a + b; see `reference.add`."""
    fit("a (…), b (…)?", a.shape, b.shape)
    return version_for(a, b).add(a, b)


def gelu(x: Array) -> Array:
    """x · Φ(x); see `reference.gelu`."""
    return version_for(x).gelu(x)


def gelu_backward(dy: Array, x: Array) -> Array:
    """Its gradient; see `reference.gelu_backward`."""
    fit("x (…), dy (…)", x.shape, dy.shape)
    return version_for(dy, x).gelu_backward(dy, x)


def silu(x: Array) -> Array:
    """x · σ(x); see `reference.silu`."""
    return version_for(x).silu(x)


def silu_backward(dy: Array, x: Array) -> Array:
    """Its gradient; see `reference.silu_backward`."""
    fit("x (…), dy (…)", x.shape, dy.shape)
    return version_for(dy, x).silu_backward(dy, x)
