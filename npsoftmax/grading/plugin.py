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
    """Add --grade-seed and --grade-hidden."""
    group = parser.getgroup("npsoftmax")
    group.addoption(
        "--grade-seed", type=int, metavar="N", help="seed for npsoftmax's exercises (default: the handout's, or 0)"
    )
    group.addoption("--grade-hidden", action="store_true", help="reports of npsoftmax without the seed and any number")


def exercise_test(assignment: str, file: str) -> Callable[..., None]:
    """A test of every exercise of an assignment, for the student's files beside `file`."""
    import pytest

    from npsoftmax.grading.classroom.variants import noted
    from npsoftmax.grading.exercises import EXERCISES, SEED, exercises_of
    from npsoftmax.grading.gradebook import row_of
    from npsoftmax.grading.hidden import hide
    from npsoftmax.grading.student import find_file

    @pytest.mark.parametrize("name", [exercise.name for exercise in exercises_of(assignment)])
    def test_exercise(name: str, request: pytest.FixtureRequest) -> None:
        exercise = EXERCISES[name]
        path, seed = find_file(Path(file).parent, exercise), request.config.getoption("--grade-seed", default=None)
        if seed is None:
            note = noted([path] if path else [])
            seed = note[1] if note else SEED
        verdict = _runner(seed).grade(exercise, path)
        if verdict["state"] == "not started":
            pytest.skip("not started")
        if verdict["state"] == "wrong":
            row = row_of(exercise, path, verdict, seed)
            hidden = request.config.getoption("--grade-hidden", default=False)
            pytest.fail((hide(row) if hidden else row)["report"], pytrace=False)

    return test_exercise


@functools.cache
def _runner(seed: int) -> Any:
    """One process for all tests of a session."""
    from npsoftmax.grading.runner import Runner

    runner = Runner(seed)
    atexit.register(runner.stop)
    return runner
