"""A student's files: found in a folder, loaded, and their functions taken out one at a time."""

from __future__ import annotations

from pathlib import Path

from npsoftmax.errors import InputError
from npsoftmax.grading.exercises import ASSIGNMENTS, Assignment, Exercise, exercises_of
from npsoftmax.grading.notebook import as_file
from npsoftmax.grading.stub_notebook import notebook_name
from npsoftmax.grading.stubs import file_of


def find_file(folder: Path, exercise: Exercise) -> Path | None:
    """The student's file for an exercise: in FOLDER/a1_softmax/, FOLDER itself, or nowhere.

    Where there is a notebook instead, the file that it makes. Raises InputError where that cannot be read.
    """
    assignment = ASSIGNMENTS[exercise.assignment]
    places = (folder / assignment.folder, folder, folder / "assignments" / assignment.folder)
    for place in places:
        path = place / file_of(exercise)
        if path.is_file():
            return path.resolve()
    for place in places:
        path = place / notebook_name(assignment)
        if path.is_file():
            names = [e.name for e in exercises_of(assignment.id) if file_of(e) == file_of(exercise)]
            return as_file(path.resolve(), file_of(exercise), names)
    return None


def existing_file(folder: Path, exercise: Exercise) -> Path:
    """As `find_file`. Raises InputError where there is none."""
    file = find_file(folder, exercise)
    if file is None:
        raise InputError(
            f"there is no file for {exercise.name} in {folder}; type npsoftmax assignments start {exercise.assignment}."
        )
    return file


def default_folder(assignments: list[Assignment]) -> Path:
    """Where students work when they name no folder: here, if an assignment is here, else in ./assignments."""
    here = Path.cwd()
    if any(
        (here / a.folder).is_dir() or (here / a.file).is_file() or (here / notebook_name(a)).is_file()
        for a in assignments
    ):
        return here
    return here / "assignments" if (here / "assignments").is_dir() else here


def borrowed(exercise: Exercise) -> dict[str, str]:
    """The functions that are the library's while an exercise is graded, so that it is judged alone: name -> module.

    They are all others of its file: a mistake in one costs the others nothing.
    """
    return {
        e.name: e.module
        for e in exercises_of(exercise.assignment)
        if file_of(e) == file_of(exercise) and e is not exercise
    }
