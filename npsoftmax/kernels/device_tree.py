"""Chosen rows and tree walks on a device; where there is no kernel for the arrays, the reference runs."""

from __future__ import annotations

from typing import Any

from npsoftmax.backend import Array, array_module
from npsoftmax.cuda import compiled_for, cuda
from npsoftmax.kernels import tree_reference as reference


def _given(*arrays: Array | None) -> list[Array]:
    return [a for a in arrays if a is not None]


# ---------------------------------------------------------------- chosen rows
def chosen_scores(h: Array, w: Array, b: Array | None, rows: Array) -> Array:
    """See `tree_reference.chosen_scores`."""
    gpu = cuda("tree", *_given(h, w, b))
    if gpu is None or not rows.size:
        return reference.chosen_scores(h, w, b, rows)
    xp = array_module(h)
    z = xp.empty(rows.shape, dtype=h.dtype)
    arrays = xp.ascontiguousarray(h), xp.ascontiguousarray(w), b, xp.ascontiguousarray(rows)
    gpu.blocks("chosen_scores", (rows.size,), *arrays, z, rows.shape[1], h.shape[1])
    return z


def chosen_dh(dz: Array, w: Array, rows: Array) -> Array:
    """See `tree_reference.chosen_dh`."""
    gpu = cuda("tree", dz, w)
    if gpu is None:
        return reference.chosen_dh(dz, w, rows)
    xp = array_module(w)
    dh = xp.empty((len(rows), w.shape[1]), dtype=w.dtype)
    arrays = (xp.ascontiguousarray(a) for a in (dz, w, rows))
    gpu.each("chosen_dh", dh.size, *arrays, dh, rows.shape[1], w.shape[1])
    return dh


def chosen_dw(dz: Array, h: Array, rows: Array) -> tuple[Array, Array, Array]:
    """See `tree_reference.chosen_dw`. Waits for the device once: the number of rows is the shape of what it returns."""
    gpu = cuda("tree", dz, h)
    if gpu is None:
        return reference.chosen_dw(dz, h, rows)
    xp, flat = array_module(h), rows.reshape(-1)
    at = xp.argsort(flat, kind="stable")
    sorted_rows = flat[at]
    new = sorted_rows >= 0
    new[1:] &= sorted_rows[1:] != sorted_rows[:-1]
    starts = xp.flatnonzero(new)
    unique = sorted_rows[starts]
    ends = xp.append(starts, xp.asarray([flat.size]))
    dw, db = xp.empty((len(unique), h.shape[1]), dtype=h.dtype), xp.empty(len(unique), dtype=h.dtype)
    arrays = xp.ascontiguousarray(dz), xp.ascontiguousarray(h), at, ends, dw, db
    gpu.each("chosen_dw", dw.size, *arrays, rows.shape[1], h.shape[1])
    return unique, dw, db


def subtract_rows(p: Array, rows: Array, values: Array, factor: float) -> None:
    """See `tree_reference.subtract_rows`."""
    gpu = cuda("tree", p, values) if p.flags.c_contiguous else None
    if gpu is None:
        reference.subtract_rows(p, rows, values, factor)
    elif values.size:
        xp = array_module(p)
        arrays = p, xp.ascontiguousarray(rows), xp.ascontiguousarray(values)
        gpu.each("subtract_rows", values.size, *arrays, float(factor), values.size // len(values))


# ---------------------------------------------------------------- trees
def climb(up: Array, labels: Array, levels: int, dtype: Any) -> tuple[Array, Array]:
    """Nodes and signs (of `dtype`) from each leaf to the root; see `tree_reference.climb`."""
    xp = array_module(up)
    if not hasattr(xp, "RawModule"):
        nodes, signs = reference.climb(up, labels, levels)
        return nodes, signs.astype(dtype)
    shape = len(labels), levels
    nodes, signs = xp.empty(shape, dtype=xp.int64), xp.empty(shape, dtype=dtype)
    gpu = compiled_for(xp, "tree", signs.dtype.char)
    labels = xp.ascontiguousarray(labels, dtype=xp.int64)
    gpu.each("climb", len(labels), up, labels, nodes, signs, len(up) // 2, levels)
    return nodes, signs


def tree_log_prob(z: Array, children: Array, levels: reference.Levels) -> Array:
    """See `tree_reference.tree_log_prob`."""
    gpu = cuda("tree", z)
    if gpu is None or not z.size:
        return reference.tree_log_prob(z, children, levels)
    xp, (n, inner) = array_module(z), z.shape
    reach, log_p = xp.empty((n, inner), dtype=z.dtype), xp.empty((n, inner + 1), dtype=z.dtype)
    ends = xp.asarray([last for _, last in levels], dtype=xp.int64)
    gpu.blocks("tree_log_prob", (n,), xp.ascontiguousarray(z), children, ends, reach, log_p, len(levels), inner)
    return log_p


# ---------------------------------------------------------------- the loss of a path
def path_losses(z: Array, signs: Array) -> Array:
    """See `tree_reference.path_losses`."""
    gpu = cuda("tree", z, signs)
    if gpu is None:
        return reference.path_losses(z, signs)
    xp = array_module(z)
    losses = xp.empty(len(z), dtype=z.dtype)
    gpu.each("path_losses", len(z), xp.ascontiguousarray(z), xp.ascontiguousarray(signs), losses, z.shape[1])
    return losses


def path_slopes(z: Array, signs: Array) -> Array:
    """See `tree_reference.path_slopes`."""
    gpu = cuda("tree", z, signs)
    if gpu is None:
        return reference.path_slopes(z, signs)
    xp = array_module(z)
    dz = xp.empty(z.shape, dtype=z.dtype)
    gpu.each("path_slopes", z.size, xp.ascontiguousarray(z), xp.ascontiguousarray(signs), dz)
    return dz
