"""What two snapshots of the parameters show, before and after an epoch: what never moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from npsoftmax.diagnosis.findings import Diagnosis, Finding
from npsoftmax.diagnosis.given import as_array
from npsoftmax.errors import InputError

NAMES_SHOWN = 4
PER_NAME = "whether it is frozen on purpose, or its gradient is 0 by nature, as that of a bias before a batch norm"
ROWS = "the labels, or words, of that epoch: were all of them there? Classes that never came, dead units and unused"


def examine_snapshots(before: Mapping[str, Any], after: Mapping[str, Any]) -> Diagnosis:
    """Which parameters are what they were. before, after: name -> array or tensor, as of a state_dict.

    Arrays of whole numbers are no parameters, and are passed over. InputError where names or shapes differ.
    """
    pairs = dict(_pairs(before, after))
    still = {name: first for name, (first, second) in pairs.items() if _same(first, second).all()}
    moved = len(pairs) - len(still)
    fact = f"Snapshots: {len(pairs)} arrays of parameters, {moved} of which have moved."
    if not moved:
        evidence = "No parameter has moved at all: nothing was trained between the two, or they are one and the same."
        return _diagnosis(fact, [Finding("untrained_parameters", True, evidence)])
    found = []
    matrices = {name: array for name, array in still.items() if array.ndim > 1}
    vectors = [name for name in still if name not in matrices]
    if matrices:
        numbers = sum(array.size for array in matrices.values())
        evidence = (
            f"{_listed(list(matrices))}: {numbers:,} numbers are what they were to the last bit, while {moved} other "
            "arrays have moved. (What is frozen on purpose is right to stay, and so is a buffer, a table of positions "
            "say.)"
        )
        found.append(Finding("untrained_parameters", True, evidence))
    if vectors:
        evidence = f"{_listed(vectors)} {'is' if len(vectors) == 1 else 'are'} what they were, of one axis each."
        found.append(Finding("untrained_parameters", False, evidence, PER_NAME))
    found += [finding for name, pair in pairs.items() if name not in still for finding in _rows(name, *pair)]
    return _diagnosis(fact, found)


def _diagnosis(fact: str, found: list[Finding]) -> Diagnosis:
    return Diagnosis((fact,), tuple(found), frozenset({"untrained_parameters"}))


def _pairs(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    common = [name for name in before if name in after]
    if not common:
        raise InputError(
            f"the two snapshots have no array in common: {_listed(list(before))} in the first, {_listed(list(after))} "
            "in the second. Bring the same model twice, before and after an epoch."
        )
    found = []
    for name in common:
        first, second = as_array(before[name], name), as_array(after[name], name)
        if first.shape != second.shape:
            raise InputError(
                f"{name} has shape {first.shape} in the first snapshot and {second.shape} in the second: bring the "
                "same model twice, before and after an epoch."
            )
        if first.dtype.kind == "f" and first.size:
            found.append((name, (first, second)))
    if not found:
        raise InputError(f"the snapshots hold no arrays of floats, which parameters are, but {_listed(common)}.")
    return found


def _same(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first == second) | (np.isnan(first) & np.isnan(second))


def _rows(name: str, first: np.ndarray, second: np.ndarray) -> list[Finding]:
    """Rows, or columns, of a matrix that stayed while others moved."""
    if first.ndim != 2:
        return []
    same = _same(first, second)
    for axis, word in ((1, "rows"), (0, "columns")):
        still = np.asarray(same.all(axis=axis))
        if still.any():
            evidence = (
                f"{still.sum()} of the {len(still)} {word} of {name} stayed (the first is {still.argmax()}): "
                "decisions that are missing from the loss are like that, and leaves without a class."
            )
            return [Finding("untrained_parameters", False, evidence, f"{ROWS} {word} are right to stay")]
    return []


def _listed(names: list[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "") if names else "nothing"
