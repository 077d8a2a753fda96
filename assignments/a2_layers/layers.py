"""Dense layer, ReLU, dropout, batch norm and layer norm: forward, and the backward below it.

Replace each `raise NotImplementedError`, then type

    npsoftmax grade a2

The page that goes with it: README.md in this folder.

Array is a NumPy array. Its shape is in the docstring: (N,) is a vector, () a single number, and (…, C) has any axes
before the last one. If float32 comes in, let float32 go out: the page says how.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array


def dense_forward(x: Array, w: Array, b: Array | None = None) -> tuple[Array, Any]:
    """y = x @ w + b. x (N, D), w (D, M), b (M,) or None -> y (N, M)."""
    # The cache is (x, w, b is not None): x (N, D), w (D, M), and True or False.
    raise NotImplementedError("a2 dense_forward")  # return y, cache


def dense_backward(dy: Array, cache: Any, need_dx: bool = True) -> tuple[Array | None, Array, Array | None]:
    """Gradients of `dense_forward`. dy (N, M) -> dx (N, D), dw (D, M), db (M,), or None where there is no bias.

    Each is a sum over the batch: the 1/N belongs to the loss. need_dx=False means that nobody needs dx: you may
    compute it all the same.

    Formula: dx = dy @ wᵀ, dw = xᵀ @ dy, db = Σ_n dy_n.
    """
    # The cache is (x, w, b is not None): x (N, D), w (D, M), and True or False.
    x, w, has_bias = cache
    raise NotImplementedError("a2 dense_backward")  # return dx, dw, db


def relu_forward(x: Array) -> tuple[Array, Any]:
    """y = max(x, 0), number by number. x of any shape -> y like x."""
    # The cache is y, like x.
    raise NotImplementedError("a2 relu_forward")  # return y, cache


def relu_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `relu_forward`; at x = 0, where the derivative does not exist, let it be 0. dy like x -> dx like x.

    Formula: dx = dy where x > 0, else 0; and where y > 0, x was.
    """
    # The cache is y, like x.
    y = cache
    raise NotImplementedError("a2 relu_backward")  # return dx


def dropout_forward(x: Array, mask: Array, keep: float) -> tuple[Array, Any]:
    """y = x · mask / keep, so that its expectation is x.

    x of any shape, mask booleans like x (True with probability `keep`) -> y like x
    """
    # The cache is (mask, keep): mask like x, keep a number.
    raise NotImplementedError("a2 dropout_forward")  # return y, cache


def dropout_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `dropout_forward` with respect to x; the mask is a constant. dy like x -> dx like x.

    Formula: dx = dy · mask / keep.
    """
    # The cache is (mask, keep): mask like x, keep a number.
    mask, keep = cache
    raise NotImplementedError("a2 dropout_backward")  # return dx


def batch_norm_forward(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> tuple[Array, Array, Array, Any]:
    """y = gamma · (x - mean) / sqrt(var + eps) + beta, with the mean and variance of the batch, channel by channel.

    x (N, …, C), gamma, beta (C,) -> y like x, mean (C,), var (C,) biased (divided by M, the number of rows, where all
    axes but the last make rows)
    """
    # The cache is (x, gamma, mean, scale): x as it came in, gamma, mean and scale (C,), scale = 1 / sqrt(var + eps).
    raise NotImplementedError("a2 batch_norm_forward")  # return y, mean, var, cache


def batch_norm_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """Gradients of `batch_norm_forward`, with all that goes through mean and variance.

    dy like x -> dx like x, dgamma (C,), dbeta (C,)

    Formula: with x̂ = (x - mean) · scale, g = gamma · dy and means over the M rows,
    dx = scale · (g - mean(g) - x̂ · mean(g · x̂)), dgamma = Σ_rows dy · x̂, dbeta = Σ_rows dy.
    """
    # The cache is (x, gamma, mean, scale): x as it came in, gamma, mean and scale (C,), scale = 1 / sqrt(var + eps).
    x, gamma, mean, scale = cache
    raise NotImplementedError("a2 batch_norm_backward")  # return dx, dgamma, dbeta


def layer_norm_forward(x: Array, gamma: Array, beta: Array | None, eps: float = 1e-5) -> tuple[Array, Any]:
    """y = gamma · (x - mean) / sqrt(var + eps) + beta, with the mean and variance of each row's own D features.

    x (…, D), gamma (D,), beta (D,) or None -> y like x. The variance is divided by D.
    """
    # The cache is (normal, scale, gamma, beta is not None): normal = x̂ like x, scale (…, 1) = 1 / sqrt(var + eps) of
    # each row, gamma (D,), and True or False.
    raise NotImplementedError("a2 layer_norm_forward")  # return y, cache


def layer_norm_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array | None]:
    """Gradients of `layer_norm_forward`. dy like x -> dx like x, dgamma (D,), dbeta (D,), or None where beta was None.

    Formula: with g = dy · gamma and means along each row, dx = scale · (g - mean(g) - x̂ · mean(g · x̂)),
    dgamma = Σ_rows dy · x̂, dbeta = Σ_rows dy.
    """
    # The cache is (normal, scale, gamma, beta is not None): normal = x̂ like x, scale (…, 1) = 1 / sqrt(var + eps) of
    # each row, gamma (D,), and True or False.
    normal, scale, gamma, has_beta = cache
    raise NotImplementedError("a2 layer_norm_backward")  # return dx, dgamma, dbeta
