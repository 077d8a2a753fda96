"""The one exception for everything a user can put right, and how to word it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """What was given, what was expected and what to type; the command line prints it and exits with 2."""


def unknown_name(kind: str, given: str, known: Iterable[str]) -> InputError:
    """The error for a name that is not in a table: says the nearest names, then all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    return InputError(f"unknown {kind} {given!r}.{hint} Known: {', '.join(names)}.")
