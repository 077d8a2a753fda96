"""A layer of PyTorch, pass by pass; what `our_layers` is for npsoftmax. Only PyTorch's workers import this file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from npsoftmax.bench.shapes import BACKWARD, FORWARD, INPUT, WEIGHT, Conv, NormReLU, Pool, Shape

Arrays = dict[str, np.ndarray]
Passes = dict[str, Callable[[], list[np.ndarray]]]

LAYOUTS = {"torch-nchw": torch.contiguous_format, "torch-channels-last": torch.channels_last}
ONE = [1, 1]


def passes(shape: Shape, side: str, arrays: Arrays) -> Passes:
    """pass -> a call that runs it and gives its results, as views in the layouts of npsoftmax.

    Forward must be called before each backward, which uses its graph up.
    """
    layout = LAYOUTS[side]
    x, dy = (_images(arrays[name], layout) for name in ("x", "dy"))
    calls = _conv(shape, x, dy, arrays, layout) if isinstance(shape, Conv) else _module(shape, x, dy)
    return {name: calls[name] for name in shape.passes()}


def _images(array: np.ndarray, layout: torch.memory_format) -> torch.Tensor:
    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous(memory_format=layout)


def _as_ours(images: torch.Tensor) -> np.ndarray:
    return images.detach().permute(0, 2, 3, 1).numpy()  # (N, H, W, C)


def _conv(shape: Conv, x: torch.Tensor, dy: torch.Tensor, arrays: Arrays, layout: torch.memory_format) -> Passes:
    """Through the function that autograd itself calls, which makes any of the three gradients alone."""
    w = torch.from_numpy(arrays["w"]).permute(3, 2, 0, 1).contiguous(memory_format=layout)
    b = torch.from_numpy(arrays["b"])

    def gradients(*wanted: bool) -> list[np.ndarray]:
        dx, dw, db = torch.ops.aten.convolution_backward(dy, x, w, [len(b)], ONE, ONE, ONE, False, [0, 0], 1, wanted)
        images = [] if dx is None else [_as_ours(dx)]
        weights = [] if dw is None else [dw.permute(2, 3, 1, 0).numpy()]  # (KH, KW, C, F)
        return [*images, *weights, *([] if db is None else [db.numpy()])]

    return {
        FORWARD: lambda: [_as_ours(F.conv2d(x, w, b, padding=1))],
        INPUT: lambda: gradients(True, False, False),
        WEIGHT: lambda: gradients(False, True, False),
        BACKWARD: lambda: gradients(shape.need_dx, True, True),
    }


def _module(shape: NormReLU | Pool, x: torch.Tensor, dy: torch.Tensor) -> Passes:
    """As a user would write it, with autograd."""
    if isinstance(shape, NormReLU):
        module = nn.Sequential(nn.BatchNorm2d(shape.channels), nn.ReLU())
    else:
        module = nn.MaxPool2d(shape.window)
    x.requires_grad_()
    made: list[torch.Tensor] = []

    def forward() -> list[np.ndarray]:
        made[:] = [module(x)]
        return [_as_ours(made[0])]

    def backward() -> list[np.ndarray]:
        dx, *others = torch.autograd.grad(made.pop(), [x, *module.parameters()], dy)
        return [_as_ours(dx), *(g.numpy() for g in others)]

    return {FORWARD: forward, BACKWARD: backward}
