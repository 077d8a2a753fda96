"""One output of a student's function beside the right one, on every trial; and whether a claim always holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from npsoftmax.grading.trial import Outcome, Trial, as_array

EXACT = 1e-7  # how well "the right value times 2" has to agree
Arrays = list[tuple[Trial, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Answers:
    """One output on all trials: the student's and the right one."""

    name: str
    trials: list[Trial]
    outcome: Callable[[Trial], Outcome]
    right: Callable[[Trial], Outcome]

    def arrays(self) -> list[tuple[Trial, np.ndarray, np.ndarray]] | None:
        """(trial, yours, right) of every trial; None where one of them cannot be compared."""
        found = []
        for trial in self.trials:
            yours = as_array(self.outcome(trial).outputs.get(self.name))
            right = as_array(self.right(trial).outputs.get(self.name))
            if (yours is None) != (right is None):
                return None
            if yours is not None and right is not None:
                found.append((trial, _number(yours), _number(right)))
        return found or None


def _number(values: np.ndarray) -> np.ndarray:
    return values if values.dtype.kind == "b" else values.astype(float)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """The same shape and the same numbers up to rounding."""
    if a.shape != b.shape:
        return False
    size = np.abs(b[np.isfinite(b)]).max(initial=0.0) if b.dtype.kind == "f" else 0.0
    return bool(np.allclose(a, b, rtol=EXACT, atol=1e-12 * max(size, 1e-3), equal_nan=True))


def always(arrays: Arrays, changed: Callable[[Trial, np.ndarray], Any]) -> bool:
    """Whether on every trial yours is the right one, changed; where it never changes anything, it explains nothing."""
    explains = False
    with np.errstate(all="ignore"):
        for trial, yours, right in arrays:
            other = changed(trial, right)
            if other is None or not same(yours, np.asarray(other, dtype=yours.dtype)):
                return False
            explains = explains or not same(yours, right)
    return explains and any(right.any() for _, _, right in arrays)
