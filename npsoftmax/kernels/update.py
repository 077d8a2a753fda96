"""What happens to gradients and parameters after backward, in one pass each: clipping, SGD, Adam.

The array's type decides which version runs, as in the other kernels. The rules of the optimisers in readable NumPy
stand in training/optimizers.py; where `has_compiled` says no, they run.
"""

from __future__ import annotations

import numpy as np

from npsoftmax.backend import Array, array_module
from npsoftmax.kernels.dispatch import compiled, threads_for

__all__ = ["adam", "clip", "has_compiled", "scale", "sgd", "square_sum"]


def has_compiled(*arrays: Array) -> bool:
    """Whether the compiled rules take a parameter with its gradient and state, all of one type."""
    return compiled("_update", *arrays) is not None


# ---------------------------------------------------------------- clipping
def square_sum(g: Array) -> float:
    """Σ g² of all values, squared and added up in double precision; () on the device that g is on, or a float."""
    fast = compiled("_update", g)
    if fast is None:
        return array_module(g).square(g, dtype=np.float64).sum()
    flat = _flat(g)
    sums = np.empty(fast.count_chunks(flat.size))
    fast.square_sum(flat, sums, threads_for(flat.size))
    return float(sums.sum())


def scale(g: Array, factor: float) -> Array:
    """g · factor, any shape."""
    fast = compiled("_update", g)
    if fast is None:
        return g * factor
    out = np.empty(g.shape, dtype=g.dtype)
    fast.scale(_flat(g), factor, out.reshape(-1), threads_for(g.size))
    return out


def clip(g: Array, limit: float) -> Array:
    """Every value of g clipped to [−limit, limit]; NaN stays. Any shape."""
    fast = compiled("_update", g)
    if fast is None:
        return array_module(g).clip(g, -limit, limit)
    out = np.empty(g.shape, dtype=g.dtype)
    fast.clip(_flat(g), limit, out.reshape(-1), threads_for(g.size))
    return out


# ---------------------------------------------------------------- optimisers: compiled only
def sgd(p: Array, g: Array, b: Array | None, lr: float, momentum: float, decay: float, nesterov: bool) -> None:
    """SGD's rule, in place on contiguous p and b; b None: without momentum. See `training.optimizers.SGD`."""
    arrays = _flat(p), _flat(g), None if b is None else _flat(b)
    compiled("_update", p).sgd(*arrays, lr, momentum, decay, nesterov, threads_for(p.size))


def adam(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    shrink: float,
    decay: float,
    beta1: float,
    beta2: float,
    rate: float,
    eps: float,
) -> None:
    """Adam's rule, in place on contiguous p, m and v: p is first multiplied with `shrink`, g includes decay · p.

    See `training.optimizers.Adam`.
    """
    arrays = _flat(p), _flat(g), _flat(m), _flat(v)
    compiled("_update", p).adam(*arrays, shrink, decay, beta1, beta2, rate, eps, threads_for(p.size))


def _flat(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x).reshape(-1)  # a view of what is contiguous
