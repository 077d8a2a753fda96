"""Stubs, cut from the solutions' source with `ast`: signature, docstring and the line that unpacks the cache stay.

Design: a stub and its solution are one text, so they cannot drift apart; tests hold both to the library's function. The
text is cut, not printed from the tree, and keeps its comments and line breaks. For teachers who ask for derivations,
everything comes without formulas too: a docstring without its paragraph `Formula: …`, and a page that has, of each
`<!-- derivation -->` … `<!-- instead -->` … `<!-- end -->`, the second part instead of the first.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import textwrap
from functools import cache
from pathlib import Path
from typing import TypeGuard

from npsoftmax.grading.agents import agents_file
from npsoftmax.grading.exercises import ASSIGNMENTS, Assignment, Exercise, exercises_of

GIVEN = """\
Array is a NumPy array. Its shape is in the docstring: (N,) is a vector, () a single number, and (…, C) has any axes
before the last one. If float32 comes in, let float32 go out: the page says how."""
WIDTH = 120  # of a line
ASKED_FOR = "The derivations are asked for: neither here nor on the page are there formulas of gradients."

_FORMULA = re.compile(r"\n\n    Formula: .*?(?=\n\n|\n    \"\"\"$)", re.DOTALL)
_DERIVATION = re.compile(r"<!-- derivation -->\n(.*?)<!-- instead -->\n(.*?)<!-- end -->\n", re.DOTALL)


def source_of(exercise: Exercise) -> str:
    """The module that a stub and its solution are cut from."""
    return exercise.module if exercise.compiled else f"npsoftmax.grading.solutions.{exercise.assignment}"


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
    """A readable function that passes, as text."""
    return _text(source_of(exercise), exercise.name)


def librarys(exercise: Exercise) -> str:
    """The text of the library's own function, with its helpers' names: not for students, but to know it again."""
    return _text(exercise.module, exercise.name)


def _text(module: str, name: str) -> str:
    node = _definition(module, name)
    return "\n".join(_source(module).splitlines()[_first_line(node) - 1 : node.end_lineno])


def stub(exercise: Exercise, formulas: bool = True) -> str:
    """The function without its body: what a student starts from; `formulas`: with those of a backward."""
    node = _definition(source_of(exercise), exercise.name)
    docstring, *statements = node.body
    text = "\n".join(_lines(exercise, _first_line(node), docstring))
    lines = [text if formulas else _without_formula(text)]
    if exercise.cache:
        lines += _comment(f"The cache is {exercise.cache}.")
    for statement in statements:
        if is_cache_line(statement):
            lines += _lines(exercise, statement.lineno, statement)
    lines += _comment(exercise.remark)
    if exercise.uses:
        theirs = "that is the library's" if len(exercise.uses) == 1 else "these are the library's"
        lines += _comment(f"You may call {' and '.join(exercise.uses)}: while this is graded, {theirs}.")
    nothing = isinstance(node.returns, ast.Constant) and node.returns.value is None
    what = f"fill {exercise.returns[0]}, return nothing" if nothing else f"return {', '.join(exercise.returns)}"
    lines.append(f'    raise NotImplementedError("{exercise.assignment} {exercise.name}")  # {what}')
    return "\n".join(lines)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, 118, initial_indent="    # ", subsequent_indent="    # ")


def _without_formula(text: str) -> str:
    """A function's head without the paragraph of its docstring that says the formula."""
    cut = _FORMULA.sub("", text)
    *before, last = cut.removesuffix('\n    """').splitlines()
    alone = cut != text and '"""' in last and len(last) + 3 <= WIDTH
    return "\n".join([*before, f'{last}"""']) if alone else cut


def is_cache_line(statement: ast.stmt) -> TypeGuard[ast.Assign]:
    """Whether a statement is `… = cache`."""
    return isinstance(statement, ast.Assign) and getattr(statement.value, "id", "") == "cache"


def cache_names(exercise: Exercise) -> tuple[str, ...]:
    """Names of the parts of a backward's cache, as its cache line unpacks them; "" where a part is unpacked further."""
    for statement in _definition(source_of(exercise), exercise.name).body:
        if is_cache_line(statement):
            target = statement.targets[0]
            parts = target.elts if isinstance(target, ast.Tuple) else [target]
            return tuple(getattr(part, "id", "") for part in parts)
    return ()


def _first_line(node: ast.FunctionDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _lines(exercise: Exercise, first: int, last: ast.stmt) -> list[str]:
    """The source from line `first` to the end of the statement `last`."""
    return _source(source_of(exercise)).splitlines()[first - 1 : last.end_lineno]


# ---------------------------------------------------------------- files
def file_of(exercise: Exercise) -> str:
    """Name of the file that an exercise is written in."""
    return exercise.file or ASSIGNMENTS[exercise.assignment].file


def stub_file(assignment: Assignment, file: str, formulas: bool = True) -> str:
    """A whole file of stubs, in the order of the README."""
    exercises = [e for e in exercises_of(assignment.id) if file_of(e) == file]
    about, header, given = assignment.about, assignment.header, f"\n{GIVEN}\n{assignment.given}".rstrip() + "\n"
    if file != assignment.file:
        (about, header), given = assignment.more[file], ""
    asked = "" if formulas else f"\n{ASKED_FOR}\n"
    typed = "" if exercises[0].compiled else "from __future__ import annotations\n\n"
    head = (
        f'"""{about}\n\nReplace each `raise NotImplementedError`, then type\n\n'
        f"    npsoftmax grade {assignment.id}\n\n"
        f'The page that goes with it: README.md in this folder.\n{given}{asked}"""\n\n{typed}{header}'
    )
    return "\n\n".join([head, *(stub(e, formulas) + "\n" for e in exercises)])


def has_formulas(text: str) -> bool:
    """Whether a student's file was made with formulas."""
    return ASKED_FOR not in text


def test_file(assignment: Assignment) -> str:
    """The three lines that let pytest grade the folder."""
    return (
        "from npsoftmax.grading.plugin import exercise_test\n\n"
        f'test_exercise = exercise_test("{assignment.id}", __file__)\n'
    )


def page(assignment: Assignment, formulas: bool = True) -> str:
    """The README of an assignment; without `formulas` the derivations of gradients are left out and asked for."""
    text = (_page_folder(assignment) / "README.md").read_text(encoding="utf-8")
    return _DERIVATION.sub(r"\1" if formulas else r"\2", text)


def answers(assignment: Assignment) -> str:
    """The answers to the questions on the page, for the teacher: they are in no student's folder."""
    return Path(__file__).with_name("answers").joinpath(f"{assignment.id}.md").read_text(encoding="utf-8")


def files(assignment: Assignment, formulas: bool = True) -> dict[str, bytes]:
    """name -> bytes of every file of the assignment's folder: its page with figures, stubs and test."""
    folder = _page_folder(assignment)
    found = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
    found["README.md"] = page(assignment, formulas).encode()
    for file in dict.fromkeys(file_of(e) for e in exercises_of(assignment.id)):
        found[file] = stub_file(assignment, file, formulas).encode()
    found["AGENTS.md"] = agents_file(assignment.id, assignment.folder).encode()
    found[f"test_{assignment.folder}.py"] = test_file(assignment).encode()
    return found


def _page_folder(assignment: Assignment) -> Path:
    return Path(__file__).with_name("pages") / assignment.folder
