"""How much memory training takes: the peak of resident memory during three steps, less what was resident before.

That is activations, gradients, momentum and scratch; model and batch are there already, and what a first call loads
(code, threads) is left out.
"""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from npsoftmax.bench.machine import OURS, RIVALS
from npsoftmax.bench.networks import opened
from npsoftmax.bench.turns import Case, ratio_to_better, summary
from npsoftmax.bench.workers import BenchmarkError, Job, refuse_torch

STEPS = 3
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


# ---------------------------------------------------------------- what a worker does
def work(job: Job) -> dict[str, Any]:
    """Peak memory in MiB that three training steps add."""
    with opened({**job, "model": "tinyvgg", "batch_size": 2}) as small:
        small.train_step()
    del small
    with opened(job) as side:
        give_back()
        before, was_reset = resident(), reset_peak()
        for _ in range(STEPS):
            side.train_step()
    peak = peak_resident()
    if job["side"] == OURS:
        refuse_torch()
    return {"added_mib": peak - before, "before_mib": before, "peak_mib": peak, "peak_was_reset": was_reset}


def give_back() -> None:
    """Return freed memory to the system, else what building the model left would serve the steps unseen."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # the GNU C library has it
    if trim is not None:
        trim(0)


def resident() -> float:
    """MiB of this process in memory now."""
    return _status("VmRSS")


def peak_resident() -> float:
    """The most MiB that were in memory since the start or the last reset."""
    return _status("VmHWM")


def reset_peak() -> bool:
    """Start the peak anew from what is resident now; False where the system does not allow it."""
    try:
        CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _status(field: str) -> float:
    line = re.search(rf"^{field}:\s+(\d+) kB", STATUS.read_text(encoding="utf-8"), re.MULTILINE)
    if line is None:
        raise BenchmarkError(f"{STATUS} has no {field}.")
    return int(line[1]) / 1024


# ---------------------------------------------------------------- figures
def figures_of(measured: Mapping[Case, Sequence[dict[str, Any]]], model: str) -> dict[str, Any]:
    """Memory of a model beside the leaner PyTorch layout; None for PyTorch where it was not measured.

    measured: (model, side) -> the workers' answers, round by round.
    """
    answers = {side: found for (name, side), found in measured.items() if name == model}
    added = {side: summary([answer["added_mib"] for answer in found]) for side, found in answers.items()}
    rivals = [added[side] for side in RIVALS if side in added]
    return {
        "added_mib": added[OURS]["median"],
        "torch_added_mib": min((rival["median"] for rival in rivals), default=None),
        **ratio_to_better(added[OURS], rivals, min),
        "sides": {side: {**figure, "details": answers[side]} for side, figure in added.items()},
    }
