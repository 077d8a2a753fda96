"""Finds a wrong wiring in somebody else's work, from its numbers alone: `npsoftmax doctor`. See docs/doctor.md.

findings  what is said, and the table of wirings; given, read  what is brought; batch (with readings), curves and
snapshots  what each of them shows; of_torch  a model of PyTorch on one batch
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from npsoftmax.arguments import whole
from npsoftmax.diagnosis.batch import examine_batch
from npsoftmax.diagnosis.curves import curves_of, examine_curve
from npsoftmax.diagnosis.findings import WIRINGS, Diagnosis, Finding
from npsoftmax.diagnosis.given import as_array
from npsoftmax.diagnosis.of_torch import doctor_torch
from npsoftmax.diagnosis.snapshots import examine_snapshots
from npsoftmax.errors import InputError

__all__ = [
    "WIRINGS",
    "Diagnosis",
    "Finding",
    "doctor",
    "doctor_torch",
    "examine_batch",
    "examine_curve",
    "examine_snapshots",
]


def doctor(
    outputs: Any = None,
    labels: Any = None,
    loss: Any = None,
    *,
    again: Any = None,
    all_classes: bool = False,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    curve: Mapping[str, Any] | None = None,
    classes: int | None = None,
) -> Diagnosis:
    """What is wired wrongly, as far as these numbers prove it; print it, or read its `named`.

    outputs (N, C): what the loss was given; labels (N,), or soft targets (N, C); loss: the mean, or one a sample (N,).
    again (N, C): outputs of the same samples, evaluated once more. all_classes: whether there is no class beside the C.
    before, after: name -> parameter. curve: loss, accuracy, val_loss, val_accuracy, each a list; classes: their number.
    Arrays, lists or PyTorch's tensors. InputError for what does not fit.
    """
    found = Diagnosis()
    if outputs is not None:
        if labels is None:
            raise InputError("outputs come without labels; type doctor(outputs, labels, loss).")
        found += examine_batch(outputs, labels, loss, again=again, all_classes=all_classes)
    elif labels is not None or loss is not None or again is not None:
        raise InputError("labels or a loss without outputs show nothing; type doctor(outputs, labels, loss).")
    if (before is None) != (after is None):
        raise InputError("one snapshot shows nothing: give both, before={…} and after={…}.")
    if before is not None and after is not None:
        found += examine_snapshots(before, after)
    if curve is not None:
        columns = {name: as_array(values, name).astype(np.float64) for name, values in curve.items()}
        found += examine_curve(curves_of(columns), None if classes is None else whole("classes", classes, 2))
    if not found.facts:
        raise InputError("there is nothing to look at; type doctor(outputs, labels, loss), with arrays of one batch.")
    return found
