"""Softmax, log-softmax and the ladder of simpler ideas that leads to them. Derivations: docs/mappings.md.

Design: the last axis is the class axis, whatever stands before it. A boolean `mask` (True: allowed) gives p =
0 and dz = 0 where it is False, and an all-zero row where nothing is allowed. A logit of -inf in place of a
mask would be +inf in an even Taylor polynomial and NaN in sparsemax, so logits are finite and the mask is an
argument of its own.
"""

from __future__ import annotations

import math
from typing import Any

from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError


# ---------------------------------------------------------------- shared by all mappings
def positive(name: str, value: float) -> float:
    """`value` as a Python float (a NumPy one would turn float32 logits into float64); InputError unless 0 < value < inf."""
    if not 0 < value < math.inf:
        raise InputError(
            f"{name} is {value!r}, but a finite number above 0 is needed, for example {name}=1.0."
        )
    return float(value)


def fill_masked(z: Array, mask: Array | None, value: float) -> Array:
    """`z` with `value` where the boolean `mask`, broadcast against it, is False."""
    if mask is None:
        return z
    if getattr(mask, "dtype", None) != bool:
        raise InputError(
            f"mask is a {getattr(mask, 'dtype', type(mask).__name__)}, but booleans are needed: True where a class is allowed."
        )
    fits = mask.ndim <= z.ndim and all(
        m in (1, n) for m, n in zip(mask.shape[::-1], z.shape[::-1], strict=False)
    )
    if not fits:
        raise InputError(f"mask of shape {mask.shape} does not broadcast to the logits' shape {z.shape}.")
    return array_module(z).where(mask, z, value)


def hide(z: Array, mask: Array | None) -> Array:
    """`z` with the lowest finite number where `mask` is False: never the maximum, and 0 after an exponential."""
    return z if mask is None else fill_masked(z, mask, float(array_module(z).finfo(z.dtype).min))


def normalise(f: Array, mask: Array | None = None) -> Array:
    """p_i = f_i / Σ f over the allowed classes, for f > 0."""
    if mask is None:
        return f / f.sum(axis=-1, keepdims=True)
    f = f * mask
    total = f.sum(axis=-1, keepdims=True)
    return f / array_module(f).where(total > 0, total, 1)


# ---------------------------------------------------------------- softmax
def softmax_forward(z: Array, mask: Array | None = None) -> tuple[Array, Any]:
    """Probabilities that grow exponentially with their logit: p_i = e^{z_i} / Σ_j e^{z_j}.

    z (..., C), finite -> p (..., C). The maximum is subtracted first, which changes no p and keeps e^z from
    overflowing. Source: Bridle, 1990; Blanchard, Higham and Higham, 2021 (accuracy).
    """
    xp = array_module(z)
    z = hide(z, mask)
    p = normalise(xp.exp(z - z.max(axis=-1, keepdims=True)), mask)
    return p, p


def softmax_backward(dy: Array, cache: Any) -> Array:
    """dz_i = p_i (dy_i - Σ_j p_j dy_j): the Jacobian p_i (δ_ij - p_j) times dy, without building it. dy (..., C) -> dz (..., C)."""
    p = cache
    return p * (dy - (p * dy).sum(axis=-1, keepdims=True))


def softmax_jacobian(p: Array) -> Array:
    """All derivatives ∂p_i/∂z_j = p_i (δ_ij - p_j) of softmax, from its output. p (..., C) -> (..., C, C)."""
    xp = array_module(p)
    return p[..., :, None] * (xp.eye(p.shape[-1], dtype=p.dtype) - p[..., None, :])


# ---------------------------------------------------------------- log-softmax
def log_softmax_forward(z: Array) -> tuple[Array, Any]:
    """Log-probabilities y_i = z_i - log Σ_j e^{z_j}, never as log(softmax(z)), which is -inf where p
    underflows.

    z (..., C), finite -> y (..., C).
    """
    xp = array_module(z)
    s = z - z.max(axis=-1, keepdims=True)
    y = s - xp.log(xp.exp(s).sum(axis=-1, keepdims=True))
    return y, y


def log_softmax_backward(dy: Array, cache: Any) -> Array:
    """dz_i = dy_i - e^{y_i} Σ_j dy_j. dy (..., C) -> dz (..., C)."""
    y = cache
    xp = array_module(y)
    return dy - xp.exp(y) * dy.sum(axis=-1, keepdims=True)


def log_softmax_approximation_forward(z: Array) -> tuple[Array, Any]:
    """Log-softmax with the soft maximum replaced by the hard one: y_i = z_i - max_j z_j, too high by at most
    log C.

    z (..., C) -> y (..., C).
    """
    y = z - z.max(axis=-1, keepdims=True)
    return y, y


def log_softmax_approximation_backward(dy: Array, cache: Any) -> Array:
    """dz = dy - m Σ_j dy_j with m = 1 at the maximum; tied maxima share it equally, one choice of subgradient. (..., C)."""
    y = cache
    top = (y == 0).astype(y.dtype)
    return dy - normalise(top) * dy.sum(axis=-1, keepdims=True)


# ---------------------------------------------------------------- soft functions
def log_sum_exp_forward(z: Array) -> tuple[Array, Any]:
    """The real soft maximum: y = log Σ_i e^{z_i}, with max z <= y <= max z + log C. z (..., C), finite -> y (...)."""
    xp = array_module(z)
    top = z.max(axis=-1, keepdims=True)
    e = xp.exp(z - top)
    total = e.sum(axis=-1, keepdims=True)
    return (top + xp.log(total))[..., 0], e / total


def log_sum_exp_backward(dy: Array, cache: Any) -> Array:
    """dz_i = p_i dy: the gradient of log-sum-exp is softmax. dy (...) -> dz (..., C)."""
    p = cache
    return dy[..., None] * p


def soft_argmax_forward(z: Array) -> tuple[Array, Any]:
    """The mean index under softmax, counted from 0: y = Σ_i i p_i. z (..., C), finite -> y (...)."""
    xp = array_module(z)
    p, _ = softmax_forward(z)
    y = (p * xp.arange(z.shape[-1], dtype=p.dtype)).sum(axis=-1)
    return y, (p, y)


def soft_argmax_backward(dy: Array, cache: Any) -> Array:
    """dz_i = dy p_i (i - y). dy (...) -> dz (..., C)."""
    p, y = cache
    xp = array_module(p)
    return dy[..., None] * p * (xp.arange(p.shape[-1], dtype=p.dtype) - y[..., None])


# ---------------------------------------------------------------- before the exponential: why sums alone fail
def sum_normalisation_v1_forward(z: Array) -> tuple[Array, Any]:
    """Shares of the sum: y_i = z_i / Σ_j z_j. Not a probability where signs differ, and undefined where the
    sum is 0.

    z (..., C) -> y (..., C). InputError for a row that sums to 0.
    """
    total = z.sum(axis=-1, keepdims=True)
    if bool((total == 0).any()):
        raise InputError(
            "sum_normalisation_v1 was given a row that sums to 0, so z / Σz does not exist; type softmax."
        )
    y = z / total
    return y, (y, total)


def sum_normalisation_v1_backward(dy: Array, cache: Any) -> Array:
    """dz_i = (dy_i - Σ_j y_j dy_j) / Σ_j z_j. dy (..., C) -> dz (..., C)."""
    y, total = cache
    return (dy - (y * dy).sum(axis=-1, keepdims=True)) / total


def sum_normalisation_v2_forward(z: Array) -> tuple[Array, Any]:
    """Shares above the minimum: y_i = (z_i - min z) / Σ_j (z_j - min z). The smallest class always gets
    exactly 0.

    z (..., C) -> y (..., C). InputError for a row of equal values, where the sum is 0.
    """
    u = z - z.min(axis=-1, keepdims=True)
    total = u.sum(axis=-1, keepdims=True)
    if bool((total == 0).any()):
        raise InputError(
            "sum_normalisation_v2 was given a row of equal values, so (z - min) / Σ(z - min) is 0/0; type softmax."
        )
    y = u / total
    return y, (y, total)


def sum_normalisation_v2_backward(dy: Array, cache: Any) -> Array:
    """du = (dy - Σ y dy) / total, as in v1, then dz = du - m Σ_j du_j, since the minimum moves with its
    logit.

    m = 1 at the minimum; tied minima share it equally, one choice of subgradient. dy (..., C) -> dz (..., C).
    """
    y, total = cache
    du = sum_normalisation_v1_backward(dy, (y, total))
    lowest = (y == 0).astype(y.dtype)
    return du - normalise(lowest) * du.sum(axis=-1, keepdims=True)
