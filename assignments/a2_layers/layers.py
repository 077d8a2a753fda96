"""Dense layer, ReLU, dropout, batch norm and layer norm: forward, and the backward below it.

Replace each `raise NotImplementedError`, then type

    npsoftmax grade a2

The page that goes with it: README.md in this folder.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array


def dense_forward(x: Array, w: Array, b: Array | None = None) -> tuple[Array, Any]:
    """y = x @ w + b.

    x (N, D), w (D, M), b (M,) or None -> y (N, M)
    """
    # The cache is (x, w, b is not None).
    # need_dx=False means that dx is not needed: you may compute it all the same.
    raise NotImplementedError("a2 dense_forward")  # return y, cache


def dense_backward(dy: Array, cache: Any, need_dx: bool = True) -> tuple[Array | None, Array, Array | None]:
    """Gradients of `dense_forward`: dx = dy @ wᵀ, dw = xᵀ @ dy, db = Σ_n dy.

    dy (N, M) -> dx (N, D), dw (D, M), db (M,) or None. Each is a sum over the batch: the 1/N belongs to the loss.
    """
    x, w, has_bias = cache
    raise NotImplementedError("a2 dense_backward")  # return dx, dw, db


def relu_forward(x: Array) -> tuple[Array, Any]:
    """y = max(x, 0). Any shape. The cache is y itself: where y > 0, x was."""
    # The cache is y.
    raise NotImplementedError("a2 relu_forward")  # return y, cache


def relu_backward(dy: Array, cache: Any) -> Array:
    """dx = dy where x > 0, else 0 (the subgradient at the kink is 0). dy like x -> dx like x."""
    y = cache
    raise NotImplementedError("a2 relu_backward")  # return dx


def dropout_forward(x: Array, mask: Array, keep: float) -> tuple[Array, Any]:
    """y = x · mask / keep, so that its expectation is x.

    x any shape, mask boolean like x (true with probability `keep`) -> y like x
    """
    # The cache is (mask, keep).
    raise NotImplementedError("a2 dropout_forward")  # return y, cache


def dropout_backward(dy: Array, cache: Any) -> Array:
    """dx = dy · mask / keep. dy like x -> dx like x."""
    mask, keep = cache
    raise NotImplementedError("a2 dropout_backward")  # return dx


def batch_norm_forward(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> tuple[Array, Array, Array, Any]:
    """y = gamma · (x - mean) / sqrt(var + eps) + beta, with the mean and variance of the batch, channel by channel.

    x (N, …, C), gamma, beta (C,) -> y like x, mean (C,), var (C,) biased (divided by M, the number of rows)
    """
    # The cache is (x, gamma, mean, scale).
    raise NotImplementedError("a2 batch_norm_forward")  # return y, mean, var, cache


def batch_norm_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """Gradients of `batch_norm_forward`, the paths through mean and variance included.

    With x̂ = (x - mean) · scale and M rows:
    dx = gamma · scale · (dy - mean_rows(dy) - x̂ · mean_rows(dy · x̂)),  dgamma = Σ_rows dy · x̂,  dbeta = Σ_rows dy
    dy like x -> dx like x, dgamma (C,), dbeta (C,)
    """
    x, gamma, mean, scale = cache
    raise NotImplementedError("a2 batch_norm_backward")  # return dx, dgamma, dbeta


def layer_norm_forward(x: Array, gamma: Array, beta: Array | None, eps: float = 1e-5) -> tuple[Array, Any]:
    """y = gamma · (x - mean) / sqrt(var + eps) + beta, with the mean and variance of each row's own D features.

    x (…, D), gamma (D,), beta (D,) or None -> y like x
    """
    # The cache is (normal, scale, gamma, beta is not None), normal = x̂.
    raise NotImplementedError("a2 layer_norm_forward")  # return y, cache


def layer_norm_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array | None]:
    """Gradients of `layer_norm_forward`: batch norm's formula with rows and columns exchanged.

    dx = scale · (g - mean_row(g) - x̂ · mean_row(g · x̂)) with g = dy · gamma
    dy like x -> dx like x, dgamma (D,), dbeta (D,) or None
    """
    normal, scale, gamma, has_beta = cache
    raise NotImplementedError("a2 layer_norm_backward")  # return dx, dgamma, dbeta
