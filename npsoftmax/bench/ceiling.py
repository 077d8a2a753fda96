"""What the machine can do at best: matrix products (the roof for computing) and streams (the roofs for memory).

The figures are what a layer's are measured against. All float32; a GFLOP is 10⁹ multiplications and additions, a GB is
10⁹ bytes; a copy of n values moves 8·n bytes, a triad a = b + s·c moves 12·n, whatever the caches do beside that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from npsoftmax.bench.machine import cache_sizes
from npsoftmax.bench.turns import Case, summary
from npsoftmax.bench.workers import BenchmarkError, Job
from npsoftmax.host import single_threaded_blas
from npsoftmax.kernels.extension import load_extension

# M, K, N: products as large as the kernels' (a tile of columns, a position of Winograd's), and two large squares.
TILES = ((512, 576, 128), (128, 256, 256), (64, 128, 128))
SQUARES = ((512, 512, 512), (1024, 1024, 1024), (2048, 2048, 2048))
MODULE = "npsoftmax.bench._ceiling"
LEAST_DRAM = 256 << 20
CALL = 0.02  # seconds that one timed call should take


def work(job: Job) -> dict[str, float]:
    """One of the tasks below in this process: name -> GFLOP/s or GB/s, each the best of some calls."""
    return dict(TASKS[job["task"]](job["threads"], job["seconds"]))


def own_products(threads: int, seconds: float) -> Iterator[tuple[str, float]]:
    """Independent products, one a thread, through the BLAS and the loop of our kernels."""
    ceiling, rng = _extension(), np.random.default_rng(0)
    shapes = (*TILES, SQUARES[0])
    with single_threaded_blas():
        for m, k, n in shapes:
            a, b = (rng.standard_normal((threads, *size), dtype=np.float32) for size in ((m, k), (k, n)))
            c = np.empty((threads, m, n), dtype=np.float32)
            speed = _best(partial(ceiling.products, a, b, c), seconds / len(shapes))
            yield f"{m}x{k}x{n}", speed * 2e-9 * threads * m * k * n


def numpy_products(threads: int, seconds: float) -> Iterator[tuple[str, float]]:
    """One product after the other through NumPy, whose BLAS has `threads` threads of its own."""
    import threadpoolctl

    rng = np.random.default_rng(0)
    with threadpoolctl.threadpool_limits(threads, "blas"):
        for m, k, n in SQUARES:
            a, b = (rng.standard_normal(size, dtype=np.float32) for size in ((m, k), (k, n)))
            c = np.empty((m, n), dtype=np.float32)

            yield f"{m}x{k}x{n}", _best(partial(_multiply, a, b, c), seconds / len(SQUARES)) * 2e-9 * m * k * n


def _multiply(a: np.ndarray, b: np.ndarray, c: np.ndarray, repeat: int) -> None:
    for _ in range(repeat):
        np.matmul(a, b, out=c)


def streams(threads: int, seconds: float) -> Iterator[tuple[str, float]]:
    """Copy and triad through arrays that fit the second-level cache, the third, or neither."""
    ceiling = _extension()
    for level, size in working_sets(threads).items():
        n = size // (3 * 4 * threads)
        a, b, c = (np.empty((threads, n), dtype=np.float32) for _ in range(3))
        for array in (a, b, c):
            ceiling.fill(array, 1.0)
        calls = {"copy": (8, partial(ceiling.copies, a, b)), "triad": (12, partial(ceiling.triads, a, b, c))}
        for name, (moved, call) in calls.items():
            yield f"{name} {level}", _best(call, seconds / 6) * 1e-9 * moved * threads * n


TASKS = {"own": own_products, "numpy": numpy_products, "memory": streams}


def working_sets(threads: int) -> dict[str, int]:
    """level -> bytes of three arrays, of all threads together, that are at home there."""
    caches = cache_sizes()
    l2 = threads * caches[2]
    return {"L2": l2 // 2, "L3": max(caches[3] // 2, 2 * l2), "DRAM": max(4 * caches[3], LEAST_DRAM)}


def is_built() -> bool:
    """Whether the compiled module is there that most of the tasks need."""
    return load_extension(MODULE)[0] is not None


def _extension() -> Any:
    module, reason = load_extension(MODULE)
    if module is None:
        raise BenchmarkError(f"the machine's ceiling is measured by a compiled module, which is {reason}.")
    return module


def _best(call: Callable[[int], Any], seconds: float) -> float:
    """How many times a second `call` does its work at best; `call(r)` does it r times."""
    repeat, taken = 1, _time(call, 1)
    while taken < CALL:
        repeat *= 2
        taken = _time(call, repeat)
    best, end = taken, time.perf_counter() + seconds
    for _ in range(1000):
        best = min(best, _time(call, repeat))
        if time.perf_counter() >= end:
            break
    return repeat / best


def _time(call: Callable[[int], Any], repeat: int) -> float:
    started = time.perf_counter()
    call(repeat)
    return time.perf_counter() - started


# ---------------------------------------------------------------- figures
def cases(threads: Sequence[int], tasks: Sequence[str] = tuple(TASKS)) -> list[Case]:
    """What to take turns with: ("ceiling", task, number of threads)."""
    return [("ceiling", task, str(n)) for n in threads for task in tasks]


def figures_of(measured: Mapping[Case, Sequence[dict[str, float]]]) -> list[dict[str, Any]]:
    """A record of every figure: "what" (own, numpy, memory), "name", "threads" and its summary.

    measured: (task, threads) -> the workers' answers, round by round.
    """
    found = []
    for (task, threads), answers in measured.items():
        for name in answers[0]:
            figure = summary([answer[name] for answer in answers])
            found.append({"what": task, "name": name, "threads": int(threads), **figure})
    return found


def roofs(measured: Mapping[Case, Sequence[dict[str, float]]], threads: int) -> dict[str, float]:
    """The compute roof ("sgemm", GFLOP/s) and the memory roofs ("L2", "L3", "DRAM": triad, GB/s)."""
    memory = measured["memory", str(threads)]
    triads = [name for name in memory[0] if name.startswith("triad ")]
    levels = {name.removeprefix("triad "): summary([answer[name] for answer in memory])["median"] for name in triads}
    return {"sgemm": _best_product(measured["own", str(threads)]), **levels}


def compute_roof(measured: Mapping[Case, Sequence[dict[str, float]]], threads: int) -> float | None:
    """GFLOP/s of the size of matrix products that ran best in our own threads; None where that was not measured."""
    own = measured.get(("own", str(threads)))
    return _best_product(own) if own else None


def _best_product(answers: Sequence[dict[str, float]]) -> float:
    return max(summary([answer[name] for answer in answers])["median"] for name in answers[0])
