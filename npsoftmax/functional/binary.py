"""One yes or no a class, each with a sigmoid of its own. Derivation: docs/multi-label.md."""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import fit, gradient_like, labels, real, refuse
from npsoftmax.backend import Array, array_module, at_hand
from npsoftmax.functional.noise import softplus
from npsoftmax.functional.path import sigmoid


def one_against_rest_forward(z: Array, q: Array, yes: Array | None = None) -> tuple[Array, Any]:
    """Σ_c -yes_c · q_c · log σ(z_c) - (1 - q_c) · log σ(-z_c) of every sample; -log σ(z) = softplus(-z).

    z (N, C); q (N, C) from 0 to 1, the share of "yes" of each class, or (N,) integer labels, which are one yes a
    sample; yes (C,): what each yes weighs, None for 1 -> losses (N,).
    """
    z, q = _targets(z, q)
    xp = array_module(z)
    tail = xp.log1p(xp.exp(-xp.abs(z)))
    if q.ndim == 1 and yes is None:
        tail += xp.maximum(z, 0)
        samples = xp.arange(len(q))
        tail[samples, q] -= z[samples, q]
        return tail.sum(axis=1), (z, q, None, None)
    if q.ndim == 1:
        q = (xp.arange(z.shape[1]) == q[:, None]).astype(z.dtype)
    up, down = (q if yes is None else q * gradient_like(yes, z.shape[1:], "yes").astype(z.dtype)), 1 - q
    losses = (down * (xp.maximum(z, 0) + tail) + up * (xp.maximum(-z, 0) + tail)).sum(axis=1)
    return losses, (z, None, up, down)


def one_against_rest_backward(dlosses: Array, cache: Any) -> Array:
    """dz = ((1 - q) · σ(z) - yes · q · σ(-z)) · dlosses, which is (σ(z) - q) · dlosses where all weigh 1.

    dlosses (N,) -> dz (N, C)
    """
    z, t, up, down = cache
    dlosses = gradient_like(dlosses, (len(z),), "dlosses")
    p = sigmoid(z)
    if t is None:
        return (down * p - up * sigmoid(-z)) * dlosses[:, None]
    p[array_module(z).arange(len(z)), t] -= 1
    return p * dlosses[:, None]


def log_sigmoid(z: Array) -> Array:
    """log σ(z) = -softplus(-z). Any shape."""
    return -softplus(-real(z, "z"))


def _targets(z: Array, q: Array) -> tuple[Array, Array]:
    """z (N, C) as real numbers; q as such of the same shape and type, on the host also from 0 to 1, or as labels."""
    z = real(z, "z")
    fit("z (N, C)", z.shape)
    if getattr(q, "ndim", 0) != 2:
        return z, labels(q, len(z), z.shape[1], empty=True)
    q = real(q, "q")
    fit("z (N, C), q (N, C)", z.shape, q.shape)
    if q.size and at_hand(q) and not (q.min() >= 0 and q.max() <= 1):
        raise refuse(f"targets run from {q.min()} to {q.max()}, but each lies from 0 (no) to 1 (yes).")
    return z, q.astype(z.dtype, copy=False)
