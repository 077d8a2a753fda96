"""Probabilities of classes that have an order, two ways. Derivations: docs/ordinal.md.

    cumulative   one score s a sample and C - 1 thresholds: P(class <= k) = σ(b_k - s)
    CORN         a score z_k a rank, given that it was reached: P(class > k | class >= k) = σ(z_k)

Design: a class's probability is a difference of sigmoids in the first and a product of them in the second. The
difference is a product as well, σ(u) - σ(v) = σ(u) · σ(-v) · (1 - e^{-(u - v)}), and u - v is the gap between two
thresholds, which is kept as such. So both are sums of logarithms, and nothing cancels however far off a score is.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import gradient_like, taken
from npsoftmax.backend import Array, array_module
from npsoftmax.cuda import joined
from npsoftmax.functional.path import sigmoid


# ---------------------------------------------------------------- thresholds on one score
def thresholds(theta: Array) -> tuple[Array, Array]:
    """b_1 = θ_1, b_k = b_{k-1} + softplus(θ_k): rising, whatever θ is. theta (C - 1,) -> b (C - 1,), gaps (C - 2,)."""
    xp = array_module(theta)
    gaps = xp.maximum(softplus(theta[1:]), xp.finfo(theta.dtype).tiny)  # which has a logarithm
    return joined([theta[:1], theta[:1] + xp.cumsum(gaps)]), gaps


def cumulative_log_prob_forward(s: Array, theta: Array) -> tuple[Array, Any]:
    """log p_k = log(σ(b_k - s) - σ(b_{k-1} - s)), b = `thresholds`(θ), b_0 = -∞, b_C = ∞.

    s (N,), theta (C - 1,) -> log_p (N, C). Source: McCullagh, 1980.
    """
    s, theta = taken("s (N), theta (K)", s, theta)
    xp = array_module(s)
    b, gaps = thresholds(theta)
    u = b - s[:, None]  # (N, C - 1)
    log_p = xp.zeros((len(s), len(theta) + 1), dtype=s.dtype)
    log_p[:, :-1] -= softplus(-u)  # log σ(b_k - s): not above k
    log_p[:, 1:] -= softplus(u)  # log σ(s - b_{k-1}): above k - 1
    log_p[:, 1:-1] += xp.log(-xp.expm1(-gaps))
    return log_p, (u, theta, gaps)


def cumulative_log_prob_backward(dlog_p: Array, cache: Any) -> tuple[Array, Array]:
    """With u_k = b_k - s: du_k = σ(-u_k) · dlog_p_k - σ(u_k) · dlog_p_{k+1}; ds = -Σ_k du_k.

    A gap moves all thresholds from it on, and the probability of its own class by 1 / (e^gap - 1).
    dlog_p (N, C) -> ds (N,), dtheta (C - 1,).
    """
    u, theta, gaps = cache
    dlog_p = gradient_like(dlog_p, (len(u), len(theta) + 1), "dlog_p")
    xp = array_module(u)
    du = sigmoid(-u) * dlog_p[:, :-1] - sigmoid(u) * dlog_p[:, 1:]
    from_here_on = xp.cumsum(du.sum(axis=0)[::-1])[::-1]
    slope = sigmoid(theta[1:])
    own = slope * xp.exp(-gaps) / -xp.expm1(-gaps)  # at most 1: first the quotient, where both may be tiny
    dgaps = slope * from_here_on[1:] + own * dlog_p[:, 1:-1].sum(axis=0)
    return -du.sum(axis=1), joined([from_here_on[:1], dgaps])


# ---------------------------------------------------------------- a score a rank
def corn_log_prob_forward(z: Array) -> tuple[Array, Any]:
    """log p_k = Σ_{j<k} log σ(z_j) + log σ(-z_k), and Σ_j log σ(z_j) for the last class.

    z (N, C - 1) -> log_p (N, C). Source: Shi, Cao and Raschka, 2021 (arXiv 2111.08851).
    """
    (z,) = taken("z (N, K)", z)
    xp = array_module(z)
    log_p = xp.zeros((len(z), z.shape[1] + 1), dtype=z.dtype)
    log_p[:, 1:] = -xp.cumsum(softplus(-z), axis=1)  # log P(class >= k)
    log_p[:, :-1] -= softplus(z)
    return log_p, z


def corn_log_prob_backward(dlog_p: Array, cache: Any) -> Array:
    """dz_k = σ(-z_k) · Σ_{c>k} dlog_p_c - σ(z_k) · dlog_p_k. dlog_p (N, C) -> dz (N, C - 1)."""
    z = cache
    dlog_p = gradient_like(dlog_p, (len(z), z.shape[1] + 1), "dlog_p")
    xp = array_module(z)
    beyond = xp.cumsum(dlog_p[:, :0:-1], axis=1)[:, ::-1]
    return sigmoid(-z) * beyond - sigmoid(z) * dlog_p[:, :-1]


# ---------------------------------------------------------------- shared
def softplus(x: Array) -> Array:
    """log(1 + e^x) without overflow; -softplus(-x) is log σ(x)."""
    xp = array_module(x)
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))
