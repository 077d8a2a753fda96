"""What steps found, written down at once and read later: on a device, to look at a number is to wait for it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.errors import InputError
from npsoftmax.training.group import Group
from npsoftmax.training.run_directory import STEPS, RunDirectory
from npsoftmax.training.state import State


class Pending(NamedTuple):
    """A step that was taken. Its mean loss () and how many predictions were right () may still be on the device.

    Of images with sets of labels, `right` is a sum of shares.

    step: its number, from 1; images: in the whole batch. Loss and right are those of this process, which has `share` of
    them; right is None where it is not counted.
    """

    step: int
    lr: float
    momentum: float | None
    images: int
    share: float
    loss: Array
    right: Array | None


class Ledger:
    """The steps since the last reading; every `log_every`-th has its row in steps.csv."""

    def __init__(self, run: RunDirectory, group: Group, log_every: int):
        self.run, self.group, self.log_every = run, group, log_every
        self._pending: list[Pending] = []

    def add(self, step: Pending) -> None:
        """Write down a step, without looking at what it found."""
        self._pending.append(step)

    def read_into(self, state: State) -> list[dict[str, Any]]:
        """Add up what the steps found, over all processes, in `state`; returns the new rows of steps.csv.

        InputError where a loss is not finite.
        """
        rows = []
        own = [
            (float(s.loss) * s.share, float(s.right) if s.right is not None and s.share else 0) for s in self._pending
        ]
        whole = self.group.sum(np.array(own, dtype=np.float64).reshape(-1, 2)).tolist()
        for step, (loss, right) in zip(self._pending, whole, strict=True):
            if not math.isfinite(loss):
                raise InputError(
                    f"the loss became {loss} at {state.place(step.step, step.lr)}. Lower --lr, or clip gradients with "
                    f"--clip-norm 1. What was saved before stands in {self.run.path}."
                )
            state.last_loss = loss
            state.loss_sum += loss * step.images
            state.correct += int(right) if right.is_integer() else right
            state.seen += step.images
            state.images += step.images
            if step.step % self.log_every == 0 or step.step == 1:
                rows.append({"step": step.step, "loss": loss, "learning_rate": step.lr, "momentum": step.momentum})
        self._pending.clear()
        if rows and self.group.is_first:
            self.run.append(self.run.steps_file, STEPS, rows)
        return rows
