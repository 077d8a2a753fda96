"""NumPy or CuPy, at the edges; and the settings of the process: threads, precision, what the allocator keeps.

Design: the array decides. Code below the edges starts with `xp = array_module(x)` and never asks for a backend;
`get_backend` is called once, where parameters and batches are made. There is no global switch.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.errors import InputError, unknown_name

Array = Any  # numpy.ndarray or cupy.ndarray

BACKENDS = ("numpy", "cupy")
PRECISIONS = ("auto", "fp32", "tf32", "bf16")
TENSOR_CORES_SINCE = 80  # compute capability 8.0: the first whose tensor cores take tf32 and bf16


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
    """Where arrays live: `xp` creates them, `asarray` moves them there, `synchronize` waits for the device.

    device: its number; precision: that of products of float32 matrices there, "fp32", "tf32" or "bf16".
    """

    name: str
    xp: Any
    device: int = 0
    precision: str = "fp32"

    @property
    def on_host(self) -> bool:
        return self.name == "numpy"

    def asarray(self, x: Array, dtype: Any = None) -> Array:
        return self.xp.asarray(x, dtype=dtype)

    def synchronize(self) -> None:
        if not self.on_host:
            self.xp.cuda.Device().synchronize()

    @property
    def out_of_memory(self) -> tuple[type[BaseException], ...]:
        """What is raised where an array does not fit the device; nothing on the host."""
        return () if self.on_host else (self.xp.cuda.memory.OutOfMemoryError,)

    def free_memory(self) -> None:
        """Give what no array holds back to the device."""
        if not self.on_host:
            self.xp.get_default_memory_pool().free_all_blocks()

    def memory(self) -> dict[str, int]:
        """Bytes that arrays hold on the device now, and that CuPy took for them: about the most they ever held."""
        if self.on_host:
            return {}
        pool = self.xp.get_default_memory_pool()
        return {"device_bytes_used": pool.used_bytes(), "device_bytes_held": pool.total_bytes()}

    def describe(self) -> dict[str, Any]:
        """The device and its software, for env.json; nothing on the host."""
        if self.on_host:
            return {}
        runtime = self.xp.cuda.runtime
        properties = runtime.getDeviceProperties(self.device)
        return {
            "device": properties["name"].decode(),
            "device_number": self.device,
            "device_memory": properties["totalGlobalMem"],
            "driver": _cuda_version(runtime.driverGetVersion()),
            "cuda": _cuda_version(runtime.runtimeGetVersion()),
            "cupy": self.xp.__version__,
            "precision": self.precision,
        }


def _cuda_version(number: int) -> str:
    """12080 -> "12.8": the CUDA version of a library, or the newest that a driver can run."""
    return f"{number // 1000}.{number % 1000 // 10}"


def get_backend(name: str = "numpy", device: int = 0, precision: str = "auto") -> Backend:
    """The backend called `name`; for "cupy", device number `device` is made current.

    precision: of products of float32 matrices on a device, for the whole process. "fp32": in full. "tf32": by tensor
    cores, whose factors have 10 bits after the point and not 23; about ten times as fast. "bf16": by tensor cores, with
    factors of 7 bits; all arrays, sums and parameters stay float32. "auto": tf32 where there is such hardware. NumPy
    always computes in full. Raises InputError that says what is missing (CuPy, a driver, a device, the hardware) and
    what to do.
    """
    if precision not in PRECISIONS:
        raise unknown_name("--precision", precision, PRECISIONS)
    if name == "numpy":
        if precision in ("tf32", "bf16"):
            raise InputError(f"--precision {precision} is for NVIDIA GPUs; add --backend cupy, or leave it out.")
        return Backend("numpy", np)
    if name != "cupy":
        raise unknown_name("backend", name, BACKENDS)
    cupy = _import_cupy()
    count = _count_devices(cupy)
    if not 0 <= device < count:
        raise InputError(f"--backend cupy: device {device} was asked for, but there are {count} (0 to {count - 1}).")
    cupy.cuda.Device(device).use()
    return Backend("cupy", cupy, device, _set_precision(cupy, device, precision))


def device_count() -> int:
    """NVIDIA GPUs that this process may use. InputError where there is no CuPy, no driver or none of them."""
    return _count_devices(_import_cupy())


def _import_cupy() -> Any:
    try:
        import cupy
    except ModuleNotFoundError as error:
        raise InputError(
            "CuPy is not installed, so --backend cupy cannot run. With an NVIDIA GPU, type "
            'pip install "npsoftmax[cuda12]" '
            "(CUDA 12) or [cuda13]; without one, use --backend numpy."
        ) from error
    except ImportError as error:
        raise InputError(
            f"--backend cupy: CuPy is installed, but cannot be loaded ({str(error).strip().splitlines()[-1]}). "
            "Have only one of its packages, for the CUDA version that nvidia-smi shows: cupy-cuda12x or cupy-cuda13x."
        ) from error
    return cupy


def _count_devices(cupy: Any) -> int:
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        if "InsufficientDriver" in str(error):
            raise InputError(
                f"--backend cupy: CuPy {cupy.__version__} finds no NVIDIA driver, or one too old for its CUDA version "
                f"({error}). Run nvidia-smi: it shows the newest CUDA that the driver can run; install the CuPy for "
                "it, or a newer driver, or use --backend numpy."
            ) from error
        raise InputError(
            f"--backend cupy: CuPy is installed but found no usable CUDA driver or GPU ({error}). "
            "Run nvidia-smi to see the driver; use --backend numpy on this machine."
        ) from error
    if count == 0:
        raise InputError(
            "--backend cupy: there is a CUDA driver, but no GPU that this process may use. Run nvidia-smi, and see "
            "whether CUDA_VISIBLE_DEVICES hides it; use --backend numpy on this machine."
        )
    return count


_device_precision = "fp32"


def device_precision() -> str:
    """That of products of float32 matrices on the device: "fp32", "tf32" or "bf16"."""
    return _device_precision


def _set_precision(cupy: Any, device: int, wanted: str) -> str:
    """Tell CuPy and the kernels, and return what it is to be."""
    global _device_precision
    capability = cupy.cuda.Device(device).compute_capability  # "80" is 8.0, "120" is 12.0
    able = int(capability) >= TENSOR_CORES_SINCE
    if wanted in ("tf32", "bf16") and not able:
        raise InputError(
            f"--precision {wanted} needs a GPU of compute capability 8.0 or higher, but device {device} has "
            f"{capability[:-1]}.{capability[-1]}; use --precision fp32."
        )
    chosen = wanted if wanted != "auto" else "tf32" if able else "fp32"
    # CuPy knows of no bf16 products of float32 matrices: those are the kernels' own, and what is left is tf32.
    kinds = cupy._core._routines_linalg
    kind = kinds.COMPUTE_TYPE_DEFAULT if chosen == "fp32" else kinds.COMPUTE_TYPE_TF32
    cupy._core.set_compute_type(np.float32, kind)
    _device_precision = chosen
    return chosen


# ---------------------------------------------------------------- threads
_threads: int | None = None
_found: int | None = None  # what was found when BLAS was limited, so that kernels need not look it up at each call
_forked = False
_blas: Any = None
_blas_depth = 0

CGROUP_OF_PROCESS, CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def available_cpus() -> int:
    """CPUs this process may use: its affinity mask, and a container's CPU quota where there is one."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cpus, quota)) if quota else cpus


@functools.cache
def _cgroup_quota() -> int | None:
    """Whole CPUs in the tightest CPU limit on this process's way to the root of its control group; None without one."""
    try:
        lines = CGROUP_OF_PROCESS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = CGROUPS / ("cpu" if controllers else "")
        parts = [part for part in path.split("/") if part]
        # A container may see only its own end of the path, or all of it above its own root: what exists is read.
        folders = [mount.joinpath(*parts[:n]) for n in range(len(parts) + 1)]
        limits += [limit for folder in folders if (limit := _cpu_limit(folder)) is not None]
    return max(1, round(min(limits))) if limits else None


def _cpu_limit(folder: Path) -> float | None:
    """Quota over period of one control group: cpu.max (version 2), or the two files of version 1."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period")
            )
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # no such files, or the quota is "max"
        return None


def set_threads(n: int | None) -> None:
    """Use `n` threads in the compiled kernels (None: as many as there are CPUs). Raises InputError for n < 1.

    A process made by `os.fork` (multiprocessing's default on Linux before Python 3.14) uses one, whatever is set: the
    threads of GNU OpenMP do not survive a fork, and a child that waits for them waits for ever. Start workers that
    shall have threads with multiprocessing's "spawn".
    """
    global _threads, _found
    if n is not None and n < 1:
        raise InputError(f"--threads is {n}, but at least 1 is needed.")
    _threads, _found = n, None


def get_threads() -> int:
    """Threads that the compiled kernels use."""
    if _forked:
        return 1
    if _threads is not None:
        return _threads
    if _found is not None:
        return _found
    outermost = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # OpenMP takes a list, one for each depth
    return int(outermost) if outermost.isdecimal() and int(outermost) > 0 else available_cpus()


def _note_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Within it every BLAS call runs on its own thread only; restored after.

    The kernels do all parallel work in their own OpenMP loops and call BLAS inside them. A BLAS that starts threads
    of its own there, or between two such loops, makes the pools fight for the cores (a step takes twice as long).
    Entering costs some 30 us, entering again inside it nothing. The CPUs that the process may use are counted on
    entering, not at every call inside.
    """
    global _blas_depth, _found
    limiter = None
    if _blas_depth == 0:
        limiter = _blas_controller().limit(limits=1, user_api="blas")
        _found = get_threads()
    _blas_depth += 1
    try:
        yield
    finally:
        _blas_depth -= 1
        if limiter is not None:
            _found = None
            limiter.restore_original_limits()


def _blas_controller() -> Any:
    # NumPy and SciPy bring a BLAS each, and only one that is loaded can be limited: the compiled kernels call SciPy's.
    global _blas
    if _blas is None:
        import scipy.linalg.cython_blas  # noqa: F401
        import threadpoolctl

        _blas = threadpoolctl.ThreadpoolController()
    return _blas


# ---------------------------------------------------------------- memory
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of <malloc.h>


@functools.cache
def keep_freed_memory() -> bool:
    """Let the C allocator keep freed memory for the next arrays, from now on; whether it could be told to.

    A training step allocates and frees the same large arrays again and again. GNU's allocator gives each back to the
    system at once, which then hands out pages of zeros for the next one: thousands of page faults a step. Told not
    to, it serves them from what it has; the peak stays what it was, but is not given up before the process ends.
    Other C libraries are left alone.
    """
    import ctypes

    if not sys.platform.startswith("linux") or not hasattr(libc := ctypes.CDLL(None), "gnu_get_libc_version"):
        return False
    # No block of its own from the system for a large array, and no top of the heap given back.
    return bool(libc.mallopt(M_MMAP_MAX, 0) and libc.mallopt(M_TRIM_THRESHOLD, -1))
