"""Data movement and passes that read memory once: the array's type decides which version runs.

A folder is a subject (attention, conv, elementwise, linear_softmax, matmul, norm, softmax, tree, update, windows), and
its files have the same names in all of them:

    __init__.py    the face: what others call; it asks who runs (`dispatch.chooser`)
    reference.py   readable NumPy: the documentation, and what runs for any array type
    compiled.py    calls of _<subject>.pyx: NumPy arrays in float32 or float64, where it was built
    device.py      calls of <subject>.cu: arrays on a device

A test asserts that all versions agree, another one that no file is missing without a reason. `NPSOFTMAX_COMPILED=0`
switches the compiled versions off (for tests).
"""

from __future__ import annotations

from npsoftmax.kernels.conv import (
    conv2d_direct,
    conv2d_direct_backward,
    conv2d_direct_dw,
    conv2d_direct_dx,
    conv2d_tiled,
    conv2d_tiled_backward,
    conv2d_tiled_dw,
    conv2d_tiled_dx,
    conv2d_winograd,
    conv2d_winograd_backward,
    conv2d_winograd_dw,
    conv2d_winograd_dx,
)
from npsoftmax.kernels.conv.choice import winograd_tile
from npsoftmax.kernels.extension import compiled_status
from npsoftmax.kernels.matmul import matmul
from npsoftmax.kernels.windows import col2im, has_compiled, im2col, max_pool, max_pool_backward, on_device
from npsoftmax.kernels.windows.reference import output_size

__all__ = [
    "col2im",
    "compiled_status",
    "conv2d_direct",
    "conv2d_direct_backward",
    "conv2d_direct_dw",
    "conv2d_direct_dx",
    "conv2d_tiled",
    "conv2d_tiled_backward",
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
