"""Calls of _update.pyx: NumPy arrays, all float32 or all float64."""

from __future__ import annotations

import numpy as np

from npsoftmax.kernels.dispatch import flat, threads_for
from npsoftmax.kernels.extension import load_extension

MODULE = f"{__package__}._update"


# ---------------------------------------------------------------- clipping
def square_sum(g: np.ndarray) -> float:
    """See `reference.square_sum`."""
    fast, values = load_extension(MODULE)[0], flat(g)
    sums = np.empty(fast.count_chunks(values.size))
    fast.square_sum(values, sums, threads_for(values.size))
    return float(sums.sum())


def scale(g: np.ndarray, factor: float) -> np.ndarray:
    """See `reference.scale`."""
    out = np.empty(g.shape, dtype=g.dtype)
    load_extension(MODULE)[0].scale(flat(g), factor, out.reshape(-1), threads_for(g.size))
    return out


def clip(g: np.ndarray, limit: float) -> np.ndarray:
    """See `reference.clip`."""
    out = np.empty(g.shape, dtype=g.dtype)
    load_extension(MODULE)[0].clip(flat(g), limit, out.reshape(-1), threads_for(g.size))
    return out


# ---------------------------------------------------------------- optimisers
def sgd(
    p: np.ndarray, g: np.ndarray, b: np.ndarray | None, rates: tuple[float, ...], decay: float, nesterov: bool
) -> None:
    """The rule of `training.optimizers.SGD`; `flat` makes views of p and b, which are contiguous."""
    lr, momentum = rates
    arrays = flat(p), flat(g), None if b is None else flat(b)
    load_extension(MODULE)[0].sgd(*arrays, lr, momentum, decay, nesterov, threads_for(p.size))


def adam(
    p: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    rates: tuple[float, ...],
    beta2: float,
    decay: float,
    shrinks: bool,
) -> None:
    """The rule of `training.optimizers.Adam`; `flat` makes views of p, m and v, which are contiguous."""
    beta1, _, rate, eps, shrink = rates
    arrays, threads = (flat(p), flat(g), flat(m), flat(v)), threads_for(p.size)
    load_extension(MODULE)[0].adam(*arrays, shrink if shrinks else 1.0, decay, beta1, beta2, rate, eps, threads)
