"""The softmax cross entropy against a few classes drawn at random. Derivation: docs/sampled.md.

`sampled_loss_*` is the page to read, with a gradient for every row of w; `sampled_softmax_*` trains: the same numbers,
and gradients of the rows that were used alone.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import fit, labels, number, places, taken
from npsoftmax.backend import Array, array_module
from npsoftmax.cuda import joined
from npsoftmax.functional import loss as losses
from npsoftmax.functional.softmax import log_softmax_forward
from npsoftmax.kernels import matmul

ARRAYS = "h (N, D), w (C, D), b (C)?, log_expected (S)"


# ---------------------------------------------------------------- with all gradients
def sampled_loss_forward(
    h: Array, w: Array, b: Array, t: Array, drawn: Array, log_expected: Array
) -> tuple[Array, Any]:
    """Mean of -log( e^{z_t} / (e^{z_t} + Σ_{c drawn, c ≠ t} e^{z_c - log_expected_c}) ), z = h @ wᵀ + b.

    h (N, D), w (C, D), b (C,), t (N,) labels, drawn (S,) classes, each once, log_expected (S,): the logarithm of how
    often each was expected among the draws -> loss (). A drawn class that is the target must not count twice.
    """
    h, w, b, log_expected = taken(ARRAYS.replace("?", ""), h, w, b, log_expected)
    t, drawn = labels(t, len(h), len(w)), _drawn(drawn, log_expected, w)
    xp = array_module(h)
    z_t = (h * w[t]).sum(axis=1) + b[t]
    z = h @ w[drawn].T + b[drawn] - log_expected  # (N, S)
    z = xp.where(drawn == t[:, None], -xp.inf, z)
    log_p = log_softmax_forward(xp.concatenate([z_t[:, None], z], axis=1))[0]
    return -log_p[:, 0].mean(), (h, w, t, drawn, xp.exp(log_p))


def sampled_loss_backward(dloss: Array | float, cache: Any) -> tuple[Array, Array, Array]:
    """Column 0 of p (N, 1 + S) is the target, the others are the drawn classes; a row of w may get several shares.

    dloss () -> dh (N, D), dw (C, D), db (C,), both 0 in every row that was neither drawn nor a target
    """
    h, w, t, drawn, p = cache
    dloss = number(dloss)
    xp = array_module(h)
    scale = dloss / len(t)
    dz_t, dz = (p[:, :1] - 1) * scale, p[:, 1:] * scale
    dh = dz_t * w[t] + dz @ w[drawn]
    dw, db = xp.zeros_like(w), xp.zeros_like(w[:, 0])
    dw[drawn] += dz.T @ h
    db[drawn] += dz.sum(axis=0)
    xp.add.at(dw, t, dz_t * h)  # += would count a label that occurs twice only once
    xp.add.at(db, t, dz_t[:, 0])
    return dh, dw, db


# ---------------------------------------------------------------- with the gradients of the rows that were used
def sampled_softmax_forward(
    h: Array, w: Array, b: Array | None, t: Array, drawn: Array, log_expected: Array
) -> tuple[Array, Any]:
    """`sampled_loss_forward` of each sample, where b may be None.

    h (N, D), w (C, D), b (C,) or None, t (N,) integer labels, drawn (S,) classes, each once, log_expected (S,): the
    logarithm of how often a class was expected among the draws, over how often it came -> losses (N,). The sum then
    expects what the full softmax sums over; the target is always in it, so that its own correction is log 1.
    Source: Bengio and Senécal, 2003; Jean et al., 2015 (arXiv 1412.2007).
    """
    h, w, b, log_expected = taken(ARRAYS, h, w, b, log_expected)
    t, drawn = labels(t, len(h), len(w)), _drawn(drawn, log_expected, w)
    xp = array_module(h)
    z_t = (h * w[t]).sum(axis=1)
    z = matmul(h, w[drawn].T)  # (N, S)
    if b is not None:
        z_t += b[t]
        z += b[drawn]
    z = xp.where(drawn == t[:, None], -xp.inf, z - log_expected)  # the target must not count twice
    z = joined([z_t[:, None], z], axis=1)
    found, cache = losses.softmax_cross_entropy_fused_forward(z, xp.zeros_like(t))
    return found, (h, w, t, drawn, cache)


def sampled_softmax_backward(dlosses: Array, cache: Any) -> tuple[Array, Array, Array, Array]:
    """Gradients of the rows of w and b that were used; a row may be listed more than once.

    dlosses (N,) -> dh (N, D), rows (S + N,), dw (S + N, D), db (S + N,).
    """
    h, w, t, drawn, loss_cache = cache
    dz = losses.softmax_cross_entropy_fused_backward(dlosses, loss_cache)
    dz_t, dz = dz[:, :1], dz[:, 1:]
    dh = matmul(dz, w[drawn]) + dz_t * w[t]
    dw = joined([matmul(dz.T, h), dz_t * h])
    db = joined([dz.sum(axis=0), dz_t[:, 0]])
    return dh, joined([drawn, t]), dw, db


def _drawn(drawn: Array, log_expected: Array, w: Array) -> Array:
    drawn = places(drawn, "drawn", 0, len(w))
    fit("drawn (S), log_expected (S)", drawn.shape, log_expected.shape)
    return drawn
