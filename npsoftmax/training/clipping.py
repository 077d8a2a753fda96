"""Gradient clipping; the gradients given are left as they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError, as_number
from npsoftmax.kernels import update
from npsoftmax.params import SparseRows, Tree, leaves, tree_map


def clip(grads: Tree, value: float | None, norm: float | None) -> Tree:
    """`clip_by_value`, then `clip_by_norm`, each where a limit is given."""
    if value is not None:
        grads = clip_by_value(grads, value)
    return grads if norm is None else clip_by_norm(grads, norm)[0]


def clip_by_value(grads: Tree, limit: float) -> Tree:
    """Every element of every gradient clipped to [-limit, limit]. Raises InputError unless limit > 0."""
    limit = _positive("limit", limit)
    _check_real(grads)

    def clipped(g: Array | SparseRows) -> Array | SparseRows:
        return g.clipped(limit) if isinstance(g, SparseRows) else update.clip(g, limit)

    return tree_map(clipped, grads)


def clip_by_norm(grads: Tree, max_norm: float) -> tuple[Tree, Any]:
    """Gradients scaled so that their norm is at most `max_norm`; and the norm they had.

    norm = √(Σ g²) over all elements of all leaves; g · min(1, max_norm / (norm + 1e-6)), as PyTorch's
    `clip_grad_norm_`. Gradients that need no scaling come back as they are. A norm that is not finite is for
    the caller to report: the gradients are useless then. On a device norm and factor stay there, the norm as an array
    (), since to look at them would be to wait for it. Raises InputError unless max_norm > 0.
    """
    max_norm = _positive("max_norm", max_norm)
    _check_real(grads)
    squares = sum(_square_sum(g) for _, g in leaves(grads))
    xp = array_module(squares)
    if xp.__name__ == "numpy":
        norm = math.sqrt(squares)
        if norm + 1e-6 <= max_norm:
            return grads, norm
        factor = max_norm / (norm + 1e-6)
    else:
        norm = xp.sqrt(squares)
        factor = xp.minimum(max_norm / (norm + 1e-6), 1.0)
    return tree_map(lambda g: g.scaled(factor) if isinstance(g, SparseRows) else update.scale(g, factor), grads), norm


def _square_sum(g: Array | SparseRows) -> Array | float:
    # Not a dot product: BLAS sums millions of float32 to four digits only, and otherwise with other threads.
    return g.square_sum() if isinstance(g, SparseRows) else update.square_sum(g)


def _check_real(grads: Tree) -> None:
    """InputError unless it is a tree of real numbers: whole ones would be rounded to 0."""
    if not isinstance(grads, dict):
        raise InputError(f"the gradients are {type(grads).__name__}, but a dict was expected, as backward returns it.")
    for name, g in leaves(grads):
        if getattr(g, "dtype", np.dtype(object)).kind != "f":
            given = getattr(g, "dtype", type(g).__name__)
            raise InputError(f"the gradient of {name!r} is of {given}, but an array of real numbers was expected.")


def _positive(name: str, value: float) -> float:
    if not as_number(value) > 0:
        raise InputError(f"{name} of gradient clipping is {value!r}, but a number above 0 was expected.")
    return float(value)
