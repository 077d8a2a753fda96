"""The linear map of heads that read only a few rows of their weights for a sample."""

from __future__ import annotations

from typing import Any

from npsoftmax.backend import Array, array_module
from npsoftmax.functional import rows as maps
from npsoftmax.kernels import matmul
from npsoftmax.kernels import tree as kernels
from npsoftmax.layers.initialisation import initialiser, uniform_fan_in, zeros
from npsoftmax.params import HoldsTrees, SparseRows, Tree
from npsoftmax.random import Rng

# Classes from which on gradients are SparseRows. Below, they are dense, so that momentum and decay reach every row in
# every step; and where there are no compiled kernels to read single rows, as on a device, all rows are multiplied.
SPARSE_FROM = 10_000


def gradient_of_rows(rows: Array, values: Array, classes: int) -> Array | SparseRows:
    """The gradient of `classes` rows, of which only those numbered `rows` (some perhaps twice) have one."""
    found = SparseRows.from_indices(rows, values, classes)
    return found.to_dense() if classes < SPARSE_FROM else found


class RowMap(HoldsTrees):
    """z = w[row] · h + b[row] for chosen rows, or for all. params w (R, D), b (R,)."""

    def __init__(self, features: int, rows: int, *, sparse: bool, rng: Rng, bias: bool = True, init: str = "default"):
        self.features, self.rows, self.sparse = features, rows, sparse
        self.params: Tree = {"w": initialiser(init)((rows, features), features, rng.child("w"))}
        if bias:
            start = uniform_fan_in if init == "default" else zeros
            self.params["b"] = start((rows,), features, rng.child("b"))

    def all(self, h: Array) -> Array:
        """Scores of all rows. h (N, D) -> z (N, R)."""
        if self.sparse:
            return kernels.all_scores(h, self.params["w"], self.params.get("b"))
        z = matmul(h, self.params["w"].T)
        if "b" in self.params:
            z += self.params["b"]
        return z

    def all_backward(self, dz: Array, h: Array) -> tuple[Array, Tree]:
        """dz (N, R), h as given to `all` -> dh (N, D), grads (mirrors params)."""
        rows = array_module(h).arange(self.rows)
        dw, db = (self._gradient(rows, x) for x in (matmul(dz.T, h), dz.sum(axis=0)))
        return matmul(dz, self.params["w"]), {"w": dw, "b": db} if "b" in self.params else {"w": dw}

    def chosen(self, h: Array, rows: Array) -> tuple[Array, Any]:
        """Scores of the rows (N, L) chosen for each sample, -1 for an empty place. h (N, D) -> z (N, L), cache."""
        w, b = self.params["w"], self.params.get("b")
        picked = self.sparse or kernels.has_compiled(h, w)
        z, cache = (maps.sparse_rows_forward if picked else maps.dense_rows_forward)(h, w, b, rows)
        return z, (picked, cache)

    def backward(self, dz: Array, cache: Any) -> tuple[Array, Tree]:
        """dz (N, L), 0 in empty places -> dh (N, D), grads (mirrors params)."""
        picked, cache = cache
        if picked:
            dh, (rows, *found) = maps.sparse_rows_backward(dz, cache)
            dw, db = (self._gradient(rows, x) for x in found)
        else:
            dh, dw, db = maps.dense_rows_backward(dz, cache)
        return dh, {"w": dw, "b": db} if "b" in self.params else {"w": dw}

    def _gradient(self, rows: Array, values: Array) -> Array | SparseRows:
        found = SparseRows(rows, values, self.rows)
        return found if self.sparse else found.to_dense()
