"""How fast a training step is: npsoftmax beside PyTorch, on the CPU.

    python benchmarks/train_step.py
    python benchmarks/train_step.py --models resnet9 --modes train,eval --json speed.json

A training step is forward, backward, and SGD with momentum on softmax cross entropy in float32, with the loss
read at each step; `eval` is the log-probabilities of all classes. README.md beside this file says how to read
the table.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    CLASSES,
    FIGURES,
    IMAGE,
    LEARNING_RATE,
    MOMENTUM,
    OURS,
    RIVALS,
    BenchmarkError,
    Job,
    Summary,
    batch,
    describe,
    entry,
    machine,
    name_list,
    option_parser,
    ratio_cells,
    ratio_to_better,
    run_worker,
    sides,
    table,
    take_turns,
    write_json,
)

from npsoftmax.backend import set_threads, single_threaded_blas
from npsoftmax.layers import leaves
from npsoftmax.models import build_model, model_builder
from npsoftmax.options import option_defaults
from npsoftmax.random import Rng

MODES = ("train", "eval")
WARM_UP, LEAST_STEPS = 2, 4
LOSS_TOLERANCE = 1e-3  # relative, after a step or two in float32
MOVE_TOLERANCE = 1e-2  # relative: rounding turns a few ReLUs and pooling winners over
MOVE_FLOOR = 1e-5  # of the largest move: a bias before batch norm has no gradient but rounding errors


# ---------------------------------------------------------------- our side
class Ours:
    """A model of npsoftmax with its batch, ready to step; its methods are those of `twins.Torch`."""

    def __init__(self, job: Job):
        set_threads(job["threads"])
        has_dropout = "dropout" in option_defaults(model_builder(job["model"]))
        options = {"dropout": 0.0} if has_dropout and not job["dropout"] else {}
        self.model = build_model(job["model"], "softmax", CLASSES, IMAGE, model_opts=options)
        self.x, self.t = batch(job["batch_size"])
        self.samples = np.arange(len(self.t))
        self.noise, self.steps = Rng(0, "noise"), 0
        if job.get("start"):
            np.savez(job["start"], x=self.x, t=self.t, **self.parameters())

    @cached_property
    def optimizer(self) -> Any:
        from npsoftmax.training.optimizers import SGD

        return SGD(self.model.params, momentum=MOMENTUM)

    def train_step(self) -> float:
        """Forward, backward, update; the mean loss."""
        rng = self.noise.at(self.steps, self.samples)
        loss, cache = self.model.loss(self.x, self.t, train=True, rng=rng)
        grads = self.model.backward(cache)
        self.optimizer.step(self.model.params, grads, lr=LEARNING_RATE)
        self.steps += 1
        return float(loss)

    def evaluate(self) -> float:
        """Log-probabilities of all classes in evaluation; the mean negative one of the labels."""
        return -float(self.model.log_prob(self.x)[self.samples, self.t].mean())

    def parameters(self) -> dict[str, np.ndarray]:
        """Copies of the parameters by name."""
        return {name: p.copy() for name, p in leaves(self.model.params)}


@contextmanager
def opened(job: Job) -> Iterator[Any]:
    """The side that `job` names, as its users train with it. Only PyTorch's workers import torch."""
    if job["side"] == OURS:
        with single_threaded_blas():  # as the Trainer does; PyTorch's BLAS is left alone
            yield Ours(job)
    else:
        from twins import Torch

        yield Torch(job)


# ---------------------------------------------------------------- what a worker does
def work(job: Job) -> dict[str, Any]:
    """One measurement; what it gives is the worker's one line of JSON."""
    with opened(job) as side:
        figures = {"guard": first_steps, "train": timed, "eval": timed}[job["task"]](side, job)
    if job["side"] == OURS and "torch" in sys.modules:
        raise BenchmarkError("torch was imported beside npsoftmax, whose speed its threads would change.")
    return figures


def first_steps(side: Any, job: Job) -> dict[str, Any]:
    """What both sides must agree on: the losses of two steps and an evaluation, and each parameter's move."""
    start = side.parameters()
    losses = [side.train_step(), side.train_step(), side.evaluate()]
    moves = {name: float(np.linalg.norm(p - start[name])) for name, p in side.parameters().items()}
    return {"losses": losses, "moves": moves}


def timed(side: Any, job: Job) -> dict[str, Any]:
    """Images a second: the median over as many steps as fit the time."""
    step = side.train_step if job["task"] == "train" else side.evaluate
    for _ in range(WARM_UP):
        loss = step()
    seconds: list[float] = []
    end = time.perf_counter() + job["seconds"]
    while len(seconds) < LEAST_STEPS or time.perf_counter() < end:
        started = time.perf_counter()
        loss = step()
        seconds.append(time.perf_counter() - started)
    if not math.isfinite(loss):
        raise BenchmarkError(f"the loss became {loss} within {len(seconds)} steps: these are no usual steps.")
    speed = job["batch_size"] / statistics.median(seconds)
    return {"images_per_second": speed, "steps": len(seconds), "loss": loss}


# ---------------------------------------------------------------- the guard
def check_same_work(args: argparse.Namespace, model: str) -> dict[str, list[float]]:
    """Train from the same parameters on all sides; BenchmarkError where they do not do the same.

    Returns the losses of each side.
    """
    with tempfile.TemporaryDirectory() as folder:
        job = job_of(args, model, "guard", dropout=False)
        job["start"] = str(Path(folder, "start.npz"))  # written by our side, read by the others
        figures = {side: run_worker(__file__, {**job, "side": side}) for side in (OURS, *RIVALS)}
    for rival in RIVALS:
        found = differences(figures[OURS], figures[rival])
        if found:
            complaint = f"{OURS} and {rival} do not do the same work on {model}; no ratio is given."
            raise BenchmarkError("\n".join([complaint, *found]))
    return {side: figures[side]["losses"] for side in figures}


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """What two workers' `first_steps` disagree about, in words."""
    found = []
    names = ("loss of step 1", "loss of step 2", "loss in evaluation")
    for name, a, b in zip(names, ours["losses"], theirs["losses"], strict=True):
        if not abs(a - b) <= LOSS_TOLERANCE * abs(b):  # not: a NaN is a difference
            found.append(f"  {name}: {a:.6g} against {b:.6g}")
    if ours["moves"].keys() != theirs["moves"].keys():
        found.append(f"  parameters: {sorted(ours['moves'])} against {sorted(theirs['moves'])}")
        return found
    floor = MOVE_FLOOR * max(theirs["moves"].values())
    for name, a in ours["moves"].items():
        b = theirs["moves"][name]
        if not abs(a - b) <= MOVE_TOLERANCE * b + floor:
            found.append(f"  move of {name}: {a:.6g} against {b:.6g}")
    return found


# ---------------------------------------------------------------- the script
def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = option_parser("How fast a training step is, beside PyTorch on the CPU.", rounds=3)
    parser.add_argument("--seconds", type=float, default=6.0, metavar="S", help="a measurement (default: 6)")
    parser.add_argument(
        "--modes",
        type=lambda text: name_list("mode", text, MODES),
        default=("train",),
        metavar="NAME,NAME",
        help="train, eval or both (default: train)",
    )
    return parser.parse_args(argv)


def job_of(args: argparse.Namespace, model: str, task: str, *, dropout: bool = True) -> Job:
    """The job of a worker, but for its side."""
    sizes = {"batch_size": args.batch_size, "threads": args.threads, "seconds": args.seconds}
    return {"model": model, "task": task, "dropout": dropout, **sizes}


def main(argv: Sequence[str]) -> int:
    """Measure and print; returns the exit code."""
    args = parse(argv)
    here = machine(args.threads)
    print(describe(here), flush=True)
    guard = {model: check_same_work(args, model) for model in args.models} if len(sides()) > 1 else {}

    def measure(model: str, mode: str, side: str) -> float:
        return run_worker(__file__, {**job_of(args, model, mode), "side": side})["images_per_second"]

    cases = [(model, mode, side) for model in args.models for mode in args.modes for side in sides()]
    results = with_ratios(take_turns(cases, args.rounds, measure, "images/s"))
    print(f"\nimages/s, batch {args.batch_size}; ratio to the faster PyTorch layout, above 1 is faster\n")
    print(draw(results))
    write_json(args, {"benchmark": "train_step", "machine": here, "guard_losses": guard, "results": results})
    return 0


def with_ratios(measured: dict[tuple[str, ...], Summary]) -> list[dict[str, Any]]:
    """One record a case: what it is, its speed, and its ratio to the faster of PyTorch's layouts."""
    records = []
    for (model, mode, side), speed in measured.items():
        rivals = [measured[model, mode, rival] for rival in RIVALS if (model, mode, rival) in measured]
        case = {"model": model, "mode": mode, "side": side}
        records.append({**case, "images_per_second": speed, "ratio": ratio_to_better(speed, rivals, max)})
    return records


def draw(results: Sequence[dict[str, Any]]) -> str:
    rows = []
    for record in results:
        speed = record["images_per_second"]
        figures = [f"{speed[name]:.1f}" for name in ("median", "min", "max")]
        case = [record[name] for name in ("model", "mode", "side")]
        rows.append([*case, *figures, *ratio_cells(record["ratio"])])
    return table(["model", "mode", "side", *FIGURES], rows, text_columns=3)


if __name__ == "__main__":
    sys.exit(entry(main, work))
