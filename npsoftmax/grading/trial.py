"""One function, tried on one case: what it returned, and whether it left alone what it was given.

Design: the library's function, a student's and a catalogued mistake go the same way, so that two of them are alike
exactly when their outcomes are. A backward gets the cache of the library's forward, whatever the student's own forward
does: exercises are independent of each other.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npsoftmax.backend import Backend, get_backend, to_numpy
from npsoftmax.gradcheck.numeric import Objective
from npsoftmax.grading.child import Remote, is_students
from npsoftmax.grading.exercises.base import Case, Draw, Exercise
from npsoftmax.grading.stubs import cache_names
from npsoftmax.grading.values import as_array as as_array
from npsoftmax.grading.values import close, same_content

NUMPY = get_backend("numpy")
# A forward and its oracle differ by rounding only; a gradient by what numeric differences can resolve.
FORWARD, BACKWARD = 1e-8, 1e-6
UPSTREAM = "dy"
Pass = Callable[..., Any]
Right = tuple[np.ndarray | None, np.ndarray | float]  # the right value, and what it may differ by


@dataclass
class Outcome:
    """What a call did. outputs: by name; raised: the exception, and the line of the student's file it came from;
    misfit: why what was returned cannot be compared; changed: names of inputs that were changed in place; function:
    what was called."""

    outputs: dict[str, Any] = field(default_factory=dict)
    raised: BaseException | None = None
    misfit: str = ""
    changed: tuple[str, ...] = ()
    function: Callable[..., Any] | None = None

    @property
    def not_started(self) -> bool:
        return isinstance(self.raised, NotImplementedError) and getattr(self.raised, "here", True)

    def like(self, other: Outcome, names: tuple[str, ...] | None = None) -> bool:
        """The same outcome; with `names`, of these outputs alone."""
        if self.raised is not None or other.raised is not None:
            names_match = type(self.raised).__name__ == type(other.raised).__name__
            return names_match and str(self.raised) == str(other.raised)
        if names is None and (self.misfit, self.changed) != (other.misfit, other.changed):
            return False
        names = tuple(self.outputs) if names is None else names
        return all(close(self.outputs.get(n), other.outputs.get(n)) for n in names)


class Trial:
    """An exercise and one of its cases: `inputs` are the arguments of the function itself."""

    def __init__(self, exercise: Exercise, number: int, seed: int, backend: Backend = NUMPY):
        self.exercise, self.number, self.seed, self.backend = exercise, number, seed, backend
        draw = Draw(seed, exercise.name.removesuffix("_backward").removesuffix("_forward"), number)
        self.case: Case = (*exercise.cases, *exercise.refuses)[number](draw)
        self.fits = bool(self.case.wrt) or not exercise.is_backward
        if exercise.is_backward and self.fits:
            *outputs, self.cache = self.forward(**self.sent(self.case.args))
            self.dy = draw.upstream(np.shape(to_numpy(outputs[0])))
        elif exercise.pair and self.fits and number < len(exercise.cases):
            # The upstream gradient for the judgement of a cache.
            self.dy = draw.upstream(np.shape(to_numpy(exercise.reference(**self.sent(self.case.args))[0])))

    @property
    def pair(self) -> tuple[Pass, Pass]:
        """The library's forward and backward of the pair that the exercise is half of."""
        if self.exercise.pair is None:
            raise TypeError(f"{self.exercise.name} is no half of a pair")
        return self.exercise.pair

    @property
    def forward(self) -> Pass:
        """The library's forward."""
        return self.pair[0]

    # ------------------------------------------------------------ inputs
    def inputs(self) -> dict[str, Any]:
        """Fresh copies of what the function is given, by name."""
        if self.exercise.is_backward:
            return {UPSTREAM: self.sent(self.dy), "cache": mapped(copied, self.cache)}
        return self.sent(self.case.args)

    def sent(self, value: Any) -> Any:
        """Copies of all arrays, on the backend."""
        return mapped(lambda v: self.backend.asarray(v.copy()) if isinstance(v, np.ndarray) else v, value)

    def call(self, function: Callable[..., Any], change: Callable[[Any], Any] | None = None) -> Outcome:
        """The outcome of `function`; `change` is applied to every array that it is given."""
        inputs = self.inputs()
        if change is not None:
            inputs = mapped(change, inputs)
        before = [(name, copied(value)) for name, value in self.arrays(inputs)]
        try:
            with np.errstate(all="ignore"):
                result = self.run(function, inputs)
        except BaseException as error:  # sys.exit and KeyboardInterrupt are a student's mistakes too
            if not is_students(function, error):
                raise  # Ctrl-C here, or a fault of the grader
            return Outcome(raised=error)
        after = dict(self.arrays(inputs))
        changed = tuple(n for n, value in before if not np.array_equal(to_numpy(value), to_numpy(after[n]), True))
        outcome = self._named(result)
        outcome.changed, outcome.function = changed, function
        return outcome

    def arrays(self, inputs: dict[str, Any]) -> list[tuple[str, Any]]:
        """(name, array) of all inputs; those in a cache under the names that the backward's cache line gives them."""
        if not self.exercise.is_backward:
            return list(named_arrays(inputs))
        parts, names = as_tuple(inputs["cache"]), cache_names(self.exercise)
        named = [(name or f"cache[{i}]", part) for i, (name, part) in enumerate(zip(names, parts, strict=True))]
        return list(named_arrays({UPSTREAM: inputs[UPSTREAM], **dict(named)}))

    def run(self, function: Pass, inputs: dict[str, Any]) -> Any:
        """What `function` returns for these inputs."""
        if self.exercise.run is not None:
            return self.exercise.run(function, inputs)
        if self.exercise.is_backward:
            return function(inputs[UPSTREAM], inputs["cache"])
        places, names = _arranged(function, self.exercise.reference, inputs)
        return function(*places, **names)

    def _named(self, result: Any) -> Outcome:
        names = self.exercise.returns
        if result is None and len(names) >= 1:
            return Outcome(misfit="it returned None: does it end with a return?")
        values = result if isinstance(result, tuple | list) or self._stacked(result) else (result,)
        if len(names) == 1:
            values = (result,)
        if len(values) != len(names):
            got = f"{len(values)} values" if len(values) != 1 else "1 value"
            return Outcome(misfit=f"it returned {got}, but {len(names)} were expected: {', '.join(names)}")
        outputs = dict(zip(names, values, strict=True))
        if self.exercise.settle is not None:
            try:
                outputs = self.exercise.settle(self.case, outputs)
            except Exception as error:
                return Outcome(misfit=f"what it returned does not fit together: {error}")
        return Outcome(outputs)

    def _stacked(self, result: Any) -> bool:
        """Whether all outputs came in one array, one after the other."""
        if not isinstance(result, np.ndarray) or len(self.exercise.returns) == 1:
            return False
        rights = [right for right, _ in self.expected.values()]
        return all(right is not None and result.shape == (len(rights), *right.shape) for right in rights)

    # ------------------------------------------------------------ what is right
    @functools.cached_property
    def rights(self) -> list[dict[str, Right]]:
        """All answers that are right; the one that is asked for first."""
        if self.case.gradients is None or not self.exercise.is_backward:
            return [self.expected]
        several = self.case.gradients(self.dy)
        return [{n: (g, 1e-10) for n, g in zip(self.exercise.returns, right, strict=True)} for right in several]

    @functools.cached_property
    def expected(self) -> dict[str, Right]:
        """name -> the right value (NaN where nobody knows) and what it may differ by beside the relative tolerance."""
        oracle = self.exercise.oracle
        if oracle is None:  # a backward
            return self._numeric() if self.case.gradients is None else self.rights[0]
        right = oracle(**self.case.args)
        names = self.exercise.outputs
        return {n: (None if v is None else np.asarray(v), 1e-10) for n, v in zip(names, right, strict=True)}

    def _numeric(self) -> dict[str, Right]:
        args = mapped(copied, self.case.args)
        y = np.array(to_numpy(self.forward(**args)[0]))
        objective = Objective(lambda: to_numpy(self.forward(**args)[0]), y, np.asarray(self.dy))
        found: dict[str, Right] = {}
        with np.errstate(all="ignore"):
            for name, gradient in zip(self.case.wrt, self.exercise.returns, strict=True):
                x = args[name]
                if x is None:
                    found[gradient] = (None, 0.0)
                    continue
                values, floors = np.full(x.shape, np.nan), np.zeros(x.shape)
                for index, slope in objective.slopes(x, np.ndindex(x.shape)).items():
                    if slope is not None:
                        values[index], floors[index] = slope.value, slope.floor
                found[gradient] = (values, floors)
        return found

    @property
    def tolerance(self) -> float:
        """The relative error that is allowed."""
        return BACKWARD if self.exercise.is_backward else FORWARD

    def cache_problem(self, cache: Any, function: Callable[..., Any] | None = None) -> str:
        """Why the library's backward cannot work with a student's cache; "" where it gives the same gradients, or where
        the cache holds the same numbers in other shapes.

        A cache of a `function` in another process is tried there: it may crash it, or take for ever.
        """
        backward = self.pair[1]
        right_cache = self.exercise.reference(**self.sent(self.case.args))[-1]
        if same_content(cache, right_cache):
            return ""
        right = backward(self.sent(self.dy), right_cache)
        try:
            with np.errstate(all="ignore"):
                there = function.librarys(backward) if isinstance(function, Remote) else backward
                got = there(self.sent(self.dy), mapped(copied, cache))
        except Exception as error:
            if not is_students(function, error):
                raise
            return f"{backward.__name__} cannot unpack it ({type(error).__name__}: {error})"
        pairs = zip(as_tuple(got), as_tuple(right), strict=False)
        same = len(as_tuple(got)) == len(as_tuple(right)) and all(close(a, b) for a, b in pairs)
        return "" if same else f"with it {backward.__name__} gives wrong gradients"

    def __str__(self) -> str:
        """The case in a line: its sizes and the seed."""
        sizes = " ".join(f"{name}={size}" for name, size in self.case.sizes.items())
        return ", ".join(part for part in (sizes, self.case.note, f"seed {self.seed}") if part)


@functools.lru_cache(maxsize=256)
def trials_of(exercise: Exercise, seed: int, backend: Backend = NUMPY) -> tuple[Trial, ...]:
    """The trials of an exercise: one a case, without those that are not for a backward."""
    trials = (Trial(exercise, number, seed, backend) for number in range(len(exercise.cases)))
    return tuple(trial for trial in trials if trial.fits)


@functools.lru_cache(maxsize=64)
def refusals_of(exercise: Exercise, seed: int, backend: Backend = NUMPY) -> tuple[Trial, ...]:
    """Trials of inputs that have no answer."""
    first, last = len(exercise.cases), len(exercise.cases) + len(exercise.refuses)
    return tuple(Trial(exercise, number, seed, backend) for number in range(first, last))


def as_tuple(value: Any) -> tuple[Any, ...]:
    """A tuple as it is, anything else as a tuple of one."""
    return value if isinstance(value, tuple) else (value,)


def _arranged(function: Pass, reference: Pass, inputs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments as `function` takes them: by name, or in the library's order where parameters were renamed.

    Where it has as many parameters as the library's each stands for the one in its place, also after one that is left
    out here (a mask) or with a `*` before it.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # compiled code may tell nothing
        return [], inputs
    parameters = inspect.signature(reference).parameters.values()
    own = signature.parameters.values()
    with contextlib.suppress(TypeError):
        signature.bind(**inputs)
        return [], inputs
    if len(own) == len(parameters):
        named = {p.name: inputs[q.name] for p, q in zip(own, parameters, strict=True) if q.name in inputs}
        with contextlib.suppress(TypeError):
            signature.bind(**named)
            return [], named
    order = [p for p in parameters if p.name in inputs]
    free = [p.name for p in order if p.kind is not p.KEYWORD_ONLY]
    for by_place in (free, [p.name for p in order]):
        places = [inputs[name] for name in by_place]
        names = {name: value for name, value in inputs.items() if name not in by_place}
        with contextlib.suppress(TypeError):
            signature.bind(*places, **names)
            return places, names
    return [], inputs


# ---------------------------------------------------------------- nested arguments
def mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """`function` of every value inside nested tuples, lists and dicts."""
    if isinstance(value, dict):
        return {name: mapped(function, v) for name, v in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(mapped(function, v) for v in value)
    return function(value)


def copied(value: Any) -> Any:
    """A copy of an array, anything else as it is."""
    return value.copy() if hasattr(value, "dtype") and hasattr(value, "copy") else value


def named_arrays(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(name, array) of every array in nested arguments: dy, cache[0], …"""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from named_arrays(inner, key)
    elif isinstance(value, tuple | list):
        for i, inner in enumerate(value):
            yield from named_arrays(inner, f"{name}[{i}]")
    elif hasattr(value, "dtype") and hasattr(value, "copy"):
        yield name, value


def scattered(value: Any) -> Any:
    """The same numbers in memory that is not contiguous."""
    if not isinstance(value, np.ndarray) or not value.ndim:
        return value
    return np.flip(np.repeat(np.flip(value), 2, axis=-1))[..., ::2]


def single(value: Any) -> Any:
    """float64 to float32, anything else as it is."""
    return value.astype(np.float32) if getattr(value, "dtype", None) == np.float64 else value


def student_line(error: BaseException, file: str) -> tuple[int, str] | None:
    """The last line of the student's file that an exception passed through: its number and its text."""
    if hasattr(error, "frames"):  # of another process
        return next(((line, text) for name, line, text in reversed(error.frames) if name == file), None)
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno or 0, (error.text or "").strip()
    inside = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return (inside[-1].lineno or 0, inside[-1].line or "") if inside else None
