"""Normalisation layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.errors import InputError
from npsoftmax.functional import norm
from npsoftmax.layers.base import Layer, Shape, Tree, require_sizes
from npsoftmax.random import Rng


class _Norm(Layer):
    def __init__(self, features: int, *, eps: float = 1e-5):
        super().__init__()
        require_sizes(type(self).__name__, features=features)
        self.features, self.eps = features, eps
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

    buffers mean, var (C,): running averages, written by forward when train=True (new = (1 − momentum)·old +
    momentum·batch, with the unbiased variance of the batch, as PyTorch does) and used otherwise.
    """

    def __init__(self, features: int, *, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__(features, eps=eps)
        self.momentum = momentum
        self.buffers["mean"] = np.zeros(features, dtype=np.float32)
        self.buffers["var"] = np.ones(features, dtype=np.float32)

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        self.output_shape(x.shape[1:])
        gamma, beta = self.params["gamma"], self.params["beta"]
        if not train:
            running = self.buffers["mean"], self.buffers["var"]
            y, cache = norm.batch_norm_inference_forward(x, gamma, beta, *running, self.eps)
            return y, (False, cache)
        rows = x.size // self.features
        if rows < 2:
            raise InputError("batch norm in training needs at least 2 values a channel; use a larger batch.")
        y, mean, var, cache = norm.batch_norm_forward(x, gamma, beta, self.eps)
        self._average("mean", mean)
        self._average("var", var * (rows / (rows - 1)))
        return y, (True, cache)

    def _average(self, name: str, batch: Array) -> None:
        self.buffers[name] *= 1 - self.momentum
        self.buffers[name] += self.momentum * batch

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        train, pair_cache = cache
        backward = norm.batch_norm_backward if train else norm.batch_norm_inference_backward
        dx, dgamma, dbeta = backward(dy, pair_cache)
        return dx, {"gamma": dgamma, "beta": dbeta}


class LayerNorm(_Norm):
    """Layer norm over the last axis. x (N, …, D) -> y; params gamma, beta (D,)."""

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        self.output_shape(x.shape[1:])
        return norm.layer_norm_forward(x, self.params["gamma"], self.params["beta"], self.eps)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        dx, dgamma, dbeta = norm.layer_norm_backward(dy, cache)
        return dx, {"gamma": dgamma, "beta": dbeta}
