"""The text of a failure: where, by how much, in what pattern, probably why, what to read and what to type."""

from __future__ import annotations

import linecache
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from npsoftmax.grading.exercises.base import Exercise
from npsoftmax.grading.plain import MARKS
from npsoftmax.grading.trial import student_line

if TYPE_CHECKING:
    from npsoftmax.grading.findings import Findings

AGAIN = "again"
WIDTH, LABEL, INDENT = 80, 22, 2  # a console, or half a screen
COLUMNS = re.compile(r" {6,}")  # between two things on one line, as many spaces as there is room for


def failure_report(findings: Findings, causes: list[str], file: str = "") -> str:
    """All lines about an answer that is wrong."""
    trial = findings.trial
    verdicts = "   ".join(f"{o.name} {o.problem or 'ok'}" for o in findings.outputs)
    facts = _exception(findings.outcome.raised, file) + findings.facts
    wrong = [o for o in findings.outputs if o.problem]
    for output in wrong:
        facts += output.facts
    return assemble(trial.exercise, verdicts, f"case {trial}", facts, causes, trial.seed)


def assemble(
    exercise: Exercise, verdicts: str, case: str, facts: list[tuple[str, str]], causes: list[str], seed: int
) -> str:
    """The report from its parts."""
    from npsoftmax.grading.exercises import ASSIGNMENTS

    left = f"{MARKS['wrong']} {exercise.assignment} {exercise.name}"
    parts = [part for part in (left, verdicts, case) if part]
    lines = textwrap.wrap("   ".join(parts), WIDTH, subsequent_indent=" " * INDENT)
    if len(lines) > 1 and case:
        head = textwrap.wrap("   ".join(parts[:-1]), WIDTH, subsequent_indent=" " * INDENT)
        lines = [*head, *field("case", case.removeprefix("case "))]
    for label, text in facts:
        lines += field(label, text)
    for cause in causes:
        lines += field("likely cause", cause)
    folder = ASSIGNMENTS[exercise.assignment].folder
    lines += field("read", f"{folder}/README.md, step {exercise.step}")
    lines += field(AGAIN, f"npsoftmax grade {exercise.name} --seed {seed}")
    return "\n".join(lines)


def field(label: str, text: str) -> list[str]:
    """A label and its text, wrapped beside it."""
    room = WIDTH - LABEL - INDENT
    if label == AGAIN and len(text) > room:  # a command in one piece, so that it can be copied
        return [f"{' ' * INDENT}{AGAIN}  {text}"]
    lines = [line for part in text.split("\n") for line in _wrapped(part, room)]
    if len(label) >= LABEL:
        return [
            *textwrap.wrap(label, WIDTH, initial_indent=" " * INDENT, subsequent_indent=" " * INDENT),
            *(" " * (INDENT + LABEL) + line for line in lines),
        ]
    return [f"{' ' * INDENT}{label if i == 0 else '':<{LABEL}}{line}".rstrip() for i, line in enumerate(lines)]


def _wrapped(text: str, room: int) -> list[str]:
    """One line as lines of at most `room` characters; columns come closer first, then below each other."""
    if COLUMNS.search(text):
        parts = [part for column in COLUMNS.split(text) for part in [column.strip()] if part]
        for line in (text, "   ".join(parts)):
            if len(line) <= room:
                return [line]
        return [line for part in parts for line in textwrap.wrap(part, room)]
    return textwrap.wrap(text, room) or [""]


def fields_of(report: str) -> list[tuple[str, str]]:
    """(label, text) of every field of a report, unwrapped."""
    found: list[tuple[str, str]] = []
    for line in report.split("\n")[1:]:
        label, text = line[INDENT : INDENT + LABEL].strip(), line[INDENT + LABEL :].strip()
        if line.startswith(f"{' ' * INDENT}{AGAIN} "):
            label, text = AGAIN, line[INDENT + len(AGAIN) :].strip()
        if label:
            found.append((label, text))
        elif found:
            found[-1] = found[-1][0], f"{found[-1][1]} {text}"
    return found


def _exception(error: BaseException | None, file: str) -> list[tuple[str, str]]:
    if error is None:
        return []
    return exception_facts(error, file)


def exception_facts(error: BaseException, file: str) -> list[tuple[str, str]]:
    """What was raised and in which line of the student's file; no line of the grader's."""
    if isinstance(error, SystemExit):
        facts = [("raised", "SystemExit: your code calls sys.exit() or quit(), which would end the whole program")]
    elif isinstance(error, NotImplementedError) and getattr(error, "inside", "<module>").isidentifier():
        facts = [("raised", f"NotImplementedError: {getattr(error, 'inside', '')} is called, and not written yet")]
    elif isinstance(error, RecursionError):
        facts = [("raised", "RecursionError: it calls itself without end")]
    else:
        text = str(error.msg if isinstance(error, SyntaxError) else error).strip()
        facts = [("raised", f"{type(error).__name__}: {shortened(text)}" if text else type(error).__name__)]
    line = student_line(error, file)
    if line is not None:
        facts.append(line_fact(file, *line))
    return facts


def line_fact(file: str, number: int, text: str = "") -> tuple[str, str]:
    """Where in the student's file."""
    text = text or linecache.getline(file, number).strip()
    return "where", f"{Path(file).name} line {number}: {text}" if text else f"{Path(file).name} line {number}"


def shortened(text: str, most: int = 300) -> str:
    """The first line or so of a message that may be very long."""
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"
