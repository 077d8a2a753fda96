"""Dense layer, ReLU, dropout, batch norm and layer norm: forward, and the backward below it."""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array


# ---------------------------------------------------------------- step 1
def dense_forward(x: Array, w: Array, b: Array | None = None) -> tuple[Array, Any]:
    """y = x @ w + b. x (N, D), w (D, M), b (M,) or None -> y (N, M)."""
    y = x @ w
    if b is not None:
        y = y + b
    return y, (x, w, b is not None)


def dense_backward(dy: Array, cache: Any, need_dx: bool = True) -> tuple[Array | None, Array, Array | None]:
    """Gradients of `dense_forward`. dy (N, M) -> dx (N, D), dw (D, M), db (M,), or None where there is no bias.

    Each is a sum over the batch: the 1/N belongs to the loss. need_dx=False means that nobody needs dx: you may
    compute it all the same.

    Formula: dx = dy @ wᵀ, dw = xᵀ @ dy, db = Σ_n dy_n.
    """
    x, w, has_bias = cache
    dx = dy @ w.T
    dw = x.T @ dy
    db = dy.sum(axis=0) if has_bias else None
    return dx, dw, db


# ---------------------------------------------------------------- step 2
def relu_forward(x: Array) -> tuple[Array, Any]:
    """y = max(x, 0), number by number. x of any shape -> y like x."""
    y = np.maximum(x, 0)
    return y, y


def relu_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `relu_forward`; at x = 0, where the derivative does not exist, let it be 0. dy like x -> dx like x.

    Formula: dx = dy where x > 0, else 0; and where y > 0, x was.
    """
    y = cache
    return dy * (y > 0)


# ---------------------------------------------------------------- step 3
def dropout_forward(x: Array, mask: Array, keep: float) -> tuple[Array, Any]:
    """y = x · mask / keep, so that its expectation is x.

    x of any shape, mask booleans like x (True with probability `keep`) -> y like x
    """
    return x * mask / keep, (mask, keep)


def dropout_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `dropout_forward` with respect to x; the mask is a constant. dy like x -> dx like x.

    Formula: dx = dy · mask / keep.
    """
    mask, keep = cache
    return dy * mask / keep


# ---------------------------------------------------------------- step 4
def batch_norm_forward(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> tuple[Array, Array, Array, Any]:
    """y = gamma · (x - mean) / sqrt(var + eps) + beta, with the mean and variance of the batch, channel by channel.

    x (N, …, C), gamma, beta (C,) -> y like x, mean (C,), var (C,) biased (divided by M, the number of rows, where all
    axes but the last make rows)
    """
    rows = x.reshape(-1, x.shape[-1])  # (M, C)
    mean = rows.mean(axis=0)
    var = ((rows - mean) ** 2).mean(axis=0)
    scale = 1 / np.sqrt(var + eps)
    y = gamma * (x - mean) * scale + beta
    return y, mean, var, (x, gamma, mean, scale)


def batch_norm_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """Gradients of `batch_norm_forward`, with all that goes through mean and variance.

    dy like x -> dx like x, dgamma (C,), dbeta (C,)

    Formula: with x̂ = (x - mean) · scale, g = gamma · dy and means over the M rows,
    dx = scale · (g - mean(g) - x̂ · mean(g · x̂)), dgamma = Σ_rows dy · x̂, dbeta = Σ_rows dy.
    """
    x, gamma, mean, scale = cache
    normal = (x - mean) * scale  # x̂
    g = gamma * dy
    rows = tuple(range(x.ndim - 1))  # all axes but the last
    dx = scale * (g - g.mean(axis=rows) - normal * (g * normal).mean(axis=rows))
    dgamma = (dy * normal).sum(axis=rows)
    dbeta = dy.sum(axis=rows)
    return dx, dgamma, dbeta


# ---------------------------------------------------------------- step 5
def layer_norm_forward(x: Array, gamma: Array, beta: Array | None, eps: float = 1e-5) -> tuple[Array, Any]:
    """y = gamma · (x - mean) / sqrt(var + eps) + beta, with the mean and variance of each row's own D features.

    x (…, D), gamma (D,), beta (D,) or None -> y like x. The variance is divided by D.
    """
    centred = x - x.mean(axis=-1, keepdims=True)
    var = (centred**2).mean(axis=-1, keepdims=True)
    scale = 1 / np.sqrt(var + eps)
    normal = centred * scale  # x̂
    y = gamma * normal
    if beta is not None:
        y = y + beta
    return y, (normal, scale, gamma, beta is not None)


def layer_norm_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array | None]:
    """Gradients of `layer_norm_forward`. dy like x -> dx like x, dgamma (D,), dbeta (D,), or None where beta was None.

    Formula: with g = dy · gamma and means along each row, dx = scale · (g - mean(g) - x̂ · mean(g · x̂)),
    dgamma = Σ_rows dy · x̂, dbeta = Σ_rows dy.
    """
    normal, scale, gamma, has_beta = cache
    g = dy * gamma
    dx = scale * (g - g.mean(axis=-1, keepdims=True) - normal * (g * normal).mean(axis=-1, keepdims=True))
    rows = tuple(range(dy.ndim - 1))  # all axes but the last
    dgamma = (dy * normal).sum(axis=rows)
    dbeta = dy.sum(axis=rows) if has_beta else None
    return dx, dgamma, dbeta
