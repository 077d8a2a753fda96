"""Mistakes of a1: the cross entropy, and softmax's relatives."""

from __future__ import annotations

import numpy as np

from npsoftmax.functional import gumbel, loss, softmax, taylor
from npsoftmax.grading.mistakes.base import mistake


# ---------------------------------------------------------------- cross entropy
def _cross_entropy(z, t, smoothing=0.0, temperature=1.0, mean=np.mean):
    p = softmax.softmax_forward(z / temperature)[0]
    log_p = softmax.log_softmax_forward(z / temperature)[0]
    rows = (1 - smoothing) * log_p[np.arange(len(t)), t] + smoothing * log_p.mean(axis=1)
    return -mean(rows), (p, t, smoothing, temperature)


@mistake("softmax_cross_entropy_forward", "loss")
def sum_for_mean(z, t, label_smoothing=0.0, temperature=1.0):
    """the loss is summed over the N = {N} samples; it is their mean, and this is the only place where 1/N stands."""
    return _cross_entropy(z, t, label_smoothing, temperature, np.sum)


@mistake("softmax_cross_entropy_forward", "loss")
def double_softmax(z, t, label_smoothing=0.0, temperature=1.0):
    """softmax was applied twice: the loss is -log p of the target, with p the softmax of the logits, once."""
    p = softmax.softmax_forward(z / temperature)[0]
    value = _cross_entropy(p, t, label_smoothing)[0]
    return value, (p, t, label_smoothing, temperature)


@mistake("softmax_cross_entropy_forward", "loss")
def no_logarithm(z, t, label_smoothing=0.0, temperature=1.0):
    """the logarithm is missing: this is minus the mean probability of the target."""
    value, cache = _cross_entropy(z, t, label_smoothing, temperature)
    return -cache[0][np.arange(len(t)), t].mean(), cache


@mistake("softmax_cross_entropy_forward", "loss")
def log_underflows(z, t, label_smoothing=0.0, temperature=1.0):
    """this takes the logarithm of a probability that has underflowed to 0: use log-softmax, s - log Σ e^s."""
    p = softmax.softmax_forward(z / temperature)[0]
    rows = (1 - label_smoothing) * np.log(p[np.arange(len(t)), t]) + (
        label_smoothing * np.log(p).mean(axis=1) if label_smoothing else 0
    )
    return -rows.mean(), (p, t, label_smoothing, temperature)


@mistake("softmax_cross_entropy_forward", "loss")
def temperature_forgotten(z, t, label_smoothing=0.0, temperature=1.0):
    """the temperature is ignored: divide the logits by it first."""
    return _cross_entropy(z, t, label_smoothing)


@mistake("softmax_cross_entropy_forward", "loss")
def smoothing_forgotten(z, t, label_smoothing=0.0, temperature=1.0):
    """the label smoothing is ignored: the target counts 1 - ε, the mean of log p over all classes counts ε."""
    value, cache = _cross_entropy(z, t, 0.0, temperature)
    return value, (cache[0], t, label_smoothing, temperature)


@mistake("softmax_cross_entropy_backward", "dz")
def target_not_subtracted(dloss, cache):
    """dz is p - q: the targets q (1 at the label) were not subtracted."""
    p, t, _, temperature = cache
    return p * dloss / (len(t) * temperature)


@mistake("softmax_cross_entropy_backward", "p")
def probabilities_changed(dloss, cache):
    """the probabilities in the cache were changed in place (p[rows, t] -= 1): work on a copy of them."""
    p, t, smoothing, temperature = cache
    right = loss.softmax_cross_entropy_backward(dloss, cache)
    p[np.arange(len(t)), t] -= 1
    return right


# ---------------------------------------------------------------- Gumbel
@mistake("gumbel_softmax_forward", "p")
def noise_divided_only(z, noise, tau):
    """only the noise is divided by τ; divide the sum of both, (z + g) / τ."""
    p = softmax.softmax_forward(z + noise / tau)[0]
    return p, (p, tau)


@mistake("gumbel_softmax_forward", "p")
def tau_forgotten(z, noise, tau):
    """the temperature τ is ignored: divide z + g by it."""
    p = softmax.softmax_forward(z + noise)[0]
    return p, (p, tau)


@mistake("gumbel_softmax_forward", "p")
def noise_on_probabilities(z, noise, tau):
    """the noise was added to the probabilities; it belongs on the logits, inside the softmax."""
    p = softmax.softmax_forward(z / tau)[0] + noise
    return p, (p, tau)


@mistake("gumbel_softmax_forward", "p")
def multiplied_by_tau(z, noise, tau):
    """z + g was multiplied by τ; divide by τ, so that a small τ makes p sharper."""
    p = softmax.softmax_forward((z + noise) * tau)[0]
    return p, (p, tau)


@mistake("gumbel_softmax_backward", "dz")
def gradient_without_tau(dy, cache):
    """the factor 1/τ is missing: u = (z + g) / τ, so du/dz = 1/τ."""
    return softmax.softmax_backward(dy, cache[0])


@mistake("gumbel_softmax_backward", "dz")
def gradient_times_tau(dy, cache):
    """you multiplied by τ; u = (z + g) / τ, so du/dz = 1/τ."""
    return softmax.softmax_backward(dy, cache[0]) * cache[1]


@mistake("gumbel_softmax_backward", "dz")
def gradient_through_the_noise(dy, cache):
    """the gradient is doubled, as if it went through the noise as well: the noise is a constant of the step."""
    return 2 * gumbel.gumbel_softmax_backward(dy, cache)


@mistake("gumbel_softmax_backward", "dz")
def gumbel_diagonal(dy, cache):
    """only the diagonal of softmax's Jacobian is there: each p_i also depends on every other z_j."""
    p, tau = cache
    return dy * p * (1 - p) / tau


@mistake("log_gumbel_softmax_forward", "y")
def noise_inside_the_logarithm(z, noise, tau):
    """this is log(softmax(z) + noise), the logarithm of a negative number as soon as noise < -p: add the noise to z."""
    y = np.log(softmax.softmax_forward(z / tau)[0] + noise)
    return y, (y, tau)


@mistake("log_gumbel_softmax_forward", "y")
def log_gumbel_without_tau(z, noise, tau):
    """the temperature τ is ignored: divide z + g by it."""
    y = softmax.log_softmax_forward(z + noise)[0]
    return y, (y, tau)


@mistake("log_gumbel_softmax_forward", "y")
def log_of_gumbel_softmax(z, noise, tau):
    """this is the logarithm of a softmax, -inf where p underflows: use log-softmax of (z + g) / τ."""
    y = np.log(gumbel.gumbel_softmax_forward(z, noise, tau=tau)[0])
    return y, (y, tau)


@mistake("log_gumbel_softmax_backward", "dz")
def log_gradient_without_tau(dy, cache):
    """the factor 1/τ is missing: u = (z + g) / τ, so du/dz = 1/τ."""
    return softmax.log_softmax_backward(dy, cache[0])


@mistake("log_gumbel_softmax_backward", "dz")
def backward_of_the_other(dy, cache):
    """this is the backward of softmax of u; for the logarithm it is (dy - p · Σ dy) / τ."""
    y, tau = cache
    return softmax.softmax_backward(dy, np.exp(y)) / tau


# ---------------------------------------------------------------- Taylor
@mistake("taylor_polynomial", "f")
def no_factorials(z, order):
    """the factorials are missing: the terms are z^i / i!."""
    return sum(z**i for i in range(order + 1))


@mistake("taylor_polynomial", "f")
def last_term_missing(z, order):
    """the last term, z^n / n!, is missing: range(n) ends at n - 1."""
    return taylor.taylor_polynomial(z, order - 1)


@mistake("taylor_polynomial", "f")
def no_constant_term(z, order):
    """the first term is missing: z^0 / 0! = 1."""
    return taylor.taylor_polynomial(z, order) - 1


@mistake("taylor_softmax_forward", "p")
def max_trick_in_taylor(z, order):
    """you subtracted the maximum: f(z - c) is no multiple of f(z), so here that changes the probabilities."""
    s = z - z.max(axis=-1, keepdims=True)
    p = taylor.taylor_softmax_forward(s, order=order)[0]
    return p, (s, p, order)


@mistake("taylor_softmax_forward", "p")
def softmax_of_the_polynomial(z, order):
    """this is the softmax of the polynomials; the polynomial takes the place of e^z, so divide by its sum."""
    p = softmax.softmax_forward(taylor.taylor_polynomial(z, order))[0]
    return p, (z, p, order)


@mistake("taylor_softmax_backward", "dz")
def taylor_like_softmax(dy, cache):
    """this is softmax's backward: r = f'/f is 1 for the exponential only, here it multiplies p."""
    return softmax.softmax_backward(dy, cache[1])


@mistake("taylor_softmax_backward", "dz")
def derivative_not_divided(dy, cache):
    """p is multiplied by f' where it has to be f'/f, the derivative of log f."""
    z, p, order = cache
    return taylor.taylor_polynomial(z, order - 1) * softmax.softmax_backward(dy, p)


@mistake("taylor_softmax_backward", "dz")
def taylor_diagonal(dy, cache):
    """only the diagonal of the Jacobian is there: the sum in the denominator depends on every z_j."""
    z, p, order = cache
    return taylor.taylor_polynomial(z, order - 1) / taylor.taylor_polynomial(z, order) * p * (1 - p) * dy
