"""The one check: the library's function must pass it, a stub is "not started", every mistake fails, students are
graded."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npsoftmax.backend import Backend
from npsoftmax.grading.causes import Cause, likely_causes
from npsoftmax.grading.compiled import CompileError, compiled_function, speed_up
from npsoftmax.grading.exercises.base import SEED, Draw, Exercise
from npsoftmax.grading.findings import Findings, judge, judge_robustness
from npsoftmax.grading.report import assemble, failure_report
from npsoftmax.grading.trial import NUMPY, Trial, trials_of

PASSED, WRONG, NOT_STARTED = STATES = ("passed", "wrong", "not started")


@dataclass(frozen=True)
class Verdict:
    """What became of one exercise. report: the text for the student, "" unless wrong; cause: its likely cause, where
    there is one; mistake: the id of the catalogued mistake that it is; wrong: names of the outputs that are wrong;
    note: what a student should know although it passed."""

    state: str
    report: str = ""
    cause: str = ""
    mistake: str = ""
    wrong: tuple[str, ...] = ()
    note: str = ""


def check(
    exercise: Exercise,
    function: Callable[..., Any],
    seed: int = SEED,
    *,
    file: str = "",
    backend: Backend = NUMPY,
    tell: Callable[[str], None] = lambda what: None,
) -> Verdict:
    """Try `function` on every case of the exercise; the first that fails is reported.

    file: the path of the student's file, so that an exception can be shown with its line; tell: hears "compiling" and
    "running" around the compiler, which may take longer than a student's code.
    """
    trials = trials_of(exercise, seed, backend)
    for trial in trials:
        outcome = trial.call(function)
        if outcome.not_started:
            return Verdict(NOT_STARTED)
        findings = judge(trial, outcome)
        if outcome.raised is not None or not findings.ok:
            others = [t for t in trials if t is not trial]
            return _failed(findings, likely_causes(function, findings, others), file)
    findings = judge_robustness(trials[0], function)
    if not findings.ok:
        return _failed(findings, [], file)
    if exercise.timed is None:
        return Verdict(PASSED)
    inputs = exercise.timed(Draw(seed, exercise.name, 0)).args
    return _check_compiled(trials, inputs, function, file, tell)


def _check_compiled(
    trials: tuple[Trial, ...],
    inputs: dict[str, Any],
    function: Callable[..., Any],
    file: str,
    tell: Callable[[str], None],
) -> Verdict:
    """The same cases again, with the function as machine code; then how much faster it is on `inputs`."""
    exercise, path = trials[0].exercise, Path(file or inspect.getfile(function))
    tell("compiling")
    try:
        fast = compiled_function(path, exercise.name)
    except (CompileError, OSError) as error:
        facts = [("in Python", "it is right"), ("not compiled", str(error))]
        return Verdict(WRONG, assemble(exercise, "", "", facts, [], trials[0].seed), str(error))
    tell("running")
    for trial in trials:
        findings = judge(trial, trial.call(fast))
        if findings.outcome.raised is not None or not findings.ok:
            return _failed(findings, [Cause("in Python it is right, but compiled it is not: look at the types.")], file)
    times = speed_up(*(functools.partial(trials[0].run, f, inputs) for f in (function, fast)))
    return Verdict(PASSED, note=f"compiled; {times:.0f} times as fast as in Python")


def _failed(findings: Findings, causes: list[Cause], file: str) -> Verdict:
    return Verdict(
        WRONG,
        failure_report(findings, [c.sentence for c in causes], file),
        " ".join(c.sentence for c in causes),
        next((c.mistake for c in causes if c.mistake), ""),
        findings.wrong_names,
    )
