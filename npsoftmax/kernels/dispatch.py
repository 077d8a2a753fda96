"""Who runs a kernel: the compiled module, where it was built and takes the arrays, or the readable reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array, get_threads
from npsoftmax.kernels.extension import load_extension

# Values that a thread should have to work on: starting one costs some microseconds.
SHARE = 32768


def compiled(name: str, *arrays: Array) -> Any:
    """The compiled module called `name`, if it takes these arrays: NumPy, all float32 or all float64; else None."""
    dtypes = {a.dtype if isinstance(a, np.ndarray) else None for a in arrays}
    if len(dtypes) > 1 or not dtypes <= {np.dtype(np.float32), np.dtype(np.float64)}:
        return None
    return load_extension(f"npsoftmax.{name}")[0]


def threads_for(values: int) -> int:
    """Threads for a pass over so many values: one for few, whatever `--threads` says."""
    return max(1, min(get_threads(), values // SHARE))
