"""Trees of parameters, gradients and buffers: nested dicts of arrays by name, and gradients of a few rows only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np

from npsoftmax.backend import Array, array_module, to_numpy
from npsoftmax.cuda import on_device
from npsoftmax.errors import InputError
from npsoftmax.kernels import tree as row_kernels
from npsoftmax.kernels import update

Tree = dict[str, Any]  # name -> array (in a tree of gradients also SparseRows), or a nested Tree


# ---------------------------------------------------------------- trees
def leaves(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Array]]:
    """(dotted name, array) of every leaf, in order."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def tree_map(function: Callable[..., Any], *trees: Tree) -> Tree:
    """A tree like the first, each leaf `function` of the leaves in its place."""
    first = trees[0]
    return {
        name: tree_map(function, *(t[name] for t in trees))
        if isinstance(value, dict)
        else function(*(t[name] for t in trees))
        for name, value in first.items()
    }


def replace_leaves(tree: Tree, function: Callable[[str, Array], Array], prefix: str = "") -> None:
    """Put `function(dotted name, array)` in the place of every leaf, inside the dicts that layers hold."""
    for name, value in tree.items():
        if isinstance(value, dict):
            replace_leaves(value, function, f"{prefix}{name}.")
        else:
            tree[name] = function(prefix + name, value)


def set_leaves(tree: Tree, values: Any, name: str) -> None:
    """Put copies of the arrays of `values`, a tree like `tree`, in the place of its leaves; each keeps its dtype.

    name: what the tree is called. InputError, with nothing changed, where names or shapes differ.
    """
    own = dict(leaves(tree))
    if not isinstance(values, dict):
        raise InputError(
            f"{name} was given as {type(values).__name__}, but a dict of arrays was expected, as it is now."
        )
    given = dict(leaves(values))
    for leaf in (*own, *given):
        if leaf not in given or leaf not in own:
            has = "lack" if leaf in own else "have"
            raise InputError(f"the new {name} {has} {leaf!r}, but the same names as now were expected: {_listed(own)}.")
    found = {leaf: np.asarray(to_numpy(value)) for leaf, value in given.items()}
    for leaf, array in own.items():
        if found[leaf].shape != tuple(array.shape) or found[leaf].dtype.kind not in "fiu":
            raise InputError(
                f"{leaf!r} of the new {name} is {found[leaf].dtype} of shape {found[leaf].shape}, but numbers of shape "
                f"{tuple(array.shape)} were expected."
            )
    replace_leaves(tree, lambda leaf, array: array_module(array).array(found[leaf], dtype=array.dtype))


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "") if names else "none"


class Branches(dict[str, Any]):
    """A tree whose branches are the trees of others: params of a model, which are those of its layers.

    An item assigned, as in model.params["head"] = other.params["head"], sets the arrays of that branch; what would add
    or remove one is refused, since its layer would not see it.
    """

    def __setitem__(self, name: str, value: Any) -> None:
        if name not in self:
            raise InputError(f"there is no {name!r} to set; there are {_listed(self)}.")
        own = self[name]
        if not isinstance(own, dict):
            super().__setitem__(name, value)
        elif value is not own:
            set_leaves(own, value, name)

    def update(self, *trees: Any, **branches: Any) -> None:
        """Set the branches that are named."""
        for name, value in dict(*trees, **branches).items():
            self[name] = value

    def __ior__(self, tree: Any) -> Branches:  # type: ignore[override, misc]
        self.update(tree)
        return self

    def __delitem__(self, name: str) -> None:
        raise InputError(f"{name!r} cannot be removed: it is a layer's own tree.")

    def pop(self, name: str, *_: Any) -> Any:
        """Refused, as all that removes a branch."""
        del self[name]

    def clear(self) -> None:
        """Refused, as all that removes a branch."""
        del self["everything"]

    def replace(self, name: str, tree: Tree) -> None:
        """Hold another tree: of the layer that came in the place of one."""
        super().__setitem__(name, tree)

    def __reduce__(self) -> Any:
        return Branches, (dict(self),)  # copied and pickled as a whole, not item by item


class HoldsTrees:
    """What has trees of arrays, `params` and `buffers`, that others hold as well: a model those of its layers.

    The first assignment makes a tree. A later one sets its arrays, for all who hold it, or is refused.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        old = self.__dict__.get(name) if name in ("params", "buffers") else None
        if not old:
            of_others = name in ("params", "buffers") and type(value) is dict
            if of_others and any(isinstance(branch, dict) for branch in value.values()):
                value = Branches(value)
            object.__setattr__(self, name, value)
        elif value is not old:
            set_leaves(old, value, name)


# ---------------------------------------------------------------- gradients of a few rows
@dataclass(frozen=True, eq=False)
class SparseRows:
    """The gradient of a parameter in which only a few rows are not zero: row `rows[i]` is `values[i]`.

    Design: a head for very many classes touches some twenty rows a sample; a dense gradient of a million rows would
    cost more than the head itself. Rows are sorted and unique, so that clipping by norm or value is exact, and an
    optimiser may read, update and write back the rows without losing one.

    rows: (K,) int64, sorted, unique, in 0 … n_rows-1; values: (K, …). Raises InputError for anything else:
    with rows that repeat or are out of order, optimisers and clipping would be silently wrong.

    On a device nobody waits to learn how many rows there are: K is how many were given to `from_indices`, a row stands
    where it came first, with its sum, and -1 and zeros stand in the place of each repeat. Only shapes and types are
    checked.
    """

    rows: Array
    values: Array
    n_rows: int

    def __post_init__(self) -> None:
        rows, values = self.rows, self.values
        if not hasattr(rows, "dtype") or not hasattr(values, "dtype") or not isinstance(self.n_rows, Integral):
            raise InputError(
                f"SparseRows: rows is {rows!r:.40}, values is {values!r:.40} and n_rows {self.n_rows!r:.40}, but two "
                "arrays and a whole number were expected."
            )
        if rows.ndim != 1 or rows.dtype != "int64" or values.ndim < 1 or len(values) != len(rows):
            raise InputError(
                f"SparseRows: rows is {rows.dtype} of shape {rows.shape}, values has shape {values.shape}; "
                "expected rows int64 of shape (K,), and values of shape (K, …)."
            )
        if array_module(rows).__name__ != "numpy":
            return  # checking the rows would wait for the device
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
        indices, values = (a if hasattr(a, "dtype") else np.asarray(a) for a in (indices, values))
        fits = indices.ndim == 1 and values.ndim >= 1 and len(values) == len(indices)
        if not fits or indices.dtype.kind not in "iu":
            raise InputError(
                f"SparseRows.from_indices: indices is {indices.dtype} of shape {indices.shape}, values has "
                f"shape {values.shape}; expected whole numbers of shape (M,), and values of shape (M, …)."
            )
        if on_device(values):
            return cls(*row_kernels.sum_rows(indices, values), n_rows)
        xp = array_module(values)
        order = xp.argsort(indices, kind="stable")
        rows, sums = _sum_runs(indices[order].astype(xp.int64), values[order])
        return cls(rows, sums, n_rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array it stands for."""
        return (self.n_rows, *self.values.shape[1:])

    @property
    def dtype(self) -> object:
        return self.values.dtype

    def to_dense(self) -> Array:
        """The (n_rows, …) array it stands for; for checks, since it costs what SparseRows saves."""
        dense = array_module(self.values).zeros((self.n_rows + 1, *self.values.shape[1:]), self.values.dtype)
        dense[self.rows] = self.values
        return dense[:-1]  # less the row of the empty places

    def scaled(self, factor: float | Array) -> SparseRows:
        """factor · self; for rows on a device, factor may also be a double () on it."""
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
