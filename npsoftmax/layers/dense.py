"""Fully connected layer."""

from __future__ import annotations

from typing import Any

from npsoftmax.backend import Array
from npsoftmax.errors import InputError
from npsoftmax.functional import dense
from npsoftmax.layers.base import Layer, Shape, require_sizes
from npsoftmax.layers.initialisation import initialiser, uniform_fan_in, zeros
from npsoftmax.params import Tree
from npsoftmax.random import Rng, check_rng


class Dense(Layer):
    """y = x @ w + b. x (N, inputs) -> y (N, outputs); params w (inputs, outputs), b (outputs,).

    threaded: products on all threads; False: the readable pair.
    """

    def __init__(
        self, inputs: int, outputs: int, *, rng: Rng, bias: bool = True, init: str = "default", threaded: bool = True
    ):
        super().__init__()
        require_sizes("Dense", inputs=inputs, outputs=outputs)
        check_rng(rng)
        self.inputs, self.outputs, self.threaded = inputs, outputs, threaded
        self.params["w"] = initialiser(init)((inputs, outputs), inputs, rng.child("w"))
        if bias:
            start = uniform_fan_in if init == "default" else zeros
            self.params["b"] = start((outputs,), inputs, rng.child("b"))

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        x = self.taken(x)
        forward = dense.dense_threaded_forward if self.threaded else dense.dense_forward
        return forward(x, self.params["w"], self.params.get("b"))

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        backward = dense.dense_threaded_backward if self.threaded else dense.dense_backward
        dx, dw, db = backward(dy, cache, need_dx)
        return dx, {"w": dw} if db is None else {"w": dw, "b": db}

    def output_shape(self, shape: Shape) -> Shape:
        if shape != (self.inputs,):
            raise InputError(
                f"Dense({self.inputs}, {self.outputs}) takes samples of shape ({self.inputs},), not {shape}."
            )
        return (self.outputs,)

    def macs(self, shape: Shape) -> int:
        return self.inputs * self.outputs

    def __repr__(self) -> str:
        return f"Dense({self.inputs}, {self.outputs})"
