"""Cases small enough to be read and typed, for questions about a function: and the same with one number changed."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from npsoftmax.grading.exercises import Exercise
from npsoftmax.grading.findings import place
from npsoftmax.grading.stubs import cache_names
from npsoftmax.grading.trial import Trial, as_tuple, mapped, trials_of

CANDIDATES = 8  # inputs of which the smallest is asked about
FIXED = ("signs", "index", "like", "levels")  # inputs of which other numbers would mean nothing
NO_ROWS = ("w", "b", "gamma", "beta", "w_head", "proj", "w_tail", "w_qkv", "w_out", "group", "drawn", "log_expected")


def small_trial(exercise: Exercise, rng: np.random.Generator) -> Trial:
    """The smallest of some trials, its numbers rounded so that they can be read and typed."""
    drawn = [trials_of(exercise, int(seed))[0] for seed in rng.integers(1, 10**6, CANDIDATES)]
    trial = copy.copy(min(drawn, key=lambda t: count(named_inputs(t))))
    args = mapped(rounded, trial.case.args)
    trial.case = dataclasses.replace(trial.case, args=args)
    if exercise.is_backward:
        *_, trial.cache = trial.forward(**trial.sent(args))
        trial.dy = rounded(trial.dy)
    return trial


def count(value: Any) -> int:
    """How many numbers there are in nested inputs."""
    return sum(map(count, value)) if isinstance(value, tuple | list) else int(np.size(value))


def rounded(value: Any) -> Any:
    """Two decimals; whole numbers and booleans as they are."""
    if isinstance(value, float):
        return round(value, 2)
    return value.round(2) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


def named_inputs(trial: Trial) -> list[tuple[str, Any]]:
    """(name, value) of all that the function is given, the parts of a cache by their own names."""
    if not trial.exercise.is_backward:
        return list(trial.case.args.items())
    parts, names = as_tuple(trial.cache), cache_names(trial.exercise)
    if len(names) != len(parts):
        return [("dy", trial.dy), ("cache", trial.cache)]
    return [
        ("dy", trial.dy),
        *((name or f"cache[{i}]", p) for i, (name, p) in enumerate(zip(names, parts, strict=True))),
    ]


def with_input(trial: Trial, number: int, value: Any) -> Trial:
    """The trial with the input of that number changed."""
    changed = copy.copy(trial)
    if not trial.exercise.is_backward:
        name = list(trial.case.args)[number]
        changed.case = dataclasses.replace(trial.case, args=trial.case.args | {name: value})
    elif number == 0:
        changed.dy = value
    else:
        parts = list(as_tuple(trial.cache))
        parts[number - 1] = value
        changed.cache = tuple(parts) if isinstance(trial.cache, tuple) else value
    return changed


def shown(value: Any) -> str:
    """An input as Python would read it."""
    if isinstance(value, np.ndarray):
        return np.array2string(
            value, precision=4, separator=", ", max_line_width=76, threshold=10**6, suppress_small=True
        )
    if isinstance(value, tuple | list):
        return f"({', '.join(shown(v) for v in value)})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def one_row(trial: Trial) -> Trial | None:
    """The trial with the first of its N samples alone; None where it has one already, or samples are no rows."""
    n = trial.case.sizes.get("N", 1)
    rows = [name for name, v in trial.case.args.items() if name not in NO_ROWS and _has_rows(v, n)]
    if n < 2 or not rows or "shape" in trial.case.args:
        return None
    alone = copy.copy(trial)
    args = trial.case.args | {name: trial.case.args[name][:1] for name in rows}
    alone.case = dataclasses.replace(trial.case, args=args, sizes=trial.case.sizes | {"N": 1})
    if trial.exercise.is_backward:
        *_, alone.cache = trial.forward(**trial.sent(args))
        alone.dy = trial.dy[:1] if _has_rows(trial.dy, n) else trial.dy
    return alone


def _has_rows(value: Any, n: int) -> bool:
    return isinstance(value, np.ndarray) and value.ndim > 0 and len(value) == n


def changes(trial: Trial, rng: np.random.Generator) -> Iterator[tuple[str, Trial]]:
    """Inputs with one number changed, real ones first, each with a sentence."""
    inputs = named_inputs(trial)
    kinds = {"f": 0, "b": 1, "i": 2, "u": 2}
    first = trial.exercise.is_backward and np.ndim(trial.dy) > 0  # dy says more than what a cache may hold
    order = sorted(
        rng.permutation(len(inputs)).tolist(),
        key=lambda i: (
            0 if first and i == 0 else 1,
            kinds.get(inputs[i][1].dtype.kind, 4) if isinstance(inputs[i][1], np.ndarray) else 3,
        ),
    )
    for _ in range(4):
        for i in order:
            name, value = inputs[i]
            if name in FIXED:
                continue
            if isinstance(value, np.ndarray) and value.size:
                index = tuple(int(rng.integers(n)) for n in value.shape)
                new = value.copy()
                if value.dtype.kind == "f":
                    new[index] = value[index] + 0.5
                    yield f"Let {place(name, index)} be larger by 0.5", with_input(trial, i, new)
                elif value.dtype == bool:
                    new[index] = not value[index]
                    yield f"Let {place(name, index)} be {new[index]}", with_input(trial, i, new)
                elif value.ndim == 1 and len(value) > 1:
                    a, b = rng.choice(len(value), 2, replace=False).tolist()
                    new[[a, b]] = value[[b, a]]
                    yield f"Let {name}[{a}] and {name}[{b}] change places", with_input(trial, i, new)
            elif isinstance(value, float):
                yield f"Let {name} be larger by 0.5", with_input(trial, i, value + 0.5)
            elif isinstance(value, int) and not isinstance(value, bool):
                yield f"Let {name} be {value + 1}", with_input(trial, i, value + 1)
