"""Sums of columns, batch norm and layer norm in readable NumPy: the documentation of the kernels, and the fallback.

Every function takes any array type. Written as below, each operation reads and writes an array of its own; compiled,
each function reads its arguments once, on all threads.
"""

from __future__ import annotations

from typing import Literal

from npsoftmax.backend import Array, array_module
from npsoftmax.kernels.elementwise import reference as elementwise

Three = tuple[Array, Array, Array]
After = Literal["", "relu", "silu"]  # what is done in the same passes to the output of batch norm
AFTER: dict[After, int] = {"": 0, "relu": 1, "silu": 2}  # in the versions


# ---------------------------------------------------------------- columns
def column_sum(rows: Array) -> Array:
    """Sum of each column. rows (M, C) -> (C,).

    In blocks: adding 100,000 float32 values one after another loses digits.
    """
    m, channels = rows.shape
    block = 256
    if m < block:
        return rows.sum(axis=0)
    whole = m // block * block
    return rows[:whole].reshape(-1, block, channels).sum(axis=1).sum(axis=0) + rows[whole:].sum(axis=0)


def column_moments(rows: Array) -> tuple[Array, Array]:
    """Mean and biased variance Σ (x - mean)² / M of each column. rows (M, C) -> mean, var (C,)."""
    xp = array_module(rows)
    mean = column_sum(rows) / rows.shape[0]
    return mean, column_sum(xp.square(rows - mean)) / rows.shape[0]


# ---------------------------------------------------------------- batch norm
def normalise(x: Array, mean: Array, factor: Array, shift: Array, after: After) -> Array:
    """y = (x - mean)·factor + shift, and max(y, 0) or y · σ(y) of it as `after` says.

    x (N, …, C), the others (C,) -> like x
    """
    y = x - mean
    y *= factor
    y += shift
    return {"": lambda y: y, "relu": elementwise.relu, "silu": elementwise.silu}[after](y)


def normalise_sums(dy: Array, x: Array, mean: Array, factor: Array, shift: Array, after: After) -> tuple[Array, Array]:
    """Σ g and Σ g·(x - mean) of each channel, where g is dy times the derivative of what comes `after`.

    dy, x (N, …, C), the others (C,) -> two (C,). The output is computed again: that costs less than reading it.
    """
    g = _before(dy, x, mean, factor, shift, after).reshape(-1, len(mean))
    return column_sum(g), column_sum(g * (x.reshape(g.shape) - mean))


def normalise_dx(
    dy: Array, x: Array, mean: Array, factor: Array, shift: Array, slope: Array, offset: Array, after: After
) -> Array:
    """dx = g·factor + (x - mean)·slope + offset, g as in `normalise_sums`. dy, x (N, …, C), others (C,) -> like x."""
    dx = x - mean
    dx *= slope
    dx += offset
    dx += _before(dy, x, mean, factor, shift, after) * factor
    return dx


def _before(dy: Array, x: Array, mean: Array, factor: Array, shift: Array, after: After) -> Array:
    """The gradient of what goes into the function `after`, if there is one."""
    if not after:
        return dy
    y = normalise(x, mean, factor, shift, "")
    return elementwise.silu_backward(dy, y) if after == "silu" else dy * (y > 0)


# ---------------------------------------------------------------- layer norm
def layer_norm(x: Array, gamma: Array, beta: Array | None, eps: float) -> Three:
    """y = gamma · (x - mean) · scale + beta, scale = 1 / sqrt(var + eps), row by row.

    x (M, D), gamma (D,), beta (D,) or None -> y (M, D), mean (M,), scale (M,)
    """
    xp = array_module(x)
    mean = x.mean(axis=1)
    centred = x - mean[:, None]
    scale = 1 / xp.sqrt(xp.square(centred).mean(axis=1) + eps)
    y = centred * scale[:, None] * gamma
    return y if beta is None else y + beta, mean, scale


def layer_norm_backward(dy: Array, x: Array, gamma: Array, mean: Array, scale: Array) -> Three:
    """dx = scale · (g - mean(g) - x̂ · mean(g · x̂)) with g = dy · gamma. dy (M, D) -> dx (M, D), dgamma, dbeta (D,)"""
    normal = (x - mean[:, None]) * scale[:, None]
    g = dy * gamma
    dx = g - g.mean(axis=1, keepdims=True) - normal * (g * normal).mean(axis=1, keepdims=True)
    return dx * scale[:, None], (dy * normal).sum(axis=0), dy.sum(axis=0)
