"""Matrix products of vit_small at batch 128, ours beside NumPy's (OpenBLAS with the same number of threads).

    python benchmarks/products.py --rounds 5 --json products.json

Every side of every product is measured in a process of its own, in turns. Before anything is timed, both results are
compared. GFLOP/s count two operations for each of M N K; the ratio is ours over NumPy's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from common import (
    BenchmarkError,
    Job,
    describe,
    entry,
    machine,
    new_file,
    run_worker,
    table,
    take_turns,
    whole_number,
    write_json,
)

from npsoftmax.bench.report import RATIO_COLUMNS, ratio_cells, with_spread
from npsoftmax.bench.turns import ratio_to_better
from npsoftmax.bench.workers import time_in_turn

ROWS = 128 * 65  # images times tokens
WIDTHS = ((192, 576), (192, 192), (192, 384), (384, 192))  # queries, keys and values; projection; the two of the MLP
FORMS = ("y = x @ w", "dx = dy @ wT", "dw = xT @ dy")
SIDES = ("npsoftmax", "numpy")
CLOSE = 1e-4  # largest difference allowed, as a share of the largest number


def factors(form: str, width: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The two matrices of a product, the transposed one as a view, as in training."""
    draw = np.random.default_rng(0)
    x, w, dy = (draw.standard_normal(shape, dtype=np.float32) for shape in ((ROWS, width[0]), width, (ROWS, width[1])))
    return {FORMS[0]: (x, w), FORMS[1]: (dy, w.T), FORMS[2]: (x.T, dy)}[form]


def work(job: Job) -> dict[str, Any]:
    """GFLOP/s of one side of one product."""
    from npsoftmax.host import keep_freed_memory, set_threads
    from npsoftmax.kernels.matmul import matmul

    set_threads(job["threads"])
    keep_freed_memory()
    a, b = factors(job["form"], tuple(job["width"]))
    compute = matmul if job["side"] == "npsoftmax" else np.matmul
    ours, theirs = matmul(a, b), np.matmul(a, b)
    apart = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    if apart > CLOSE:
        raise BenchmarkError(f"the results of {job['form']} are {apart:.1e} apart.")
    taken = time_in_turn({"product": lambda: compute(a, b)}, job["seconds"])["product"]
    return {"gflops": 2e-9 * a.shape[0] * a.shape[1] * b.shape[1] / statistics.median(taken)}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=whole_number(1), default=2)
    parser.add_argument("--rounds", type=whole_number(1), default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--json", type=new_file, help="write the figures to this file")
    args = parser.parse_args(argv)
    here = machine(args.threads)
    print(describe(here), file=sys.stderr)
    names = {f"{width[0]}x{width[1]}": width for width in WIDTHS}
    cases = [(form, name, side) for form in FORMS for name in names for side in SIDES]

    def measure(form: str, name: str, side: str) -> float:
        job = {"form": form, "width": names[name], "side": side, "threads": args.threads, "seconds": args.seconds}
        return run_worker(__file__, job)["gflops"]

    found = take_turns(cases, args.rounds, measure, "GFLOP/s")
    rows, figures = [], {}
    for form in FORMS:
        for name in names:
            ours, theirs = (found[form, name, side] for side in SIDES)
            ratio = ratio_to_better(ours, [theirs])
            rows.append([form, name, with_spread(ours), with_spread(theirs), *ratio_cells(ratio)])
            figures[f"{form}, {name}"] = {"npsoftmax": ours, "numpy": theirs, **ratio}
    print(table(["product", "weights", "npsoftmax", "NumPy", *RATIO_COLUMNS], rows, 2))
    write_json(args, {"machine": here, "gflops": figures})
    return 0


if __name__ == "__main__":
    sys.exit(entry(main, work))
