"""How a mistake is written down: as a wrong function, or as a change of one step in a plain solution."""

from __future__ import annotations

import inspect
import itertools
import math
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from types import ModuleType
from typing import Any

import numpy as np

from npsoftmax.grading.exercises import EXERCISES

ARGUMENT = "argument"  # the name of what is no mistake of one exercise, but the right function of other arguments


@dataclass(frozen=True)
class Mistake:
    """A wrong version of an exercise. wrong: the outputs that it gets wrong (or inputs that it changes), where that is
    written down; sentences: what a student reads, with the case's sizes in braces: one, or two where two steps are
    wrong; names: as many; source: its text, where it is a solution with steps changed."""

    exercise: str
    names: tuple[str, ...]
    function: Callable[..., Any]
    wrong: tuple[str, ...]
    sentences: tuple[str, ...]
    source: str = ""

    @property
    def id(self) -> str:
        return self.ids[0]

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(f"{self.exercise}.{name}" for name in self.names)

    @property
    def sentence(self) -> str:
        return " ".join(self.sentences)

    @property
    def named(self) -> bool:
        """Whether it is written down by itself, and not the right function with an argument changed."""
        return self.names != (ARGUMENT,)


# ---------------------------------------------------------------- a wrong function
# function -> the exercises that it is a mistake of, each with the outputs that it spoils.
_NOTED: dict[Callable[..., Any], list[tuple[str, tuple[str, ...]]]] = {}


def mistake(exercise: str, *wrong: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: this function is a wrong `exercise`; its docstring is the sentence, `wrong` the outputs it spoils."""

    def note(function: Callable[..., Any]) -> Callable[..., Any]:
        _NOTED.setdefault(function, []).append((exercise, wrong))
        return function

    return note


def mistakes_of(module: ModuleType) -> Iterator[Mistake]:
    """All mistakes that are written down as functions in a module."""
    for name, function in vars(module).items():
        for exercise, wrong in _NOTED.get(function, ()) if inspect.isfunction(function) else ():
            sentence = (inspect.getdoc(function) or "").replace("\n", " ")
            yield Mistake(exercise, (name,), function, wrong, (sentence,))


# ---------------------------------------------------------------- a plain solution with a step changed
Change = tuple[str, str, str]  # a piece of the solution, what stands there instead, and the sentence about it


@dataclass(frozen=True)
class Steps:
    """A plain solution of an exercise, as text, and the steps that beginners get wrong in it."""

    source: str
    changes: tuple[Change, ...]

    @property
    def exercise(self) -> str:
        """The name of the function in the text."""
        return self.source.partition("def ")[2].partition("(")[0]

    @cached_property
    def singles(self) -> tuple[Mistake, ...]:
        """Each change alone."""
        return tuple(self._mistake(change) for change in self.changes)

    @cached_property
    def pairs(self) -> tuple[tuple[Mistake, Mistake, Mistake], ...]:
        """Two changes at a time, of pieces that leave each other alone: each alone, then both."""
        found = []
        for one, other in itertools.combinations(zip(self.changes, self.singles, strict=True), 2):
            (first, alone), (second, alone_too) = one, other
            kept = ((first, second), (second, first))
            if all(self.changed(a).count(b[0]) == self.source.count(b[0]) for a, b in kept):
                found.append((alone, alone_too, self._mistake(first, second)))
        return tuple(found)

    def changed(self, *changes: Change) -> str:
        """The text with these steps changed."""
        text = self.source
        for old, new, _ in changes:
            text = text.replace(old, new)
        return text

    def _mistake(self, *changes: Change) -> Mistake:
        names, sentences = tuple(slug(c[2]) for c in changes), tuple(c[2] for c in changes)
        if len(changes) > 1:
            sentences = (f"two things at once: {sentences[0]}", *sentences[1:])
        source = self.changed(*changes)
        return Mistake(self.exercise, names, compiled(source, self.exercise), (), sentences, source)


def steps(source: str, *changes: Change) -> Steps:
    """A plain solution and (piece, what stands there instead, sentence) for each step that is often wrong."""
    return Steps(textwrap.dedent(source).strip("\n"), changes)


def slug(sentence: str) -> str:
    """A name for a mistake that has only a sentence: its first words."""
    return "_".join(re.findall("[a-z0-9]+", re.sub(r"\{.*?\}", "", sentence).lower())[:10])


def compiled(source: str, name: str) -> Callable[..., Any]:
    """The function of this name in the text; compiled at its first call, which most never have."""

    @cache
    def function() -> Callable[..., Any]:
        from npsoftmax.kernels.windows.reference import output_size

        namespace: dict[str, Any] = {n: e.reference for n, e in EXERCISES.items() if not e.compiled}
        namespace |= {"np": np, "math": math, "output_size": output_size}
        exec(compile(source, f"<a wrong {name}>", "exec"), namespace)
        return namespace[name]

    return lambda *args, **kwargs: function()(*args, **kwargs)
