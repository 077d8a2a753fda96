"""How fast a whole step is: images a second in training and in evaluation, after a guard that all sides do the same.

A training step is forward, backward, and SGD with momentum on softmax cross entropy in float32, with the loss read as
a number; `eval` is the log-probabilities of all classes.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.bench.machine import OURS, RIVALS
from npsoftmax.bench.networks import opened
from npsoftmax.bench.turns import Case, ratio_to_better, summary
from npsoftmax.bench.workers import BenchmarkError, Job, refuse_torch, run_worker, time_in_turn

MODES = ("train", "eval")
LOSS_TOLERANCE = 1e-3  # relative, after a step or two in float32
LOSS_FLOOR = 0.1  # one image may be learnt in a step, and a loss of almost nothing is all rounding
MOVE_TOLERANCE = 1e-2  # relative: rounding turns a few ReLUs and pooling winners over
MOVE_FLOOR = 1e-5  # of the largest move: a bias before batch norm has no gradient but rounding errors


# ---------------------------------------------------------------- what a worker does
def work(job: Job) -> dict[str, Any]:
    """One measurement: the job's "task" is a mode, or "guard"."""
    with opened(job) as side:
        figures = first_steps(side) if job["task"] == "guard" else timed(side, job)
        if job["side"] == OURS:
            refuse_torch()
            figures["macs"] = side.model.macs()
    return figures


def first_steps(side: Any) -> dict[str, Any]:
    """What both sides must agree on: the losses of two steps and an evaluation, and each parameter's move."""
    start = side.parameters()
    losses = [side.train_step(), side.train_step(), side.evaluate()]
    moves = {name: float(np.linalg.norm(p - start[name])) for name, p in side.parameters().items()}
    return {"losses": losses, "moves": moves}


def timed(side: Any, job: Job) -> dict[str, Any]:
    """Images a second: the median over as many steps as fit the time."""
    losses: list[float] = []
    step = side.train_step if job["task"] == "train" else side.evaluate
    seconds = time_in_turn({"step": lambda: losses.append(step())}, job["seconds"])["step"]
    if not math.isfinite(losses[-1]):
        raise BenchmarkError(
            f"the loss became {losses[-1]} within {len(losses)} steps: the speed of such steps means nothing."
        )
    speed = job["batch_size"] / statistics.median(seconds)
    return {"images_per_second": speed, "steps": len(seconds), "loss": losses[-1]}


# ---------------------------------------------------------------- the guard
def check_same_work(job: Job) -> dict[str, list[float]]:
    """Train from the same parameters on all sides; BenchmarkError where they do not do the same.

    `job` names the model, its batch size and threads. Returns the losses of each side.
    """
    with tempfile.TemporaryDirectory() as folder:
        start = str(Path(folder, "start.npz"))  # written by our side, read by the others
        shared = {**job, "task": "guard", "dropout": False, "start": start}
        figures = {side: run_worker({**shared, "side": side}) for side in (OURS, *RIVALS)}
    for rival in RIVALS:
        found = differences(figures[OURS], figures[rival])
        if found:
            complaint = f"{OURS} and {rival} do not do the same work on {job['model']}; no ratio is given."
            raise BenchmarkError("\n".join([complaint, *found]))
    return {side: figures[side]["losses"] for side in figures}


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """What two workers' `first_steps` disagree about, in words."""
    found = []
    names = ("loss of step 1", "loss of step 2", "loss in evaluation")
    for name, a, b in zip(names, ours["losses"], theirs["losses"], strict=True):
        if not abs(a - b) <= LOSS_TOLERANCE * max(abs(b), LOSS_FLOOR):  # not: a NaN is a difference
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


# ---------------------------------------------------------------- figures
def figures_of(
    measured: Mapping[Case, Sequence[dict[str, Any]]], model: str, mode: str, roof: float | None
) -> dict[str, Any]:
    """Speed of a model beside the faster PyTorch layout (None where that was not measured), and its share of the roof.

    measured: (model, mode, side) -> the workers' answers, round by round. roof: GFLOP/s of matrix products, if that
    was measured. A training step counts as three forward passes, of the multiply-adds of convolutions and dense layers.
    """
    answers = {case[2]: found for case, found in measured.items() if case[:2] == (model, mode)}
    speeds = {side: summary([a["images_per_second"] for a in found]) for side, found in answers.items()}
    rivals = [speeds[side] for side in RIVALS if side in speeds]
    gflops = speeds[OURS]["median"] * 2e-9 * answers[OURS][0]["macs"] * (3 if mode == "train" else 1)
    return {
        "images_per_second": speeds[OURS]["median"],
        "torch_images_per_second": max((rival["median"] for rival in rivals), default=None),
        **ratio_to_better(speeds[OURS], rivals),
        "gflops_effective": gflops,
        "share_of_roof": gflops / roof if roof else None,
        "sides": speeds,
    }
