"""The one exception for everything a user can put right, and how to word it."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


class InputError(ValueError):
    """What was given, what was expected and what to type; the command line prints it and exits with 2."""


def unknown_name(kind: str, given: Any, known: Iterable[str]) -> InputError:
    """The error for a name that is not in a table: says the nearest names, then all of them."""
    names = sorted(known)
    if not isinstance(given, str):
        return InputError(f"the {kind} is {given!r:.80}, but a name was expected. Known: {', '.join(names)}.")
    lowered = {name.lower(): name for name in names}
    near = [lowered[n] for n in difflib.get_close_matches(given.lower(), lowered, n=3, cutoff=0.5)]
    hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    return InputError(f"unknown {kind} {given!r}.{hint} Known: {', '.join(names)}.")


def as_number(value: Any) -> float:
    """A setting as a float; NaN, which no bound lets pass, for what is no number: a word, None, an array of several.

    A whole number or fraction beyond float's range becomes an infinity of its sign.
    """
    try:
        return math.nan if isinstance(value, str | bytes) else float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        return math.nan


class WrongType(InputError, TypeError):
    """An InputError for what another library calls a TypeError."""


@contextmanager
def in_python() -> Iterator[None]:
    """An InputError that names options of the command line, in the names that they have in Python: epochs, --epochs."""
    try:
        yield
    except InputError as error:
        words = re.sub(r"--(\w+)-opt (\w+)=(\w+)", r"\1_opts={'\2': \3}", str(error))
        words = re.sub(r"--(model|head) (\w+)", r"\1='\2'", words)
        words = re.sub(r"--([a-z][a-z-]*)", lambda option: option[1].replace("-", "_"), words)
        raise type(error)(words) from None


@contextmanager
def in_words() -> Iterator[None]:
    """What another library finds wrong with a user's input, as an InputError in its words."""
    try:
        yield
    except InputError:
        raise
    except TypeError as error:
        raise WrongType(str(error)) from error
    except ValueError as error:
        raise InputError(str(error)) from error
