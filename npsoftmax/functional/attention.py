"""Scaled dot-product attention with any mapping of kind "probability" in its middle. Derivation: docs/attention.md.

    scores  z = scale · q @ kᵀ      (T, S): how well query t fits key s
    weights p = mapping(z)          each row says where its query looks; softmax is one choice of many
    output  y = p @ v               (T, E): the mean of the values, weighted

Design: this is the page to read, and it keeps all of p. `tiled_attention` gives the same numbers without ever having a
whole p; `multi_head` splits features into heads. What stands before the last two axes is batch, and must be the same in
q, k and v. A boolean `mask` (True: this query may look at this key) broadcasts to (…, T, S); a query that may look at
nothing gets weights, output and gradients of 0. Noise and dropout are arguments: nothing here is random.
"""

from __future__ import annotations

import math
from typing import Any

from npsoftmax.arguments import booleans, gradient_like, taken
from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError, unknown_name
from npsoftmax.functional import dropout
from npsoftmax.functional.mappings import MAPPINGS, Mapping
from npsoftmax.kernels.matmul import products


# ---------------------------------------------------------------- masks: True where a query may look
def causal_mask(t: int, s: int, like: Array) -> Array:
    """Query i may look at keys 0 … i, nothing later. -> (T, S) booleans, of the library of `like`."""
    xp = array_module(like)
    return xp.arange(t)[:, None] >= xp.arange(s)[None]


def padding_mask(real: Array) -> Array:
    """No query may look at padding. real (N, S), True for a real token -> (N, 1, 1, S), for (N, heads, T, S)."""
    return real[:, None, None, :]


def joined_mask(mask: Array | None, causal: bool, q: Array, k: Array) -> Array | None:
    """`mask`, and the causal one too where that is asked for."""
    if not causal:
        return mask
    past = causal_mask(q.shape[-2], k.shape[-2], q)
    return past if mask is None else past & mask


# ---------------------------------------------------------------- the mapping in the middle
def attention_mapping(name: str) -> Mapping:
    """The mapping called `name`; InputError unless it is one of those that give probabilities."""
    fit = {key: mapping for key, mapping in MAPPINGS.items() if mapping.kind == "probability"}
    if name in fit:
        return fit[name]
    if name in MAPPINGS:
        raise InputError(
            f"attention takes a mapping that gives probabilities, but {name} gives a {MAPPINGS[name].kind}; "
            f"choose one of {', '.join(fit)}."
        )
    raise unknown_name("attention mapping", name, fit)


def check_mapping_options(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options (tau, order, alpha, …) of attention mapping `name`, checked; InputError names the known ones."""
    return attention_mapping(name).check(options, "attention mapping")


# ---------------------------------------------------------------- weights
def attention_weights_forward(
    q: Array,
    k: Array,
    mask: Array | None = None,
    noise: Array | None = None,
    *,
    mapping: str = "softmax",
    causal: bool = False,
    scale: float | None = None,
    **options: Any,
) -> tuple[Array, Any]:
    """Where each query looks: p = mapping(scale · q @ kᵀ), row by row.

    q (…, T, D), k (…, S, D), mask booleans that broadcast to (…, T, S), noise (…, T, S) for the mappings that need it
    (0 without) -> p (…, T, S), rows summing to 1 (softmax1: to less). scale: 1 / √D where it is not given, so that
    scores of independent features keep a variance of 1. options: those of the mapping.
    Source: Vaswani et al., 2017 (arXiv 1706.03762).
    """
    q, k = taken("q (…, T, D), k (…, S, D)", q, k)
    mask = booleans(mask, (*q.shape[:-1], k.shape[-2]))
    chosen = attention_mapping(mapping)
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
    z = products(q * scale, _swap(k))  # (…, T, S)
    if chosen.needs_noise:
        options["noise"] = array_module(z).zeros_like(z) if noise is None else noise
    p, map_cache = chosen.forward(z, mask=joined_mask(mask, causal, q, k), **options)
    return p, (q, k, scale, chosen, map_cache)


def attention_weights_backward(dp: Array, cache: Any) -> tuple[Array, Array]:
    """dz by the mapping's own backward; then dq = scale · dz @ k, dk = scale · dzᵀ @ q. dp (…, T, S) -> dq, dk."""
    q, k, scale, chosen, map_cache = cache
    dp = gradient_like(dp, (*q.shape[:-1], k.shape[-2]), "dp")
    dz = chosen.backward(dp, map_cache) * scale
    return products(dz, k), products(_swap(dz), q)


# ---------------------------------------------------------------- attention
def attention_forward(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None = None,
    noise: Array | None = None,
    drop: Array | None = None,
    keep: float = 1.0,
    *,
    mapping: str = "softmax",
    causal: bool = False,
    scale: float | None = None,
    **options: Any,
) -> tuple[Array, Any]:
    """Each query's mean of the values, weighted by where it looks: y = dropout(p) @ v, p = `attention_weights_forward`.

    q (…, T, D), k (…, S, D), v (…, S, E) -> y (…, T, E). drop (…, T, S): booleans of dropout on the weights, each true
    with probability `keep`; None for no dropout. Source: Vaswani et al., 2017 (arXiv 1706.03762).
    """
    q, k, v = taken("q (…, T, D), k (…, S, D), v (…, S, E)", q, k, v)
    p, weights_cache = attention_weights_forward(
        q, k, mask, noise, mapping=mapping, causal=causal, scale=scale, **options
    )
    dropped, drop_cache = (p, None) if drop is None else dropout.dropout_forward(p, drop, keep)
    return products(dropped, v), (weights_cache, dropped, drop_cache, v)


def attention_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """dv = dropout(p)ᵀ @ dy, and dp = dy @ vᵀ back through dropout, mapping and scores. dy (…, T, E) -> dq, dk, dv."""
    weights_cache, dropped, drop_cache, v = cache
    dy = gradient_like(dy, (*dropped.shape[:-1], v.shape[-1]))
    dv = products(_swap(dropped), dy)
    dp = products(dy, _swap(v))
    if drop_cache is not None:
        dp = dropout.dropout_backward(dp, drop_cache)
    dq, dk = attention_weights_backward(dp, weights_cache)
    return dq, dk, dv


def _swap(x: Array) -> Array:
    return x.swapaxes(-1, -2)
