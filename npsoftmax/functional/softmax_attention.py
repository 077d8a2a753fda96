"""Attention as one reads it first: softmax alone in the middle, no biases, one algorithm.

What trains takes more: any mapping and dropout (`attention`), biases, context and fused kernels (`multi_head`, whose
`multi_head_attention_*` has the same name because it is the same function). Derivation: docs/attention.md.
"""

from __future__ import annotations

import math
from typing import Any

from npsoftmax.arguments import booleans, gradient_like, refuse, taken, whole
from npsoftmax.backend import Array, array_module
from npsoftmax.functional.softmax import scores


# ---------------------------------------------------------------- softmax where only some may be looked at
def masked_softmax_forward(z: Array, mask: Array) -> tuple[Array, Any]:
    """Softmax over the allowed entries of each row: p_i = e^{z_i} / Σ_{j allowed} e^{z_j}, 0 where not allowed.

    z (…, S), mask booleans like z (True: allowed) -> p (…, S). A row with nothing allowed is all zeros, not NaN.
    """
    z = scores(z)
    mask = booleans(mask, z.shape)
    xp = array_module(z)
    top = xp.where(mask, z, -xp.inf).max(axis=-1, keepdims=True)
    e = xp.exp(xp.where(mask, z - xp.where(xp.isfinite(top), top, 0), -xp.inf))
    total = e.sum(axis=-1, keepdims=True)
    p = e / xp.where(total > 0, total, 1)
    return p, p


def masked_softmax_backward(dp: Array, cache: Any) -> Array:
    """dz_i = p_i · (dp_i - Σ_j p_j · dp_j): where p is 0, so is dz. dp (…, S) -> dz (…, S)."""
    p = cache
    dp = gradient_like(dp, p.shape, "dp")
    return p * (dp - (p * dp).sum(axis=-1, keepdims=True))


# ---------------------------------------------------------------- attention
def scaled_dot_product_attention_forward(q: Array, k: Array, v: Array, mask: Array) -> tuple[Array, Any]:
    """Each query's mean of the values, weighted by how well it fits the keys: y = softmax(q @ kᵀ / √D) @ v.

    q (…, T, D), k (…, S, D), v (…, S, E), mask booleans (…, T, S) -> y (…, T, E).
    Source: Vaswani et al., 2017 (arXiv 1706.03762).
    """
    q, k, v = taken("q (…, T, D), k (…, S, D), v (…, S, E)", q, k, v)
    z = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])  # (…, T, S)
    p, _ = masked_softmax_forward(z, mask)
    return p @ v, (q, k, v, p)


def scaled_dot_product_attention_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """Back through the mean, the softmax and the scores. dy (…, T, E) -> dq, dk, dv like q, k, v."""
    q, k, v, p = cache
    dy = gradient_like(dy, (*q.shape[:-1], v.shape[-1]))
    dv = p.swapaxes(-1, -2) @ dy
    dz = masked_softmax_backward(dy @ v.swapaxes(-1, -2), p) / math.sqrt(q.shape[-1])
    return dz @ k, dz.swapaxes(-1, -2) @ q, dv


# ---------------------------------------------------------------- several heads
def split_heads(x: Array, heads: int) -> Array:
    """Each head with its own columns: (N, T, D) -> (N, heads, T, D/heads). Head 0 has the first columns."""
    n, t, d = x.shape
    if d % heads:
        raise refuse(f"{d} features do not divide into {heads} heads; choose a divisor of {d}.")
    return x.reshape(n, t, heads, d // heads).transpose(0, 2, 1, 3)


def merge_heads(y: Array) -> Array:
    """The heads side by side again: (N, heads, T, E) -> (N, T, heads·E)."""
    n, heads, t, e = y.shape
    return y.transpose(0, 2, 1, 3).reshape(n, t, heads * e)


def multi_head_attention_forward(x: Array, w_qkv: Array, w_out: Array, heads: int, mask: Array) -> tuple[Array, Any]:
    """y = (the heads' attentions, side by side) @ w_out, with q │ k │ v = x @ w_qkv cut into heads.

    x (N, T, D), w_qkv (D, 3D), w_out (D, D), mask booleans (N, heads, T, T) -> y (N, T, D). Each head has D / heads
    columns of q, of k and of v.
    """
    x, w_qkv, w_out = taken("x (N, T, D), w_qkv (D, 3D), w_out (D, D)", x, w_qkv, w_out)
    heads = whole("heads", heads)
    d = x.shape[-1]
    qkv = x @ w_qkv  # (N, T, 3D)
    q, k, v = (split_heads(qkv[..., i : i + d], heads) for i in (0, d, 2 * d))
    y, attention_cache = scaled_dot_product_attention_forward(q, k, v, mask)
    merged = merge_heads(y)  # (N, T, D)
    return merged @ w_out, (x, w_qkv, w_out, heads, merged, attention_cache)


def multi_head_attention_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """The steps in reverse. dy (N, T, D) -> dx (N, T, D), dw_qkv (D, 3D), dw_out (D, D)."""
    x, w_qkv, w_out, heads, merged, attention_cache = cache
    dy = gradient_like(dy, x.shape)
    xp = array_module(dy)
    d = x.shape[-1]
    dw_out = merged.reshape(-1, d).T @ dy.reshape(-1, d)
    dmerged = split_heads(dy @ w_out.T, heads)
    parts = scaled_dot_product_attention_backward(dmerged, attention_cache)
    dqkv = xp.concatenate([merge_heads(part) for part in parts], axis=-1)  # (N, T, 3D)
    dw_qkv = x.reshape(-1, d).T @ dqkv.reshape(-1, 3 * d)
    return dqkv @ w_qkv.T, dw_qkv, dw_out
