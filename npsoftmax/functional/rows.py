"""A linear map of which each sample needs only some rows: z_nl = Σ_d w_rd · h_nd + b_r, r = rows_nl.

Two ways to the same numbers. `dense` multiplies by all rows and picks: one matrix product, gradients of the shape of w.
`sparse` reads the rows it needs and returns gradients for those alone: with R rows and L of them a sample it costs
O(N·L·D) instead of O(N·R·D), and w may have millions of rows. In `rows`, -1 is an empty place: z is 0 there (dense:
meaningless), and dz has to be 0.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import fit, gradient_like, indices, places, taken
from npsoftmax.backend import Array, array_module
from npsoftmax.kernels import matmul
from npsoftmax.kernels import tree as kernels


def dense_rows_forward(h: Array, w: Array, b: Array | None, rows: Array) -> tuple[Array, Any]:
    """h (N, D), w (R, D), b (R,) or None, rows (N, L) -> z (N, L)."""
    h, w, b = taken("h (N, D), w (R, D), b (R)?", h, w, b)
    rows = _chosen(rows, h, w)
    z = matmul(h, w.T)  # (N, R)
    if b is not None:
        z += b
    return array_module(h).take_along_axis(z, rows, axis=1), (h, w, rows)


def dense_rows_backward(dz: Array, cache: Any) -> tuple[Array, Array, Array]:
    """dz (N, L), no row twice for a sample -> dh (N, D), dw (R, D), db (R,)."""
    h, w, rows = cache
    dz = gradient_like(dz, rows.shape, "dz")
    xp = array_module(h)
    spread = xp.zeros((len(h), len(w) + 1), dtype=h.dtype)  # the last column collects the empty places
    spread[xp.arange(len(h))[:, None], rows] = dz
    spread = spread[:, :-1]
    return matmul(spread, w), matmul(spread.T, h), spread.sum(axis=0)


def sparse_rows_forward(h: Array, w: Array, b: Array | None, rows: Array) -> tuple[Array, Any]:
    """h (N, D), w (R, D), b (R,) or None, rows (N, L) -> z (N, L)."""
    h, w, b = taken("h (N, D), w (R, D), b (R)?", h, w, b)
    rows = indices(rows, "rows")
    return kernels.chosen_scores(h, w, b, rows), (h, w, rows)


def sparse_rows_backward(dz: Array, cache: Any) -> tuple[Array, tuple[Array, Array, Array]]:
    """dz (N, L) -> dh (N, D), (unique rows (K,), their dw (K, D), their db (K,))."""
    h, w, rows = cache
    dz = gradient_like(dz, rows.shape, "dz")
    return kernels.chosen_dh(dz, w, rows), kernels.chosen_dw(dz, h, rows)


def _chosen(rows: Array, h: Array, w: Array) -> Array:
    rows = places(rows, "rows", -1, len(w))
    fit("h (N, D), rows (N, L)", h.shape, rows.shape)
    return rows
