"""The loss of an adaptive softmax: frequent classes in a short list, all rarer ones behind one place of it.

Design: the page to read, with one cluster, no biases, and classes numbered by falling frequency. The head
(heads/adaptive.py) takes several clusters, any numbering, and a block of classes at a time. Derivation:
docs/adaptive.md.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import labels, number, refuse, taken
from npsoftmax.backend import Array, array_module
from npsoftmax.functional.softmax import log_softmax_forward


def adaptive_loss_forward(
    h: Array, w_head: Array, proj: Array, w_tail: Array, t: Array, cutoff: int
) -> tuple[Array, Any]:
    """Mean of -log p(t): t < cutoff is in the short list, a rarer class is reached through the cluster.

    log p(t) = log softmax(h @ w_headᵀ)_t for t < cutoff, else log softmax(h @ w_headᵀ)_cutoff (the cluster's own
    place, the last one) + log softmax(h @ projᵀ @ w_tailᵀ)_{t - cutoff}.
    h (N, D), w_head (cutoff + 1, D), proj (E, D), w_tail (C - cutoff, E), t (N,) -> loss (). Only samples with
    t >= cutoff, the rows `tail`, are ever multiplied by proj and w_tail.
    """
    h, w_head, proj, w_tail = taken("h (N, D), w_head (H, D), proj (E, D), w_tail (T, E)", h, w_head, proj, w_tail)
    if cutoff != len(w_head) - 1:
        raise refuse(f"cutoff is {cutoff}, but {len(w_head) - 1} was expected: w_head has one row more, {len(w_head)}.")
    t = labels(t, len(h), cutoff + len(w_tail))
    xp = array_module(h)
    log_p_head = log_softmax_forward(h @ w_head.T)[0]
    tail = xp.flatnonzero(t >= cutoff)
    low = h[tail] @ proj.T  # (T, E)
    log_p_tail = log_softmax_forward(low @ w_tail.T)[0]
    log_p = log_p_head[xp.arange(len(t)), xp.minimum(t, cutoff)]
    log_p[tail] += log_p_tail[xp.arange(len(tail)), t[tail] - cutoff]
    return -log_p.mean(), (h, w_head, proj, w_tail, t, cutoff, tail, low, xp.exp(log_p_head), xp.exp(log_p_tail))


def adaptive_loss_backward(dloss: Array | float, cache: Any) -> tuple[Array, Array, Array, Array]:
    """Two cross entropies, the second for the samples of the tail only, and back through three matrix products.

    dloss () -> dh (N, D), dw_head (cutoff + 1, D), dproj (E, D), dw_tail (C - cutoff, E)
    """
    h, w_head, proj, w_tail, t, cutoff, tail, low, p_head, p_tail = cache
    dloss = number(dloss)
    xp = array_module(h)
    scale = dloss / len(t)
    dz_head, dz_tail = p_head * scale, p_tail * scale
    dz_head[xp.arange(len(t)), xp.minimum(t, cutoff)] -= scale
    dz_tail[xp.arange(len(tail)), t[tail] - cutoff] -= scale
    dlow = dz_tail @ w_tail
    dh = dz_head @ w_head
    dh[tail] += dlow @ proj
    return dh, dz_head.T @ h, dlow.T @ h[tail], dz_tail.T @ low
