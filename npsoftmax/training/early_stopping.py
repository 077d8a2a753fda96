"""Stop when a validation figure has not improved for a while."""

from __future__ import annotations

import math
from typing import Any

from npsoftmax.errors import InputError, as_number, unknown_name

MODES = ("max", "min")


class EarlyStopping:
    """Says stop after `patience` values in a row that are no improvement.

    An improvement beats the best value so far by more than `min_delta`: upwards for mode "max" (an accuracy),
    downwards for "min" (a loss); NaN never does. Raises InputError for patience < 1, min_delta < 0 and
    any other mode.
    """

    def __init__(self, patience: int, min_delta: float = 0.0, mode: str = "max"):
        if not as_number(patience) >= 1:
            raise InputError(f"patience of early stopping is {patience!r}, but at least 1 evaluation was expected.")
        if not as_number(min_delta) >= 0:
            raise InputError(f"min_delta of early stopping is {min_delta!r}, but 0 or more was expected.")
        if mode not in MODES:
            raise unknown_name("mode of early stopping", mode, MODES)
        self.patience, self.min_delta, self.mode = patience, min_delta, mode
        self.best: float | None = None
        self.waited = 0

    def update(self, value: float) -> bool:
        """Take note of the newest value; whether to stop now."""
        if self._improves(value):
            self.best, self.waited = float(value), 0
        else:
            self.waited += 1
        return self.waited >= self.patience

    def state(self) -> dict[str, Any]:
        """What a resumed run needs, as plain values."""
        return {"best": self.best, "waited": self.waited}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state()` returned. InputError where it is something else."""
        best, waited = state.get("best"), state.get("waited")
        number = best is None or (type(best) is float and math.isfinite(best))
        if not number or type(waited) is not int or waited < 0:
            raise InputError(
                f"the saved state of early stopping is {state!r:.80}, but a best value and a count belong there."
            )
        self.best, self.waited = best, waited

    def _improves(self, value: float) -> bool:
        if self.best is None:
            return value == value  # a first NaN is no best value
        gain = value - self.best if self.mode == "max" else self.best - value
        return gain > self.min_delta
