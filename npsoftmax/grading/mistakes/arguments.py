"""Mistakes of every exercise: the library's own function, with one of its arguments changed.

What is said is what was found: "this is what comes out with tau = 1". It is told only if every element agrees.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from npsoftmax.grading.exercises import Exercise
from npsoftmax.grading.mistakes.base import ARGUMENT, Mistake
from npsoftmax.grading.stubs import cache_names

OUT = "this is what comes out with"


def changed_arguments(exercise: Exercise, inputs: dict[str, Any]) -> Iterator[Mistake]:
    """The right function with an argument changed; `inputs` of one trial tell the types."""
    if exercise.compiled:
        return
    values = _values(exercise, inputs)
    for name, value in values.items():
        for sentence, change in _changes(name, value):
            yield Mistake(exercise.name, (ARGUMENT,), _with(exercise, {name: change}), (), (sentence,))
    if {"stride", "k"} <= set(values):
        sentence = f"{OUT} stride = k, windows side by side: is stride used?"
        yield Mistake(exercise.name, (ARGUMENT,), _called(exercise, _side_by_side), (), (sentence,))
    for a, b in itertools.combinations(values, 2):
        if _alike(values[a], values[b]):
            yield Mistake(
                exercise.name, (ARGUMENT,), _exchanged(exercise, a, b), (), (f"{OUT} {a} and {b} exchanged.",)
            )


def _values(exercise: Exercise, inputs: dict[str, Any]) -> dict[str, Any]:
    """name -> value of every argument, those in a cache included."""
    if not exercise.is_backward:
        return dict(inputs)
    upstream = next(iter(inspect.signature(exercise.reference).parameters))
    dy, cache = inputs.values()
    parts = cache if isinstance(cache, tuple) else (cache,)
    return {upstream: dy, **{name: part for name, part in zip(cache_names(exercise), parts, strict=True) if name}}


def _rebuilt(exercise: Exercise, values: dict[str, Any], cache: Any) -> tuple[Any, ...]:
    """(dy, cache) from the values by name."""
    dy, *_ = values.values()
    if not isinstance(cache, tuple):
        return dy, next(values[name] for name in cache_names(exercise))
    return dy, tuple(values.get(name, part) for name, part in zip(cache_names(exercise), cache, strict=True))


def _called(exercise: Exercise, edit: Callable[[dict[str, Any]], None]) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        if not exercise.is_backward:
            edit(kwargs)
            return exercise.reference(**kwargs)
        dy, cache = args
        values = _values(exercise, {"dy": dy, "cache": cache})
        edit(values)
        return exercise.reference(*_rebuilt(exercise, values, cache))

    return function


def _with(exercise: Exercise, changes: dict[str, Callable[[Any], Any]]) -> Callable[..., Any]:
    def edit(values: dict[str, Any]) -> None:
        for name, change in changes.items():
            values[name] = change(values[name])

    return _called(exercise, edit)


def _exchanged(exercise: Exercise, a: str, b: str) -> Callable[..., Any]:
    def edit(values: dict[str, Any]) -> None:
        values[a], values[b] = values[b], values[a]

    return _called(exercise, edit)


def _side_by_side(values: dict[str, Any]) -> None:
    values["stride"] = values["k"]


def _alike(a: Any, b: Any) -> bool:
    if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
        return False
    return a.shape == b.shape and a.dtype == b.dtype


Told = tuple[str, Callable[[Any], Any]]


def _changes(name: str, value: Any) -> Iterator[Told]:
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, np.ndarray):
        yield from _array_changes(name, value)
    elif isinstance(value, float):
        yield from _number_changes(name)
    elif isinstance(value, int):
        yield f"{OUT} {name} - 1 for {name}: off by one.", lambda v: v - 1
        yield f"{OUT} {name} + 1 for {name}: off by one.", lambda v: v + 1
    elif isinstance(value, tuple) and len(value) == 2 and all(isinstance(v, int) for v in value):
        yield f"{OUT} the two numbers of {name} exchanged: height comes first.", lambda v: v[::-1]
        if name in ("pad", "stride"):
            unused = (0, 0) if name == "pad" else (1, 1)
            yield f"{OUT} {name} = {unused}: is {name} used?", lambda v: unused


def _number_changes(name: str) -> Iterator[Told]:
    if name in ("eps", "label_smoothing", "value"):
        yield f"{OUT} {name} = 0: is {name} used?", lambda v: 0.0
        yield f"{OUT} 1 - {name} for {name}.", lambda v: 1 - v
        return
    yield f"{OUT} {name} = 1: is {name} used?", lambda v: 1.0
    yield f"{OUT} 1/{name} for {name}: multiplied for divided, or divided for multiplied.", lambda v: 1 / v
    yield f"{OUT} {name}² for {name}: it is used twice.", lambda v: v * v
    yield f"{OUT} √{name} for {name}.", lambda v: v**0.5
    yield f"{OUT} 1 - {name} for {name}.", lambda v: 1 - v
    yield f"{OUT} -{name} for {name}.", lambda v: -v


def _array_changes(name: str, value: np.ndarray) -> Iterator[Told]:
    if value.dtype.kind == "b":
        yield f"{OUT} True and False exchanged in {name}.", lambda v: ~v
        yield f"{OUT} True everywhere in {name}: is {name} used?", np.ones_like
    elif value.dtype.kind == "f":
        yield f"{OUT} -{name} for {name}: is a sign wrong?", lambda v: -v
        yield f"{OUT} zeros for {name}: is {name} used?", np.zeros_like
        yield f"{OUT} ones for {name}: is {name} used?", np.ones_like
        if (value < 0).any():
            yield f"{OUT} |{name}| for {name}.", np.abs
        if (value > 0).all():
            yield f"{OUT} 1/{name} for {name}: multiplied for divided, or divided for multiplied.", lambda v: 1 / v
            yield f"{OUT} {name}² for {name}: it is used twice.", np.square
            yield f"{OUT} √{name} for {name}.", np.sqrt
        if value.ndim == 2 and value.shape[0] == value.shape[1]:
            yield f"{name} is transposed: {OUT} {name}ᵀ.", lambda v: v.T
