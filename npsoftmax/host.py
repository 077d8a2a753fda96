"""What this process takes of its machine: CPUs, threads of kernels and of BLAS, memory that the allocator keeps."""

from __future__ import annotations

import functools
import os
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from npsoftmax.errors import InputError

CPUS = Path("/proc/cpuinfo")
CGROUP_OF_PROCESS, CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


# ---------------------------------------------------------------- CPUs
def processor() -> str:
    """The processor's name as the system gives it; its architecture where the system has none."""
    try:
        lines = CPUS.read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


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


# ---------------------------------------------------------------- threads
@dataclass
class _Threads:
    """The threads of this process: the number set, the number counted when BLAS was limited, and what changes both."""

    wanted: int | None = None
    counted: int | None = None  # while BLAS is limited, so that no kernel need count the CPUs again
    forked: bool = False
    inside: list[int] = field(default_factory=list)  # the threads of Python within a `single_threaded_blas`, each time
    blas: list[int] = field(default_factory=list)  # threads of each BLAS before the first of them
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note_fork(self) -> None:
        self.forked = True
        self.lock = threading.Lock()  # the parent's may be held by a thread that is not here
        self.inside = [thread for thread in self.inside if thread == threading.get_ident()]  # the others are not here


_threads = _Threads()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.note_fork)


def set_threads(n: int | None) -> None:
    """Use `n` threads in the compiled kernels (None: as many as there are CPUs). The number is one for the process.

    InputError for n < 1, and for another number than a computation that is under way in another thread of Python uses,
    which would go on with other bits.

    A process made by `os.fork` (multiprocessing's default on Linux before Python 3.14) uses one, whatever is set: the
    threads of GNU OpenMP do not survive a fork, and a child that waits for them waits for ever. Start workers that
    shall have threads with multiprocessing's "spawn".
    """
    if n is not None and n < 1:
        raise InputError(f"--threads is {n}, but at least 1 is needed.")
    new, now = n or _usual_threads(), get_threads()
    if new != now and any(other != threading.get_ident() for other in _threads.inside):
        raise InputError(
            f"--threads is {new}, but a computation in another thread of this Python uses {now}, and the number is one "
            "for the process. Give both the same, or start one in a process of its own."
        )
    _threads.wanted, _threads.counted = n, None


def get_threads() -> int:
    """Threads that the compiled kernels use."""
    if _threads.forked:
        return 1
    if _threads.wanted is not None:
        return _threads.wanted
    if _threads.counted is not None:
        return _threads.counted
    return _usual_threads()


def _usual_threads() -> int:
    """Where nobody said how many."""
    outermost = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # OpenMP takes a list, one for each depth
    return int(outermost) if outermost.isdecimal() and int(outermost) > 0 else available_cpus()


# Turns of a loop in which a thread that has nothing to do waits for more, before it sleeps: about 15 us. GNU's OpenMP
# takes 300,000, about 3 ms. Where another program has a CPU, a thread that spins keeps the one it waits for from it.
SPINS = 4000


@contextmanager
def short_spins() -> Iterator[None]:
    """Within it GNU's OpenMP is loaded with threads that soon sleep while they wait (docs/threads-and-memory.md).

    Nothing changes where OMP_WAIT_POLICY or GOMP_SPINCOUNT says how to wait, or where OpenMP was loaded before.
    """
    if "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ:
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = str(SPINS)  # read once, when the library is loaded
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Within it every BLAS call runs on its own thread only; restored after.

    The kernels do all parallel work in their own OpenMP loops and call BLAS inside them. A BLAS that starts threads
    of its own there, or between two such loops, makes the pools fight for the cores (a step takes twice as long).
    Entering costs some 30 us, entering again inside it nothing. The CPUs that the process may use are counted on
    entering, not at every call inside. Where several threads of Python train, it lasts until the last of them leaves.
    """
    me, entered = threading.get_ident(), False
    try:  # from here on, so that a Ctrl-C before the yield leaves nothing behind
        with _threads.lock:
            if not _threads.inside:
                _threads.blas = [_set_blas_threads(blas, 1) for blas in _blas_libraries()]
                _threads.counted = get_threads()
            _threads.inside.append(me)
            entered = True
        yield
    finally:
        if entered:
            _leave(me)


def _leave(thread: int) -> None:
    with _threads.lock:
        _threads.inside.remove(thread)
        if not _threads.inside:
            _threads.counted = None
            for blas, n in zip(_blas_libraries(), _threads.blas, strict=True):
                _set_blas_threads(blas, n)


def blas_in_use() -> str:
    """Each BLAS that NumPy and SciPy have brought: its name, its version, and the processor whose code it has chosen.

    The choice is the library's own unless OPENBLAS_CORETYPE, which is named then, has made it.
    """
    found = sorted(_described(blas.info()) for blas in _blas_libraries())
    wish = os.environ.get("OPENBLAS_CORETYPE")
    return ", ".join(found or ["not known"]) + (f" (OPENBLAS_CORETYPE={wish} is set)" if wish else "")


def _described(blas: dict[str, Any]) -> str:
    version, code = blas.get("version"), blas.get("architecture")  # not every library says them
    return blas["internal_api"] + (f" {version}" if version else "") + (f" for {code}" if code else "")


@functools.cache
def _blas_libraries() -> list[Any]:
    # NumPy and SciPy bring a BLAS each, and only one that is loaded can be limited: the compiled kernels call SciPy's.
    import scipy.linalg.cython_blas  # noqa: F401
    import threadpoolctl

    return threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers


def _set_blas_threads(blas: Any, n: int) -> int:
    """Set the threads of one library; those it had.

    threadpoolctl listens to one thread of Python only, the first that sets one, lest two set it in turn. Our lock sees
    to that, and the last to leave need not be the first that came.
    """
    before = blas.get_num_threads()
    getattr(blas, "_real_set_num_threads", blas.set_num_threads)(n)
    return before


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
