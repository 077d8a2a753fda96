"""The check itself: one subject, its analytic gradients, directions first, then element by element."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from npsoftmax.backend import Array, array_module, to_numpy
from npsoftmax.errors import InputError
from npsoftmax.gradcheck.numeric import Objective, Slope
from npsoftmax.gradcheck.report import MOST_SKIPPED, Report, TensorReport, WrongElement

Tree = dict[str, Any]
Gradients = tuple[dict[str, Any], list[str]]  # by name of the variable; what does not fit, in words

# Two passes of the same function differ by rounding at most (threads may sum in another order), not by noise.
SAME = 1e-12


@dataclass
class Subject:
    """What is checked: `run` -> y, cache reads the `variables`, which the check moves in place."""

    name: str
    variables: dict[str, Array]
    run: Callable[[], tuple[Any, Any]]
    back: Callable[[Any, Any], Gradients]
    buffers: Tree = field(default_factory=dict)
    upstream: float | None = None  # None: drawn at random


@dataclass(frozen=True)
class Effort:
    """The seed of directions and samples, elements compared in each tensor at most, directions tried in each."""

    seed: int
    elements: int
    directions: int

    def __post_init__(self) -> None:
        if self.elements < 0 or self.directions < 0 or self.elements + self.directions == 0:
            raise InputError(
                f"elements={self.elements} and directions={self.directions} compare nothing: "
                "pass elements=100 or directions=2, or both."
            )


def check(subject: Subject, effort: Effort) -> Report:
    """Compare the analytic gradients of `subject` with numeric ones; every array is left as it was found."""
    _refuse_shared_memory(subject.variables)
    saved = {name: x.copy() for name, x in subject.variables.items()}
    try:
        return _check(subject, effort, saved)
    finally:
        for name, x in subject.variables.items():
            x[...] = saved[name]


def _check(subject: Subject, effort: Effort, saved: dict[str, Array]) -> Report:
    rng = np.random.default_rng(effort.seed)
    report = Report(subject.name)
    with kept(subject.buffers):
        y, cache = subject.run()
        base = np.array(to_numpy(y))
        if problem := _unusable("y", base):
            report.problems.append(f"forward: {problem}")
            return report
        dy = np.asarray(_upstream(base.shape, rng) if subject.upstream is None else subject.upstream)
        given = array_module(y).asarray(dy) if base.ndim else float(dy)
        gradients, report.problems = subject.back(given, cache)
        # A backward may hand out views of dy or of x, which are about to move.
        gradients = {name: _dense_copy(g) for name, g in gradients.items()}
        report.problems += _changed(subject.variables, saved, "forward or backward changed {} in place")
        report.problems += _changed({"dy": given}, {"dy": dy}, "backward changed {} in place")

    def evaluate() -> np.ndarray:
        with kept(subject.buffers):
            return to_numpy(subject.run()[0])

    for name, x in subject.variables.items():
        x[...] = saved[name]
    report.problems += _not_repeatable(base, evaluate())
    if not report.problems:
        objective = Objective(evaluate, base, dy)
        with np.errstate(all="ignore"):
            for name, x in subject.variables.items():
                report.tensors.append(_check_tensor(name, x, gradients.get(name), objective, effort, rng))
        report.problems += _not_repeatable(base, evaluate())
    return report


# ---------------------------------------------------------------- one tensor
def _check_tensor(
    name: str, x: Array, gradient: Any, objective: Objective, effort: Effort, rng: np.random.Generator
) -> TensorReport:
    report = TensorReport(name, size=x.size)
    if problem := _unfit(report.label, gradient, x.shape):
        report.problems.append(problem)
    elif x.size:
        _compare_directions(report, x, gradient, objective, effort, rng)
        if effort.elements:
            _compare_elements(report, x, gradient, objective, effort, rng)
    return report


def _compare_directions(
    report: TensorReport, x: Array, gradient: np.ndarray, objective: Objective, effort: Effort, rng: np.random.Generator
) -> None:
    judged = 0
    for _ in range(effort.directions):
        direction = _upstream(x.shape, rng)
        found = objective.along_direction(x, array_module(x).asarray(direction))
        if found is not None:
            judged += 1
            analytic = float(np.sum(gradient * direction))
            report.used = max(report.used, found.share(analytic))
            if found.share(analytic) > 1 and report.direction is None:
                report.direction = WrongElement(None, analytic, found)
    if effort.elements == 0 and judged == 0:
        report.problems.append("every direction meets a kink, so nothing was compared: pass elements=100")


def _compare_elements(
    report: TensorReport, x: Array, gradient: np.ndarray, objective: Objective, effort: Effort, rng: np.random.Generator
) -> None:
    wrong = []
    for index in _sample(x.shape, effort.elements, rng):
        if report.checked == effort.elements:
            break
        found = objective.along_element(x, index)
        if found is None:
            report.skipped += 1
            continue
        report.checked += 1
        analytic = float(gradient[index])
        report.used = max(report.used, found.share(analytic))
        if found.share(analytic) > 1:
            wrong.append(WrongElement(index, analytic, found))
    if wrong:
        report.wrong, report.first, report.ratio = len(wrong), min(wrong, key=lambda w: w.index), _ratio(wrong)
    if report.skipped > MOST_SKIPPED * (report.checked + report.skipped):
        report.problems.append(
            f"{report.skipped} of {report.checked + report.skipped} elements sit at a kink, a tie or the edge of the "
            f"domain (at most {MOST_SKIPPED:.0%} may): choose inputs away from it"
        )


def _sample(shape: tuple[int, ...], elements: int, rng: np.random.Generator) -> Iterator[tuple[int, ...]]:
    """All indices of a small tensor; of a large one a random sample, with spares for those at a kink."""
    size = int(np.prod(shape))
    if size <= elements:
        return np.ndindex(shape)
    chosen = rng.choice(size, min(size, elements + elements // 4 + 1), replace=False)
    return (tuple(int(i) for i in np.unravel_index(c, shape)) for c in chosen)


def _ratio(wrong: list[WrongElement]) -> float | None:
    """analytic / numeric, if the wrong elements (two at least) agree on it to a few tolerances."""
    analytic, numeric = np.array([w.analytic for w in wrong]), np.array([w.numeric for w in wrong])
    if len(wrong) < 2 or not numeric.any():
        return None
    ratio = float(np.sum(analytic * numeric) / np.sum(numeric**2))
    scaled = (Slope(ratio * w.numeric, abs(ratio) * w.slope.floor) for w in wrong)
    return ratio if all(s.share(w.analytic) <= 10 for s, w in zip(scaled, wrong, strict=True)) else None


# ---------------------------------------------------------------- what can be wrong before any number is compared
def _unfit(label: str, gradient: Any, shape: tuple[int, ...]) -> str | None:
    if gradient is None:
        return "there is no gradient: backward returned None or left it out"
    if not isinstance(gradient, np.ndarray):
        return f"is a {type(gradient).__name__}, but an array was expected"
    if gradient.shape != shape:
        return f"has shape {gradient.shape}, but {shape} was expected"
    return _unusable(label, gradient)


def _unusable(label: str, x: np.ndarray) -> str | None:
    if x.dtype != np.float64:
        return f"{label} is {x.dtype}, but float64 was expected from float64 inputs"
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        index = tuple(int(i) for i in bad[0])
        return f"{label}{list(index)} is {x[index]} ({len(bad)} of {x.size} elements are not finite)"
    return None


def _dense_copy(gradient: Any) -> Any:
    """A NumPy copy of an array or of row-sparse rows; anything else as it is, to be named in the report."""
    dense = gradient.to_dense() if hasattr(gradient, "to_dense") else gradient
    return np.array(to_numpy(dense)) if hasattr(dense, "dtype") else dense


def _changed(arrays: dict[str, Any], saved: dict[str, Any], text: str) -> list[str]:
    same = {name: np.array_equal(to_numpy(x), to_numpy(saved[name]), equal_nan=True) for name, x in arrays.items()}
    return [text.format(name) for name, kept_value in same.items() if not kept_value]


def _not_repeatable(first: np.ndarray, second: np.ndarray) -> list[str]:
    gap = np.max(np.abs(first - second), initial=0.0) if first.shape == second.shape else np.inf
    if gap <= SAME * np.max(np.abs(first), initial=0.0):
        return []
    return [
        f"forward is not deterministic: two passes on the same input differ by up to {gap:.2g}. "
        "Noise must repeat: pass rng=npsoftmax.Rng(0), whose draws do, or the noise itself"
    ]


def _refuse_shared_memory(variables: dict[str, Array]) -> None:
    for (name, x), (other, z) in combinations(variables.items(), 2):
        xp = array_module(x)
        if xp.may_share_memory(x, z) and xp.shares_memory(x, z):
            raise InputError(f"{name} and {other} share memory, so moving one moves the other: pass {other}.copy().")


# ---------------------------------------------------------------- upstream gradients and buffers
def _upstream(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Random signs times 0.5 … 1.5: not uniform (ones would hide a softmax backward of zeros), nowhere near 0."""
    return rng.choice((-1.0, 1.0), shape) * (0.5 + rng.random(shape))


class kept:
    """Within it buffers may be written or replaced (batch norm in training does); after it they are as before."""

    def __init__(self, tree: Tree) -> None:
        self.saved = [(owner, dict(owner), {k: _copy(v) for k, v in owner.items()}) for owner in _dicts(tree)]

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        for owner, members, values in self.saved:
            owner.clear()
            owner.update(members)
            for name, value in values.items():
                if value is not None:
                    members[name][...] = value


def _dicts(tree: Tree) -> Iterator[Tree]:
    yield tree
    for value in tree.values():
        if isinstance(value, dict):
            yield from _dicts(value)


def _copy(value: Any) -> Array | None:
    # Numbers cannot be written in place, and nested dicts are saved on their own.
    return value.copy() if hasattr(value, "dtype") and getattr(value, "ndim", 0) else None
