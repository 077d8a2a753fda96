"""The mistakes that students make, as code, each with the sentence that a student reads about it.

Three kinds, asked in this order: functions that are wrong in one way, with the sentence as their docstring
(`a1_softmax` …); plain solutions with one step changed, or two (`steps_…`); and, for every exercise alike, the right
function with one argument changed (`arguments`). Sizes of the case may stand in a sentence: "a sum over N = {N} rows".
"""

from __future__ import annotations

import importlib
from functools import cache

from npsoftmax.grading.mistakes.base import Mistake, Steps, mistakes_of

__all__ = ["MODULES", "STEPS", "Mistake", "Steps", "all_mistakes", "all_steps"]

MODULES = ("a1_softmax", "a1_losses", "a2", "a3", "a4", "a5_trees", "a5_losses")
STEPS = (
    *("steps_a1", "steps_a1_losses", "steps_a1_relatives", "steps_a2", "steps_a2_norm", "steps_a3", "steps_a4"),
    *("steps_a5", "steps_a5_losses", "steps_a6", "steps_a6_images"),
)


@cache
def all_mistakes() -> dict[str, tuple[Mistake, ...]]:
    """exercise -> its mistakes, in the order of the catalogue. Loaded when the first answer is wrong."""
    found: dict[str, list[Mistake]] = {}
    for name in MODULES:
        for mistake in mistakes_of(importlib.import_module(f"npsoftmax.grading.mistakes.{name}")):
            found.setdefault(mistake.exercise, []).append(mistake)
    for exercise, plain in all_steps().items():
        for solution in plain:
            found.setdefault(exercise, []).extend(solution.singles)
    return {exercise: tuple(mistakes) for exercise, mistakes in found.items()}


@cache
def all_steps() -> dict[str, tuple[Steps, ...]]:
    """exercise -> the plain solutions whose steps are changed."""
    found: dict[str, list[Steps]] = {}
    for name in STEPS:
        for plain in importlib.import_module(f"npsoftmax.grading.mistakes.{name}").STEPS:
            found.setdefault(plain.exercise, []).append(plain)
    return {exercise: tuple(solutions) for exercise, solutions in found.items()}
