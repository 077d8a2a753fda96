"""The library's own code in a hand-in: a flag to look at, never a mark."""

from __future__ import annotations

import ast
import builtins
from functools import cache

from npsoftmax.grading import stubs
from npsoftmax.grading.classroom.trees import Form, aliases, form_of
from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES, Exercise

MOST = 0.9  # of the lines of the library's version
SHORT = 16  # nodes of a statement that only checks or makes arrays
MANY, SHARE = 8, 0.7  # functions, and their share of a hand-in: one or two short ones are the same by themselves
LARGE = 40  # names, numbers and operations; a smaller right answer is easily the library's by itself


def copied(exercise: Exercise, form: Form, source: str) -> str:
    """Why a function looks like the library's own text; "" if it does not."""
    tree = ast.parse(source)
    mine = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    helpers = _names(tree, exercise.name) & _helpers(exercise)
    if len(helpers) > 1 or helpers - mine:  # a helper of one's own may be called sigmoid too
        return "it calls helpers of the library, as the library's own text of it does"
    for own in _forms(exercise):
        share = sum(line in set(form.lines) for line in own.lines) / max(1, len(own.lines))
        if own.size >= LARGE and (form.key == own.key or share >= MOST):
            return f"at least {MOST:.0%} of the lines of the library's own text are in it, names aside"
    return ""


def copied_in_all(forms: dict[str, Form]) -> str:
    """Whether most of a hand-in is what --solution shows, however short each function is; "" if it is not."""
    same = [name for name, form in forms.items() if form.key == _forms(EXERCISES[name])[0].key]
    if len(same) >= MANY and len(same) >= SHARE * len(forms):
        return f"{len(same)} of {len(forms)} functions are what --solution shows, names aside"
    return ""


@cache
def _forms(exercise: Exercise) -> tuple[Form, ...]:
    """What --solution shows; and the library's function as a student could have written it, with np for xp and without
    what only checks."""
    shown = next(n for n in ast.parse(stubs.solution(exercise)).body if isinstance(n, ast.FunctionDef))
    node, hidden = _library(exercise), _helpers(exercise)
    kept = [s for s in node.body if not (_called(s) & hidden and len(list(ast.walk(s))) < SHORT)]
    for name in (n for s in kept for n in ast.walk(s) if isinstance(n, ast.Name) and n.id == "xp"):
        name.id = "np"
    node.body = kept or node.body
    return tuple(form_of(exercise, n, {"np": "numpy"}) for n in (shown, node))


def _library(exercise: Exercise) -> ast.FunctionDef:
    """The library's own function."""
    tree = ast.parse(stubs.librarys(exercise))
    return next(n for n in tree.body if isinstance(n, ast.FunctionDef))


@cache
def _helpers(exercise: Exercise) -> frozenset[str]:
    """Names that the library's version calls and a student has no reason to: neither the stub's nor an exercise."""
    node, assignment = _library(exercise), ASSIGNMENTS[exercise.assignment]
    given = aliases(ast.parse(stubs.stub_file(assignment, stubs.file_of(exercise))))
    local = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    free = {
        *given,
        *EXERCISES,
        *dir(builtins),
        "np",
        "InputError",
        *local,
        *_called(ast.parse(stubs.solution(exercise))),
    }
    return frozenset(_called(node) - free)


def _called(node: ast.AST) -> set[str]:
    return {n.func.id for n in ast.walk(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}


def _names(tree: ast.Module, function: str) -> set[str]:
    """What a function of a file calls by name."""
    found = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function]
    return _called(found[-1]) if found else set()
