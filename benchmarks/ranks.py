"""What more processes gain: steps of a model on 1, 2, … processes of one thread each, beside the cost model.

    python benchmarks/ranks.py --ranks 1,2 --json ranks.json

Needs `pip install "npsoftmax[mpi]"`. Each number of processes is measured by an mpiexec of its own, in turns. A step
has four parts: `compute` (forward and backward of this process's share), `wait` (for the slowest), `sum` (the gradients
of all processes), `update`. The model, of docs/cluster.md: with 1 process a step takes C + F, C the compute, which is
shared out, and F the update, which is not; with N of them C/N + F + S, S the sum of the gradients as measured alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import BenchmarkError, describe, entry, machine, name_list, new_file, table, whole_number, write_json

from npsoftmax.models import MODELS

PARTS = ("compute", "wait", "sum", "update")


# ---------------------------------------------------------------- in each process of mpiexec
def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Medians over the steps, in seconds; those of the first process. All processes of mpiexec call it."""
    from npsoftmax.distributed import join
    from npsoftmax.host import keep_freed_memory, set_threads, single_threaded_blas
    from npsoftmax.models import build_model
    from npsoftmax.params import leaves
    from npsoftmax.random import Rng
    from npsoftmax.training.optimizers import SGD

    group = join("python benchmarks/ranks.py")
    set_threads(1)
    keep_freed_memory()
    model = build_model(job["model"])
    optimizer = SGD(model.params, momentum=0.9, weight_decay=0.0)
    draw = np.random.default_rng(0)
    x = draw.standard_normal((job["batch"], 32, 32, 3), dtype=np.float32)
    t = draw.integers(0, 100, job["batch"])
    part, share = group.begin_step(job["batch"])
    taken: dict[str, list[float]] = {name: [] for name in (*PARTS, "step", "sum alone")}
    with single_threaded_blas():
        for step in range(job["steps"]):
            marks = [time.perf_counter()]
            _, cache = model.loss(x[part], t[part], train=True, rng=Rng(0).at(step, np.arange(job["batch"])[part]))
            grads = model.backward(cache, share)
            marks.append(time.perf_counter())
            group.comm.Barrier()
            marks.append(time.perf_counter())
            grads = group.sum_gradients(grads)
            marks.append(time.perf_counter())
            optimizer.step(model.params, grads, lr=1e-3, momentum=0.9)
            marks.append(time.perf_counter())
            for name, (first, last) in zip(PARTS, itertools.pairwise(marks), strict=True):
                taken[name].append(last - first)
            taken["step"].append(marks[-1] - marks[0])
        for _ in range(job["steps"]):
            group.comm.Barrier()
            started = time.perf_counter()
            group.sum_gradients(grads)
            taken["sum alone"].append(time.perf_counter() - started)
    found = {name: statistics.median(values[2:]) for name, values in taken.items()}
    return found | {"bytes": sum(g.nbytes for _, g in leaves(model.params)), "first": group.is_first}


def worker(job: dict[str, Any]) -> int:
    found = measure(job)
    if found.pop("first"):
        print(json.dumps(found))
    return 0


# ---------------------------------------------------------------- for the user
def run_ranks(ranks: int, job: dict[str, Any]) -> dict[str, Any]:
    """What the first of so many processes measured."""
    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
    if mpiexec is None:
        raise BenchmarkError('there is no mpiexec; type pip install "npsoftmax[mpi]".')
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [mpiexec, "-n", str(ranks), sys.executable, __file__, "--process", json.dumps(job)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"{ranks} processes failed:\n{done.stderr.strip()[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def predicted(one: dict[str, Any], found: dict[str, Any], ranks: int) -> float:
    """Seconds of a step of `ranks` processes, from that of one and from what their sum takes alone."""
    return one["compute"] / ranks + one["update"] + found["sum alone"]


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=partial(name_list, "model", known=list(MODELS)), default=("convnet",))
    parser.add_argument("--ranks", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2])
    parser.add_argument("--batch-size", type=whole_number(1), default=128, help="of all processes together")
    parser.add_argument("--steps", type=whole_number(4), default=20)
    parser.add_argument("--rounds", type=whole_number(1), default=3)
    parser.add_argument("--json", type=new_file, help="write the figures to this file")
    args = parser.parse_args(argv)
    if 1 not in args.ranks:
        parser.error("--ranks needs 1, with which the others are compared")
    here = machine(1)
    print(describe(here), file=sys.stderr)
    rows, figures = [], {}
    for model in args.models:
        job = {"model": model, "batch": args.batch_size, "steps": args.steps}
        rounds: dict[int, list[dict[str, Any]]] = {n: [] for n in args.ranks}
        for number in range(args.rounds):
            for n in args.ranks:
                rounds[n].append(run_ranks(n, job))
                print(
                    f"round {number + 1}/{args.rounds}  {model} on {n}: {rounds[n][-1]['step']:.4f} s", file=sys.stderr
                )
        found = {n: {key: statistics.median(r[key] for r in rounds[n]) for key in rounds[n][0]} for n in args.ranks}
        for n, f in found.items():
            f["predicted"] = predicted(found[1], f, n) if n > 1 else f["step"]
            cells = [f"{f[key] * 1e3:.1f}" for key in (*PARTS, "sum alone", "step", "predicted")]
            rows.append([model, str(n), *cells, f"{found[1]['step'] / f['step']:.2f}"])
        figures[model] = found
    print(table(["model", "processes", *PARTS, "sum alone", "step ms", "predicted", "speedup"], rows, 1))
    write_json(args, {"machine": here, "seconds": figures})
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--process"]:
        sys.exit(worker(json.loads(sys.argv[2])))
    sys.exit(entry(main, measure))
