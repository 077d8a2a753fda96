"""`npsoftmax calibrate RUN`: probabilities that are right as often as they say; calibration.json beside the run.

Fitted on images that the run was not trained on, and shown on the test set, which decides nothing.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.calibration import Scaling, fit_temperature, fit_vector, mean_nll
from npsoftmax.calibration.scaling import BRACKET, across_folds
from npsoftmax.errors import InputError, unknown_name
from npsoftmax.metrics import calibration_error, reliability
from npsoftmax.training.checkpoint import write_json
from npsoftmax.training.held_out import Answers, answers, fingerprint, held_out_images
from npsoftmax.training.run_directory import RunDirectory
from npsoftmax.training.session import load_run

FILE = "calibration.json"
METHODS = ("temperature", "vector")


def calibrate(
    path: str | Path, checkpoint: str = "best", method: str = "temperature", **changes: Any
) -> dict[str, Any]:
    """Fit a scaling of a run's log-probabilities, save and return it with what it does to the test set.

    method: "temperature" (one number, no prediction changes) or "vector" (two numbers a class). `changes`: as for
    `load_run`. InputError where the run held nothing out, or its head has no probabilities.
    """
    if method not in METHODS:
        raise unknown_name("--method", method, METHODS)
    run = RunDirectory.existing(path)
    session = load_run(path, checkpoint, **changes)
    assert session.chosen is not None
    images, basis = held_out_images(session, run)
    fitted = answers(session, images)
    scaling = _fit(method, fitted.log_prob, fitted.targets)
    test = answers(session, session.test)
    found = {
        "method": method,
        "temperature": float(1 / scaling.scale) if method == "temperature" else None,
        "at_the_end_of_the_bracket": method == "temperature" and float(1 / scaling.scale) in BRACKET,
        "scale": scaling.scale.tolist(),
        "shift": scaling.shift.tolist(),
        "checkpoint": session.chosen.name,
        "epoch": session.chosen.epoch,
        "parameters": fingerprint(session.model),
        "fitted_on": basis.describe() | {"before": scores(fitted), "after": scores(fitted, scaling)},
        "nll_across_folds": {name: _across_folds(fitted, name) for name in METHODS},
        "test": {"images": len(test), "before": scores(test), "after": scores(test, scaling)},
        "reliability": {"before": table_of(test), "after": table_of(test, scaling)},
    }
    write_json(run.path / FILE, found)
    return found | {"basis": basis}


def _fit(method: str, log_prob: np.ndarray, targets: np.ndarray) -> Scaling:
    if method == "vector":
        return fit_vector(log_prob, targets)
    return Scaling.by_temperature(fit_temperature(log_prob, targets))


def _across_folds(fitted: Answers, method: str) -> float | None:
    """What new images would see of a method; None where it cannot be fitted on four fifths of the images."""
    try:
        return across_folds(fitted.log_prob, fitted.targets, partial(_fit, method))
    except InputError:
        return None


def scores(found: Answers, scaling: Scaling | None = None) -> dict[str, float]:
    """accuracy, nll and ece of log p, or of what the scaling makes of it."""
    log_prob = found.log_prob if scaling is None else scaling(found.log_prob)
    right = float((log_prob.argmax(axis=1) == found.targets).mean())
    ece = calibration_error(reliability(log_prob, found.targets))
    return {"accuracy": right, "nll": mean_nll(log_prob, found.targets), "ece": ece}


def table_of(found: Answers, scaling: Scaling | None = None) -> dict[str, list[float]]:
    """The reliability table of log p, or of what the scaling makes of it, as plain numbers."""
    log_prob = found.log_prob if scaling is None else scaling(found.log_prob)
    return {name: column.tolist() for name, column in reliability(log_prob, found.targets).items()}
