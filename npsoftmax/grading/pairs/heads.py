"""The losses of the two-level, the adaptive and the sampled head as pairs; the heads themselves spread them over
methods.

Classes of the adaptive loss are numbered by falling frequency here; the head does the renumbering.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.backend import Array, array_module
from npsoftmax.functional.softmax import log_softmax_forward


# ---------------------------------------------------------------- superclass, then class
def two_level_loss_forward(z_group: Array, z_class: Array, t: Array, group: Array) -> tuple[Array, Any]:
    """Mean of −log p(group of t) − log p(t | its group): a softmax over the groups, and one over the classes of the
    group.

    z_group (N, G), z_class (N, C), t (N,) labels, group (C,): the group of each class -> loss ().
    Scores of classes in other groups than the target's play no part.
    """
    xp = array_module(z_group)
    rows, g = xp.arange(len(t)), group[t]
    log_p_group = log_softmax_forward(z_group)[0]
    inside = group == g[:, None]  # (N, C): the classes of the target's group
    log_p_class = log_softmax_forward(xp.where(inside, z_class, -xp.inf))[0]
    loss = -(log_p_group[rows, g] + log_p_class[rows, t]).mean()
    return loss, (xp.exp(log_p_group), xp.exp(log_p_class), t, g)


def two_level_loss_backward(dloss: Array, cache: Any) -> tuple[Array, Array]:
    """Two cross entropies: dz = (p − onehot)·dloss/N in each; exactly 0 in other groups. -> dz_group, dz_class."""
    p_group, p_class, t, g = cache
    rows, scale = array_module(p_group).arange(len(t)), dloss / len(t)
    dz_group, dz_class = p_group * scale, p_class * scale
    dz_group[rows, g] -= scale
    dz_class[rows, t] -= scale
    return dz_group, dz_class


# ---------------------------------------------------------------- a short list, and a cluster behind it
def adaptive_loss_forward(
    h: Array, w_head: Array, proj: Array, w_tail: Array, t: Array, cutoff: int
) -> tuple[Array, Any]:
    """Mean of −log p(t): t < cutoff is in the short list, a rarer class is reached through the cluster.

    log p(t) = log softmax(h @ w_headᵀ)_t for t < cutoff, else log softmax(h @ w_headᵀ)_cutoff (the cluster's own
    place, the last one) + log softmax(h @ projᵀ @ w_tailᵀ)_{t − cutoff}.
    h (N, D), w_head (cutoff + 1, D), proj (E, D), w_tail (C − cutoff, E), t (N,) -> loss (). Only samples with
    t >= cutoff, the rows `tail`, are ever multiplied by proj and w_tail.
    """
    xp = array_module(h)
    log_p_head = log_softmax_forward(h @ w_head.T)[0]
    tail = xp.flatnonzero(t >= cutoff)
    low = h[tail] @ proj.T  # (T, E)
    log_p_tail = log_softmax_forward(low @ w_tail.T)[0]
    log_p = log_p_head[xp.arange(len(t)), xp.minimum(t, cutoff)]
    log_p[tail] += log_p_tail[xp.arange(len(tail)), t[tail] - cutoff]
    return -log_p.mean(), (h, w_head, proj, w_tail, t, cutoff, tail, low, xp.exp(log_p_head), xp.exp(log_p_tail))


def adaptive_loss_backward(dloss: Array, cache: Any) -> tuple[Array, Array, Array, Array]:
    """Two cross entropies, the second for the samples of the tail only, and back through three matrix products.

    dloss () -> dh (N, D), dw_head (cutoff + 1, D), dproj (E, D), dw_tail (C − cutoff, E)
    """
    h, w_head, proj, w_tail, t, cutoff, tail, low, p_head, p_tail = cache
    xp = array_module(h)
    scale = dloss / len(t)
    dz_head, dz_tail = p_head * scale, p_tail * scale
    dz_head[xp.arange(len(t)), xp.minimum(t, cutoff)] -= scale
    dz_tail[xp.arange(len(tail)), t[tail] - cutoff] -= scale
    dlow = dz_tail @ w_tail
    dh = dz_head @ w_head
    dh[tail] += dlow @ proj
    return dh, dz_head.T @ h, dlow.T @ h[tail], dz_tail.T @ low


# ---------------------------------------------------------------- the target against a few classes
def sampled_loss_forward(
    h: Array, w: Array, b: Array, t: Array, drawn: Array, log_expected: Array
) -> tuple[Array, Any]:
    """Mean of −log( e^{z_t} / (e^{z_t} + Σ_{c drawn, c ≠ t} e^{z_c − log_expected_c}) ), z = h @ wᵀ + b.

    h (N, D), w (C, D), b (C,), t (N,) labels, drawn (S,) classes, each once, log_expected (S,): the logarithm of how
    often each was expected among the draws -> loss (). A drawn class that is the target must not count twice.
    """
    xp = array_module(h)
    z_t = (h * w[t]).sum(axis=1) + b[t]
    z = h @ w[drawn].T + b[drawn] - log_expected  # (N, S)
    z = xp.where(drawn == t[:, None], -xp.inf, z)
    log_p = log_softmax_forward(xp.concatenate([z_t[:, None], z], axis=1))[0]
    return -log_p[:, 0].mean(), (h, w, t, drawn, xp.exp(log_p))


def sampled_loss_backward(dloss: Array, cache: Any) -> tuple[Array, Array, Array]:
    """Column 0 of p (N, 1 + S) is the target, the others are the drawn classes; a row of w may get several shares.

    dloss () -> dh (N, D), dw (C, D), db (C,), both 0 in every row that was neither drawn nor a target
    """
    h, w, t, drawn, p = cache
    xp = array_module(h)
    scale = dloss / len(t)
    dz_t, dz = (p[:, :1] - 1) * scale, p[:, 1:] * scale
    dh = dz_t * w[t] + dz @ w[drawn]
    dw, db = xp.zeros_like(w), xp.zeros_like(w[:, 0])
    dw[drawn] += dz.T @ h
    db[drawn] += dz.sum(axis=0)
    xp.add.at(dw, t, dz_t * h)  # += would count a label that occurs twice only once
    xp.add.at(db, t, dz_t[:, 0])
    return dh, dw, db
