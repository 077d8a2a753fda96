"""The cross entropy of a softmax, as one reads it; the library's own makes one pass over the logits."""

from __future__ import annotations

from typing import Any

from npsoftmax.backend import Array, array_module


def softmax_cross_entropy_forward(
    z: Array, t: Array, label_smoothing: float = 0.0, temperature: float = 1.0
) -> tuple[Array, Any]:
    """Mean of -Σ_c q_c log softmax(z / T)_c, where q = (1 - ε) onehot(t) + ε / C.

    z (N, C) logits, t (N,) integer labels -> loss (). Label smoothing ε in [0, 1], temperature T > 0.
    Given probabilities it applies softmax twice, and cannot fall below ln(e + C - 1) - 1 (3.62 at C = 100).
    """
    xp = array_module(z)
    s = (z - z.max(axis=1, keepdims=True)) / temperature
    log_p = s - xp.log(xp.exp(s).sum(axis=1, keepdims=True))
    nll = -(1 - label_smoothing) * log_p[xp.arange(len(t)), t] - label_smoothing * log_p.mean(axis=1)
    return nll.mean(), (xp.exp(log_p), t, label_smoothing, temperature)


def softmax_cross_entropy_backward(dloss: Array, cache: Any) -> Array:
    """dz = (p - q) dloss / (N T), p the probabilities, q the smoothed targets. dloss () -> dz (N, C)."""
    p, t, label_smoothing, temperature = cache
    xp = array_module(p)
    dz = p - label_smoothing / p.shape[1]
    dz[xp.arange(len(t)), t] -= 1 - label_smoothing
    return dz * (dloss / (len(t) * temperature))
