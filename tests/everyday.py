"""Of the cases of a test: which are for every day, and which for the long tests."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow(cases: Iterable[Any]) -> list[Any]:
    """Cases for the long tests."""
    return [pytest.param(case, marks=pytest.mark.slow) for case in cases]


def mostly_slow(cases: Iterable[Any], everyday: Collection[Any]) -> list[Any]:
    """The cases in their order, all but those of `everyday` for the long tests."""
    return [case if case in everyday else slow([case])[0] for case in cases]
