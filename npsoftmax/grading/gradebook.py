"""Many verdicts: of one folder, of a folder of submissions, as CSV and as Gradescope's results file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from npsoftmax.errors import InputError
from npsoftmax.grading.exercises import SEED, Exercise
from npsoftmax.grading.runner import LIMIT, Runner
from npsoftmax.grading.student import find_file, find_in_submission
from npsoftmax.host import available_cpus

Row = dict[str, Any]
CHATTY = 100_000  # characters; a student who prints more gets a remark


def grade_folder(
    folder: Path,
    exercises: Iterable[Exercise],
    seed: int = SEED,
    limit: float = LIMIT,
    *,
    find: Callable[[Path, Exercise], Path | None] = find_file,
    tell: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """One row an exercise; `tell` hears of each as it comes.

    A row: assignment, exercise, state ("passed", "wrong", "not started"), points, of, cause, mistake, report, note,
    seed, seconds, file, flags (sentences for the teacher, never marks).
    """
    rows = []
    with Runner(seed, limit) as runner:
        for exercise in exercises:
            file = find(folder, exercise)
            row = row_of(exercise, file, runner.grade(exercise, file), seed)
            rows.append(row)
            tell(row)
    return rows


def row_of(exercise: Exercise, file: Path | None, verdict: dict[str, Any], seed: int) -> Row:
    """A verdict as a row."""
    note = verdict["note"]
    if verdict["printed"] > CHATTY:
        said = f"it printed {verdict['printed']:,} characters while it was checked; remove the prints"
        note = f"{note}; {said}" if note else said
    passed = verdict["state"] == "passed"
    return {
        "assignment": exercise.assignment,
        "exercise": exercise.name,
        "state": verdict["state"],
        "points": exercise.points if passed else 0,
        "of": exercise.points,
        "cause": verdict["cause"],
        "mistake": verdict["mistake"],
        "report": verdict["report"],
        "note": note,
        "seed": seed,
        "seconds": verdict["seconds"],
        "file": str(file) if file else None,
        "flags": list(verdict["flags"]),
    }


def score(rows: Iterable[Row]) -> tuple[int, int]:
    """Points reached, and of how many."""
    rows = list(rows)
    return sum(row["points"] for row in rows), sum(row["of"] for row in rows)


# ---------------------------------------------------------------- many submissions
class Graded(NamedTuple):
    """What became of one hand-in. student: the name as the LMS gives it; rows: one an exercise; remark: what there is
    to say of the hand-in as a whole, "" mostly; file: what was graded, "" where that is the plain file; submission: what
    it is called in the folder, a name that no other has."""

    student: str
    rows: list[Row]
    remark: str
    file: str
    submission: str


def grade_submissions(
    folder: Path, exercises: list[Exercise], seed: int | Callable[[Path], int] = SEED, limit: float = LIMIT
) -> Iterator[Graded]:
    """Every hand-in in `folder`, in the order of their names, each as soon as it and those before it are graded.

    seed: for all, or a function that gives each hand-in its own. Several are graded at once, as many as there are processors. InputError if there is none.
    """
    if not folder.is_dir():
        raise InputError(f"--csv {folder}: there is no such folder; name the one that holds the students' folders.")
    submissions = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))
    if not submissions:
        raise InputError(f"--csv {folder}: it holds no folders; each submission has to be a folder in it.")

    def one(submission: Path) -> Graded:
        own = seed if isinstance(seed, int) else seed(submission)
        rows = grade_folder(submission, exercises, own, limit, find=find_in_submission)
        return Graded(submission.name, rows, "", "", submission.name)

    with ThreadPoolExecutor(available_cpus()) as pool:  # the work is done by the processes that they start
        yield from pool.map(one, submissions)


def to_csv(graded: Iterable[Graded]) -> str:
    """A row a submission: its name, points, of, passed, wrong, not started, the points of each exercise, remarks and
    the student."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for number, one in enumerate(graded):
        if number == 0:
            names = [row["exercise"] for row in one.rows]
            head = ["submission", "points", "of", "passed", "wrong", "not started", *names, "remarks", "student"]
            writer.writerow(head)
        states = [row["state"] for row in one.rows]
        counts = [states.count(state) for state in ("passed", "wrong", "not started")]
        points = [row["points"] if row["state"] != "not started" else "" for row in one.rows]
        said = " | ".join(filter(None, [one.remark, remarks(one.rows)]))
        writer.writerow([one.submission, *score(one.rows), *counts, *points, said, one.student])
    return text.getvalue()


def remarks(rows: list[Row]) -> str:
    """The remarks on a submission, each once, with the exercises that it is about."""
    said: dict[str, list[str]] = {}
    for row in rows:
        for text in (row["cause"] or first_fact(row["report"]), row["note"] if row["file"] else ""):
            if text:
                said.setdefault(text, []).append(row["exercise"])
    parts = []
    for text, names in said.items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        parts.append(f"{shown}: {text}")
    return " | ".join(parts)


def first_fact(report: str) -> str:
    """The first line below the head of a report, on one line."""
    return " ".join(report.partition("\n")[2].partition("\n")[0].split())


# ---------------------------------------------------------------- Gradescope
def to_gradescope(rows: list[Row]) -> dict[str, Any]:
    """What Gradescope's autograder reads from results.json."""
    reached, possible = score(rows)
    tests = [
        {
            "name": f"{row['assignment']} {row['exercise']}",
            "number": str(number),
            "score": row["points"],
            "max_score": row["of"],
            "status": "passed" if row["state"] == "passed" else "failed",
            "output": row["report"] or row["note"] or row["state"],
            "output_format": "text",
            "visibility": "visible",
        }
        for number, row in enumerate(rows, start=1)
    ]
    seconds = round(sum(row["seconds"] for row in rows))
    return {"score": reached, "execution_time": seconds, "output": f"{reached} of {possible} points", "tests": tests}
