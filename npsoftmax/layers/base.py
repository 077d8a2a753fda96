"""What every layer is: its parameters, gradients and buffers are trees of arrays (`npsoftmax.params`).

The protocol: forward returns what backward needs, backward returns what the optimiser needs, and a layer keeps
parameters but never an activation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from numbers import Integral
from typing import Any

from npsoftmax.autocast import activation
from npsoftmax.backend import Array
from npsoftmax.errors import InputError
from npsoftmax.params import HoldsTrees, Tree
from npsoftmax.random import Rng

Shape = tuple[int, ...]  # of one sample: without the batch axis


def require_sizes(layer: str, **sizes: int) -> None:
    """InputError unless every size (inputs, outputs, features) is a whole number of at least 1."""
    for name, size in sizes.items():
        if not isinstance(size, Integral) or isinstance(size, bool) or size < 1:
            raise InputError(f"{layer}: {name} is {size!r}, but a whole number of at least 1 was expected.")


def check_unused(caches: list[Any], layers: int) -> None:
    """InputError unless a container's cache still has that of each of its layers, which its backward takes out."""
    if len(caches) != layers:
        raise InputError(
            "this cache was used up by an earlier backward, which frees activations as it goes: call forward (or loss) "
            "again, and give each cache to one backward."
        )


class Layer(HoldsTrees, ABC):
    """A function with parameters. Subclasses set `params` (and `buffers`) and define forward and backward.

    takes_tokens: whether x are the whole numbers of words, (N, T), and no real numbers.
    prepares_from: how many training images `prepare` should get; 0 where it does nothing.
    uncaptured: why a step on a device cannot be captured and replayed as a graph, in words, as of a head; "": it can.
    """

    params: Tree
    buffers: Tree
    takes_tokens: bool = False
    uncaptured: str = ""
    prepares_from: int = 0

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

    def prepare(self, x: Array) -> None:
        """What a first layer sets from training images, once, before training. x (N, …), as forward gets them."""

    def taken(self, x: Any) -> Array:
        """x (N, …) as an array of real numbers whose samples this layer takes; InputError where it does not."""
        x = activation(x)
        if not x.ndim:
            raise InputError(f"{self!r} takes a batch (N, …), but x is one number.")
        self.output_shape(x.shape[1:])
        return x

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
