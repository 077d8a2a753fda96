"""Three questions about a student's own function, with answers that are computed by running it.

Who wrote a function can say what it returns, what it would return with one operator changed, and which way a result
moves. The function runs as it does while it is graded, in a process of its own. The same student, exercise and seed
give the same questions.
"""

from __future__ import annotations

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
from npsoftmax.grading.child import HUNG, Child, Ended, Remote, target
from npsoftmax.grading.exercises import Exercise
from npsoftmax.grading.findings import place
from npsoftmax.grading.handins.text import decoded
from npsoftmax.grading.small_cases import changes, named_inputs, one_row, shown, small_trial
from npsoftmax.grading.student import borrowed
from npsoftmax.grading.trial import Trial
from npsoftmax.grading.values import as_array
from npsoftmax.grading.variations import Variation, variations

TRIES = 30
SECONDS = 5.0  # for one call
ENDLESS, MOST_ENDLESS = "it never ends", 2
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
    text = decoded(file.read_bytes())
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
            return ENDLESS if end.how == HUNG else "the whole process ends"
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
        varied = room.varied(variation, tried)
        answers = room.answers(trial, varied)
        asked = (
            f"Line {variation.number} of {file.name} is `{variation.before}`. Suppose that it were `{variation.after}`:"
        )
        if isinstance(answers, str):
            others.append(Question(f"{asked} what happens for these inputs, and why?", answers))
            if [q.answer for q in others].count(ENDLESS) == MOST_ENDLESS:  # each takes its time
                break
            continue
        shapes = {n: a.shape for n, a in answers.items()}
        if shapes != {n: a.shape for n, a in base.items()}:
            said = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            others.insert(0, Question(f"{asked} which shapes would the results have?", said or "no result"))
            continue
        changed = [name for name in base if differs(answers[name], base[name]).any()]
        if changed and all(np.isfinite(answers[name]).all() for name in changed):
            return _for_one_row(room, trial, file, varied, *_changed(asked, base, answers, changed, rng))
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


def _for_one_row(room: Room, trial: Trial, file: Path, varied: Path, text: str, answer: str) -> Question:
    """The question, and whether the change would be seen with one sample, where that can be said."""
    alone = one_row(trial)
    a, b = (room.answers(alone, path) if alone else "" for path in (file, varied))
    if (
        isinstance(a, str)
        or isinstance(b, str)
        or {n: x.shape for n, x in a.items()} != {n: x.shape for n, x in b.items()}
    ):
        return Question(text, answer)
    seen = "yes" if any(differs(b[name], a[name]).any() for name in a) else "no"
    return Question(f"{text} With the first sample alone (N = 1), would anything change?", f"{answer}; N = 1: {seen}")


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
