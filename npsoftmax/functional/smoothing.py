"""Targets that are not quite sure, and the readable cross entropy of such. (What trains is in loss.py, fused.)"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import fit, number, real, taken
from npsoftmax.backend import Array, array_module
from npsoftmax.functional.loss import check_smoothing
from npsoftmax.functional.targets import soft


def smoothed_targets(q: Array, label_smoothing: float) -> Array:
    """(1 - ε) · q + ε / C · Σ_c q_c of each row: a share ε is given to all classes alike. q (N, C) -> (N, C).

    Source: Szegedy et al., 2016.
    """
    q, smoothing = real(q, "q"), check_smoothing(label_smoothing)
    fit("q (N, C)", q.shape)
    return (1 - smoothing) * q + smoothing * q.mean(axis=1, keepdims=True)


def soft_cross_entropy_forward(z: Array, q: Array) -> tuple[Array, Any]:
    """Mean over the rows of -Σ_c q_c · log softmax(z)_c. z (N, C) logits, q (N, C) targets of at least 0 -> loss ()."""
    z, q = taken("z (N, C), q (N, C)", z, q)
    xp, q = array_module(z), soft(q, z.dtype)
    s = z - z.max(axis=1, keepdims=True)
    log_p = s - xp.log(xp.exp(s).sum(axis=1, keepdims=True))
    return -(q * log_p).sum(axis=1).mean(), (xp.exp(log_p), q)


def soft_cross_entropy_backward(dloss: Array | float, cache: Any) -> Array:
    """dz = (p · Σ_c q_c - q) · dloss / N, p = softmax(z). dloss () -> dz (N, C)."""
    p, q = cache
    return (p * q.sum(axis=1, keepdims=True) - q) * (number(dloss) / len(q))
