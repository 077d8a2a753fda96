"""Stubs, cut from the library's own source with `ast`: signature, docstring and the line that unpacks the cache stay.

Design: nothing in the library is marked for this, so a stub cannot drift from the function that it asks for. The text
is cut, not printed from the tree, and keeps its comments and line breaks.
"""

from __future__ import annotations

import ast
import importlib.util
import textwrap
from functools import cache
from pathlib import Path
from typing import TypeGuard

from npsoftmax.grading.exercises import ASSIGNMENTS, Assignment, Exercise, exercises_of


@cache
def _source(module: str) -> str:
    # Without importing it: the exercise in Cython needs Cython to be imported.
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{module} has no source")
    return Path(spec.origin).read_text(encoding="utf-8")


@cache
def _definition(module: str, name: str) -> ast.FunctionDef:
    tree = ast.parse(_source(module))
    return next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)


def solution(exercise: Exercise) -> str:
    """The library's own function, as text."""
    node = _definition(exercise.module, exercise.name)
    return "\n".join(_lines(exercise, _first_line(node), node))


def stub(exercise: Exercise) -> str:
    """The function without its body: what a student starts from."""
    node = _definition(exercise.module, exercise.name)
    docstring, *statements = node.body
    lines = _lines(exercise, _first_line(node), docstring)
    for statement in statements:
        if is_cache_line(statement):
            lines += _lines(exercise, statement.lineno, statement)
    told = [exercise.remark]
    if exercise.cache:
        told.insert(0, f"The cache is {exercise.cache}.")
    if exercise.uses:
        theirs = "that is the library's" if len(exercise.uses) == 1 else "these are the library's"
        told.append(f"You may call {' and '.join(exercise.uses)}: while this is graded, {theirs}.")
    for text in filter(None, told):
        lines += textwrap.wrap(text, 118, initial_indent="    # ", subsequent_indent="    # ")
    what = ", ".join(exercise.returns)
    lines.append(f'    raise NotImplementedError("{exercise.assignment} {exercise.name}")  # return {what}')
    return "\n".join(lines)


def is_cache_line(statement: ast.stmt) -> TypeGuard[ast.Assign]:
    """Whether a statement is `… = cache`."""
    return isinstance(statement, ast.Assign) and getattr(statement.value, "id", "") == "cache"


def cache_names(exercise: Exercise) -> tuple[str, ...]:
    """Names of the parts of a backward's cache, as its cache line unpacks them; "" where a part is unpacked further."""
    for statement in _definition(exercise.module, exercise.name).body:
        if is_cache_line(statement):
            target = statement.targets[0]
            parts = target.elts if isinstance(target, ast.Tuple) else [target]
            return tuple(getattr(part, "id", "") for part in parts)
    return ()


def _first_line(node: ast.FunctionDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _lines(exercise: Exercise, first: int, last: ast.stmt) -> list[str]:
    """The source from line `first` to the end of the statement `last`."""
    return _source(exercise.module).splitlines()[first - 1 : last.end_lineno]


# ---------------------------------------------------------------- files
def file_of(exercise: Exercise) -> str:
    """Name of the file that an exercise is written in."""
    return exercise.file or ASSIGNMENTS[exercise.assignment].file


def stub_file(assignment: Assignment, file: str) -> str:
    """A whole file of stubs, in the order of the README."""
    exercises = [e for e in exercises_of(assignment.id) if file_of(e) == file]
    about, header = (assignment.about, assignment.header)
    if file != assignment.file:
        about, header = assignment.more[file]
    typed = "" if exercises[0].compiled else "from __future__ import annotations\n\n"
    head = (
        f'"""{about}\n\nReplace each `raise NotImplementedError`, then type\n\n'
        f"    npsoftmax grade {assignment.id}\n\n"
        f'The page that goes with it: README.md in this folder.\n"""\n\n{typed}{header}'
    )
    return "\n\n".join([head, *(stub(e) + "\n" for e in exercises)])


def test_file(assignment: Assignment) -> str:
    """The three lines that let pytest grade the folder."""
    return (
        "from npsoftmax.grading.plugin import exercise_test\n\n"
        f'test_exercise = exercise_test("{assignment.id}", __file__)\n'
    )


def files(assignment: Assignment) -> dict[str, bytes]:
    """name -> bytes of every file of the assignment's folder: its page with figures, stubs and test."""
    pages = Path(__file__).with_name("pages") / assignment.folder
    found = {path.name: path.read_bytes() for path in sorted(pages.iterdir()) if path.is_file()}
    for file in dict.fromkeys(file_of(e) for e in exercises_of(assignment.id)):
        found[file] = stub_file(assignment, file).encode()
    found[f"test_{assignment.folder}.py"] = test_file(assignment).encode()
    return found
