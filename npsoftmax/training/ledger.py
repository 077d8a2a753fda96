"""What steps found, written down at once and read later: on a device, to look at a number is to wait for it.

There the numbers of a step go into slots (slots.py). Each reading sends for those of the steps since the last one, and
reads what was sent for then, which has long arrived: so no reading waits for the step before it. Whoever needs all, as
at the end of an epoch and before a checkpoint, waits.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.errors import InputError
from npsoftmax.training.group import Group
from npsoftmax.training.run_directory import STEPS, RunDirectory
from npsoftmax.training.slots import Slots
from npsoftmax.training.state import State


class Pending(NamedTuple):
    """A step that was taken. Its mean loss () and how many predictions were right () may still be on the device.

    Of images with sets of labels, `right` is a sum of shares.

    step: its number, from 1; images: in the whole batch. Loss and right are those of this process, which has `share` of
    them; right is None where it is not counted. Both are None where they are in a slot.
    """

    step: int
    lr: float
    momentum: float | None
    images: int
    share: float
    loss: Array | None
    right: Array | None


class Ledger:
    """The steps since the last reading; every `log_every`-th has its row in steps.csv.

    slots: where a device keeps what steps find, at least `log_every` of them; None on the host.
    """

    def __init__(self, run: RunDirectory, group: Group, log_every: int, slots: Slots | None = None):
        self.run, self.group, self.log_every, self._slots = run, group, log_every, slots
        self._pending: list[Pending] = []
        self._sent: list[Pending] = []  # for which was sent

    def add(self, step: Pending) -> None:
        """Write down a step, without looking at what it found."""
        if self._slots is not None:
            if step.loss is not None:
                self._slots.keep(step.loss, step.right)
            self._slots.kept += 1
            step = step._replace(loss=None, right=None)
        self._pending.append(step)

    def read_into(self, state: State) -> list[dict[str, Any]]:
        """Add up what all steps found, over all processes, in `state`; returns the new rows of steps.csv.

        InputError where a loss is not finite.
        """
        if self._slots is not None:
            return self.read_behind_into(state) + self.read_behind_into(state)
        steps, self._pending = self._pending, []
        own = [tuple(0.0 if found is None else float(found) for found in (step.loss, step.right)) for step in steps]
        return self._add_up(steps, own, state)

    def read_behind_into(self, state: State) -> list[dict[str, Any]]:
        """`read_into` of the steps up to the last reading, from the slots; and send for those behind them."""
        assert self._slots is not None
        own: list[tuple[float, ...]] = []
        if self._sent:
            arrived, n = self._slots.arrived(), self._slots.n
            first = self._slots.kept - len(self._pending) - len(self._sent)
            own = [tuple(arrived[(first + i) % n].tolist()) for i in range(len(self._sent))]
        steps, self._sent, self._pending = self._sent, self._pending, []
        if self._sent:
            self._slots.send()
        return self._add_up(steps, own, state)

    def _add_up(self, steps: list[Pending], own: list[tuple[float, ...]], state: State) -> list[dict[str, Any]]:
        rows = []
        pairs = zip(steps, own, strict=True)
        parts = [(loss * step.share, right if step.share else 0) for step, (loss, right) in pairs]
        whole = self.group.sum(np.array(parts, dtype=np.float64).reshape(-1, 2)).tolist()
        for step, (loss, right) in zip(steps, whole, strict=True):
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
        if rows and self.group.is_first:
            self.run.append(self.run.steps_file, STEPS, rows)
        return rows
