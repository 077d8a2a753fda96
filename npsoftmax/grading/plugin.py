"""`pytest assignments`: the verdicts of `npsoftmax grade`, as tests. Loaded by pytest itself, so it imports nothing
heavy.

A test passes, fails with the report, or is skipped where nothing was written yet.
"""

from __future__ import annotations

import atexit
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any


def pytest_addoption(parser: Any) -> None:
    """Add --grade-seed."""
    group = parser.getgroup("npsoftmax")
    group.addoption("--grade-seed", type=int, default=0, metavar="N", help="seed for the exercises of npsoftmax")


def exercise_test(assignment: str, file: str) -> Callable[..., None]:
    """A test of every exercise of an assignment, for the student's files beside `file`."""
    import pytest

    from npsoftmax.grading.exercises import EXERCISES, exercises_of
    from npsoftmax.grading.student import find_file

    @pytest.mark.parametrize("name", [exercise.name for exercise in exercises_of(assignment)])
    def test_exercise(name: str, request: pytest.FixtureRequest) -> None:
        exercise = EXERCISES[name]
        runner = _runner(request.config.getoption("--grade-seed", default=0))
        verdict = runner.grade(exercise, find_file(Path(file).parent, exercise))
        if verdict["state"] == "not started":
            pytest.skip("not started")
        if verdict["state"] == "wrong":
            pytest.fail(verdict["report"], pytrace=False)

    return test_exercise


@functools.cache
def _runner(seed: int) -> Any:
    """One process for all tests of a session."""
    from npsoftmax.grading.runner import Runner

    runner = Runner(seed)
    atexit.register(runner.stop)
    return runner
