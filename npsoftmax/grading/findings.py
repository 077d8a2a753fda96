"""What is wrong with an answer, as facts: which output, which element, by how much, and in what pattern."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npsoftmax.backend import to_numpy
from npsoftmax.grading.trial import Outcome, Right, Trial, scattered, single
from npsoftmax.grading.values import as_array, shaped

OK, WRONG = "ok", "WRONG"
Floor = np.ndarray | float
SUSPECTS = (
    "look for np.zeros, np.ones, np.full, np.eye or np.arange without dtype=, for np.sqrt of a Python number "
    "(math.sqrt), for arrays of integers or booleans in arithmetic, and for np.array of a list of Python numbers"
)
SAME_RATIO = 1e-4  # ratios of wrong elements that agree this well count as one


@dataclass
class Output:
    """One output (or gradient) against the right one. problem: what it is called when it is wrong, "" if it is right.

    yours, right: the arrays, where they can be compared; wrong: a mask of the wrong elements; ratio: yours / right,
    where that is the same in all of them.
    """

    name: str
    problem: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)
    yours: np.ndarray | None = None
    right: np.ndarray | None = None
    wrong: np.ndarray | None = None
    ratio: float | None = None


@dataclass
class Findings:
    """Everything about one trial of one function."""

    trial: Trial
    outcome: Outcome
    outputs: list[Output] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)  # of the whole answer, not of one output
    note: str = ""  # what a student should know of an answer that is right

    @property
    def ok(self) -> bool:
        return not self.facts and not any(o.problem for o in self.outputs)

    @property
    def wrong_names(self) -> tuple[str, ...]:
        """Names of the outputs that are wrong, and of the inputs that were changed."""
        return tuple(o.name for o in self.outputs if o.problem) + self.outcome.changed


def judge(trial: Trial, outcome: Outcome) -> Findings:
    """The facts about the outcome of the plain call, in float64."""
    found = Findings(trial, outcome)
    if outcome.raised is not None:
        return found  # the report takes it from the outcome itself
    if outcome.misfit:
        found.facts.append(("returned", outcome.misfit))
        return found
    candidates = [_compared(trial, outcome, right) for right in trial.rights]
    found.outputs = next((c for c in candidates if not any(o.problem for o in c)), candidates[0])
    if found.outputs is not candidates[0]:
        found.note = f"{trial.case.note}: the docstring lets them share equally; yours gives all to one, right as well"
    if "cache" in outcome.outputs and found.ok and trial.exercise.pair and trial.case.wrt:
        problem = trial.cache_problem(outcome.outputs["cache"], outcome.function)
        facts = [("cache", problem), ("the cache has to hold", trial.exercise.cache)] if problem else []
        found.outputs.append(Output("cache", "WRONG" if problem else "", facts))
    if outcome.changed:
        names = " and ".join(dict.fromkeys(outcome.changed))
        found.facts.append(("changed in place", f"{names}: what is passed in belongs to the caller; work on a copy"))
    return found


def _compared(trial: Trial, outcome: Outcome, rights: dict[str, Right]) -> list[Output]:
    return [compare(trial, name, outcome.outputs[name], right, floor) for name, (right, floor) in rights.items()]


def judge_refusal(trial: Trial, function: Any) -> Findings:
    """An input that has no answer: finite numbers would be believed.

    InputError is asked for; what fails in another way, or gives NaN, is right with a note.
    """
    outcome = trial.call(function)
    found = Findings(trial, outcome)
    if isinstance(outcome.raised, ValueError):
        return found
    asked = f'{trial.case.note} has no answer: raise InputError("…") there, as the docstring says'
    answers = [as_array(outcome.outputs.get(name)) for name in trial.exercise.outputs]
    if outcome.raised is None and all(a is not None and np.isfinite(a).all() for a in answers):
        found.facts.append(("not refused", asked))
        found.outcome = Outcome(outcome.outputs)
    else:
        found.note = asked
    return found


def judge_robustness(trial: Trial, function: Any) -> Findings:
    """Called twice, with float32, and with memory that is not contiguous: what else must hold."""
    first, again = trial.call(function), trial.call(function)
    found = Findings(trial, first)
    if not first.like(again):
        found.facts.append(("called twice", "the second answer to the same input differs from the first"))
        return found
    for stage, change, label in (
        ("layout", scattered, "on an input whose memory is not contiguous (a slice or a transpose)"),
        ("float32", single, "on float32 input"),
    ):
        if trial.exercise.compiled:  # typed memory takes float64, contiguous, and nothing else
            break
        other = trial.call(function, change)
        problem = _robustness_problem(trial, stage, first, other)
        if problem:
            found.outcome = other
            found.facts.append((label, problem))
            return found
        if stage == "float32":
            found.note = _widened(trial, other)
    return found


def _robustness_problem(trial: Trial, stage: str, first: Outcome, other: Outcome) -> str:
    if other.raised is not None:
        return f"it raised {type(other.raised).__name__}: {other.raised}"
    if other.misfit:
        return other.misfit
    for name in trial.exercise.outputs:
        a, b = as_array(first.outputs[name]), as_array(other.outputs[name])
        if a is None or b is None:
            continue
        if stage == "float32" and b.dtype == np.float16:
            return f"{name} became float16: keep the precision of the input"
        if stage == "layout" and not np.allclose(a, b, rtol=1e-9, atol=1e-11):
            return f"{name} is different there"
    return ""


def _widened(trial: Trial, outcome: Outcome) -> str:
    """A note where float32 input gave float64: right, but twice the memory and half the speed in training."""
    names = []
    for name, (right, _) in trial.expected.items():
        got = as_array(outcome.outputs[name])
        if got is not None and got.ndim and right is not None and right.dtype.kind == "f":
            names += [name] if got.dtype.kind == "f" and got.dtype != np.float32 else []
    if not names:
        return ""
    return f"right, but float32 became float64 in {' and '.join(names)}: {trial.exercise.float64 or SUSPECTS}"


# ---------------------------------------------------------------- one output
def compare(trial: Trial, name: str, yours: Any, right: np.ndarray | None, floor: Floor) -> Output:
    """Yours against the right value: type, shape, finiteness, then every element."""
    if right is None:
        kind = type(yours).__name__
        return Output(name) if yours is None else _bad(name, "not None", ("returned", f"{name} is {kind}, not None"))
    if yours is None:
        return _bad(name, "None", ("returned", f"{name} is None"))
    got = shaped(yours, right.shape)
    if got is None:
        return _bad(name, "no array", ("returned", f"{name} is {_kind(yours)}"))
    if got.shape != right.shape:
        shapes = f"yours {_shape(got)}, expected {_shape(right)}"
        return Output(name, "WRONG SHAPE", [("shape", f"{name}: {shapes}")], got, right)
    if got.dtype.kind == "f" and not np.isfinite(got[np.isfinite(right)]).all():
        return _not_finite(trial, name, got, right)
    return _by_element(trial, name, got, right, floor)


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of dtype {value.dtype}, but numbers are needed"
    return f"of type {type(value).__name__}, but an array is needed"


def _bad(name: str, problem: str, fact: tuple[str, str]) -> Output:
    return Output(name, problem, [fact])


def _shape(a: np.ndarray) -> str:
    return str(tuple(a.shape)) if a.ndim else "a single number"


def _not_finite(trial: Trial, name: str, got: np.ndarray, right: np.ndarray) -> Output:
    bad = ~np.isfinite(got) & np.isfinite(right)
    index = tuple(int(i) for i in np.argwhere(bad)[0])
    facts = [
        ("not finite", f"{place(name, index)} is {got[index]}, expected {number(right[index])}"),
        ("how many", f"{bad.sum()} of {bad.size}"),
    ]
    went_in = _what_went_in(trial, index, got.shape)
    return Output(name, "NOT FINITE", facts + went_in, got, right, bad)


def _what_went_in(trial: Trial, index: tuple[int, ...], shape: tuple[int, ...]) -> list[tuple[str, str]]:
    for name, value in trial.case.args.items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            if value.shape == shape:
                return [("the input there", f"{place(name, index)} = {number(value[index])}")]
            largest = float(np.abs(value).max())
            return [("the input there", f"{name}, with numbers up to {number(largest)}")]
    return []


def _by_element(trial: Trial, name: str, got: np.ndarray, right: np.ndarray, floor: Floor) -> Output:
    yours, known = got.astype(float), np.isfinite(right)
    gap = np.abs(np.where(known, yours - right, 0.0))
    largest = np.maximum(np.abs(yours), np.abs(np.where(known, right, 0.0)))
    wrong = np.asarray(gap > trial.tolerance * largest + floor)
    if not wrong.any():
        return Output(name)
    index = tuple(int(i) for i in np.argwhere(wrong)[0]) if wrong.ndim else ()
    judge_name = "numeric" if trial.exercise.is_backward and trial.case.gradients is None else "expected"
    a, b = yours[index], right[index]
    facts = [
        (
            "first wrong element" if wrong.ndim else "the value",
            f"{place(name, index):<20}yours {number(a)}      {judge_name} {number(b)}",
        ),
        ("relative error", f"{abs(a - b) / max(abs(a), abs(b)):<20.2g}(allowed {trial.tolerance:.0e})"),
    ]
    ratio = _ratio(yours[wrong], right[wrong])
    if wrong.ndim:
        many = f"{wrong.sum()} of {wrong.size} wrong"
        if ratio is not None:
            many += f"; yours / {judge_name} = {ratio:.6g} " + ("everywhere" if wrong.all() else "in all of these")
        facts.append(("how many", many))
    return Output(name, WRONG, facts, yours, right, wrong, ratio)


def _ratio(yours: np.ndarray, right: np.ndarray) -> float | None:
    """yours / right, if all agree on it; None where that says nothing (0, or a single element of several)."""
    if not right.all():
        return None
    ratios = yours / right
    first = float(np.median(ratios))
    same = np.abs(ratios - first) <= SAME_RATIO * max(abs(first), 1e-3)
    return first if same.all() and abs(first) > 1e-12 and abs(first - 1) > SAME_RATIO else None


def place(name: str, index: tuple[int, ...]) -> str:
    """dw[0, 2]; the bare name of a single number."""
    return f"{name}[{', '.join(map(str, index))}]" if index else name


def number(value: Any) -> str:
    """Six digits, without noise."""
    return f"{to_numpy(value).item():.6g}" if np.ndim(value) == 0 else str(value)
