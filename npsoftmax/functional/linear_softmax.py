"""A linear map and the softmax cross entropy after it, a block of classes at a time. Derivation: docs/adaptive.md.

Design: with a million classes the logits of a batch are hundreds of megabytes, written and read again several times.
The sum of exponentials can be kept up block by block while its largest term grows, so that a block of logits never
leaves the cache; backward computes it again, which costs less than reading it back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from npsoftmax.backend import Array, array_module

# Logits in a block: what the second-level cache holds in float32, twice.
BLOCK = 2**17


def linear_softmax_nll_forward(h: Array, w: Array, b: Array | None, t: Array) -> tuple[Array, Any]:
    """−log softmax(h @ wᵀ + b)[t] of every sample.

    h (N, D), w (C, D), b (C,) or None, t (N,) integer labels -> nll (N,), at least 0.
    The sum of exponentials after each block, with m the largest logit so far: s ← s·exp(m − m') + Σ exp(z − m').
    Source of the running sum: Milakov and Gimelshein, 2018.
    """
    xp = array_module(h)
    t = t.astype(xp.int64)  # small unsigned types cannot hold differences
    rows = xp.arange(len(h))
    top, total = xp.full(len(h), -xp.inf, dtype=h.dtype), xp.zeros(len(h), dtype=h.dtype)
    z_t = xp.zeros(len(h), dtype=h.dtype)
    for part in _blocks(h, w):
        z = _logits(h, w, b, part)
        inside = (t >= part.start) & (t < part.stop)
        z_t = xp.where(inside, z[rows, (t - part.start) % z.shape[1]], z_t)
        larger = xp.maximum(top, z.max(axis=1))
        z -= larger[:, None]
        total = total * xp.exp(top - larger) + xp.exp(z, out=z).sum(axis=1)
        top = larger
    log_total = xp.log(total)
    return log_total + (top - z_t), (h, w, b, t, top, log_total)


def linear_softmax_nll_backward(dnll: Array, cache: Any) -> tuple[Array, Array, Array | None]:
    """dz = (p − onehot(t))·dnll, then dh = dz @ w, dw = dzᵀ @ h, db = Σ_n dz, block by block.

    dnll (N,) -> dh (N, D), dw (C, D), db (C,) or None.
    """
    h, w, b, t, top, log_total = cache
    xp = array_module(h)
    rows = xp.arange(len(h))
    dh, dw = xp.zeros_like(h), xp.empty_like(w)
    db = None if b is None else xp.empty_like(b)
    for part in _blocks(h, w):
        dz = _logits(h, w, b, part)
        dz -= top[:, None]
        dz -= log_total[:, None]
        xp.exp(dz, out=dz)
        dz *= dnll[:, None]
        inside = (t >= part.start) & (t < part.stop)
        dz[rows, (t - part.start) % dz.shape[1]] -= xp.where(inside, dnll, 0)
        dh += dz @ w[part]
        dw[part] = dz.T @ h
        if db is not None:
            db[part] = dz.sum(axis=0)
    return dh, dw, db


def _blocks(h: Array, w: Array) -> Iterator[slice]:
    step = max(1, BLOCK // len(h))
    return (slice(start, min(start + step, len(w))) for start in range(0, len(w), step))


def _logits(h: Array, w: Array, b: Array | None, part: slice) -> Array:
    z = h @ w[part].T
    if b is not None:
        z += b[part]
    return z
