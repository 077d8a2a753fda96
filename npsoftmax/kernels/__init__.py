"""Data movement and fused fast paths: the array's type decides which version runs.

NumPy arrays in float32 or float64 go to the compiled extension where it was built, those of a device to its CUDA
kernels (the *.cu files here), everything else to the readable `reference`. A test asserts that all versions agree.
`NPSOFTMAX_COMPILED=0` switches the extension off (for tests).
"""

from __future__ import annotations

from npsoftmax.backend import Array
from npsoftmax.cuda import cuda
from npsoftmax.kernels.conv import col2im, conv2d_tiled, conv2d_tiled_dw, conv2d_tiled_dx, im2col
from npsoftmax.kernels.direct import conv2d_direct, conv2d_direct_dw, conv2d_direct_dx
from npsoftmax.kernels.dispatch import compiled
from npsoftmax.kernels.extension import compiled_status
from npsoftmax.kernels.matmul import matmul
from npsoftmax.kernels.pool import max_pool, max_pool_backward
from npsoftmax.kernels.reference import output_size
from npsoftmax.kernels.winograd import (
    conv2d_winograd,
    conv2d_winograd_backward,
    conv2d_winograd_dw,
    conv2d_winograd_dx,
    winograd_tile,
)

__all__ = [
    "col2im",
    "compiled_status",
    "conv2d_direct",
    "conv2d_direct_dw",
    "conv2d_direct_dx",
    "conv2d_tiled",
    "conv2d_tiled_dw",
    "conv2d_tiled_dx",
    "conv2d_winograd",
    "conv2d_winograd_backward",
    "conv2d_winograd_dw",
    "conv2d_winograd_dx",
    "has_compiled",
    "im2col",
    "matmul",
    "max_pool",
    "max_pool_backward",
    "on_device",
    "output_size",
    "winograd_tile",
]


def has_compiled(x: Array) -> bool:
    """Whether an array like `x` would run on the compiled kernels."""
    return compiled("_im2col", x) is not None


def on_device(x: Array) -> bool:
    """Whether an array like `x` would run on the CUDA kernels."""
    return cuda("windows", x) is not None
