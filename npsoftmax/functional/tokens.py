"""What is done to a row of tokens: one put in front, positions added, all made one vector."""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import gradient_like, taken
from npsoftmax.backend import Array, array_module
from npsoftmax.errors import unknown_name

POOLS = ("class", "mean", "sum")


def class_token_forward(x: Array, token: Array) -> tuple[Array, Any]:
    """The same learned token in front of every sample's own. x (N, T, D), token (D,) -> y (N, T + 1, D)."""
    x, token = taken("x (N, T, D), token (D)", x, token)
    n, t, d = x.shape
    y = array_module(x).empty((n, t + 1, d), dtype=x.dtype)
    y[:, 0] = token
    y[:, 1:] = x
    return y, y.shape


def class_token_backward(dy: Array, cache: Any) -> tuple[Array, Array]:
    """dtoken = Σ_n dy_{n, 0}: it was in every sample. dy (N, T + 1, D) -> dx (N, T, D), dtoken (D,)."""
    dy = gradient_like(dy, cache)
    return dy[:, 1:], dy[:, 0].sum(axis=0)


def position_embedding_forward(x: Array, position: Array) -> tuple[Array, Any]:
    """y = x + position. x (N, T, D), position (T, D) -> y (N, T, D)."""
    x, position = taken("x (N, T, D), position (T, D)", x, position)
    return x + position, x.shape


def position_embedding_backward(dy: Array, cache: Any, need_dposition: bool = True) -> tuple[Array, Array | None]:
    """dx = dy, dposition = Σ_n dy. dy (N, T, D) -> dx (N, T, D), dposition (T, D) or None where nobody reads it."""
    dy = gradient_like(dy, cache)
    return dy, dy.sum(axis=0) if need_dposition else None


def token_pool_forward(x: Array, kind: str) -> tuple[Array, Any]:
    """One vector of all tokens: y = x_0 ("class"), Σ_t x_t ("sum") or Σ_t x_t / T ("mean"). x (N, T, D) -> y (N, D)."""
    (x,) = taken("x (N, T, D)", x)
    if kind not in POOLS:
        raise unknown_name("pool of tokens", kind, POOLS)
    if kind == "class":
        return x[:, 0], (x.shape, kind)
    return (x.sum(axis=1) if kind == "sum" else x.mean(axis=1)), (x.shape, kind)


def token_pool_backward(dy: Array, cache: Any) -> Array:
    """dx_t = dy for every token ("mean": dy / T), or for the first alone ("class"). dy (N, D) -> dx (N, T, D)."""
    shape, kind = cache
    dy = gradient_like(dy, (shape[0], shape[2]))
    xp = array_module(dy)
    if kind == "class":
        dx = xp.zeros(shape, dtype=dy.dtype)
        dx[:, 0] = dy
        return dx
    share = dy if kind == "sum" else dy / shape[1]
    return xp.broadcast_to(share[:, None], shape)
