"""Pooling layers."""

from __future__ import annotations

from typing import Any

from npsoftmax.backend import Array
from npsoftmax.errors import InputError
from npsoftmax.functional import activation, pool
from npsoftmax.layers.base import Layer, Shape
from npsoftmax.layers.conv import as_pair, window_output
from npsoftmax.params import Tree
from npsoftmax.random import Rng


class _WindowPool(Layer):
    """What max and average pooling share: windows of `size`, every `stride` (as large as the window by default)."""

    def __init__(
        self,
        size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] | None = None,
        pad: int | tuple[int, int] = 0,
    ):
        super().__init__()
        self.size = as_pair("window size", size, 1)
        self.stride = self.size if stride is None else as_pair("stride", stride, 1)
        self.pad = as_pair("pad", pad, 0)
        if any(2 * p > k for p, k in zip(self.pad, self.size, strict=True)):
            raise InputError(
                f"pad {self.pad} is more than half of the window {self.size}: a window would be all padding."
            )

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 3:
            raise InputError(f"{self!r} takes images of shape (H, W, C), not {shape}.")
        return (*window_output(self, shape, self.size, self.stride, self.pad), shape[2])

    def __repr__(self) -> str:
        (kh, kw), (sh, sw) = self.size, self.stride
        return f"{type(self).__name__}({kh}x{kw}" + ("" if self.size == self.stride else f", stride {sh}x{sw}") + ")"


class MaxPool2d(_WindowPool):
    """The largest value of every window. x (N, H, W, C) -> y (N, OH, OW, C)."""

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        x = self.taken(x)
        return pool.max_pool2d_forward(x, self.size, self.stride, self.pad)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        return pool.max_pool2d_backward(dy, cache), {}


class MaxPoolReLU2d(_WindowPool):
    """max(maxpool(x), 0), which is maxpool(max(x, 0)): of the values of a window only the largest has to pass.

    x (N, H, W, C) -> y (N, OH, OW, C). fused: in one pass; False: the two readable pairs.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] | None = None,
        pad: int | tuple[int, int] = 0,
        fused: bool = True,
    ):
        super().__init__(size, stride=stride, pad=pad)
        self.fused = fused

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        x = self.taken(x)
        if self.fused:
            y, cache = pool.max_pool2d_relu_forward(x, self.size, self.stride, self.pad)
            return y, (cache, None)
        largest, pool_cache = pool.max_pool2d_forward(x, self.size, self.stride, self.pad)
        y, relu_cache = activation.relu_forward(largest)
        return y, (pool_cache, relu_cache)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        pool_cache, relu_cache = cache
        if relu_cache is None:
            return pool.max_pool2d_relu_backward(dy, pool_cache), {}
        return pool.max_pool2d_backward(activation.relu_backward(dy, relu_cache), pool_cache), {}


class AvgPool2d(_WindowPool):
    """The mean of every window. x (N, H, W, C) -> y (N, OH, OW, C)."""

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        x = self.taken(x)
        return pool.avg_pool2d_forward(x, self.size, self.stride, self.pad)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        return pool.avg_pool2d_backward(dy, cache), {}


class _GlobalPool(Layer):
    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 3:
            raise InputError(f"{self!r} takes images of shape (H, W, C), not {shape}.")
        return shape[2:]


class GlobalAvgPool(_GlobalPool):
    """The mean of each channel. x (N, H, W, C) -> y (N, C)."""

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        x = self.taken(x)
        return pool.global_avg_pool_forward(x)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        return pool.global_avg_pool_backward(dy, cache), {}


class GlobalMaxPool(_GlobalPool):
    """The largest value of each channel. x (N, H, W, C) -> y (N, C)."""

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        x = self.taken(x)
        return pool.global_max_pool_forward(x)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        return pool.global_max_pool_backward(dy, cache), {}


class GlobalMaxAvgPool(_GlobalPool):
    """The largest value of each channel plus the mean. x (N, H, W, C) -> y (N, C)."""

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        x = self.taken(x)
        return pool.global_max_avg_pool_forward(x)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        return pool.global_max_avg_pool_backward(dy, cache), {}


class PadToOdd(Layer):
    """Zeros below and on the right of images of even size. x (N, H, W, C) -> y (N, H or H + 1, W or W + 1, C).

    A 2x2 convolution then gives a map of even size, of which a 2x2 pool drops nothing: H or H - 1 rows, whichever is
    even.
    """

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        x = self.taken(x)
        return pool.pad_to_odd_forward(x)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        return pool.pad_to_odd_backward(dy, cache), {}

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 3:
            raise InputError(f"{self!r} takes images of shape (H, W, C), not {shape}.")
        return shape[0] + 1 - shape[0] % 2, shape[1] + 1 - shape[1] % 2, shape[2]
