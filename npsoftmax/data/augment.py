"""Random changes of training images that keep their class: pure functions (uint8 x, rng) -> uint8 y.

What happens to an image depends on the rng and on that image alone, never on the others in its batch. Each function
draws all its numbers at once, in the same order, so that "cutout" flips and crops exactly as "standard" does. A shift
is by up to `shift` pixels in each direction, None for an eighth of the side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from npsoftmax.backend import Array, array_module
from npsoftmax.errors import unknown_name
from npsoftmax.random import Rng, check_rng, is_place

# Of an image's side: a border of 4 pixels around a 32 x 32 image, and a square of 8 in it.
BORDER, SQUARE = 1 / 8, 1 / 4


def none(x: np.ndarray, rng: Rng, shift: int | None = None) -> np.ndarray:
    """The images as they are."""
    return x


def flip(x: np.ndarray, rng: Rng, shift: int | None = None) -> np.ndarray:
    """Mirror each image left to right with probability 1/2. x: (N, H, W, C)."""
    return _mirror(x, draws("flip", len(x), rng))


def standard(x: np.ndarray, rng: Rng, shift: int | None = None) -> np.ndarray:
    """Flip, then shift; what moves in is black."""
    u = draws("standard", len(x), rng)
    return _crop(_mirror(x, u[:, :1]), u[:, 1:], shift)


def alternating(x: np.ndarray, rng: Rng, shift: int | None = None) -> np.ndarray:
    """As standard, but mirrored are half of the images in the first epoch, the others in the next, and so on.

    So any two epochs show each image both ways. The epoch is the step of the rng. Source: Jordan, "94% on CIFAR-10 in
    3.29 seconds on a single GPU", 2024.
    """
    u = draws("alternating", len(x), rng)
    return _crop(_mirror(x, u[:, :1]), u[:, 1:], shift)


def alternating_flip(x: Array, u: Array, epoch: int) -> Array:
    """The mirror of `alternating` by itself, readable: images with u < 1/2 in even epochs, the others in odd ones.

    x (N, H, W, C), u (N,) one number in (0, 1) an image, the same in every epoch -> like x
    """
    mirrored = (u < 0.5) if epoch % 2 == 0 else (u >= 0.5)
    return array_module(x).where(mirrored[:, None, None, None], x[:, :, ::-1], x)


def cutout(x: np.ndarray, rng: Rng, shift: int | None = None) -> np.ndarray:
    """As standard, then paint a square of a quarter of the side, anywhere, in the mean colour of the image.

    The square may reach over the edge. The mean is each image's own: the rest of the batch plays no part.
    Source: DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", 2017.
    """
    u = draws("cutout", len(x), rng)
    return _cut(_crop(_mirror(x, u[:, :1]), u[:, 1:3], shift), u[:, 3:])


AUGMENTATIONS: dict[str, Callable[..., np.ndarray]] = {
    "none": none,
    "flip": flip,
    "standard": standard,
    "alternating": alternating,
    "cutout": cutout,
}


# Numbers that each draws for an image: mirror; then two of the shift; then two of the square.
DRAWS = {"none": 0, "flip": 1, "standard": 3, "alternating": 3, "cutout": 5}
SHIFTING = tuple(name for name, numbers in DRAWS.items() if numbers > 1)


def draws(name: str, n: int, rng: Rng, xp: Any = np) -> Any:
    """The numbers in (0, 1) that decide what augmentation `name` does to n images: u (n, DRAWS[name])."""
    check_rng(rng)
    u = rng.uniform((n, DRAWS[name]), np.float32, xp)
    if name == "alternating":
        first = rng.at(0, rng.samples).uniform((n, 1), np.float32, xp)
        odd = rng.step % 2  # on a device, where the step is an array, no number that Python may ask for
        u[:, :1] = xp.where(odd, 1 - first, first) if is_place(rng.step) else 1 - first if odd else first
    return u


def border_of(height: int, shift: int | None = None) -> int:
    """Pixels of the black border around an image: how far it may be shifted."""
    return max(1, round(height * BORDER)) if shift is None else shift


def square_of(height: int) -> int:
    """Side of the square that is cut out of an image."""
    return max(1, round(height * SQUARE))


def get_augmentation(name: str) -> Callable[..., np.ndarray]:
    """The augmentation called `name`. Raises InputError for another name."""
    if not isinstance(name, str) or name not in AUGMENTATIONS:
        raise unknown_name("augmentation", name, AUGMENTATIONS)
    return AUGMENTATIONS[name]


# ---------------------------------------------------------------- the three changes; u: uniform in (0, 1)
def _mirror(x: np.ndarray, u: Array) -> np.ndarray:
    chosen = np.flatnonzero(u[:, 0] < 0.5)
    images = x[chosen]
    mirrored = np.empty_like(images)
    for channel in range(x.shape[-1]):  # NumPy's loops then run along rows, not along the few channels
        mirrored[..., channel] = images[:, :, ::-1, channel]
    y = x.copy()
    y[chosen] = mirrored
    return y


def _crop(x: np.ndarray, u: Array, shift: int | None) -> np.ndarray:
    """A window of the old size out of the image with a black border."""
    n, height, width, channels = x.shape
    border = border_of(height, shift)
    if not border:
        return x
    offset = (u * (2 * border + 1)).astype(np.int64)  # (N, 2): down, across
    padded = np.zeros((n, height + 2 * border, (width + 2 * border) * channels), x.dtype)
    padded[:, border:-border, border * channels : -border * channels] = x.reshape(n, height, -1)
    # windows[i, row, k] is the run of bytes that starts at byte k of a padded row: rows are copied whole.
    windows = np.lib.stride_tricks.sliding_window_view(padded, width * channels, axis=2)
    rows = offset[:, :1] + np.arange(height)  # (N, H)
    return windows[np.arange(n)[:, None], rows, offset[:, 1:] * channels].reshape(x.shape)


def _cut(x: np.ndarray, u: Array) -> np.ndarray:
    """A square with its centre on any pixel in the mean colour of the image."""
    n, height, width, channels = x.shape
    side = square_of(height)
    corner = (u * (height, width)).astype(np.int64) - side // 2
    rows = x.reshape(n, height, -1).sum(axis=1, dtype=np.uint32)  # (N, W*C): long loops first
    mean = (rows.reshape(n, width, channels).mean(axis=1) / height).round().astype(x.dtype)
    down, across = (corner[:, axis : axis + 1] + np.arange(side) for axis in (0, 1))  # (N, S)
    inside = ((down >= 0) & (down < height))[:, :, None] & ((across >= 0) & (across < width))[:, None, :]
    image, i, j = np.nonzero(inside)  # (N, S, S)
    y = x.copy()
    y[image, down[image, i], across[image, j]] = mean[image]
    return y
