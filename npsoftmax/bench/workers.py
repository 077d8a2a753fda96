"""A process of its own for every measurement."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Job = dict[str, Any]  # what a worker is to do: "work" names its module here, the rest is for that module

PROGRAM = (sys.executable, "-m", "npsoftmax.bench")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class BenchmarkError(Exception):
    """The benchmark cannot give a figure; the text says why."""


def run_worker(job: Job, program: Sequence[str] = PROGRAM) -> dict[str, Any]:
    """Run `job` in a process of its own with its number of threads; its last line of output is the answer."""
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(job["threads"]))
    done = subprocess.run([*program, json.dumps(job)], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"the worker for {job} failed:\n{done.stderr.strip()[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def work(job: Job) -> dict[str, Any]:
    """Do here what `job` says: the worker's side of `run_worker`."""
    return importlib.import_module(f"npsoftmax.bench.{job['work']}").work(job)


def refuse_torch() -> None:
    """BenchmarkError if torch was imported in the process that measured npsoftmax."""
    if "torch" in sys.modules:
        raise BenchmarkError("torch was imported beside npsoftmax, whose speed its threads would change.")


def time_in_turn(
    calls: Mapping[str, Callable[[], Any]], seconds: float, *, warm_up: int = 2, least: int = 4
) -> dict[str, list[float]]:
    """Seconds of each call, made one after the other again and again until `seconds` have passed for each.

    What a call returns is freed before the next, outside the time: the next may need the memory.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    end = float("inf")
    for turn in range(sys.maxsize):
        if turn == warm_up:
            end = time.perf_counter() + seconds * len(calls)
        for name, call in calls.items():
            started = time.perf_counter()
            result = call()
            taken[name].append(time.perf_counter() - started)
            del result
        if turn >= warm_up + least - 1 and time.perf_counter() >= end:
            break
    return {name: values[warm_up:] for name, values in taken.items()}
