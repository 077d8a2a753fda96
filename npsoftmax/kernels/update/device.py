"""Calls of update.cu: arrays on a device, all float32 or all float64."""

from __future__ import annotations

from typing import Any

from npsoftmax.backend import Array, array_module
from npsoftmax.cuda import BLOCK, cuda
from npsoftmax.kernels.dispatch import contiguous
from npsoftmax.kernels.update import reference

SUMS = 512  # blocks that share out a sum, at most


# ---------------------------------------------------------------- clipping
def square_sum(g: Array) -> Array | float:
    """See `reference.square_sum`; the sum stays on the device."""
    if not g.size:
        return reference.square_sum(g)
    gpu, xp = cuda("update", g), array_module(g)
    blocks = min(SUMS, -(-g.size // BLOCK))
    sums, total = xp.empty(blocks, dtype=xp.float64), xp.empty((), dtype=xp.float64)
    gpu.blocks("square_sum", (blocks,), *contiguous(g), sums, g.size)
    gpu.blocks("add_sums", (1,), sums, total, blocks)
    return total


def scale(g: Array, factor: float | Array) -> Array:
    """See `reference.scale`; a factor that is on the device, a double (), is read there."""
    if isinstance(factor, float):
        return reference.scale(g, factor)
    out = array_module(g).empty(g.shape, dtype=g.dtype)
    cuda("update", g).each("scale", g.size, *contiguous(g), factor, out)
    return out


def clip(g: Array, limit: float) -> Array:
    """See `reference.clip`."""
    out = array_module(g).empty(g.shape, dtype=g.dtype)
    cuda("update", g).each("clip", g.size, *contiguous(g), float(limit), out)
    return out


# ---------------------------------------------------------------- optimisers
def sgd(p: Array, g: Array, b: Array | None, rates: Any, decay: float, nesterov: bool) -> None:
    """The rule of `training.optimizers.SGD`."""
    cuda("update", p).each("sgd", p.size, p, *contiguous(g), b, *_rates(rates, 2), float(decay), nesterov)


def adam(p: Array, g: Array, m: Array, v: Array, rates: Any, beta2: float, decay: float, shrinks: bool) -> None:
    """The rule of `training.optimizers.Adam`."""
    factors = *_rates(rates, 5), float(beta2), float(1 - beta2), float(decay), shrinks
    cuda("update", p).each("adam", p.size, p, *contiguous(g), m, v, *factors)


def _rates(rates: Any, count: int) -> tuple[Any, ...]:
    """No place and so many numbers, or the place where they lie and what is not looked at."""
    return (None, *map(float, rates)) if isinstance(rates, tuple) else (rates, *[0.0] * count)
