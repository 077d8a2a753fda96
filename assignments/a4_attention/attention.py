"""Scaled dot-product attention with its masked softmax, and multi-head attention.

Replace each `raise NotImplementedError`, then type

    npsoftmax grade a4

The page that goes with it: README.md in this folder.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npsoftmax.backend import Array


def causal_mask(t: int, s: int, like: Array) -> Array:
    """Query i may look at keys 0 … i, nothing later. -> (T, S) booleans, of the library of `like`."""
    raise NotImplementedError("a4 causal_mask")  # return mask


def masked_softmax_forward(z: Array, mask: Array) -> tuple[Array, Any]:
    """Softmax over the allowed entries of each row: p_i = e^{z_i} / Σ_{j allowed} e^{z_j}, 0 where not allowed.

    z (…, S), mask booleans like z (True: allowed) -> p (…, S). A row with nothing allowed is all zeros, not NaN.
    """
    # The cache is p.
    raise NotImplementedError("a4 masked_softmax_forward")  # return p, cache


def masked_softmax_backward(dp: Array, cache: Any) -> Array:
    """dz_i = p_i · (dp_i - Σ_j p_j · dp_j): where p is 0, so is dz. dp (…, S) -> dz (…, S)."""
    p = cache
    raise NotImplementedError("a4 masked_softmax_backward")  # return dz


def scaled_dot_product_attention_forward(q: Array, k: Array, v: Array, mask: Array) -> tuple[Array, Any]:
    """Each query's mean of the values, weighted by how well it fits the keys: y = softmax(q @ kᵀ / √D) @ v.

    q (…, T, D), k (…, S, D), v (…, S, E), mask booleans (…, T, S) -> y (…, T, E).
    Source: Vaswani et al., 2017 (arXiv 1706.03762).
    """
    # The cache is (q, k, v, p).
    # You may call masked_softmax_forward: while this is graded, that is the library's.
    raise NotImplementedError("a4 scaled_dot_product_attention_forward")  # return y, cache


def scaled_dot_product_attention_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """Back through the mean, the softmax and the scores. dy (…, T, E) -> dq, dk, dv like q, k, v."""
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
    # The cache is (x, w_qkv, w_out, heads, merged, attention_cache).
    # You may call split_heads and merge_heads and scaled_dot_product_attention_forward: while this is graded, these
    # are the library's.
    raise NotImplementedError("a4 multi_head_attention_forward")  # return y, cache


def multi_head_attention_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """The steps in reverse. dy (N, T, D) -> dx (N, T, D), dw_qkv (D, 3D), dw_out (D, D)."""
    x, w_qkv, w_out, heads, merged, attention_cache = cache
    # You may call split_heads and merge_heads and scaled_dot_product_attention_backward: while this is graded, these
    # are the library's.
    raise NotImplementedError("a4 multi_head_attention_backward")  # return dx, dw_qkv, dw_out
