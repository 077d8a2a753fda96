"""Layers made of layers: one after another, and a branch added to its own input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from npsoftmax.autocast import activation, like
from npsoftmax.backend import Array
from npsoftmax.errors import InputError
from npsoftmax.kernels.elementwise import add
from npsoftmax.layers.base import Layer, Shape, check_unused
from npsoftmax.params import Tree
from npsoftmax.random import Rng, check_rng


def all_layers(layer: Layer) -> Iterator[Layer]:
    """The layer and everything inside it."""
    yield layer
    for child in layer.children().values():
        yield from all_layers(child)


def require_layer(what: str, layer: Any) -> None:
    """InputError unless it is a layer, made already."""
    if not isinstance(layer, Layer):
        raise InputError(f"{what} is {layer!r:.60}, but a layer was expected, such as ReLU().")


class Sequential(Layer):
    """Layers one after another: Sequential(conv1=Conv2d(…), relu1=ReLU(), …). The names are those of the parameters.

    The same layer object twice is an error: parameters shared by accident would get half their gradient.
    """

    def __init__(self, *unnamed: Any, **layers: Layer):
        super().__init__()
        if unnamed:
            raise InputError("the layers of a Sequential have names; type for example Sequential(fc=…, relu=ReLU()).")
        seen: set[int] = set()
        for name, layer in layers.items():
            require_layer(f"layer {name!r} of a Sequential", layer)
            for part in all_layers(layer):
                if id(part) in seen:
                    raise InputError(
                        f"layer {name!r} ({part!r}) is already in this network; make a new one for each place."
                    )
                seen.add(id(part))
        self.layers = layers
        self._first = next(iter(layers.values()), None)
        self.takes_tokens = self._first is not None and self._first.takes_tokens
        self.prepares_from = 0 if self._first is None else self._first.prepares_from
        # Below the first layer with parameters nobody reads a gradient, if the caller does not.
        self._learns_from = next((name for name, layer in layers.items() if layer.params), None)
        self.params = {name: layer.params for name, layer in layers.items() if layer.params}
        self.buffers = {name: layer.buffers for name, layer in layers.items() if layer.buffers}

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        check_rng(rng, optional=True)
        x, caches = x if self.takes_tokens else activation(x), []
        for name, layer in self.layers.items():
            y, cache = layer.forward(x, train=train, rng=rng and rng.child(name))
            x = like(y, x)
            caches.append(cache)
        return x, caches

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        dx: Array | None = activation(dy, "dy")
        caches, grads = cache, {}
        check_unused(caches, len(self.layers))
        for name, layer in reversed(self.layers.items()):
            assert dx is not None  # only the last layer of this loop may leave it out
            # Popped, so that each activation is freed as soon as it has been used.
            last = not need_dx and name == self._learns_from
            below, grads[name] = layer.backward(dx, caches.pop(), need_dx=not last)
            dx = like(below, dx)
            if last:
                caches.clear()
                break
        return dx, {name: grads[name] for name in self.params}

    def prepare(self, x: Array) -> None:
        if self._first is not None:
            self._first.prepare(x)

    def output_shape(self, shape: Shape) -> Shape:
        for layer in self.layers.values():
            shape = layer.output_shape(shape)
        return shape

    def macs(self, shape: Shape) -> int:
        total = 0
        for layer in self.layers.values():
            total += layer.macs(shape)
            shape = layer.output_shape(shape)
        return total

    def children(self) -> dict[str, Layer]:
        return self.layers

    def __repr__(self) -> str:
        return f"Sequential({', '.join(self.layers)})"


class Residual(Layer):
    """y = x + branch(x): the gradient has a way past the branch (He et al. 2015, arXiv 1512.03385)."""

    def __init__(self, branch: Layer):
        super().__init__()
        require_layer("the branch of a Residual", branch)
        self.branch = branch
        self.params, self.buffers = branch.params, branch.buffers

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        x = self.taken(x)  # x + y would broadcast silently
        y, cache = self.branch.forward(x, train=train, rng=rng)
        return add(x, like(y, x)), cache

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        dy = activation(dy, "dy")
        dx, grads = self.branch.backward(dy, cache, need_dx=need_dx)
        return dx if dx is None else add(dx, dy), grads

    def output_shape(self, shape: Shape) -> Shape:
        out = self.branch.output_shape(shape)
        if out != shape:
            raise InputError(f"a residual branch must keep the shape, but it turns {shape} into {out}.")
        return out

    def macs(self, shape: Shape) -> int:
        return self.branch.macs(shape)

    def children(self) -> dict[str, Layer]:
        return {"branch": self.branch}

    def __repr__(self) -> str:
        return f"Residual({self.branch!r})"
