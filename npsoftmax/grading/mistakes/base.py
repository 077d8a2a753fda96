"""How a mistake is written down."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Mistake:
    """A wrong version of an exercise. wrong: the outputs that it gets wrong (or inputs that it changes); sentence: what
    a student reads, with the case's sizes in braces."""

    exercise: str
    name: str
    function: Callable[..., Any]
    wrong: tuple[str, ...]
    sentence: str

    @property
    def id(self) -> str:
        return f"{self.exercise}.{self.name}"


# function -> the exercises that it is a mistake of, each with the outputs that it spoils.
_NOTED: dict[Callable[..., Any], list[tuple[str, tuple[str, ...]]]] = {}


def mistake(exercise: str, *wrong: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: this function is a wrong `exercise`; its docstring is the sentence, `wrong` the outputs it spoils."""

    def note(function: Callable[..., Any]) -> Callable[..., Any]:
        _NOTED.setdefault(function, []).append((exercise, wrong))
        return function

    return note


def mistakes_of(module: ModuleType) -> Iterator[Mistake]:
    """All mistakes that are written down in a module."""
    for name, function in vars(module).items():
        for exercise, wrong in _NOTED.get(function, ()) if inspect.isfunction(function) else ():
            yield Mistake(exercise, name, function, wrong, (inspect.getdoc(function) or "").replace("\n", " "))
