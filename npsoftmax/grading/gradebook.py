"""Many verdicts: of one folder, of a folder of submissions, as CSV and as Gradescope's results file."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import json
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

from npsoftmax._version import __version__
from npsoftmax.grading.cells import as_csv
from npsoftmax.grading.compiled import shared_builds
from npsoftmax.grading.exercises import EXERCISES, SEED, Exercise
from npsoftmax.grading.handins.finding import chosen
from npsoftmax.grading.handins.store import Store
from npsoftmax.grading.handins.students import Submission, submissions_in
from npsoftmax.grading.handins.text import decoded
from npsoftmax.grading.hidden import hide
from npsoftmax.grading.report import INDENT, LABEL
from npsoftmax.grading.runner import LIMIT, Runner
from npsoftmax.grading.student import find_file
from npsoftmax.host import available_cpus
from npsoftmax.kernels.extension import extension_names, load_extension

Row = dict[str, Any]
CHATTY = 100_000  # characters; a student who prints more gets a remark


def grade_folder(
    folder: Path,
    exercises: Iterable[Exercise],
    seed: int = SEED,
    limit: float = LIMIT,
    *,
    hidden: bool = False,
    tell: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """One row an exercise; `tell` hears of each as it comes. hidden: they tell no number of the cases.

    A row: assignment, exercise, state ("passed", "wrong", "not started"), points, of, cause, mistake, report, note,
    seed, seconds, file, flags (sentences for the teacher, never marks).
    """
    rows = []
    with Runner(seed, limit) as runner:
        for exercise in exercises:
            file = find_file(folder, exercise)
            row = row_of(exercise, file, runner.grade(exercise, file), runner.seed)
            row = hide(row) if hidden else row
            rows.append(row)
            tell(row)
    return rows


def unjudged(why: str) -> dict[str, Any]:
    """The verdict on what could not be judged, through no fault of the student's."""
    empty = dict.fromkeys(("report", "cause", "mistake"), "")
    return {"state": "not started", **empty, "note": why, "printed": 0, "seconds": 0.0, "flags": ()}


def has_cython() -> bool:
    """Whether exercises can be compiled on this machine."""
    return importlib.util.find_spec("Cython") is not None


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
    to say of the hand-in as a whole, "" mostly; file: what was graded, "" where that is the plain file; submission:
    what it is called in the folder, a name that no other has; code: the text of every file that was graded, by name."""

    student: str
    rows: list[Row]
    remark: str
    file: str
    submission: str
    code: dict[str, str]


def grade_submissions(
    folder: Path,
    exercises: list[Exercise],
    seed: int | Callable[[str, Path], int] = SEED,
    limit: float = LIMIT,
    *,
    hidden: bool = False,
    store: Path | None = None,
    tell: Callable[[str], None] = lambda what: None,
) -> Iterator[Graded]:
    """Every hand-in in `folder`, in the order of their names, each as soon as it and those before it are graded.

    Several are graded at once, as many as there are processors. seed: for all, or of the name of a hand-in and the
    folder that it is laid out in the seed of its own. hidden: rows tell no number of the cases; store: a file
    that keeps what is graded, so that a second run grades only what is new or was changed; tell: hears of files that
    are nobody's. InputError if there is no hand-in.
    """
    submissions, others = submissions_in(folder)
    if others:
        tell(f"not graded: {', '.join(others)}")
    terms = [
        __version__,
        [e.name for e in exercises],
        seed if isinstance(seed, int) else "own",
        limit,
        hidden,
        has_cython(),
    ]
    known = Store(store, json.dumps(terms))
    for name in extension_names():  # before there are threads, which must not load one together
        load_extension(name)
    with shared_builds(), one_tree_at_a_time():
        running: set[Runner] = set()
        stopped = threading.Event()

        def one(submission: Submission) -> Graded:
            own = None if isinstance(seed, int) else seed
            with Runner(seed if isinstance(seed, int) else SEED, limit) as runner:
                running.add(runner)
                graded = grade_submission(submission, exercises, runner, hidden, known, stopped, own)
                running.discard(runner)
            return graded

        def stop() -> None:
            stopped.set()
            for runner in list(running):
                runner.stop()  # its code may run for a long time yet

        yield from _in_order(one, submissions, stop)


@contextlib.contextmanager
def one_tree_at_a_time() -> Iterator[None]:
    """Within it ast.parse waits for its turn.

    Python 3.11 counts the depth of a tree once for all threads, and where two make one at a time it raises SystemError.
    """
    plain, turn = ast.parse, threading.Lock()

    def parse(*args: Any, **kwargs: Any) -> Any:
        with turn:
            return plain(*args, **kwargs)

    ast.parse = parse
    try:
        yield
    finally:
        ast.parse = plain


def _in_order(
    one: Callable[[Submission], Graded], submissions: list[Submission], stop: Callable[[], None]
) -> Iterator[Graded]:
    """The results in order. Ctrl-C first gives all that are ready, and leaves the rest."""
    with ThreadPoolExecutor(available_cpus()) as pool:  # the work is done by the processes that they start
        futures = [pool.submit(one, submission) for submission in submissions]
        waiting = deque(futures)
        try:
            while waiting:
                while not waiting[0].done():
                    wait([waiting[0]], timeout=0.2)  # with a timeout, so that Ctrl-C is heard on Windows
                yield waiting.popleft().result()
        except KeyboardInterrupt:
            yield from [future.result() for future in waiting if future.done()]
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            while busy := [future for future in futures if not future.done()]:
                stop()  # again and again: one may be just starting
                wait(busy, timeout=0.2)


def grade_submission(
    submission: Submission,
    exercises: list[Exercise],
    runner: Runner,
    hidden: bool = False,
    known: Store | None = None,
    stopped: threading.Event | None = None,
    own_seed: Callable[[str, Path], int] | None = None,
) -> Graded:
    """One hand-in, from `known` where it was graded before. Whatever goes wrong costs this one alone, and is said."""
    try:
        key = submission.content() if known else ""
        if known and (before := known.get(submission.name, key)) is not None:
            return Graded(**before)
        graded = _graded(submission, exercises, runner, stopped or threading.Event(), own_seed)
    except Exception as error:
        said = f"the grader failed ({type(error).__name__}: {error}): grade this hand-in by hand"
        rows = [row_of(e, None, unjudged(said), runner.seed) for e in exercises]
        return Graded(submission.student, rows, said, "", submission.name, {})
    if hidden:
        graded = graded._replace(rows=[hide(row) for row in graded.rows])
    if known and not (stopped and stopped.is_set()):
        known.put(submission.name, key, graded._asdict())
    return graded


def _graded(
    submission: Submission,
    exercises: list[Exercise],
    runner: Runner,
    stopped: threading.Event,
    own_seed: Callable[[str, Path], int] | None = None,
) -> Graded:
    with submission.laid_out() as layout:
        if own_seed is not None:
            runner.seed = own_seed(submission.name, layout.folder)
        found = chosen(layout, exercises)
        rows = []
        for exercise in exercises:
            if stopped.is_set():
                raise InterruptedError("stopped")
            path = found.files[exercise.name]
            row = row_of(exercise, path, runner.grade(exercise, path), runner.seed)
            for key in ("report", "cause", "note"):  # a message may name the copy that was graded
                row[key] = row[key].replace(f"{layout.folder}{os.sep}", "")
            row["file"] = found.names.get(path) if path else None
            rows.append(row)
        code = {found.names[p]: decoded(p.read_bytes()) for p in set(found.files.values()) if p and p.exists()}
    return Graded(submission.student, rows, found.remark, found.file, submission.name, code)


def grade_alone(
    path: Path, exercises: list[Exercise], seed: int = SEED, limit: float = LIMIT, hidden: bool = False
) -> Graded:
    """One hand-in by itself: a folder, an archive or a file."""
    submission = Submission(path.name, path.name, [(path, "" if path.is_dir() else path.name)])
    with Runner(seed, limit) as runner:
        return grade_submission(submission, exercises, runner, hidden)


def to_csv(graded: Iterable[Graded]) -> str:
    """A row a submission: its name, points, of, passed, wrong, not started, the points of each exercise, remarks and
    the student."""
    lines: list[str] = []
    for one in graded:
        lines += [csv_row(one)] if lines else [csv_head([EXERCISES[row["exercise"]] for row in one.rows]), csv_row(one)]
    return "".join(lines)


def csv_head(exercises: list[Exercise]) -> str:
    """The first line of the table."""
    names = [exercise.name for exercise in exercises]
    head = ["submission", "points", "of", "passed", "wrong", "not started", *names, "remarks", "student"]
    return as_csv([head], "\n")


def csv_row(one: Graded) -> str:
    """The line of a submission."""
    states = [row["state"] for row in one.rows]
    counts = [states.count(state) for state in ("passed", "wrong", "not started")]
    points = [row["points"] if row["state"] != "not started" else "" for row in one.rows]
    file = f"graded: {one.file}" if one.file else ""
    said = " | ".join(filter(None, [one.remark, file, remarks(one.rows)]))
    line = [one.submission, *score(one.rows), *counts, *points, said, one.student]
    return as_csv([line], "\n")


def remarks(rows: list[Row]) -> str:
    """The remarks on a submission, each once, with the exercises that it is about."""
    said: dict[str, list[str]] = {}
    for row in rows:
        note = row["note"].replace(f"no function {row['exercise']}", "no such function")
        for text in (row["cause"] or first_fact(row["report"]), note if row["file"] else ""):
            if text:
                said.setdefault(text, []).append(row["exercise"])
    parts = []
    for text, names in said.items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        parts.append(f"{shown}: {text}")
    return " | ".join(parts)


def first_fact(report: str) -> str:
    """The first fact below the head of a report, on one line however many it takes in the report."""
    facts: list[str] = []
    for line in report.split("\n")[1:]:
        if line.startswith(" " * (INDENT + LABEL)) and facts:
            facts[-1] += line
        else:
            facts.append(line)
    first = next((fact for fact in facts if not fact.startswith(" " * INDENT + "case ")), "")  # a long head's last part
    return " ".join(first.split())


# ---------------------------------------------------------------- Gradescope
def to_gradescope(rows: list[Row], remark: str = "") -> dict[str, Any]:
    """What Gradescope's autograder reads from results.json; remark: what there is to say of the hand-in."""
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
    said = f"{reached} of {possible} points" + (f"\n{remark}" if remark else "")
    return {"score": reached, "execution_time": seconds, "output": said, "tests": tests}
