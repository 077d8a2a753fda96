"""Softmax with a sink: a score b that takes its share of the probability and is no class. docs/softmax-family.md.

    p_c = e^{z_c} / (e^b + Σ_j e^{z_j}),    p_0 = 1 - Σ_c p_c = e^b / (e^b + Σ_j e^{z_j})

Design: it is a softmax over C + 1 scores of which the last is not handed out. What is subtracted before the exponential
must be the maximum of *all* of them, the sink too, and it must be subtracted from all of them. `softmax.softmax1` is
the mapping with a fixed b.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import gradient_like, real, refuse, taken
from npsoftmax.backend import Array, array_module


def sink_softmax_forward(z: Array, b: Array) -> tuple[Array, Any]:
    """p_c = e^{z_c} / (e^b + Σ_j e^{z_j}): each row sums to 1 - p_0. z (N, C), b (1,) or (N,) -> p (N, C).

    Source: Miller, 2023 (b = 0); OpenAI, 2025 (arXiv 2508.10925; b learned).
    """
    z, b, column = _with_sink(z, b)
    xp = array_module(z)
    top = xp.maximum(z.max(axis=1, keepdims=True), column)
    e, rest = xp.exp(z - top), xp.exp(column - top)
    total = e.sum(axis=1, keepdims=True) + rest
    p = e / total
    return p, (p, (rest / total)[:, 0], b.shape)


def sink_softmax_backward(dp: Array, cache: Any) -> tuple[Array, Array]:
    """dz = p · (dp - Σ_c p_c · dp_c), db = -p_0 · Σ_c p_c · dp_c. dp (N, C) -> dz (N, C), db like b."""
    p, nothing, shape = cache
    dp = gradient_like(dp, p.shape, "dp")
    inner = (p * dp).sum(axis=1)
    return p * (dp - inner[:, None]), _like_sink(-nothing * inner, shape)


def log_sink_softmax_forward(z: Array, b: Array) -> tuple[Array, Any]:
    """y_c = z_c - log(e^b + Σ_j e^{z_j}): the logarithm of `sink_softmax`. z (N, C), b (1,) or (N,) -> y (N, C)."""
    z, b, column = _with_sink(z, b)
    xp = array_module(z)
    top = xp.maximum(z.max(axis=1, keepdims=True), column)
    s, rest = z - top, column - top
    log_total = xp.log(xp.exp(s).sum(axis=1, keepdims=True) + xp.exp(rest))
    y = s - log_total
    return y, (y, (rest - log_total)[:, 0], b.shape)


def log_sink_softmax_backward(dy: Array, cache: Any) -> tuple[Array, Array]:
    """dz = dy - p · Σ_c dy_c, db = -p_0 · Σ_c dy_c. dy (N, C) -> dz (N, C), db like b."""
    y, log_nothing, shape = cache
    dy = gradient_like(dy, y.shape)
    xp = array_module(y)
    total = dy.sum(axis=1)
    return dy - xp.exp(y) * total[:, None], _like_sink(-xp.exp(log_nothing) * total, shape)


def _with_sink(z: Array, b: Array) -> tuple[Array, Array, Array]:
    """z (N, C) and b (1,) or (N,) as real numbers of one type, and b as a column."""
    (z,) = taken("z (N, C)", z)
    b = real(b, "b").astype(z.dtype, copy=False)
    if b.shape not in ((1,), (len(z),)):
        raise refuse(f"b has shape {b.shape}, but (1,), one sink for all rows, or ({len(z)},) was expected.")
    return z, b, b[:, None]


def _like_sink(db: Array, shape: tuple[int, ...]) -> Array:
    return db if db.shape == shape else db.sum(keepdims=True)
