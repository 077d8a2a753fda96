"""Max pooling: the array's type decides which version runs, as in the other kernels; what it does is in `reference`."""

from __future__ import annotations

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.kernels import device_windows as device
from npsoftmax.kernels import reference
from npsoftmax.kernels.dispatch import compiled, threads_for
from npsoftmax.kernels.reference import Pair, output_size


def max_pool(x: Array, k: Pair, stride: Pair, pad: Pair, relu: bool = False) -> tuple[Array, Array]:
    """y and the winning tap of every window; see `reference.max_pool`."""
    fast = compiled("_pool", x)
    if fast is None or k[0] * k[1] > reference.MOST_TAPS:
        return device.max_pool(x, k, stride, pad, relu)
    oh, ow = (output_size(x.shape[axis + 1], k[axis], stride[axis], pad[axis]) for axis in (0, 1))
    y = np.empty((x.shape[0], oh, ow, x.shape[3]), dtype=x.dtype)
    index = np.empty(y.shape, dtype=np.uint8)
    fast.max_pool(np.ascontiguousarray(x), y, index, *k, *stride, *pad, relu, threads_for(x.size))
    return y, index


def max_pool_backward(dy: Array, index: Array, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> Array:
    """dx of `max_pool`; see `reference.max_pool_backward`."""
    fast = compiled("_pool", dy)
    if fast is None or index.dtype != np.uint8:
        return device.max_pool_backward(dy, index, shape, k, stride, pad)
    dx = np.empty(shape, dtype=dy.dtype)
    places = np.ascontiguousarray(dy), np.ascontiguousarray(index), dx
    fast.max_pool_backward(*places, *k, *stride, *pad, threads_for(dx.size))
    return dx
