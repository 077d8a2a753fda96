"""Sums and gradients of a softmax of z_c = gain_c · (w_c · h) + b_c, a block of classes at a time, in readable NumPy.

The documentation of the kernel, and what runs for any array type. A device works on a block as a whole and starts a
dozen kernels for each: there blocks are so large that few heads have two.
"""

from __future__ import annotations

from collections.abc import Iterator

from npsoftmax.backend import Array, array_module
from npsoftmax.kernels import softmax
from npsoftmax.kernels.matmul import matmul

# Logits in a block, so that it stays in a second-level cache; and on a device, 256 MiB in float32.
BLOCK, DEVICE_BLOCK = 2**17, 2**26


def class_sums(
    h: Array, w: Array, b: Array | None, gain: Array | None, t: Array, lead: Array
) -> tuple[Array, Array, Array]:
    """max_c z_c, Σ_c e^{z_c - max z} and z_t of each sample; `lead` is subtracted from z_t before all else.

    h (N, D), w (C, D), b and gain (C,) or None for 0 and 1, t (N,) labels as int64, lead (N,) -> three of (N,).
    With m_k the largest logit of block k, Σ_c e^{z_c - m} = Σ_k e^{m_k - m} · Σ_{c in k} e^{z_c - m_k}.
    """
    xp = array_module(h)
    top, total = xp.full(len(h), -xp.inf, dtype=h.dtype), xp.zeros(len(h), dtype=h.dtype)
    target = xp.zeros_like(total)
    for part, z in _logits(h, w, b, gain, t, lead):
        inside, column = _place(t, part)
        target = xp.where(inside, z[xp.arange(len(t)), column], target)
        _, highest, more, _ = softmax.exp_rows(z, out=z)
        old, top = top, xp.maximum(top, highest)
        total = total * xp.exp(old - top) + more * xp.exp(highest - top)
    return top, total, target


def class_gradients(
    h: Array, w: Array, b: Array | None, gain: Array | None, t: Array, samples: tuple[Array, ...]
) -> tuple[Array, Array, Array | None]:
    """dz_c = e^{z_c - top} · factor - low, and height less where c = t; then dh, dw, and db = Σ_n dz where there is b.

    samples: lead, top, factor, height and low, each (N,) -> dh (N, D), dw (C, D), db (C,) or None.
    """
    lead, top, factor, height, low = samples
    xp = array_module(h)
    dh, dw, db = xp.zeros_like(h), xp.empty_like(w), None if b is None else xp.empty_like(b)
    for part, z in _logits(h, w, b, gain, t, lead):
        e, highest, _, _ = softmax.exp_rows(z, out=z)
        dz = softmax.scaled_less_onehot(e, t - part.start, xp.exp(highest - top) * factor, height, low)
        if db is not None:
            db[part] = dz.sum(axis=0)
        if gain is not None:
            dz *= gain[part]
        dw[part] = matmul(dz.T, h)
        dh += matmul(dz, w[part])
    return dh, dw, db


def _logits(
    h: Array, w: Array, b: Array | None, gain: Array | None, t: Array, lead: Array
) -> Iterator[tuple[slice, Array]]:
    """Blocks of classes, and the logits of each."""
    xp = array_module(h)
    step = max(1, (BLOCK if xp.__name__ == "numpy" else DEVICE_BLOCK) // max(len(h), 1))
    for start in range(0, len(w), step):
        part = slice(start, min(start + step, len(w)))
        z = matmul(h, w[part].T)
        if gain is not None:
            z *= gain[part]
        if b is not None:
            z += b[part]
        inside, column = _place(t, part)
        z[xp.arange(len(t)), column] -= xp.where(inside, lead, 0)
        yield part, z


def _place(t: Array, part: slice) -> tuple[Array, Array]:
    """Whether each target lies in the block, and its column there (some column, where it does not)."""
    return (t >= part.start) & (t < part.stop), (t - part.start) % (part.stop - part.start)
