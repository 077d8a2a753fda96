"""Spherical softmax: e^z replaced by z² + ε. Derivation: docs/mappings.md.

Design: like the Taylor softmax a quotient f_i / Σ_j f_j, so the backward is the same with
r = (log f)' = 2z / (z² + ε). It sees only |z|: z and -z are one and the same score. ε keeps a row of zeros from 0/0,
and bounds r by 1 / √ε.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import booleans, bounded, gradient_like
from npsoftmax.backend import Array, array_module
from npsoftmax.functional.softmax import fill_masked, normalise, positive, scores


def spherical_softmax_forward(z: Array, mask: Array | None = None, *, eps: float = 1e-3) -> tuple[Array, Any]:
    """Shares of the squared norm: p_i = (z_i² + ε) / Σ_j (z_j² + ε).

    z (…, C), of sizes whose powers are finite -> p (…, C). InputError for eps <= 0.
    Source: Vincent, de Brébisson and Bouthillier, 2015; de Brébisson and Vincent, 2016 (arXiv 1511.05042).
    """
    z, eps = scores(z), positive("eps", eps)
    mask = booleans(mask, z.shape)
    z = bounded(fill_masked(z, mask, 0.0), 2, "spherical")
    p = normalise(z * z + eps, mask)
    return p, (z, p, eps)


def spherical_softmax_backward(dy: Array, cache: Any) -> Array:
    """dz_i = p_i · r_i · (dy_i - Σ_j p_j · dy_j), where r = 2z / (z² + ε). dy (…, C) -> dz (…, C)."""
    z, p, eps = cache
    dy = gradient_like(dy, p.shape)
    r = 2 * z / (z * z + eps)
    return p * r * (dy - (p * dy).sum(axis=-1, keepdims=True))


def log_spherical_softmax_forward(z: Array, *, eps: float = 1e-3) -> tuple[Array, Any]:
    """Log-probabilities of the spherical softmax: y_i = log(z_i² + ε) - log Σ_j (z_j² + ε).

    z (…, C), of sizes whose powers are finite -> y (…, C). InputError for eps <= 0.
    Source: de Brébisson and Vincent, 2016 (arXiv 1511.05042).
    """
    z = bounded(scores(z), 2, "spherical")
    xp = array_module(z)
    eps = positive("eps", eps)
    f = z * z + eps
    y = xp.log(f) - xp.log(f.sum(axis=-1, keepdims=True))
    return y, (z, y, eps)


def log_spherical_softmax_backward(dy: Array, cache: Any) -> Array:
    """dz_i = r_i · (dy_i - e^{y_i} · Σ_j dy_j), where r = 2z / (z² + ε). dy (…, C) -> dz (…, C)."""
    z, y, eps = cache
    dy = gradient_like(dy, y.shape)
    xp = array_module(z)
    r = 2 * z / (z * z + eps)
    return r * (dy - xp.exp(y) * dy.sum(axis=-1, keepdims=True))
