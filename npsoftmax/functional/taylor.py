"""Taylor softmax: e^z replaced by its Taylor polynomial f_n of even order n. Derivation: docs/mappings.md.

Design: f_n is positive everywhere (where it is least, f_n' = f_{n-1} = 0, so f_n = z^n / n!). f_n(z - c) is no
multiple of f_n(z), so subtracting the maximum would change p: there is no max trick, and no need of one, since a
polynomial overflows late (float32 at |z| = 1e4: from order 12). It falls for z below about -1, -1.6, -2.2
(n = 2, 4, 6): predict by argmax of p, never of z.
"""

from __future__ import annotations

import numbers
from typing import Any

from npsoftmax.arguments import booleans, bounded, gradient_like
from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError
from npsoftmax.functional.softmax import fill_masked, normalise, scores


def taylor_polynomial(z: Array, order: int) -> Array:
    """f_n(z) = Σ_{i<=n} z^i / i!, by Horner: 1 + z · (1 + z/2 · (1 + z/3 · (…))). Derivative: f_{n-1}."""
    f = 1 + z / order
    for i in range(order - 1, 0, -1):
        f = 1 + z / i * f
    return f


def check_order(order: int) -> int:
    """InputError unless `order` is 2, 4, 6, …"""
    if not isinstance(order, numbers.Integral) or order < 2 or order % 2:
        raise InputError(
            f"order is {order!r}, but a Taylor softmax needs an even whole number from 2 (an odd polynomial "
            "is negative somewhere, so its shares are no probabilities); type for example order=2."
        )
    return int(order)


def taylor_softmax_forward(z: Array, mask: Array | None = None, *, order: int = 2) -> tuple[Array, Any]:
    """Probabilities that grow like a polynomial: p_i = f_n(z_i) / Σ_j f_n(z_j), f_n(z) = Σ_{k<=n} z^k / k!.

    z (…, C), of sizes whose powers are finite -> p (…, C). InputError for an odd order or one below 2.
    Source: Vincent, de Brébisson and Bouthillier, 2015; de Brébisson and Vincent, 2016 (arXiv 1511.05042).
    """
    order = check_order(order)
    z = scores(z)
    mask = booleans(mask, z.shape)
    z = bounded(fill_masked(z, mask, 0.0), order, "Taylor")
    p = normalise(taylor_polynomial(z, order), mask)
    return p, (z, p, order)


def taylor_softmax_backward(dy: Array, cache: Any) -> Array:
    """dz_i = p_i · r_i · (dy_i - Σ_j p_j · dy_j), r = (log f_n)' = f_{n-1} / f_n. dy (…, C) -> dz (…, C)."""
    z, p, order = cache
    dy = gradient_like(dy, p.shape)
    r = taylor_polynomial(z, order - 1) / taylor_polynomial(z, order)
    return p * r * (dy - (p * dy).sum(axis=-1, keepdims=True))


def log_taylor_softmax_forward(z: Array, *, order: int = 2) -> tuple[Array, Any]:
    """Log-probabilities of the Taylor softmax: y_i = log f_n(z_i) - log Σ_j f_n(z_j).

    z (…, C), of sizes whose powers are finite -> y (…, C). InputError for an odd order or one below 2.
    Source: de Brébisson and Vincent, 2016 (arXiv 1511.05042); Banerjee et al., 2020 (arXiv 2011.11538).
    """
    order = check_order(order)
    z = bounded(scores(z), order, "Taylor")
    xp = array_module(z)
    f = taylor_polynomial(z, order)
    y = xp.log(f) - xp.log(f.sum(axis=-1, keepdims=True))
    return y, (z, y, order)


def log_taylor_softmax_backward(dy: Array, cache: Any) -> Array:
    """dz_i = r_i · (dy_i - e^{y_i} · Σ_j dy_j), r = (log f_n)' = f_{n-1} / f_n. dy (…, C) -> dz (…, C)."""
    z, y, order = cache
    dy = gradient_like(dy, y.shape)
    xp = array_module(z)
    r = taylor_polynomial(z, order - 1) / taylor_polynomial(z, order)
    return r * (dy - xp.exp(y) * dy.sum(axis=-1, keepdims=True))
