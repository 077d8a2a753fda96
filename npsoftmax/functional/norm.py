"""Batch and layer normalisation (Ioffe and Szegedy 2015, arXiv 1502.03167; Ba et al. 2016, arXiv 1607.06450).

`batch_norm_*` and `layer_norm_*` are the mathematics, and stand first. Those with `fused` in their names are what
trains, the same functions with fewer passes over memory; those with `relu` or `silu` have that behind them in the same
passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from npsoftmax.arguments import gradient_like, refuse, taken, whole
from npsoftmax.autocast import activation_and, activations, gradient_as
from npsoftmax.backend import Array, array_module
from npsoftmax.kernels import norm as kernels
from npsoftmax.kernels.norm import After

AFFINE = "x (N, …, C), gamma (C), beta (C)"
INFERENCE = "x (N, …, C), gamma (C), beta (C), mean (C), var (C)"


def column_sum(rows: Array) -> Array:
    """Sum of each column. rows (M, C) -> (C,).

    In blocks: adding 100,000 float32 values one after another loses digits.
    """
    m, channels = rows.shape
    block = 256
    if m < block:
        return rows.sum(axis=0)
    whole = m // block * block
    return rows[:whole].reshape(-1, block, channels).sum(axis=1).sum(axis=0) + rows[whole:].sum(axis=0)


# ---------------------------------------------------------------- batch norm
def batch_norm_forward(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> tuple[Array, Array, Array, Any]:
    """y = gamma · (x - mean) / sqrt(var + eps) + beta, with the mean and variance of the batch, channel by channel.

    x (N, …, C), gamma, beta (C,) -> y like x, mean (C,), var (C,) biased (divided by M, the number of rows)
    """
    x, gamma, beta = taken(AFFINE, x, gamma, beta)
    _some_rows(x)
    xp = array_module(x)
    rows = x.reshape(-1, x.shape[-1])  # (M, C)
    m = rows.shape[0]
    mean = column_sum(rows) / m
    centred = rows - mean
    var = column_sum(xp.square(centred)) / m
    scale = 1 / xp.sqrt(var + eps)
    centred *= gamma * scale
    centred += beta
    return centred.reshape(x.shape), mean, var, (x, gamma, mean, scale)


def batch_norm_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """Gradients of `batch_norm_forward`, the paths through mean and variance included.

    With x̂ = (x - mean) · scale and M rows:
    dx = gamma · scale · (dy - mean_rows(dy) - x̂ · mean_rows(dy · x̂)),  dgamma = Σ_rows dy · x̂,  dbeta = Σ_rows dy
    dy like x -> dx like x, dgamma (C,), dbeta (C,)
    """
    x, gamma, mean, scale = cache
    dy = gradient_like(dy, x.shape)
    channels = x.shape[-1]
    rows, drows = x.reshape(-1, channels), dy.reshape(-1, channels)  # (M, C)
    m = rows.shape[0]
    normal = rows - mean
    normal *= scale  # x̂
    dbeta = column_sum(drows)
    dgamma = column_sum(drows * normal)
    # In the forward pass this was y = gamma · x̂ + beta. Of x̂ every column has mean 0 and mean square 1, whatever x is,
    # so now: what dy has along a column of ones (its mean) and along x̂ (dgamma / M) no x can move, and it is taken out.
    normal *= dgamma / -m
    normal += drows
    normal -= dbeta / m
    normal *= gamma * scale
    return normal.reshape(x.shape), dgamma, dbeta


def batch_norm_inference_forward(
    x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float = 1e-5
) -> tuple[Array, Any]:
    """y = gamma · (x - mean) / sqrt(var + eps) + beta with a given mean and variance: one multiply-add a value.

    x (N, …, C), the others (C,) -> y like x
    """
    x, gamma, beta, mean, var = taken(INFERENCE, x, gamma, beta, mean, var)
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
    dy = gradient_like(dy, x.shape)
    channels = x.shape[-1]
    rows, drows = x.reshape(-1, channels), dy.reshape(-1, channels)  # (M, C)
    dgamma = (drows * ((rows - mean) * scale)).sum(axis=0)
    return dy * (gamma * scale), dgamma, drows.sum(axis=0)


# ---------------------------------------------------------------- layer norm
def layer_norm_forward(x: Array, gamma: Array, beta: Array | None, eps: float = 1e-5) -> tuple[Array, Any]:
    """y = gamma · (x - mean) / sqrt(var + eps) + beta, with the mean and variance of each row's own D features.

    x (…, D), gamma (D,), beta (D,) or None -> y like x
    """
    x, gamma, beta = taken("x (…, D), gamma (D), beta (D)?", x, gamma, beta)
    xp = array_module(x)
    centred = x - x.mean(axis=-1, keepdims=True)
    scale = 1 / xp.sqrt(xp.square(centred).mean(axis=-1, keepdims=True) + eps)  # (…, 1)
    normal = centred * scale
    y = normal * gamma
    return y if beta is None else y + beta, (normal, scale, gamma, beta is not None)


def layer_norm_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array | None]:
    """Gradients of `layer_norm_forward`: batch norm's formula with rows and columns exchanged.

    dx = scale · (g - mean_row(g) - x̂ · mean_row(g · x̂)) with g = dy · gamma
    dy like x -> dx like x, dgamma (D,), dbeta (D,) or None
    """
    normal, scale, gamma, has_beta = cache
    dy = gradient_like(dy, normal.shape)
    g = dy * gamma
    dx = g - g.mean(axis=-1, keepdims=True)
    dx -= normal * (g * normal).mean(axis=-1, keepdims=True)
    dx *= scale
    batch_axes = tuple(range(dy.ndim - 1))
    return dx, (dy * normal).sum(axis=batch_axes), dy.sum(axis=batch_axes) if has_beta else None


# ---------------------------------------------------------------- fused: in as few passes over memory as can be
def batch_norm_fused_forward(
    x: Array, gamma: Array, beta: Array, eps: float = 1e-5, *, after: After = ""
) -> tuple[Array, Array, Array, Any]:
    """`batch_norm_forward` in two passes: one over x for both moments, one that writes y and what comes `after` it.

    x (N, …, C), gamma, beta (C,) -> y like x, mean (C,), var (C,) biased
    """
    x, gamma, beta = activations(AFFINE, x, gamma, beta)
    _some_rows(x)
    xp = array_module(x)
    mean, var = kernels.column_moments(x.reshape(-1, x.shape[-1]))
    scale = 1 / xp.sqrt(var + eps)
    y = kernels.normalise(x, mean, gamma * scale, beta, after)
    return y, mean, var, (x, gamma, beta, mean, scale, after)


def batch_norm_fused_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """`batch_norm_backward` in two passes: one for the sums over the rows, one that writes dx.

    dy like x -> dx like x, dgamma (C,), dbeta (C,)
    """
    x, gamma, beta, mean, scale, after = cache
    dy = gradient_as(dy, x.shape, x)
    m = x.size // x.shape[-1]
    factor = gamma * scale
    dbeta, g_centred = kernels.normalise_sums(dy, x, mean, factor, beta, after)
    dgamma = g_centred * scale
    # dx = factor · (g - dbeta / M - x̂ · dgamma / M), sorted by what is multiplied with g, with x - mean, with nothing
    dx = kernels.normalise_dx(dy, x, mean, factor, beta, factor * scale * dgamma / -m, factor * dbeta / -m, after)
    return dx, dgamma, dbeta


def batch_norm_fused_inference_forward(
    x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float = 1e-5, *, after: After = ""
) -> tuple[Array, Any]:
    """`batch_norm_inference_forward` and what comes `after` it in one pass. x (N, …, C), the others (C,) -> y like x"""
    x, gamma, beta, mean, var = activations(INFERENCE, x, gamma, beta, mean, var)
    xp = array_module(x)
    scale = 1 / xp.sqrt(var + eps)
    return kernels.normalise(x, mean, gamma * scale, beta, after), (x, gamma, beta, mean, scale, after)


def batch_norm_fused_inference_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """`batch_norm_inference_backward` in two passes. dy like x -> dx like x, dgamma (C,), dbeta (C,)"""
    x, gamma, beta, mean, scale, after = cache
    dy = gradient_as(dy, x.shape, x)
    factor = gamma * scale
    dbeta, g_centred = kernels.normalise_sums(dy, x, mean, factor, beta, after)
    nothing = array_module(x).zeros_like(mean)
    return kernels.normalise_dx(dy, x, mean, factor, beta, nothing, nothing, after), g_centred * scale, dbeta


def batch_norm_shared_forward(
    x: Array,
    gamma: Array,
    beta: Array,
    eps: float,
    rows: int,
    total: Callable[[Array], Array],
    after: After = "",
) -> tuple[Array, Array, Array, Any]:
    """`batch_norm_fused_forward` of a batch of which x is one part of several.

    rows: M of the whole batch; total: an array (2, C) -> its sum over the parts, for each of which this is called.
    x (N, …, C), gamma, beta (C,) -> y like x, mean (C,), var (C,) biased, both of the whole batch
    """
    x, gamma, beta = activations(AFFINE, x, gamma, beta)
    _some_rows(x)
    rows = whole("rows", rows)
    xp = array_module(x)
    own = x.reshape(-1, x.shape[-1])
    mean, var = (moment.astype(xp.float64) for moment in kernels.column_moments(own))
    # Doubles: the square of the mean is subtracted again.
    mean, square = total(xp.stack([mean, var + mean * mean]) * (len(own) / rows))
    var = xp.maximum(square - mean * mean, 0).astype(x.dtype)
    mean = mean.astype(x.dtype)
    scale = 1 / xp.sqrt(var + eps)
    y = kernels.normalise(x, mean, gamma * scale, beta, after)
    return y, mean, var, (x, gamma, beta, mean, scale, after, rows, total)


def batch_norm_shared_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """`batch_norm_fused_backward` with the two sums over the whole batch; dgamma and dbeta are those of this part.

    dy like x -> dx like x, dgamma (C,), dbeta (C,)
    """
    x, gamma, beta, mean, scale, after, rows, total = cache
    dy = gradient_as(dy, x.shape, x)
    xp, factor = array_module(x), gamma * scale
    dbeta, g_centred = kernels.normalise_sums(dy, x, mean, factor, beta, after)
    all_dbeta, all_centred = total(xp.stack([dbeta, g_centred]).astype(xp.float64)).astype(x.dtype)
    shift = factor * all_dbeta / -rows
    dx = kernels.normalise_dx(dy, x, mean, factor, beta, factor * scale * scale * all_centred / -rows, shift, after)
    return dx, g_centred * scale, dbeta


def layer_norm_fused_forward(x: Array, gamma: Array, beta: Array | None, eps: float = 1e-5) -> tuple[Array, Any]:
    """`layer_norm_forward` in one pass; x is kept, and two numbers a row. x (…, D) -> y like x"""
    x, gamma, beta = activation_and(x, gamma, beta)
    if x.ndim < 1 or not x.shape[-1]:
        raise refuse(f"x has shape {x.shape}, but (…, D) with D of at least 1 was expected.")
    rows = x.reshape(-1, x.shape[-1])  # (M, D)
    y, mean, scale = kernels.layer_norm(rows, gamma, beta, eps)
    return y.reshape(x.shape), (rows, gamma, mean, scale, beta is not None, x.shape)


def layer_norm_fused_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array | None]:
    """`layer_norm_backward` in one pass. dy like x -> dx like x, dgamma (D,), dbeta (D,) or None"""
    *saved, has_beta, shape = cache
    dy = gradient_as(dy, shape, saved[0])
    dx, dgamma, dbeta = kernels.layer_norm_backward(dy.reshape(saved[0].shape), *saved)
    return dx.reshape(dy.shape), dgamma, dbeta if has_beta else None


# ---------------------------------------------------------------- with a ReLU, which costs nothing in a register
def batch_norm_relu_forward(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> tuple[Array, Array, Array, Any]:
    """max(batch_norm(x), 0) in two passes. x (N, …, C), gamma, beta (C,) -> y like x, mean (C,), var (C,) biased"""
    return batch_norm_fused_forward(x, gamma, beta, eps, after="relu")


def batch_norm_relu_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """Gradients of batch norm for g = dy where y > 0, else 0. dy like x -> dx like x, dgamma (C,), dbeta (C,)

    Whether y > 0 is computed again from x, which x̂ needs in any case: cheaper than reading a third array.
    """
    return batch_norm_fused_backward(dy, cache)


def batch_norm_relu_inference_forward(
    x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float = 1e-5
) -> tuple[Array, Any]:
    """max(batch_norm(x), 0) with a given mean and variance. x (N, …, C), the others (C,) -> y like x"""
    return batch_norm_fused_inference_forward(x, gamma, beta, mean, var, eps, after="relu")


def batch_norm_relu_inference_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """Gradients of `batch_norm_relu_inference_forward`. dy like x -> dx like x, dgamma (C,), dbeta (C,)"""
    return batch_norm_fused_inference_backward(dy, cache)


# ---------------------------------------------------------------- with a SiLU
def batch_norm_silu_forward(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> tuple[Array, Array, Array, Any]:
    """z · σ(z) of z = batch_norm(x), in two passes. x (N, …, C), gamma, beta (C,) -> y like x, mean, var (C,) biased"""
    return batch_norm_fused_forward(x, gamma, beta, eps, after="silu")


def batch_norm_silu_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """Gradients of batch norm for g = dy · σ(z) · (1 + z · (1 - σ(z))), z computed again from x.

    dy like x -> dx like x, dgamma (C,), dbeta (C,)
    """
    return batch_norm_fused_backward(dy, cache)


def batch_norm_silu_inference_forward(
    x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float = 1e-5
) -> tuple[Array, Any]:
    """z · σ(z) of z = batch_norm(x) with a given mean and variance. x (N, …, C), the others (C,) -> y like x"""
    return batch_norm_fused_inference_forward(x, gamma, beta, mean, var, eps, after="silu")


def batch_norm_silu_inference_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """Gradients of `batch_norm_silu_inference_forward`. dy like x -> dx like x, dgamma (C,), dbeta (C,)"""
    return batch_norm_fused_inference_backward(dy, cache)


def _some_rows(x: Array) -> None:
    if not x.size:
        raise refuse("a mean and a variance are over rows, but the batch is empty; leave empty batches out.")
