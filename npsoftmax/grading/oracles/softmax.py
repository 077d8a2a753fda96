"""The definitions behind a1, row by row in exact arithmetic."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np

from npsoftmax.grading.oracles import exact

Outputs = tuple[Any, ...]


def sum_normalisation_v1(z: np.ndarray) -> Outputs:
    """Shares of the sum."""
    return (exact.by_row(lambda row: [v / math.fsum(row) for v in row], z),)


def sum_normalisation_v2(z: np.ndarray) -> Outputs:
    """Shares of the sum of what lies above the minimum."""

    def shares(row: list[float]) -> list[float]:
        above = [v - min(row) for v in row]
        return [v / math.fsum(above) for v in above]

    return (exact.by_row(shares, z),)


def softmax(z: np.ndarray) -> Outputs:
    """e^{z_i} over the sum of all."""
    return (exact.by_row(exact.softmax, z),)


def softmax_jacobian(p: np.ndarray) -> Outputs:
    """p_i (δ_ij - p_j), entry by entry."""

    def matrix(row: list[float]) -> list[list[float]]:
        return [[p_i * ((i == j) - p_j) for j, p_j in enumerate(row)] for i, p_i in enumerate(row)]

    return (exact.by_row(matrix, p),)


def log_sum_exp(z: np.ndarray) -> Outputs:
    """The logarithm of the sum of all e^{z_i}."""
    return (exact.by_row(exact.log_sum_exp, z),)


def soft_argmax(z: np.ndarray) -> Outputs:
    """The mean of the indices 0, 1, …, weighted by softmax."""
    return (exact.by_row(lambda row: sum(i * p for i, p in enumerate(exact.softmax(row))), z),)


def log_softmax(z: np.ndarray) -> Outputs:
    """z_i minus the log-sum-exp."""
    return (exact.by_row(lambda row: [Decimal(v) - exact.log_sum_exp(row) for v in row], z),)


def log_softmax_approximation(z: np.ndarray) -> Outputs:
    """z_i minus the maximum."""
    return (exact.by_row(lambda row: [v - max(row) for v in row], z),)


def softmax_cross_entropy(
    z: np.ndarray, t: np.ndarray, label_smoothing: float = 0.0, temperature: float = 1.0
) -> Outputs:
    """The mean of -Σ q log p over the rows, with the smoothed targets q written out."""
    losses = []
    for row, label in zip(z.tolist(), t.tolist(), strict=True):
        p = exact.softmax([v / temperature for v in row])
        q = [(1 - label_smoothing) * (c == label) + label_smoothing / len(row) for c in range(len(row))]
        losses.append(-sum(float(exact.log(p_c)) * q_c for p_c, q_c in zip(p, q, strict=True)))
    return (math.fsum(losses) / len(losses),)


def gumbel_softmax(z: np.ndarray, noise: np.ndarray, tau: float) -> Outputs:
    """Softmax of (z + g) / τ."""
    return softmax((z + noise) / tau)


def log_gumbel_softmax(z: np.ndarray, noise: np.ndarray, tau: float) -> Outputs:
    """Log-softmax of (z + g) / τ."""
    return log_softmax((z + noise) / tau)


def taylor_polynomial(z: np.ndarray, order: int) -> Outputs:
    """Σ z^i / i!, term by term."""
    return (exact.by_row(lambda row: [math.fsum(v**i / math.factorial(i) for i in range(order + 1)) for v in row], z),)


def taylor_softmax(z: np.ndarray, order: int) -> Outputs:
    """Shares of the Taylor polynomials."""
    (f,) = taylor_polynomial(z, order)
    return (exact.by_row(lambda row: [v / math.fsum(row) for v in row], f),)
