"""What is done to a row of tokens: each made a vector, one put in front, positions added, all made one vector."""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import fit, gradient_like, places, taken
from npsoftmax.backend import Array, array_module
from npsoftmax.errors import unknown_name

POOLS = ("class", "mean", "sum")


def embedding_forward(w: Array, x: Array) -> tuple[Array, Any]:
    """y_nt = w[x_nt]: the row of the table that a token has the number of. w (V, D), x (N, T) whole -> y (N, T, D)."""
    (w,) = taken("w (V, D)", w)
    x = places(x, "x", 0, len(w))
    fit("x (N, T)", x.shape)
    return w[x], (x, w.shape)


def embedding_backward(dy: Array, cache: Any) -> Array:
    """dw_v = Σ of dy_nt over all n, t with x_nt = v. dy (N, T, D) -> dw (V, D), 0 in the rows of tokens not there."""
    x, shape = cache
    dy = gradient_like(dy, (*x.shape, shape[1]))
    xp = array_module(dy)
    dw = xp.zeros(shape, dtype=dy.dtype)
    xp.add.at(dw, x, dy)  # += would count a token that occurs twice only once
    return dw


def embedding_rows_forward(w: Array, x: Array) -> tuple[Array, Any]:
    """`embedding_forward`, for a backward of the rows that were used. w (V, D), x (N, T) whole -> y (N, T, D)."""
    return embedding_forward(w, x)


def embedding_rows_backward(dy: Array, cache: Any) -> tuple[Array, Array]:
    """Each piece of dy with the row that it is a gradient of, for whoever sums them.

    dy (N, T, D) -> rows (N·T,), a row as often as its token occurs, and their gradients (N·T, D).
    """
    x, shape = cache
    dy = gradient_like(dy, (*x.shape, shape[1]))
    return x.reshape(-1), dy.reshape(-1, shape[1])


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
