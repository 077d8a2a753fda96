"""Who runs a kernel: the compiled module, where it was built and takes the arrays, or the readable reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array, get_threads
from npsoftmax.kernels.extension import load_extension

REAL = (np.dtype(np.float32), np.dtype(np.float64))

# Values that a thread should have to work on: starting one costs some microseconds.
SHARE = 32768

# Multiply-adds that take about as long as a pass over one value.
WORK = 16


def compiled(name: str, *arrays: Array) -> Any:
    """The compiled module called `name`, if it takes these arrays: NumPy, all float32 or all float64; else None."""
    # A step asks this dozens of times: at batch 1 even a set of the types would be seen.
    first = arrays[0]
    if not isinstance(first, np.ndarray) or first.dtype not in REAL:
        return None
    for a in arrays[1:]:
        if not isinstance(a, np.ndarray) or a.dtype != first.dtype:
            return None
    return load_extension(f"npsoftmax.{name}")[0]


def threads_for(values: int) -> int:
    """Threads for a pass over so many values: one for few, whatever `--threads` says."""
    return max(1, min(get_threads(), values // SHARE))


def threads_for_products(macs: int) -> int:
    """Threads for so many multiply-adds."""
    return threads_for(macs // WORK)
