"""A linear map and the softmax cross entropy after it, whose logits are never held. Derivation: docs/softmax-family.md.

Design: with a million classes the logits of a batch are hundreds of megabytes, written and read again several times.
The sum of exponentials can be put together from blocks of classes, each with its own maximum, so that a block of logits
never leaves the cache. Backward makes them again, which costs less than reading them back; exponentials that fit into
memory easily are kept. What else a loss adds to the cross entropy (a scale, a margin, smoothed targets, …) is a number
a class, or a number a sample.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import fit, gradient_like, labels, real, taken
from npsoftmax.backend import Array, array_module
from npsoftmax.cuda import joined
from npsoftmax.functional.loss import check_smoothing
from npsoftmax.functional.softmax import positive
from npsoftmax.kernels import linear_softmax as kernels
from npsoftmax.kernels import softmax
from npsoftmax.kernels.matmul import matmul, products

KEPT, DEVICE_KEPT = 2**21, 2**26  # logits of a batch whose exponentials are kept, on the host and on a device
STEP = 4096  # classes whose mean is taken at a time


def linear_softmax_nll_forward(
    h: Array,
    w: Array,
    b: Array | None,
    t: Array,
    *,
    scale: float = 1.0,
    gain: Array | None = None,
    lead: float | Array = 0.0,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
) -> tuple[Array, Any]:
    """-Σ_c q_c · log softmax(z)_c of every sample, z_c = scale · (gain_c · (w_c · h) + b_c), and z_t `lead` less.

    h (N, D), w (C, D), b (C,) or None, t (N,) integer labels -> nll (N,), at least 0. q = (1 - ε) · onehot(t) + ε / C
    with label smoothing ε. gain (C,), a constant, or None for 1; lead: a number or (N,); scale > 0; z_loss λ adds
    λ · (log Σ_c e^{z_c})².
    With m_k the largest logit of block k and m that of all,
    Σ_c e^{z_c - m} = Σ_k e^{m_k - m} · Σ_{c in k} e^{z_c - m_k}.
    Source of the sum in blocks: Milakov and Gimelshein, 2018 (arXiv 1805.02867).
    """
    h, w, b, gain = taken("h (N, D), w (C, D), b (C)?, gain (C)?", h, w, b, gain)
    t = labels(t, len(h), len(w), empty=True)
    xp = array_module(h)
    t = t.astype(xp.int64)  # small unsigned types cannot hold differences
    scale, smoothing = positive("scale", scale), check_smoothing(label_smoothing)
    x, shift = (h, b) if scale == 1 else (h * scale, None if b is None else b * scale)
    leads = (xp.zeros(len(h), dtype=h.dtype) + lead).astype(h.dtype, copy=False)
    e = None
    if len(h) * len(w) <= (KEPT if xp.__name__ == "numpy" else DEVICE_KEPT):
        e, top, total, target = _kept(x, w, shift, gain, t, leads)
    else:
        top, total, target = kernels.class_sums(x, w, shift, gain, t, leads)
    log_sum = xp.log(total)
    nll = log_sum + (top - target)
    if smoothing:
        nll = nll + smoothing * (target - _mean_logit(x, w, shift, gain, leads))
    log_sum = log_sum + top
    if z_loss:
        nll = nll + z_loss * log_sum * log_sum
    return nll, (x, w, shift, gain, t, (e, leads, top, total, log_sum), (scale, smoothing, z_loss))


def linear_softmax_nll_backward(dnll: Array, cache: Any) -> tuple[Array, Array, Array | None]:
    """dz = (p · (1 + 2λ · log Σ e^z) - q) · dnll, then dh = dz @ w, dw = dzᵀ @ h, db = Σ_n dz, block by block.

    dnll (N,) -> dh (N, D), dw (C, D), db (C,) or None. dw lies in memory as w does.
    """
    x, w, shift, gain, t, (e, leads, top, total, log_sum), (scale, smoothing, z_loss) = cache
    dnll = gradient_like(dnll, (len(x),), "dnll")
    factor = (dnll * (1 + 2 * z_loss * log_sum) if z_loss else dnll) / total
    height, low = dnll * (1 - smoothing) if smoothing else dnll, dnll * (smoothing / len(w))
    db: Array | None
    if e is None:
        dh, dw, db = kernels.class_gradients(x, w, shift, gain, t, (leads, top, factor, height, low))
    else:
        dz = softmax.scaled_less_onehot(e, t, factor, height, low if smoothing else None)
        db = None if shift is None else dz.sum(axis=0)
        if gain is not None:
            dz *= gain
        dh, dw = matmul(dz, w), matmul(dz.T, x) if w.flags.c_contiguous else matmul(x.T, dz).T
    return (dh, dw, db) if scale == 1 else (dh * scale, dw, None if db is None else db * scale)


def _kept(
    x: Array, w: Array, shift: Array | None, gain: Array | None, t: Array, leads: Array
) -> tuple[Array, Array, Array, Array]:
    """The exponentials below the largest logit, that, their sums, and the target's logit, of all classes at once."""
    z = matmul(x, w.T)
    if gain is not None:
        z *= gain
    if shift is not None:
        z += shift
    rows = array_module(x).arange(len(t))
    z[rows, t] -= leads
    target = z[rows, t]
    e, top, total, _ = softmax.exp_rows(z, out=z)
    return e, top, total, target


def _mean_logit(x: Array, w: Array, shift: Array | None, gain: Array | None, leads: Array) -> Array:
    """The mean of z_c over the classes: the map is linear, so that of w serves. (N,)"""
    xp, c = array_module(x), len(w)
    weights = xp.ones(c, dtype=w.dtype) if gain is None else gain
    parts = [products(weights[None, k : k + STEP], w[k : k + STEP]) for k in range(0, c, STEP)]  # of (1, D)
    mean = products(x, (joined(parts).sum(axis=0) / c)[:, None])[:, 0] - leads / c
    return mean if shift is None else mean + shift.mean()


# ---------------------------------------------------------------- classes of unit length
def direction_gain_forward(w: Array, *, eps: float) -> tuple[Array, Any]:
    """gain_c = 1 / √(‖w_c‖² + ε²), by which the logits of w are those of its directions. w (C, D) -> gain (C,)."""
    w = real(w, "w")
    fit("w (C, D)", w.shape)
    xp = array_module(w)
    gain = 1 / xp.sqrt(xp.einsum("cd,cd->c", w, w) + eps * eps)
    return gain, (w, gain)


def direction_gain_backward(dw: Array, cache: Any) -> Array:
    """dw - gain² · w · Σ_d w_d · dw_d, where dw (C, D) is that of logits with a constant gain -> dw (C, D)."""
    w, gain = cache
    dw = gradient_like(dw, w.shape, "dw")
    xp = array_module(w)
    along = xp.einsum("cd,cd->c", w, dw) * gain * gain
    out = xp.empty_like(dw)
    for k in range(0, len(w), STEP):  # no third array of the size of w
        out[k : k + STEP] = dw[k : k + STEP] - w[k : k + STEP] * along[k : k + STEP, None]
    return out
