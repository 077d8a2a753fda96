"""The outlines and fills that the embedded `synthetic100` data set is drawn with.

Design: only +, -, *, abs, floor, min, max and sqrt are used, each exactly rounded by IEEE 754, so that every
machine draws the same bytes (a sine or an exponential differs in its last bit between processors).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Field = np.ndarray  # (N, H, W) float32: one value a pixel
HALF_ROOT = np.float32(0.70710678)


# ---------------------------------------------------------------- outlines: negative inside, size about 1
def _box(u: Field, v: Field, half_width: float, half_height: float) -> Field:
    return np.maximum(np.abs(u) - half_width, np.abs(v) - half_height)


def _disc(u: Field, v: Field, radius: float) -> Field:
    return np.sqrt(u * u + v * v) - radius


def _circle(u: Field, v: Field) -> Field:
    return _disc(u, v, 0.85)


def _square(u: Field, v: Field) -> Field:
    return _box(u, v, 0.75, 0.75)


def _triangle(u: Field, v: Field) -> Field:
    return np.maximum(v - 0.6, 0.87 * np.abs(u) - 0.5 * v - 0.42)


def _diamond(u: Field, v: Field) -> Field:
    return 0.82 * np.abs(u) + 0.57 * np.abs(v) - 0.55


def _cross(u: Field, v: Field) -> Field:
    return np.minimum(_box(u, v, 0.9, 0.28), _box(u, v, 0.28, 0.9))


def _saltire(u: Field, v: Field) -> Field:
    return _cross(HALF_ROOT * (u + v), HALF_ROOT * (u - v))


def _ring(u: Field, v: Field) -> Field:
    return np.abs(_disc(u, v, 0.64)) - 0.25


def _frame(u: Field, v: Field) -> Field:
    return np.abs(_box(u, v, 0.58, 0.58)) - 0.24


def _dome(u: Field, v: Field) -> Field:
    return np.maximum(_disc(u, v - 0.45, 0.95), v - 0.45)


def _crescent(u: Field, v: Field) -> Field:
    return np.maximum(_disc(u + 0.15, v, 0.85), -_disc(u - 0.3, v, 0.62))


def _star(u: Field, v: Field) -> Field:
    """Five points: inside at least four of the five half planes of a pentagon."""
    normals = (
        (0.0, 1.0),
        (0.951057, 0.309017),
        (-0.951057, 0.309017),
        (0.587785, -0.809017),
        (-0.587785, -0.809017),
    )
    largest = np.full_like(u, -np.inf)
    second = largest.copy()
    for x, y in normals:
        distance = x * u + y * v - 0.34
        np.maximum(second, np.minimum(largest, distance), out=second)
        np.maximum(largest, distance, out=largest)
    return second


def _heart(u: Field, v: Field) -> Field:
    side = np.abs(u)
    lobes = _disc(side - 0.4, v + 0.3, 0.44)
    point = np.maximum(np.maximum(HALF_ROOT * (side + v) - 0.511, -v - 0.3), side - 0.711)  # tangent to the lobes
    return np.minimum(lobes, point)


def _arrow(u: Field, v: Field) -> Field:
    head = np.maximum(0.75 * np.abs(u) - 0.66 * v - 0.6, v - 0.1)
    return np.minimum(head, _box(u, v - 0.45, 0.24, 0.5))


def _hourglass(u: Field, v: Field) -> Field:
    return np.maximum(np.abs(v) - 0.8, HALF_ROOT * (np.abs(u) - np.abs(v)) - 0.08)


def _tee(u: Field, v: Field) -> Field:
    return np.minimum(_box(u, v + 0.55, 0.85, 0.27), _box(u, v - 0.1, 0.27, 0.8))


def _corner(u: Field, v: Field) -> Field:
    return np.minimum(_box(u + 0.5, v, 0.27, 0.8), _box(u, v - 0.53, 0.77, 0.27))


def _arch(u: Field, v: Field) -> Field:
    return np.maximum(_box(u, v, 0.8, 0.8), -_box(u, v - 0.5, 0.33, 0.85))


def _ellipse(u: Field, v: Field) -> Field:
    return 0.55 * (np.sqrt(u * u + 4 * v * v) - 0.95)


def _pair(u: Field, v: Field) -> Field:
    return _disc(np.abs(u) - 0.52, v, 0.4)


def _chevron(u: Field, v: Field) -> Field:
    return np.maximum(HALF_ROOT * np.abs(v - np.abs(u) + 0.35) - 0.26, np.abs(u) - 0.85)


SHAPES: dict[str, Callable[[Field, Field], Field]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "diamond": _diamond,
    "cross": _cross,
    "saltire": _saltire,
    "ring": _ring,
    "frame": _frame,
    "dome": _dome,
    "crescent": _crescent,
    "star": _star,
    "heart": _heart,
    "arrow": _arrow,
    "hourglass": _hourglass,
    "tee": _tee,
    "corner": _corner,
    "arch": _arch,
    "ellipse": _ellipse,
    "pair": _pair,
    "chevron": _chevron,
}


# ---------------------------------------------------------------- fills: positive where the second colour is
# s, t: coordinates in periods of the pattern; depth: pixels from the outline inwards.
def _wave(t: Field) -> Field:
    """A triangle wave of period 1 in [-1, 1]."""
    return 4 * np.abs(t - np.floor(t) - 0.5) - 1


def _plain(s: Field, t: Field, depth: Field) -> Field:
    return np.full_like(s, -1)


def _rimmed(s: Field, t: Field, depth: Field) -> Field:
    return 1.6 - depth


def _halved(s: Field, t: Field, depth: Field) -> Field:
    return 4 * (s - 0.5)


def _striped(s: Field, t: Field, depth: Field) -> Field:
    return 1.5 * _wave(s)


def _spotted(s: Field, t: Field, depth: Field) -> Field:
    s, t = s - np.floor(s) - 0.5, t - np.floor(t) - 0.5
    return 7 * (0.3 - np.sqrt(s * s + t * t))


# name -> its field, and the period in pixels
FILLS: dict[str, tuple[Callable[[Field, Field, Field], Field], float]] = {
    "plain": (_plain, 6.0),
    "rimmed": (_rimmed, 6.0),
    "halved": (_halved, 4.0),
    "striped": (_striped, 5.0),
    "spotted": (_spotted, 7.0),
}
