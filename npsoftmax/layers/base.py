"""What every layer is, and the tree helpers: parameters, gradients and buffers are nested dicts of arrays.

The protocol: forward returns what backward needs, backward returns what the optimiser needs, and a layer keeps
parameters but never an activation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any

from npsoftmax.backend import Array
from npsoftmax.errors import InputError
from npsoftmax.random import Rng

Tree = dict[str, Any]  # name -> array, or a nested Tree
Shape = tuple[int, ...]  # of one sample: without the batch axis


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


# ---------------------------------------------------------------- layers
def require_sizes(layer: str, **sizes: int) -> None:
    """InputError unless every size (inputs, outputs, features) is a whole number of at least 1."""
    for name, size in sizes.items():
        if not isinstance(size, Integral) or size < 1:
            raise InputError(f"{layer}: {name} is {size!r}, but a whole number of at least 1 was expected.")


class Layer(ABC):
    """A function with parameters. Subclasses set `params` (and `buffers`) and define forward and backward."""

    params: Tree
    buffers: Tree

    def __init__(self) -> None:
        self.params, self.buffers = {}, {}

    @abstractmethod
    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        """x -> y, cache. Buffers are written only when `train`; noise is drawn from `rng`."""

    @abstractmethod
    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        """dy, cache -> dx, grads, where grads mirrors params.

        Without `need_dx` a layer may return None for dx: nobody reads the gradient of the input images.
        """

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of one output sample for an input sample of `shape`; InputError where that does not fit."""
        return shape

    def macs(self, shape: Shape) -> int:
        """Multiply-adds of one sample's forward pass (those of linear maps only, as is usual)."""
        return 0

    def children(self) -> dict[str, Layer]:
        """Layers inside this one, by name."""
        return {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
