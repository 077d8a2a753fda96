"""One step of softmax over many classes, logits whole and in blocks, beside PyTorch's: seconds and memory.

    python benchmarks/linear_softmax.py --sizes 100000x4096,1000000x128 --json docs/results/linear-softmax.json

A step is the loss and its gradients by features, weights and bias, float32, 256 features. Each side is a process of its
own, the sides take turns, and the figure is the median of their steps, in seconds of the processor: on a machine with
other work the clock on the wall would measure that. Memory is the highest that a step held beyond the weights, their
gradient and what was there before (Linux). Without PyTorch ours are measured alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FEATURES = 256
OURS = ("whole", "blocks")
THEIRS = ("torch", "torch-auto", "torch-512")  # linear + cross_entropy; LinearCrossEntropyLoss, its chunks or 512 rows


def our_step(side: str, n: int, c: int) -> Callable[[], float]:
    from npsoftmax.heads import HEADS, ClassInfo
    from npsoftmax.host import keep_freed_memory, set_threads, single_threaded_blas
    from npsoftmax.layers.initialisation import shapes_only
    from npsoftmax.random import Rng

    keep_freed_memory()  # as training does
    set_threads(int(os.environ["OMP_NUM_THREADS"]))
    with shapes_only():
        head = HEADS["softmax"](FEATURES, ClassInfo(c), rng=Rng(0), logits=side)
    h, w, t = drawn(n, c)
    head.params["w"], head.params["b"] = w, np.zeros(c, dtype=np.float32)

    def step() -> float:
        with single_threaded_blas():
            value, cache = head.loss(h, t, train=True)
            head.backward(cache)
        return float(value)

    return step


def their_step(side: str, n: int, c: int) -> Callable[[], float]:
    import torch
    from torch.nn import LinearCrossEntropyOptions, functional

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    h, w, t = drawn(n, c)
    features = torch.tensor(h, requires_grad=True)
    layer = torch.nn.LinearCrossEntropyLoss(FEATURES, c, bias=True)
    chunks = {"batch_chunk_size": 512, "chunking_method": None} if side == "torch-512" else {}
    layer.options = None if side == "torch" else LinearCrossEntropyOptions(**chunks)
    with torch.no_grad():
        layer.linear.weight.copy_(torch.from_numpy(w.T))
        layer.linear.bias.zero_()
    targets = torch.tensor(t)

    def step() -> float:
        features.grad = layer.linear.weight.grad = layer.linear.bias.grad = None
        if side == "torch":
            loss = functional.cross_entropy(layer.linear(features), targets)
        else:
            loss = layer(features, targets)
        loss.backward()
        return float(loss.detach())

    return step


def drawn(n: int, c: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    w = rng.standard_normal((FEATURES, c), dtype=np.float32) / 16
    return rng.standard_normal((n, FEATURES), dtype=np.float32), w, rng.integers(0, c, n)


def memory(field: str) -> int:
    """Bytes of this process: VmRSS, now; VmHWM, the most since it was reset."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field))
    return int(line.split()[1]) * 1024


def worker(side: str, n: int, c: int, steps: int) -> None:
    step = (our_step if side in OURS else their_step)(side, n, c)
    Path("/proc/self/clear_refs").write_text("5")
    before, seconds = memory("VmRSS"), []
    for _ in range(steps + 1):  # the first is not counted: memory comes, threads start
        start = time.process_time()
        value = step()
        seconds.append(time.process_time() - start)
    print(json.dumps({"seconds": seconds[1:], "loss": value, "bytes": memory("VmHWM") - before - FEATURES * c * 4}))


def measured(side: str, n: int, c: int, steps: int, threads: int) -> dict[str, Any]:
    places = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    command = [sys.executable, __file__, "--worker", side, str(n), str(c), str(steps)]
    result = subprocess.run(command, env={**os.environ, **places}, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"{side} at {c} classes: {result.stderr.strip().splitlines()[-1:]}")
    return json.loads(result.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000x128,10000x4096,100000x128,100000x4096,1000000x128")
    parser.add_argument("--sides", default=None, help="some of whole, blocks, torch, torch-auto, torch-512")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each side (default: 2)")
    parser.add_argument("--steps", type=int, default=3, help="steps that count in a turn (default: 3)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    both = OURS + (THEIRS if importlib.util.find_spec("torch") else ())
    sides = args.sides.split(",") if args.sides else both
    rows = []
    for size in args.sizes.split(","):
        c, n = map(int, size.split("x"))
        turns: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
        for _ in range(args.rounds):
            for side in sides:
                turns[side].append(measured(side, n, c, args.steps, args.threads))
        for side, found in turns.items():
            seconds = [x for turn in found for x in turn["seconds"]]
            row = {"classes": c, "samples": n, "side": side, "threads": args.threads, "seconds": seconds}
            row |= {"median": statistics.median(seconds), "bytes": max(turn["bytes"] for turn in found)}
            rows.append(row)
            share = row["bytes"] / (4 * n * c)
            print(f"{c:>9,} x {n:>5,}  {side:<10}  {row['median']:8.3f} s  {share:6.1%} of N·C numbers", flush=True)
            if args.json:
                load = {"machine": platform.processor() or platform.machine(), "load": os.getloadavg(), "rows": rows}
                args.json.write_text(json.dumps(load, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2], *map(int, sys.argv[3:6]))
    else:
        main()
