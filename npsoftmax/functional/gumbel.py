"""Gumbel-softmax: softmax of noisy, tempered logits u = (z + g) / τ. Derivation: docs/mappings.md.

Design: the noise g is an argument (Gumbel noise or any other, from `Rng`), so these are functions like all others. It
is added to the logits: log(softmax(z) + g) would be NaN wherever g < -p, as Gumbel noise often is.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import real
from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError
from npsoftmax.functional import softmax


def noisy_logits(z: Array, noise: Array, tau: float) -> Array:
    """u = (z + noise) / tau in the precision of z. InputError for tau <= 0 and for noise of another shape."""
    tau = softmax.positive("tau", tau)
    z, noise = softmax.scores(z), real(noise, "noise")
    if noise.shape != z.shape:
        raise InputError(f"noise has shape {noise.shape}, but one draw a logit is needed: {z.shape}.")
    return (z + noise.astype(z.dtype, copy=False)) / tau


def gumbel_softmax_forward(z: Array, noise: Array, mask: Array | None = None, *, tau: float = 1.0) -> tuple[Array, Any]:
    """A relaxed sample of a class: p = softmax((z + g) / τ), which tends to a one-hot sample as τ falls to 0.

    z, noise (…, C) -> p (…, C). InputError for tau <= 0.
    Source: Jang, Gu and Poole, 2017; Maddison, Mnih and Teh, 2017.
    """
    z = softmax.scores(z)
    p, _ = softmax.softmax_forward(noisy_logits(z, noise, tau), mask)
    return p, (p, float(tau))


def gumbel_softmax_backward(dy: Array, cache: Any) -> Array:
    """dz_i = p_i · (dy_i - Σ_j p_j · dy_j) / τ; the noise is a constant. dy (…, C) -> dz (…, C)."""
    p, tau = cache
    return softmax.softmax_backward(dy, p) / tau


def log_gumbel_softmax_forward(z: Array, noise: Array, *, tau: float = 1.0) -> tuple[Array, Any]:
    """The logarithm of a relaxed sample: y = log_softmax((z + g) / τ).

    z, noise (…, C) -> y (…, C). InputError for tau <= 0. Source: Maddison, Mnih and Teh, 2017.
    """
    z = softmax.scores(z)
    y, _ = softmax.log_softmax_forward(noisy_logits(z, noise, tau))
    return y, (y, float(tau))


def log_gumbel_softmax_backward(dy: Array, cache: Any) -> Array:
    """dz_i = (dy_i - e^{y_i} · Σ_j dy_j) / τ. dy (…, C) -> dz (…, C)."""
    y, tau = cache
    return softmax.log_softmax_backward(dy, y) / tau


# ---------------------------------------------------------------- straight through
def gumbel_softmax_hard_forward(
    z: Array, noise: Array, mask: Array | None = None, *, tau: float = 1.0
) -> tuple[Array, Any]:
    """An exact one-hot sample: y = onehot(argmax_i (z_i + g_i)).

    With Gumbel noise class i is drawn with probability softmax(z)_i; tau shapes the backward only.
    z, noise (…, C) -> y (…, C). InputError for tau <= 0.
    Source: Bengio, Léonard and Courville, 2013; Jang, Gu and Poole, 2017.
    """
    z = softmax.scores(z)
    xp = array_module(z)
    p, cache = gumbel_softmax_forward(z, noise, mask, tau=tau)
    winner = xp.arange(z.shape[-1]) == p.argmax(axis=-1)[..., None]
    return (winner & (p > 0)).astype(p.dtype), cache  # p > 0 fails in a row with nothing allowed


def gumbel_softmax_hard_backward(dy: Array, cache: Any) -> Array:
    """BIASED: the gradient of the soft sample; the true one is 0 almost everywhere. (…, C) -> (…, C)."""
    return gumbel_softmax_backward(dy, cache)
