"""Losses of logits (N, C) against targets, one a sample. Derivations: docs/mappings.md.

Targets are labels (N,) or, where a pair says so, soft (N, C): see targets.py.

Design: the losses that train are those of the samples, and a head takes their mean (heads/base.py), which is where the
1/N and the weights of samples are. The readable cross entropy alone is a mean itself: it is the page to read. The
range of labels is checked for arrays on the host only: a check on the device would make every training step wait.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import gradient_like, number
from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError, as_number
from npsoftmax.functional import entmax, sparse_mappings
from npsoftmax.functional.softmax import positive
from npsoftmax.functional.targets import at_targets, check_targets, labels_or_soft, less_targets, mass_of
from npsoftmax.kernels import softmax as kernels


# ---------------------------------------------------------------- cross entropy
def softmax_cross_entropy_forward(
    z: Array, t: Array, label_smoothing: float = 0.0, temperature: float = 1.0
) -> tuple[Array, Any]:
    """Mean of -Σ_c q_c · log softmax(z / T)_c, where q = (1 - ε) · onehot(t) + ε / C.

    z (N, C) logits, t (N,) integer labels -> loss (). Label smoothing ε in [0, 1], temperature T > 0.
    Given probabilities it applies softmax twice, and cannot fall below ln(e + C - 1) - 1 (3.62 at C = 100).
    Source: Bridle, 1990; Szegedy et al., 2016 (smoothing).
    """
    z, t = check_targets(z, t)
    xp = array_module(z)
    label_smoothing, temperature = check_smoothing(label_smoothing), positive("temperature", temperature)
    s = (z - z.max(axis=1, keepdims=True)) / temperature
    log_p = s - xp.log(xp.exp(s).sum(axis=1, keepdims=True))
    nll = -(1 - label_smoothing) * log_p[xp.arange(len(t)), t]
    if label_smoothing:
        nll = nll - label_smoothing * log_p.mean(axis=1)
    return nll.mean(), (xp.exp(log_p), t, label_smoothing, temperature)


def softmax_cross_entropy_backward(dloss: Array | float, cache: Any) -> Array:
    """dz = (p - q) · dloss / (N · T), p the probabilities, q the smoothed targets. dloss () -> dz (N, C)."""
    p, t, label_smoothing, temperature = cache
    dloss = number(dloss)
    xp = array_module(p)
    dz = p - label_smoothing / p.shape[1]
    dz[xp.arange(len(t)), t] -= 1 - label_smoothing
    return dz * (dloss / (len(t) * temperature))


def softmax_cross_entropy_fused_forward(
    z: Array, t: Array, label_smoothing: float = 0.0, temperature: float = 1.0
) -> tuple[Array, Any]:
    """`softmax_cross_entropy_forward` of each sample, in one pass over the logits: what trains.

    z (N, C), t (N,) labels or (N, C) soft -> losses (N,). Soft targets q are smoothed to (1 - ε) · q + ε / C · Σ_c q_c.
    """
    z, t = labels_or_soft(z, t)
    xp = array_module(z)
    smoothing, temperature = check_smoothing(label_smoothing), positive("temperature", temperature)
    e, top, total, exponents = kernels.exp_rows(z, temperature)  # e^s, max z, Σ e^s, Σ s with s = (z - max z) / T
    mass, log_total = mass_of(t), xp.log(total)
    if t.ndim == 1:
        gap = z[xp.arange(len(t)), t] - top
    else:
        gap, log_total = (t * (z - top[:, None])).sum(axis=1), mass * log_total
    losses = log_total - (1 - smoothing) * gap / temperature
    if smoothing:
        losses = losses - mass * smoothing * exponents / z.shape[1]
    return losses, (e, total, t, mass, smoothing, temperature)


def softmax_cross_entropy_fused_backward(dlosses: Array, cache: Any) -> Array:
    """dz = (p · Σ_c q_c - q) · dlosses / T, q smoothed, in one pass over e^s. dlosses (N,) -> dz (N, C)."""
    e, total, t, mass, smoothing, temperature = cache
    slope = gradient_like(dlosses, total.shape, "dlosses") / temperature
    height, low = slope, None
    if smoothing:
        height, low = slope * (1 - smoothing), slope * mass * (smoothing / e.shape[1])
    if t.ndim == 1:
        return kernels.scaled_less_onehot(e, t, slope / total, height, low)
    dz = e * (slope * mass / total)[:, None] - t * height[:, None]
    return dz if low is None else dz - low[:, None]


def nll_forward(log_p: Array, t: Array, label_smoothing: float = 0.0) -> tuple[Array, Any]:
    """-Σ_c q_c · log_p_c of each sample: after log-softmax, the two-step route to the cross entropy.

    log_p (N, C) log-probabilities, t (N,) labels or (N, C) soft -> losses (N,). Label smoothing ε in [0, 1].
    Given probabilities instead, it is only minus the probability of the target.
    """
    log_p, t = labels_or_soft(log_p, t)
    smoothing = check_smoothing(label_smoothing)
    losses = -at_targets(log_p, t)
    if smoothing:
        losses = (1 - smoothing) * losses - smoothing * mass_of(t) * log_p.mean(axis=1)
    return losses, (log_p.shape, log_p.dtype, t, smoothing)


def nll_backward(dlosses: Array, cache: Any) -> Array:
    """dlog_p = -q · dlosses, q smoothed. dlosses (N,) -> dlog_p (N, C)."""
    shape, dtype, t, smoothing = cache
    dlosses = gradient_like(dlosses, shape[:1], "dlosses")
    xp = array_module(t)
    dlog_p = xp.zeros(shape, dtype=dtype)
    less_targets(dlog_p, t, dlosses * (1 - smoothing) if smoothing else dlosses)
    if smoothing:
        dlog_p -= (dlosses * mass_of(t) * (smoothing / shape[1]))[:, None]
    return dlog_p


# ---------------------------------------------------------------- Fenchel-Young losses of the sparse mappings
def sparsemax_loss_forward(z: Array, t: Array) -> tuple[Array, Any]:
    """Σ_c (p_c - onehot_c) · z_c + (1 - Σ_c p_c²) / 2, p = sparsemax(z), a sample: zero once z_t leads by 1.

    z (N, C), t (N,) labels or (N, C) soft -> losses (N,).
    Source: Martins and Astudillo, 2016; Blondel, Martins and Niculae, 2020.
    """
    z, t = labels_or_soft(z, t)
    p, _ = sparse_mappings.sparsemax_forward(z)
    return _expected_gap(z, t, p) + mass_of(t) * (1 - (p * p).sum(axis=1)) / 2, (p, t)


def sparsemax_loss_backward(dlosses: Array, cache: Any) -> Array:
    """dz = (p · Σ_c q_c - q) · dlosses, q the one-hot or soft target. dlosses (N,) -> dz (N, C)."""
    return _gap_gradient(dlosses, cache)


def entmax15_loss_forward(z: Array, t: Array) -> tuple[Array, Any]:
    """Σ_c (p_c - onehot_c) · z_c + 4/3 · (1 - Σ_c p_c^{3/2}), p = entmax15(z), a sample: zero once z_t leads by 2.

    z (N, C), t (N,) labels or (N, C) soft -> losses (N,).
    Source: Peters, Niculae and Martins, 2019; Blondel, Martins and Niculae, 2020.
    """
    z, t = labels_or_soft(z, t)
    xp = array_module(z)
    p, _ = sparse_mappings.entmax15_forward(z)
    return _expected_gap(z, t, p) + mass_of(t) * (1 - (p * xp.sqrt(p)).sum(axis=1)) * (4 / 3), (p, t)


def entmax15_loss_backward(dlosses: Array, cache: Any) -> Array:
    """dz = (p · Σ_c q_c - q) · dlosses, q the one-hot or soft target. dlosses (N,) -> dz (N, C)."""
    return _gap_gradient(dlosses, cache)


def entmax_loss_forward(z: Array, t: Array, alpha: float = 1.5) -> tuple[Array, Any]:
    """The same for any α > 1, p = entmax(z): zero once z_t leads by 1 / (α - 1).

    Σ_c (p_c - onehot_c) · z_c + (1 - Σ_c p_c^α) / (α · (α - 1)) a sample, where with p = exp_α(u) the last part is
    -Σ_c p_c · u_c / α: nothing is divided by α - 1. z (N, C), t (N,) labels or (N, C) soft -> losses (N,).
    Source: Peters, Niculae and Martins, 2019; Blondel, Martins and Niculae, 2020.
    """
    z, t = labels_or_soft(z, t)
    alpha = entmax.check_alpha(alpha)
    p, c = entmax.normalised(z, alpha)
    s = z - z.max(axis=1, keepdims=True)  # u + c
    inside = (1 - 1 / alpha) * (p * s).sum(axis=1) + c[:, 0] / alpha
    return mass_of(t) * inside - at_targets(s, t), (p, t)


def entmax_loss_backward(dlosses: Array, cache: Any) -> Array:
    """dz = (p · Σ_c q_c - q) · dlosses, q the one-hot or soft target. dlosses (N,) -> dz (N, C)."""
    return _gap_gradient(dlosses, cache)


# ---------------------------------------------------------------- hinge
def hinge_forward(z: Array, t: Array, margin: float = 1.0) -> tuple[Array, Any]:
    """max(0, margin + max_{c≠t} z_c - z_t) of each sample: zero once z_t leads every other class by the margin.

    z (N, C), t (N,) labels -> losses (N,). InputError for margin <= 0. Source: Crammer and Singer, 2001.
    """
    z, t = check_targets(z, t)
    xp = array_module(z)
    rows = xp.arange(len(t))
    gap = z - z[rows, t][:, None] + positive("margin", margin)
    gap[rows, t] = 0  # the floor of the outer max: where it wins, no class is too close
    rival = gap.argmax(axis=1)
    return gap[rows, rival], (z.shape, z.dtype, t, rival)


def hinge_backward(dlosses: Array, cache: Any) -> Array:
    """dz = +dlosses for the worst rival, -dlosses for the target, 0 where the margin is kept.

    Of tied rivals the first gets it all, one choice of subgradient. dlosses (N,) -> dz (N, C).
    """
    shape, dtype, t, rival = cache
    dlosses = gradient_like(dlosses, shape[:1], "dlosses")
    xp = array_module(t)
    rows = xp.arange(len(t))
    dz = xp.zeros(shape, dtype=dtype)
    dz[rows, rival] += dlosses
    dz[rows, t] -= dlosses  # cancels where the target is its own rival: the margin is kept
    return dz


def multi_margin_forward(z: Array, t: Array, margin: float = 1.0) -> tuple[Array, Any]:
    """Σ_{c≠t} max(0, margin + z_c - z_t) / C a sample: every class that comes too close counts, not only the worst.

    z (N, C), t (N,) labels -> losses (N,). InputError for margin <= 0. Source: Weston and Watkins, 1999.
    """
    z, t = check_targets(z, t)
    xp = array_module(z)
    rows = xp.arange(len(t))
    gap = z - z[rows, t][:, None] + positive("margin", margin)
    gap[rows, t] = 0
    close = gap > 0
    return xp.where(close, gap, 0).sum(axis=1) / z.shape[1], (close, t)


def multi_margin_backward(dlosses: Array, cache: Any) -> Array:
    """dz = +dlosses / C for each class too close, and minus all of that for the target. dlosses (N,) -> dz (N, C)."""
    close, t = cache
    dlosses = gradient_like(dlosses, t.shape, "dlosses")
    dz = close * (dlosses / close.shape[1])[:, None]
    dz[array_module(close).arange(len(t)), t] = -dz.sum(axis=1)
    return dz


# ---------------------------------------------------------------- shared
def check_smoothing(label_smoothing: float) -> float:
    """label_smoothing as a Python float; InputError outside 0 … 1."""
    if not 0 <= as_number(label_smoothing) <= 1:
        raise InputError(f"label_smoothing is {label_smoothing!r}, but it lies in 0 … 1; type for example 0.1.")
    return float(label_smoothing)


def _expected_gap(z: Array, t: Array, p: Array) -> Array:
    """Σ_c (p_c · Σ_k q_k - q_c) · z_c a row, from z - max z, so that large logits cost no digits."""
    s = z - z.max(axis=1, keepdims=True)
    xp = array_module(z)
    return mass_of(t) * (p * xp.where(p > 0, s, 0)).sum(axis=1) - at_targets(s, t)  # 0 · -inf would be NaN


def _gap_gradient(dlosses: Array, cache: Any) -> Array:
    p, t = cache
    dlosses = gradient_like(dlosses, p.shape[:1], "dlosses")
    dz = p * (dlosses * mass_of(t))[:, None]
    less_targets(dz, t, dlosses)
    return dz
