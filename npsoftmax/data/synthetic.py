"""`synthetic100`: a hundred classes of small colour pictures that need no download.

A class is an outline and a fill ("striped ring"), a superclass is an outline ("ring"): 20 x 5 = 100, as in
CIFAR-100. Place, size, angle, colours, light, clutter and noise differ from image to image, so that no single
pixel says much and a linear model fails, while a small convolutional network learns it in a minute.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from npsoftmax.data.dataset import Dataset
from npsoftmax.data.shapes import FILLS, SHAPES, Field
from npsoftmax.errors import InputError
from npsoftmax.random import Rng

SIZE = 32
N_TRAIN, N_TEST = 10_000, 2_000
CLUTTER = 3  # small blocks strewn over each image

# What is drawn at random for each image: one uniform number for each of these, three for a colour.
_DRAWN = ("x", "y", "radius", "tilt", "turn", "s", "t", "period", "order", "light_x", "light_y", "noise")
_UNIFORMS = len(_DRAWN) + 3 * 3 + CLUTTER * 7


def make_synthetic100(n_train: int = N_TRAIN, n_test: int = N_TEST, seed: int = 0) -> Dataset:
    """Draw the data set: image i is of class i % 100 and depends on (seed, split, i) alone.

    So the classes are balanced (to within one), and a smaller set is the beginning of a larger one.
    Raises InputError for a negative or zero size.
    """
    for what, n in (("training", n_train), ("test", n_test)):
        if n < 1:
            raise InputError(f"synthetic100 was asked for {n} {what} images, but at least 1 is needed.")
    rng = Rng(seed, "synthetic100")
    x_train, y_train = _draw_split(n_train, rng.child("train"))
    x_test, y_test = _draw_split(n_test, rng.child("test"))
    return Dataset(
        name="synthetic100",
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        class_names=tuple(f"{fill} {shape}" for shape in SHAPES for fill in FILLS),
        coarse=np.arange(len(SHAPES) * len(FILLS)) // len(FILLS),
        coarse_names=tuple(SHAPES),
    )


def _draw_split(n: int, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    y = np.arange(n, dtype=np.int64) % (len(SHAPES) * len(FILLS))
    x = np.empty((n, SIZE, SIZE, 3), np.uint8)
    for label, (shape, (fill, period)) in enumerate(itertools.product(SHAPES.values(), FILLS.values())):
        rows = np.flatnonzero(y == label)
        x[rows] = _draw_class(shape, fill, period, rng.at(0, rows), len(rows))
    return x, y


def _draw_class(
    shape: Callable[[Field, Field], Field],
    fill: Callable[[Field, Field, Field], Field],
    period: float,
    rng: Rng,
    n: int,
) -> np.ndarray:
    """n images of one class -> uint8 (n, SIZE, SIZE, 3)."""
    uniforms = rng.child("scene").uniform((n, _UNIFORMS))
    drawn = {name: uniforms[:, i, None, None] for i, name in enumerate(_DRAWN)}  # each (n, 1, 1)
    spread = 2 * uniforms - 1  # the same numbers in (-1, 1)
    colours = spread[:, len(_DRAWN) : len(_DRAWN) + 9].reshape(n, 3, 3)
    blocks = spread[:, len(_DRAWN) + 9 :].reshape(n, CLUTTER, 7)

    pixel = np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2
    across, down = pixel[None, None, :], pixel[None, :, None]
    x = across - 6 * (drawn["x"] - 0.5)
    y = down - 6 * (drawn["y"] - 0.5)
    radius = 10 + 3 * drawn["radius"]
    u, v = _rotate(x, y, 0.3 * (drawn["tilt"] - 0.5))
    depth = -shape(u / radius, v / radius) * radius
    inside = _edge(depth)
    period = period * (0.85 + 0.3 * drawn["period"])
    s, t = _rotate(x, y, 2 * drawn["turn"] - 1)
    second = inside * _edge(fill(s / period + drawn["s"], t / period + drawn["t"], depth))

    # Channels before rows: NumPy's loops then run along rows, not along three channels.
    picture = _paint(inside, second, colours, drawn["order"])
    light = 40 * (drawn["light_x"] - 0.5) * across + 40 * (drawn["light_y"] - 0.5) * down
    picture += (light / SIZE)[:, None]
    _strew(picture, blocks, across, down)
    _add_noise(picture, 4 + 20 * drawn["noise"], rng.child("noise"))
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)  # (n, SIZE, SIZE, 3)


def _rotate(x: Field, y: Field, half_tangent: Field) -> tuple[Field, Field]:
    """Turn by the angle whose half has this tangent: sine and cosine are then quotients, exact everywhere."""
    square = half_tangent * half_tangent
    cosine, sine = (1 - square) / (1 + square), 2 * half_tangent / (1 + square)
    return cosine * x + sine * y, cosine * y - sine * x


def _edge(distance: Field) -> Field:
    """1 inside, 0 outside, a ramp one pixel wide between."""
    return np.clip(distance + 0.5, 0, 1)


def _paint(inside: Field, second: Field, colours: np.ndarray, order: Field) -> np.ndarray:
    """Ground, first and second colour, dark, mid and light in any order -> float32 (n, 3, SIZE, SIZE)."""
    levels = np.array([(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)], np.float32)
    brightness = 42 + 86 * levels[(order[:, 0, 0] * 6).astype(np.int64)]  # (n, 3)
    colours = brightness[:, :, None] + 40 * colours  # (n, 3 areas, 3 channels)
    ground, first, other = (colours[:, i, :, None, None] for i in range(3))
    return ground + inside[:, None] * (first - ground) + second[:, None] * (other - first)


def _strew(picture: np.ndarray, blocks: np.ndarray, across: Field, down: Field) -> None:
    """Lay small blocks of any colour over the picture, in place."""
    for block in blocks.transpose(1, 2, 0)[..., None, None]:  # (7, n, 1, 1)
        x, y, width, height = block[:4]
        inside_x = 1.3 + 0.7 * width - np.abs(across - 16 * x)
        inside_y = 1.3 + 0.7 * height - np.abs(down - 16 * y)
        colour = 128 + 120 * block[4:].transpose(1, 0, 2, 3)  # (n, 3, 1, 1)
        picture += _edge(np.minimum(inside_x, inside_y))[:, None] * (colour - picture)


def _add_noise(picture: np.ndarray, amplitude: Field, rng: Rng) -> None:
    """Add uniform noise of ±amplitude grey levels in place, one random byte a value."""
    words = rng.bits((len(picture), 3 * SIZE * SIZE // 4))
    noise = words.astype("<u4").view(np.uint8).reshape(picture.shape)
    picture += (noise - np.float32(127.5)) * (amplitude / np.float32(127.5))[:, None]
