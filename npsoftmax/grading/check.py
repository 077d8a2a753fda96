"""The one check: the library's function must pass it, a stub is "not started", every mistake fails, students are
graded.

Design: what is right is worked out and compared here, in the grader's process. A student's function is a
`child.Remote`, which runs in another one; any other callable is tried in the same way.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.backend import Backend
from npsoftmax.grading.causes import Cause, likely_causes
from npsoftmax.grading.child import Ended, Remote
from npsoftmax.grading.compiled import TYPED, CannotCompile, CompileError, build, compiled_function, has_types, speed_up
from npsoftmax.grading.exercises.base import SEED, Draw, Exercise
from npsoftmax.grading.findings import Findings, judge, judge_refusal, judge_robustness
from npsoftmax.grading.report import assemble, failure_report, shortened
from npsoftmax.grading.trial import NUMPY, Trial, refusals_of, trials_of

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
) -> Verdict:
    """Try `function` on every case of the exercise; the first that fails is reported.

    file: the path of the student's file, so that an exception can be shown with its line.
    """
    with quiet():
        return _checked(exercise, function, seed, file, backend)


def _checked(exercise: Exercise, function: Callable[..., Any], seed: int, file: str, backend: Backend) -> Verdict:
    trials = trials_of(exercise, seed, backend)
    notes = []
    for trial in trials:
        outcome = trial.call(function)
        if outcome.not_started:
            return Verdict(NOT_STARTED)
        findings = judge(trial, outcome)
        if outcome.raised is not None or not findings.ok:
            others = [t for t in trials if t is not trial]
            return _failed(findings, *_causes(function, findings, others), file)
        notes.append(findings.note)
    findings = judge_robustness(trials[0], function)
    notes.append(findings.note)
    if not findings.ok:
        return _failed(findings, [], "", file)
    for trial in refusals_of(exercise, seed, backend):
        findings = judge_refusal(trial, function)
        notes.append(findings.note)
        if not findings.ok:
            return _failed(findings, [], "", file)
    if exercise.timed is None:
        return Verdict(PASSED, note="; ".join(filter(None, notes)))
    inputs = exercise.timed(Draw(seed, exercise.name, 0)).args
    return _check_compiled(trials, inputs, function, file)


def _check_compiled(
    trials: tuple[Trial, ...], inputs: dict[str, Any], function: Callable[..., Any], file: str
) -> Verdict:
    """The same cases again, with the function as machine code; then how much faster it is on `inputs`."""
    exercise, path = trials[0].exercise, Path(file or inspect.getfile(function))
    try:
        if isinstance(function, Remote):
            fast: Callable[..., Any] = function.compiled(str(build(path)))
        else:
            fast = compiled_function(path, exercise.name)
    except CannotCompile as error:
        return not_judged(exercise, f"{error}. In Python it is right", trials[0].seed)
    except (CompileError, OSError) as error:
        facts = [("in Python", "it is right"), ("not compiled", str(error))]
        return Verdict(WRONG, assemble(exercise, "", "", facts, [], trials[0].seed), str(error))
    for trial in trials:
        findings = judge(trial, trial.call(fast))
        if findings.outcome.raised is not None or not findings.ok:
            return _failed(
                findings, [Cause("in Python it is right, but compiled it is not: look at the types.")], "", file
            )
    times = speed_up(functools.partial(trials[0].run, inputs=inputs), exercise.reference, fast)
    often = f"{times:.0f}" if times >= 10 else f"{times:.1f}"
    said = f"compiled; {often} times as fast as in Python"
    if times >= TYPED:
        return Verdict(PASSED, note=said)
    if has_types(path, exercise.name):
        return Verdict(PASSED, note=f"{said}; with a type for every counter and every index it is 100 times and more")
    facts = [
        ("in Python", "it is right"),
        ("compiled", f"only {often} times as fast, and at least {TYPED:g} times is asked for"),
    ]
    return Verdict(WRONG, assemble(exercise, "", "", facts, [UNTYPED], trials[0].seed), UNTYPED)


UNTYPED = "no counter has a type: declare each of them and every index, such as n: cython.Py_ssize_t."


def _causes(function: Callable[..., Any], findings: Findings, others: list[Trial]) -> tuple[list[Cause], str]:
    """The likely causes. Where looking for them fails, the verdict stands without: none, and a note that says so."""
    try:
        return likely_causes(function, findings, others), ""
    except Ended:  # it hung or died when it was called once more: what was found is true all the same
        return [], ""
    except Exception as error:
        return [], f"{FAILED}, while it looked for the cause; {NOT_YOU} ({last_line(error)})"


def _failed(findings: Findings, causes: list[Cause], note: str, file: str) -> Verdict:
    return Verdict(
        WRONG,
        failure_report(findings, [c.sentence for c in causes], file),
        " ".join(c.sentence for c in causes),
        next((c.mistake for c in causes if c.mistake), ""),
        findings.wrong_names,
        note,
    )


# ---------------------------------------------------------------- the grader itself
FAILED = "the grader itself failed"
NOT_YOU = "this is not your fault: send this to your teacher, or to the maintainers of npsoftmax"


def grader_failed(exercise: Exercise, error: BaseException, seed: int) -> Verdict:
    """What is said where the grader broke down: nobody is blamed, and the student's code is not called wrong."""
    facts = [(FAILED, NOT_YOU), ("what it said", last_line(error))]
    return Verdict(WRONG, assemble(exercise, "", "", facts, [], seed), f"{FAILED}; {NOT_YOU} ({last_line(error)})")


def not_judged(exercise: Exercise, why: str, seed: int) -> Verdict:
    """What is said where this machine cannot judge an answer, whatever was written."""
    report = assemble(exercise, "", "", [("not judged", why)], [], seed)
    return Verdict(WRONG, report, f"not judged: {why}")


def last_line(error: BaseException) -> str:
    """The last line of its traceback, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" [{Path(frames[-1].filename).name} line {frames[-1].lineno}]" if frames else ""
    return shortened(f"{type(error).__name__}: {error}") + where


_inside, _lock = 0, threading.Lock()
_filters: list[Any] = []


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warning within it, and no floating-point error; several threads may be within at once."""
    global _inside
    with _lock:
        if not _inside:
            _filters.append(warnings.catch_warnings())
            _filters[-1].__enter__()
            warnings.simplefilter("ignore")
        _inside += 1
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _filters.pop().__exit__(None, None, None)
