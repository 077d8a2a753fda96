"""Scaled dot-product attention with its masked softmax, and multi-head attention.

Replace each `raise NotImplementedError`, then type

    npsoftmax grade a4

The page that goes with it: README.md in this folder.

Array is a NumPy array. Its shape is in the docstring: (N,) is a vector, () a single number, and (…, C) has any axes
before the last one. If float32 comes in, let float32 go out: the page says how.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npsoftmax.backend import Array


def causal_mask(t: int, s: int, like: Array) -> Array:
    """Query i may look at keys 0 … i, nothing later: t queries, s keys -> mask (T, S) of booleans, True where allowed.

    `like` is an array that tells the library whether a GPU computes: you may ignore it.
    """
    raise NotImplementedError("a4 causal_mask")  # return mask


def masked_softmax_forward(z: Array, mask: Array) -> tuple[Array, Any]:
    """Softmax over the allowed entries of each row: p_i = e^{z_i} / Σ_{j allowed} e^{z_j}, 0 where not allowed.

    z (…, S), mask booleans like z (True: allowed) -> p (…, S). A row with nothing allowed is all zeros, not NaN.
    """
    # The cache is p (…, S).
    raise NotImplementedError("a4 masked_softmax_forward")  # return p, cache


def masked_softmax_backward(dp: Array, cache: Any) -> Array:
    """Gradient of `masked_softmax_forward` with respect to z; 0 where not allowed. dp (…, S) -> dz (…, S).

    Formula: dz_i = p_i · (dp_i - Σ_j p_j · dp_j).
    """
    # The cache is p (…, S).
    p = cache
    raise NotImplementedError("a4 masked_softmax_backward")  # return dz


def scaled_dot_product_attention_forward(q: Array, k: Array, v: Array, mask: Array) -> tuple[Array, Any]:
    """Each query's mean of the values, weighted by how well it fits the keys: y = softmax(q @ kᵀ / √D) @ v.

    q (…, T, D), k (…, S, D), v (…, S, E), mask booleans (…, T, S) -> y (…, T, E).
    """
    # The cache is (q, k, v, p): the first three as they came in, p (…, T, S), the weights.
    # You may call masked_softmax_forward: while this is graded, that is the library's.
    raise NotImplementedError("a4 scaled_dot_product_attention_forward")  # return y, cache


def scaled_dot_product_attention_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """Gradients of `scaled_dot_product_attention_forward`. dy (…, T, E) -> dq, dk, dv like q, k, v.

    Formula: dv = pᵀ @ dy, dp = dy @ vᵀ, dz by softmax's backward, dq = dz @ k / √D, dk = dzᵀ @ q / √D.
    """
    # The cache is (q, k, v, p): the first three as they came in, p (…, T, S), the weights.
    q, k, v, p = cache
    # You may call masked_softmax_backward: while this is graded, that is the library's.
    raise NotImplementedError("a4 scaled_dot_product_attention_backward")  # return dq, dk, dv


def split_heads(x: Array, heads: int) -> Array:
    """Each head with its own columns: (N, T, D) -> (N, heads, T, D/heads). Head 0 has the first columns."""
    raise NotImplementedError("a4 split_heads")  # return heads


def merge_heads(y: Array) -> Array:
    """The heads side by side again: (N, heads, T, E) -> (N, T, heads·E)."""
    raise NotImplementedError("a4 merge_heads")  # return x


def multi_head_attention_forward(x: Array, w_qkv: Array, w_out: Array, heads: int, mask: Array) -> tuple[Array, Any]:
    """y = (the heads' attentions, side by side) @ w_out, with q │ k │ v = x @ w_qkv cut into heads.

    x (N, T, D), w_qkv (D, 3D), w_out (D, D), mask booleans (N, heads, T, T) -> y (N, T, D). Each head has D / heads
    columns of q, of k and of v.
    """
    # The cache is (x, w_qkv, w_out, heads, merged, attention_cache): merged (N, T, D), the heads side by side before
    # w_out; attention_cache, what scaled_dot_product_attention_forward returned beside its y; the others as they came
    # in.
    # You may call split_heads and merge_heads and scaled_dot_product_attention_forward: while this is graded, these
    # are the library's.
    raise NotImplementedError("a4 multi_head_attention_forward")  # return y, cache


def multi_head_attention_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """Gradients of `multi_head_attention_forward`. dy (N, T, D) -> dx (N, T, D), dw_qkv (D, 3D), dw_out (D, D).

    Formula: the steps in reverse; dw_out = mergedᵀ @ dy and dw_qkv = xᵀ @ dqkv, with samples and tokens as rows.
    """
    # The cache is (x, w_qkv, w_out, heads, merged, attention_cache): merged (N, T, D), the heads side by side before
    # w_out; attention_cache, what scaled_dot_product_attention_forward returned beside its y; the others as they came
    # in.
    x, w_qkv, w_out, heads, merged, attention_cache = cache
    # You may call split_heads and merge_heads and scaled_dot_product_attention_backward: while this is graded, these
    # are the library's.
    raise NotImplementedError("a4 multi_head_attention_backward")  # return dx, dw_qkv, dw_out
