"""One head on frozen features: trained, and what it is worth."""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from npsoftmax.advise.candidates import Candidate
from npsoftmax.advise.task import Part, Task
from npsoftmax.calibration import Scaling, fit_temperature, mean_nll
from npsoftmax.errors import InputError
from npsoftmax.heads import ClassInfo, Head
from npsoftmax.metrics import calibration_error, reliability
from npsoftmax.params import leaves, replace_leaves
from npsoftmax.random import Rng
from npsoftmax.training.optimizers import Adam
from npsoftmax.training.schedules import make_schedule

BATCH = 256
RATES = (1e-3, 3e-3, 1e-2)  # that are tried first
FURTHER = 3.0  # where the best of them is at an end, the next is so far away
MOST_FURTHER = 2  # further ones
SCORED_AT_ONCE = 2**22  # scores


class Trained(NamedTuple):
    """A head, and how often it was right where the rate is chosen."""

    head: Head
    accuracy: float


def in_float32(head: Head) -> Head:
    """All real parameters and buffers in float32, as a run has them."""
    for tree in (head.params, head.buffers):
        replace_leaves(tree, lambda _, x: x.astype(np.float32) if x.dtype.kind == "f" else x)
    return head


def train(candidate: Candidate, task: Task, rate: float, passes: int, seed: int) -> Trained:
    """A head after so many passes over the training part: Adam, one cycle up to `rate`, batches of BATCH."""
    head = in_float32(candidate.build(task.features, task.classes, seed))
    n = len(task.train)
    steps = -(-n // BATCH)
    optimizer, schedule = Adam(head.params), make_schedule("one_cycle", rate, steps, passes)
    noise, number = Rng(seed, "advise").child("noise"), 0
    for epoch in range(passes):
        order = Rng(seed, "advise").child("shuffle").at(epoch).permutation(n)
        for first in range(0, n, BATCH):
            samples = order[first : first + BATCH]
            step(
                head,
                optimizer,
                task.train.h[samples],
                task.train.y[samples],
                schedule(number),
                noise.at(number, samples),
            )
            number += 1
    right = predictions(head, task.tune) == task.tune.y
    return Trained(head, float(right.mean()))


def step(head: Head, optimizer: Any, h: np.ndarray, y: np.ndarray, rates: tuple[float, Any], rng: Rng) -> None:
    """Forward, backward, update."""
    loss, cache = head.loss(h, y, train=True, rng=rng)
    if not math.isfinite(float(loss)):
        raise InputError(f"the loss became {loss}")
    _, grads = head.backward(cache)
    optimizer.step(head.params, grads, lr=rates[0], momentum=rates[1])


def choose_rate(candidate: Candidate, task: Task, passes: int, seed: int) -> tuple[float, Trained, dict[float, float]]:
    """The rate whose head is right most often on the tuning part, with that head; the lower one of two that are equal.

    Where it is the lowest or highest of RATES, the next is tried too, up to MOST_FURTHER times. A rate at which the
    loss is lost is no candidate. InputError where all are lost.
    """
    found: dict[float, Trained] = {}
    lost: set[float] = set()

    def attempt(rate: float) -> None:
        try:
            found[rate] = train(candidate, task, rate, passes, seed)
        except InputError as error:
            lost.add(rate)
            if len(lost) > MOST_FURTHER + len(RATES) - 1:
                raise InputError(f"did not train at any rate: {error}") from error

    def best() -> float:
        return max(sorted(found), key=lambda rate: found[rate].accuracy)

    for rate in RATES:
        attempt(rate)
    if not found:
        raise InputError("did not train at any rate")
    for _ in range(MOST_FURTHER):
        tried = sorted({*found, *lost})
        if best() == tried[-1]:
            attempt(tried[-1] * FURTHER)
        elif best() == tried[0]:
            attempt(tried[0] / FURTHER)
        else:
            break
    rate = best()
    return rate, found[rate], {tried: found[tried].accuracy for tried in sorted(found)}


# ---------------------------------------------------------------- what it is worth
def predictions(head: Head, part: Part) -> np.ndarray:
    """The label that the head predicts for each sample. -> (N,)"""
    return np.concatenate([head.predict(h, rng=rng)[:, 0] for h, rng in _pieces(head, part)])


def log_probs(head: Head, part: Part) -> np.ndarray:
    """log p of every class. -> (N, C)"""
    return np.concatenate([head.log_prob(h, rng=rng) for h, rng in _pieces(head, part)])


def _pieces(head: Head, part: Part) -> Iterator[tuple[np.ndarray, Rng]]:
    """A few samples at a time, with the noise of heads that draw it in evaluation."""
    rows = max(1, SCORED_AT_ONCE // head.classes.n)
    for first in range(0, len(part), rows):
        h = part.h[first : first + rows]
        yield h, Rng(0, "evaluation").at(0, np.arange(first, first + len(h)))


def scores(head: Head, task: Task) -> dict[str, Any]:
    """Of the scored part: which samples are right (N,), accuracy; nll and ece, as they are and after a temperature.

    None for heads that are no distribution, nll for those without a likelihood, and the temperature for heads that gave
    any class the probability 0. The temperature is fitted on the tuning part.
    """
    right = predictions(head, task.score) == task.score.y
    found: dict[str, Any] = {"right": right, "accuracy": float(right.mean())}
    found |= dict.fromkeys(("nll", "ece", "temperature", "nll_scaled", "ece_scaled"))
    if not head.distribution:
        return found
    log_prob = log_probs(head, task.score)
    found["ece"] = calibration_error(reliability(log_prob, task.score.y))
    if head.likelihood:
        found["nll"] = mean_nll(log_prob, task.score.y)
    try:
        temperature = fit_temperature(log_probs(head, task.tune), task.tune.y)
    except InputError:
        return found
    scaled = Scaling.by_temperature(temperature)(log_prob)
    if np.isfinite(scaled).all():  # a class of probability 0 may be the next sample's
        found["nll_scaled"] = mean_nll(scaled, task.score.y)
        found["ece_scaled"] = calibration_error(reliability(scaled, task.score.y))
        found["temperature"] = temperature
    return found


# ---------------------------------------------------------------- what it costs
class Stand:
    """A head and an optimiser with samples that mean nothing, to be timed."""

    def __init__(self, candidate: Candidate, features: int, classes: ClassInfo):
        rng = np.random.default_rng(0)
        self.head = in_float32(candidate.build(features, classes, seed=0))
        self.h = rng.standard_normal((BATCH, features), dtype=np.float32)
        self.labels = [rng.integers(0, classes.n, BATCH) for _ in range(8)]
        self.optimizer = Adam(self.head.params)

    def step(self, number: int) -> None:
        step(self.head, self.optimizer, self.h, self.labels[number % 8], (1e-3, None), self._noise(number))

    def predict(self, number: int) -> None:
        self.head.predict(self.h, rng=self._noise(number))

    def _noise(self, number: int) -> Rng:
        return Rng(0).at(number, np.arange(BATCH))


def step_ms(candidate: Candidate, features: int, classes: ClassInfo, seconds: float) -> float:
    """Milliseconds of a step with BATCH samples, the median of what so many seconds hold, at least of two."""
    stand = Stand(candidate, features, classes)
    stand.step(0)
    return _median_ms(stand.step, seconds)


def cost(candidate: Candidate, features: int, classes: ClassInfo, seconds: float) -> dict[str, float]:
    """Of a step with BATCH samples and of a prediction, in milliseconds (medians); megabytes of the parameters, and
    beyond them of a step with Adam. seconds: about so long is measured."""
    stand = Stand(candidate, features, classes)
    stand.step(0)
    tracing = tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    stand.step(1)
    peak = tracemalloc.get_traced_memory()[1] - before
    if not tracing:
        tracemalloc.stop()
    state = sum(p.nbytes for _, p in leaves(stand.optimizer.state_tree()))
    return {
        "step_ms": _median_ms(stand.step, seconds),
        "predict_ms": _median_ms(stand.predict, seconds / 2),
        "parameters_mb": sum(p.nbytes for _, p in leaves(stand.head.params)) / 1e6,
        "step_mb": (peak + state) / 1e6,
    }


def _median_ms(function: Callable[[int], None], seconds: float) -> float:
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 2 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        function(len(times))
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))
