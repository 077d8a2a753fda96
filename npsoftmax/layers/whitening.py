"""Whitened patches: a first layer that is set from training images and does not learn."""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.autocast import activation
from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError
from npsoftmax.functional import conv
from npsoftmax.functional.softmax import positive
from npsoftmax.functional.whitening import whitening_filters
from npsoftmax.layers.base import require_sizes
from npsoftmax.layers.conv import Conv2d
from npsoftmax.params import Tree
from npsoftmax.random import Rng


class PatchWhitening(Conv2d):
    """A convolution whose filters whiten k x k patches, both signs. x (N, H, W, C) -> y (N, H-k+1, W-k+1, 2·k·k·C).

    buffers w (k, k, C, 2·k·k·C): written by `prepare` and by nothing else; until then they copy a patch, and minus the
    patch. eps: added to the eigenvalues, in units of the square of an image's values. No parameters.
    Source: the stem of Jordan's CIFAR-10 networks (arXiv 2404.00498), after Page 2019.
    """

    prepares_from = 5000

    def __init__(self, inputs: int, k: int = 2, *, eps: float = 5e-4):
        require_sizes("PatchWhitening", inputs=inputs, patch=k)
        width = k * k * inputs
        super().__init__(inputs, 2 * width, k, rng=Rng(0), bias=False, init="zeros")
        self.eps = positive("eps", eps)
        del self.params["w"]
        copies = np.concatenate([np.eye(width), -np.eye(width)], axis=1)
        self.buffers["w"] = copies.reshape(k, k, inputs, 2 * width).astype(np.float32)

    def prepare(self, x: Array) -> None:
        """Set the filters from training images (N, H, W, C), as forward gets them. InputError for none, or NaN."""
        x, w = self.taken(x), self.buffers["w"]
        if not len(x) or not array_module(x).isfinite(x).all():
            raise InputError(
                f"{self!r} is set from training images, but {len(x)} were given{', not all finite' if len(x) else ''}; "
                "give it some hundreds, as forward gets them."
            )
        w[...] = array_module(w).asarray(whitening_filters(x, self.k, self.eps), dtype=w.dtype)

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        x = activation(x)
        algorithm = self._algorithm_for(x)
        y, cache = getattr(conv, f"conv2d_{algorithm}_forward")(x, self.buffers["w"], None, self.stride, self.pad)
        return y, (algorithm, cache)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        return super().backward(dy, cache)[0] if need_dx else None, {}
