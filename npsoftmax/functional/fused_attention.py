"""Softmax attention in one pass: the numbers of `attention`, the scores of one head at a time and in the cache only.

Design: heads are runs of columns, as the projections leave them, so nothing is split or merged on the way. As in
`tiled_attention` only lse = log Σ_s e^{z_s} of each row is kept, and backward makes p = e^{z - lse} again.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import real, taken, whole
from npsoftmax.backend import Array
from npsoftmax.kernels import attention as kernels


def attention_fused_forward(q: Array, k: Array, v: Array, heads: int) -> tuple[Array, Any]:
    """`split_heads`, `attention_forward` with softmax, and `merge_heads`. q (N, T, D), k, v (N, S, D) -> y (N, T, D)"""
    q, k, v = taken("q (N, T, D), k (N, S, D), v (N, S, D)", q, k, v)
    heads = whole("heads", heads)
    y, lse = kernels.attention(q, k, v, heads)
    return y, (q, k, v, y, lse, heads)


def attention_fused_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """dz = p · (dp - Σ_s p · dp), where Σ_s p · dp = Σ_d dy · y. dy (N, T, D) -> dq, dk, dv."""
    dy = real(dy, "dy")
    return kernels.attention_backward(dy, *cache)
