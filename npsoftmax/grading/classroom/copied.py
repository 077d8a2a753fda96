"""The library's own code in a hand-in: a flag to look at, never a mark."""

from __future__ import annotations

import ast
import builtins
from functools import cache

from npsoftmax.grading import stubs
from npsoftmax.grading.classroom.trees import Form, aliases, form_of
from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES, Exercise

MOST = 0.8  # of the lines of the library's version
LARGE = 40  # names, numbers and operations; a smaller right answer is easily the library's by itself


def copied(exercise: Exercise, form: Form, source: str) -> str:
    """Why a function looks like the library's own text; "" if it does not."""
    tree = ast.parse(source)
    mine = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    helpers = sorted(_names(tree, exercise.name) & _helpers(exercise))
    if len(helpers) > 1 or set(helpers) - mine:  # a helper of one's own may be called sigmoid too
        return "it calls helpers of the library, as the library's own text of it does"
    own = _bare(exercise)
    if own.size >= LARGE and own.lines:
        share = sum(line in set(form.lines) for line in own.lines) / len(own.lines)
        if form.key == own.key or share >= MOST:
            return f"at least {MOST:.0%} of the lines of the library's own text are in it, names aside"
    return ""


@cache
def _bare(exercise: Exercise) -> Form:
    """The library's version as a student could have written it: with np for xp, and without what only checks."""
    tree = ast.parse(stubs.librarys(exercise))
    node = next(n for n in tree.body if isinstance(n, ast.FunctionDef))
    hidden = _helpers(exercise)
    kept = [s for s in node.body if not (_called(s) & hidden and len(list(ast.walk(s))) < 16)]
    for name in (n for s in kept for n in ast.walk(s) if isinstance(n, ast.Name) and n.id == "xp"):
        name.id = "np"
    node.body = kept or node.body
    return form_of(exercise, node, {"np": "numpy"})


@cache
def _helpers(exercise: Exercise) -> frozenset[str]:
    """Names that the library's version calls and a student has no reason to: neither the stub's nor an exercise."""
    node = ast.parse(stubs.librarys(exercise)).body[-1]
    assignment = ASSIGNMENTS[exercise.assignment]
    given = aliases(ast.parse(stubs.stub_file(assignment, stubs.file_of(exercise))))
    local = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    free = {*given, *EXERCISES, *dir(builtins), "np", "InputError", *local}
    return frozenset(_called(node) - free)


def _called(node: ast.AST) -> set[str]:
    return {n.func.id for n in ast.walk(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}


def _names(tree: ast.Module, function: str) -> set[str]:
    """What a function of a file calls by name."""
    found = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function]
    return _called(found[-1]) if found else set()
