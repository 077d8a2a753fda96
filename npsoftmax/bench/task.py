"""What both sides of a comparison do: the same images, classes and steps."""

from __future__ import annotations

import numpy as np

CLASSES, IMAGE = 100, (32, 32, 3)
LEARNING_RATE, MOMENTUM = 1e-3, 0.9


def batch(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The same random images (N, H, W, C) and labels (N,) in every process."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((size, *IMAGE), dtype=np.float32), rng.integers(0, CLASSES, size)
