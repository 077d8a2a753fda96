"""The check itself: analytic gradients once, then directions, then element by element."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from npsoftmax.backend import Array, array_module, to_numpy
from npsoftmax.errors import InputError
from npsoftmax.gradcheck.numeric import Objective, Slope
from npsoftmax.gradcheck.report import Report, TensorReport, WrongElement
from npsoftmax.params import Tree

Gradients = tuple[dict[str, Any], list[str]]  # by name of the variable; and what does not fit, in words

# Two passes of one function differ by rounding at most (threads may sum in another order), not by noise.
SAME = 1e-12
# With more than this share of the elements at a kink, a check says too little to pass.
MOST_SKIPPED = 0.2


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
    """At most `elements` elements and `directions` directions a tensor, both drawn from `seed`."""

    seed: int
    elements: int
    directions: int

    def __post_init__(self) -> None:
        if min(self.elements, self.directions) < 0 or self.elements + self.directions == 0:
            raise InputError(
                f"elements={self.elements} with directions={self.directions} compares nothing: "
                "pass elements=100 or directions=2, or both."
            )


def check(subject: Subject, effort: Effort) -> Report:
    """Compare the analytic gradients of `subject` with numeric ones; every array is left as it was found."""
    if not any(x.size for x in subject.variables.values()):
        raise InputError(f"{subject.name} has no parameter and no float64 input: there is no gradient to check.")
    _refuse_shared_memory(subject.variables)
    saved = {name: x.copy() for name, x in subject.variables.items()}
    restore_buffers = _snapshot(subject.buffers)
    try:
        return _check(subject, effort, saved, restore_buffers)
    finally:
        restore_buffers()
        for name, x in subject.variables.items():
            x[...] = saved[name]


def _check(subject: Subject, effort: Effort, saved: dict[str, Array], restore_buffers: Callable[[], None]) -> Report:
    def evaluate() -> np.ndarray:
        restore_buffers()
        return to_numpy(subject.run()[0])

    rng = np.random.default_rng(effort.seed)
    output, cache = subject.run()
    y = np.array(to_numpy(output))
    if problem := _unusable("y", y):
        return Report(subject.name, problems=[f"forward: {problem}"])
    dy = np.asarray(_random(y.shape, rng) if subject.upstream is None else subject.upstream)
    given = array_module(output).array(dy) if y.ndim else float(dy)
    gradients, misfits = subject.back(given, cache)
    # Copies, since a backward may hand out views of dy or of x, and x is about to move.
    gradients = {name: _dense_copy(g) for name, g in gradients.items()}
    spoilt = _changed(subject.variables | {"dy": given}, saved | {"dy": dy})
    spoilt = spoilt or _not_repeatable(y, evaluate())
    report = Report(subject.name, problems=misfits + spoilt)
    if not spoilt:
        comparison = Comparison(Objective(evaluate, y, dy), effort, rng)
        with np.errstate(all="ignore"):
            report.tensors = [comparison.tensor(n, x, gradients.get(n)) for n, x in subject.variables.items()]
        report.problems += _not_repeatable(y, evaluate())
    return report


# ---------------------------------------------------------------- one tensor
@dataclass
class Comparison:
    """Analytic against numeric, one tensor at a time."""

    objective: Objective
    effort: Effort
    rng: np.random.Generator

    def tensor(self, name: str, x: Array, gradient: Any) -> TensorReport:
        report = TensorReport(name, size=x.size)
        if problem := _unfit(report.label, gradient, x.shape):
            report.problems.append(problem)
        elif x.size:
            self.directions(report, x, gradient)
            if self.effort.elements:
                self.elements(report, x, gradient)
        return report

    def directions(self, report: TensorReport, x: Array, gradient: np.ndarray) -> None:
        for _ in range(self.effort.directions):
            direction = _random(x.shape, self.rng)
            found = self.objective.along_direction(x, array_module(x).asarray(direction))
            if found is None:
                continue
            report.directions += 1
            analytic = float(np.sum(gradient * direction))
            report.used = max(report.used, found.share(analytic))
            if found.share(analytic) > 1 and report.direction is None:
                report.direction = WrongElement(None, analytic, found)
        if not report.directions and not self.effort.elements:
            report.problems.append("every direction meets a kink, so nothing was compared: pass elements=100")

    def elements(self, report: TensorReport, x: Array, gradient: np.ndarray) -> None:
        wrong = []
        for index in self.sample(x.shape):
            if report.checked == self.effort.elements:
                break
            found = self.objective.along_element(x, index)
            if found is None:
                report.skipped += 1
                continue
            report.checked += 1
            analytic = float(gradient[index])
            report.used = max(report.used, found.share(analytic))
            if found.share(analytic) > 1:
                wrong.append(WrongElement(index, analytic, found))
        report.wrong, report.ratio = len(wrong), _ratio(wrong)
        report.first = min(wrong, key=lambda w: w.index or (), default=None)
        tried = report.checked + report.skipped
        if report.skipped > MOST_SKIPPED * tried:
            report.problems.append(
                f"{report.skipped} of {tried} elements sit at a kink, a tie or the edge of the domain "
                f"(at most {MOST_SKIPPED:.0%} may): choose inputs away from it"
            )

    def sample(self, shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        """All indices of a small tensor; of a large one a random sample, with spares for those at a kink."""
        size, elements = int(np.prod(shape)), self.effort.elements
        if size <= elements:
            return np.ndindex(shape)
        chosen = self.rng.choice(size, min(size, elements + elements // 4 + 1), replace=False)
        return (tuple(int(i) for i in np.unravel_index(c, shape)) for c in chosen)


def _ratio(wrong: list[WrongElement]) -> float | None:
    """analytic / numeric, if the wrong elements (two at least) agree on it to a few tolerances."""
    analytic, numeric = np.array([w.analytic for w in wrong]), np.array([w.numeric for w in wrong])
    if len(wrong) < 2 or not numeric.any():
        return None
    ratio = float(np.sum(analytic * numeric) / np.sum(numeric**2))
    scaled = [Slope(ratio * w.numeric, abs(ratio) * w.slope.floor) for w in wrong]
    return ratio if all(s.share(a) <= 10 for s, a in zip(scaled, analytic, strict=True)) else None


def _random(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Random signs times 0.5 … 1.5: not uniform (ones hide a softmax backward of zeros), nowhere near 0."""
    return rng.choice((-1.0, 1.0), shape) * (0.5 + rng.random(shape))


# ---------------------------------------------------------------- wrong before any number is compared
def _unfit(label: str, gradient: Any, shape: tuple[int, ...]) -> str | None:
    if gradient is None:
        return "no gradient: backward returned None or left it out"
    if not isinstance(gradient, np.ndarray):
        return f"{label} is of type {type(gradient).__name__}, but an array was expected"
    if gradient.shape != shape:
        return f"{label} has shape {gradient.shape}, but {shape} was expected"
    return _unusable(label, gradient)


def _unusable(label: str, x: np.ndarray) -> str | None:
    if x.dtype != np.float64:
        return f"{label} is {x.dtype}, but float64 was expected from float64 inputs"
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        index = tuple(int(i) for i in bad[0])
        place = str(list(index)) if index else ""
        return f"{label}{place} is {x[index]}, and {len(bad)} of {x.size} elements are not finite"
    return None


def _dense_copy(gradient: Any) -> Any:
    """A NumPy copy of an array or of sparse rows; anything else as it is, to be named in the report."""
    dense = gradient.to_dense() if hasattr(gradient, "to_dense") else gradient
    return np.array(to_numpy(dense)) if hasattr(dense, "dtype") else dense


def _changed(arrays: dict[str, Any], saved: dict[str, Any]) -> list[str]:
    same = {n: np.array_equal(to_numpy(x), to_numpy(saved[n]), equal_nan=True) for n, x in arrays.items()}
    return [f"forward or backward changed {name} in place: work on a copy" for name in same if not same[name]]


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
            raise InputError(f"{name} and {other} share memory, so one moves the other: pass {other}.copy().")


# ---------------------------------------------------------------- buffers
def _snapshot(tree: Tree) -> Callable[[], None]:
    """Copy the buffers -> a function that undoes what forward writes or replaces (batch norm in training)."""
    saved = [(owner, dict(owner), {k: _copy(v) for k, v in owner.items()}) for owner in _dicts(tree)]

    def restore() -> None:
        for owner, members, values in saved:
            owner.clear()
            owner.update(members)
            for name, value in values.items():
                if value is not None:
                    members[name][...] = value

    return restore


def _dicts(tree: Tree) -> Iterator[Tree]:
    yield tree
    for value in tree.values():
        if isinstance(value, dict):
            yield from _dicts(value)


def _copy(value: Any) -> Array | None:
    # A number or a read-only array cannot be written in place, and nested dicts are saved on their own.
    is_array = hasattr(value, "dtype") and hasattr(value, "__setitem__")
    return value.copy() if is_array and getattr(value.flags, "writeable", True) else None
