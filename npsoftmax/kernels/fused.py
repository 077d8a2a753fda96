"""Passes that read memory once: sums of channels, batch norm, ReLU, sums of arrays, rows of a softmax.

The array's type decides which version runs, as in the other kernels; what each function does stands in
`fused_reference`. Arrays that are not contiguous are copied first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.kernels import device_rows as device
from npsoftmax.kernels import fused_reference as reference
from npsoftmax.kernels.dispatch import compiled, threads_for

__all__ = [
    "add",
    "column_moments",
    "column_sum",
    "exp_rows",
    "normalise",
    "normalise_dx",
    "normalise_sums",
    "relu",
    "relu_backward",
    "scaled_less_onehot",
]

WIDE = 256  # values in a wide row, at least; see _norm.pyx
FEW = 4096  # values that NumPy adds up before a kernel is even called
PARTS = 64  # sums that threads work on, at most: their number must not depend on that of the threads


# ---------------------------------------------------------------- columns
def column_sum(rows: Array) -> Array:
    """Sum of each column; see `fused_reference.column_sum`."""
    fast = compiled("_norm", rows)
    if fast is None:
        return device.column_sum(rows)
    if rows.size < FEW:
        return reference.column_sum(np.ascontiguousarray(rows))  # NumPy's order follows the layout
    c, width = rows.shape[1], _wide_row(rows.shape[1])
    sums = np.zeros((_parts(fast, rows, width), c))
    fast.column_sum(_flat(rows), c, width, sums, threads_for(rows.size))
    return sums.sum(axis=0).astype(rows.dtype)


def column_moments(rows: Array) -> tuple[Array, Array]:
    """Mean and variance of each column; see `fused_reference.column_moments`."""
    fast = compiled("_norm", rows)
    if fast is None or not rows.size:
        return device.column_moments(rows)
    c, width = rows.shape[1], _wide_row(rows.shape[1])
    parts = _parts(fast, rows, width)
    count, means, m2 = np.zeros(parts), np.zeros((parts, c)), np.zeros((parts, c))
    fast.column_moments(_flat(rows), c, width, count, means, m2, threads_for(rows.size))
    share = (count / len(rows))[:, None]
    mean = (share * means).sum(axis=0)
    var = m2.sum(axis=0) / len(rows) + (share * np.square(means - mean)).sum(axis=0)
    return mean.astype(rows.dtype), var.astype(rows.dtype)


def _wide_row(c: int) -> int:
    return c * max(1, WIDE // c)


def _parts(fast: Any, rows: np.ndarray, width: int) -> int:
    return min(PARTS, fast.count_blocks(rows.size, rows.shape[1], width))


# ---------------------------------------------------------------- batch norm
def normalise(x: Array, mean: Array, factor: Array, shift: Array, relu: bool) -> Array:
    """(x − mean)·factor + shift, and ReLU of it; see `fused_reference.normalise`."""
    fast = compiled("_norm", x, mean, factor, shift)
    if fast is None or not x.size:
        return device.normalise(x, mean, factor, shift, relu)
    y = np.empty(x.shape, dtype=x.dtype)
    fast.normalise(_flat(x), _wide(mean, factor, shift), relu, y.reshape(-1), threads_for(x.size))
    return y


def normalise_sums(dy: Array, x: Array, mean: Array, factor: Array, shift: Array, relu: bool) -> tuple[Array, Array]:
    """The two sums of its backward; see `fused_reference.normalise_sums`."""
    fast = compiled("_norm", dy, x, mean, factor, shift)
    if fast is None or not x.size:
        return device.normalise_sums(dy, x, mean, factor, shift, relu)
    c, v = len(mean), _wide(mean, factor, shift)
    sums = np.zeros((2, _parts(fast, x.reshape(-1, c), v.shape[1]), c))
    fast.normalise_sums(_flat(dy), _flat(x), c, v, relu, *sums, threads_for(x.size))
    g, products = sums.sum(axis=1).astype(x.dtype)
    return g, products


def normalise_dx(
    dy: Array, x: Array, mean: Array, factor: Array, shift: Array, slope: Array, offset: Array, relu: bool
) -> Array:
    """The gradient of its input; see `fused_reference.normalise_dx`."""
    fast = compiled("_norm", dy, x, mean, factor, shift, slope, offset)
    if fast is None or not x.size:
        return device.normalise_dx(dy, x, mean, factor, shift, slope, offset, relu)
    dx = np.empty(x.shape, dtype=x.dtype)
    v = _wide(mean, factor, shift, slope, offset)
    fast.normalise_dx(_flat(dy), _flat(x), v, relu, dx.reshape(-1), threads_for(x.size))
    return dx


def _wide(*channels: np.ndarray) -> np.ndarray:
    """Each (C,) laid out along a wide row: (how many, width)."""
    c = len(channels[0])
    return np.tile(np.stack(channels), _wide_row(c) // c)


# ---------------------------------------------------------------- element by element
def relu(x: Array) -> Array:
    """max(x, 0); see `fused_reference.relu`."""
    fast = compiled("_fused", x)
    if fast is None or not x.size:
        return reference.relu(x)
    y = np.empty(x.shape, dtype=x.dtype)
    fast.relu(_flat(x), y.reshape(-1), threads_for(x.size))
    return y


def relu_backward(dy: Array, y: Array) -> Array:
    """dy where y > 0; see `fused_reference.relu_backward`."""
    fast = compiled("_fused", dy, y)
    if fast is None or not y.size:
        return device.relu_backward(dy, y)
    dx = np.empty(y.shape, dtype=y.dtype)
    fast.relu_backward(_flat(dy), _flat(y), dx.reshape(-1), threads_for(y.size))
    return dx


def add(a: Array, b: Array) -> Array:
    """a + b; see `fused_reference.add`."""
    fast = compiled("_fused", a, b)
    if fast is None or not a.size or a.shape != b.shape:
        return reference.add(a, b)
    y = np.empty(a.shape, dtype=a.dtype)
    fast.add(_flat(a), _flat(b), y.reshape(-1), threads_for(a.size))
    return y


def _flat(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x).reshape(-1)


# ---------------------------------------------------------------- rows of a softmax
def exp_rows(
    z: Array, temperature: float = 1.0, out: Array | None = None, threads: int | None = None
) -> tuple[Array, Array, Array, Array]:
    """Exponentials of each row below its maximum, and three sums; see `fused_reference.exp_rows`.

    threads: 1 where a thread of its own calls it, None for as many as pay.
    """
    fast = compiled("_fused", z)
    if fast is None or not z.size:
        return device.exp_rows(z, temperature, out)
    e = np.empty(z.shape, dtype=z.dtype) if out is None else out
    sums = np.empty((len(z), 3), dtype=z.dtype)
    fast.exp_rows(np.ascontiguousarray(z), temperature, e, sums, threads or threads_for(z.size))
    return e, sums[:, 0], sums[:, 1], sums[:, 2]


def scaled_less_onehot(
    e: Array, t: Array, factor: Array, height: Array, low: float = 0.0, threads: int | None = None
) -> Array:
    """The gradient of logits from exponentials; see `fused_reference.scaled_less_onehot`; threads as above."""
    fast = compiled("_fused", e, factor, height)
    if fast is None or not e.size:
        return device.scaled_less_onehot(e, t, factor, height, low)
    dz = np.empty(e.shape, dtype=e.dtype)
    columns = np.ascontiguousarray(t, dtype=np.int64)
    rows = np.ascontiguousarray(factor), np.ascontiguousarray(height)
    fast.scaled_less_onehot(np.ascontiguousarray(e), columns, *rows, low, dz, threads or threads_for(e.size))
    return dz
