"""Where a run stands: a handful of numbers, saved with its parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from npsoftmax.errors import InputError
from npsoftmax.options import convert

MOST = 2**53  # of a count


@dataclass
class State:
    """Where a run stands. Epochs and steps count those done; the sums are those of the epoch under way.

    prepare_seconds: from settings to the first step, of every process that went on with the run; train_seconds: of
    steps, without validation and saving; total_seconds: of whole epochs.
    """

    epoch: int = 0
    step: int = 0
    step_in_epoch: int = 0
    loss_sum: float = 0.0
    correct: int | float = 0  # with sets of labels, what is right of each is a share
    seen: int = 0
    epoch_seconds: float = 0.0
    train_seconds: float = 0.0
    prepare_seconds: float = 0.0
    total_seconds: float = 0.0
    images: int = 0
    best_accuracy: float | None = None
    best_epoch: int | None = None
    early_stopping: dict[str, Any] | None = None
    stopped_early: bool = False
    optimizer_steps: int = 0
    last_loss: float | None = None

    @classmethod
    def of(cls, values: Any, source: Path) -> State:
        """From what was saved in `source`. InputError names what it cannot be."""
        if not isinstance(values, dict):
            raise InputError(f"{source} holds no state of a run.")
        hints, found = get_type_hints(cls), {}
        for name, value in values.items():
            if name not in hints:
                raise InputError(f"{source} was saved by another version of npsoftmax: its state has {name!r}.")
            found[name] = convert(f"{source}: {name}", value, hints[name])
            if not _is_possible(found[name]):
                raise InputError(f"{source}: {name} is {value!r:.80}, which cannot be.")
        return cls(**found)

    def place(self, step: int, lr: float) -> str:
        """In words, for errors: this step and learning rate, and the last finite loss."""
        last = self.last_loss
        before = "there was no finite loss before" if last is None else f"the last finite loss was {last:.4g}"
        return f"step {step} (learning rate {lr:.3g}; {before})"

    def check_place(self, steps_per_epoch: int, source: Path) -> None:
        """InputError unless epochs and steps go together in a run of so many steps an epoch."""
        fits = self.step == self.epoch * steps_per_epoch + self.step_in_epoch and self.step_in_epoch < steps_per_epoch
        if not fits or self.optimizer_steps != self.step:
            raise InputError(
                f"{source} was saved after {self.epoch} epochs and {self.step_in_epoch} of {self.step} steps, but this "
                f"run has {steps_per_epoch} steps an epoch. Give it the data that it was begun with."
            )


def _is_possible(value: Any) -> bool:
    """Counts are not negative, and small enough to be exact as floats; numbers are finite."""
    if isinstance(value, int):
        return 0 <= value < MOST
    return not isinstance(value, float) or math.isfinite(value)
