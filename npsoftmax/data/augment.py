"""Random changes of training images that keep their class: pure functions (uint8 x, rng) -> uint8 y.

What happens to an image depends on the rng and on that image alone, never on the others in its batch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from npsoftmax.errors import unknown_name
from npsoftmax.random import Rng

# Of an image's side: 4 pixels of border and a square of 8 in a 32 x 32 image.
BORDER, SQUARE = 1 / 8, 1 / 4


def none(x: np.ndarray, rng: Rng) -> np.ndarray:
    """The images as they are."""
    return x


def flip(x: np.ndarray, rng: Rng) -> np.ndarray:
    """Mirror each image left to right with probability 1/2. x: (N, H, W, C)."""
    mirrored = rng.child("flip").keep_mask((len(x),), 0.5)
    y = np.array(x, order="C")
    pixels = y.view(f"V{y.shape[-1]}")[..., 0]  # a pixel is moved as one item, not channel by channel
    pixels[mirrored] = pixels[mirrored][:, :, ::-1]
    return y


def crop(x: np.ndarray, rng: Rng) -> np.ndarray:
    """Put a black border of an eighth of the side around each image and cut out a window of the old size."""
    n, height, width, channels = x.shape
    border = max(1, round(height * BORDER))
    offset = rng.child("crop").integers(0, 2 * border + 1, (n, 2))  # down, across
    padded = np.zeros((n, height + 2 * border, (width + 2 * border) * channels), x.dtype)
    padded[:, border:-border, border * channels : -border * channels] = x.reshape(n, height, -1)
    # windows[i, row, k] is the run of bytes that starts at byte k of a padded row: rows are copied whole.
    windows = np.lib.stride_tricks.sliding_window_view(padded, width * channels, axis=2)
    rows = offset[:, :1] + np.arange(height)  # (N, H)
    return windows[np.arange(n)[:, None], rows, offset[:, 1:] * channels].reshape(x.shape)


def cut(x: np.ndarray, rng: Rng) -> np.ndarray:
    """Paint a square of a quarter of the side, its centre anywhere, in the mean colour of the image.

    The square may reach over the edge. The mean is each image's own: the rest of the batch plays no part.
    Source: DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", 2017.
    """
    n, height, width, channels = x.shape
    side = max(1, round(height * SQUARE))
    corner = rng.child("cut").integers(0, np.array([height, width]), (n, 2)) - side // 2
    rows = x.reshape(n, height, -1).sum(axis=1, dtype=np.uint32)  # (N, W*C): long loops first
    mean = (rows.reshape(n, width, channels).mean(axis=1) / height).round().astype(x.dtype)
    y = x.copy()
    for image, (top, left), colour in zip(y, corner, mean, strict=True):
        image[max(top, 0) : top + side, max(left, 0) : left + side] = colour
    return y


def standard(x: np.ndarray, rng: Rng) -> np.ndarray:
    """Flip, then crop."""
    return crop(flip(x, rng), rng)


def cutout(x: np.ndarray, rng: Rng) -> np.ndarray:
    """Flip, crop, then cut."""
    return cut(standard(x, rng), rng)


AUGMENTATIONS: dict[str, Callable[[np.ndarray, Rng], np.ndarray]] = {
    "none": none,
    "flip": flip,
    "standard": standard,
    "cutout": cutout,
}


def get_augmentation(name: str) -> Callable[[np.ndarray, Rng], np.ndarray]:
    """The augmentation called `name`. Raises InputError for another name."""
    if name not in AUGMENTATIONS:
        raise unknown_name("augmentation", name, AUGMENTATIONS)
    return AUGMENTATIONS[name]
