"""Calls of tree.cu: arrays on a device, all float32 or all float64."""

from __future__ import annotations

import functools
from typing import Any

from npsoftmax.backend import Array, array_module
from npsoftmax.cuda import compiled_for, cuda
from npsoftmax.kernels.dispatch import contiguous
from npsoftmax.kernels.tree import reference
from npsoftmax.kernels.tree.reference import all_scores, best_first  # a product of matrices; a walk of one thread

__all__ = [
    "all_scores",
    "best_first",
    "chosen_dh",
    "chosen_dw",
    "chosen_scores",
    "climb",
    "path_losses",
    "path_slopes",
    "subtract_rows",
    "sum_rows",
    "tree_log_prob",
    "write_rows",
]


# ---------------------------------------------------------------- chosen rows
def chosen_scores(h: Array, w: Array, b: Array | None, rows: Array) -> Array:
    """See `reference.chosen_scores`."""
    if not rows.size:
        return reference.chosen_scores(h, w, b, rows)
    z = array_module(h).empty(rows.shape, dtype=h.dtype)
    arrays = contiguous(h, w, b, rows)
    cuda("tree", h).blocks("chosen_scores", (rows.size,), *arrays, z, rows.shape[1], h.shape[1])
    return z


def chosen_dh(dz: Array, w: Array, rows: Array) -> Array:
    """See `reference.chosen_dh`."""
    dh = array_module(w).empty((len(rows), w.shape[1]), dtype=w.dtype)
    cuda("tree", w).each("chosen_dh", dh.size, *contiguous(dz, w, rows), dh, rows.shape[1], w.shape[1])
    return dh


def chosen_dw(dz: Array, h: Array, rows: Array) -> tuple[Array, Array, Array]:
    """See `reference.chosen_dw`, but K is N·L: how many rows there are would be waited for. See `sum_rows`."""
    xp, d = array_module(h), h.shape[1]
    first, following = _chain(rows.reshape(-1))
    dw, db = xp.empty((rows.size, d), dtype=h.dtype), xp.empty(rows.size, dtype=h.dtype)
    cuda("tree", h).each("chosen_dw", dw.size, *contiguous(dz, h), first, following, dw, db, rows.shape[1], d)
    return first, dw, db


def sum_rows(rows: Array, values: Array) -> tuple[Array, Array]:
    """See `reference.sum_rows`."""
    sums = array_module(values).empty(values.shape, dtype=values.dtype)
    first, following = _chain(rows)
    if values.size:
        width = values.size // len(values)
        cuda("tree", values).each("sum_chains", values.size, first, following, *contiguous(values), sums, width)
    return first, sums


def _chain(rows: Array) -> tuple[Array, Array]:
    """Rows at their first place, -1 at others; and of each place the next one with its row, or -1."""
    xp = array_module(rows)
    first, following = xp.empty(rows.shape, dtype=xp.int64), xp.empty(rows.shape, dtype=xp.int32)
    gpu = compiled_for(xp, "tree", "f")
    gpu.each("chain", rows.size, xp.ascontiguousarray(rows, dtype=xp.int64), first, following)
    return first, following


def subtract_rows(p: Array, rows: Array, values: Array, factor: float | Array) -> None:
    """See `reference.subtract_rows`; a factor that is on the device, a double (), is read there."""
    there = (factor, 0.0) if isinstance(factor, array_module(p).ndarray) else (None, float(factor))
    _each_of("subtract_rows", p, rows, values, *there)


def write_rows(p: Array, rows: Array, values: Array) -> None:
    """See `reference.write_rows`."""
    _each_of("write_rows", p, rows, values)


def _each_of(kernel: str, p: Array, rows: Array, values: Array, *args: Any) -> None:
    if values.size:
        (whole,) = contiguous(p)
        arrays = whole, *contiguous(rows, values)
        cuda("tree", p).each(kernel, values.size, *arrays, *args, values.size // len(values))
        if whole is not p:
            p[...] = whole


# ---------------------------------------------------------------- trees
def climb(up: Array, labels: Array, levels: int, dtype: Any) -> tuple[Array, Array]:
    """Nodes and signs (of `dtype`) from each leaf to the root; see `reference.climb`."""
    xp, shape = array_module(up), (len(labels), levels)
    nodes, signs = xp.empty(shape, dtype=xp.int64), xp.empty(shape, dtype=dtype)
    labels = xp.ascontiguousarray(labels, dtype=xp.int64)
    cuda("tree", signs).each("climb", len(labels), up, labels, nodes, signs, len(up) // 2, levels)
    return nodes, signs


def tree_log_prob(z: Array, children: Array, levels: reference.Levels) -> Array:
    """See `reference.tree_log_prob`."""
    if not z.size:
        return reference.tree_log_prob(z, children, levels)
    gpu, xp, (n, inner) = cuda("tree", z), array_module(z), z.shape
    reach, log_p = xp.empty((n, inner), dtype=z.dtype), xp.empty((n, inner + 1), dtype=z.dtype)
    ends = _ends(xp, tuple(last for _, last in levels), xp.cuda.Device().id)
    gpu.blocks("tree_log_prob", (n,), xp.ascontiguousarray(z), children, ends, reach, log_p, len(levels), inner)
    return log_p


@functools.cache
def _ends(xp: Any, ends: tuple[int, ...], device: int) -> Array:
    """Where the levels of a tree end, on a device: copied there once, and kept, since a graph may read it."""
    return xp.asarray(ends, dtype=xp.int64)


# ---------------------------------------------------------------- the loss of a path
def path_losses(z: Array, signs: Array) -> Array:
    """See `reference.path_losses`."""
    losses = array_module(z).empty(len(z), dtype=z.dtype)
    cuda("tree", z).each("path_losses", len(z), *contiguous(z, signs), losses, z.shape[1])
    return losses


def path_slopes(z: Array, signs: Array) -> Array:
    """See `reference.path_slopes`."""
    dz = array_module(z).empty(z.shape, dtype=z.dtype)
    cuda("tree", z).each("path_slopes", z.size, *contiguous(z, signs), dz)
    return dz
