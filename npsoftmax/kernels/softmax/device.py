"""Calls of softmax.cu: arrays on a device, all float32 or all float64. `threads` are the host's: ignored here."""

from __future__ import annotations

from npsoftmax.backend import Array, array_module
from npsoftmax.cuda import cuda
from npsoftmax.kernels.dispatch import contiguous
from npsoftmax.kernels.softmax import reference


def exp_rows(z: Array, temperature: float, out: Array | None, threads: int | None) -> tuple[Array, Array, Array, Array]:
    """See `reference.exp_rows`."""
    if not z.size or not (out is None or out.flags.c_contiguous):
        return reference.exp_rows(z, temperature, out)
    xp, (n, c) = array_module(z), z.shape
    e = xp.empty(z.shape, dtype=z.dtype) if out is None else out
    top, total, exponents = (xp.empty(n, dtype=z.dtype) for _ in range(3))
    gpu = cuda("softmax", z)
    gpu.blocks("exp_rows", (n,), *contiguous(z), e, top, total, exponents, float(temperature), c)
    return e, top, total, exponents


def sparse_rows(z: Array, power: int) -> Array:
    """See `reference.sparse_rows`."""
    p = array_module(z).empty(z.shape, dtype=z.dtype)
    if z.size:
        cuda("softmax", z).blocks("sparse_rows", (len(z),), *contiguous(z), p, power, z.shape[1])
    return p


def scaled_less_onehot(
    e: Array, t: Array, factor: Array, height: Array, low: Array | None, threads: int | None
) -> Array:
    """See `reference.scaled_less_onehot`."""
    xp = array_module(e)
    dz = xp.empty(e.shape, dtype=e.dtype)
    columns = xp.ascontiguousarray(t, dtype=xp.int64)
    e, factor, height, taken_off = contiguous(e, factor, height, factor if low is None else low)
    gpu = cuda("softmax", e)
    gpu.each("scaled_less_onehot", e.size, e, columns, factor, height, taken_off, dz, int(low is not None), e.shape[1])
    return dz
