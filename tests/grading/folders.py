"""Students' folders for the tests: solved ones, and ones with chosen functions written wrongly."""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path

from npsoftmax.grading import stubs
from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES, Exercise, exercises_of
from npsoftmax.grading.mistakes import Mistake

# A mistake calls what its module imports.
TAKE_OVER = """\
import importlib
for _name in {modules}:
    globals().update({{k: v for k, v in vars(importlib.import_module(_name)).items() if not k.startswith("__")}})
"""


def mistaken(mistake: Mistake) -> str:
    """The text of a mistake under the name of its exercise, with what it calls."""
    if mistake.source:
        return mistake.source
    node = ast.parse(textwrap.dedent(inspect.getsource(mistake.function))).body[0]
    node.decorator_list, node.name = [], mistake.exercise
    return TAKE_OVER.format(modules=[mistake.function.__module__]) + ast.unparse(node)


def file_text(assignment: str, file: str, codes: dict[str, str | None]) -> str:
    """A student's file: `codes` by exercise, None for a stub; all others are solved."""
    exercises = [e for e in exercises_of(assignment) if stubs.file_of(e) == file]
    text = stubs.stub_file(ASSIGNMENTS[assignment], file)
    solved = [e for e in exercises if e.name not in codes]
    parts = [stubs.stub(e) if codes[e.name] is None else codes[e.name] for e in exercises if e.name in codes]
    return "\n\n".join([text, *parts, *(stubs.solution(e) for e in solved)]) + "\n"


def write(folder: Path, codes: dict[str, str | None] | None = None, assignments: tuple[str, ...] = ()) -> Path:
    """Write a folder in which everything is solved but for `codes` (exercise -> text, None for a stub)."""
    for assignment in assignments or ASSIGNMENTS:
        place = folder / ASSIGNMENTS[assignment].folder
        place.mkdir(parents=True, exist_ok=True)
        for file in dict.fromkeys(stubs.file_of(e) for e in exercises_of(assignment)):
            (place / file).write_text(file_text(assignment, file, codes or {}), encoding="utf-8")
    return folder


def function(exercise: Exercise | str, body: str) -> str:
    """A function with this body, under the signature of the exercise."""
    exercise = EXERCISES[exercise] if isinstance(exercise, str) else exercise
    return stubs.stub(exercise).rpartition("    raise NotImplementedError")[0] + textwrap.indent(body, "    ")
