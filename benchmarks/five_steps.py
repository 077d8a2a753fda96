"""The figures of docs/how-it-is-fast.md: one layer in five steps, from the definition to Winograd and fused passes.

    python benchmarks/five_steps.py --rounds 5 --write docs/results/five-steps --page docs/how-it-is-fast.md

The layer is 3x3, 64 to 128 channels, on 32x32 images: forward and both gradients; with it what follows it in resnet9,
batch norm, ReLU and max-pool. Every step runs in a process of its own, in turns; all must come to the same results.
Steps 1 to 4 run as in a plain program, step 5 as the Trainer sets the process up. The seven loops are timed on a few
outputs and scaled. --page replaces the table between the page's two comments.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import BenchmarkError, Job, Summary, describe, entry, machine, new_file, run_worker, whole_number

from npsoftmax.bench import ceiling, layers, workers
from npsoftmax.bench.networks import our_settings
from npsoftmax.bench.shapes import BACKWARD, FORWARD, Conv, NormReLU, Pool
from npsoftmax.bench.turns import of_kind, summary, take_turns
from npsoftmax.functional import conv
from npsoftmax.host import set_threads
from npsoftmax.layers import BatchNormReLU, MaxPool2d

LAYER = Conv(64, 128, 32)
NORM, POOL = NormReLU(LAYER.outputs, LAYER.size), Pool(LAYER.outputs, LAYER.size, 2)
ONE = (1, 1)
LOOPED = (1, 1, 4)  # images, rows and columns of outputs that the seven loops compute
PARTS = ("convolution", "rest")
BEGIN, END = "<!-- five-steps: begin -->", "<!-- five-steps: end -->"

Call = Callable[[], list[np.ndarray]]
Nested = list[Any]  # lists of lists of numbers


class Step(NamedTuple):
    """A row of the table; `options` are those of the forward pass."""

    number: str
    title: str
    algorithm: str
    options: dict[str, int]
    trainer: bool = False  # the process as the Trainer sets it up, and the rest of the block fused


STEPS = {
    "loops": Step("1", "the definition, seven loops (scaled)", "", {}),
    "naive": Step("1", "the definition, window by window", "naive", {}),
    "im2col": Step("2", "whole columns, one product", "im2col", {}),
    "tiled": Step("3", "tiles of columns", "tiled", {}),
    "winograd2": Step("4", "Winograd F(2x2)", "winograd", {"tile": 2}),
    "winograd4": Step("4", "Winograd F(4x4)", "winograd", {"tile": 4}),
    "fused": Step("5", "fewer passes over memory", "winograd", {"tile": 4}, trainer=True),
}


def main(words: Sequence[str]) -> int:
    args = options(words)
    here = machine(args.threads)
    print(describe(here), flush=True)
    job = {"threads": args.threads, "batch_size": args.batch_size, "seconds": args.seconds}

    def measure(kind: str, name: str, *_: str) -> dict[str, Any]:
        if kind == "ceiling":
            return workers.run_worker({**job, "work": kind, "task": name})
        return run_worker(__file__, {**job, "step": name})

    def tell(number: int, case: Sequence[str], _: Any) -> None:
        print(f"round {number}/{args.rounds}  {' '.join(case)}", file=sys.stderr)

    cases = [*ceiling.cases([args.threads], ["own", "memory"]), *(("step", name) for name in STEPS)]
    measured = take_turns(cases, args.rounds, measure, tell)
    answers = {name: found for (name,), found in of_kind(measured, "step").items()}
    check_same_results(answers)
    roofs = ceiling.roofs(of_kind(measured, "ceiling"), args.threads)
    figures = {name: figures_of(found) for name, found in answers.items()}
    text = as_table(figures, roofs, here, args.batch_size)
    print(f"\n{text}")
    write(args, text, {"steps": figures, "roofs": roofs, "batch_size": args.batch_size, "machine": here})
    return 0


def options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=whole_number(1), default=3, metavar="N", help="rounds (default: 3)")
    parser.add_argument("--threads", type=whole_number(1), default=2, metavar="N", help="threads (default: 2)")
    parser.add_argument("--batch-size", type=whole_number(1), default=128, metavar="N", help="images (default: 128)")
    parser.add_argument("--seconds", type=float, default=2.0, metavar="S", help="time for each part (default: 2)")
    parser.add_argument("--write", type=new_file, metavar="FILE", help="write FILE.md and FILE.json")
    parser.add_argument("--page", type=Path, metavar="FILE", help="replace the table in this page")
    return parser.parse_args(words)


# ---------------------------------------------------------------- what a worker does
def work(job: Job) -> dict[str, Any]:
    """Median seconds of the convolution and of the rest of the block, and a sample of each result."""
    step, n = STEPS[job["step"]], job["batch_size"]
    set_threads(job["threads"])
    with our_settings(job["threads"]) if step.trainer else nullcontext():
        arrays = layers.inputs(LAYER, n)
        calls = {"convolution": convolution(step, arrays), "rest": rest(step.trainer, n)}
        taken = workers.time_in_turn(calls, job["seconds"], warm_up=1, least=2)
        samples = {name: [layers.sample(result) for result in call()] for name, call in calls.items()}
    seconds = {name: statistics.median(values) for name, values in taken.items()}
    if not step.algorithm:
        seconds["convolution"] *= n * LAYER.size**2 / np.prod(LOOPED)
    return {"seconds": seconds, "samples": samples}


def convolution(step: Step, arrays: Mapping[str, np.ndarray]) -> Call:
    """Forward and all gradients of the layer; of the seven loops, only a few outputs' and no results."""
    x, w, b, dy = (arrays[name] for name in ("x", "w", "b", "dy"))
    forward, backward = (getattr(conv, f"conv2d_{step.algorithm}_{which}", None) for which in (FORWARD, BACKWARD))
    lists = [] if step.algorithm else loop_lists(x, w, dy)

    def loops() -> list[np.ndarray]:
        seven_loops(*lists, LOOPED)
        return []

    def passes() -> list[np.ndarray]:
        y, cache = forward(x, w, b, ONE, ONE, **step.options)
        return [y, *backward(dy, cache)]

    return passes if step.algorithm else loops


def rest(fused: bool, n: int) -> Call:
    """Batch norm, ReLU and max-pool, forward and backward."""
    z, dp = layers.inputs(NORM, n)["x"], layers.inputs(POOL, n)["dy"]
    norm, pool = BatchNormReLU(NORM.channels, fused=fused), MaxPool2d(POOL.window)

    def call() -> list[np.ndarray]:
        y, norm_cache = norm.forward(z, train=True)
        p, pool_cache = pool.forward(y, train=True)
        dy, _ = pool.backward(dp, pool_cache)
        dz, grads = norm.backward(dy, norm_cache)
        return [p, dz, *grads.values()]

    return call


# ---------------------------------------------------------------- the definition
def loop_lists(x: np.ndarray, w: np.ndarray, dy: np.ndarray) -> list[Nested]:
    """x padded, w, dy, and zeros for y, dx (padded) and dw, as lists: Python is slower still on elements of arrays."""
    padded = np.pad(x[: LOOPED[0]], ((0, 0), (1, 1), (1, 1), (0, 0)))
    arrays = (padded, w, dy[: LOOPED[0]], np.zeros_like(dy[: LOOPED[0]]), np.zeros_like(padded), np.zeros_like(w))
    return [array.tolist() for array in arrays]


def seven_loops(
    x: Nested, w: Nested, dy: Nested, y: Nested, dx: Nested, dw: Nested, outputs: tuple[int, int, int]
) -> None:
    """Adds what the first `outputs` (images, rows, columns) have to do with y, dx and dw to them."""
    inputs, filters = len(w[0][0]), len(w[0][0][0])
    for n in range(outputs[0]):
        for i in range(outputs[1]):
            for j in range(outputs[2]):
                for f in range(filters):
                    for u in range(3):
                        for v in range(3):
                            for c in range(inputs):
                                y[n][i][j][f] += x[n][i + u][j + v][c] * w[u][v][c][f]
                                dx[n][i + u][j + v][c] += dy[n][i][j][f] * w[u][v][c][f]
                                dw[u][v][c][f] += dy[n][i][j][f] * x[n][i + u][j + v][c]


# ---------------------------------------------------------------- figures
def check_same_results(answers: Mapping[str, Sequence[dict[str, Any]]]) -> None:
    """BenchmarkError unless all steps came to the same results."""
    for part in PARTS:
        samples = {name: found[0]["samples"][part] for name, found in answers.items() if found[0]["samples"][part]}
        (first, expected), *others = samples.items()
        for name, found in others:
            if not layers.agree(found, expected):
                raise BenchmarkError(f"{name} and {first} have different results of the {part}.")


def figures_of(answers: Sequence[dict[str, Any]]) -> dict[str, Summary]:
    """Seconds of each part and of both, over the rounds."""
    seconds = {part: [answer["seconds"][part] for answer in answers] for part in PARTS}
    block = [sum(parts) for parts in zip(*seconds.values(), strict=True)]
    return {name: summary(values) for name, values in {**seconds, "block": block}.items()}


def as_table(
    figures: Mapping[str, Mapping[str, Summary]], roofs: Mapping[str, float], here: dict[str, Any], n: int
) -> str:
    """Markdown: a row a step, and the machine below."""
    flops = LAYER.work(FORWARD, n).flops + LAYER.work(BACKWARD, n).flops
    lines = [
        "| step | convolution, ms (min–max) | effective GFLOP/s | of roof | batch norm, ReLU, pool, ms "
        "| together, ms | times faster than the row above |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    above = None
    for name, step in STEPS.items():
        found = figures[name]
        speed, block = 1e-9 * flops / found["convolution"]["median"], found["block"]["median"]
        cells = [
            f"{step.number} {step.title}",
            f"{milliseconds(found['convolution'])} ({milliseconds(found['convolution'], 'min', 'max')})",
            two_digits(speed),
            f"{two_digits(100 * speed / roofs['sgemm'])} %",
            milliseconds(found["rest"]),
            milliseconds(found["block"]),
            two_digits(above / block) if above else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
        above = block
    rounds = len(figures["tiled"]["block"]["rounds"])
    return "\n".join([*lines, "", about(here, roofs, n, rounds)])


def two_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def milliseconds(figure: Summary, *names: str) -> str:
    """The median, or the figures of these names."""
    return "–".join(f"{1e3 * figure[name]:,.0f}" for name in names or ("median",))


def about(here: dict[str, Any], roofs: Mapping[str, float], n: int, rounds: int) -> str:
    """What the table was measured with."""
    threads = f"{here['threads']} thread{'s' * (here['threads'] > 1)}"
    busy = "" if here["load"] is None else f" Load at the start: {here['load']:.1f}."
    return (
        f"{here['name']}; {threads}, batch {n}, float32; medians of {rounds} round{'s' * (rounds > 1)}, every step in "
        f"a process of its own. Roof: matrix products, {roofs['sgemm']:.0f} GFLOP/s; memory: {roofs['DRAM']:.0f} GB/s "
        f"from main memory, {roofs['L3']:.0f} from the third-level cache, {roofs['L2']:.0f} from the second.{busy}"
    )


# ---------------------------------------------------------------- files
def write(args: argparse.Namespace, text: str, figures: dict[str, Any]) -> None:
    if args.write:
        title = f"# One layer in five steps: {LAYER.inputs} to {LAYER.outputs} channels, {LAYER.size}x{LAYER.size}"
        made = (
            "Forward and both gradients, then batch norm, ReLU and max-pool both ways; what the steps are: "
            "[how it is fast](../how-it-is-fast.md). Made by `python benchmarks/five_steps.py`."
        )
        args.write.with_suffix(".md").write_text(f"{title}\n\n{made}\n\n{text}\n", encoding="utf-8")
        args.write.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if args.page:
        page = args.page.read_text(encoding="utf-8")
        args.page.write_text(with_table(page, text), encoding="utf-8")


def with_table(page: str, table: str) -> str:
    """The page with another table between its two comments; BenchmarkError where it lacks them."""
    before, begin, rest_of_page = page.partition(BEGIN)
    _, end, after = rest_of_page.partition(END)
    if not (begin and end):
        raise BenchmarkError(f"the page has no {BEGIN} and {END}, between which the table stands.")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


if __name__ == "__main__":
    sys.exit(entry(main, work))
