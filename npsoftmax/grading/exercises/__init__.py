"""The table of all exercises: stubs, checks, hints and the documentation run over it."""

from __future__ import annotations

import importlib

from npsoftmax.errors import unknown_name
from npsoftmax.grading.exercises.base import SEED, Assignment, Case, Draw, Exercise

__all__ = ["ASSIGNMENTS", "EXERCISES", "SEED", "Assignment", "Case", "Draw", "Exercise", "exercises_of", "find"]

_MODULES = [importlib.import_module(f"{__name__}.{name}") for name in ("a1", "a2", "a3", "a4", "a5", "a6")]

ASSIGNMENTS: dict[str, Assignment] = {m.ASSIGNMENT.id: m.ASSIGNMENT for m in _MODULES}
EXERCISES: dict[str, Exercise] = {exercise.name: exercise for m in _MODULES for exercise in m.EXERCISES}


def exercises_of(assignment: str) -> list[Exercise]:
    """The exercises of "a1", in the order of its README."""
    return [exercise for exercise in EXERCISES.values() if exercise.assignment == assignment]


def find(target: str | None) -> list[Exercise]:
    """The exercises that a word in any case means: an assignment ("a1", "a1_softmax"), an exercise, or all for None.

    Raises InputError with the nearest names.
    """
    if target is None:
        return list(EXERCISES.values())
    word = target.rstrip("/").lower()
    if word in EXERCISES:
        return [EXERCISES[word]]
    for assignment in ASSIGNMENTS.values():
        if word in (assignment.id, assignment.folder):
            return exercises_of(assignment.id)
    raise unknown_name("assignment or exercise", target, [*ASSIGNMENTS, *EXERCISES])
