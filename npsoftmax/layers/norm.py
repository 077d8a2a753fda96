"""Normalisation layers."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.errors import InputError, as_number
from npsoftmax.functional import activation, norm
from npsoftmax.functional.softmax import positive
from npsoftmax.kernels import norm as kernels
from npsoftmax.kernels.norm import After
from npsoftmax.layers.base import Layer, Shape, require_sizes
from npsoftmax.params import Tree
from npsoftmax.random import Rng


class SharedBatch(Protocol):
    """A batch that several processes train on together, each on its part of it."""

    samples: int  # in the whole batch of this step

    def total(self, values: Array) -> Array:
        """The sum of `values` over the processes that have samples in this step; all of them have to call it."""


class _Norm(Layer):
    def __init__(self, features: int, *, eps: float = 1e-5):
        super().__init__()
        require_sizes(type(self).__name__, features=features)
        self.features, self.eps = features, positive("eps", eps)
        self.params["gamma"] = np.ones(features, dtype=np.float32)
        self.params["beta"] = np.zeros(features, dtype=np.float32)

    def output_shape(self, shape: Shape) -> Shape:
        if not shape or shape[-1] != self.features:
            raise InputError(f"{self!r} takes samples whose last axis is {self.features}, not {shape}.")
        return shape

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.features})"


class BatchNorm(_Norm):
    """Batch norm over all axes but the last. x (N, …, C) -> y; params gamma, beta (C,).

    buffers mean, var (C,): running averages, written by forward when train=True (new = (1 - momentum) · old +
    momentum · batch, with the unbiased variance of the batch, as PyTorch does) and used otherwise.
    fused: in as few passes over x as can be; else the readable pair. shared: where it is set, mean and variance are
    those of the whole batch, of which x is a part.
    """

    after: After = ""  # what is part of the same passes

    def __init__(self, features: int, *, eps: float = 1e-5, momentum: float = 0.1, fused: bool = True):
        super().__init__(features, eps=eps)
        if not 0 <= as_number(momentum) <= 1:
            raise InputError(f"momentum is {momentum!r}, but the share of the new batch, from 0 to 1, was expected.")
        self.momentum, self.fused = momentum, fused
        self.shared: SharedBatch | None = None
        self.buffers["mean"] = np.zeros(features, dtype=np.float32)
        self.buffers["var"] = np.ones(features, dtype=np.float32)

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        x = self.taken(x)
        pair = "batch_norm" if not self.fused else f"batch_norm_{self.after or 'fused'}"
        gamma, beta = self.params["gamma"], self.params["beta"]
        if not train:
            pair += "_inference"
            running = self.buffers["mean"], self.buffers["var"]
            y, cache = getattr(norm, f"{pair}_forward")(x, gamma, beta, *running, self.eps)
            return y, (pair, cache)
        rows = x.size // self.features
        if self.shared is not None:
            rows = rows // len(x) * self.shared.samples
        if rows < 2:
            raise InputError("batch norm in training needs at least 2 values a channel; use a larger batch.")
        if self.shared is None:
            y, mean, var, cache = getattr(norm, f"{pair}_forward")(x, gamma, beta, self.eps)
        else:
            pair = "batch_norm_shared"
            y, mean, var, cache = norm.batch_norm_shared_forward(
                x, gamma, beta, self.eps, rows, self.shared.total, self.after if self.fused else ""
            )
        self._average("mean", mean)
        self._average("var", var * (rows / (rows - 1)))
        return y, (pair, cache)

    def _average(self, name: str, batch: Array) -> None:
        self.buffers[name] *= 1 - self.momentum
        self.buffers[name] += self.momentum * batch

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        pair, pair_cache = cache
        dx, dgamma, dbeta = getattr(norm, f"{pair}_backward")(dy, pair_cache)
        return dx, {"gamma": dgamma, "beta": dbeta}


class _BatchNormAnd(BatchNorm):
    """Batch norm and then the function `after` of activation.py, in the same passes."""

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        y, cache = super().forward(x, train=train, rng=rng)
        if self.fused:
            return y, (cache, None)
        y, after_cache = getattr(activation, f"{self.after}_forward")(y)
        return y, (cache, (after_cache,))

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        norm_cache, after_cache = cache
        dz = dy if after_cache is None else getattr(activation, f"{self.after}_backward")(dy, *after_cache)
        return super().backward(dz, norm_cache, need_dx=need_dx)


class BatchNormReLU(_BatchNormAnd):
    """Batch norm and then max(y, 0), in the same passes. Arguments, parameters and buffers as in BatchNorm.

    fused=False: the two readable pairs, one after the other.
    """

    after = "relu"


class BatchNormSiLU(_BatchNormAnd):
    """Batch norm and then y · σ(y), in the same passes. Arguments, parameters and buffers as in BatchNorm.

    fused=False: the two readable pairs, one after the other.
    """

    after = "silu"


class LayerNorm(_Norm):
    """Layer norm over the last axis. x (N, …, D) -> y; params gamma, beta (D,); no beta under bias=False.

    fused: in one pass, where the compiled kernels take the array.
    """

    def __init__(self, features: int, *, eps: float = 1e-5, bias: bool = True, fused: bool = True):
        super().__init__(features, eps=eps)
        self.fused = fused
        if not bias:
            del self.params["beta"]

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        x = self.taken(x)
        name = "layer_norm_fused" if self.fused and kernels.in_one_pass(x) else "layer_norm"
        forward = getattr(norm, f"{name}_forward")
        y, cache = forward(x, self.params["gamma"], self.params.get("beta"), self.eps)
        return y, (name, cache)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        name, pair_cache = cache
        dx, dgamma, dbeta = getattr(norm, f"{name}_backward")(dy, pair_cache)
        return dx, {"gamma": dgamma} if dbeta is None else {"gamma": dgamma, "beta": dbeta}
