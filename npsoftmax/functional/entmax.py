"""α-entmax: softmax (α = 1), 1.5-entmax and sparsemax (α = 2) are three of one family. Derivation: docs/sparse.md.

    p_i = exp_α(z_i - max z - c),    exp_α(u) = max(1 + (α - 1) · u, 0)^{1 / (α - 1)},    c such that Σ_i p_i = 1

Design: for α -> 1 exp_α is the exponential and c is log-sum-exp; written like this nothing cancels there. Up to α = 2
the sum is convex in c, so Newton's steps from c = 0, where it is too large, never pass the root; they are taken on
(Σ_i p_i)^{α-1}, for which one class alone is a straight line. Beyond 2 a class enters with an infinite slope, where
Newton fails: there an interval is halved to its last bit, that of the largest probability, which lies in 1/C … 1. (How
much a class has that just entered is known to the power 1 / (α - 1) of a rounding: α = 10 has few digits there.)
"""

from __future__ import annotations

import math
from typing import Any

from npsoftmax.arguments import booleans, gradient_like
from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError, as_number
from npsoftmax.functional.softmax import hide, scores

NEWTON_STEPS = 20  # at most; ten have been enough. A device, which nobody waits for, takes them all.


def check_alpha(alpha: float) -> float:
    """`alpha` as a float; InputError unless 1 < alpha < inf."""
    if not 1 < as_number(alpha) < math.inf:
        raise InputError(
            f"alpha is {alpha!r}, but a finite number above 1 is needed (1.5: entmax15, 2: sparsemax); "
            "for 1, which is softmax, use softmax."
        )
    return float(alpha)


def entmax_forward(z: Array, mask: Array | None = None, *, alpha: float = 1.5) -> tuple[Array, Any]:
    """p_i = max((α - 1) · z_i - θ, 0)^{1 / (α - 1)}, with θ such that Σ_i p_i = 1: the larger α, the more zeros.

    z (…, C), finite -> p (…, C). InputError unless α > 1. O(C) a step, some ten steps.
    Source: Peters, Niculae and Martins, 2019 (arXiv 1905.05702).
    """
    z, alpha = scores(z), check_alpha(alpha)
    mask = booleans(mask, z.shape)
    p, _ = normalised(hide(z, mask), alpha)
    p = p if mask is None else p * mask
    return p, (p, alpha)


def entmax_backward(dy: Array, cache: Any) -> Array:
    """dz_i = g_i · (dy_i - Σ_j g_j · dy_j / Σ_j g_j), g = p^{2-α} on the support, else 0. dy (…, C) -> dz (…, C)."""
    p, alpha = cache
    dy = gradient_like(dy, p.shape)
    xp = array_module(p)
    g = xp.where(p > 0, xp.where(p > 0, p, 1) ** (2 - alpha), 0)
    total = g.sum(axis=-1, keepdims=True)
    return g * (dy - (g * dy).sum(axis=-1, keepdims=True) / xp.where(total > 0, total, 1))


def normalised(z: Array, alpha: float) -> tuple[Array, Array]:
    """p and c of the formula above. z (…, C) -> p (…, C), c (…, 1)."""
    xp = array_module(z)
    below = xp.minimum(z.max(axis=-1, keepdims=True) - z, 2 / (alpha - 1))  # from half of it on p is 0 for every c
    p, c = (_newton if alpha <= 2 else _halving)(below, alpha)
    return p / p.sum(axis=-1, keepdims=True), c


def _newton(below: Array, alpha: float) -> tuple[Array, Array]:
    xp = array_module(below)
    c = xp.zeros_like(below[..., :1])
    for _ in range(NEWTON_STEPS):
        p, base = _exp_alpha(-below - c, alpha)
        log_total = xp.log(p.sum(axis=-1, keepdims=True))
        slope = (p / xp.where(base > 0, base, 1)).sum(axis=-1, keepdims=True)
        # From F = Σ^{α-1}, F' = -(α - 1) · Σ^{α-2} · slope.
        step = xp.expm1((alpha - 1) * log_total) / (alpha - 1) * xp.exp((2 - alpha) * log_total) / slope
        c = c + step
        if xp.__name__ == "numpy" and (step <= xp.finfo(c.dtype).eps * (1 + c)).all():
            break
    return _exp_alpha(-below - c, alpha)[0], c


def _halving(below: Array, alpha: float) -> tuple[Array, Array]:
    xp = array_module(below)
    limits = xp.finfo(below.dtype)
    low, high = xp.full_like(below[..., :1], 1 / below.shape[-1]), xp.ones_like(below[..., :1])

    def shares(top: Array) -> tuple[Array, Array]:
        base = xp.maximum(top ** (alpha - 1), limits.tiny)  # 1 - (α - 1) · c
        return top * xp.maximum(1 - (alpha - 1) * below / base, 0) ** (1 / (alpha - 1)), base

    for _ in range(limits.nmant + 2):
        middle = (low + high) / 2
        enough = shares(middle)[0].sum(axis=-1, keepdims=True) >= 1
        low, high = xp.where(enough, low, middle), xp.where(enough, middle, high)
    p, base = shares(high)
    return p, (1 - base) / (alpha - 1)


def _exp_alpha(u: Array, alpha: float) -> tuple[Array, Array]:
    """max(1 + (α - 1) · u, 0)^{1 / (α - 1)}, and the base of this power. u (…) -> (…), (…)."""
    xp = array_module(u)
    less_one = xp.maximum((alpha - 1) * u, -1)
    inside = less_one > -1
    return xp.where(inside, xp.exp(xp.log1p(xp.where(inside, less_one, 0)) / (alpha - 1)), 0), 1 + less_one
