"""`npsoftmax.check("softmax_backward", f)`: one function checked where it was written, as in a notebook.

It runs in this process, without a time limit: a convenience for who wrote the function, and no sandbox.
"""

from __future__ import annotations

import html
import inspect
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npsoftmax.errors import InputError, unknown_name
from npsoftmax.grading.check import Verdict
from npsoftmax.grading.check import check as judge
from npsoftmax.grading.exercises import EXERCISES, SEED, Exercise
from npsoftmax.grading.plain import MARKS, readable
from npsoftmax.grading.report import field, fields_of
from npsoftmax.grading.student import borrowed

# Colours that are read on white and on black, so that no page has to be asked which it is; lines wrap on a phone.
STYLE = (
    "border-left: 4px solid {colour}; padding: 0.4em 0.8em; margin: 0.3em 0; color: inherit; background: transparent; "
    "white-space: pre-wrap; overflow-wrap: anywhere; font-family: monospace; font-size: 0.95em; line-height: 1.4"
)
ROW = "display: grid; grid-template-columns: minmax(6em, 12em) 1fr; column-gap: 1em"
COLOURS = {"passed": "#2e9d58", "wrong": "#d9534f", "not started": "#8a8f98"}


@dataclass(frozen=True, repr=False)
class Report:
    """What `check` found. state: "passed", "wrong" or "not started"; cause: the likely cause, "" where none is known;
    text: the whole report, as `npsoftmax grade` prints it. In a notebook it is shown as HTML."""

    exercise: str
    state: str
    text: str
    cause: str = ""
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether it is right."""
        return self.state == "passed"

    def __repr__(self) -> str:
        return readable(self.text)

    def _repr_html_(self) -> str:
        """The same as HTML that needs no other file; everything in it is escaped."""
        head = html.escape(self.text.partition("\n")[0])
        rows = [
            f'<div style="{ROW}"><span>{html.escape(label)}</span><span>{html.escape(text)}</span></div>'
            for label, text in fields_of(self.text)
        ]
        return f'<div style="{STYLE.format(colour=COLOURS[self.state])}"><b>{head}</b>{"".join(rows)}</div>'


def check(name: str, function: Callable[..., Any], *, seed: int = SEED) -> Report:
    """Check a function of yours as `npsoftmax grade` does, in this process: `npsoftmax.check("softmax_backward", f)`.

    name: of the exercise; seed: other numbers and shapes. Returns a Report, which a notebook shows. Raises InputError
    for an unknown name, and for what is no function or no seed.
    """
    if not isinstance(name, str) or name not in EXERCISES:
        raise unknown_name("exercise", name, EXERCISES)
    if not callable(function):
        raise InputError(
            f"{function!r:.80} is no function; give the function itself, as in npsoftmax.check({name!r}, {name})."
        )
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed is {seed!r:.80}, but a whole number of at least 0 was expected.")
    exercise = EXERCISES[name]
    verdict = judged_here(exercise, function, seed)
    text = verdict.report or f"{MARKS[verdict.state]} {exercise.assignment} {name}  {verdict.state}"
    if verdict.note:
        text = "\n".join([text, *field("note", verdict.note)])
    return Report(name, verdict.state, text, verdict.cause, verdict.note)


def judged_here(exercise: Exercise, function: Callable[..., Any], seed: int) -> Verdict:
    """The verdict on a function that runs in this process."""
    with _judged_alone(function, exercise):
        return _verdict(exercise, function, seed)


def _verdict(exercise: Exercise, function: Callable[..., Any], seed: int) -> Verdict:
    file = getattr(getattr(function, "__code__", None), "co_filename", "")
    if not exercise.compiled or Path(file).is_file():
        return judge(exercise, function, seed, file=file)
    with tempfile.TemporaryDirectory() as folder:  # of a cell there is no file that Cython could read
        copy = Path(folder) / exercise.file
        copy.write_text(f"import cython\n\n{inspect.getsource(function)}", encoding="utf-8")
        return judge(exercise, function, seed, file=str(copy))


@contextmanager
def _judged_alone(function: Callable[..., Any], exercise: Exercise) -> Iterator[None]:
    """Within it the other exercises that the function may call are the library's: a mistake in one costs the others
    nothing."""
    names = getattr(inspect.unwrap(function), "__globals__", {})
    if str(names.get("__name__", "")).startswith("npsoftmax."):
        names = {}
    own = {name: names[name] for name in borrowed(exercise) if name in names}
    names.update({name: EXERCISES[name].reference for name in own})
    try:
        yield
    finally:
        names.update(own)
