"""What a head needs on the host of its buffers: the ranks of classes, the levels of a tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

from npsoftmax.backend import Array, to_numpy

T = TypeVar("T")


class OnHost(Generic[T]):
    """`make(array)` in host memory, of an array that may be on a device.

    A device's array is copied once and the result kept, since a copy waits for all work on the device. An array in host
    memory costs no wait and may be written in place, so nothing is kept of it.
    """

    def __init__(self, make: Callable[[np.ndarray], T]):
        self._make = make
        self._kept: tuple[Array, T] | None = None  # the array on the device, and what was made of it

    def __call__(self, array: Array) -> T:
        if isinstance(array, np.ndarray):
            return self._make(array)
        if self._kept is None or self._kept[0] is not array:
            self._kept = array, self._make(to_numpy(array))
        return self._kept[1]
