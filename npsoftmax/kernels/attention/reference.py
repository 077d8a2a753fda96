"""Softmax attention in readable NumPy: the documentation of the kernel, and the fallback for any array type."""

from __future__ import annotations

from npsoftmax.backend import Array, array_module

Three = tuple[Array, Array, Array]


def attention(q: Array, k: Array, v: Array, heads: int) -> tuple[Array, Array]:
    """Softmax attention in each of `heads` runs of columns.

    q (N, T, D), k, v (N, S, D) -> y (N, T, D), and lse (N, heads, T), the log Σ e^z of every row of scores.
    """
    xp = array_module(q)
    z = _scores(q, k, heads)  # (N, heads, T, S)
    top = z.max(axis=-1, keepdims=True)
    e = xp.exp(z - top)
    total = e.sum(axis=-1, keepdims=True)
    y = (e / total) @ _split(v, heads)
    return _merge(y), (top + xp.log(total))[..., 0]


def attention_backward(
    dy: Array, q: Array, k: Array, v: Array, y: Array, lse: Array, heads: int, out: Three | None = None
) -> Three:
    """p = e^{z - lse} again, dz = p · (dp - Σ_s p dp), Σ_s p dp = dy · y. dy (N, T, D) -> dq, dk, dv, into `out`."""
    xp = array_module(q)
    p = xp.exp(_scores(q, k, heads) - lse[..., None])  # (N, heads, T, S)
    dy_heads, v_heads = _split(dy, heads), _split(v, heads)
    dp = dy_heads @ v_heads.swapaxes(-1, -2)
    mean = (dy_heads * _split(y, heads)).sum(axis=-1, keepdims=True)
    dz = p * (dp - mean) * (q.shape[-1] // heads) ** -0.5
    gradients = dz @ _split(k, heads), dz.swapaxes(-1, -2) @ _split(q, heads), p.swapaxes(-1, -2) @ dy_heads
    if out is None:
        out = xp.empty(q.shape, q.dtype), xp.empty(k.shape, k.dtype), xp.empty(v.shape, v.dtype)
    for to, gradient in zip(out, gradients, strict=True):
        to[...] = _merge(gradient)
    return out


def _scores(q: Array, k: Array, heads: int) -> Array:
    return _split(q * (q.shape[-1] // heads) ** -0.5, heads) @ _split(k, heads).swapaxes(-1, -2)


def _split(x: Array, heads: int) -> Array:
    n, t, d = x.shape
    return x.reshape(n, t, heads, d // heads).transpose(0, 2, 1, 3)  # (N, heads, T, D/heads)


def _merge(y: Array) -> Array:
    n, heads, t, e = y.shape
    return y.transpose(0, 2, 1, 3).reshape(n, t, heads * e)
