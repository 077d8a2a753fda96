"""What `npsoftmax calibrate` and `conform` left beside a run, for those who use it: only for the same parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.calibration import Scaling
from npsoftmax.errors import InputError
from npsoftmax.files import read_json
from npsoftmax.models import Model
from npsoftmax.training import calibrate, conform
from npsoftmax.training.held_out import Answers, fingerprint
from npsoftmax.training.session import Chosen


@dataclass(frozen=True)
class Fitted:
    """A scaling of log p and a way to make sets, None where there is none; and why one that is there is left out."""

    scaling: Scaling | None = None
    sets: conform.Sets | None = None
    coverage: float = 0.0
    temperature: float | None = None
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, run: Path, model: Model, chosen: Chosen) -> Fitted:
        """What is in a run's directory for these parameters. InputError for a file that is none of ours."""
        notes: list[str] = []
        scaled = _read(run / calibrate.FILE, "calibrate", model, chosen, notes)
        sets = _read(run / conform.FILE, "conform", model, chosen, notes)
        return cls(
            None if scaled is None else _scaling(scaled, model.head.classes.n),
            None if sets is None else _sets(sets),
            0.0 if sets is None else sets["coverage"],
            None if scaled is None else scaled.get("temperature"),
            notes,
        )

    def __bool__(self) -> bool:
        return self.scaling is not None or self.sets is not None

    @property
    def words(self) -> str:
        """What was fitted, in a line; nothing where nothing was."""
        parts = []
        if self.scaling is not None:
            parts.append("calibrated" + (f" (temperature {self.temperature:.4g})" if self.temperature else ""))
        if self.sets is not None:
            parts.append(f"sets of coverage {100 * self.coverage:g}%")
        return ", ".join(parts)

    def measure(self, model: Model, found: Answers) -> dict[str, float]:
        """The figures of the scaled probabilities, and those of the sets, on these images."""
        figures = {}
        if self.scaling is not None:
            scores = calibrate.scores(found, self.scaling)
            figures = {f"{name}_calibrated": scores[name] for name in ("accuracy", "nll", "ece")}
        if self.sets is not None:
            inside, _ = self.sets.of(model.head, np.exp(found.log_prob), found.u)
            summary = conform.summary(inside, found)
            figures |= {"set_coverage": summary["coverage"], "set_size": summary["mean_size"]}
        return figures


def _read(path: Path, command: str, model: Model, chosen: Chosen, notes: list[str]) -> dict[str, Any] | None:
    """What a file holds, if it was fitted for the parameters of `model`; else None, and a note that says so."""
    if not path.is_file():
        return None
    found = read_json(path)
    if not isinstance(found.get("parameters"), str):
        raise InputError(f"{path} does not say which parameters it was fitted for; move it away, or fit it again.")
    if found["parameters"] == fingerprint(model):
        return found
    notes.append(
        f"{path.name} is left out: it was fitted for other parameters (checkpoint {found.get('checkpoint')}, epoch "
        f"{found.get('epoch')}) than these ({chosen}); npsoftmax {command} {path.parent} --checkpoint {chosen.name} "
        "fits it for these"
    )
    return None


def _scaling(found: dict[str, Any], classes: int) -> Scaling:
    """The scaling that a calibration.json holds. InputError where it is none for so many classes."""
    arrays = []
    for name in ("scale", "shift"):
        try:
            array = np.asarray(found.get(name), dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            array = np.array([np.nan])
        if array.shape not in ((), (classes,)) or not np.isfinite(array).all():
            raise InputError(
                f"{calibrate.FILE}: {name} must be a number, or one for each of {classes} classes; calibrate again."
            )
        arrays.append(array)
    return Scaling(*arrays)


def _sets(found: dict[str, Any]) -> conform.Sets:
    """How a conformal.json makes sets. InputError where it says nothing that could be."""
    limit, penalty, free, coverage = (found.get(n, -1) for n in ("threshold", "penalty", "free_ranks", "coverage"))
    most = found.get("subtrees") or 1
    numbers = all(type(value) in (int, float) and value >= 0 for value in (limit, penalty, free, coverage, most))
    if found.get("method") not in conform.METHODS or not numbers:
        raise InputError(
            f"{conform.FILE} has no method, coverage, threshold, penalty and free_ranks that could be; conform again."
        )
    return conform.Sets(found["method"], limit, penalty, free, most)
