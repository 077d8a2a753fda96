"""The likely cause of a wrong answer: the first of a list of rules that fits, or nothing. Never a guess.

The catalogue of mistakes is asked first: an answer that is wrong in every digit as a known mistake is that mistake, and
no rule about shapes or ratios says it better. Then come the rules that hold for any exercise.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from npsoftmax.grading.findings import SAME_RATIO, WRONG, Findings, Output
from npsoftmax.grading.mistakes import Mistake, all_mistakes
from npsoftmax.grading.trial import Outcome, Trial


@dataclass(frozen=True)
class Cause:
    """A sentence, and the id of the catalogued mistake that it belongs to ("" for a general rule)."""

    sentence: str
    mistake: str = ""


def likely_causes(function: Callable[..., Any], findings: Findings, others: list[Trial]) -> list[Cause]:
    """The causes of what was found, mostly one; `others` are the exercise's other trials."""
    trial, outcome = findings.trial, findings.outcome
    catalogue = all_mistakes().get(trial.exercise.name, ())
    alike = [m for m in catalogue if trial.call(m.function).like(outcome)]
    # Two mistakes may coincide on one case: the one that agrees on all of them is meant.
    exact = [m for m in alike if all(t.call(m.function).like(t.call(function)) for t in others)]
    if exact or alike:
        return [_told(trial, (exact or alike)[0])]
    if outcome.raised is not None:
        return _lost_axis(str(outcome.raised))
    if general := _general(findings):
        return general
    return _by_output(findings, catalogue)


def _told(trial: Trial, mistake: Mistake, output: str = "") -> Cause:
    sentence = mistake.sentence.format(**trial.case.sizes, **trial.case.numbers)
    return Cause(f"{output}: {sentence}" if output else sentence, mistake.id)


def _by_output(findings: Findings, catalogue: tuple[Mistake, ...]) -> list[Cause]:
    """Where several outputs are wrong, each may be a mistake, or break a rule, of its own."""
    wrong = [o for o in findings.outputs if o.problem]
    causes: list[Cause] = []
    for output in wrong:
        cause = _catalogued(findings.trial, findings.outcome, output, catalogue) or _rule(findings.trial, output)
        if cause is not None and len(wrong) > 1 and not cause.sentence.startswith(f"{output.name}:"):
            cause = Cause(f"{output.name}: {cause.sentence}", cause.mistake)
        if cause is not None and cause not in causes:
            causes.append(cause)
    return causes


def _catalogued(trial: Trial, outcome: Outcome, output: Output, catalogue: tuple[Mistake, ...]) -> Cause | None:
    for mistake in catalogue:
        if output.name in mistake.wrong and trial.call(mistake.function).like(outcome, (output.name,)):
            return _told(trial, mistake)
    return None


# ---------------------------------------------------------------- rules for any exercise
def _lost_axis(message: str) -> list[Cause]:
    """NumPy refuses shapes such as (6,5) and (6,): the sum of the rows has lost the axis that it ran along."""
    found = re.search(r"could not be broadcast together with shapes \(([\d,]+)\) \(([\d,]+)\)", message)
    if found is None:
        return []
    first, second = ([int(n) for n in shape.split(",") if n] for shape in found.groups())
    if first[:-1] != second:
        return []
    return [Cause("a sum or a maximum along the last axis has lost that axis: keepdims=True keeps it, with length 1.")]


def _general(findings: Findings) -> list[Cause]:
    outcome = findings.outcome
    if outcome.changed and not any(o.problem for o in findings.outputs):
        name = outcome.changed[0].partition("[")[0]
        return [Cause(f"an operation such as {name} += … or {name}[…] = … changes the array that was passed in.")]
    return []


def _rule(trial: Trial, output: Output) -> Cause | None:
    if output.yours is None or output.right is None:
        return None
    if output.problem == "WRONG SHAPE":
        return _shape_rule(output.name, output.yours.shape, output.right.shape, trial.case.sizes.get("N"))
    if output.problem == WRONG and output.wrong is not None:
        return _ratio_rule(trial, output.ratio, output.wrong) or _place_rule(trial, output.right, output.wrong)
    return None


def _shape_rule(name: str, yours: tuple[int, ...], right: tuple[int, ...], n: int | None) -> Cause | None:
    if len(yours) == len(right) + 1 and yours[1:] == right and yours[0] == n:
        return Cause(f"{name} still has the batch axis: sum over the {n} rows (axis 0).")
    if yours == right[::-1] and len(right) == 2:
        return Cause(f"{name} is transposed.")
    if len(yours) == len(right) == 4 and yours[::3] == right[::3] and yours[1] > right[1]:
        return Cause(f"{name} is still padded: cut the padding off.")
    if len(yours) == len(right) and all(a == b or a == 1 for a, b in zip(yours, right, strict=True)):
        return Cause(f"{name} was summed over too many axes: keep those of size {_sizes(yours, right)}.")
    return None


def _sizes(yours: tuple[int, ...], right: tuple[int, ...]) -> str:
    return " and ".join(str(b) for a, b in zip(yours, right, strict=True) if a != b)


def _ratio_rule(trial: Trial, ratio: float | None, wrong: np.ndarray) -> Cause | None:
    """One factor in all wrong elements, if it is one that has a meaning here; of any other nobody knows why."""
    if ratio is None or (wrong.sum() < 2 and wrong.size > 1):
        return None
    known = {"-1": -1.0, "2": 2.0, "½": 0.5}
    for name, value in (trial.case.sizes | trial.case.numbers).items():
        known |= {f"{name} = {value:g}": value, f"1/{name} = {1 / value:.4g}": 1 / value}
    names = [name for name, value in known.items() if abs(ratio - value) <= SAME_RATIO * abs(value)]
    if not names or (wrong.size == 1 and ratio != -1.0):
        return None
    if names[0] == "-1":
        return Cause("the sign is flipped everywhere.")
    if names[0].startswith("1/N"):
        n = trial.case.sizes["N"]
        return Cause(
            f"it is the right value divided by N = {n}: a mean where a sum over the batch is needed, or 1/N twice."
        )
    if names[0].startswith("N "):
        return Cause(
            f"it is the right value times {names[0]}: the 1/N is missing, or a sum stands where a mean is needed."
        )
    return Cause(f"every wrong element is the right value times {names[0]}.")


def _place_rule(trial: Trial, right: np.ndarray, wrong: np.ndarray) -> Cause | None:
    """Errors in one kind of place only: a border, the target's column, one branch.

    Where the right answer is 0 in all other places it says nothing: a wrong factor would not show there.
    """
    for mask, sentence in _places(trial, right.shape):
        if mask.any() and right[~mask].any() and not (wrong & ~mask).any() and wrong.sum() > 1:
            return Cause(sentence)
    return None


def _places(trial: Trial, shape: tuple[int, ...]) -> list[tuple[np.ndarray, str]]:
    found: list[tuple[np.ndarray, str]] = []
    args = trial.case.args
    labels = args.get("t")
    if labels is not None and shape == (len(labels), trial.case.sizes.get("C")):
        target = np.zeros(shape, dtype=bool)
        target[np.arange(shape[0]), labels] = True
        found += [(target, "only the targets' columns are wrong."), (~target, "only the targets' columns are right.")]
    first = next((v for v in args.values() if isinstance(v, np.ndarray) and v.dtype.kind == "f"), None)
    if first is not None and first.shape == shape and (first < 0).any() and (first > 0).any():
        found.append((first > 0, "it is wrong only where the input is above 0."))
        found.append((first < 0, "it is wrong only where the input is below 0."))
    if len(shape) == 4:
        border = np.ones(shape, dtype=bool)
        border[:, 1:-1, 1:-1] = False
        found.append((border, "only pixels at the border are wrong: look at the padding."))
    return found
