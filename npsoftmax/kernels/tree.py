"""Chosen rows and tree walks: the array's type decides which version runs, as in the other kernels.

What each function does stands in `tree_reference`; here is only who does it. The compiled versions take NumPy arrays,
all float32 or all float64, with weights in row order (they are too large to copy).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array, get_threads
from npsoftmax.kernels import device_tree as device
from npsoftmax.kernels import tree_reference as reference
from npsoftmax.kernels.dispatch import compiled
from npsoftmax.kernels.extension import load_extension


def _extension() -> Any:
    return load_extension("npsoftmax._tree")[0]


def has_compiled(h: Array, w: Array) -> bool:
    """Whether features and weights like these would run on the compiled kernels."""
    return _compiled(h, w) is not None


def _compiled(h: Array, w: Array) -> Any:
    fast = compiled("_tree", h, w)
    return fast if fast is not None and w.flags.c_contiguous and len(h) else None


# ---------------------------------------------------------------- chosen rows
def chosen_scores(h: Array, w: Array, b: Array | None, rows: Array) -> Array:
    """Scores of the rows chosen for each sample; see `tree_reference.chosen_scores`."""
    fast = _compiled(h, w)
    if fast is None:
        return device.chosen_scores(h, w, b, rows)
    z = np.empty(rows.shape, dtype=h.dtype)
    fast.chosen_scores(np.ascontiguousarray(h), w, b, rows, z, get_threads())
    return z


def chosen_dh(dz: Array, w: Array, rows: Array) -> Array:
    """Gradient of the features; see `tree_reference.chosen_dh`."""
    fast = _compiled(dz, w)
    if fast is None:
        return device.chosen_dh(dz, w, rows)
    dh = np.empty((len(rows), w.shape[1]), dtype=w.dtype)
    fast.chosen_dh(np.ascontiguousarray(dz), w, rows, dh, get_threads())
    return dh


def chosen_dw(dz: Array, h: Array, rows: Array) -> tuple[Array, Array, Array]:
    """Rows that were chosen and their gradients; see `tree_reference.chosen_dw`."""
    fast = _compiled(dz, np.ascontiguousarray(h)) if isinstance(h, np.ndarray) else None
    if fast is None:
        return device.chosen_dw(dz, h, rows)
    unique, starts, places = _runs(rows)
    dw, db = np.empty((len(unique), h.shape[1]), dtype=h.dtype), np.empty(len(unique), dtype=h.dtype)
    fast.chosen_dw(np.ascontiguousarray(dz).reshape(-1), np.ascontiguousarray(h), places, starts, dw, db, get_threads())
    return unique, dw, db


def _runs(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each row was chosen.

    rows (N, L) -> sorted unique rows (K,), starts (K + 1,), places (M,): row k stands at the flat positions
    places[starts[k]] … places[starts[k + 1] − 1] of `rows`, in rising order. Row and position are packed into one
    number: sorting plain numbers is several times faster than sorting an index.
    """
    flat = rows.reshape(-1)
    shift = max(flat.size - 1, 1).bit_length()
    keys = (flat << shift) | np.arange(flat.size)
    keys = keys[flat >= 0]
    keys.sort()
    sorted_rows = keys >> shift
    first = np.ones(len(keys), dtype=bool)
    np.not_equal(sorted_rows[1:], sorted_rows[:-1], out=first[1:])
    starts = np.flatnonzero(first)
    return sorted_rows[starts], np.append(starts, len(keys)), keys & ((1 << shift) - 1)


def subtract_rows(p: Array, rows: Array, values: Array, factor: float) -> None:
    """p[rows] -= factor · values, in place; see `tree_reference.subtract_rows`."""
    fast = _compiled(values, p) if p.ndim == 2 else None
    if fast is None:
        device.subtract_rows(p, rows, values, factor)
    else:
        fast.subtract_rows(p, rows, np.ascontiguousarray(values), factor, get_threads())


# ---------------------------------------------------------------- trees
def climb(up: Array, labels: Array, levels: int, dtype: Any) -> tuple[Array, Array]:
    """Nodes and signs (of `dtype`) from each leaf to the root; see `tree_reference.climb`."""
    fast = _extension() if isinstance(up, np.ndarray) and dtype in (np.float32, np.float64) else None
    if fast is None:
        return device.climb(up, labels, levels, dtype)
    nodes, signs = np.empty((len(labels), levels), dtype=np.int64), np.empty((len(labels), levels), dtype=dtype)
    fast.climb(up, np.ascontiguousarray(labels, dtype=np.int64), nodes, signs, get_threads())
    return nodes, signs


def path_losses(z: Array, signs: Array) -> Array:
    """The loss of each path; see `tree_reference.path_losses`."""
    return device.path_losses(z, signs)


def path_slopes(z: Array, signs: Array) -> Array:
    """Its derivative by the scores; see `tree_reference.path_slopes`."""
    return device.path_slopes(z, signs)


def all_scores(h: Array, w: Array, b: Array | None) -> Array:
    """Scores of all rows, summed as `best_first` sums them; see `tree_reference.all_scores`."""
    fast = _compiled(h, w)
    if fast is None:
        return reference.all_scores(h, w, b)
    z = np.empty((len(h), len(w)), dtype=h.dtype)
    fast.all_scores(np.ascontiguousarray(h), w, b, z, get_threads())
    return z


def tree_log_prob(z: Array, children: Array, levels: reference.Levels) -> Array:
    """log p of every class, added up as `best_first` does it; see `tree_reference.tree_log_prob`."""
    fast = _compiled(z, z) if z.flags.c_contiguous else None
    if fast is None:
        return device.tree_log_prob(z, children, levels)
    out = np.empty((len(z), len(children) + 1), dtype=z.dtype)
    fast.tree_log_prob(z, children, out, get_threads())
    return out


def best_first(h: Array, w: Array, b: Array | None, children: Array, k: int, limit: int) -> Array:
    """The k most probable classes; rows of −1 were given up after `limit` nodes; see `tree_reference.best_first`."""
    fast = _compiled(h, w)
    if fast is None:
        return reference.best_first(h, w, b, children, k, limit)
    labels = np.empty((len(h), k), dtype=np.int64)
    fast.best_first(np.ascontiguousarray(h), w, b, children, limit, labels, get_threads())
    labels[labels[:, 0] < 0] = -1
    return labels
