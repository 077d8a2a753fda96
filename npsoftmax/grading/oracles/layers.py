"""The definitions behind a2, number by number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Outputs = tuple[Any, ...]


def dense(x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> Outputs:
    """Σ_d x_nd w_dm + b_m, one output at a time."""
    n, d, m = (*x.shape, w.shape[1])
    y = np.empty((n, m))
    for i in range(n):
        for j in range(m):
            y[i, j] = math.fsum(x[i, k] * w[k, j] for k in range(d)) + (0 if b is None else b[j])
    return (y,)


def relu(x: np.ndarray) -> Outputs:
    """x where it is positive, else 0."""
    return (np.array([v if v > 0 else 0.0 for v in x.ravel().tolist()]).reshape(x.shape),)


def dropout(x: np.ndarray, mask: np.ndarray, keep: float) -> Outputs:
    """x / keep where the mask is true, else 0."""
    pairs = zip(x.ravel().tolist(), mask.ravel().tolist(), strict=True)
    return (np.array([v / keep if kept else 0.0 for v, kept in pairs]).reshape(x.shape),)


def normalised(values: list[float], eps: float) -> tuple[list[float], float, float]:
    """(v - mean) / sqrt(var + eps) of some numbers; their mean and variance."""
    mean = math.fsum(values) / len(values)
    var = math.fsum((v - mean) ** 2 for v in values) / len(values)
    return [(v - mean) / math.sqrt(var + eps) for v in values], mean, var


def batch_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float) -> Outputs:
    """Each channel by the mean and variance of its column."""
    rows = x.reshape(-1, x.shape[-1])
    columns = [normalised(column.tolist(), eps) for column in rows.T]
    normal = np.array([column[0] for column in columns]).T
    mean, var = (np.array([column[i] for column in columns]) for i in (1, 2))
    return (normal * gamma + beta).reshape(x.shape), mean, var


def layer_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float) -> Outputs:
    """Each row by its own mean and variance."""
    rows = x.reshape(-1, x.shape[-1])
    normal = np.array([normalised(row.tolist(), eps)[0] for row in rows])
    return ((normal * gamma + beta).reshape(x.shape),)
