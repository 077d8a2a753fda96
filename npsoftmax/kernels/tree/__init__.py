"""Chosen rows of a weight matrix and walks through a binary tree; the array decides which version runs.

What each function does stands in `reference`.
"""

from __future__ import annotations

from typing import Any

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
    "tree_log_prob",
]

version_for = chooser(compiled.MODULE, compiled, reference, device)


def has_compiled(h: Array, w: Array) -> bool:
    """Whether features and weights like these would run on the compiled kernels."""
    return version_for(h, w) is compiled and compiled.takes(h, w)


# ---------------------------------------------------------------- chosen rows
def chosen_scores(h: Array, w: Array, b: Array | None, rows: Array) -> Array:
    """Scores of the rows chosen for each sample; see `reference.chosen_scores`."""
    return version_for(h, w, b).chosen_scores(h, w, b, rows)


def chosen_dh(dz: Array, w: Array, rows: Array) -> Array:
    """Gradient of the features; see `reference.chosen_dh`."""
    return version_for(dz, w).chosen_dh(dz, w, rows)


def chosen_dw(dz: Array, h: Array, rows: Array) -> tuple[Array, Array, Array]:
    """Rows that were chosen and their gradients; see `reference.chosen_dw`."""
    return version_for(dz, h).chosen_dw(dz, h, rows)


def subtract_rows(p: Array, rows: Array, values: Array, factor: float) -> None:
    """p[rows] -= factor · values, in place; see `reference.subtract_rows`."""
    version_for(p, values).subtract_rows(p, rows, values, factor)


# ---------------------------------------------------------------- trees
def climb(up: Array, labels: Array, levels: int, dtype: Any) -> tuple[Array, Array]:
    """Nodes and signs (of `dtype`, which decides who runs) from each leaf to the root; see `reference.climb`."""
    version = version_for(array_module(up).empty(0, dtype=dtype))
    if version is reference:
        nodes, signs = reference.climb(up, labels, levels)
        return nodes, signs.astype(dtype)
    return version.climb(up, labels, levels, dtype)


def path_losses(z: Array, signs: Array) -> Array:
    """The loss of each path; see `reference.path_losses`."""
    return version_for(z, signs).path_losses(z, signs)


def path_slopes(z: Array, signs: Array) -> Array:
    """Its derivative by the scores; see `reference.path_slopes`."""
    return version_for(z, signs).path_slopes(z, signs)


def all_scores(h: Array, w: Array, b: Array | None) -> Array:
    """Scores of all rows, summed as `best_first` sums them; see `reference.all_scores`."""
    return version_for(h, w, b).all_scores(h, w, b)


def tree_log_prob(z: Array, children: Array, levels: Levels) -> Array:
    """log p of every class, added up as `best_first` does it; see `reference.tree_log_prob`."""
    return version_for(z).tree_log_prob(z, children, levels)


def best_first(h: Array, w: Array, b: Array | None, children: Array, k: int, limit: int) -> Array:
    """The k most probable classes; rows of -1 were given up after `limit` nodes; see `reference.best_first`."""
    return version_for(h, w, b).best_first(h, w, b, children, k, limit)
