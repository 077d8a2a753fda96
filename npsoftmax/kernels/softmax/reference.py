"""Rows of a softmax in readable NumPy: the documentation of the kernels, and the fallback for any array type.

Written as below, each operation reads and writes an array of its own; compiled, a row is read once. `threads` are those
of the compiled version: ignored here.
"""

from __future__ import annotations

from npsoftmax.backend import Array, array_module


def exp_rows(
    z: Array, temperature: float = 1.0, out: Array | None = None, threads: int | None = None
) -> tuple[Array, Array, Array, Array]:
    """e = exp(s) with s = (z - max z) / temperature, row by row, and what else one look at z can tell.

    z (N, C), out like z (may be z) or None -> e (N, C) in `out`, max z (N,), Σ e (N,), Σ s (N,)
    """
    xp = array_module(z)
    top = z.max(axis=1)
    s = xp.subtract(z, top[:, None], out=out)
    s /= temperature
    exponents = s.sum(axis=1)
    e = xp.exp(s, out=s)
    return e, top, e.sum(axis=1), exponents


def sparse_rows(z: Array, power: int) -> Array:
    """p = max(s - θ, 0)^power with s = (z - max z) / power, and θ such that Σ p = 1. z (N, C), power 1 or 2 -> (N, C).

    Newton's steps on (Σ p)^{1 / power}, convex in θ, from θ = -1, where it is at least 1: they never pass the root. At
    the root rounding may take a step back, and a row that went to and fro there would keep all others from the end.
    """
    xp = array_module(z)
    s = (z - z.max(axis=1, keepdims=True)) / power
    theta, rises = xp.full((len(z), 1), -1.0), True
    while rises:
        g = xp.maximum(s - theta, 0)
        root = (g**power).sum(axis=1, keepdims=True) ** (1 / power)
        before = theta
        slope = xp.where(g > 0, g ** (power - 1), 0).sum(axis=1, keepdims=True)
        theta = xp.maximum(before, before + (root - 1) * root ** (power - 1) / slope)
        rises = bool((theta > before).any())
    return (xp.maximum(s - theta, 0) ** power).astype(z.dtype)


def scaled_less_onehot(
    e: Array, t: Array, factor: Array, height: Array, low: Array | None = None, threads: int | None = None
) -> Array:
    """e[n]·factor[n] - low[n] for all classes, and height[n] less at class t[n], where that is a column of e.

    e (N, C), t (N,) integers, factor, height (N,), low (N,) or None for 0 -> (N, C)
    """
    xp = array_module(e)
    dz = e * factor[:, None]
    if low is not None:
        dz -= low[:, None]
    inside = xp.flatnonzero((t >= 0) & (t < e.shape[1]))
    dz[inside, t[inside]] -= height[inside]
    return dz
