"""A linear map and the softmax cross entropy after it, a block of classes at a time. Derivation: docs/adaptive.md.

Design: with a million classes the logits of a batch are hundreds of megabytes, written and read again several times.
The sum of exponentials can be put together from blocks of classes, each with its own maximum, so that a block of logits
never leaves the cache. Backward computes large blocks again, which costs less than reading them back; exponentials
that fit into memory easily are kept. Blocks are independent and NumPy releases the interpreter lock while it works
on one, so that threads share them; sums over blocks are taken in the order of the classes, whichever was ready first. A
device works on a block as a whole and starts a dozen kernels for each: there blocks are so large that few heads have
two.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from npsoftmax.arguments import gradient_like, labels, taken
from npsoftmax.backend import Array, array_module
from npsoftmax.host import get_threads, single_threaded_blas
from npsoftmax.kernels import matmul
from npsoftmax.kernels import softmax as kernels

Product = Callable[[Array, Array], Array]

# Logits in a block, so that it stays in a second-level cache; and in a batch whose exponentials are kept.
BLOCK, KEPT = 2**17, 2**21
DEVICE_BLOCK = 2**26  # logits in a block on a device, 256 MiB in float32; where they are one block they are kept


def linear_softmax_nll_forward(h: Array, w: Array, b: Array | None, t: Array) -> tuple[Array, Any]:
    """-log softmax(h @ wᵀ + b)[t] of every sample.

    h (N, D), w (C, D), b (C,) or None, t (N,) integer labels -> nll (N,), at least 0.
    With m_k the largest logit of block k and m that of all,
    Σ_c e^{z_c - m} = Σ_k e^{m_k - m} · Σ_{c in k} e^{z_c - m_k}.
    Source of the sum in blocks: Milakov and Gimelshein, 2018 (arXiv 1805.02867).
    """
    h, w, b = taken("h (N, D), w (C, D), b (C)?", h, w, b)
    t = labels(t, len(h), len(w), empty=True)
    xp = array_module(h)
    t = t.astype(xp.int64)  # small unsigned types cannot hold differences
    parts = _blocks(h, w, xp)
    keep = len(parts) == 1 or len(h) * len(w) <= KEPT
    inner, product = _inside_a_block(parts)

    def block(part: slice) -> tuple[Array, Array, Array, Array | None]:
        z = _logits(h, w, b, part, product)
        inside, column = _target(t, part)
        z_t = xp.where(inside, z[xp.arange(len(t)), column], -xp.inf)
        e, top, total, _ = kernels.exp_rows(z, out=z, threads=inner)
        return z_t, top, total, e if keep else None

    z_ts, tops, sums, kept = zip(*_shared_out(block, parts, xp), strict=True)
    z_t, tops = xp.stack(z_ts).max(axis=0), xp.stack(tops)  # (N,), (K, N)
    top = tops.max(axis=0)
    share = xp.exp(tops - top)
    total = (xp.stack(sums) * share).sum(axis=0)
    return xp.log(total) + (top - z_t), (h, w, b, t, parts, share / total, kept)


def linear_softmax_nll_backward(dnll: Array, cache: Any) -> tuple[Array, Array, Array | None]:
    """dz = (p - onehot(t)) · dnll, then dh = dz @ w, dw = dzᵀ @ h, db = Σ_n dz, block by block.

    dnll (N,) -> dh (N, D), dw (C, D), db (C,) or None.
    """
    h, w, b, t, parts, share, kept = cache
    dnll = gradient_like(dnll, (len(h),), "dnll")
    xp = array_module(h)
    dw, db = xp.empty_like(w), None if b is None else xp.empty_like(b)
    inner, product = _inside_a_block(parts)

    def block(k: int) -> Array:
        part, e = parts[k], kept[k]
        if e is None:
            z = _logits(h, w, b, part, product)
            e, *_ = kernels.exp_rows(z, out=z, threads=inner)
        dz = kernels.scaled_less_onehot(e, t - part.start, share[k] * dnll, dnll, threads=inner)
        dw[part] = product(dz.T, h)
        if db is not None:
            db[part] = dz.sum(axis=0)
        return product(dz, w[part])

    dh, *others = _shared_out(block, range(len(parts)), xp)
    for other in others:
        dh += other
    return dh, dw, db


def _blocks(h: Array, w: Array, xp: Any) -> list[slice]:
    step = max(1, (BLOCK if xp.__name__ == "numpy" else DEVICE_BLOCK) // max(len(h), 1))
    return [slice(start, min(start + step, len(w))) for start in range(0, len(w), step)]


def _logits(h: Array, w: Array, b: Array | None, part: slice, product: Product) -> Array:
    z = product(h, w[part].T)
    if b is not None:
        z += b[part]
    return z


def _target(t: Array, part: slice) -> tuple[Array, Array]:
    """Whether each target lies in the block, and its column there (some column, where it does not)."""
    return (t >= part.start) & (t < part.stop), (t - part.start) % (part.stop - part.start)


def _inside_a_block(parts: list[slice]) -> tuple[int | None, Product]:
    """Threads and matrix product of one block: one where blocks share the threads, all (None) for a single block."""
    return (1, operator.matmul) if len(parts) > 1 else (None, matmul)


def _shared_out(function: Callable[[Any], Any], items: Any, xp: Any) -> list[Any]:
    """[function(item) for item in items], on all threads where there are several items in host memory."""
    if len(items) == 1 or xp.__name__ != "numpy" or get_threads() == 1:
        return [function(item) for item in items]
    with single_threaded_blas():
        return list(_pool(get_threads()).map(function, items))


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="npsoftmax")
