"""The cross entropy of probabilities that cannot underflow. Derivation: docs/taylor.md.

Design: -log p after an exponential is what log-softmax exists to avoid. After a polynomial it is sound: no share of
Taylor's softmax can fall below about |z|^-n, far inside the range of float32. So this pair stands apart from `loss`,
whose losses take any logits.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import gradient_like
from npsoftmax.backend import Array, array_module
from npsoftmax.functional.targets import labels_or_soft, mass_of


def log_loss_forward(p: Array, t: Array, label_smoothing: float = 0.0) -> tuple[Array, Any]:
    """-Σ_c q_c · log p_c of each sample, q = (1 - ε) · onehot(t) + ε / C.

    p (N, C) probabilities above 0, t (N,) labels or (N, C) soft -> losses (N,). Label smoothing ε in [0, 1]; with
    labels and without smoothing only the N targets cost a logarithm.
    """
    p, t = labels_or_soft(p, t)
    xp = array_module(p)
    log_p_t = xp.log(p[xp.arange(len(t)), t]) if t.ndim == 1 else (t * xp.log(p)).sum(axis=1)
    losses = -(1 - label_smoothing) * log_p_t
    if label_smoothing:
        losses = losses - label_smoothing * mass_of(t) * xp.log(p).mean(axis=1)
    return losses, (p, t, label_smoothing)


def log_loss_backward(dlosses: Array, cache: Any) -> Array:
    """dp = -q / p · dlosses, q smoothed. dlosses (N,) -> dp (N, C)."""
    p, t, smoothing = cache
    dlosses = gradient_like(dlosses, p.shape[:1], "dlosses")
    xp = array_module(p)
    if smoothing:
        dp = (-dlosses * mass_of(t) * (smoothing / p.shape[1]))[:, None] / p
    else:
        dp = xp.zeros_like(p)
    if t.ndim == 1:
        rows = xp.arange(len(t))
        dp[rows, t] -= dlosses * (1 - smoothing) / p[rows, t]
        return dp
    return dp - t * (dlosses * (1 - smoothing))[:, None] / p
