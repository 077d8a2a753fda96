"""Mistakes of a2: the layers of a network."""

from __future__ import annotations

import numpy as np

from npsoftmax.functional import activation, dense, dropout, norm
from npsoftmax.grading.mistakes.base import mistake


# ---------------------------------------------------------------- dense
@mistake("dense_forward", "y")
def bias_forgotten(x, w, b):
    """the bias is not added."""
    return x @ w, (x, w, b is not None)


@mistake("dense_forward", "y")
def bias_subtracted(x, w, b):
    """the bias was subtracted."""
    return x @ w - (0 if b is None else b), (x, w, b is not None)


@mistake("dense_backward", "dw", "db")
def mean_over_the_batch(dy, cache):
    """you averaged over the batch: dw and db are SUMS over its N = {N} rows. The 1/N belongs to the loss and is
    already inside dy."""
    dx, dw, db = dense.dense_backward(dy, cache)
    return dx, dw / len(dy), None if db is None else db / len(dy)


@mistake("dense_backward", "db")
def bias_keeps_the_batch(dy, cache):
    """db still has the batch axis: the bias was added to each of the N = {N} rows, so its gradient is the sum over
    them."""
    dx, dw, db = dense.dense_backward(dy, cache)
    return dx, dw, None if db is None else dy.copy()


@mistake("dense_backward", "dw")
def weight_gradient_transposed(dy, cache):
    """dw is transposed: it has the shape of w, (D, M), and is xᵀ @ dy."""
    dx, dw, db = dense.dense_backward(dy, cache)
    return dx, dw.T, db


@mistake("dense_backward", "db")
def bias_sum_over_features(dy, cache):
    """db was summed over the features; it is the sum over the rows, axis=0."""
    dx, dw, db = dense.dense_backward(dy, cache)
    return dx, dw, None if db is None else dy.sum(axis=1)


# ---------------------------------------------------------------- ReLU and dropout
@mistake("relu_forward", "y")
def absolute_value(x):
    """this is |x|; ReLU makes negative numbers 0."""
    return np.abs(x), activation.relu_forward(x)[1]


@mistake("relu_forward", "y")
def only_the_step(x):
    """this is the step, 1 where x > 0; ReLU keeps x itself there."""
    return (x > 0).astype(x.dtype), activation.relu_forward(x)[1]


@mistake("relu_forward", "y")
def leaky(x):
    """negative numbers leak through; ReLU makes them exactly 0."""
    return np.where(x > 0, x, 0.01 * x), activation.relu_forward(x)[1]


@mistake("relu_forward", "x")
def relu_in_place(x):
    """x was changed in place (x[x < 0] = 0): it belongs to the caller; np.maximum makes a new array."""
    x[x < 0] = 0
    return x.copy(), x.copy()


@mistake("relu_backward", "dx")
def everything_passes(dy, cache):
    """dy passes everywhere; where x was negative it has to become 0."""
    return dy.copy()


@mistake("relu_backward", "dx")
def mask_of_the_wrong_array(dy, cache):
    """the mask was made from dy; it is 1 where the INPUT was positive: there y in the cache is positive, too."""
    return dy * (dy > 0)


@mistake("relu_backward", "dx")
def multiplied_by_the_value(dy, cache):
    """dy was multiplied by y itself; the slope is 1 where y > 0."""
    return dy * cache


@mistake("relu_backward", "dx")
def step_without_dy(dy, cache):
    """this is the slope alone; it has to be multiplied by dy."""
    return (cache > 0).astype(dy.dtype)


@mistake("dropout_forward", "y")
def not_divided_by_keep(x, mask, keep):
    """the division by keep is missing: without it the mean shrinks by the factor keep."""
    return x * mask, (mask, keep)


@mistake("dropout_forward", "y")
def divided_by_what_is_dropped(x, mask, keep):
    """you divided by 1 - keep, the share that is dropped; divide by keep."""
    return x * mask / (1 - keep), (mask, keep)


@mistake("dropout_forward", "y")
def mask_flipped(x, mask, keep):
    """the mask is flipped: True means keep."""
    return x * ~mask / keep, (mask, keep)


@mistake("dropout_backward", "dx")
def gradient_not_divided(dy, cache):
    """the division by keep is missing: the forward divides, so the backward does too."""
    return dy * cache[0]


@mistake("dropout_backward", "dx")
def gradient_not_masked(dy, cache):
    """what was dropped has no gradient: multiply by the mask."""
    return dy / cache[1]


@mistake("dropout_backward", "dx")
def gradient_mask_flipped(dy, cache):
    """the mask is flipped: the gradient passes where the value was kept."""
    return dropout.dropout_backward(dy, (~cache[0], cache[1]))


# ---------------------------------------------------------------- batch norm
@mistake("batch_norm_forward", "y", "var")
def unbiased_variance(x, gamma, beta, eps):
    """the variance is divided by M - 1; here it is the biased one, divided by M."""
    rows = x.reshape(-1, x.shape[-1])
    mean, var = rows.mean(axis=0), rows.var(axis=0, ddof=1)
    scale = 1 / np.sqrt(var + eps)
    return (x - mean) * scale * gamma + beta, mean, var, (x, gamma, mean, scale)


@mistake("batch_norm_forward", "y")
def eps_outside_the_root(x, gamma, beta, eps):
    """eps was added to the deviation; it stands inside the root: sqrt(var + eps)."""
    rows = x.reshape(-1, x.shape[-1])
    mean, var = rows.mean(axis=0), rows.var(axis=0)
    scale = 1 / (np.sqrt(var) + eps)
    return (x - mean) * scale * gamma + beta, mean, var, (x, gamma, mean, scale)


@mistake("batch_norm_forward", "y")
def divided_by_the_variance(x, gamma, beta, eps):
    """you divided by the variance; divide by its root, the standard deviation."""
    rows = x.reshape(-1, x.shape[-1])
    mean, var = rows.mean(axis=0), rows.var(axis=0)
    return (x - mean) / (var + eps) * gamma + beta, mean, var, (x, gamma, mean, 1 / (var + eps))


@mistake("batch_norm_forward", "y")
def gamma_and_beta_forgotten(x, gamma, beta, eps):
    """gamma and beta are missing: y = gamma · x̂ + beta."""
    rows = x.reshape(-1, x.shape[-1])
    mean, var = rows.mean(axis=0), rows.var(axis=0)
    scale = 1 / np.sqrt(var + eps)
    return (x - mean) * scale, mean, var, (x, gamma, mean, scale)


@mistake("batch_norm_backward", "dx")
def mean_and_variance_as_constants(dy, cache):
    """mean and variance were taken as constants: both move with x, and two terms of dx are missing."""
    _, dgamma, dbeta = norm.batch_norm_backward(dy, cache)
    _, gamma, _, scale = cache
    return dy * gamma * scale, dgamma, dbeta


@mistake("batch_norm_backward", "dx")
def variance_as_a_constant(dy, cache):
    """the term of the variance is missing: -x̂ · mean(dy · x̂)."""
    _, dgamma, dbeta = norm.batch_norm_backward(dy, cache)
    _, gamma, _, scale = cache
    axes = tuple(range(dy.ndim - 1))
    return gamma * scale * (dy - dy.mean(axis=axes)), dgamma, dbeta


@mistake("batch_norm_backward", "dx")
def mean_as_a_constant(dy, cache):
    """the term of the mean is missing: -mean(dy)."""
    _, dgamma, dbeta = norm.batch_norm_backward(dy, cache)
    x, gamma, mean, scale = cache
    normal, axes = (x - mean) * scale, tuple(range(dy.ndim - 1))
    return gamma * scale * (dy - normal * (dy * normal).mean(axis=axes)), dgamma, dbeta


@mistake("batch_norm_backward", "dgamma")
def gamma_times_x(dy, cache):
    """dgamma is Σ dy · x̂, with the normalised x̂ and not x itself."""
    dx, _, dbeta = norm.batch_norm_backward(dy, cache)
    return dx, (dy * cache[0]).sum(axis=tuple(range(dy.ndim - 1))), dbeta


@mistake("batch_norm_backward", "dgamma", "dbeta")
def parameters_averaged(dy, cache):
    """dgamma and dbeta are sums over all rows, not means: the 1/N belongs to the loss and is already inside dy."""
    dx, dgamma, dbeta = norm.batch_norm_backward(dy, cache)
    m = dy.size // dy.shape[-1]
    return dx, dgamma / m, dbeta / m


# ---------------------------------------------------------------- layer norm
@mistake("layer_norm_forward", "y")
def normalised_over_the_batch(x, gamma, beta, eps):
    """this is batch norm: layer norm takes mean and variance of each row, axis=-1."""
    return norm.batch_norm_forward(x, gamma, beta, eps)[0], norm.layer_norm_forward(x, gamma, beta, eps)[1]


@mistake("layer_norm_forward", "y")
def layer_norm_unbiased(x, gamma, beta, eps):
    """the variance is divided by D - 1; here it is the biased one, divided by D."""
    normal = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, ddof=1, keepdims=True) + eps)
    return normal * gamma + beta, norm.layer_norm_forward(x, gamma, beta, eps)[1]


@mistake("layer_norm_forward", "y")
def mean_not_subtracted(x, gamma, beta, eps):
    """the mean was not subtracted before the division."""
    normal = x / np.sqrt(x.var(axis=-1, keepdims=True) + eps)
    return normal * gamma + beta, norm.layer_norm_forward(x, gamma, beta, eps)[1]


@mistake("layer_norm_backward", "dx")
def row_statistics_as_constants(dy, cache):
    """mean and variance of the row were taken as constants: both move with x, and two terms of dx are missing."""
    _, dgamma, dbeta = norm.layer_norm_backward(dy, cache)
    return dy * cache[2] * cache[1], dgamma, dbeta


@mistake("layer_norm_backward", "dx")
def gamma_outside_the_means(dy, cache):
    """gamma belongs inside the means: g = dy · gamma first, then mean(g) and mean(g · x̂); it differs from feature
    to feature."""
    normal, scale, gamma, _ = cache
    _, dgamma, dbeta = norm.layer_norm_backward(dy, cache)
    inner = dy - dy.mean(axis=-1, keepdims=True) - normal * (dy * normal).mean(axis=-1, keepdims=True)
    return gamma * scale * inner, dgamma, dbeta


@mistake("layer_norm_backward", "dx")
def row_variance_as_a_constant(dy, cache):
    """the term of the variance is missing: -x̂ · mean(g · x̂)."""
    _, dgamma, dbeta = norm.layer_norm_backward(dy, cache)
    g = dy * cache[2]
    return cache[1] * (g - g.mean(axis=-1, keepdims=True)), dgamma, dbeta


@mistake("layer_norm_backward", "dgamma", "dbeta")
def parameters_per_row(dy, cache):
    """dgamma and dbeta were summed over the features; gamma and beta are shared by all rows, so sum over those."""
    dx, _, _ = norm.layer_norm_backward(dy, cache)
    return dx, (dy * cache[0]).sum(axis=-1), dy.sum(axis=-1)
