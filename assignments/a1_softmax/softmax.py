"""Softmax, the ladder of ideas that leads to it, and its relatives.

Replace each `raise NotImplementedError`, then type

    npsoftmax grade a1

The page that goes with it: README.md in this folder.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.errors import InputError


def sum_normalisation_v1_forward(z: Array) -> tuple[Array, Any]:
    """Shares of the sum: y_i = z_i / Σ_j z_j. z (…, C) -> y (…, C).

    No probability where signs differ, and undefined where the sum is 0: InputError for such a row.
    """
    # The cache is (y, total).
    raise NotImplementedError("a1 sum_normalisation_v1_forward")  # return y, cache


def sum_normalisation_v1_backward(dy: Array, cache: Any) -> Array:
    """dz_i = (dy_i - Σ_j y_j · dy_j) / Σ_j z_j. dy (…, C) -> dz (…, C)."""
    y, total = cache
    raise NotImplementedError("a1 sum_normalisation_v1_backward")  # return dz


def sum_normalisation_v2_forward(z: Array) -> tuple[Array, Any]:
    """Shares above the minimum: y_i = (z_i - min z) / Σ_j (z_j - min z). z (…, C) -> y (…, C).

    The lowest class gets exactly 0. Undefined where all values are equal: InputError for such a row.
    """
    # The cache is (y, total).
    raise NotImplementedError("a1 sum_normalisation_v2_forward")  # return y, cache


def sum_normalisation_v2_backward(dy: Array, cache: Any) -> Array:
    """du as in v1, then dz = du - m · Σ_j du_j, where m is 1 at the minimum. dy (…, C) -> dz (…, C).

    Tied minima share m equally: there the derivative does not exist, and this is one subgradient.
    """
    y, total = cache
    # You may call sum_normalisation_v1_backward: while this is graded, that is the library's.
    raise NotImplementedError("a1 sum_normalisation_v2_backward")  # return dz


def softmax_forward(z: Array, mask: Array | None = None) -> tuple[Array, Any]:
    """Probabilities that grow exponentially with their logit: p_i = e^{z_i} / Σ_j e^{z_j}.

    z (…, C), finite -> p (…, C). The maximum is subtracted first: no p changes, and e^z cannot overflow.
    Source: Bridle, 1990; Blanchard, Higham and Higham, 2021 (accuracy).
    """
    # The cache is p.
    # mask is for attention: in this assignment it is None, and you may ignore it.
    raise NotImplementedError("a1 softmax_forward")  # return p, cache


def softmax_backward(dy: Array, cache: Any) -> Array:
    """dz_i = p_i · (dy_i - Σ_j p_j · dy_j): the Jacobian times dy, never built. dy (…, C) -> dz (…, C)."""
    p = cache
    raise NotImplementedError("a1 softmax_backward")  # return dz


def softmax_jacobian(p: Array) -> Array:
    """All derivatives of softmax from its output: ∂p_i/∂z_j = p_i · (δ_ij - p_j). p (…, C) -> (…, C, C)."""
    raise NotImplementedError("a1 softmax_jacobian")  # return jacobian


def log_sum_exp_forward(z: Array) -> tuple[Array, Any]:
    """The real soft maximum: y = log Σ_i e^{z_i}. z (…, C), finite -> y (…).

    max z <= y <= max z + log C. Source: Blanchard, Higham and Higham, 2021.
    """
    # The cache is p, the softmax of z.
    raise NotImplementedError("a1 log_sum_exp_forward")  # return y, cache


def log_sum_exp_backward(dy: Array, cache: Any) -> Array:
    """dz_i = p_i · dy: the gradient of log-sum-exp is softmax. dy (…) -> dz (…, C)."""
    p = cache
    raise NotImplementedError("a1 log_sum_exp_backward")  # return dz


def soft_argmax_forward(z: Array) -> tuple[Array, Any]:
    """The mean index under softmax, counted from 0: y = Σ_i i · p_i. z (…, C), finite -> y (…)."""
    # The cache is (p, y).
    # You may call softmax_forward: while this is graded, that is the library's.
    raise NotImplementedError("a1 soft_argmax_forward")  # return y, cache


def soft_argmax_backward(dy: Array, cache: Any) -> Array:
    """dz_i = dy · p_i · (i - y). dy (…) -> dz (…, C)."""
    p, y = cache
    # You may call softmax_backward: while this is graded, that is the library's.
    raise NotImplementedError("a1 soft_argmax_backward")  # return dz


def log_softmax_forward(z: Array) -> tuple[Array, Any]:
    """Log-probabilities: y_i = z_i - log Σ_j e^{z_j}. z (…, C), finite -> y (…, C).

    Never computed as log(softmax(z)), which is -inf wherever p underflows. Source: Blanchard et al., 2021.
    """
    # The cache is y.
    raise NotImplementedError("a1 log_softmax_forward")  # return y, cache


def log_softmax_backward(dy: Array, cache: Any) -> Array:
    """dz_i = dy_i - e^{y_i} · Σ_j dy_j. dy (…, C) -> dz (…, C)."""
    y = cache
    raise NotImplementedError("a1 log_softmax_backward")  # return dz


def log_softmax_approximation_forward(z: Array) -> tuple[Array, Any]:
    """Log-softmax with the hard maximum for the soft one: y_i = z_i - max_j z_j. z (…, C) -> y (…, C).

    It lies above log-softmax by log Σ_j e^{z_j - max z}: between 0 and log C.
    """
    # The cache is y.
    raise NotImplementedError("a1 log_softmax_approximation_forward")  # return y, cache


def log_softmax_approximation_backward(dy: Array, cache: Any) -> Array:
    """dz = dy - m · Σ_j dy_j, where m is 1 at the maximum and 0 elsewhere. dy (…, C) -> dz (…, C).

    Tied maxima share m equally: there the derivative does not exist, and this is one subgradient.
    """
    y = cache
    raise NotImplementedError("a1 log_softmax_approximation_backward")  # return dz


def softmax_cross_entropy_forward(
    z: Array, t: Array, label_smoothing: float = 0.0, temperature: float = 1.0
) -> tuple[Array, Any]:
    """Mean of -Σ_c q_c · log softmax(z / T)_c, where q = (1 - ε) · onehot(t) + ε / C.

    z (N, C) logits, t (N,) integer labels -> loss (). Label smoothing ε in [0, 1], temperature T > 0.
    Given probabilities it applies softmax twice, and cannot fall below ln(e + C - 1) - 1 (3.62 at C = 100).
    Source: Bridle, 1990; Szegedy et al., 2016 (smoothing).
    """
    # The cache is (p, t, label_smoothing, temperature).
    raise NotImplementedError("a1 softmax_cross_entropy_forward")  # return loss, cache


def softmax_cross_entropy_backward(dloss: Array | float, cache: Any) -> Array:
    """dz = (p - q) · dloss / (N · T), p the probabilities, q the smoothed targets. dloss () -> dz (N, C)."""
    p, t, label_smoothing, temperature = cache
    raise NotImplementedError("a1 softmax_cross_entropy_backward")  # return dz


def gumbel_softmax_forward(z: Array, noise: Array, mask: Array | None = None, *, tau: float = 1.0) -> tuple[Array, Any]:
    """A relaxed sample of a class: p = softmax((z + g) / τ), which tends to a one-hot sample as τ falls to 0.

    z, noise (…, C) -> p (…, C). InputError for tau <= 0.
    Source: Jang, Gu and Poole, 2017; Maddison, Mnih and Teh, 2017.
    """
    # The cache is (p, tau).
    # mask is for attention: in this assignment it is None, and you may ignore it.
    # You may call softmax_forward: while this is graded, that is the library's.
    raise NotImplementedError("a1 gumbel_softmax_forward")  # return p, cache


def gumbel_softmax_backward(dy: Array, cache: Any) -> Array:
    """dz_i = p_i · (dy_i - Σ_j p_j · dy_j) / τ; the noise is a constant. dy (…, C) -> dz (…, C)."""
    p, tau = cache
    # You may call softmax_backward: while this is graded, that is the library's.
    raise NotImplementedError("a1 gumbel_softmax_backward")  # return dz


def log_gumbel_softmax_forward(z: Array, noise: Array, *, tau: float = 1.0) -> tuple[Array, Any]:
    """The logarithm of a relaxed sample: y = log_softmax((z + g) / τ).

    z, noise (…, C) -> y (…, C). InputError for tau <= 0. Source: Maddison, Mnih and Teh, 2017.
    """
    # The cache is (y, tau).
    # You may call log_softmax_forward: while this is graded, that is the library's.
    raise NotImplementedError("a1 log_gumbel_softmax_forward")  # return y, cache


def log_gumbel_softmax_backward(dy: Array, cache: Any) -> Array:
    """dz_i = (dy_i - e^{y_i} · Σ_j dy_j) / τ. dy (…, C) -> dz (…, C)."""
    y, tau = cache
    # You may call log_softmax_backward: while this is graded, that is the library's.
    raise NotImplementedError("a1 log_gumbel_softmax_backward")  # return dz


def taylor_polynomial(z: Array, order: int) -> Array:
    """f_n(z) = Σ_{i<=n} z^i / i!, by Horner: 1 + z · (1 + z/2 · (1 + z/3 · (…))). Derivative: f_{n-1}."""
    raise NotImplementedError("a1 taylor_polynomial")  # return f


def taylor_softmax_forward(z: Array, mask: Array | None = None, *, order: int = 2) -> tuple[Array, Any]:
    """Probabilities that grow like a polynomial: p_i = f_n(z_i) / Σ_j f_n(z_j), f_n(z) = Σ_{k<=n} z^k / k!.

    z (…, C), of sizes whose powers are finite -> p (…, C). InputError for an odd order or one below 2.
    Source: Vincent, de Brébisson and Bouthillier, 2015; de Brébisson and Vincent, 2016 (arXiv 1511.05042).
    """
    # The cache is (z, p, order).
    # mask is for attention: in this assignment it is None, and you may ignore it.
    # You may call taylor_polynomial: while this is graded, that is the library's.
    raise NotImplementedError("a1 taylor_softmax_forward")  # return p, cache


def taylor_softmax_backward(dy: Array, cache: Any) -> Array:
    """dz_i = p_i · r_i · (dy_i - Σ_j p_j · dy_j), r = (log f_n)' = f_{n-1} / f_n. dy (…, C) -> dz (…, C)."""
    z, p, order = cache
    # You may call taylor_polynomial: while this is graded, that is the library's.
    raise NotImplementedError("a1 taylor_softmax_backward")  # return dz
