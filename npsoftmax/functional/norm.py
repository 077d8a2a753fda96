"""Batch and layer normalisation (Ioffe and Szegedy 2015, arXiv 1502.03167; Ba et al. 2016, arXiv 1607.06450)."""

from __future__ import annotations

from typing import Any

from npsoftmax.backend import Array, array_module


def batch_norm_forward(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> tuple[Array, Array, Array, Any]:
    """y = gamma · (x − mean) / sqrt(var + eps) + beta, with the mean and variance of the batch, channel by channel.

    x (N, …, C), gamma, beta (C,) -> y like x, mean (C,), var (C,) biased (divided by M, the number of rows)
    """
    xp = array_module(x)
    rows = x.reshape(-1, x.shape[-1])  # (M, C)
    mean = _column_mean(rows)
    centred = rows - mean
    var = _column_mean(xp.square(centred))
    scale = 1 / xp.sqrt(var + eps)
    centred *= gamma * scale
    centred += beta
    return centred.reshape(x.shape), mean, var, (x, gamma, mean, scale)


def batch_norm_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """Gradients of `batch_norm_forward`, the paths through mean and variance included.

    With x̂ = (x − mean)·scale and M rows:
    dx = gamma·scale · (dy − mean_rows(dy) − x̂ · mean_rows(dy · x̂)),  dgamma = Σ dy·x̂,  dbeta = Σ dy
    dy like x -> dx like x, dgamma (C,), dbeta (C,)
    """
    x, gamma, mean, scale = cache
    channels = x.shape[-1]
    rows, drows = x.reshape(-1, channels), dy.reshape(-1, channels)  # (M, C)
    m = rows.shape[0]
    normal = rows - mean
    normal *= scale  # x̂
    dbeta = _column_mean(drows) * m
    dgamma = _column_mean(drows * normal) * m
    normal *= dgamma / -m
    normal += drows
    normal -= dbeta / m
    normal *= gamma * scale
    return normal.reshape(x.shape), dgamma, dbeta


def batch_norm_inference_forward(
    x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float = 1e-5
) -> tuple[Array, Any]:
    """y = gamma · (x − mean) / sqrt(var + eps) + beta with a given mean and variance: one multiply-add a value.

    x (N, …, C), the others (C,) -> y like x
    """
    xp = array_module(x)
    scale = 1 / xp.sqrt(var + eps)
    y = x * (gamma * scale)
    y += beta - mean * gamma * scale
    return y, (x, gamma, mean, scale)


def batch_norm_inference_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """Gradients of `batch_norm_inference_forward`, where mean and variance are constants.

    dy like x -> dx like x, dgamma (C,), dbeta (C,)
    """
    x, gamma, mean, scale = cache
    channels = x.shape[-1]
    rows, drows = x.reshape(-1, channels), dy.reshape(-1, channels)  # (M, C)
    dgamma = (drows * ((rows - mean) * scale)).sum(axis=0)
    return dy * (gamma * scale), dgamma, drows.sum(axis=0)


def layer_norm_forward(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> tuple[Array, Any]:
    """y = gamma · (x − mean) / sqrt(var + eps) + beta, with the mean and variance of each row's own D features.

    x (…, D), gamma, beta (D,) -> y like x
    """
    xp = array_module(x)
    centred = x - x.mean(axis=-1, keepdims=True)
    scale = 1 / xp.sqrt(xp.square(centred).mean(axis=-1, keepdims=True) + eps)  # (…, 1)
    normal = centred * scale
    return normal * gamma + beta, (normal, scale, gamma)


def layer_norm_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """Gradients of `layer_norm_forward`: batch norm's formula with rows and columns exchanged.

    dx = scale · (g − mean_row(g) − x̂ · mean_row(g · x̂)) with g = dy·gamma
    dy like x -> dx like x, dgamma (D,), dbeta (D,)
    """
    normal, scale, gamma = cache
    g = dy * gamma
    dx = g - g.mean(axis=-1, keepdims=True)
    dx -= normal * (g * normal).mean(axis=-1, keepdims=True)
    dx *= scale
    batch_axes = tuple(range(dy.ndim - 1))
    return dx, (dy * normal).sum(axis=batch_axes), dy.sum(axis=batch_axes)


def _column_mean(rows: Array) -> Array:
    """Mean of each column of (M, C), in blocks: adding 100,000 float32 values one after another loses digits."""
    m, channels = rows.shape
    block = 256
    whole = m // block * block
    total = rows[:whole].reshape(-1, block, channels).sum(axis=1).sum(axis=0)
    return (total + rows[whole:].sum(axis=0)) / m
