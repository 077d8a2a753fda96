"""Softmax, the ladder of ideas that leads to it, and its relatives."""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.errors import InputError


# ---------------------------------------------------------------- step 1
def sum_normalisation_v1_forward(z: Array) -> tuple[Array, Any]:
    """Shares of the sum: y_i = z_i / Σ_j z_j. z (…, C) -> y (…, C).

    No probability where signs differ. Undefined where the sum is 0: InputError for such a row.
    """
    total = z.sum(axis=-1, keepdims=True)
    if (total == 0).any():
        raise InputError("a row sums to 0, so it has no shares.")
    y = z / total
    return y, (y, total)


def sum_normalisation_v1_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `sum_normalisation_v1_forward`. dy (…, C) -> dz (…, C).

    Formula: dz_i = (dy_i - Σ_j y_j · dy_j) / Σ_j z_j.
    """
    y, total = cache
    return (dy - (y * dy).sum(axis=-1, keepdims=True)) / total


def sum_normalisation_v2_forward(z: Array) -> tuple[Array, Any]:
    """Shares above the minimum: y_i = (z_i - min z) / Σ_j (z_j - min z). z (…, C) -> y (…, C).

    The lowest class gets exactly 0. Undefined where all values are equal: InputError for such a row.
    """
    u = z - z.min(axis=-1, keepdims=True)
    total = u.sum(axis=-1, keepdims=True)
    if (total == 0).any():
        raise InputError("all values of a row are equal, so nothing lies above the minimum.")
    y = u / total
    return y, (y, total)


def sum_normalisation_v2_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `sum_normalisation_v2_forward`. dy (…, C) -> dz (…, C).

    Where k values tie for the minimum its derivative does not exist; let each of them have 1/k of it.

    Formula: du as in v1, then dz = du - m · Σ_j du_j, m being 1 at the minimum, 1/k at each of k tied minima, else 0.
    """
    y, total = cache
    du = sum_normalisation_v1_backward(dy, (y, total))
    lowest = y == 0
    m = lowest / lowest.sum(axis=-1, keepdims=True, dtype=y.dtype)
    return du - m * du.sum(axis=-1, keepdims=True)


# ---------------------------------------------------------------- step 2
def softmax_forward(z: Array, mask: Array | None = None) -> tuple[Array, Any]:
    """Probabilities that grow exponentially with their logit: p_i = e^{z_i} / Σ_j e^{z_j}. z (…, C) -> p (…, C).

    e^z must not overflow, however large z is: subtract the maximum first, which changes no p.
    """
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    return p, p


def softmax_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `softmax_forward`, without building the Jacobian. dy (…, C) -> dz (…, C).

    Formula: dz_i = p_i · (dy_i - Σ_j p_j · dy_j).
    """
    p = cache
    return p * (dy - (p * dy).sum(axis=-1, keepdims=True))


def softmax_jacobian(p: Array) -> Array:
    """All derivatives of softmax, computed from its output: entry (i, j) is ∂p_i/∂z_j. p (…, C) -> (…, C, C).

    Formula: ∂p_i/∂z_j = p_i · (δ_ij - p_j).
    """
    identity = np.eye(p.shape[-1], dtype=p.dtype)
    return p[..., :, None] * (identity - p[..., None, :])


# ---------------------------------------------------------------- step 3
def log_sum_exp_forward(z: Array) -> tuple[Array, Any]:
    """The real soft maximum: y = log Σ_i e^{z_i}, however large z is. z (…, C) -> y (…)."""
    top = z.max(axis=-1, keepdims=True)
    e = np.exp(z - top)
    total = e.sum(axis=-1, keepdims=True)
    y = (top + np.log(total))[..., 0]
    return y, e / total


def log_sum_exp_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `log_sum_exp_forward`. dy (…) -> dz (…, C).

    Formula: dz_i = p_i · dy.
    """
    p = cache
    return p * dy[..., None]


def soft_argmax_forward(z: Array) -> tuple[Array, Any]:
    """The mean index under softmax, counted from 0: y = Σ_i i · p_i. z (…, C) -> y (…)."""
    p, _ = softmax_forward(z)
    index = np.arange(z.shape[-1], dtype=z.dtype)
    y = (p * index).sum(axis=-1)
    return y, (p, y)


def soft_argmax_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `soft_argmax_forward`. dy (…) -> dz (…, C).

    Formula: dz_i = dy · p_i · (i - y).
    """
    p, y = cache
    index = np.arange(p.shape[-1], dtype=p.dtype)
    return dy[..., None] * p * (index - y[..., None])


# ---------------------------------------------------------------- step 4
def log_softmax_forward(z: Array) -> tuple[Array, Any]:
    """Log-probabilities: y_i = z_i - log Σ_j e^{z_j}. z (…, C) -> y (…, C).

    Never log(softmax(z)), which is -inf wherever p underflows.
    """
    s = z - z.max(axis=-1, keepdims=True)
    y = s - np.log(np.exp(s).sum(axis=-1, keepdims=True))
    return y, y


def log_softmax_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `log_softmax_forward`. dy (…, C) -> dz (…, C).

    Formula: dz_i = dy_i - e^{y_i} · Σ_j dy_j.
    """
    y = cache
    return dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)


def log_softmax_approximation_forward(z: Array) -> tuple[Array, Any]:
    """Log-softmax with the hard maximum instead of the soft one: y_i = z_i - max_j z_j. z (…, C) -> y (…, C)."""
    y = z - z.max(axis=-1, keepdims=True)
    return y, y


def log_softmax_approximation_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `log_softmax_approximation_forward`. dy (…, C) -> dz (…, C).

    Where k values tie for the maximum its derivative does not exist; let each of them have 1/k of it.

    Formula: dz = dy - m · Σ_j dy_j, where m is 1 at the maximum, 1/k at each of k tied maxima, else 0.
    """
    y = cache
    highest = y == 0
    m = highest / highest.sum(axis=-1, keepdims=True, dtype=y.dtype)
    return dy - m * dy.sum(axis=-1, keepdims=True)


# ---------------------------------------------------------------- step 5
def softmax_cross_entropy_forward(
    z: Array, t: Array, label_smoothing: float = 0.0, temperature: float = 1.0
) -> tuple[Array, Any]:
    """Mean over the samples of -Σ_c q_c · log softmax(z / T)_c, where q = (1 - ε) · onehot(t) + ε / C.

    z (N, C) logits, t (N,) integer labels, ε = label_smoothing in [0, 1], T = temperature > 0 -> loss ().
    """
    s = (z - z.max(axis=1, keepdims=True)) / temperature
    log_p = s - np.log(np.exp(s).sum(axis=1, keepdims=True))
    target = log_p[np.arange(len(t)), t]
    loss = -((1 - label_smoothing) * target + label_smoothing * log_p.mean(axis=1)).mean()
    return loss, (np.exp(log_p), t, label_smoothing, temperature)


def softmax_cross_entropy_backward(dloss: Array | float, cache: Any) -> Array:
    """Gradient of `softmax_cross_entropy_forward` with respect to z. dloss () -> dz (N, C).

    Formula: dz = (p - q) · dloss / (N · T), p the probabilities, q the smoothed targets.
    """
    p, t, label_smoothing, temperature = cache
    dz = p - label_smoothing / p.shape[1]
    dz[np.arange(len(t)), t] -= 1 - label_smoothing
    return dz * dloss / (len(t) * temperature)


# ---------------------------------------------------------------- step 6
def gumbel_softmax_forward(z: Array, noise: Array, mask: Array | None = None, *, tau: float = 1.0) -> tuple[Array, Any]:
    """A relaxed sample of a class: p = softmax((z + g) / τ), which tends to a one-hot sample as τ falls to 0.

    z (…, C), g = noise (…, C), τ = tau -> p (…, C). InputError for tau <= 0.
    """
    if tau <= 0:
        raise InputError(f"tau is {tau}, but it has to be above 0.")
    p, _ = softmax_forward((z + noise) / tau)
    return p, (p, tau)


def gumbel_softmax_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `gumbel_softmax_forward` with respect to z; the noise is a constant. dy (…, C) -> dz (…, C).

    Formula: dz_i = p_i · (dy_i - Σ_j p_j · dy_j) / τ.
    """
    p, tau = cache
    return softmax_backward(dy, p) / tau


def log_gumbel_softmax_forward(z: Array, noise: Array, *, tau: float = 1.0) -> tuple[Array, Any]:
    """The logarithm of a relaxed sample: y = log_softmax((z + g) / τ).

    z (…, C), g = noise (…, C), τ = tau -> y (…, C). InputError for tau <= 0.
    """
    if tau <= 0:
        raise InputError(f"tau is {tau}, but it has to be above 0.")
    y, _ = log_softmax_forward((z + noise) / tau)
    return y, (y, tau)


def log_gumbel_softmax_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `log_gumbel_softmax_forward` with respect to z. dy (…, C) -> dz (…, C).

    Formula: dz_i = (dy_i - e^{y_i} · Σ_j dy_j) / τ.
    """
    y, tau = cache
    return log_softmax_backward(dy, y) / tau


# ---------------------------------------------------------------- step 7
def taylor_polynomial(z: Array, order: int) -> Array:
    """f_n(z) = Σ_{i<=n} z^i / i!, number by number; n = order >= 1. z of any shape -> f like z.

    By Horner: 1 + z · (1 + z/2 · (1 + z/3 · (…))).
    """
    f = 1 + z / order
    for i in range(order - 1, 0, -1):
        f = 1 + z / i * f
    return f


def taylor_softmax_forward(z: Array, mask: Array | None = None, *, order: int = 2) -> tuple[Array, Any]:
    """Probabilities that grow like a polynomial: p_i = f_n(z_i) / Σ_j f_n(z_j), n = order. z (…, C) -> p (…, C).

    An odd polynomial is negative somewhere: InputError for an odd order, and for one below 2.
    """
    if order < 2 or order % 2:
        raise InputError(f"order is {order}, but it has to be 2, 4, 6 or another even number.")
    f = taylor_polynomial(z, order)
    p = f / f.sum(axis=-1, keepdims=True)
    return p, (z, p, order)


def taylor_softmax_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `taylor_softmax_forward` with respect to z. dy (…, C) -> dz (…, C).

    Formula: dz_i = p_i · r_i · (dy_i - Σ_j p_j · dy_j), r = (log f_n)' = f_{n-1} / f_n.
    """
    z, p, order = cache
    r = taylor_polynomial(z, order - 1) / taylor_polynomial(z, order)
    return p * r * (dy - (p * dy).sum(axis=-1, keepdims=True))
