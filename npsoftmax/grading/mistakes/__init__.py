"""The mistakes that students make, as code: a wrong version of a function, and one sentence about it, its docstring.

`MISTAKES` is exercise -> its mistakes. When a student's answer is wrong in exactly the way that a mistake is, the
report says the sentence. Sizes of the case may stand in it: "a sum over N = {N} rows".
"""

from __future__ import annotations

import importlib
from functools import cache

from npsoftmax.grading.mistakes.base import Mistake, mistakes_of

__all__ = ["MODULES", "Mistake", "all_mistakes"]

MODULES = ("a1_softmax", "a1_losses", "a2", "a3", "a4", "a5_trees", "a5_losses")


@cache
def all_mistakes() -> dict[str, tuple[Mistake, ...]]:
    """exercise -> its mistakes, in the order of the catalogue. Loaded when the first answer is wrong."""
    found: dict[str, list[Mistake]] = {}
    for name in MODULES:
        for mistake in mistakes_of(importlib.import_module(f"npsoftmax.grading.mistakes.{name}")):
            found.setdefault(mistake.exercise, []).append(mistake)
    return {exercise: tuple(mistakes) for exercise, mistakes in found.items()}
