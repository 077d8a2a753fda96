"""All candidates on one task under one budget: the same samples, passes, rates and seeds for each."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from npsoftmax.advise.candidates import Candidate, Tell, candidates
from npsoftmax.advise.task import Task
from npsoftmax.advise.trial import BATCH, MOST_FURTHER, RATES, choose_rate, cost, scores, step_ms, train
from npsoftmax.advise.verdict import verdict
from npsoftmax.errors import InputError
from npsoftmax.heads import ClassInfo
from npsoftmax.host import get_threads, single_threaded_blas

CURVE = (100, 1000, 10_000)  # classes of the cost curve, beside those of the task
COST_SECONDS = 0.15  # that a step is measured at each of them
PASSES, ENOUGH_STEPS = 3, 400  # over the samples, unless told otherwise: so many, or those that make so many steps
LEAST_STEPS = 20  # of a pass, below which no budget cuts the samples


def compare(
    task: Task,
    *,
    passes: int | None = None,
    seeds: int,
    minutes: float,
    ordered: bool = False,
    tell: Tell = lambda _: None,
) -> dict[str, Any]:
    """What every candidate is worth and costs, and which to take: plain values for JSON.

    passes: None for PASSES, or more where the samples are few.

    First the costs are measured. If training all candidates would take longer than `minutes` by them, all get fewer
    samples. Each head's rate is chosen on the tuning part with seed 0; its other seeds are trained at that rate; all
    are scored on the scored part, which chooses nothing but the head that is recommended.
    """
    began = time.perf_counter()
    passes = passes or max(PASSES, -(-ENOUGH_STEPS // -(-len(task.train) // BATCH)))
    chosen, left_out = candidates(task.features, task.classes, ordered)
    with single_threaded_blas():
        costs = {c.name: _costs(c, task) for c in chosen}
        whole = len(task.train)
        of_all = sum(own["step_ms"] for own, _ in costs.values())
        task = _within(task, of_all, passes, seeds, 60 * minutes - (time.perf_counter() - began))
        if len(task.train) < whole:
            tell(f"{len(task.train):,} of {whole:,} samples are trained on, to end in {minutes:g} minutes")
        rows: dict[str, Any] = {}
        rights: dict[str, np.ndarray] = {}
        for number, candidate in enumerate(chosen, 1):
            try:
                row, right = _row(candidate, task, passes, seeds)
            except InputError as error:
                left_out[candidate.name] = str(error)
                continue
            own, curve = costs[candidate.name]
            rows[candidate.name] = row | own | {"curve": curve}
            rights[candidate.name] = right
            tell(f"{number}/{len(chosen)} {candidate.name}: {100 * row['accuracy']:.2f}%")
    if not rows:
        raise InputError(
            "no head could be trained on these features: " + "; ".join(f"{n}: {w}" for n, w in left_out.items())
        )
    return {
        "source": task.source,
        "features": task.features,
        "classes": task.classes.n,
        "samples": {"train": len(task.train), "tune": len(task.tune), "score": len(task.score), "all_to_train": whole},
        "budget": {"passes": passes, "seeds": seeds, "batch": BATCH, "rates": list(RATES), "threads": get_threads()},
        "heads": dict(sorted(rows.items(), key=lambda item: -item[1]["accuracy"])),
        "left_out": left_out,
        "verdict": verdict(rows, rights),
        "seconds": time.perf_counter() - began,
    }


def _costs(candidate: Candidate, task: Task) -> tuple[dict[str, float], dict[int, float]]:
    """What it costs for the task's classes, and the milliseconds of a step for other numbers of them."""
    own = cost(candidate, task.features, task.classes, COST_SECONDS)
    curve = {task.classes.n: own["step_ms"]}
    for n in CURVE:
        if n not in curve:
            coarse = None if task.classes.coarse is None else np.arange(n) // 5
            classes = ClassInfo(n, np.arange(n, 0, -1), coarse)
            try:
                curve[n] = step_ms(candidate, task.features, classes, COST_SECONDS / 2)
            except InputError:  # a head that is not built for so many
                continue
    return own, dict(sorted(curve.items()))


def _within(task: Task, of_all: float, passes: int, seeds: int, seconds: float) -> Task:
    """The task with as many samples as all candidates can be trained on in so many seconds.

    of_all: milliseconds of a step of all of them together. Scoring, shuffling and copying take the rest of the time.
    """
    trials = len(RATES) + MOST_FURTHER / 2 + seeds - 1
    steps = max(LEAST_STEPS, 0.6 * seconds / (trials * passes * of_all / 1e3))
    samples = int(steps) * BATCH
    return task if samples >= len(task.train) else task.smaller(samples)


def _row(candidate: Candidate, task: Task, passes: int, seeds: int) -> tuple[dict[str, Any], np.ndarray]:
    """The means over the seeds, and how often each scored sample was right, (N,)."""
    rate, first, tried = choose_rate(candidate, task, passes, seed=0)
    runs = [scores(first.head, task)]
    runs += [scores(train(candidate, task, rate, passes, seed).head, task) for seed in range(1, seeds)]
    right = np.mean([run.pop("right") for run in runs], axis=0)
    accuracies = [run["accuracy"] for run in runs]
    row: dict[str, Any] = {"rate": rate, "rates_tried": {f"{r:g}": accuracy for r, accuracy in tried.items()}}
    for name in runs[0]:
        values = [run[name] for run in runs]
        row[name] = None if any(value is None for value in values) else float(np.mean(values))
    return row | {"accuracies": accuracies, "likelihood": first.head.likelihood}, right
