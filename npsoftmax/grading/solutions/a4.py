"""Scaled dot-product attention with its masked softmax, and multi-head attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npsoftmax.backend import Array


# ---------------------------------------------------------------- step 1
def causal_mask(t: int, s: int, like: Array) -> Array:
    """Query i may look at keys 0 … i, nothing later: t queries, s keys -> mask (T, S) of booleans, True where allowed.

    `like` is an array that tells the library whether a GPU computes: you may ignore it.
    """
    return np.arange(t)[:, None] >= np.arange(s)


def masked_softmax_forward(z: Array, mask: Array) -> tuple[Array, Any]:
    """Softmax over the allowed entries of each row: p_i = e^{z_i} / Σ_{j allowed} e^{z_j}, 0 where not allowed.

    z (…, S), mask booleans like z (True: allowed) -> p (…, S). A row with nothing allowed is all zeros, not NaN.
    """
    allowed = np.where(mask, z, -np.inf)
    top = allowed.max(axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)  # it is -inf where nothing is allowed
    e = np.exp(allowed - top)
    total = e.sum(axis=-1, keepdims=True)
    p = e / np.where(total > 0, total, 1)
    return p, p


def masked_softmax_backward(dp: Array, cache: Any) -> Array:
    """Gradient of `masked_softmax_forward` with respect to z; 0 where not allowed. dp (…, S) -> dz (…, S).

    Formula: dz_i = p_i · (dp_i - Σ_j p_j · dp_j).
    """
    p = cache
    return p * (dp - (p * dp).sum(axis=-1, keepdims=True))


# ---------------------------------------------------------------- step 2
def scaled_dot_product_attention_forward(q: Array, k: Array, v: Array, mask: Array) -> tuple[Array, Any]:
    """Each query's mean of the values, weighted by how well it fits the keys: y = softmax(q @ kᵀ / √D) @ v.

    q (…, T, D), k (…, S, D), v (…, S, E), mask booleans (…, T, S) -> y (…, T, E).
    """
    z = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])  # (…, T, S)
    p, _ = masked_softmax_forward(z, mask)
    return p @ v, (q, k, v, p)


def scaled_dot_product_attention_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """Gradients of `scaled_dot_product_attention_forward`. dy (…, T, E) -> dq, dk, dv like q, k, v.

    Formula: dv = pᵀ @ dy, dp = dy @ vᵀ, dz by softmax's backward, dq = dz @ k / √D, dk = dzᵀ @ q / √D.
    """
    q, k, v, p = cache
    dv = p.swapaxes(-1, -2) @ dy
    dp = dy @ v.swapaxes(-1, -2)
    dz = masked_softmax_backward(dp, p) / math.sqrt(q.shape[-1])
    dq = dz @ k
    dk = dz.swapaxes(-1, -2) @ q
    return dq, dk, dv


# ---------------------------------------------------------------- step 3
def split_heads(x: Array, heads: int) -> Array:
    """Each head with its own columns: (N, T, D) -> (N, heads, T, D/heads). Head 0 has the first columns."""
    n, t, d = x.shape
    return x.reshape(n, t, heads, d // heads).transpose(0, 2, 1, 3)


def merge_heads(y: Array) -> Array:
    """The heads side by side again: (N, heads, T, E) -> (N, T, heads·E)."""
    n, heads, t, e = y.shape
    return y.transpose(0, 2, 1, 3).reshape(n, t, heads * e)


# ---------------------------------------------------------------- step 4
def multi_head_attention_forward(x: Array, w_qkv: Array, w_out: Array, heads: int, mask: Array) -> tuple[Array, Any]:
    """y = (the heads' attentions, side by side) @ w_out, with q │ k │ v = x @ w_qkv cut into heads.

    x (N, T, D), w_qkv (D, 3D), w_out (D, D), mask booleans (N, heads, T, T) -> y (N, T, D). Each head has D / heads
    columns of q, of k and of v.
    """
    q, k, v = np.split(x @ w_qkv, 3, axis=-1)  # each (N, T, D)
    y, attention_cache = scaled_dot_product_attention_forward(
        split_heads(q, heads), split_heads(k, heads), split_heads(v, heads), mask
    )
    merged = merge_heads(y)  # (N, T, D)
    return merged @ w_out, (x, w_qkv, w_out, heads, merged, attention_cache)


def multi_head_attention_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """Gradients of `multi_head_attention_forward`. dy (N, T, D) -> dx (N, T, D), dw_qkv (D, 3D), dw_out (D, D).

    Formula: the steps in reverse; dw_out = mergedᵀ @ dy and dw_qkv = xᵀ @ dqkv, with samples and tokens as rows.
    """
    x, w_qkv, w_out, heads, merged, attention_cache = cache
    d = x.shape[-1]
    dw_out = merged.reshape(-1, d).T @ dy.reshape(-1, d)
    dmerged = dy @ w_out.T
    dq, dk, dv = scaled_dot_product_attention_backward(split_heads(dmerged, heads), attention_cache)
    dqkv = np.concatenate([merge_heads(dq), merge_heads(dk), merge_heads(dv)], axis=-1)  # (N, T, 3D)
    dw_qkv = x.reshape(-1, d).T @ dqkv.reshape(-1, 3 * d)
    dx = dqkv @ w_qkv.T
    return dx, dw_qkv, dw_out
