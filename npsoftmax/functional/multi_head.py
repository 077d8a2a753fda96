"""Multi-head attention: one projection to queries, keys and values, attention in every head, one projection back.

    x (N, T, D) ─w_qkv─► q │ k │ v (N, T, 3D) ─► (N, heads, T, D/heads) ─attention─► y (N, T, D) ─w_out─► (N, T, D)

Design: tokens are rows of a matrix (N·T, D) wherever features are mixed, so each projection is one large product; a
head is a run of D/heads columns, and splitting heads is a view, not a copy. Where x is bfloat16, scores, weights and
means are float32 all the same. One matrix w_qkv holds the three
projections side by side. With `context` the queries come from x and the keys and values from it (cross-attention).
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import whole
from npsoftmax.autocast import activations, gradient_as, like, widened
from npsoftmax.backend import Array, array_module
from npsoftmax.cuda import joined
from npsoftmax.errors import InputError
from npsoftmax.functional import attention, dense, fused_attention, tiled_attention
from npsoftmax.functional.softmax_attention import merge_heads, split_heads
from npsoftmax.kernels import attention as kernels

ALGORITHMS = ("plain", "tiled", "fused")
PROJECTIONS = "x (N, T, D), w_qkv (D, 3D), b_qkv (3D)?, w_out (D, D), b_out (D)?, context (N, S, D)?"


# ---------------------------------------------------------------- multi-head attention
def multi_head_attention_forward(
    x: Array,
    w_qkv: Array,
    b_qkv: Array | None,
    w_out: Array,
    b_out: Array | None,
    context: Array | None = None,
    mask: Array | None = None,
    noise: Array | None = None,
    drop: Array | None = None,
    keep: float = 1.0,
    *,
    heads: int,
    mapping: str = "softmax",
    algorithm: str = "plain",
    causal: bool = False,
    threaded: bool = False,
    **options: Any,
) -> tuple[Array, Any]:
    """y = concat over heads of attention(q, k, v) @ w_out + b_out, where q │ k │ v = x @ w_qkv + b_qkv.

    x (N, T, D), w_qkv (D, 3D), b_qkv (3D,) or None, w_out (D, D), b_out (D,) or None, context (N, S, D) or None (then
    S = T), mask, noise and drop as in `attention_forward` for scores (N, heads, T, S) -> y (N, T, D).
    algorithm: "plain", "tiled" (softmax only) or "fused" (softmax only, without mask and dropout). threaded: the
    projections on all threads. options: those of the mapping.
    Raises InputError where D does not divide into heads, or an algorithm cannot do what is asked.
    Source: Vaswani et al., 2017 (arXiv 1706.03762).
    """
    x, w_qkv, b_qkv, w_out, b_out, context = activations(PROJECTIONS, x, w_qkv, b_qkv, w_out, b_out, context)
    heads = whole("heads", heads)
    d = x.shape[-1]
    if heads < 1 or d % heads:
        raise InputError(f"{d} features do not divide into {heads} heads; choose a divisor of {d}.")
    pair = "dense_threaded" if threaded else "dense"
    (q, k, v), in_cache = _project(x, context, w_qkv, b_qkv, pair)
    y, core_cache = _attend((q, k, v), (mask, noise, drop, keep), heads, mapping, algorithm, causal, options)
    out, out_cache = getattr(dense, f"{pair}_forward")(_rows(like(y, x)), w_out, b_out)
    return out.reshape(x.shape), (in_cache, core_cache, out_cache, heads, algorithm, pair)


def multi_head_attention_backward(
    dy: Array, cache: Any, need_dx: bool = True
) -> tuple[Array | None, Array, Array | None, Array, Array | None, Array | None]:
    """The three steps in reverse. dy (N, T, D) -> dx, dw_qkv, db_qkv, dw_out, db_out, dcontext (None without one)."""
    in_cache, core_cache, out_cache, heads, algorithm, pair = cache
    dy = gradient_as(dy, (*in_cache[0][1][:2], out_cache[1].shape[1]), out_cache[0])
    dmerged, dw_out, db_out = getattr(dense, f"{pair}_backward")(_rows(dy), out_cache)
    dmerged = widened(dmerged)
    gradients = _gradients_side_by_side(dmerged, in_cache)
    _back_through_heads(dmerged.reshape(dy.shape), core_cache, heads, algorithm, _parts(gradients))
    dx, dw_qkv, db_qkv, dcontext = _back_through_projections(gradients, in_cache, pair, need_dx)
    return dx, dw_qkv, db_qkv, dw_out, db_out, dcontext


# ---------------------------------------------------------------- the projection to q, k and v
Parts = tuple[Array, Array, Array]  # q (N, T, D), k and v (N, S, D), or their gradients


def _parts(arrays: tuple[Array, ...]) -> Parts:
    """Views of q, k and v in one array (N, T, 3D), or in two (N, T, D) and (N, S, 2D)."""
    d = arrays[-1].shape[-1] // (4 - len(arrays))
    last = arrays[-1]
    columns = [last[..., i : i + d] for i in range(0, last.shape[-1], d)]
    return (*arrays[:-1], *columns)


def _project(x: Array, context: Array | None, w: Array, b: Array | None, pair: str) -> tuple[Parts, Any]:
    """q, k, v, and for each product its cache with the number of samples."""
    n, _, d = x.shape
    if context is None:
        products = [(x, w, b)]
    else:
        products = [(x, w[:, :d], b if b is None else b[:d]), (context, w[:, d:], b if b is None else b[d:])]
    arrays, caches = [], []
    for source, weight, bias in products:
        y, cache = getattr(dense, f"{pair}_forward")(_rows(source), weight, bias)
        arrays.append(widened(y).reshape(n, source.shape[1], weight.shape[1]))
        caches.append((cache, arrays[-1].shape))
    return _parts(tuple(arrays)), caches


def _gradients_side_by_side(dy: Array, cache: Any) -> tuple[Array, ...]:
    """Room for dq, dk and dv, in the form in which the products gave q, k and v."""
    return tuple(array_module(dy).empty(shape, dtype=dy.dtype) for _, shape in cache)


def _back_through_projections(
    gradients: tuple[Array, ...], cache: Any, pair: str, need_dx: bool
) -> tuple[Array | None, Array, Array | None, Array | None]:
    sources, weights, biases = [], [], []
    for number, (dy, (dense_cache, shape)) in enumerate(zip(gradients, cache, strict=True)):
        dx, dw, db = getattr(dense, f"{pair}_backward")(_rows(dy), dense_cache, need_dx or number > 0)
        sources.append(None if dx is None else dx.reshape(*shape[:2], dx.shape[1]))
        weights.append(dw)
        biases.append(db)
    if len(cache) == 1:
        return sources[0], weights[0], biases[0], None
    db = None if biases[0] is None else joined(biases)
    return sources[0], joined(weights, axis=1), db, sources[1]


def _rows(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])  # (N·T, D)


# ---------------------------------------------------------------- attention in every head
def _attend(
    parts: Parts,
    extras: tuple[Array | None, Array | None, Array | None, float],
    heads: int,
    mapping: str,
    algorithm: str,
    causal: bool,
    options: dict[str, Any],
) -> tuple[Array, Any]:
    mask, noise, drop, keep = extras
    if algorithm == "fused" and can_be_fused(mapping, mask, drop, causal):
        return fused_attention.attention_fused_forward(*parts, heads)
    q, k, v = (split_heads(part, heads) for part in parts)
    if algorithm == "plain":
        y, cache = attention.attention_forward(
            q, k, v, mask, noise, drop, keep, mapping=mapping, causal=causal, **options
        )
    elif algorithm == "tiled" and mapping == "softmax":
        y, cache = tiled_attention.attention_tiled_forward(q, k, v, mask, drop, keep, causal=causal)
    else:
        raise InputError(
            f"attention algorithm {algorithm!r} cannot do this: 'tiled' is for softmax, 'fused' for softmax without "
            "mask and dropout; 'plain' does everything."
        )
    return merge_heads(y), cache


def can_be_fused(mapping: str, mask: Array | None, drop: Array | None, causal: bool) -> bool:
    """Whether `fused_attention` computes this attention."""
    return mapping == "softmax" and mask is None and drop is None and not causal


def _back_through_heads(dy: Array, cache: Any, heads: int, algorithm: str, out: Parts) -> None:
    """Writes dq, dk and dv into `out`."""
    if algorithm == "fused":
        q, k, v, y, lse, _ = cache
        kernels.attention_backward(dy, q, k, v, y, lse, heads, out)
        return
    backward = attention.attention_backward if algorithm == "plain" else tiled_attention.attention_tiled_backward
    for to, gradient in zip(out, backward(split_heads(dy, heads), cache), strict=True):
        split_heads(to, heads)[...] = gradient
