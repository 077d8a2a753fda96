"""One yes or no a class, each with a sigmoid of its own. Derivation: docs/multi-label.md."""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import fit, gradient_like, labels, real, refuse
from npsoftmax.backend import Array, array_module
from npsoftmax.functional.noise import softplus
from npsoftmax.functional.path import sigmoid


def one_against_rest_forward(z: Array, q: Array) -> tuple[Array, Any]:
    """Σ_c -q_c · log σ(z_c) - (1 - q_c) · log σ(-z_c) = Σ_c softplus(z_c) - q_c · z_c of every sample.

    z (N, C); q (N, C) from 0 to 1, the share of "yes" of each class, or (N,) integer labels, which are one yes a sample
    -> losses (N,).
    """
    z, q = _targets(z, q)
    xp = array_module(z)
    if q.ndim == 1:
        rise = xp.maximum(z, 0)
        rise[xp.arange(len(q)), q] -= z[xp.arange(len(q)), q]
    else:
        rise = xp.maximum(z, 0) - q * z  # before the logarithm: where z is large and q is 1, both vanish
    return (rise + xp.log1p(xp.exp(-xp.abs(z)))).sum(axis=1), (z, q)


def one_against_rest_backward(dlosses: Array, cache: Any) -> Array:
    """dz = (σ(z) - q) · dlosses. dlosses (N,) -> dz (N, C)."""
    z, q = cache
    dlosses = gradient_like(dlosses, (len(z),), "dlosses")
    dz = sigmoid(z)
    if q.ndim == 1:
        dz[array_module(z).arange(len(q)), q] -= 1
    else:
        dz = dz - q
    return dz * dlosses[:, None]


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
    if array_module(q).__name__ == "numpy" and q.size and not (q.min() >= 0 and q.max() <= 1):
        raise refuse(f"targets run from {q.min():g} to {q.max():g}, but each lies from 0 (no) to 1 (yes).")
    return z, q.astype(z.dtype, copy=False)
