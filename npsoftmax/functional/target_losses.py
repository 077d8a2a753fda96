"""Losses that see one probability only, that of the target: focal and Poly-1, generalised cross entropy.

Derivations: docs/focal-and-robust.md.

Design: each is a function f of log p_t, so by the chain rule dz = A · (p - onehot), A = -f'(log p_t): the gradient of
the cross entropy, and a factor a sample. Soft targets q: the loss is Σ_c q_c · f(log p_c).
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import gradient_like
from npsoftmax.backend import Array, array_module
from npsoftmax.functional import softmax
from npsoftmax.functional.targets import at_targets, labels_or_soft, less_targets


def focal_forward(z: Array, t: Array, gamma: float = 2.0, epsilon: float = 0.0) -> tuple[Array, Any]:
    """(1 - p_t)^γ · (-log p_t + ε · (1 - p_t)) of each sample, p = softmax(z). γ >= 0, ε > -1.

    ε = 0: focal loss; γ = 0: Poly-1; both 0: the cross entropy. z (N, C), t (N,) labels or (N, C) soft -> losses (N,).
    Source: Lin et al., 2017 (arXiv 1708.02002); Leng et al., 2022 (arXiv 2204.12511).
    """
    z, t, p, log_p = _target_log_p(z, t)
    xp = array_module(z)
    rest = -xp.expm1(log_p)  # 1 - p_t
    power = rest**gamma
    values = power * (epsilon * rest - log_p)
    ratio = xp.where(rest > 0, -log_p / xp.where(rest > 0, rest, 1), 1)  # -log p / (1 - p), which tends to 1
    slope = power * (1 + xp.exp(log_p) * (gamma * ratio + epsilon * (gamma + 1)))
    return _of_targets(values, t), (p, t, slope)


def focal_backward(dlosses: Array, cache: Any) -> Array:
    """dz = A · (p - onehot) · dloss, A = (1-p_t)^γ · (1 + ε(γ+1) · p_t) - γ · p_t · (1-p_t)^{γ-1} · log p_t.

    dlosses (N,) -> dz (N, C).
    """
    return _through_targets(dlosses, cache)


def generalised_cross_entropy_forward(z: Array, t: Array, q: float = 0.7) -> tuple[Array, Any]:
    """(1 - p_t^q) / q of each sample, p = softmax(z): at most 1 / q. 0 < q <= 1; for q -> 0 it is the cross entropy.

    q = 1 is half the distance Σ_c |p_c - onehot_c|. z (N, C), t (N,) labels or (N, C) soft -> losses (N,).
    Source: Zhang and Sabuncu, 2018 (arXiv 1805.07836).
    """
    z, t, p, log_p = _target_log_p(z, t)
    xp = array_module(z)
    return _of_targets(-xp.expm1(q * log_p) / q, t), (p, t, xp.exp(q * log_p))


def generalised_cross_entropy_backward(dlosses: Array, cache: Any) -> Array:
    """dz = p_t^q · (p - onehot) · dloss: what the network finds impossible teaches it little.

    dlosses (N,) -> dz (N, C).
    """
    return _through_targets(dlosses, cache)


# ---------------------------------------------------------------- shared
def _target_log_p(z: Array, t: Array) -> tuple[Array, Array, Array, Array]:
    """z, t, softmax(z) (N, C), and log p of the label (N,), or of every class (N, C) where t is soft."""
    z, t = labels_or_soft(z, t)
    log_p, _ = softmax.log_softmax_forward(z)
    return z, t, array_module(z).exp(log_p), at_targets(log_p, t) if t.ndim == 1 else log_p


def _of_targets(values: Array, t: Array) -> Array:
    return values if t.ndim == 1 else at_targets(values, t)


def _through_targets(dlosses: Array, cache: Any) -> Array:
    p, t, slope = cache
    dlosses = gradient_like(dlosses, p.shape[:1], "dlosses")
    if t.ndim == 1:
        pull = slope * dlosses
        dz = p * pull[:, None]
        less_targets(dz, t, pull)
        return dz
    pull = t * slope * dlosses[:, None]
    return p * pull.sum(axis=1, keepdims=True) - pull
