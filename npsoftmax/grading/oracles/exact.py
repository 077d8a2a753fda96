"""Exponentials and logarithms that neither overflow nor underflow: Python's decimals have exponents enough.

So an oracle can be the formula as the lecture writes it, without any trick, and be right for logits of 1000 as well.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np


def exp(value: float) -> Decimal:
    """e^value."""
    return Decimal(float(value)).exp()


def log(value: Decimal) -> Decimal:
    """The natural logarithm."""
    return value.ln()


def by_row(function: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
    """`function` of each row (the last axis, as lists) of the arrays, which have one shape."""
    first = np.asarray(arrays[0])
    flat = [np.asarray(a).reshape(-1, first.shape[-1]).tolist() for a in arrays]
    out = np.array([np.asarray(function(*rows), dtype=float) for rows in zip(*flat, strict=True)])
    return out.reshape(first.shape[:-1] + out.shape[1:])


def softmax(row: list[float]) -> list[Decimal]:
    """The definition: e^{z_i} over the sum of all."""
    powers = [exp(v) for v in row]
    return [power / sum(powers) for power in powers]


def log_sum_exp(row: list[float]) -> Decimal:
    """The definition: the logarithm of the sum of all e^{z_i}."""
    return log(sum((exp(v) for v in row), Decimal(0)))
