"""Softmax attention in tiles of keys: the numbers of `attention`, in memory that does not grow with their number.

Design: a row of softmax needs the sum over all keys, but that sum can be kept up to date from tile to tile of
keys (the "online" softmax). After each tile, with `top` the largest score so far,

    total = Σ_s e^{z_s - top}          y = Σ_s e^{z_s - top} · v_s

and where a new tile raises `top`, both are multiplied by e^{old top - new top} first. At the end y / total is the
output, and lse = top + log(total) is all that backward needs to make p = e^{z - lse} again, tile by tile. Nothing of
size T·S is kept; the price is one more product q @ kᵀ. Derivation: docs/attention.md.
Source: Milakov and Gimelshein, 2018 (arXiv 1805.02867); Dao et al., 2022 (arXiv 2205.14135).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from npsoftmax.arguments import booleans, gradient_like, taken, whole
from npsoftmax.backend import Array, array_module
from npsoftmax.functional.softmax import hide


def attention_tiled_forward(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None = None,
    drop: Array | None = None,
    keep: float = 1.0,
    *,
    causal: bool = False,
    scale: float | None = None,
    tile: int = 128,
) -> tuple[Array, Any]:
    """`attention.attention_forward` with softmax, `tile` keys at a time.

    q (…, T, D), k (…, S, D), v (…, S, E), mask and drop booleans that broadcast to (…, T, S) -> y (…, T, E).
    InputError for tile < 1.
    """
    q, k, v = taken("q (…, T, D), k (…, S, D), v (…, S, E)", q, k, v)
    tile, shape = whole("tile", tile), (*q.shape[:-1], k.shape[-2])
    mask, drop = booleans(mask, shape), booleans(drop, shape, "drop")
    xp = array_module(q)
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
    scaled = q * scale
    top = xp.full((*q.shape[:-1], 1), xp.finfo(q.dtype).min, dtype=q.dtype)  # (…, T, 1)
    total = xp.zeros_like(top)
    y = xp.zeros((*q.shape[:-1], v.shape[-1]), dtype=q.dtype)
    for keys, allowed, kept in _tiles(q, k, mask, drop, causal, tile):
        z = hide(scaled @ k[..., keys, :].swapaxes(-1, -2), allowed)  # (…, T, tile)
        highest = xp.maximum(top, z.max(axis=-1, keepdims=True))
        e = _exp(z, highest, allowed)
        shrink = xp.exp(top - highest)
        total = total * shrink + e.sum(axis=-1, keepdims=True)
        y = y * shrink + _dropped(e, kept, keep) @ v[..., keys, :]
        top = highest
    total = xp.where(total > 0, total, 1)  # 0 in a row with nothing allowed
    y /= total
    return y, (q, k, v, y, top + xp.log(total), mask, drop, keep, causal, scale, tile)


def attention_tiled_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    """p = e^{z - lse} again, then dz = p · (dp - Σ_s p · dp), where Σ_s p · dp = Σ_e dy · y.

    dy (…, T, E) -> dq, dk, dv like q, k, v
    """
    q, k, v, y, lse, mask, drop, keep, causal, scale, tile = cache
    dy = gradient_like(dy, y.shape)
    xp = array_module(q)
    scaled = q * scale
    mean = (dy * y).sum(axis=-1, keepdims=True)  # (…, T, 1)
    dq, dk, dv = xp.zeros_like(q), xp.empty_like(k), xp.empty_like(v)
    for keys, allowed, kept in _tiles(q, k, mask, drop, causal, tile):
        k_tile, v_tile = k[..., keys, :], v[..., keys, :]
        p = _exp(hide(scaled @ k_tile.swapaxes(-1, -2), allowed), lse, allowed)  # (…, T, tile)
        # In the forward pass this was y = dropout(p) @ v and p = softmax(z), z = scaled @ kᵀ, so now, last step first:
        dv[..., keys, :] = _dropped(p, kept, keep).swapaxes(-1, -2) @ dy
        dz = p * (_dropped(dy @ v_tile.swapaxes(-1, -2), kept, keep) - mean)
        dq += dz @ k_tile
        dk[..., keys, :] = dz.swapaxes(-1, -2) @ scaled
    dq *= scale
    return dq, dk, dv


# ---------------------------------------------------------------- tiles
def _tiles(
    q: Array, k: Array, mask: Array | None, drop: Array | None, causal: bool, tile: int
) -> Iterator[tuple[slice, Array | None, Array | None]]:
    """(keys, their part of the masks, their part of `drop`), tile by tile."""
    t, s = q.shape[-2], k.shape[-2]
    xp = array_module(q)
    for start in range(0, s, tile):
        keys = slice(start, min(start + tile, s))
        allowed = _columns(mask, keys)
        if causal:
            past = xp.arange(t)[:, None] >= xp.arange(keys.start, keys.stop)[None]
            allowed = past if allowed is None else past & allowed
        yield keys, allowed, _columns(drop, keys)


def _columns(mask: Array | None, keys: slice) -> Array | None:
    return mask if mask is None or mask.shape[-1:] in ((), (1,)) else mask[..., keys]


def _exp(z: Array, top: Array, allowed: Array | None) -> Array:
    e = array_module(z).exp(z - top)
    return e if allowed is None else e * allowed  # e^0 where nothing is allowed


def _dropped(p: Array, kept: Array | None, keep: float) -> Array:
    return p if kept is None else p * kept / p.dtype.type(keep)
