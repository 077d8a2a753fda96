"""Losses of logits (N, C) against integer targets (N,), each the mean over N. Derivations: docs/mappings.md.

Design: the 1/N stands here and nowhere else. The range of labels is checked for arrays on the host only: a check on
the device would make every training step wait for it.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import fit, labels, number, real
from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError, as_number
from npsoftmax.functional import sparse_mappings
from npsoftmax.functional.softmax import positive
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
    label_smoothing, temperature = _check_smoothing(label_smoothing), positive("temperature", temperature)
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
    """`softmax_cross_entropy_forward` in one pass over the logits: what trains. z (N, C), t (N,) -> loss ()."""
    z, t = check_targets(z, t)
    xp = array_module(z)
    smoothing, temperature = _check_smoothing(label_smoothing), positive("temperature", temperature)
    e, top, total, exponents = kernels.exp_rows(z, temperature)  # e^s, max z, Σ e^s, Σ s with s = (z - max z) / T
    nll = xp.log(total) - (1 - smoothing) * (z[xp.arange(len(t)), t] - top) / temperature
    if smoothing:
        nll = nll - smoothing * exponents / z.shape[1]
    return nll.mean(), (e, total, t, smoothing, temperature)


def softmax_cross_entropy_fused_backward(dloss: Array | float, cache: Any) -> Array:
    """`softmax_cross_entropy_backward` in one pass over e^s, s as in the forward. dloss () -> dz (N, C)."""
    e, total, t, smoothing, temperature = cache
    dloss = number(dloss)
    scale = dloss / (len(t) * temperature)
    height = array_module(e).full_like(total, scale * (1 - smoothing))
    return kernels.scaled_less_onehot(e, t, scale / total, height, scale * smoothing / e.shape[1])


def nll_forward(log_p: Array, t: Array, label_smoothing: float = 0.0) -> tuple[Array, Any]:
    """Mean of -Σ_c q_c · log_p_c: after log-softmax, the two-step route to the cross entropy.

    log_p (N, C) log-probabilities, t (N,) integer labels -> loss (). Label smoothing ε in [0, 1].
    Given probabilities instead, it is only minus the mean probability of the target.
    """
    log_p, t = check_targets(log_p, t)
    xp = array_module(log_p)
    smoothing = _check_smoothing(label_smoothing)
    loss = -(1 - smoothing) * log_p[xp.arange(len(t)), t].mean()
    if smoothing:
        loss = loss - smoothing * log_p.mean()
    return loss, (log_p.shape, log_p.dtype, t, smoothing)


def nll_backward(dloss: Array | float, cache: Any) -> Array:
    """dlog_p = -q · dloss / N, q = (1 - ε) · onehot(t) + ε / C. dloss () -> dlog_p (N, C)."""
    shape, dtype, t, smoothing = cache
    dloss = number(dloss)
    xp = array_module(t)
    scale = dloss / len(t)
    dlog_p = xp.zeros(shape, dtype=dtype)
    dlog_p[xp.arange(len(t)), t] -= scale * (1 - smoothing)
    if smoothing:
        dlog_p -= scale * smoothing / shape[1]
    return dlog_p


# ---------------------------------------------------------------- Fenchel-Young losses of the sparse mappings
def sparsemax_loss_forward(z: Array, t: Array) -> tuple[Array, Any]:
    """Mean of Σ_c (p_c - onehot_c) · z_c + (1 - Σ_c p_c²) / 2, p = sparsemax(z): zero once z_t leads by 1.

    z (N, C), t (N,) integer labels -> loss ().
    Source: Martins and Astudillo, 2016; Blondel, Martins and Niculae, 2020.
    """
    z, t = check_targets(z, t)
    p, _ = sparse_mappings.sparsemax_forward(z)
    loss = _expected_gap(z, t, p) + (1 - (p * p).sum(axis=1)) / 2
    return loss.mean(), (p, t)


def sparsemax_loss_backward(dloss: Array | float, cache: Any) -> Array:
    """dz = (p - onehot) · dloss / N. dloss () -> dz (N, C)."""
    p, t = cache
    dloss = number(dloss)
    return _less_onehot(p, t, dloss / len(t))


def entmax15_loss_forward(z: Array, t: Array) -> tuple[Array, Any]:
    """Mean of Σ_c (p_c - onehot_c) · z_c + 4/3 · (1 - Σ_c p_c^{3/2}), p = entmax15(z): zero once z_t leads by 2.

    z (N, C), t (N,) integer labels -> loss ().
    Source: Peters, Niculae and Martins, 2019; Blondel, Martins and Niculae, 2020.
    """
    z, t = check_targets(z, t)
    xp = array_module(z)
    p, _ = sparse_mappings.entmax15_forward(z)
    loss = _expected_gap(z, t, p) + (1 - (p * xp.sqrt(p)).sum(axis=1)) * (4 / 3)
    return loss.mean(), (p, t)


def entmax15_loss_backward(dloss: Array | float, cache: Any) -> Array:
    """dz = (p - onehot) · dloss / N. dloss () -> dz (N, C)."""
    p, t = cache
    dloss = number(dloss)
    return _less_onehot(p, t, dloss / len(t))


# ---------------------------------------------------------------- hinge
def hinge_forward(z: Array, t: Array, margin: float = 1.0) -> tuple[Array, Any]:
    """Mean of max(0, margin + max_{c≠t} z_c - z_t): zero once z_t leads every other class by the margin.

    z (N, C), t (N,) integer labels -> loss (). InputError for margin <= 0. Source: Crammer and Singer, 2001.
    """
    z, t = check_targets(z, t)
    xp = array_module(z)
    rows = xp.arange(len(t))
    gap = z - z[rows, t][:, None] + positive("margin", margin)
    gap[rows, t] = 0  # the floor of the outer max: where it wins, no class is too close
    rival = gap.argmax(axis=1)
    return gap[rows, rival].mean(), (z.shape, z.dtype, t, rival)


def hinge_backward(dloss: Array | float, cache: Any) -> Array:
    """dz = +dloss / N for the worst rival, -dloss / N for the target, 0 where the margin is kept.

    Of tied rivals the first gets it all, one choice of subgradient. dloss () -> dz (N, C).
    """
    shape, dtype, t, rival = cache
    dloss = number(dloss)
    xp = array_module(t)
    rows, scale = xp.arange(len(t)), dloss / len(t)
    dz = xp.zeros(shape, dtype=dtype)
    dz[rows, rival] += scale
    dz[rows, t] -= scale  # cancels where the target is its own rival: the margin is kept
    return dz


def multi_margin_forward(z: Array, t: Array, margin: float = 1.0) -> tuple[Array, Any]:
    """Mean of Σ_{c≠t} max(0, margin + z_c - z_t) / C: every class that comes too close counts, not only the worst.

    z (N, C), t (N,) integer labels -> loss (). InputError for margin <= 0. Source: Weston and Watkins, 1999.
    """
    z, t = check_targets(z, t)
    xp = array_module(z)
    rows = xp.arange(len(t))
    gap = z - z[rows, t][:, None] + positive("margin", margin)
    gap[rows, t] = 0
    close = gap > 0
    return xp.where(close, gap, 0).sum() / z.size, (close, z.dtype, t)


def multi_margin_backward(dloss: Array | float, cache: Any) -> Array:
    """dz = +dloss / (N · C) for each class too close, and minus all of that for the target. dloss () -> dz (N, C)."""
    close, dtype, t = cache
    dloss = number(dloss)
    xp = array_module(close)
    dz = close * xp.asarray(dloss / close.size, dtype=dtype)
    dz[xp.arange(len(t)), t] = -dz.sum(axis=1)
    return dz


# ---------------------------------------------------------------- shared
def check_targets(z: Array, t: Array) -> tuple[Array, Array]:
    """z as real numbers (N, C), N >= 1, and t (N,) as whole numbers; on the host, also in 0 … C - 1."""
    z = real(z, "z")
    fit("z (N, C)", z.shape)
    return z, labels(t, len(z), z.shape[1])


def _check_smoothing(label_smoothing: float) -> float:
    if not 0 <= as_number(label_smoothing) <= 1:
        raise InputError(f"label_smoothing is {label_smoothing!r}, but it lies in 0 … 1; type for example 0.1.")
    return float(label_smoothing)


def _less_onehot(p: Array, t: Array, scale: Array | float, height: float = 1.0) -> Array:
    """scale · (p - height · onehot(t)), without building the one-hot rows."""
    dz = p * scale
    dz[array_module(p).arange(len(t)), t] -= scale * height
    return dz


def _expected_gap(z: Array, t: Array, p: Array) -> Array:
    """Σ_c (p_c - onehot_c) · z_c a row, from z - max z, so that large logits cost no digits."""
    s = z - z.max(axis=1, keepdims=True)
    xp = array_module(z)
    return (p * xp.where(p > 0, s, 0)).sum(axis=1) - s[xp.arange(len(t)), t]  # 0 · -inf would be NaN
