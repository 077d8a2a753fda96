"""What the fused kernels compute, in readable NumPy: their documentation, and the fallback for any array type.

A step of training is arithmetic in convolutions and memory in everything else: these passes do one or two operations a
value, so all that counts is how often an array is read and written. Written as below, each operation reads and writes
an array of its own; compiled, each function reads its arguments once, on all threads.
"""

from __future__ import annotations

from npsoftmax.backend import Array, array_module


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
    """Mean and biased variance Σ (x − mean)² / M of each column. rows (M, C) -> mean, var (C,)."""
    xp = array_module(rows)
    mean = column_sum(rows) / rows.shape[0]
    return mean, column_sum(xp.square(rows - mean)) / rows.shape[0]


# ---------------------------------------------------------------- batch norm
def normalise(x: Array, mean: Array, factor: Array, shift: Array, relu: bool) -> Array:
    """y = (x − mean)·factor + shift, or max(y, 0) with `relu`. x (N, …, C), the others (C,) -> like x."""
    y = x - mean
    y *= factor
    y += shift
    return array_module(y).maximum(y, 0) if relu else y


def normalise_sums(dy: Array, x: Array, mean: Array, factor: Array, shift: Array, relu: bool) -> tuple[Array, Array]:
    """Σ g and Σ g·(x − mean) of each channel, where g is dy, or with `relu` dy where `normalise` is above 0.

    dy, x (N, …, C), the others (C,) -> two (C,). The output is computed again: that costs less than reading it.
    """
    g = _let_through(dy, x, mean, factor, shift, relu).reshape(-1, len(mean))
    return column_sum(g), column_sum(g * (x.reshape(g.shape) - mean))


def normalise_dx(
    dy: Array, x: Array, mean: Array, factor: Array, shift: Array, slope: Array, offset: Array, relu: bool
) -> Array:
    """dx = g·factor + (x − mean)·slope + offset, g as in `normalise_sums`. dy, x (N, …, C), others (C,) -> like x."""
    dx = x - mean
    dx *= slope
    dx += offset
    dx += _let_through(dy, x, mean, factor, shift, relu) * factor
    return dx


def _let_through(dy: Array, x: Array, mean: Array, factor: Array, shift: Array, relu: bool) -> Array:
    return dy * (normalise(x, mean, factor, shift, False) > 0) if relu else dy


# ---------------------------------------------------------------- element by element
def relu(x: Array) -> Array:
    """max(x, 0), any shape."""
    return array_module(x).maximum(x, 0)


def relu_backward(dy: Array, y: Array) -> Array:
    """dy where y > 0, else 0. Any shape, both the same."""
    return dy * (y > 0)


def add(a: Array, b: Array) -> Array:
    """a + b, of one shape."""
    return a + b


# ---------------------------------------------------------------- rows of a softmax
def exp_rows(z: Array, temperature: float = 1.0, out: Array | None = None) -> tuple[Array, Array, Array, Array]:
    """e = exp(s) with s = (z − max z) / temperature, row by row, and what else one look at z can tell.

    z (N, C), out like z (may be z) or None -> e (N, C) in `out`, max z (N,), Σ e (N,), Σ s (N,)
    """
    xp = array_module(z)
    top = z.max(axis=1)
    s = xp.subtract(z, top[:, None], out=out)
    s /= temperature
    exponents = s.sum(axis=1)
    e = xp.exp(s, out=s)
    return e, top, e.sum(axis=1), exponents


def scaled_less_onehot(e: Array, t: Array, factor: Array, height: Array, low: float = 0.0) -> Array:
    """e[n]·factor[n] − low for all classes, and height[n] less at class t[n], where that is a column of e.

    e (N, C), t (N,) integers, factor, height (N,) -> (N, C)
    """
    xp = array_module(e)
    dz = e * factor[:, None]
    if low:
        dz -= low
    inside = xp.flatnonzero((t >= 0) & (t < e.shape[1]))
    dz[inside, t[inside]] -= height[inside]
    return dz
