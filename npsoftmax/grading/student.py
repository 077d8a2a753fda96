"""A student's files: found in a folder, loaded, and their functions taken out one at a time."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES, Assignment, Exercise
from npsoftmax.grading.stubs import file_of


def find_file(folder: Path, exercise: Exercise) -> Path | None:
    """The student's file for an exercise: in FOLDER/a1_softmax/, FOLDER itself, or nowhere."""
    assignment = ASSIGNMENTS[exercise.assignment]
    for place in (folder / assignment.folder, folder, folder / "assignments" / assignment.folder):
        path = place / file_of(exercise)
        if path.is_file():
            return path.resolve()
    return None


def find_in_submission(folder: Path, exercise: Exercise) -> Path | None:
    """The same for a hand-in, where students nest folders as they like: the file of that name that lies least deep."""
    found = find_file(folder, exercise)
    if found is None:
        nested = [
            p for p in folder.rglob(file_of(exercise)) if not any(part.startswith((".", "_")) for part in p.parts)
        ]
        found = min(nested, key=lambda p: (len(p.parts), str(p)), default=None)
    return found and found.resolve()


def default_folder(assignments: list[Assignment]) -> Path:
    """Where students work when they name no folder: here, if an assignment is here, else in ./assignments."""
    here = Path.cwd()
    if any((here / a.folder).is_dir() or (here / a.file).is_file() for a in assignments):
        return here
    return here / "assignments" if (here / "assignments").is_dir() else here


def load(path: Path) -> ModuleType:
    """Run a student's file and return its module. Raises whatever it raises."""
    if str(path.parent) not in sys.path:  # last: a file of theirs called random.py must not replace Python's
        sys.path.append(str(path.parent))
    return module_of(path, f"student_{path.parent.name}_{path.stem}")


def module_of(path: Path, name: str) -> ModuleType:
    """Run a file, in Python or compiled, as a module of this name."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no file that Python can run")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def alone(module: ModuleType, exercise: Exercise) -> Iterator[None]:
    """Within it the functions that an exercise may call are the library's, so that it is judged alone."""
    own = {name: vars(module)[name] for name in exercise.uses if name in vars(module)}
    vars(module).update({name: EXERCISES[name].reference for name in own})
    try:
        yield
    finally:
        vars(module).update(own)
