"""Convolution layer; which algorithm runs is its argument."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from npsoftmax import kernels
from npsoftmax.autocast import activation as as_activation
from npsoftmax.backend import Array
from npsoftmax.errors import InputError, unknown_name
from npsoftmax.functional import activation, conv
from npsoftmax.kernels.conv.choice import Choice, choose_convolution, has_winograd
from npsoftmax.layers.base import Layer, Shape, require_sizes
from npsoftmax.layers.initialisation import initialiser, uniform_fan_in, zeros
from npsoftmax.params import Tree
from npsoftmax.random import Rng, check_rng

ALGORITHMS = ("auto", "naive", "im2col", "tiled", "direct", "winograd")
FUSED = ("tiled", "direct", "winograd")  # those with a ReLU of their own


def as_pair(name: str, value: Any, least: int) -> tuple[int, int]:
    """3 -> (3, 3); InputError unless it is one or two whole numbers of at least `least`."""
    one_axis = isinstance(value, tuple | list) or (isinstance(value, np.ndarray) and value.ndim == 1)
    pair: tuple[Any, ...] = tuple(value) if one_axis else (value, value)
    if len(pair) != 2 or not all(isinstance(v, Integral) and not isinstance(v, bool) and int(v) >= least for v in pair):
        raise InputError(f"{name} is {value!r}, but one or two whole numbers of at least {least} were expected.")
    return int(pair[0]), int(pair[1])


def window_output(
    layer: Layer, shape: Shape, k: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int]
) -> Shape:
    """(OH, OW) of the layer's windows over (H, W, C); InputError where a window is larger than the padded image."""
    oh, ow = (kernels.output_size(n, *rest) for n, *rest in zip(shape[:2], k, stride, pad, strict=True))
    if min(oh, ow) < 1:
        raise InputError(
            f"{layer!r}: a window of {k[0]}x{k[1]} does not fit an input of {shape[0]}x{shape[1]} with padding {pad}. "
            "Use a larger image, more padding or fewer pooling steps."
        )
    return oh, ow


class Conv2d(Layer):
    """Convolution, channels last. x (N, H, W, C) -> y (N, OH, OW, F); params w (KH, KW, C, F), b (F,).

    algorithm: "tiled" (compiled, small tiles), "direct" (compiled, for few channels at stride 1), "winograd" (compiled,
    fewer multiplications, for 3x3 and 2x2 at stride 1), "im2col" (whole columns), "naive" (loops) or "auto": by the
    shape, see `kernels.conv.choice`. Where direct and winograd are not defined, tiled runs.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        k: int | tuple[int, int],
        *,
        rng: Rng,
        stride: int | tuple[int, int] = 1,
        pad: int | tuple[int, int] = 0,
        bias: bool = True,
        init: str = "default",
        algorithm: str = "auto",
    ):
        super().__init__()
        require_sizes("Conv2d", inputs=inputs, outputs=outputs)
        check_rng(rng)
        if algorithm not in ALGORITHMS:
            raise unknown_name("convolution algorithm", algorithm, ALGORITHMS)
        self.inputs, self.outputs, self.algorithm = inputs, outputs, algorithm
        self.k, self.stride, self.pad = (
            as_pair("kernel size", k, 1),
            as_pair("stride", stride, 1),
            as_pair("pad", pad, 0),
        )
        fan_in = self.k[0] * self.k[1] * inputs
        self.params["w"] = initialiser(init)((*self.k, inputs, outputs), fan_in, rng.child("w"))
        if bias:
            start = uniform_fan_in if init == "default" else zeros
            self.params["b"] = start((outputs,), fan_in, rng.child("b"))

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        x = as_activation(x)
        algorithm = self._algorithm_for(x)
        forward = getattr(conv, f"conv2d_{algorithm}_forward")
        y, cache = forward(x, self.params["w"], self.params.get("b"), self.stride, self.pad)
        return y, (algorithm, cache)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        algorithm, pair_cache = cache
        dx, dw, db = getattr(conv, f"conv2d_{algorithm}_backward")(dy, pair_cache, need_dx)
        return dx, {"w": dw} if db is None else {"w": dw, "b": db}

    def _algorithm_for(self, x: Array) -> str:
        if self.algorithm == "auto" and kernels.on_device(x):
            self.output_shape(x.shape[1:])
            return "tiled"  # without columns or by those of a few images at a time: kernels.conv.device.kind_for
        return self.choice(x.shape[1:], len(x), kernels.has_compiled(x)).algorithm

    def choice(self, shape: Shape, images: int, compiled: bool = True) -> Choice:
        """The algorithm for `images` of `shape`, and why; `compiled`: whether such kernels take the array."""
        oh, ow, _ = self.output_shape(shape)
        if self.algorithm == "auto":
            return choose_convolution(compiled, self.k, self.stride, self.inputs, self.outputs, (oh, ow), images)
        if self.algorithm == "winograd" and not has_winograd(self.k, self.stride):
            return Choice("tiled", "asked for winograd, which is for 3x3 and 2x2 at stride 1")
        if self.algorithm == "direct" and self.stride != (1, 1):
            return Choice("tiled", "asked for direct, which is for stride 1")
        return Choice(self.algorithm, "asked for")

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 3 or shape[2] != self.inputs:
            raise InputError(f"{self!r} takes images of shape (H, W, {self.inputs}), channels last, not {shape}.")
        return (*window_output(self, shape, self.k, self.stride, self.pad), self.outputs)

    def macs(self, shape: Shape) -> int:
        oh, ow, f = self.output_shape(shape)
        return oh * ow * f * self.k[0] * self.k[1] * self.inputs

    def __repr__(self) -> str:
        kh, kw = self.k
        extra = "" if self.stride == (1, 1) else f", stride {self.stride[0]}x{self.stride[1]}"
        name = type(self).__name__
        return f"{name}({self.inputs}, {self.outputs}, {kh}x{kw}{extra}, pad {self.pad[0]}x{self.pad[1]})"


class ConvReLU2d(Conv2d):
    """Convolution and y = max(y, 0). Arguments and shapes as in Conv2d.

    fused: in one pass, in the algorithms that train ("im2col" and "naive" run convolution and ReLU one after the
    other); False: the two readable pairs.
    """

    def __init__(self, inputs: int, outputs: int, k: int | tuple[int, int], *, fused: bool = True, **options: Any):
        super().__init__(inputs, outputs, k, **options)
        self.fused = fused

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        x = as_activation(x)
        algorithm = self._algorithm_for(x)
        if not self.fused or algorithm not in FUSED:
            z, cache = super().forward(x, train=train, rng=rng)
            relu = "relu_fused" if self.fused else "relu"
            y, relu_cache = getattr(activation, f"{relu}_forward")(z)
            return y, (None, (cache, relu, relu_cache))
        forward = getattr(conv, f"conv2d_relu_{algorithm}_forward")
        y, cache = forward(x, self.params["w"], self.params.get("b"), self.stride, self.pad)
        return y, (f"relu_{algorithm}", cache)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        algorithm, inner = cache
        if algorithm is None:
            conv_cache, relu, relu_cache = inner
            dz = getattr(activation, f"{relu}_backward")(dy, relu_cache)
            return super().backward(dz, conv_cache, need_dx=need_dx)
        return super().backward(dy, cache, need_dx=need_dx)
