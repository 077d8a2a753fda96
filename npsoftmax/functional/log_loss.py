"""The cross entropy of probabilities that cannot underflow. Derivation: docs/taylor.md.

Design: -log p after an exponential is what log-softmax exists to avoid. After a polynomial it is sound: no share of
Taylor's softmax can fall below about |z|^-n, far inside the range of float32. So this pair stands apart from `loss`,
whose losses take any logits.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import number
from npsoftmax.backend import Array, array_module
from npsoftmax.functional.loss import check_targets


def log_loss_forward(p: Array, t: Array, label_smoothing: float = 0.0) -> tuple[Array, Any]:
    """Mean of -Σ_c q_c · log p_c, where q = (1 - ε) · onehot(t) + ε / C.

    p (N, C) probabilities above 0, t (N,) integer labels -> loss (). Label smoothing ε in [0, 1]; without it
    only the N targets cost a logarithm.
    """
    p, t = check_targets(p, t)
    xp = array_module(p)
    loss = -(1 - label_smoothing) * xp.log(p[xp.arange(len(t)), t]).mean()
    if label_smoothing:
        loss = loss - label_smoothing * xp.log(p).mean()
    return loss, (p, t, label_smoothing)


def log_loss_backward(dloss: Array | float, cache: Any) -> Array:
    """dp = -q / p · dloss / N. dloss () -> dp (N, C)."""
    p, t, smoothing = cache
    dloss = number(dloss)
    xp = array_module(p)
    rows, scale = xp.arange(len(t)), dloss / len(t)
    dp = -scale * smoothing / p.shape[1] / p if smoothing else xp.zeros_like(p)
    dp[rows, t] -= scale * (1 - smoothing) / p[rows, t]
    return dp
