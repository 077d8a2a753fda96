"""How parameters start: PyTorch's default for linear maps, He's, and as a copy of the input."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.errors import unknown_name
from npsoftmax.random import Rng

Initialiser = Callable[[tuple[int, ...], int, Rng], np.ndarray]


_shapes_only = ContextVar("shapes_only", default=False)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Within it, parameters have shapes and no memory: arrays that say 0 everywhere, for what only counts or checks."""
    before = _shapes_only.set(True)
    try:
        yield
    finally:
        _shapes_only.reset(before)


def uniform_fan_in(shape: tuple[int, ...], fan_in: int, rng: Rng) -> np.ndarray:
    """Uniform in ±1/√fan_in: what PyTorch does for weights and biases of linear and convolution layers."""
    if _shapes_only.get():
        return _nothing(shape)
    bound = 1 / math.sqrt(max(fan_in, 1))
    return (_flat(rng.uniform, shape) * 2 - 1) * np.float32(bound)


def he_normal(shape: tuple[int, ...], fan_in: int, rng: Rng) -> np.ndarray:
    """Normal with variance 2/fan_in, which keeps the variance through ReLUs (He et al. 2015, arXiv 1502.01852)."""
    return (
        _nothing(shape) if _shapes_only.get() else _flat(rng.normal, shape) * np.float32(math.sqrt(2 / max(fan_in, 1)))
    )


def standard_normal(shape: tuple[int, ...], fan_in: int, rng: Rng) -> np.ndarray:
    """Normal with variance 1, whatever the fan-in."""
    return _nothing(shape) if _shapes_only.get() else _flat(rng.normal, shape)


def zeros(shape: tuple[int, ...], fan_in: int, rng: Rng) -> np.ndarray:
    """All zeros: for a last layer, where every class then starts with the same probability."""
    return _nothing(shape) if _shapes_only.get() else np.zeros(shape, dtype=np.float32)


def dirac(shape: tuple[int, ...], fan_in: int, rng: Rng) -> np.ndarray:
    """The default, but output number i is input number i, for as many as there are of both: the layer begins as a copy.

    shape (…, C, F): of a convolution's taps (KH, KW, C, F) the one at (KH // 2, KW // 2) copies.
    Source: Zagoruyko and Komodakis 2017 (arXiv 1706.00388).
    """
    w = uniform_fan_in(shape, fan_in, rng)
    if not _shapes_only.get():
        both = min(shape[-2:])
        w[..., :both] = 0
        w[tuple(k // 2 for k in shape[:-2])][:both, :both] = np.eye(both)
    return w


INITIALISERS: dict[str, Initialiser] = {
    "default": uniform_fan_in,
    "he": he_normal,
    "normal": standard_normal,
    "zeros": zeros,
    "dirac": dirac,
}


def initialiser(name: str) -> Initialiser:
    """The initialiser called `name`; InputError names the known ones."""
    if name not in INITIALISERS:
        raise unknown_name("initialisation", name, INITIALISERS)
    return INITIALISERS[name]


def _flat(draw: Callable[..., Array], shape: tuple[int, ...]) -> np.ndarray:
    # One row of noise, so that the first axis of a weight is not taken for samples of a batch.
    return draw((1, math.prod(shape)), np.float32).reshape(shape)


def _nothing(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros of any size in the memory of one."""
    return np.broadcast_to(np.float32(0), shape)
