"""Chosen rows of a weight matrix and walks through a binary tree; the array decides which version runs.

What each function does stands in `reference`.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import fit, places, refuse, whole
from npsoftmax.backend import Array, array_module
from npsoftmax.kernels.dispatch import chooser
from npsoftmax.kernels.tree import compiled, device, reference
from npsoftmax.kernels.tree.reference import Levels

__all__ = [
    "all_scores",
    "best_first",
    "chosen_dh",
    "chosen_dw",
    "chosen_scores",
    "climb",
    "has_compiled",
    "path_losses",
    "path_slopes",
    "subtract_rows",
    "sum_rows",
    "tree_log_prob",
    "write_rows",
]

version_for = chooser(compiled.MODULE, compiled, reference, device)


def has_compiled(h: Array, w: Array) -> bool:
    """Whether features and weights like these would run on the compiled kernels."""
    return version_for(h, w) is compiled and compiled.takes(h, w)


# ---------------------------------------------------------------- chosen rows
def chosen_scores(h: Array, w: Array, b: Array | None, rows: Array) -> Array:
    """Scores of the rows chosen for each sample; see `reference.chosen_scores`."""
    fit("h (N, D), w (R, D), b (R)?, rows (N, L)", h.shape, w.shape, None if b is None else b.shape, rows.shape)
    rows = places(rows, "rows", -1, len(w))
    return version_for(h, w, b).chosen_scores(h, w, b, rows)


def chosen_dh(dz: Array, w: Array, rows: Array) -> Array:
    """Gradient of the features; see `reference.chosen_dh`."""
    fit("w (R, D), rows (N, L), dz (N, L)", w.shape, rows.shape, dz.shape)
    rows = places(rows, "rows", -1, len(w))
    return version_for(dz, w).chosen_dh(dz, w, rows)


def chosen_dw(dz: Array, h: Array, rows: Array) -> tuple[Array, Array, Array]:
    """Rows that were chosen and their gradients; see `reference.chosen_dw`."""
    fit("h (N, D), rows (N, L), dz (N, L)", h.shape, rows.shape, dz.shape)
    return version_for(dz, h).chosen_dw(dz, h, rows)


def subtract_rows(p: Array, rows: Array, values: Array, factor: float | Array) -> None:
    """p[rows] -= factor · values, in place; see `reference.subtract_rows`."""
    version_for(p, values).subtract_rows(p, _rows_of(p, rows, values), values, factor)


def write_rows(p: Array, rows: Array, values: Array) -> None:
    """p[rows] = values, in place; see `reference.write_rows`. On a device a row of -1 is none."""
    version_for(p, values).write_rows(p, _rows_of(p, rows, values), values)


def _rows_of(p: Array, rows: Array, values: Array) -> Array:
    fit("rows (K)", rows.shape)
    if values.shape != (len(rows), *p.shape[1:]):
        raise refuse(
            f"values have shape {values.shape}, but {(len(rows), *p.shape[1:])} was expected, one of each row."
        )
    return places(rows, "rows", 0, len(p))


def sum_rows(rows: Array, values: Array) -> tuple[Array, Array]:
    """The sum of the values of each row, at its first place; see `reference.sum_rows`."""
    fit("rows (M)", rows.shape)
    return version_for(values).sum_rows(rows, values)


# ---------------------------------------------------------------- trees
def climb(up: Array, labels: Array, levels: int, dtype: Any) -> tuple[Array, Array]:
    """Nodes and signs (of `dtype`, which decides who runs) from each leaf to the root; see `reference.climb`."""
    fit("up (P), labels (N)", up.shape, labels.shape)
    labels = places(labels, "labels", 0, len(up) // 2 + 1)
    version = version_for(array_module(up).empty(0, dtype=dtype))
    if version is reference:
        nodes, signs = reference.climb(up, labels, levels)
        return nodes, signs.astype(dtype)
    return version.climb(up, labels, levels, dtype)


def path_losses(z: Array, signs: Array) -> Array:
    """The loss of each path; see `reference.path_losses`."""
    fit("z (N, L), signs (N, L)", z.shape, signs.shape)
    return version_for(z, signs).path_losses(z, signs)


def path_slopes(z: Array, signs: Array) -> Array:
    """Its derivative by the scores; see `reference.path_slopes`."""
    fit("z (N, L), signs (N, L)", z.shape, signs.shape)
    return version_for(z, signs).path_slopes(z, signs)


def all_scores(h: Array, w: Array, b: Array | None) -> Array:
    """Scores of all rows, summed as `best_first` sums them; see `reference.all_scores`."""
    fit("h (N, D), w (R, D), b (R)?", h.shape, w.shape, None if b is None else b.shape)
    return version_for(h, w, b).all_scores(h, w, b)


def tree_log_prob(z: Array, children: Array, levels: Levels) -> Array:
    """log p of every class, added up as `best_first` does it; see `reference.tree_log_prob`."""
    fit("z (N, I), children (I, 2)", z.shape, children.shape)
    return version_for(z).tree_log_prob(z, children, levels)


def best_first(h: Array, w: Array, b: Array | None, children: Array, k: int, limit: int) -> Array:
    """The k most probable classes; rows of -1 were given up after `limit` nodes; see `reference.best_first`."""
    fit("h (N, D), w (I, D), b (I)?, children (I, 2)", h.shape, w.shape, None if b is None else b.shape, children.shape)
    whole("k", k, 1)
    return version_for(h, w, b).best_first(h, w, b, children, k, limit)
