"""Softmax, log-softmax and the ladder of simpler ideas that leads to them. Derivations: docs/mappings.md.

The protocol, here as in every file of this folder:
    y, cache = thing_forward(x, …)          forward returns what backward needs,
    dx, …    = thing_backward(dy, cache)    backward returns what the optimiser or the layer before needs,
    and neither keeps anything, nor changes what it is given.

Design: the last axis is the class axis, whatever stands before it. A boolean `mask` (True: allowed) gives p = 0 and
dz = 0 where it is False, and an all-zero row where nothing is allowed. It is an argument of its own, because a logit of
-inf would be +inf in an even Taylor polynomial and NaN in sparsemax: logits are finite here.
"""

from __future__ import annotations

import math
from typing import Any

from npsoftmax.arguments import booleans, gradient_like, real, refuse
from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError, as_number


# ---------------------------------------------------------------- shared by all mappings
def positive(name: str, value: float) -> float:
    """`value` as a Python float, which never widens float32; InputError unless 0 < value < inf."""
    if not 0 < as_number(value) < math.inf:
        raise InputError(f"{name} is {value!r}, but a finite number above 0 is needed, for example {name}=1.0.")
    return float(value)


def finite(name: str, value: float) -> float:
    """`value` as a Python float; InputError unless it is finite."""
    if not math.isfinite(as_number(value)):
        raise InputError(f"{name} is {value!r}, but a finite number is needed, for example {name}=0.0.")
    return float(value)


def scores(z: Array) -> Array:
    """z as real numbers (…, C), of one class at least."""
    z = real(z, "z")
    if not z.ndim or not z.shape[-1]:
        raise refuse(f"z has shape {z.shape}, but (…, C) with C of at least 1 was expected.")
    return z


def fill_masked(z: Array, mask: Array | None, value: float) -> Array:
    """`z` with `value` where the boolean `mask`, broadcast against it, is False."""
    if mask is None:
        return z
    return array_module(z).where(mask, z, value)


def hide(z: Array, mask: Array | None) -> Array:
    """`z` with the lowest finite number where `mask` is False: never a maximum, and 0 after e^z."""
    return z if mask is None else fill_masked(z, mask, float(array_module(z).finfo(z.dtype).min))


def normalise(f: Array, mask: Array | None = None) -> Array:
    """p_i = f_i / Σ_j f_j over the allowed classes, for f > 0."""
    if mask is None:
        return f / f.sum(axis=-1, keepdims=True)
    f = f * mask
    total = f.sum(axis=-1, keepdims=True)
    return f / array_module(f).where(total > 0, total, 1)


# ---------------------------------------------------------------- softmax
def softmax_forward(z: Array, mask: Array | None = None) -> tuple[Array, Any]:
    """Probabilities that grow exponentially with their logit: p_i = e^{z_i} / Σ_j e^{z_j}.

    z (…, C), finite -> p (…, C). The maximum is subtracted first: no p changes, and e^z cannot overflow.
    Source: Bridle, 1990; Blanchard, Higham and Higham, 2021 (accuracy).
    """
    z = scores(z)
    xp, mask = array_module(z), booleans(mask, z.shape)
    z = hide(z, mask)
    p = normalise(xp.exp(z - z.max(axis=-1, keepdims=True)), mask)
    return p, p


def softmax_backward(dy: Array, cache: Any) -> Array:
    """dz_i = p_i · (dy_i - Σ_j p_j · dy_j): the Jacobian times dy, never built. dy (…, C) -> dz (…, C)."""
    p = cache
    dy = gradient_like(dy, p.shape)
    return p * (dy - (p * dy).sum(axis=-1, keepdims=True))


def softmax_jacobian(p: Array) -> Array:
    """All derivatives of softmax from its output: ∂p_i/∂z_j = p_i · (δ_ij - p_j). p (…, C) -> (…, C, C)."""
    xp = array_module(p)
    return p[..., :, None] * (xp.eye(p.shape[-1], dtype=p.dtype) - p[..., None, :])


# ---------------------------------------------------------------- softmax1: a sink beside the classes
def softmax1_forward(z: Array, mask: Array | None = None, *, sink: float = 0.0) -> tuple[Array, Any]:
    """Softmax with a sink, which takes its share and is not shown: p_i = e^{z_i} / (e^b + Σ_j e^{z_j}), b = sink.

    z (…, C), finite -> p (…, C), each row summing to less than 1: to nearly 0 where all scores are far below b. What is
    subtracted first is max(z, b), and from the sink as well: without that the sink could not get more than half.
    Source: Miller, 2023 (b = 0); Xiao et al., 2023 (arXiv 2309.17453, why attention wants one).
    """
    z = scores(z)
    xp, mask, sink = array_module(z), booleans(mask, z.shape), finite("sink", sink)
    z = hide(z, mask)
    top = xp.maximum(z.max(axis=-1, keepdims=True), sink)
    e = xp.exp(z - top)
    e = e if mask is None else e * mask
    p = e / (e.sum(axis=-1, keepdims=True) + xp.exp(sink - top))
    return p, p


def softmax1_backward(dy: Array, cache: Any) -> Array:
    """dz_i = p_i · (dy_i - Σ_j p_j · dy_j), as of softmax: the sink has what p lacks. dy (…, C) -> dz (…, C)."""
    return softmax_backward(dy, cache)


# ---------------------------------------------------------------- log-softmax
def log_softmax_forward(z: Array) -> tuple[Array, Any]:
    """Log-probabilities: y_i = z_i - log Σ_j e^{z_j}. z (…, C), finite -> y (…, C).

    Never computed as log(softmax(z)), which is -inf wherever p underflows. Source: Blanchard et al., 2021.
    """
    z = scores(z)
    xp = array_module(z)
    s = z - z.max(axis=-1, keepdims=True)
    y = s - xp.log(xp.exp(s).sum(axis=-1, keepdims=True))
    return y, y


def log_softmax_backward(dy: Array, cache: Any) -> Array:
    """dz_i = dy_i - e^{y_i} · Σ_j dy_j. dy (…, C) -> dz (…, C)."""
    y = cache
    dy = gradient_like(dy, y.shape)
    xp = array_module(y)
    return dy - xp.exp(y) * dy.sum(axis=-1, keepdims=True)


def log_softmax_approximation_forward(z: Array) -> tuple[Array, Any]:
    """Log-softmax with the hard maximum for the soft one: y_i = z_i - max_j z_j. z (…, C) -> y (…, C).

    It lies above log-softmax by log Σ_j e^{z_j - max z}: between 0 and log C.
    """
    z = scores(z)
    y = z - z.max(axis=-1, keepdims=True)
    return y, y


def log_softmax_approximation_backward(dy: Array, cache: Any) -> Array:
    """dz = dy - m · Σ_j dy_j, where m is 1 at the maximum and 0 elsewhere. dy (…, C) -> dz (…, C).

    Tied maxima share m equally: there the derivative does not exist, and this is one subgradient.
    """
    y = cache
    dy = gradient_like(dy, y.shape)
    top = (y == 0).astype(y.dtype)
    return dy - normalise(top) * dy.sum(axis=-1, keepdims=True)


# ---------------------------------------------------------------- soft functions
def log_sum_exp_forward(z: Array) -> tuple[Array, Any]:
    """The real soft maximum: y = log Σ_i e^{z_i}. z (…, C), finite -> y (…).

    max z <= y <= max z + log C. Source: Blanchard, Higham and Higham, 2021.
    """
    z = scores(z)
    xp = array_module(z)
    top = z.max(axis=-1, keepdims=True)
    e = xp.exp(z - top)
    total = e.sum(axis=-1, keepdims=True)
    return (top + xp.log(total))[..., 0], e / total


def log_sum_exp_backward(dy: Array, cache: Any) -> Array:
    """dz_i = p_i · dy: the gradient of log-sum-exp is softmax. dy (…) -> dz (…, C)."""
    p = cache
    dy = gradient_like(dy, p.shape[:-1])
    dy = array_module(p).asarray(dy, dtype=p.dtype)  # for a single row dy may be a plain number
    return dy[..., None] * p


def soft_argmax_forward(z: Array) -> tuple[Array, Any]:
    """The mean index under softmax, counted from 0: y = Σ_i i · p_i. z (…, C), finite -> y (…)."""
    z = scores(z)
    xp = array_module(z)
    p, _ = softmax_forward(z)
    y = (p * xp.arange(z.shape[-1], dtype=p.dtype)).sum(axis=-1)
    return y, (p, y)


def soft_argmax_backward(dy: Array, cache: Any) -> Array:
    """dz_i = dy · p_i · (i - y). dy (…) -> dz (…, C)."""
    p, y = cache
    dy = gradient_like(dy, y.shape)
    xp = array_module(p)
    dy = xp.asarray(dy, dtype=p.dtype)  # for a single row dy may be a plain number
    return dy[..., None] * p * (xp.arange(p.shape[-1], dtype=p.dtype) - y[..., None])


# ---------------------------------------------------------------- before the exponential: why sums alone fail
def sum_normalisation_v1_forward(z: Array) -> tuple[Array, Any]:
    """Shares of the sum: y_i = z_i / Σ_j z_j. z (…, C) -> y (…, C).

    No probability where signs differ. Undefined where the sum is 0: InputError for such a row.
    """
    z = scores(z)
    total = z.sum(axis=-1, keepdims=True)
    if bool((total == 0).any()):
        raise InputError(
            "sum_normalisation_v1 needs rows with a sum other than 0, but one sums to 0; use softmax_forward."
        )
    y = z / total
    return y, (y, total)


def sum_normalisation_v1_backward(dy: Array, cache: Any) -> Array:
    """dz_i = (dy_i - Σ_j y_j · dy_j) / Σ_j z_j. dy (…, C) -> dz (…, C)."""
    y, total = cache
    dy = gradient_like(dy, y.shape)
    return (dy - (y * dy).sum(axis=-1, keepdims=True)) / total


def sum_normalisation_v2_forward(z: Array) -> tuple[Array, Any]:
    """Shares above the minimum: y_i = (z_i - min z) / Σ_j (z_j - min z). z (…, C) -> y (…, C).

    The lowest class gets exactly 0. Undefined where all values are equal: InputError for such a row.
    """
    z = scores(z)
    u = z - z.min(axis=-1, keepdims=True)
    total = u.sum(axis=-1, keepdims=True)
    if bool((total == 0).any()):
        raise InputError(
            "sum_normalisation_v2 needs rows of unequal values, but one has all equal; use softmax_forward."
        )
    y = u / total
    return y, (y, total)


def sum_normalisation_v2_backward(dy: Array, cache: Any) -> Array:
    """du as in v1, then dz = du - m · Σ_j du_j, where m is 1 at the minimum. dy (…, C) -> dz (…, C).

    Tied minima share m equally: there the derivative does not exist, and this is one subgradient.
    """
    y, total = cache
    dy = gradient_like(dy, y.shape)
    du = sum_normalisation_v1_backward(dy, (y, total))
    lowest = (y == 0).astype(y.dtype)
    return du - normalise(lowest) * du.sum(axis=-1, keepdims=True)
