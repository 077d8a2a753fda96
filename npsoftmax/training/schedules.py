"""The learning rate, and the momentum where it is cycled too, as pure functions of the step.

Design: a schedule keeps no state, so a resumed run needs nothing but its step, and a plot nothing but a loop.
Steps count batches from 0; a schedule is made for the steps of one run and refuses all others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from npsoftmax.errors import InputError, as_number, unknown_name
from npsoftmax.options import check_options

# step -> learning rate, momentum (None: the optimiser's own)
Schedule = Callable[[int], tuple[float, float | None]]


def make_schedule(name: str, lr: float, steps_per_epoch: int, epochs: int, **options: Any) -> Schedule:
    """The schedule called `name` for a run of epochs · steps_per_epoch steps.

    lr: the highest learning rate of the run; options: the keyword-only arguments of that schedule's function.
    Raises InputError for an unknown name or option, a value out of range, and, when the schedule is called,
    for a step outside the run.
    """
    if name not in SCHEDULES:
        raise unknown_name("schedule", name, SCHEDULES)
    _require(0 < as_number(lr) < math.inf, "the learning rate", lr, "a number above 0")
    _require(as_number(steps_per_epoch) >= 1, "steps_per_epoch", steps_per_epoch, "at least 1")
    _require(as_number(epochs) >= 1, "epochs", epochs, "at least 1")
    options = check_options(f"schedule {name!r}", SCHEDULES[name], options)
    at = SCHEDULES[name](float(lr), steps_per_epoch, epochs, **options)
    total = steps_per_epoch * epochs

    def schedule(step: int) -> tuple[float, float | None]:
        if not 0 <= step < total:
            raise InputError(
                f"step {step} is outside the schedule {name!r}, made for {epochs} epochs of "
                f"{steps_per_epoch} steps (0 to {total - 1}); make it for the epochs that you train."
            )
        return at(step)

    return schedule


def constant(lr: float, steps_per_epoch: int, epochs: int) -> Schedule:
    """lr, always."""
    return lambda step: (lr, None)


def step_decay(lr: float, steps_per_epoch: int, epochs: int, *, step_size: int = 30, gamma: float = 0.1) -> Schedule:
    """lr · gamma^⌊epoch / step_size⌋: multiplied by gamma once every `step_size` epochs."""
    _require(step_size >= 1, "step_size", step_size, "at least 1 epoch")
    _require(0 < gamma < math.inf, "gamma", gamma, "a number above 0")
    return lambda step: (lr * gamma ** (step // steps_per_epoch // step_size), None)


def cosine(lr: float, steps_per_epoch: int, epochs: int, *, floor: float = 0.0, warmup: int = 0) -> Schedule:
    """floor + (lr - floor) · (1 + cos π t/T) / 2, t of T steps after the warm-up (Loshchilov & Hutter 2017).

    The first `warmup` steps rise linearly: lr · (step + 1) / warmup. The floor itself, t = T, is where the
    step after the last would be.
    """
    total = steps_per_epoch * epochs
    _require(0 <= floor <= lr, "floor", floor, f"from 0 to the learning rate {lr}")
    _require(0 <= warmup < total, "warmup", warmup, f"from 0 to {total - 1} steps")

    def at(step: int) -> tuple[float, None]:
        if step < warmup:
            return lr * (step + 1) / warmup, None
        return _between(lr, floor, (step - warmup) / (total - warmup)), None

    return at


def linear(
    lr: float, steps_per_epoch: int, epochs: int, *, pct_start: float = 0.25, start: float = 0.0, end: float = 0.0
) -> Schedule:
    """Straight up from start · lr to lr over the first pct_start of all steps, then straight down to end · lr.

    `start` is where the step before the first would be, `end` where the step after the last.
    """
    total = steps_per_epoch * epochs
    _require(0 <= pct_start < 1, "pct_start", pct_start, "from 0 to below 1")
    _require(0 <= start <= 1, "start", start, "from 0 to 1")
    _require(0 <= end <= 1, "end", end, "from 0 to 1")
    rising = round(pct_start * total)

    def at(step: int) -> tuple[float, None]:
        if step < rising:
            return lr * (start + (1 - start) * (step + 1) / rising), None
        return lr * (1 + (end - 1) * (step - rising) / (total - rising)), None

    return at


def one_cycle(
    lr: float,
    steps_per_epoch: int,
    epochs: int,
    *,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    cycle_momentum: bool = True,
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
) -> Schedule:
    """One cycle (Smith & Topin 2017): from lr/div_factor up to lr, down to lr/div_factor/final_div_factor.

    Both are half cosine waves; the rise ends at step pct_start · total - 1, the fall on the last step.
    Momentum (Adam's beta1) goes the other way: max_momentum, base_momentum, max_momentum. The values are
    those of PyTorch's `OneCycleLR`.
    """
    _require(0 <= pct_start < 1, "pct_start", pct_start, "from 0 to below 1")
    _require(0 < div_factor < math.inf, "div_factor", div_factor, "a number above 0")
    _require(0 < final_div_factor < math.inf, "final_div_factor", final_div_factor, "a number above 0")
    _require(0 <= max_momentum < 1, "max_momentum", max_momentum, "from 0 to below 1")
    _require(0 <= base_momentum <= max_momentum, "base_momentum", base_momentum, "from 0 to max_momentum")
    total = steps_per_epoch * epochs
    start, end = lr / div_factor, lr / div_factor / final_div_factor
    peak, last = pct_start * total - 1, total - 1

    def at(step: int) -> tuple[float, float | None]:
        if step <= peak and peak > 0:
            part, rates, momenta = step / peak, (start, lr), (max_momentum, base_momentum)
        else:
            part, rates, momenta = (step - peak) / (last - peak), (lr, end), (base_momentum, max_momentum)
        return _between(*rates, part), _between(*momenta, part) if cycle_momentum else None

    return at


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "step": step_decay,
    "cosine": cosine,
    "linear": linear,
    "one_cycle": one_cycle,
}


def _between(start: float, end: float, part: float) -> float:
    """Half a cosine wave from `start` (part = 0) to `end` (part = 1)."""
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def _require(holds: bool, what: str, given: Any, expected: str) -> None:
    if not holds:
        raise InputError(f"{what} of the schedule is {given!r}, but {expected} was expected.")
