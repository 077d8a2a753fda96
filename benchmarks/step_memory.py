"""How much memory training takes: npsoftmax beside PyTorch, on the CPU.

    python benchmarks/step_memory.py
    python benchmarks/step_memory.py --models resnet9 --json memory.json

The figure is the peak of resident memory during three training steps, less what was resident once the model
and the batch were there: activations, gradients, momentum and scratch. README.md beside this file says how to
read the table.
"""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import (
    FIGURES,
    RIVALS,
    BenchmarkError,
    Job,
    Summary,
    describe,
    entry,
    machine,
    option_parser,
    ratio_cells,
    ratio_to_better,
    run_worker,
    sides,
    table,
    take_turns,
    write_json,
)
from train_step import opened

STEPS = 3
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


# ---------------------------------------------------------------- what a worker does
def work(job: Job) -> dict[str, Any]:
    """Peak memory that three training steps add; the worker's one line of JSON."""
    # A small step first: what a first call loads (code, threads) is no memory of training.
    with opened({**job, "model": "tinyvgg", "batch_size": 2}) as small:
        small.train_step()
    del small
    with opened(job) as side:
        give_back()
        before, was_reset = resident(), reset_peak()
        for _ in range(STEPS):
            side.train_step()
    peak = peak_resident()
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


# ---------------------------------------------------------------- the script
def main(argv: Sequence[str]) -> int:
    """Measure and print; returns the exit code."""
    args = option_parser("How much memory training takes, beside PyTorch.", rounds=1).parse_args(argv)
    if not STATUS.exists():
        raise BenchmarkError(f"memory is read from {STATUS}, which only Linux has.")
    here = machine(args.threads)
    print(describe(here), flush=True)
    details: dict[str, list[dict[str, Any]]] = {}

    def measure(model: str, side: str) -> float:
        sizes = {"batch_size": args.batch_size, "threads": args.threads}
        figures = run_worker(__file__, {"side": side, "model": model, "dropout": True, **sizes})
        details.setdefault(f"{model} {side}", []).append(figures)
        return figures["added_mib"]

    cases = [(model, side) for model in args.models for side in sides()]
    results = with_ratios(take_turns(cases, args.rounds, measure, "MiB"))
    print(f"\nMiB added by {STEPS} training steps, batch {args.batch_size};", end=" ")
    print("ratio to the leaner PyTorch layout, below 1 is less\n")
    print(draw(results))
    if not all(figures["peak_was_reset"] for listed in details.values() for figures in listed):
        print("\nnote: the peak could not be reset here, so that building the model may count in it")
    write_json(args, {"benchmark": "step_memory", "machine": here, "details": details, "results": results})
    return 0


def with_ratios(measured: dict[tuple[str, ...], Summary]) -> list[dict[str, Any]]:
    """One record a case: what it is, the memory it adds, and its ratio to the leaner of PyTorch's layouts."""
    records = []
    for (model, side), added in measured.items():
        rivals = [measured[model, rival] for rival in RIVALS if (model, rival) in measured]
        ratio = ratio_to_better(added, rivals, min)
        records.append({"model": model, "side": side, "added_mib": added, "ratio": ratio})
    return records


def draw(results: Sequence[dict[str, Any]]) -> str:
    rows = []
    for record in results:
        figures = [f"{record['added_mib'][name]:.1f}" for name in ("median", "min", "max")]
        rows.append([record["model"], record["side"], *figures, *ratio_cells(record["ratio"])])
    return table(["model", "side", *FIGURES], rows, text_columns=2)


if __name__ == "__main__":
    sys.exit(entry(main, work))
