"""The check itself: analytic gradients once, then directions, then element by element."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from npsoftmax.backend import Array, array_module, to_numpy
from npsoftmax.errors import InputError
from npsoftmax.gradcheck.numeric import (
    DIRECTION_STEPS,
    LARGE,
    LONG_STEPS,
    SMALL,
    TINY,
    Index,
    Objective,
    Slope,
    largest,
)
from npsoftmax.gradcheck.report import Report, TensorReport, WrongElement, place
from npsoftmax.params import Tree

Gradients = tuple[dict[str, Any], list[str]]  # by name of the variable; and what does not fit, in words

# Two passes of one function differ by rounding at most (threads may sum in another order), not by noise.
SAME = 1e-12
# With more than this share of the elements at a kink, a check says too little to pass; 3 may of a small tensor, as long
# as they are no more than the second share of it.
FEW, MOST_SKIPPED = 0.1, 0.2
HIDDEN = "outputs are so large that their rounding hides the gradient: subtract what is constant in them, or scale x"


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
        raise InputError(
            f"{' and '.join(subject.variables)} has no elements: there is no gradient to check."
            if subject.variables
            else f"{subject.name} has no parameter and no float64 input: there is no gradient to check."
        )
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
    if not y.size:
        return Report(subject.name, problems=[f"forward: y is empty, of shape {y.shape}, and no gradient can be wrong"])
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
            directions = [_random(x.shape, self.rng) * _reach(x) for _ in range(self.effort.directions)]
            indices = self.sample(x.shape) if self.effort.elements else ()
            slopes = self.objective.slopes(x, indices, self.effort.elements)
            self.elements(report, x, gradient, slopes)
            self.directions(report, x, gradient, directions, largest(slopes.values()))
        return report

    def elements(self, report: TensorReport, x: Array, gradient: np.ndarray, slopes: dict[Index, Slope | None]) -> None:
        wrong, bent, size = [], [], largest(slopes.values())
        for index, found in slopes.items():
            analytic = float(gradient[index])
            if found is None:
                report.skipped += 1
                sides = self.objective.sides(x, index)
                if sides is not None and not sides[0] <= analytic <= sides[1]:
                    bent.append(
                        f"{report.label}{place(index)} is {analytic:.8g} at a kink, but the slopes on its two sides "
                        f"run from {sides[0]:.6g} to {sides[1]:.6g}"
                    )
                continue
            right = found.judge(analytic, size, self.objective.unit)
            if right is None:
                report.hidden += 1
                continue
            report.checked += 1
            report.faint += (
                max(abs(analytic), abs(found.value)) < found.floor / SMALL and abs(analytic) > found.floor / 100
            )
            report.used = max(report.used, found.share(analytic))
            if not right:
                wrong.append(WrongElement(index, analytic, found))
        report.wrong, report.ratio = len(wrong), _ratio(wrong)
        report.first = min(wrong, key=lambda w: w.index or (), default=None)
        report.problems += bent[:1]
        if report.hidden:
            report.problems.append(f"{report.hidden} of {len(slopes)} elements cannot be measured: {HIDDEN}")
        if report.skipped > max(FEW * len(slopes), min(3, MOST_SKIPPED * len(slopes))):
            report.problems.append(
                f"{report.skipped} of {len(slopes)} elements sit at a kink, a tie or the edge of the domain, or the "
                f"function is not computed in float64 (at most {FEW:.0%} may, or 3 of a small tensor): choose inputs "
                "away from it"
            )

    def directions(
        self, report: TensorReport, x: Array, gradient: np.ndarray, directions: list[np.ndarray], size: float
    ) -> None:
        hidden = False
        for direction in directions:
            analytic = float(np.sum(gradient * direction))
            for steps in (DIRECTION_STEPS, LONG_STEPS):
                found = self.objective.along_direction(x, array_module(x).asarray(direction), steps)
                right = found and found.judge(analytic, size, self.objective.unit)
                hidden |= found is not None and right is None
                if found is None or right is not None:
                    break
            if found is None or right is None:
                continue
            report.directions += 1
            report.used = max(report.used, found.share(analytic))
            if not right and report.direction is None:
                report.direction = WrongElement(None, analytic, found)
        if not report.directions and not self.effort.elements:
            report.problems.append(
                f"no direction can be measured: {HIDDEN}"
                if hidden
                else "every direction meets a kink, so nothing was compared: pass elements=100"
            )

    def sample(self, shape: tuple[int, ...]) -> Iterator[Index]:
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


def _reach(x: Array) -> np.ndarray:
    """How far a step of 1 along a direction goes in each element: 1, but |x| where that is large, or all are tiny."""
    size = np.abs(to_numpy(x))
    if 0 < size.max() < TINY**2:
        return np.where(size > 0, size, size.max())
    return np.where(size > LARGE, size, 1.0)


def _random(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Random signs times 0.5 … 1.5: not uniform (ones hide a softmax backward of zeros), nowhere near 0."""
    return rng.choice((-1.0, 1.0), shape) * (0.5 + rng.random(shape))


# ---------------------------------------------------------------- wrong before any number is compared
def outputs_and_cache(result: Any) -> tuple[list[Any], Any]:
    """What forward returned, `y, cache`, `y, more, cache` or `(y, more), cache` -> its outputs, cache."""
    if not isinstance(result, tuple) or len(result) < 2:
        raise InputError(f"forward returned {kind_of(result)}, but y, cache was expected.")
    *outputs, cache = result
    return (list(outputs[0]) if len(outputs) == 1 and isinstance(outputs[0], tuple) else outputs), cache


def chosen_output(outputs: Sequence[Any], output: int | None) -> Any:
    """The one at position `output`, or the only one; InputError where there is none, or nobody said which."""
    if len(outputs) > 1 and output is None:
        raise InputError(f"forward has {len(outputs)} outputs: pass output=0 if the first one gets a gradient.")
    if not -len(outputs) <= (output or 0) < len(outputs):
        raise InputError(f"output={output} was given, but forward has {len(outputs)}: pass output=0 for the first one.")
    return outputs[output or 0]


def kind_of(result: Any) -> str:
    """What a function returned, in words."""
    return f"{len(result)} values" if isinstance(result, tuple) else f"one {type(result).__name__}"


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
        "Noise must repeat: pass rng=npsoftmax.Rng(0), whose draws do, or the noise itself; to a function of PyTorch, "
        "whose own generator repeats as well, the noise"
    ]


def _refuse_shared_memory(variables: dict[str, Array]) -> None:
    for (name, x), (other, z) in combinations(variables.items(), 2):
        xp = array_module(x)
        if xp.may_share_memory(x, z) and xp.shares_memory(x, z):
            raise InputError(
                f"{name} and {other} share memory, so one moves the other: pass {other}.copy(), of a tensor "
                f"{other}.clone()."
            )


# ---------------------------------------------------------------- buffers
def _snapshot(tree: Tree) -> Callable[[], None]:
    """Copy the buffers -> a function that undoes what forward writes or replaces (batch norm in training)."""
    saved = [(owner, dict(owner), {k: _copy(v) for k, v in owner.items()}) for owner in _dicts(tree)]

    def restore() -> None:
        for owner, members, values in saved:
            dict.clear(owner)  # a tree of branches refuses to be changed in any other way
            dict.update(owner, members)
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
