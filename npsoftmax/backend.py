"""NumPy or CuPy, at the edges; and the two settings of the process: threads and (later) precision.

Design: the array decides. Code below the edges starts with `xp = array_module(x)` and never asks for a backend;
`get_backend` is called once, where parameters and batches are made. There is no global switch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from npsoftmax.errors import InputError, unknown_name

Array = Any  # numpy.ndarray or cupy.ndarray

BACKENDS = ("numpy", "cupy")


def array_module(x: Array) -> Any:
    """The module (numpy or cupy) that array `x` belongs to; whatever is no array (a number, a list) is NumPy's."""
    if isinstance(x, np.ndarray):
        return np
    module = sys.modules.get(type(x).__module__.partition(".")[0])
    return module if isinstance(x, getattr(module, "ndarray", ())) else np


def to_numpy(x: Array) -> np.ndarray:
    """A NumPy copy of a device array; NumPy arrays and scalars pass through."""
    return x.get() if hasattr(x, "get") else np.asarray(x)


@dataclass(frozen=True)
class Backend:
    """Where arrays live: `xp` creates them, `asarray` moves them there, `synchronize` waits for the device."""

    name: str
    xp: Any

    def asarray(self, x: Array, dtype: Any = None) -> Array:
        return self.xp.asarray(x, dtype=dtype)

    def synchronize(self) -> None:
        if self.name == "cupy":
            self.xp.cuda.Device().synchronize()


def get_backend(name: str = "numpy", device: int = 0) -> Backend:
    """The backend called `name`; for "cupy", device number `device` is made current.

    Raises InputError that says what is missing (CuPy, a driver, a device) and what to install.
    """
    if name == "numpy":
        return Backend("numpy", np)
    if name != "cupy":
        raise unknown_name("backend", name, BACKENDS)
    cupy = _import_cupy()
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        raise InputError(
            f"--backend cupy: CuPy is installed but found no usable CUDA driver or GPU ({error}). "
            "Run nvidia-smi to see the driver; use --backend numpy on this machine."
        ) from error
    if not 0 <= device < count:
        raise InputError(f"--backend cupy: device {device} was asked for, but there are {count} (0 to {count - 1}).")
    cupy.cuda.Device(device).use()
    return Backend("cupy", cupy)


def _import_cupy() -> Any:
    try:
        import cupy
    except ImportError as error:
        raise InputError(
            "CuPy is not installed, so --backend cupy cannot run. With an NVIDIA GPU, type "
            'pip install "npsoftmax[cuda12]" '
            "(CUDA 12) or [cuda13]; without one, use --backend numpy."
        ) from error
    return cupy


# ---------------------------------------------------------------- threads
_threads: int | None = None
_blas: Any = None
_blas_depth = 0


def available_cpus() -> int:
    """CPUs this process may use: its affinity mask, and a container's CPU quota where there is one."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cpus, quota)) if quota else cpus


def _cgroup_quota() -> int | None:
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            limit, period = file.read().split()
        return None if limit == "max" else max(1, round(int(limit) / int(period)))
    except (OSError, ValueError):
        return None


def set_threads(n: int | None) -> None:
    """Use `n` threads in the compiled kernels (None: as many as there are CPUs). Raises InputError for n < 1."""
    global _threads
    if n is not None and n < 1:
        raise InputError(f"--threads is {n}, but at least 1 is needed.")
    _threads = n


def get_threads() -> int:
    """Threads that the compiled kernels use."""
    if _threads is not None:
        return _threads
    outermost = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # OpenMP takes a list, one for each depth
    return int(outermost) if outermost.isdecimal() and int(outermost) > 0 else available_cpus()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Within it every BLAS call runs on its own thread only; restored after.

    The kernels do all parallel work in their own OpenMP loops and call BLAS inside them. A BLAS that starts threads
    of its own there, or between two such loops, makes the pools fight for the cores (a step takes twice as long).
    Entering costs some 30 us, entering again inside it nothing.
    """
    global _blas_depth
    limiter = None
    if _blas_depth == 0:
        limiter = _blas_controller().limit(limits=1, user_api="blas")
    _blas_depth += 1
    try:
        yield
    finally:
        _blas_depth -= 1
        if limiter is not None:
            limiter.restore_original_limits()


def _blas_controller() -> Any:
    # NumPy and SciPy bring a BLAS each, and only one that is loaded can be limited: the compiled kernels call SciPy's.
    global _blas
    if _blas is None:
        import scipy.linalg.cython_blas  # noqa: F401
        import threadpoolctl

        _blas = threadpoolctl.ThreadpoolController()
    return _blas
