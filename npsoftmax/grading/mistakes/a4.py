"""Mistakes of a4: attention."""

from __future__ import annotations

import math

import numpy as np

from npsoftmax.functional import softmax_attention as attention
from npsoftmax.grading.mistakes.base import mistake


# ---------------------------------------------------------------- masks
@mistake("causal_mask", "mask")
def looks_at_the_future(t, s, like):
    """this lets a query look at LATER keys; query i may look at keys 0 to i."""
    return np.arange(t)[:, None] <= np.arange(s)


@mistake("causal_mask", "mask")
def not_at_itself(t, s, like):
    """a query may look at itself too: j ≤ i, with equality."""
    return np.arange(t)[:, None] > np.arange(s)


@mistake("causal_mask", "mask")
def mask_transposed(t, s, like):
    """the mask is transposed: queries are rows, keys are columns, (T, S)."""
    return (np.arange(t)[:, None] >= np.arange(s)).T.copy()


@mistake("masked_softmax_forward", "p")
def mask_ignored(z, mask):
    """the mask is ignored: where it is False p has to be 0, and e^z must not count in the sum."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    return p, p


@mistake("masked_softmax_forward", "p")
def masked_afterwards(z, mask):
    """the mask came after the softmax, so that rows do not add up to 1: the forbidden ones must not count in the
    sum."""
    p = mask_ignored(z, mask)[0] * mask
    return p, p


@mistake("masked_softmax_forward", "p")
def mask_flipped(z, mask):
    """the mask is flipped: True means allowed."""
    return attention.masked_softmax_forward(z, ~mask)


@mistake("masked_softmax_forward", "p")
def zeros_for_forbidden(z, mask):
    """forbidden scores were set to 0, and e^0 = 1 still counts: set them to -∞."""
    return mask_ignored(np.where(mask, z, 0.0), mask)


@mistake("masked_softmax_forward", "p")
def empty_rows_are_nan(z, mask):
    """in a row with nothing allowed this is 0/0 or -∞ + ∞, NaN: there p has to be all zeros."""
    s = np.where(mask, z, -np.inf)
    return mask_ignored(s, mask)


@mistake("masked_softmax_backward", "dz")
def diagonal_only(dp, cache):
    """only the diagonal of softmax's Jacobian is there: each p_i also depends on every other z_j."""
    return dp * cache * (1 - cache)


@mistake("masked_softmax_backward", "dz")
def factor_p_missing(dp, cache):
    """the factor p in front of the bracket is missing; it is also what makes dz 0 where nothing is allowed."""
    return dp - (cache * dp).sum(axis=-1, keepdims=True)


# ---------------------------------------------------------------- scaled dot product
def _attend(q, k, v, mask, scale):
    p, _ = attention.masked_softmax_forward(q @ k.swapaxes(-1, -2) * scale, mask)
    return p @ v, (q, k, v, p)


@mistake("scaled_dot_product_attention_forward", "y")
def scale_forgotten(q, k, v, mask):
    """the scores are not divided by √D: their variance grows with D, and softmax saturates."""
    return _attend(q, k, v, mask, 1.0)


@mistake("scaled_dot_product_attention_forward", "y")
def divided_by_d(q, k, v, mask):
    """the scores are divided by D; divide by √D."""
    return _attend(q, k, v, mask, 1 / q.shape[-1])


@mistake("scaled_dot_product_attention_forward", "y")
def scaled_by_another_size(q, k, v, mask):
    """the scores are divided by the root of S, the number of keys; it is √D, the length of a query."""
    return _attend(q, k, v, mask, 1 / math.sqrt(k.shape[-2]))


@mistake("scaled_dot_product_attention_forward", "y")
def everybody_may_look(q, k, v, mask):
    """the mask is not used."""
    return _attend(q, k, v, np.ones_like(mask), 1 / math.sqrt(q.shape[-1]))


@mistake("scaled_dot_product_attention_forward", "y")
def softmax_over_the_queries(q, k, v, mask):
    """the softmax runs over the queries; it has to run over the KEYS, the last axis, for each query."""
    z = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    p = attention.masked_softmax_forward(z.swapaxes(-1, -2), mask.swapaxes(-1, -2))[0].swapaxes(-1, -2)
    return p @ v, (q, k, v, p)


@mistake("scaled_dot_product_attention_backward", "dq", "dk")
def gradient_not_scaled(dy, cache):
    """1/√D is missing in dq and dk: the scores were divided by √D on the way in."""
    dq, dk, dv = attention.scaled_dot_product_attention_backward(dy, cache)
    scale = math.sqrt(cache[0].shape[-1])
    return dq * scale, dk * scale, dv


@mistake("scaled_dot_product_attention_backward", "dq", "dk")
def softmax_skipped(dy, cache):
    """the softmax was skipped: dp = dy @ vᵀ is the gradient of the weights, and has to go through softmax's
    backward."""
    q, k, v, _ = cache
    dz = dy @ v.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    return dz @ k, dz.swapaxes(-1, -2) @ q, attention.scaled_dot_product_attention_backward(dy, cache)[2]


@mistake("scaled_dot_product_attention_backward", "dq", "dk")
def softmax_diagonal(dy, cache):
    """softmax's backward has only the diagonal, p · (1 - p): each weight depends on every score of its query."""
    q, k, v, p = cache
    dz = dy @ v.swapaxes(-1, -2) * p * (1 - p) / math.sqrt(q.shape[-1])
    return dz @ k, dz.swapaxes(-1, -2) @ q, attention.scaled_dot_product_attention_backward(dy, cache)[2]


# ---------------------------------------------------------------- heads
@mistake("split_heads", "heads")
def tokens_cut(x, heads):
    """a plain reshape to (N, heads, T, D/heads) mixes tokens with heads: reshape to (N, T, heads, D/heads), then
    transpose."""
    n, t, d = x.shape
    return x.reshape(n, heads, t, d // heads)


@mistake("split_heads", "heads")
def columns_interleaved(x, heads):
    """the columns are given to the heads in turn; head 0 has the FIRST D/heads columns, head 1 the next."""
    n, t, d = x.shape
    return x.reshape(n, t, d // heads, heads).transpose(0, 3, 1, 2)


@mistake("split_heads", "heads")
def head_axis_in_place(x, heads):
    """the head axis has to stand before the tokens: transpose(0, 2, 1, 3)."""
    n, t, d = x.shape
    return x.reshape(n, t, heads, d // heads)


@mistake("merge_heads", "x")
def merged_without_transpose(y):
    """a plain reshape mixes tokens with heads: transpose(0, 2, 1, 3) first."""
    n, heads, t, e = y.shape
    return y.reshape(n, t, heads * e)


@mistake("merge_heads", "x")
def merged_interleaved(y):
    """the heads' columns are interleaved; all of head 0 come first."""
    n, heads, t, e = y.shape
    return y.transpose(0, 2, 3, 1).reshape(n, t, heads * e)


@mistake("merge_heads", "x")
def heads_added(y):
    """the heads were added up; they stand side by side, (N, T, heads·E)."""
    return y.sum(axis=1)


@mistake("multi_head_attention_forward", "y")
def output_projection_forgotten(x, w_qkv, w_out, heads, mask):
    """the last product, @ w_out, is missing."""
    cache = attention.multi_head_attention_forward(x, w_qkv, w_out, heads, mask)[1]
    return cache[4], cache


@mistake("multi_head_attention_forward", "y")
def one_head_only(x, w_qkv, w_out, heads, mask):
    """this is attention with a single head: split q, k and v into {heads} heads first."""
    y, _ = attention.multi_head_attention_forward(x, w_qkv, w_out, 1, mask[:, :1])
    return y, attention.multi_head_attention_forward(x, w_qkv, w_out, heads, mask)[1]


@mistake("multi_head_attention_forward", "y")
def keys_and_values_exchanged(x, w_qkv, w_out, heads, mask):
    """k and v are exchanged: the columns of w_qkv are q, then k, then v."""
    d = x.shape[-1]
    order = np.concatenate([np.arange(d), np.arange(2 * d, 3 * d), np.arange(d, 2 * d)])
    y, _ = attention.multi_head_attention_forward(x, w_qkv[:, order], w_out, heads, mask)
    return y, attention.multi_head_attention_forward(x, w_qkv, w_out, heads, mask)[1]


@mistake("multi_head_attention_backward", "dw_qkv", "dw_out")
def weights_averaged_over_the_batch(dy, cache):
    """you averaged over the batch: the gradients of the weights are SUMS over its N = {N} samples."""
    dx, dw_qkv, dw_out = attention.multi_head_attention_backward(dy, cache)
    return dx, dw_qkv / len(dy), dw_out / len(dy)


@mistake("multi_head_attention_backward", "dx", "dw_qkv")
def values_only(dy, cache):
    """only the values' share is there: the scores depend on x through q and k as well."""
    x, w_qkv, w_out, heads, _, attention_cache = cache
    d = x.shape[-1]
    dmerged = attention.split_heads(dy @ w_out.T, heads)
    dv = attention.scaled_dot_product_attention_backward(dmerged, attention_cache)[2]
    dqkv = np.concatenate([np.zeros((*x.shape[:2], 2 * d)), attention.merge_heads(dv)], axis=-1)
    _, _, dw_out = attention.multi_head_attention_backward(dy, cache)
    return dqkv @ w_qkv.T, x.reshape(-1, d).T @ dqkv.reshape(-1, 3 * d), dw_out


@mistake("multi_head_attention_backward", "dx", "dw_qkv")
def output_projection_not_transposed(dy, cache):
    """dy was multiplied by w_out; on the way back it is w_outᵀ (both are D x D, so the shapes do not show it)."""
    x, w_qkv, w_out, heads, merged, attention_cache = cache
    dx, dw_qkv, _ = attention.multi_head_attention_backward(dy, (x, w_qkv, w_out.T, heads, merged, attention_cache))
    return dx, dw_qkv, attention.multi_head_attention_backward(dy, cache)[2]
