"""Sparsemax and 1.5-entmax: probabilities that can be exactly 0. Derivations: docs/mappings.md.

Design: both are p_i = max(s_i - θ, 0)^q with q = 1 or 2, so one threshold θ a row is all there is to find. Sorted
downwards, the support is a prefix; a θ is computed for every length of prefix at once, and the longest prefix whose
smallest member still lies above its own θ is the support. Scores are taken relative to the maximum, where θ lies in
[-1, 0): whatever is below -1 is raised to -1, so that logits of any size leave the running sums exact. These sums are
float64 whatever the logits are, and one Newton step on Σ_i p_i = 1 puts back the digits they lost (entmax loses about
k times the last one over k classes). On a device, where sorting would be waited for, Newton's steps find θ instead.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import booleans, gradient_like
from npsoftmax.backend import Array, array_module
from npsoftmax.functional.softmax import hide, scores
from npsoftmax.kernels import softmax as kernels


# ---------------------------------------------------------------- sparsemax
def _nearest(z: Array) -> Array:
    xp, s = array_module(z), _relative(z)
    ranked, k = _ranked(s)
    thetas = (xp.cumsum(ranked, axis=-1) - 1) / k  # Σ_{j<=k} (s_j - θ) = 1
    theta = _threshold(ranked, thetas).astype(s.dtype)
    g = xp.maximum(s - theta, 0)
    size = (g > 0).sum(axis=-1, keepdims=True).astype(s.dtype)
    theta = theta + (g.sum(axis=-1, keepdims=True) - 1) / size  # Newton
    return xp.maximum(s - theta, 0)


def sparsemax_forward(z: Array, mask: Array | None = None) -> tuple[Array, Any]:
    """The point of the simplex nearest to z: p_i = max(z_i - θ, 0), with θ such that Σ_i p_i = 1.

    z (…, C), finite -> p (…, C). O(C log C). Source: Martins and Astudillo, 2016 (arXiv 1602.02068).
    """
    z = scores(z)
    mask = booleans(mask, z.shape)
    z = hide(z, mask)
    p = _on_device(z, 1) if kernels.on_device(z) else _nearest(z)
    p = p if mask is None else p * mask
    return p, p


def sparsemax_backward(dy: Array, cache: Any) -> Array:
    """On the support dz = dy - mean of dy over the support, elsewhere 0. dy (…, C) -> dz (…, C)."""
    p = cache
    dy = gradient_like(dy, p.shape)
    xp = array_module(p)
    # In the forward pass this was p = s - θ on the support of k classes, and θ = (Σ_support s - 1) / k, so now:
    # dθ = -Σ_support dy goes back to all k in equal shares, which takes the mean out of dy.
    support = (p > 0).astype(p.dtype)
    size = xp.maximum(support.sum(axis=-1, keepdims=True), 1)  # 0 in a row with nothing allowed
    return support * (dy - (support * dy).sum(axis=-1, keepdims=True) / size)


# ---------------------------------------------------------------- 1.5-entmax
def _half_way(z: Array) -> Array:
    xp, s = array_module(z), _relative(z / 2)
    ranked, k = _ranked(s)
    mean = xp.cumsum(ranked, axis=-1) / k
    variance = xp.cumsum(ranked * ranked, axis=-1) / k - mean * mean
    # Σ_{j<=k} (s_j - θ)² = k · (variance + (mean - θ)²) = 1; no root means that k is beyond the support.
    thetas = mean - xp.sqrt(xp.maximum(1 / k - variance, 0))
    theta = _threshold(ranked, thetas).astype(s.dtype)
    g = xp.maximum(s - theta, 0)
    theta = theta + ((g * g).sum(axis=-1, keepdims=True) - 1) / (2 * g.sum(axis=-1, keepdims=True))  # Newton
    return xp.maximum(s - theta, 0) ** 2


def entmax15_forward(z: Array, mask: Array | None = None) -> tuple[Array, Any]:
    """Half-way between softmax and sparsemax: p_i = max(z_i / 2 - θ, 0)², with θ such that Σ_i p_i = 1.

    z (…, C), finite -> p (…, C). O(C log C).
    Source: Peters, Niculae and Martins, 2019 (arXiv 1905.05702).
    """
    z = scores(z)
    mask = booleans(mask, z.shape)
    z = hide(z, mask)
    p = _on_device(z, 2) if kernels.on_device(z) else _half_way(z)
    p = p if mask is None else p * mask
    return p, p


def entmax15_backward(dy: Array, cache: Any) -> Array:
    """dz_i = g_i · (dy_i - Σ_j g_j · dy_j / Σ_j g_j), where g = √p. dy (…, C) -> dz (…, C)."""
    p = cache
    dy = gradient_like(dy, p.shape)
    xp = array_module(p)
    # In the forward pass this was p = g², g = z / 2 - θ, and Σ g² = 1 made θ follow the mean of z / 2 weighted by g,
    # so now: the mean of dy weighted by g is taken out, and the factor is 2g · 1/2.
    g = xp.sqrt(p)
    total = g.sum(axis=-1, keepdims=True)
    total = xp.where(total > 0, total, 1)  # 0 in a row with nothing allowed
    return g * (dy - (g * dy).sum(axis=-1, keepdims=True) / total)


# ---------------------------------------------------------------- shared
def _on_device(z: Array, q: int) -> Array:
    return kernels.sparse_rows(z.reshape(-1, z.shape[-1]), q).reshape(z.shape)


def _relative(s: Array) -> Array:
    xp = array_module(s)
    return xp.maximum(s - s.max(axis=-1, keepdims=True), -1.0)


def _ranked(s: Array) -> tuple[Array, Array]:
    """`s` sorted downwards (…, C), and 1 … C, the length of the prefix that each member ends."""
    xp = array_module(s)
    return -xp.sort(-s, axis=-1).astype(xp.float64), xp.arange(1, s.shape[-1] + 1, dtype=xp.float64)


def _threshold(ranked: Array, thetas: Array) -> Array:
    """θ of the longest prefix of `ranked` whose smallest member lies above it. (…, C) twice -> (…, 1)."""
    xp = array_module(ranked)
    last = (ranked > thetas).sum(axis=-1, keepdims=True) - 1
    return xp.take_along_axis(thetas, last, axis=-1)
