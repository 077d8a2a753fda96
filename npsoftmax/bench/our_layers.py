"""A layer of npsoftmax, pass by pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from npsoftmax import kernels
from npsoftmax.backend import Array
from npsoftmax.bench.shapes import BACKWARD, FORWARD, INPUT, WEIGHT, Conv, NormReLU, Shape
from npsoftmax.layers import BatchNormReLU, Conv2d, Layer, MaxPool2d
from npsoftmax.params import leaves
from npsoftmax.random import Rng

Arrays = dict[str, np.ndarray]
Passes = dict[str, Callable[[], list[Array]]]

ONE = (1, 1)


# ---------------------------------------------------------------- one gradient of a convolution without the other
def _tile(dy: np.ndarray) -> int:
    return kernels.winograd_tile(*dy.shape[1:3])


KERNELS: dict[str, dict[str, Callable[..., Array]]] = {  # algorithm -> pass -> kernel of x, dy, w
    "direct": {
        INPUT: lambda x, dy, w: kernels.conv2d_direct_dx(dy, w, x.shape, ONE),
        WEIGHT: lambda x, dy, w: kernels.conv2d_direct_dw(x, dy, w.shape[:2], ONE),
    },
    "tiled": {
        INPUT: lambda x, dy, w: kernels.conv2d_tiled_dx(dy, w, x.shape, ONE, ONE),
        WEIGHT: lambda x, dy, w: kernels.conv2d_tiled_dw(x, dy, w.shape[:2], ONE, ONE),
    },
    "winograd": {
        INPUT: lambda x, dy, w: kernels.conv2d_winograd_dx(x, dy, w, ONE, _tile(dy)),
        WEIGHT: lambda x, dy, w: kernels.conv2d_winograd_dw(x, dy, w, ONE, _tile(dy)),
    },
}


def passes(shape: Shape, algorithm: str, arrays: Arrays) -> tuple[Passes, str | None]:
    """pass -> a call that runs it and gives its results; and the algorithm of a convolution, where "auto" chose one.

    Forward must be called before each backward, which uses its cache up.
    """
    layer = _layer(shape, algorithm)
    for name in layer.params.keys() & arrays.keys():
        layer.params[name] = arrays[name]
    x, dy = arrays["x"], arrays["dy"]
    cache: list[Any] = []

    def forward() -> list[Array]:
        y, new = layer.forward(x, train=True)
        cache[:] = [new]
        return [y]

    def backward() -> list[Array]:
        dx, grads = layer.backward(dy, cache.pop(), need_dx=shape.need_dx)
        return [g for g in (dx, *(g for _, g in leaves(grads))) if g is not None]

    calls: Passes = {FORWARD: forward, BACKWARD: backward}
    chosen = None
    if isinstance(layer, Conv2d):
        chosen = layer.choice(x.shape[1:], len(x), kernels.has_compiled(x)).algorithm
        calls |= _halves(arrays, chosen)
    return {name: calls[name] for name in shape.passes() if name in calls}, chosen


def _halves(arrays: Arrays, algorithm: str) -> Passes:
    x, dy, w = (arrays[name] for name in ("x", "dy", "w"))
    return {name: partial(_alone, kernel, x, dy, w) for name, kernel in KERNELS.get(algorithm, {}).items()}


def _alone(kernel: Callable[..., Array], *arrays: np.ndarray) -> list[Array]:
    return [kernel(*arrays)]


def _layer(shape: Shape, algorithm: str) -> Layer:
    if isinstance(shape, Conv):
        return Conv2d(shape.inputs, shape.outputs, 3, pad=1, rng=Rng(0), algorithm=algorithm)
    if isinstance(shape, NormReLU):
        return BatchNormReLU(shape.channels)
    return MaxPool2d(shape.window)
