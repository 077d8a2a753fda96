"""Samples that live on a device: uploaded once, images as bytes, and made into batches there in one pass.

A batch is the one that the host would have made: the same draws decide, and the arithmetic is the same.
"""

from __future__ import annotations

import numpy as np

from npsoftmax.backend import Array, Backend
from npsoftmax.cuda import compiled_for
from npsoftmax.data.augment import DRAWS, border_of, draws, square_of
from npsoftmax.data.normalize import Normalization
from npsoftmax.random import Rng


class DeviceImages:
    """Images x, uint8 (N, H, W, C), on the device of `backend`."""

    def __init__(
        self, x: np.ndarray, normalize: Normalization, augment: str, backend: Backend, shift: int | None = None
    ):
        self.backend, self.augment = backend, augment
        self.x = backend.asarray(x)
        self.scale, self.shift = (backend.asarray(values) for values in normalize.factors())
        height = x.shape[1]
        self.draws = DRAWS[augment]
        self.border = border_of(height, shift) if self.draws > 1 else 0
        self.side = square_of(height) if self.draws > 3 else 0

    def batch(self, samples: Array, rng: Rng) -> Array:
        """The images of `samples` (n,), changed as `rng` says and normalised. -> float32 (n, H, W, C)"""
        xp, (_, h, w, c), n = self.backend.xp, self.x.shape, len(samples)
        kernels = compiled_for(xp, "images", "f")
        u = draws(self.augment, n, rng, xp) if self.draws else None
        colours = None
        if self.side:
            colours = xp.empty((n, c), dtype=xp.int32)
            places = self.x, samples, u, colours, self.draws, self.border, h, w, c
            kernels.blocks("mean_colours", (n,), *places)
        y = xp.empty((n, h, w, c), dtype=xp.float32)
        arrays = self.x, samples, u, colours, self.scale, self.shift, y
        kernels.each("make_batch", y.size, *arrays, self.draws, self.border, self.side, h, w, c)
        return y


class DeviceTokens:
    """Windows of words x, whole numbers (N, T), on the device of `backend`."""

    def __init__(self, x: np.ndarray, backend: Backend):
        self.backend, self.x = backend, backend.asarray(x)

    def batch(self, samples: Array, rng: Rng) -> Array:
        """The windows of `samples` (n,). -> (n, T)"""
        return self.x[samples]
