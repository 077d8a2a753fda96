"""What happens to gradients and parameters after backward, in one pass each: clipping, SGD, Adam.

The array's type decides which version runs, as in the other kernels. The rules of the optimisers in readable NumPy
stand in training/optimizers.py; where `takes` says no, they run.
"""

from __future__ import annotations

import numpy as np

from npsoftmax.backend import Array, array_module
from npsoftmax.cuda import BLOCK, cuda
from npsoftmax.kernels.dispatch import compiled, threads_for

__all__ = ["adam", "clip", "scale", "sgd", "square_sum", "takes"]

SUMS = 512  # blocks that share out a sum on a device, at most


def takes(*arrays: Array) -> bool:
    """Whether the compiled rules, or the device's, take a parameter with its gradient and state, all of one type."""
    return compiled("_update", *arrays) is not None or cuda("update", *arrays) is not None


# ---------------------------------------------------------------- clipping
def square_sum(g: Array) -> float:
    """Σ g² of all values, squared and added up in double precision; () on the device that g is on, or a float."""
    fast = compiled("_update", g)
    if (gpu := cuda("update", g)) and g.size:
        xp = array_module(g)
        blocks = min(SUMS, -(-g.size // BLOCK))
        sums, total = xp.empty(blocks, dtype=xp.float64), xp.empty((), dtype=xp.float64)
        gpu.blocks("square_sum", (blocks,), xp.ascontiguousarray(g), sums, g.size)
        gpu.blocks("add_sums", (1,), sums, total, blocks)
        return total
    if fast is None:
        return array_module(g).square(g, dtype=np.float64).sum()
    flat = _flat(g)
    sums = np.empty(fast.count_chunks(flat.size))
    fast.square_sum(flat, sums, threads_for(flat.size))
    return float(sums.sum())


def scale(g: Array, factor: float | Array) -> Array:
    """g · factor, any shape; the factor of an array on a device may be a double () that is there too."""
    fast = compiled("_update", g)
    if fast is None:
        xp = array_module(g)
        if isinstance(factor, float) or (gpu := cuda("update", g)) is None:
            return (g * factor).astype(g.dtype, copy=False)
        out = xp.empty(g.shape, dtype=g.dtype)
        gpu.each("scale", g.size, xp.ascontiguousarray(g), factor, out)
        return out
    out = np.empty(g.shape, dtype=g.dtype)
    fast.scale(_flat(g), factor, out.reshape(-1), threads_for(g.size))
    return out


def clip(g: Array, limit: float) -> Array:
    """Every value of g clipped to [−limit, limit]; NaN stays. Any shape."""
    fast = compiled("_update", g)
    if fast is None:
        return _clip(g, limit)
    out = np.empty(g.shape, dtype=g.dtype)
    fast.clip(_flat(g), limit, out.reshape(-1), threads_for(g.size))
    return out


def _clip(g: Array, limit: float) -> Array:
    xp, gpu = array_module(g), cuda("update", g)
    if gpu is None:
        return xp.clip(g, -limit, limit)
    out = xp.empty(g.shape, dtype=g.dtype)
    gpu.each("clip", g.size, xp.ascontiguousarray(g), float(limit), out)
    return out


# ---------------------------------------------------------------- optimisers: compiled and on a device only
def sgd(p: Array, g: Array, b: Array | None, lr: float, momentum: float, decay: float, nesterov: bool) -> None:
    """SGD's rule, in place on contiguous p and b; b None: without momentum. See `training.optimizers.SGD`."""
    if gpu := cuda("update", p):
        g = array_module(g).ascontiguousarray(g)
        gpu.each("sgd", p.size, p, g, b, float(lr), float(momentum), float(decay), nesterov)
        return
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
    if gpu := cuda("update", p):
        g = array_module(g).ascontiguousarray(g)
        factors = map(float, (shrink, decay, beta1, 1 - beta1, beta2, 1 - beta2, rate, eps))
        gpu.each("adam", p.size, p, g, m, v, *factors)
        return
    arrays = _flat(p), _flat(g), _flat(m), _flat(v)
    compiled("_update", p).adam(*arrays, shrink, decay, beta1, beta2, rate, eps, threads_for(p.size))


def _flat(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x).reshape(-1)  # a view of what is contiguous
