"""Images a second of a training step while another program takes a CPU, and while none does, by how long threads spin.

    python benchmarks/busy_machine.py --model convnet --rounds 3

Each figure is a process of its own, and all take turns in each round. GOMP_SPINCOUNT is what GNU's OpenMP goes by:
"its own" is OpenMP's default, "ours" what npsoftmax sets (npsoftmax/host.py). One thread beside it, for comparison.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

import numpy as np

from npsoftmax.host import SPINS, keep_freed_memory, set_threads, single_threaded_blas

SPIN = {"its own": "300000", "10000": "10000", "ours": str(SPINS), "1000": "1000"}
COMPETITOR = [sys.executable, "-c", "while True: pass"]


def speed(model: str, threads: int, seconds: float) -> float:
    """Images a second of forward and backward at batch 128, in this process."""
    from npsoftmax import build_model

    set_threads(threads)
    keep_freed_memory()
    network = build_model(model)
    x, t = np.random.default_rng(0).normal(size=(128, 32, 32, 3)).astype(np.float32), np.arange(128) % 100

    def steps(n: int) -> int:
        for _ in range(n):
            network.backward(network.loss(x, t, train=True)[1])
        return n * len(x)

    with single_threaded_blas():
        steps(3)
        began, images = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            images += steps(1)
        return images / (time.perf_counter() - began)


def measured(words: argparse.Namespace, threads: int, spins: str, busy: bool) -> float:
    """The same in a new process, beside a program that computes without end if `busy`."""
    command = [sys.executable, __file__, "--model", words.model, "--seconds", str(words.seconds)]
    competitor = subprocess.Popen(COMPETITOR) if busy else None
    try:
        environment = os.environ | {"GOMP_SPINCOUNT": spins}
        done = subprocess.run(
            [*command, "--threads", str(threads)], env=environment, stdout=subprocess.PIPE, check=True
        )
    finally:
        if competitor is not None:
            competitor.kill()
            competitor.wait()
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="convnet")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.5)
    parser.add_argument("--threads", type=int, help="measure once, in this process, and print the figure alone")
    words = parser.parse_args()
    if words.threads:
        print(speed(words.model, words.threads, words.seconds))
        return
    sides = [("one thread", 1, SPIN["its own"]), *((f"two threads, {name}", 2, spins) for name, spins in SPIN.items())]
    for busy in (False, True):
        found: dict[str, list[float]] = {}
        for _ in range(words.rounds):
            for name, threads, spins in sides:
                found.setdefault(name, []).append(measured(words, threads, spins, busy))
        print("beside a busy program" if busy else "alone")
        for name, rounds in found.items():
            print(f"  {name:22}{statistics.median(rounds):8.0f}  {' '.join(f'{value:.0f}' for value in rounds)}")


if __name__ == "__main__":
    main()
