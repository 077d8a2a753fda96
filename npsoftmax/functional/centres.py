"""Cosines with class centres, of which the target's must lead by an angle. Derivation: docs/margins-and-priors.md.

`centres_*` compares a sample with all centres, `drawn_centres_*` with its own and a few that were drawn, and returns
the gradients of those rows alone.
"""

from __future__ import annotations

import math
from typing import Any

from npsoftmax.arguments import gradient_like, labels, places, real, refuse, taken
from npsoftmax.backend import Array, array_module
from npsoftmax.errors import as_number
from npsoftmax.functional.cosine import unit_rows_backward, unit_rows_forward
from npsoftmax.functional.softmax import positive
from npsoftmax.kernels import matmul
from npsoftmax.kernels import softmax as kernels

SINE = 1e-3  # sin θ is taken to be at least this: the slope sin(θ + m) / sin θ is infinite at θ = 0


# ---------------------------------------------------------------- the margin
def angular_margin_forward(c: Array, margin: float) -> tuple[Array, Any]:
    """y = cos(θ + m), where c = cos θ; past θ = π - m, where that would rise again, y = c + cos m - 1.

    c: cosines of any shape, margin m from 0 to below π/2 -> y like c, rising with c and without a jump. Within 1e-3 of
    θ = 0 and π, sin θ is taken to be 1e-3. InputError for another margin. Source: Deng et al., 2019 (arXiv 1801.07698).
    """
    c = real(c, "c")
    if not 0 <= as_number(margin) < math.pi / 2:
        raise refuse(f"margin is {margin!r}, but an angle from 0 to below π/2 was expected; type for example 0.5.")
    xp = array_module(c)
    cos_m, sin_m = math.cos(margin), math.sin(margin)
    sine = xp.sqrt(xp.maximum((1 - c) * (1 + c), SINE * SINE))
    inside = c > -cos_m  # θ < π - m
    y = xp.where(inside, c * cos_m - sine * sin_m, c + (cos_m - 1))
    guarded = sine <= SINE
    slope = xp.where(guarded, cos_m, cos_m + sin_m * c / sine)
    return y, xp.where(inside, slope, 1).astype(c.dtype)


def angular_margin_backward(dy: Array, cache: Any) -> Array:
    """dc = dy · sin(θ + m) / sin θ = dy · (cos m + sin m · c / sin θ); past θ = π - m it is dy. dy like c -> dc."""
    slope = cache
    dy = gradient_like(dy, slope.shape)
    return dy * slope


# ---------------------------------------------------------------- the target against the others
def lead_forward(own: Array, z: Array) -> tuple[Array, Any]:
    """-log( e^{own} / (e^{own} + Σ_k e^{z_k}) ) = softplus(log Σ_k e^{z_k} - own) of every sample.

    own (N,) score of the target, z (N, K) scores of the others, -inf for one that does not count, but not all of a
    row -> losses (N,). So no digits are lost where the target has nearly all of the probability.
    """
    own, z = taken("own (N), z (N, K)", own, z)
    xp = array_module(z)
    e, top, total, _ = kernels.exp_rows(z)
    behind = top - own + xp.log(total)
    tail = xp.exp(-xp.abs(behind))
    missing = xp.where(behind >= 0, 1, tail) / (1 + tail)  # 1 - p of the target
    return xp.maximum(behind, 0) + xp.log1p(tail), (e, total, missing)


def lead_backward(dlosses: Array, cache: Any) -> tuple[Array, Array]:
    """dz = (1 - p_own) · softmax(z) · dlosses, down = -(1 - p_own) · dlosses. dlosses (N,) -> down (N,), dz (N, K)."""
    e, total, missing = cache
    dlosses = gradient_like(dlosses, missing.shape, "dlosses")
    pull = missing * dlosses
    return -pull, e * (pull / total)[:, None]


# ---------------------------------------------------------------- all centres
def centres_forward(
    h: Array, w: Array, t: Array, *, scale: float, angle: float = 0.0, gap: float = 0.0
) -> tuple[Array, Any]:
    """-log softmax(z)[t] of every sample, z_c = s · cos θ_c, but z_t = s · (cos(θ_t + angle) - gap).

    h (N, D), w (C, D) the centres, C >= 2, t (N,) integer labels -> losses (N,); θ_c is the angle between h and w_c.
    Source: Deng et al., 2019 (arXiv 1801.07698): angle; Wang et al., 2018 (arXiv 1801.09414): gap.
    """
    h, w = taken("h (N, D), w (C, D)", h, w)
    t = labels(t, len(h), len(w), empty=True)
    if len(w) < 2:
        raise refuse("w has one centre, but at least two classes were expected.")
    scale = positive("scale", scale)
    xp = array_module(h)
    (units, h_cache), (centres, w_cache) = unit_rows_forward(h), unit_rows_forward(w)
    z = matmul(units, centres.T)  # (N, C)
    samples = xp.arange(len(t))
    lowered, margin_cache = angular_margin_forward(z[samples, t], angle)
    z *= scale
    z[samples, t] = -xp.inf
    losses, cache = lead_forward(scale * (lowered - gap), z)
    return losses, (units, centres, t, scale, h_cache, w_cache, margin_cache, cache)


def centres_backward(dlosses: Array, cache: Any) -> tuple[Array, Array]:
    """Through the scores, the margin of the target's, the product and both lengths.

    dlosses (N,) -> dh (N, D), dw (C, D)
    """
    units, centres, t, scale, h_cache, w_cache, margin_cache, cache = cache
    down, dz = lead_backward(dlosses, cache)
    dz[array_module(dz).arange(len(t)), t] = angular_margin_backward(down, margin_cache)
    dz *= scale
    return unit_rows_backward(matmul(dz, centres), h_cache), unit_rows_backward(matmul(dz.T, units), w_cache)


# ---------------------------------------------------------------- the target's centre and a few that were drawn
def drawn_centres_forward(
    h: Array, w: Array, t: Array, drawn: Array, *, scale: float, angle: float = 0.0, gap: float = 0.0
) -> tuple[Array, Any]:
    """`centres_forward`, where of the others only those drawn count, C/S times each: z_c = s · cos θ_c + log(C/S).

    h (N, D), w (C, D), t (N,), drawn (S,) classes, S >= 2, each once -> losses (N,). With every S classes as likely as
    any others, the sum expects that over all. Source: An et al., 2022 (arXiv 2203.15565), without the logarithm.
    """
    h, w = taken("h (N, D), w (C, D)", h, w)
    t, drawn = labels(t, len(h), len(w), empty=True), places(drawn, "drawn", 0, len(w))
    if drawn.ndim != 1 or not 2 <= len(drawn) <= len(w):
        raise refuse(f"drawn has shape {drawn.shape}, but 2 to {len(w)} different classes (S,) were expected.")
    scale = positive("scale", scale)
    xp, s = array_module(h), len(drawn)
    rows = xp.concatenate([drawn, t])
    (units, h_cache), (centres, w_cache) = unit_rows_forward(h), unit_rows_forward(w[rows])
    lowered, margin_cache = angular_margin_forward((units * centres[s:]).sum(axis=1), angle)
    z = matmul(units, centres[:s].T) * scale + math.log(len(w) / s)  # (N, S)
    z = xp.where(drawn == t[:, None], -xp.inf, z)  # the target must not count twice
    losses, cache = lead_forward(scale * (lowered - gap), z)
    return losses, (units, centres, rows, scale, h_cache, w_cache, margin_cache, cache)


def drawn_centres_backward(dlosses: Array, cache: Any) -> tuple[Array, Array, Array]:
    """Gradients of the rows of w that were used; a row may be listed more than once.

    dlosses (N,) -> dh (N, D), rows (S + N,), dw (S + N, D)
    """
    units, centres, rows, scale, h_cache, w_cache, margin_cache, cache = cache
    down, dz = lead_backward(dlosses, cache)
    own = (scale * angular_margin_backward(down, margin_cache))[:, None]
    dz *= scale
    s = dz.shape[1]
    dunits = matmul(dz, centres[:s]) + own * centres[s:]
    dcentres = array_module(dz).concatenate([matmul(dz.T, units), own * units])
    return unit_rows_backward(dunits, h_cache), rows, unit_rows_backward(dcentres, w_cache)
