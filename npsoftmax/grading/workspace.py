"""Folders of assignments: made for a student, one function put back to its stub, and the repository's own copy."""

from __future__ import annotations

import ast
import itertools
import re
import shutil
from pathlib import Path

from npsoftmax.errors import InputError
from npsoftmax.grading import stubs
from npsoftmax.grading.exercises import ASSIGNMENTS, Assignment, Exercise
from npsoftmax.grading.handins.text import encoding_of, parsed
from npsoftmax.grading.stub_notebook import with_notebook


def start(assignments: list[Assignment], to: Path, notebook: bool = False, formulas: bool = True) -> list[Path]:
    """Make the folders of assignments in `to`.

    notebook: with a notebook in the place of Python files; formulas: with those of gradients, which are else asked for.
    Raises InputError, before anything is written, where a file is in the way.
    """
    files = {a: stubs.files(a, formulas) for a in assignments}
    if notebook:
        files = {a: with_notebook(a, found) for a, found in files.items()}
    contents = {to / a.folder / name: data for a in assignments for name, data in files[a].items()}
    if taken := [path for path in contents if path.exists()]:
        raise InputError(
            f"{taken[0]} exists, and it may hold your work. Choose another folder with --to, or put one function back "
            "with `npsoftmax assignments reset FUNCTION`."
        )
    for path, data in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return [to / a.folder for a in assignments]


def reset(exercise: Exercise, file: Path) -> Path:
    """Put one function of a student's file back to its stub; the file as it was is kept beside it. Returns where.

    The first time as .bak, then as .1.bak and so on: no version is ever overwritten. Encoding and line ends stay. A
    function that is not there, or does not stand by itself, gets its stub at the end. Raises InputError where the file
    cannot be read.
    """
    data = file.read_bytes()
    try:
        encoding = encoding_of(data)
        text = data.decode(encoding)
    except (SyntaxError, ValueError) as error:  # an encoding that there is not, or bytes that are not of it
        raise InputError(f"{file} cannot be read: {error}. Save it as UTF-8 first.") from error
    tree, problem = parsed(text)
    if tree is None:
        raise InputError(f"{file} {problem}. Put that right first; then the function can be found and reset.")
    lines = re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text)  # as Python counts: a form feed ends no line
    end = next((line[len(line.rstrip("\r\n")) :] for line in lines if line.endswith(("\r", "\n"))), "\n")
    stub = [line + end for line in _stub(exercise, text).splitlines()]
    node = next((n for n in reversed(tree.body) if exercise.name in _bound(n)), None)  # the last is the one that counts
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        lines[first - 1 : node.end_lineno] = stub
    else:
        lines[-1:] = [lines[-1].rstrip("\r\n") + end] if lines else []
        lines += [end, end, *stub]
    fresh = "".join(lines).encode(encoding, "backslashreplace")  # a docstring may hold what the encoding lacks
    kept = _keep(file, data)
    file.write_bytes(fresh)
    return kept


def _stub(exercise: Exercise, text: str) -> str:
    """The stub, without types where the file would look them up when it is run: it may not know them."""
    stub = stubs.stub(exercise, stubs.has_formulas(text))
    node = ast.parse(stub).body[0]
    if exercise.compiled or "from __future__ import annotations" in text or not isinstance(node, ast.FunctionDef):
        return stub
    node.returns = None
    for arg in ast.walk(node.args):
        if isinstance(arg, ast.arg):
            arg.annotation = None
    first, body = node.lineno, node.body[0].lineno
    head = f"def {node.name}({ast.unparse(node.args)}):"
    lines = stub.split("\n")
    return "\n".join([*lines[: first - 1], head, *lines[body - 1 :]])


def _bound(node: ast.stmt) -> set[str]:
    """The names that a statement, or one inside it, defines or assigns."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    bound: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
            bound.add(inner.name)
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            bound.add(inner.id)
        elif isinstance(inner, ast.alias):
            bound.add(inner.asname or inner.name)
    return bound


def _keep(file: Path, data: bytes) -> Path:
    """Write the bytes beside the file, under a name that nothing has yet."""
    for number in itertools.count():
        kept = file.with_name(f"{file.name}.{number}.bak" if number else f"{file.name}.bak")
        try:
            with kept.open("xb") as backup:
                backup.write(data)
        except FileExistsError:
            continue
        shutil.copymode(file, kept)
        return kept
    raise AssertionError("numbers do not end")


def build(to: Path, check: bool = False) -> list[str]:
    """Write the repository's `assignments` anew; with `check`, write nothing. Returns what differs, a line each."""
    differences = []
    for assignment in ASSIGNMENTS.values():
        folder, fresh = to / assignment.folder, stubs.files(assignment)
        there = {p.name for p in folder.iterdir() if p.is_file()} if folder.is_dir() else set()
        for name, data in fresh.items():
            path = folder / name
            if not path.is_file() or path.read_bytes() != data:
                differences.append(f"{path} is {'stale' if path.is_file() else 'missing'}")
                if not check:
                    folder.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
        differences += [f"{folder / name} belongs to no exercise" for name in sorted(there - set(fresh))]
    return differences
