"""Layers without parameters that act on every element, and Flatten."""

from __future__ import annotations

import math
from typing import Any

from npsoftmax import autocast
from npsoftmax.autocast import kept_gradient, like
from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError, as_number
from npsoftmax.functional import activation, dropout
from npsoftmax.kernels import elementwise as kernels
from npsoftmax.layers.base import Layer, Shape
from npsoftmax.params import Tree
from npsoftmax.random import Rng, check_rng


class ReLU(Layer):
    """y = max(x, 0). fused: in one pass; False: the readable pair."""

    def __init__(self, *, fused: bool = True):
        super().__init__()
        self.fused = fused

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        return activation.relu_fused_forward(x) if self.fused else activation.relu_forward(x)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array, Tree]:
        backward = activation.relu_fused_backward if self.fused else activation.relu_backward
        return backward(dy, cache), {}


class GELU(Layer):
    """y = x · Φ(x), exactly (no tanh approximation). fused: in one pass, where the compiled kernels take the array."""

    def __init__(self, *, fused: bool = True):
        super().__init__()
        self.fused = fused

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        x = autocast.activation(x)
        name = "gelu_fused" if self.fused and kernels.in_one_pass(x) else "gelu"
        y, cache = getattr(activation, f"{name}_forward")(x)
        return y, (name, cache)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array, Tree]:
        name, pair_cache = cache
        return getattr(activation, f"{name}_backward")(dy, pair_cache), {}


class SiLU(Layer):
    """y = x · σ(x). fused: in one pass; False: the readable pair."""

    def __init__(self, *, fused: bool = True):
        super().__init__()
        self.fused = fused

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        return activation.silu_fused_forward(x) if self.fused else activation.silu_forward(x)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array, Tree]:
        backward = activation.silu_fused_backward if self.fused else activation.silu_backward
        return backward(dy, cache), {}


class Dropout(Layer):
    """In training each value is 0 with probability `p`, the others are divided by 1 - p; else the identity."""

    what = "dropout"

    def __init__(self, p: float):
        super().__init__()
        if not 0 <= as_number(p) < 1:
            raise InputError(f"{self.what} is {p!r}, but a probability of at least 0 and below 1 was expected.")
        self.p = p

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        x = self.taken(x)
        if not train or self.p == 0:
            return x, (None, x.shape)
        if rng is None:
            raise InputError(f"{self.what} in training draws a mask: pass rng=Rng(seed) to forward.")
        check_rng(rng)
        mask = rng.keep_mask(self.mask_shape(x.shape), 1 - self.p, array_module(x))
        y, cache = dropout.dropout_forward(x, mask, 1 - self.p)
        return like(y, x), (cache, x.shape)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array, Tree]:
        pair_cache, shape = cache
        dy = kept_gradient(dy, shape)
        return dy if pair_cache is None else like(dropout.dropout_backward(dy, pair_cache), dy), {}

    def mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the mask for a batch of `shape`: what it broadcasts over is dropped together."""
        return shape

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.p:g})"


class StochasticDepth(Dropout):
    """Dropout of whole samples: in training a sample is 0 with probability `p`, the others are divided by 1 - p.

    Stands at the end of a residual branch, so that the sample then passes by it (Huang et al. 2016, arXiv 1603.09382).
    """

    what = "stochastic depth"

    def mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[0], *(1,) * (len(shape) - 1)


class Flatten(Layer):
    """(N, …) -> (N, D), in (H, W, C) order."""

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        x = self.taken(x)
        return x.reshape(x.shape[0], math.prod(x.shape[1:])), x.shape

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array, Tree]:
        dy = kept_gradient(dy, (cache[0], math.prod(cache[1:])))
        return dy.reshape(cache), {}

    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(shape),)
