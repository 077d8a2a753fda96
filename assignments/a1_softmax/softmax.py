"""Softmax, the ladder of ideas that leads to it, and its relatives.

Replace each `raise NotImplementedError`, then type

    npsoftmax grade a1

The page that goes with it: README.md in this folder.

Array is a NumPy array. Its shape is in the docstring: (N,) is a vector, () a single number, and (…, C) has any axes
before the last one. If float32 comes in, let float32 go out: the page says how.
Where a docstring asks for an InputError: raise InputError("what is wrong").
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.errors import InputError


def sum_normalisation_v1_forward(z: Array) -> tuple[Array, Any]:
    """Shares of the sum: y_i = z_i / Σ_j z_j. z (…, C) -> y (…, C).

    No probability where signs differ. Undefined where the sum is 0: InputError for such a row.
    """
    # The cache is (y, total): y (…, C), and total (…, 1), the sum of each row that y was divided by.
    raise NotImplementedError("a1 sum_normalisation_v1_forward")  # return y, cache


def sum_normalisation_v1_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `sum_normalisation_v1_forward`. dy (…, C) -> dz (…, C).

    Formula: dz_i = (dy_i - Σ_j y_j · dy_j) / Σ_j z_j.
    """
    # The cache is (y, total): y (…, C), and total (…, 1), the sum of each row that y was divided by.
    y, total = cache
    raise NotImplementedError("a1 sum_normalisation_v1_backward")  # return dz


def sum_normalisation_v2_forward(z: Array) -> tuple[Array, Any]:
    """Shares above the minimum: y_i = (z_i - min z) / Σ_j (z_j - min z). z (…, C) -> y (…, C).

    The lowest class gets exactly 0. Undefined where all values are equal: InputError for such a row.
    """
    # The cache is (y, total): y (…, C), and total (…, 1), the sum of each row that y was divided by.
    raise NotImplementedError("a1 sum_normalisation_v2_forward")  # return y, cache


def sum_normalisation_v2_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `sum_normalisation_v2_forward`. dy (…, C) -> dz (…, C).

    Where k values tie for the minimum its derivative does not exist; let each of them have 1/k of it.

    Formula: du as in v1, then dz = du - m · Σ_j du_j, m being 1 at the minimum, 1/k at each of k tied minima, else 0.
    """
    # The cache is (y, total): y (…, C), and total (…, 1), the sum of each row that y was divided by.
    y, total = cache
    # You may call sum_normalisation_v1_backward: while this is graded, that is the library's.
    raise NotImplementedError("a1 sum_normalisation_v2_backward")  # return dz


def softmax_forward(z: Array, mask: Array | None = None) -> tuple[Array, Any]:
    """Probabilities that grow exponentially with their logit: p_i = e^{z_i} / Σ_j e^{z_j}. z (…, C) -> p (…, C).

    e^z must not overflow, however large z is: subtract the maximum first, which changes no p.
    """
    # The cache is p (…, C).
    # mask is for attention: in this assignment it is None, and you may ignore it.
    raise NotImplementedError("a1 softmax_forward")  # return p, cache


def softmax_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `softmax_forward`, without building the Jacobian. dy (…, C) -> dz (…, C).

    Formula: dz_i = p_i · (dy_i - Σ_j p_j · dy_j).
    """
    # The cache is p (…, C).
    p = cache
    raise NotImplementedError("a1 softmax_backward")  # return dz


def softmax_jacobian(p: Array) -> Array:
    """All derivatives of softmax, computed from its output: entry (i, j) is ∂p_i/∂z_j. p (…, C) -> (…, C, C).

    Formula: ∂p_i/∂z_j = p_i · (δ_ij - p_j).
    """
    raise NotImplementedError("a1 softmax_jacobian")  # return jacobian


def log_sum_exp_forward(z: Array) -> tuple[Array, Any]:
    """The real soft maximum: y = log Σ_i e^{z_i}, however large z is. z (…, C) -> y (…)."""
    # The cache is p (…, C), the softmax of z.
    raise NotImplementedError("a1 log_sum_exp_forward")  # return y, cache


def log_sum_exp_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `log_sum_exp_forward`. dy (…) -> dz (…, C).

    Formula: dz_i = p_i · dy.
    """
    # The cache is p (…, C), the softmax of z.
    p = cache
    raise NotImplementedError("a1 log_sum_exp_backward")  # return dz


def soft_argmax_forward(z: Array) -> tuple[Array, Any]:
    """The mean index under softmax, counted from 0: y = Σ_i i · p_i. z (…, C) -> y (…)."""
    # The cache is (p, y): p (…, C), the softmax of z, and y (…).
    # You may call softmax_forward: while this is graded, that is the library's.
    raise NotImplementedError("a1 soft_argmax_forward")  # return y, cache


def soft_argmax_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `soft_argmax_forward`. dy (…) -> dz (…, C).

    Formula: dz_i = dy · p_i · (i - y).
    """
    # The cache is (p, y): p (…, C), the softmax of z, and y (…).
    p, y = cache
    # You may call softmax_backward: while this is graded, that is the library's.
    raise NotImplementedError("a1 soft_argmax_backward")  # return dz


def log_softmax_forward(z: Array) -> tuple[Array, Any]:
    """Log-probabilities: y_i = z_i - log Σ_j e^{z_j}. z (…, C) -> y (…, C).

    Never log(softmax(z)), which is -inf wherever p underflows.
    """
    # The cache is y (…, C).
    raise NotImplementedError("a1 log_softmax_forward")  # return y, cache


def log_softmax_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `log_softmax_forward`. dy (…, C) -> dz (…, C).

    Formula: dz_i = dy_i - e^{y_i} · Σ_j dy_j.
    """
    # The cache is y (…, C).
    y = cache
    raise NotImplementedError("a1 log_softmax_backward")  # return dz


def log_softmax_approximation_forward(z: Array) -> tuple[Array, Any]:
    """Log-softmax with the hard maximum instead of the soft one: y_i = z_i - max_j z_j. z (…, C) -> y (…, C)."""
    # The cache is y (…, C).
    raise NotImplementedError("a1 log_softmax_approximation_forward")  # return y, cache


def log_softmax_approximation_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `log_softmax_approximation_forward`. dy (…, C) -> dz (…, C).

    Where k values tie for the maximum its derivative does not exist; let each of them have 1/k of it.

    Formula: dz = dy - m · Σ_j dy_j, where m is 1 at the maximum, 1/k at each of k tied maxima, else 0.
    """
    # The cache is y (…, C).
    y = cache
    raise NotImplementedError("a1 log_softmax_approximation_backward")  # return dz


def softmax_cross_entropy_forward(
    z: Array, t: Array, label_smoothing: float = 0.0, temperature: float = 1.0
) -> tuple[Array, Any]:
    """Mean over the samples of -Σ_c q_c · log softmax(z / T)_c, where q = (1 - ε) · onehot(t) + ε / C.

    z (N, C) logits, t (N,) integer labels, ε = label_smoothing in [0, 1], T = temperature > 0 -> loss ().
    """
    # The cache is (p, t, label_smoothing, temperature): p (N, C), the softmax of z / T, and the others as they came
    # in.
    raise NotImplementedError("a1 softmax_cross_entropy_forward")  # return loss, cache


def softmax_cross_entropy_backward(dloss: Array | float, cache: Any) -> Array:
    """Gradient of `softmax_cross_entropy_forward` with respect to z. dloss () -> dz (N, C).

    Formula: dz = (p - q) · dloss / (N · T), p the probabilities, q the smoothed targets.
    """
    # The cache is (p, t, label_smoothing, temperature): p (N, C), the softmax of z / T, and the others as they came
    # in.
    p, t, label_smoothing, temperature = cache
    raise NotImplementedError("a1 softmax_cross_entropy_backward")  # return dz


def gumbel_softmax_forward(z: Array, noise: Array, mask: Array | None = None, *, tau: float = 1.0) -> tuple[Array, Any]:
    """A relaxed sample of a class: p = softmax((z + g) / τ), which tends to a one-hot sample as τ falls to 0.

    z (…, C), g = noise (…, C), τ = tau -> p (…, C). InputError for tau <= 0.
    """
    # The cache is (p, tau): p (…, C), tau a number.
    # mask is for attention: in this assignment it is None, and you may ignore it.
    # You may call softmax_forward: while this is graded, that is the library's.
    raise NotImplementedError("a1 gumbel_softmax_forward")  # return p, cache


def gumbel_softmax_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `gumbel_softmax_forward` with respect to z; the noise is a constant. dy (…, C) -> dz (…, C).

    Formula: dz_i = p_i · (dy_i - Σ_j p_j · dy_j) / τ.
    """
    # The cache is (p, tau): p (…, C), tau a number.
    p, tau = cache
    # You may call softmax_backward: while this is graded, that is the library's.
    raise NotImplementedError("a1 gumbel_softmax_backward")  # return dz


def log_gumbel_softmax_forward(z: Array, noise: Array, *, tau: float = 1.0) -> tuple[Array, Any]:
    """The logarithm of a relaxed sample: y = log_softmax((z + g) / τ).

    z (…, C), g = noise (…, C), τ = tau -> y (…, C). InputError for tau <= 0.
    """
    # The cache is (y, tau): y (…, C), tau a number.
    # You may call log_softmax_forward: while this is graded, that is the library's.
    raise NotImplementedError("a1 log_gumbel_softmax_forward")  # return y, cache


def log_gumbel_softmax_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `log_gumbel_softmax_forward` with respect to z. dy (…, C) -> dz (…, C).

    Formula: dz_i = (dy_i - e^{y_i} · Σ_j dy_j) / τ.
    """
    # The cache is (y, tau): y (…, C), tau a number.
    y, tau = cache
    # You may call log_softmax_backward: while this is graded, that is the library's.
    raise NotImplementedError("a1 log_gumbel_softmax_backward")  # return dz


def taylor_polynomial(z: Array, order: int) -> Array:
    """f_n(z) = Σ_{i<=n} z^i / i!, number by number; n = order >= 1. z of any shape -> f like z.

    By Horner: 1 + z · (1 + z/2 · (1 + z/3 · (…))).
    """
    raise NotImplementedError("a1 taylor_polynomial")  # return f


def taylor_softmax_forward(z: Array, mask: Array | None = None, *, order: int = 2) -> tuple[Array, Any]:
    """Probabilities that grow like a polynomial: p_i = f_n(z_i) / Σ_j f_n(z_j), n = order. z (…, C) -> p (…, C).

    An odd polynomial is negative somewhere: InputError for an odd order, and for one below 2.
    """
    # The cache is (z, p, order): z and p (…, C), order an int.
    # mask is for attention: in this assignment it is None, and you may ignore it.
    # You may call taylor_polynomial: while this is graded, that is the library's.
    raise NotImplementedError("a1 taylor_softmax_forward")  # return p, cache


def taylor_softmax_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `taylor_softmax_forward` with respect to z. dy (…, C) -> dz (…, C).

    Formula: dz_i = p_i · r_i · (dy_i - Σ_j p_j · dy_j), r = (log f_n)' = f_{n-1} / f_n.
    """
    # The cache is (z, p, order): z and p (…, C), order an int.
    z, p, order = cache
    # You may call taylor_polynomial: while this is graded, that is the library's.
    raise NotImplementedError("a1 taylor_softmax_backward")  # return dz
