"""Three questions about a student's own function, with answers that are computed by running it.

Who wrote a function can say what it returns, what it would return with one operator changed, and which way a result
moves. The function runs as it does while it is graded, in a process of its own. The same student, exercise and seed
give the same questions.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.errors import InputError
from npsoftmax.grading.check import quiet
from npsoftmax.grading.child import Child, Ended, Remote, target
from npsoftmax.grading.exercises import Exercise
from npsoftmax.grading.findings import place
from npsoftmax.grading.stubs import cache_names
from npsoftmax.grading.student import borrowed
from npsoftmax.grading.trial import Trial, as_tuple, mapped, trials_of
from npsoftmax.grading.values import as_array
from npsoftmax.grading.variations import Variation, variations

CANDIDATES = 8  # inputs of which the smallest is asked about
TRIES = 30
SECONDS = 5.0  # for one call
FIXED = ("signs", "index", "like", "levels")  # inputs of which other numbers would mean nothing
Answers = dict[str, np.ndarray]


@dataclass(frozen=True)
class Question:
    """A question, and its answer, which is for the teacher."""

    text: str
    answer: str


@dataclass(frozen=True)
class Defence:
    """Questions about one function. given: the inputs that they are about, by name."""

    exercise: str
    student: str
    seed: int
    given: dict[str, str]
    questions: tuple[Question, ...]


def defend(exercise: Exercise, file: Path, student: str = "", seed: int = 0) -> Defence:
    """Three questions about the function in `file`. Raises InputError where it gives no answer to ask about."""
    rng = np.random.default_rng([seed, zlib.crc32(student.encode()), zlib.crc32(exercise.name.encode())])
    trial = small_trial(exercise, rng)
    text = file.read_text(encoding="utf-8-sig", errors="replace")
    with tempfile.TemporaryDirectory() as folder, Room(exercise, file, Path(folder)) as room:
        base = room.answers(trial, file)
        if isinstance(base, str) or not base:
            raise InputError(f"{exercise.name} gave no numbers to ask about{f': {base}' if base else ''}.")
        questions = [value_question(exercise, base, rng)]
        if (varied := variation_question(room, trial, base, variations(text, exercise.name), file, rng)) is not None:
            questions.append(varied)
        for question in change_questions(room, trial, base, file, rng):
            if len(questions) == 3:
                break
            if question.text not in {q.text for q in questions}:
                questions.append(question)
    given = {name: shown(value) for name, value in named_inputs(trial)}
    return Defence(exercise.name, student, seed, given, tuple(questions))


class Room:
    """Where the student's function, and variations of it, are run."""

    def __init__(self, exercise: Exercise, file: Path, folder: Path):
        self.exercise, self.file, self.folder = exercise, file, folder
        self.child: Child | None = None
        self.loaded: set[Path] = set()

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_: Any) -> None:
        if self.child is not None:
            self.child.stop()

    def varied(self, variation: Variation, number: int) -> Path:
        """The file with a variation, written where it can be run."""
        path = self.folder / f"variation_{number}" / self.file.name
        path.parent.mkdir()
        path.write_text(variation.source, encoding="utf-8")
        return path

    def answers(self, trial: Trial, file: Path) -> Answers | str:
        """The outputs that are numbers, by name; where there are none, what happened instead."""
        try:
            with quiet():
                outcome = trial.call(self._function(file))
        except Ended as end:
            if self.child is not None:
                self.child.stop()
            self.child, self.loaded = None, set()
            return f"it {end.how}"
        if outcome.raised is not None:
            return f"it raises {type(outcome.raised).__name__}"
        arrays = {name: as_array(outcome.outputs.get(name)) for name in outcome.outputs if name != "cache"}
        return {name: array for name, array in arrays.items() if array is not None and array.size}

    def _function(self, file: Path) -> Callable[..., Any]:
        self.child = self.child or Child()
        for path in (self.file, file):  # the student's own first: its folder may hold helpers
            if path not in self.loaded:
                self.child.left = SECONDS
                request = {"do": "load", "file": str(path), "name": self.exercise.name}
                self.child.ask(request, [], "loading")
                self.loaded.add(path)
        self.child.left = SECONDS
        signature = inspect.signature(self.exercise.reference)
        return Remote(self.child, target(str(file), self.exercise.name, borrowed(self.exercise)), signature=signature)


# ---------------------------------------------------------------- inputs
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


# ---------------------------------------------------------------- what is it?
def value_question(exercise: Exercise, base: Answers, rng: np.random.Generator) -> Question:
    """One element of one output; of true and false, how many."""
    name, array = pick(base, rng)
    if array.dtype == bool:
        return Question(
            f"How many of the {array.size} elements of {name} does your {exercise.name} set to True?",
            str(int(array.sum())),
        )
    index = telling_index(array, rng)
    return Question(
        f"What does your {exercise.name} return in {place(name, index)} for these inputs?", number(array[index])
    )


def pick(base: Answers, rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """An output with something in it."""
    names = [name for name, array in base.items() if np.any(array)] or list(base)
    name = names[int(rng.integers(len(names)))]
    return name, base[name]


def telling_index(array: np.ndarray, rng: np.random.Generator) -> tuple[int, ...]:
    """The place of an element that is neither 0 nor small beside the others."""
    values = np.abs(np.where(np.isfinite(array), array, 0).astype(float))
    places = np.argwhere(values >= max(0.1 * float(values.max(initial=0.0)), 1e-12))
    return tuple(int(i) for i in places[int(rng.integers(len(places)))]) if len(places) else (0,) * array.ndim


def number(value: Any) -> str:
    """Four digits."""
    item = np.asarray(value).item()
    return str(item) if isinstance(item, bool) else f"{item + 0.0:.4g}"


# ---------------------------------------------------------------- what if a line were another?
def variation_question(
    room: Room, trial: Trial, base: Answers, found: list[Variation], file: Path, rng: np.random.Generator
) -> Question | None:
    """One line changed, and what becomes of the result: of changes that give other numbers, of another shape, or an
    error, in this order."""
    half = (len(found) + 1) // 2  # operators and names come first: they say more than numbers
    order = [*rng.permutation(half), *(half + rng.permutation(len(found) - half))]
    others: list[Question] = []
    for tried, i in enumerate(order[:TRIES]):
        variation = found[int(i)]
        answers = room.answers(trial, room.varied(variation, tried))
        asked = (
            f"Line {variation.number} of {file.name} is `{variation.before}`. Suppose that it were `{variation.after}`:"
        )
        if isinstance(answers, str):
            others.append(Question(f"{asked} what happens for these inputs, and why?", answers))
            continue
        shapes = {n: a.shape for n, a in answers.items()}
        if shapes != {n: a.shape for n, a in base.items()}:
            said = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            others.insert(0, Question(f"{asked} which shapes would the results have?", said or "no result"))
            continue
        changed = [name for name in base if differs(answers[name], base[name]).any()]
        if changed and all(np.isfinite(answers[name]).all() for name in changed):
            return Question(*_changed(asked, base, answers, changed, rng))
    return others[0] if others else None


def _changed(
    asked: str, base: Answers, answers: Answers, changed: list[str], rng: np.random.Generator
) -> tuple[str, str]:
    name = changed[int(rng.integers(len(changed)))]
    index = some_place(differs(answers[name], base[name]), answers[name], base[name], rng)
    where = place(name, index)
    which = f"which of {', '.join(base)} would change, and what" if len(base) > 1 else "what"
    answer = f"{number(answers[name][index])} (it is {number(base[name][index])})"
    return f"{asked} {which} would {where} be?", f"{', '.join(changed)}; {answer}" if len(base) > 1 else answer


def some_place(wanted: np.ndarray, a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> tuple[int, ...]:
    """One of the places that are wanted; one where neither array is 0, if there is any."""
    clear = wanted & (a != 0) & (b != 0)
    places = np.argwhere(clear if clear.any() else wanted)
    return tuple(int(i) for i in places[int(rng.integers(len(places)))])


def differs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where two arrays differ by more than can be overlooked."""
    with np.errstate(all="ignore"):
        return ~np.isclose(a.astype(float), b.astype(float), rtol=0.02, atol=1e-9, equal_nan=True)


# ---------------------------------------------------------------- which way does it move?
def change_questions(
    room: Room, trial: Trial, base: Answers, file: Path, rng: np.random.Generator
) -> Iterator[Question]:
    """One input changed: which way a result moves; where results are no real numbers, how many of them change."""
    tried = 0
    candidates = list(changes(trial, rng))
    for said, changed in candidates:
        tried += 1
        if tried > TRIES:
            return
        answers = room.answers(changed, file)
        if isinstance(answers, str):
            continue
        for name in rng.permutation(list(base)).tolist():
            if name not in answers:
                continue
            before, after = base[name], answers[name]
            if before.shape != after.shape and after.dtype == bool:
                many = f"{int(after.sum())} of {after.size} (it is {int(before.sum())} of {before.size})"
                yield Question(f"{said}: how many of the elements of {name} are True then?", many)
                break
            if before.shape != after.shape:
                yield Question(f"{said}: which shape does {name} have then?", f"{after.shape} (it is {before.shape})")
                break
            moved = differs(after, before)
            if not moved.any():
                continue
            if before.dtype.kind == "f" and np.isfinite(after[moved]).all() and np.isfinite(before[moved]).all():
                index = some_place(moved, before, after, rng)
                a, b = before[index], after[index]
                way = "it grows" if b > a else "it falls"
                yield Question(
                    f"{said}: does {place(name, index)} grow or fall, and why?",
                    f"{way}, from {number(a)} to {number(b)}",
                )
            else:
                yield Question(
                    f"{said}: how many of the {before.size} elements of {name} change?", str(int(moved.sum()))
                )
            break


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
