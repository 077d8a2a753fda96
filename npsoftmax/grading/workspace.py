"""Folders of assignments: made for a student, one function put back to its stub, and the repository's own copy."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

from npsoftmax.errors import InputError
from npsoftmax.grading import stubs
from npsoftmax.grading.exercises import ASSIGNMENTS, Assignment, Exercise
from npsoftmax.grading.stub_notebook import with_notebook


def start(assignments: list[Assignment], to: Path, notebook: bool = False) -> list[Path]:
    """Make the folders of assignments in `to`, with a notebook in the place of Python files where it is asked for.

    Raises InputError, before anything is written, where a file is in the way.
    """
    files = {a: with_notebook(a, stubs.files(a)) if notebook else stubs.files(a) for a in assignments}
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
    """Put one function of a student's file back to its stub; the file as it was is kept beside it, as .bak.

    A function that is not there is added at the end. Raises InputError where the file cannot be parsed.
    """
    text = file.read_text(encoding="utf-8")
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise InputError(
            f"{file} line {error.lineno}: {error.msg}. Put that right first; then the function can be found and reset."
        ) from error
    kept = file.with_name(file.name + ".bak")
    shutil.copyfile(file, kept)
    lines = text.splitlines()
    found = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == exercise.name]
    node = found[-1] if found else None  # of several the last is the one that counts
    stub = stubs.stub(exercise).splitlines()
    if node is None:
        lines += ["", "", *stub]
    else:
        first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        lines[first - 1 : node.end_lineno] = stub
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return kept


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
