"""The target told from classes drawn as noise, one yes or no each. Derivation: docs/sampled.md."""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import fit, gradient_like, labels, places, taken
from npsoftmax.backend import Array, array_module
from npsoftmax.cuda import joined
from npsoftmax.functional.path import sigmoid
from npsoftmax.kernels.matmul import matmul, products

ARRAYS = "h (N, D), w (C, D), b (C)?, shift (C)?, times (S)"


def noise_contrast_forward(
    h: Array, w: Array, b: Array | None, shift: Array | None, t: Array, drawn: Array, times: Array
) -> tuple[Array, Any]:
    """-log σ(s_t) - Σ_j times_j · log σ(-s_j) of every sample, s_c = h·w_c + b_c - shift_c, j over the classes drawn.

    h (N, D), w (C, D), b (C,) or None, t (N,) integer labels, drawn (S,) classes, each once, times (S,): how often each
    was drawn -> losses (N,). shift (C,): log(k · q_c), how often class c is expected among k draws, for noise
    contrastive estimation; None, which is 0, for negative sampling. The target counts as noise too where it is drawn.
    Sources: Gutmann and Hyvärinen, 2010; Mikolov et al., 2013 (arXiv 1310.4546).
    """
    h, w, b, shift, times = taken(ARRAYS, h, w, b, shift, times)
    t, drawn = labels(t, len(h), len(w), empty=True), places(drawn, "drawn", 0, len(w))
    fit("drawn (S), times (S)", drawn.shape, times.shape)
    own, s = (h * w[t]).sum(axis=1), matmul(h, w[drawn].T)  # (N,), (N, S)
    for offset, sign in ((b, 1), (shift, -1)):
        if offset is not None:
            own, s = own + sign * offset[t], s + sign * offset[drawn]
    return softplus(-own) + products(softplus(s), times[:, None])[:, 0], (h, w, t, drawn, times, own, s)


def noise_contrast_backward(dlosses: Array, cache: Any) -> tuple[Array, Array, Array, Array]:
    """down = -σ(-s_t) · dlosses, ds_j = times_j · σ(s_j) · dlosses; of the rows of w and b that were used alone.

    dlosses (N,) -> dh (N, D), rows (S + N,), dw (S + N, D), db (S + N,); a row may be listed more than once.
    """
    h, w, t, drawn, times, own, s = cache
    dlosses = gradient_like(dlosses, own.shape, "dlosses")
    down, ds = (-sigmoid(-own) * dlosses)[:, None], sigmoid(s) * times * dlosses[:, None]
    dh = matmul(ds, w[drawn]) + down * w[t]
    dw = joined([matmul(ds.T, h), down * h])
    return dh, joined([drawn, t]), dw, joined([ds.sum(axis=0), down[:, 0]])


def softplus(x: Array) -> Array:
    """log(1 + e^x) without overflow."""
    xp = array_module(x)
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))
