"""Calls of tree.cu: arrays on a device, all float32 or all float64."""

from __future__ import annotations

import functools
from typing import Any

from npsoftmax.backend import Array, array_module
from npsoftmax.cuda import cuda
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
    "tree_log_prob",
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
    """See `reference.chosen_dw`. Waits for the device once: the number of rows is the shape of what it returns."""
    xp, flat = array_module(h), rows.reshape(-1)
    at = xp.argsort(flat, kind="stable")
    sorted_rows = flat[at]
    new = sorted_rows >= 0
    new[1:] &= sorted_rows[1:] != sorted_rows[:-1]
    starts = xp.flatnonzero(new)
    unique = sorted_rows[starts]
    ends = xp.append(starts, xp.asarray([flat.size]))
    dw, db = xp.empty((len(unique), h.shape[1]), dtype=h.dtype), xp.empty(len(unique), dtype=h.dtype)
    arrays = *contiguous(dz, h), at, ends, dw, db
    cuda("tree", h).each("chosen_dw", dw.size, *arrays, rows.shape[1], h.shape[1])
    return unique, dw, db


def subtract_rows(p: Array, rows: Array, values: Array, factor: float) -> None:
    """See `reference.subtract_rows`."""
    if not p.flags.c_contiguous:
        reference.subtract_rows(p, rows, values, factor)
    elif values.size:
        arrays = p, *contiguous(rows, values)
        cuda("tree", p).each("subtract_rows", values.size, *arrays, float(factor), values.size // len(values))


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


@functools.lru_cache(maxsize=16)
def _ends(xp: Any, ends: tuple[int, ...], device: int) -> Array:
    """Where the levels of a tree end, on a device: copied there once."""
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
