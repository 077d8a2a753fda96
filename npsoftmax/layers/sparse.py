"""The gradient of a parameter in which only a few rows are not zero.

Design: a head for very many classes touches some twenty rows a sample; a dense gradient of a million rows
would cost more than the head itself. Rows are sorted and unique, so that clipping by norm or value is exact
and an optimiser may read, update and write back the rows without losing one.
"""

from __future__ import annotations

from dataclasses import dataclass

from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError
from npsoftmax.kernels import update
from npsoftmax.layers.base import Shape


@dataclass(frozen=True, eq=False)
class SparseRows:
    """Row `rows[i]` of an (n_rows, …) array is `values[i]`, every other row is 0.

    rows: (K,) int64, sorted, unique, in 0 … n_rows-1; values: (K, …). Raises InputError for anything else:
    with rows that repeat or are out of order, optimisers and clipping would be wrong without a word. (On a device only
    shapes and types are looked at.)
    """

    rows: Array
    values: Array
    n_rows: int

    def __post_init__(self) -> None:
        rows, values = self.rows, self.values
        if rows.ndim != 1 or rows.dtype != "int64" or values.ndim < 1 or len(values) != len(rows):
            raise InputError(
                f"SparseRows: rows is {rows.dtype} of shape {rows.shape}, values has shape {values.shape}; "
                "expected rows int64 of shape (K,), and values of shape (K, …)."
            )
        if array_module(rows).__name__ != "numpy":
            return  # to look at them would be to wait for the device
        if not (rows[1:] > rows[:-1]).all():
            raise InputError(
                "SparseRows: rows repeat or are out of order; type SparseRows.from_indices(indices, values, "
                "n_rows) to sort them and sum those that repeat."
            )
        if len(rows) and not (rows[0] >= 0 and rows[-1] < self.n_rows):
            raise InputError(
                f"SparseRows: rows run from {rows[0]} to {rows[-1]}, but there are {self.n_rows} rows "
                f"(0 to {self.n_rows - 1})."
            )

    @classmethod
    def from_indices(cls, indices: Array, values: Array, n_rows: int) -> SparseRows:
        """Σ over i of `values[i]` into row `indices[i]`.

        indices: (M,) of any integer type, in any order, repeats allowed; values: (M, …). A row is summed in
        pairs, in the order of `indices`: the same bits in every run. Raises InputError for other shapes and
        for an index outside 0 … n_rows-1.
        """
        fits = indices.ndim == 1 and values.ndim >= 1 and len(values) == len(indices)
        if not fits or indices.dtype.kind not in "iu":
            raise InputError(
                f"SparseRows.from_indices: indices is {indices.dtype} of shape {indices.shape}, values has "
                f"shape {values.shape}; expected whole numbers of shape (M,), and values of shape (M, …)."
            )
        xp = array_module(values)
        order = xp.argsort(indices, kind="stable")
        rows, sums = _sum_runs(indices[order].astype(xp.int64), values[order])
        return cls(rows, sums, n_rows)

    @property
    def shape(self) -> Shape:
        """Shape of the array it stands for."""
        return (self.n_rows, *self.values.shape[1:])

    @property
    def dtype(self) -> object:
        return self.values.dtype

    def to_dense(self) -> Array:
        """The (n_rows, …) array it stands for; for checks, since it costs what SparseRows saves."""
        dense = array_module(self.values).zeros(self.shape, self.values.dtype)
        dense[self.rows] = self.values
        return dense

    def scaled(self, factor: float | Array) -> SparseRows:
        """factor · self; the factor of rows on a device may be a double () that is there too."""
        return SparseRows(self.rows, update.scale(self.values, factor), self.n_rows)

    def clipped(self, limit: float) -> SparseRows:
        """Every element clipped to [-limit, limit]; absent rows stay 0."""
        values = array_module(self.values).clip(self.values, -float(limit), float(limit))
        return SparseRows(self.rows, values, self.n_rows)

    def square_sum(self) -> Array:
        """Σ x² over all elements, a scalar: absent rows add nothing."""
        return array_module(self.values).square(self.values).sum()


def _sum_runs(indices: Array, values: Array) -> tuple[Array, Array]:
    """Sorted indices, and values that may be overwritten -> each index once, the sum of its values.

    All runs at once, each summed like a knock-out tournament; `add.reduceat` along axis 0 is much slower:
        a  b  c  d  e   ->   a+b  .  c+d  .  e   ->   a+b+c+d  .  .  .  e   ->   a+b+c+d+e  .  .  .  .
    """
    xp = array_module(indices)
    n = len(indices)
    if n == 0:
        return indices, values
    starts = xp.flatnonzero(xp.concatenate([xp.ones(1, dtype=bool), indices[1:] != indices[:-1]]))
    ends = xp.concatenate([starts[1:], xp.full(1, n)])
    run = xp.searchsorted(starts, xp.arange(n), side="right") - 1  # (M,)
    place, left = xp.arange(n) - starts[run], ends[run] - xp.arange(n)
    longest, gap = int((ends - starts).max()), 1
    while gap < longest:
        winners = xp.flatnonzero((place % (2 * gap) == 0) & (left > gap))
        values[winners] += values[winners + gap]
        gap *= 2
    return indices[starts], values[starts]
