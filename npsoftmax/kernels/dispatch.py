"""Who runs a kernel: the one place where the versions of a subject are asked, in the one order there is."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TypeVar

import numpy as np

from npsoftmax.backend import Array, array_module
from npsoftmax.bfloat16 import BFloat16
from npsoftmax.cuda import on_device
from npsoftmax.host import get_threads
from npsoftmax.kernels.extension import load_extension

# What goes in comes out: NumPy's arrays or any; None where that may go in.
A = TypeVar("A", bound=Array)
Maybe = TypeVar("Maybe", bound=Array | None)

REAL = (np.dtype(np.float32), np.dtype(np.float64))

# Values that a thread should have to work on: starting one costs some microseconds.
SHARE = 32768

# Multiply-adds that take about as long as a pass over one value.
WORK = 16


def chooser(
    extension: str, compiled: ModuleType, reference: ModuleType, device: ModuleType | None = None
) -> Callable[..., ModuleType]:
    """A function of arrays (or None) that says which version of a kernel runs for them; asked are, in this order:

    1. `compiled`, where `extension` was built: NumPy arrays, all float32 or all float64;
    2. `device`, where there is one: arrays of CuPy, likewise of one type;
    3. `reference`: everything else.
    """

    def version_for(*arrays: Array | None) -> ModuleType:
        # A step asks this dozens of times: at batch 1 even a set of the types would be seen.
        first = arrays[0]
        if isinstance(first, np.ndarray):
            dtype = first.dtype
            if dtype not in REAL:
                return reference
            for a in arrays[1:]:
                if (not isinstance(a, np.ndarray) or a.dtype != dtype) and a is not None:
                    return reference
            return reference if load_extension(extension)[0] is None else compiled
        return device if device is not None and on_device(*arrays) else reference

    return version_for


def threads_for(values: int) -> int:
    """Threads for a pass over so many values: one for few, whatever `--threads` says."""
    share = values // SHARE
    return 1 if share < 2 else min(get_threads(), share)


def threads_for_products(macs: int) -> int:
    """Threads for so many multiply-adds."""
    share = macs // (WORK * SHARE)
    return 1 if share < 2 else min(get_threads(), share)


# ---------------------------------------------------------------- arrays as the kernels take them
def flat(x: np.ndarray) -> np.ndarray:
    """x in row order, along one axis: a view where it is contiguous."""
    return np.ascontiguousarray(x).reshape(-1)


def as_stored(x: A) -> tuple[A, bool]:
    """A matrix, or what it is the transpose of where that is in row order; and whether it is transposed."""
    if x.flags.f_contiguous and not x.flags.c_contiguous:
        return x.T, True
    return x, False


def contiguous(*arrays: Maybe) -> list[Maybe]:
    """The arrays in row order, those that are so already as they are; None stays."""
    first = arrays[0]
    in_order = (np if isinstance(first, np.ndarray) else array_module(first)).ascontiguousarray
    return [a if a is None else BFloat16(in_order(a.bits)) if isinstance(a, BFloat16) else in_order(a) for a in arrays]
