"""Calls of _tree.pyx: NumPy arrays, all float32 or all float64, weights in row order (they are too large to copy)."""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.host import get_threads
from npsoftmax.kernels.dispatch import flat
from npsoftmax.kernels.extension import load_extension
from npsoftmax.kernels.tree import reference
from npsoftmax.kernels.tree.reference import path_losses, path_slopes, write_rows  # few values: NumPy serves
from npsoftmax.kernels.tree.reference import sum_rows as sum_rows  # for devices; the host sorts (params.py)

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
    "takes",
    "tree_log_prob",
    "write_rows",
]

MODULE = f"{__package__}._tree"


def takes(h: Array, w: Array) -> bool:
    """Whether features and weights lie so that the compiled versions take them; else they go to the reference."""
    return w.flags.c_contiguous and len(h) > 0


def _in_order(b: np.ndarray | None) -> np.ndarray | None:
    return None if b is None else np.ascontiguousarray(b)


# ---------------------------------------------------------------- chosen rows
def chosen_scores(h: np.ndarray, w: np.ndarray, b: np.ndarray | None, rows: np.ndarray) -> Array:
    """See `reference.chosen_scores`."""
    if not takes(h, w):
        return reference.chosen_scores(h, w, b, rows)
    z = np.empty(rows.shape, dtype=h.dtype)
    load_extension(MODULE)[0].chosen_scores(np.ascontiguousarray(h), w, _in_order(b), rows, z, get_threads())
    return z


def chosen_dh(dz: np.ndarray, w: np.ndarray, rows: np.ndarray) -> Array:
    """See `reference.chosen_dh`."""
    if not takes(dz, w):
        return reference.chosen_dh(dz, w, rows)
    dh = np.empty((len(rows), w.shape[1]), dtype=w.dtype)
    load_extension(MODULE)[0].chosen_dh(np.ascontiguousarray(dz), w, rows, dh, get_threads())
    return dh


def chosen_dw(dz: np.ndarray, h: np.ndarray, rows: np.ndarray) -> tuple[Array, Array, Array]:
    """See `reference.chosen_dw`."""
    if not len(dz):
        return reference.chosen_dw(dz, h, rows)
    unique, starts, places = _runs(rows)
    dw, db = np.empty((len(unique), h.shape[1]), dtype=h.dtype), np.empty(len(unique), dtype=h.dtype)
    arrays = flat(dz), np.ascontiguousarray(h), places, starts, dw, db
    load_extension(MODULE)[0].chosen_dw(*arrays, get_threads())
    return unique, dw, db


def _runs(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each row was chosen.

    rows (N, L) -> sorted unique rows (K,), starts (K + 1,), places (M,): row k stands at the flat positions
    places[starts[k]] … places[starts[k + 1] - 1] of `rows`, in rising order. Row and position are packed into one
    number: sorting plain numbers is several times faster than sorting an index.
    """
    chosen = rows.reshape(-1)
    shift = max(chosen.size - 1, 1).bit_length()
    keys = (chosen << shift) | np.arange(chosen.size)
    keys = keys[chosen >= 0]
    keys.sort()
    sorted_rows = keys >> shift
    first = np.ones(len(keys), dtype=bool)
    np.not_equal(sorted_rows[1:], sorted_rows[:-1], out=first[1:])
    starts = np.flatnonzero(first)
    return sorted_rows[starts], np.append(starts, len(keys)), keys & ((1 << shift) - 1)


def subtract_rows(p: np.ndarray, rows: np.ndarray, values: np.ndarray, factor: float) -> None:
    """See `reference.subtract_rows`."""
    if p.ndim != 2 or not takes(values, p):
        reference.subtract_rows(p, rows, values, factor)
    else:
        load_extension(MODULE)[0].subtract_rows(p, rows, np.ascontiguousarray(values), factor, get_threads())


# ---------------------------------------------------------------- trees
def climb(up: np.ndarray, labels: np.ndarray, levels: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """See `reference.climb`."""
    nodes, signs = np.empty((len(labels), levels), dtype=np.int64), np.empty((len(labels), levels), dtype=dtype)
    load_extension(MODULE)[0].climb(np.ascontiguousarray(up, dtype=np.int64), labels, nodes, signs, get_threads())
    return nodes, signs


def all_scores(h: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> Array:
    """See `reference.all_scores`."""
    if not takes(h, w):
        return reference.all_scores(h, w, b)
    z = np.empty((len(h), len(w)), dtype=h.dtype)
    load_extension(MODULE)[0].all_scores(np.ascontiguousarray(h), w, _in_order(b), z, get_threads())
    return z


def tree_log_prob(z: np.ndarray, children: np.ndarray, levels: reference.Levels) -> Array:
    """See `reference.tree_log_prob`."""
    if not takes(z, z):
        return reference.tree_log_prob(z, children, levels)
    out = np.empty((len(z), len(children) + 1), dtype=z.dtype)
    load_extension(MODULE)[0].tree_log_prob(z, np.ascontiguousarray(children, dtype=np.int64), out, get_threads())
    return out


def best_first(h: np.ndarray, w: np.ndarray, b: np.ndarray | None, children: np.ndarray, k: int, limit: int) -> Array:
    """See `reference.best_first`."""
    if not takes(h, w):
        return reference.best_first(h, w, b, children, k, limit)
    labels, places = np.empty((len(h), k), dtype=np.int64), np.ascontiguousarray(children, dtype=np.int64)
    load_extension(MODULE)[0].best_first(np.ascontiguousarray(h), w, _in_order(b), places, limit, labels, get_threads())
    labels[labels[:, 0] < 0] = -1
    return labels
