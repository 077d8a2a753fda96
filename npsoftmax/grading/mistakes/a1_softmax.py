"""Mistakes of a1: softmax and the ladder that leads to it."""

from __future__ import annotations

import numpy as np

from npsoftmax.functional import softmax
from npsoftmax.grading.mistakes.base import mistake


def _sum(x):
    return x.sum(axis=-1, keepdims=True)


# ---------------------------------------------------------------- sum normalisation
@mistake("sum_normalisation_v1_forward", "y")
def sum_of_absolute_values(z):
    """you divided by the sum of |z|; version 1 divides by the sum itself."""
    y = z / _sum(np.abs(z))
    return y, (y, _sum(z))


@mistake("sum_normalisation_v1_forward", "y")
def sum_over_the_batch(z):
    """you summed over axis 0, the N = {N} samples; the classes are the last axis."""
    total = z.sum(axis=0, keepdims=True)
    return z / total, (z / total, total)


@mistake("sum_normalisation_v1_backward", "dz")
def total_as_a_constant(dy, cache):
    """the sum in the denominator depends on z_i too: the second term of the quotient rule, -Σ_j y_j · dy_j, is
    missing."""
    return dy / cache[1]


@mistake("sum_normalisation_v1_backward", "dz")
def without_the_total(dy, cache):
    """the division by Σ z is missing: the bracket is right, its factor 1/Σ z is not there."""
    y = cache[0]
    return dy - _sum(y * dy)


@mistake("sum_normalisation_v2_forward", "y")
def shares_without_the_minimum(z):
    """the sum in the denominator is that of z; it has to be the sum of z - min z, or the shares do not add up to 1."""
    total = _sum(z)
    y = (z - z.min(axis=-1, keepdims=True)) / total
    return y, (y, total)


@mistake("sum_normalisation_v2_forward", "y")
def one_minimum_for_all(z):
    """z.min() is the minimum of the whole array; each row has its own: axis=-1, keepdims=True."""
    u = z - z.min()
    return u / _sum(u), (u / _sum(u), _sum(u))


@mistake("sum_normalisation_v2_backward", "dz")
def minimum_as_a_constant(dy, cache):
    """the minimum is not a constant: it moves with the smallest logit, which gets -Σ_j du_j as well."""
    return softmax.sum_normalisation_v1_backward(dy, cache)


@mistake("sum_normalisation_v2_backward", "dz")
def minimum_at_the_maximum(dy, cache):
    """-Σ_j du_j went to the largest logit; it belongs to the smallest one, where y is 0."""
    du = softmax.sum_normalisation_v1_backward(dy, cache)
    top = cache[0] == cache[0].max(axis=-1, keepdims=True)
    return du - top * _sum(du)


# ---------------------------------------------------------------- softmax
@mistake("softmax_forward", "p")
def without_the_max_trick(z):
    """the formula is right, but e^z overflows from z = 710 on, and inf / inf is nan: subtract the row's maximum
    first."""
    p = np.exp(z) / _sum(np.exp(z))
    return p, p


@mistake("softmax_forward", "p")
def softmax_over_the_batch(z):
    """you normalised over axis 0, the N = {N} samples; every row is a distribution of its own: axis=-1."""
    e = np.exp(z - z.max(axis=0, keepdims=True))
    p = e / e.sum(axis=0, keepdims=True)
    return p, p


@mistake("softmax_forward", "p")
def softmax_over_everything(z):
    """the sum has no axis, so that all rows together add up to 1; each row has to: sum(axis=-1, keepdims=True)."""
    e = np.exp(z - z.max())
    return e / e.sum(), e / e.sum()


@mistake("softmax_forward", "p")
def one_maximum_for_all(z):
    """z.max() is the maximum of the whole array: rows far below it underflow to 0/0. Each row needs its own maximum."""
    e = np.exp(z - z.max())
    return e / _sum(e), e / _sum(e)


@mistake("softmax_jacobian", "jacobian")
def only_the_diagonal(p):
    """only the diagonal p_i · (1 - p_i) is there; every p_i also depends on every other z_j, with -p_i · p_j."""
    return (p * (1 - p))[..., None] * np.eye(p.shape[-1])


@mistake("softmax_jacobian", "jacobian")
def jacobian_without_the_diagonal(p):
    """only -p_i · p_j is there; add p_i on the diagonal."""
    return -p[..., :, None] * p[..., None, :]


@mistake("softmax_jacobian", "jacobian")
def plus_off_the_diagonal(p):
    """off the diagonal the sign is wrong: when one probability rises the others fall, ∂p_i/∂z_j = -p_i · p_j."""
    return p[..., :, None] * (np.eye(p.shape[-1]) + (1 - 2 * np.eye(p.shape[-1])) * p[..., None, :])


@mistake("softmax_backward", "dz")
def jacobian_diagonal(dy, cache):
    """only the diagonal of the Jacobian, p · (1 - p), is multiplied: each p_i also depends on every other z_j."""
    return dy * cache * (1 - cache)


@mistake("softmax_backward", "dz")
def softmax_without_p(dy, cache):
    """the factor p in front of the bracket is missing."""
    return dy - _sum(cache * dy)


@mistake("softmax_backward", "dz")
def p_on_the_sum_alone(dy, cache):
    """p multiplies the sum alone; it is a factor of the whole bracket: p · (dy - Σ_j p_j · dy_j)."""
    return dy - cache * _sum(cache * dy)


@mistake("softmax_backward", "dz")
def like_log_softmax(dy, cache):
    """this is the backward of log-softmax, dy - p · Σ dy; softmax's is p · (dy - Σ p · dy)."""
    return dy - cache * _sum(dy)


@mistake("softmax_backward", "dz")
def sum_over_samples(dy, cache):
    """Σ_j p_j · dy_j was taken over the samples (axis 0); it is a sum over the classes of one row (axis=-1)."""
    return cache * (dy - (cache * dy).sum(axis=0, keepdims=True))


@mistake("softmax_backward", "dy")
def softmax_changes_dy(dy, cache):
    """dy was changed in place (dy -= … or dy *= …): it belongs to the caller, who may still need it."""
    dy -= _sum(cache * dy)
    return cache * dy


# ---------------------------------------------------------------- log-sum-exp and soft-argmax
@mistake("log_sum_exp_forward", "y")
def log_sum_exp_overflows(z):
    """the formula is right, but e^z overflows: take the maximum out, log Σ e^z = max + log Σ e^(z - max)."""
    return np.log(np.exp(z).sum(axis=-1)), softmax.log_sum_exp_forward(z)[1]


@mistake("log_sum_exp_forward", "y")
def maximum_not_added(z):
    """the maximum that was subtracted inside has to be added again outside the logarithm."""
    s = z - z.max(axis=-1, keepdims=True)
    return np.log(np.exp(s).sum(axis=-1)), softmax.log_sum_exp_forward(z)[1]


@mistake("log_sum_exp_forward", "y")
def the_hard_maximum(z):
    """this is the hard maximum; the soft one adds log Σ e^(z - max), between 0 and log C."""
    return z.max(axis=-1), softmax.log_sum_exp_forward(z)[1]


@mistake("log_sum_exp_backward", "dz")
def all_to_the_maximum(dy, cache):
    """all of dy went to the largest logit: that is the gradient of the hard maximum. The soft one shares it as p."""
    return (cache == cache.max(axis=-1, keepdims=True)) * dy[..., None]


@mistake("log_sum_exp_backward", "dz")
def log_sum_exp_through_softmax(dy, cache):
    """you went through the Jacobian of softmax as well: the gradient of log-sum-exp is p itself, dz = p · dy."""
    return dy[..., None] * cache * (1 - cache)


@mistake("log_sum_exp_backward", "dz")
def log_sum_exp_without_p(dy, cache):
    """every class got all of dy; class i gets only the share p_i of it."""
    return dy[..., None] * np.ones_like(cache)


@mistake("soft_argmax_forward", "y")
def counted_from_one(z):
    """the indices start at 1 here; classes are counted from 0."""
    p = softmax.softmax_forward(z)[0]
    y = (p * np.arange(1, z.shape[-1] + 1)).sum(axis=-1)
    return y, (p, y)


@mistake("soft_argmax_forward", "y")
def index_of_the_maximum(z):
    """this is the hard argmax; the soft one is the mean of all indices, weighted by p."""
    p = softmax.softmax_forward(z)[0]
    y = p.argmax(axis=-1).astype(z.dtype)
    return y, (p, y)


@mistake("soft_argmax_backward", "dz")
def index_without_the_mean(dy, cache):
    """the index is not compared with its mean: ∂y/∂z_j is p_j · (j - y), not p_j · j."""
    return dy[..., None] * cache[0] * np.arange(cache[0].shape[-1])


@mistake("soft_argmax_backward", "dz")
def soft_argmax_without_p(dy, cache):
    """the factor p_j is missing: ∂y/∂z_j is p_j · (j - y)."""
    return dy[..., None] * (np.arange(cache[0].shape[-1]) - cache[1][..., None])


# ---------------------------------------------------------------- log-softmax
@mistake("log_softmax_forward", "y")
def log_of_softmax(z):
    """this is log(softmax(z)): where p underflows to 0 its logarithm is -inf. Use z - max - log Σ e^(z - max)."""
    y = np.log(softmax.softmax_forward(z)[0])
    return y, y


@mistake("log_softmax_forward", "y")
def log_softmax_overflows(z):
    """the formula is right, but e^z overflows: subtract the row's maximum first, everywhere."""
    y = z - np.log(_sum(np.exp(z)))
    return y, y


@mistake("log_softmax_forward", "y")
def without_the_logarithm(z):
    """this is softmax; log-softmax is its logarithm, s - log Σ e^s."""
    p = softmax.softmax_forward(z)[0]
    return p, p


@mistake("log_softmax_backward", "dz")
def identity(dy, cache):
    """the second term is missing: all of dy also reaches z_i through the log-sum-exp, -p_i · Σ_j dy_j."""
    return dy.copy()


@mistake("log_softmax_backward", "dz")
def log_softmax_like_softmax(dy, cache):
    """this is the backward of softmax, p · (dy - Σ p · dy); log-softmax's is dy - p · Σ dy."""
    p = np.exp(cache)
    return p * (dy - _sum(p * dy))


@mistake("log_softmax_backward", "dz")
def logarithm_for_probability(dy, cache):
    """the cache holds y = log p; Σ dy has to be multiplied by p = e^y."""
    return dy - cache * _sum(dy)


@mistake("log_softmax_backward", "dz")
def p_on_dy_too(dy, cache):
    """p multiplies dy too; it belongs to the sum alone: dy - p · Σ_j dy_j."""
    return np.exp(cache) * (dy - _sum(dy))


@mistake("log_softmax_backward", "dz")
def weighted_sum(dy, cache):
    """there is one p too many inside the sum: dz = dy - p · Σ_j dy_j."""
    p = np.exp(cache)
    return dy - p * _sum(p * dy)


@mistake("log_softmax_approximation_forward", "y")
def one_maximum(z):
    """z.max() is the maximum of the whole array; each row has its own: axis=-1, keepdims=True."""
    return z - z.max(), z - z.max()


@mistake("log_softmax_approximation_forward", "y")
def exact_instead(z):
    """this is the exact log-softmax; the approximation leaves out log Σ e^(z - max)."""
    return softmax.log_softmax_forward(z)


@mistake("log_softmax_approximation_backward", "dz")
def maximum_as_a_constant(dy, cache):
    """the maximum is not a constant: it moves with the largest logit, which gets -Σ_j dy_j as well."""
    return dy.copy()


@mistake("log_softmax_approximation_backward", "dz")
def soft_for_hard(dy, cache):
    """this is the backward of the exact log-softmax; here all of -Σ_j dy_j goes to the maximum, where y is 0."""
    y = cache - np.log(_sum(np.exp(cache)))
    return dy - np.exp(y) * _sum(dy)
