"""`npsoftmax grade`: which exercises pass, where the others are wrong, and probably why."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from npsoftmax.cli._console import say
from npsoftmax.cli._submissions import gradescope, json_list, table
from npsoftmax.errors import InputError

REPORTS = 3  # shown at once; a beginner reads one at a time
BAR = 20


def add_parser(subparsers: Any) -> None:
    """Register the command on the `add_subparsers()` of the main parser."""
    parser = subparsers.add_parser("grade", help="check the exercises of an assignment", description=__doc__)
    parser.add_argument("target", nargs="?", metavar="ASSIGNMENT|FUNCTION", help="such as a1 or softmax_backward")
    parser.add_argument("path", nargs="?", metavar="PATH", help="your folder (default: here, or ./assignments)")
    level = {"nargs": "?", "type": int, "const": 1, "metavar": "LEVEL"}
    parser.add_argument("--hint", **level, help="a hint for FUNCTION, or for the next step; LEVEL 2 says more")
    parser.add_argument("--solution", action="store_true", help="a readable solution of a FUNCTION that passes")
    parser.add_argument("--tutor", action="store_true", help="for an assistant that teaches: cause, step, next hint")
    parser.add_argument("--watch", action="store_true", help="check again whenever a file is saved")
    parser.add_argument("more", nargs="*", metavar="…", help="with --class: more assignments, as in a1 a2 a3")
    parser.add_argument("--seed", type=int, metavar="N", help="other numbers and shapes (default: the handout's, or 0)")
    parser.add_argument("--time-limit", type=float, default=10.0, metavar="S", help="seconds an exercise (default: 10)")
    parser.add_argument("--json", action="store_true", help="print a JSON list, one entry an exercise")
    parser.add_argument("--csv", type=Path, metavar="FOLDER", help="print a table of all submissions in FOLDER")
    parser.add_argument("--class", type=Path, dest="class_", metavar="FOLDER", help="what did my class get wrong?")
    parser.add_argument("--roster", type=Path, metavar="FILE", help="with --class: CSV, or Moodle's or Canvas's export")
    out = "with --csv: write it to a file; with --class: the folder of its pages; typed again, it goes on"
    parser.add_argument("--out", type=Path, metavar="PATH", help=out)
    parser.add_argument("--gradescope", type=Path, metavar="FILE", help="write Gradescope's results.json")
    parser.add_argument("--hidden", action="store_true", help="tell verdicts and causes, but no seed and no number")
    parser.set_defaults(run=run, words=[])


def run(args: argparse.Namespace) -> int:
    """Grade and print: 0 unless something is wrong, else 1."""
    from npsoftmax.grading.exercises import EXERCISES, find

    if args.class_ is not None:
        from npsoftmax.cli import _classroom

        _check_numbers(args)
        return _classroom.run(args)
    if args.more:
        raise InputError(
            f"{' '.join(map(str, (args.target, args.path, *args.more)))}: one assignment at a time, such as npsoftmax "
            f"grade {args.target} {args.more[-1]}; several go with --class: npsoftmax grade a1 a2 --class submissions."
        )
    if args.roster is not None:
        raise InputError("--roster goes with --class: npsoftmax grade a1 a2 --class submissions --roster FILE.")
    if args.gradescope is not None or args.csv is not None:
        args.seed = 0 if args.seed is None else args.seed
    if args.gradescope is not None:
        return gradescope(args, lambda: _wanted(args))
    if args.csv is not None:
        _check_numbers(args)
        return table(args, find(args.target))
    exercises, folder = _wanted(args)
    if not folder.exists():
        if args.path and args.path.lower() in EXERCISES:
            raise InputError(
                f"{args.path} is an exercise, and one thing is graded at once: npsoftmax grade {args.path}."
            )
        raise InputError(f"there is no folder {folder}; type npsoftmax assignments start a1 --to {folder}.")
    if args.seed is None:
        args.seed = _own_seed(args, exercises, folder)
    if args.solution:
        return _solution(args, exercises, folder)
    if args.tutor:
        return _tutor(args, exercises, folder)
    if args.hint is not None and len(exercises) == 1:
        say(hint(exercises[0], args.hint))
        return 0
    if args.watch:
        return _watch(args, exercises, folder)
    return _once(args, exercises, folder)


def _wanted(args: argparse.Namespace) -> tuple[list[Any], Path]:
    """The exercises and the path; a single word that is a path and no exercise is the path."""
    from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES, find
    from npsoftmax.grading.student import default_folder

    _check_numbers(args)
    target, path = args.target, args.path
    if target is not None and path is None and target not in EXERCISES:
        given = Path(target)
        named = [a for a in ASSIGNMENTS.values() if given.name in (a.id, a.folder)]
        if named and given.is_dir() and given.name == named[0].folder:
            return find(named[0].id), given  # a path such as assignments/a1_softmax
        if not named and (given.exists() or "/" in target):
            target, path = None, target
    return find(target), Path(path) if path is not None else default_folder(list(ASSIGNMENTS.values()))


def _check_numbers(args: argparse.Namespace) -> None:
    if args.seed is not None and args.seed < 0:
        raise InputError(f"--seed is {args.seed}, but a whole number of at least 0 was expected.")
    if args.time_limit <= 0:
        raise InputError(f"--time-limit is {args.time_limit:g}, but a number of seconds above 0 was expected.")


def _own_seed(args: argparse.Namespace, exercises: list[Any], folder: Path) -> int:
    """The seed that the handout was made with, which is told; 0 where it was made for nobody in particular."""
    from npsoftmax.grading.classroom.variants import noted
    from npsoftmax.grading.exercises import SEED
    from npsoftmax.grading.student import find_file

    files = dict.fromkeys(file for exercise in exercises if (file := find_file(folder, exercise)))
    found = noted(files)
    if found is None:
        return SEED
    if not args.json:
        say(f"the numbers of student {found[0]} (seed {found[1]}), from the first line of the handout\n")
    return found[1]


# ---------------------------------------------------------------- one folder
def _once(args: argparse.Namespace, exercises: list[Any], folder: Path) -> int:
    from npsoftmax.grading.exercises import EXERCISES

    with json_list() if args.json else contextlib.nullcontext() as put:
        rows = _rows(args, exercises, folder, put or (lambda row: None))
    if args.hint is not None and not args.json:
        say(hint(EXERCISES[(next_step(rows) or rows[0])["exercise"]], args.hint))
    elif not args.json:
        say(overview(rows))
    return 1 if any(row["state"] == "wrong" for row in rows) else 0


def _rows(args: argparse.Namespace, exercises: list[Any], path: Path, put: Callable[[Any], None]) -> list[Any]:
    """The verdicts on a student's own folder; of what lies there under other names, or as a zip, where it was named."""
    from npsoftmax.grading.gradebook import grade_alone, grade_folder
    from npsoftmax.grading.student import find_file

    if path.is_dir() and any(find_file(path, exercise) for exercise in exercises):
        return grade_folder(path, exercises, args.seed, args.time_limit, hidden=args.hidden, tell=put)
    named = args.path is not None or (args.target is not None and Path(args.target) == path)
    graded = grade_alone(path, exercises, args.seed, args.time_limit, args.hidden) if named else None
    if graded is None or not any(row["file"] for row in graded.rows):
        raise InputError(
            f"{path} holds no file of an assignment; type npsoftmax assignments start {exercises[0].assignment}, "
            "or name your folder: npsoftmax grade a1 PATH."
        )
    print(f"graded: {graded.file or path}", *filter(None, [graded.remark]), sep="; ", file=sys.stderr)
    for row in graded.rows:
        put(row)
    return graded.rows


def overview(rows: list[dict[str, Any]]) -> str:
    """A bar an assignment, every exercise with its mark, the first reports, and the next step."""
    from npsoftmax.grading.exercises import ASSIGNMENTS
    from npsoftmax.grading.plain import marks
    from npsoftmax.grading.report import WIDTH

    lines = []
    for assignment in dict.fromkeys(row["assignment"] for row in rows):
        own = [row for row in rows if row["assignment"] == assignment]
        if len(own) > 1:
            lines += [_bar(ASSIGNMENTS[assignment], own), *_columns(own), ""]
    wrong = [row for row in rows if row["state"] == "wrong"]
    for row in wrong[:REPORTS]:
        lines += [row["report"], ""]
    if len(rows) == 1 and rows[0]["state"] != "wrong":
        lines.append(f"{marks()[rows[0]['state']]} {rows[0]['assignment']} {rows[0]['exercise']}  {rows[0]['state']}")
    if len(wrong) > REPORTS:
        left = wrong[REPORTS:]
        others = ", ".join(row["exercise"] for row in left[:4]) + (", …" if len(left) > 4 else "")
        said = f"{len(left)} more {'is' if len(left) == 1 else 'are'} wrong ({others})"
        lines += [*textwrap.wrap(f"{said}: npsoftmax grade FUNCTION shows one.", WIDTH), ""]
    for row in rows:
        if row["note"] and row["file"]:
            lines += textwrap.wrap(f"note: {row['exercise']}: {row['note']}", WIDTH, subsequent_indent="  ")
    lines.append(_next(rows))
    return "\n".join(lines)


def _bar(assignment: Any, rows: list[dict[str, Any]]) -> str:
    from npsoftmax.grading.gradebook import score

    passed = sum(row["state"] == "passed" for row in rows)
    full = BAR * passed // len(rows)
    reached, possible = score(rows)
    name = f"{assignment.id} {assignment.title}"
    bar = "█" * full + "░" * (BAR - full)
    return f"{name:<26} {bar} {passed:>3} of {len(rows)}   {reached} of {possible} points"


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    from npsoftmax.grading.plain import marks
    from npsoftmax.grading.report import WIDTH

    shown = marks()
    cells = [f"{shown[row['state']]:<{max(map(len, shown.values()))}} {row['exercise']}" for row in rows]
    width = max(map(len, cells)) + 2
    many = max(1, WIDTH // width)
    return ["  " + "".join(f"{c:<{width}}" for c in cells[i : i + many]).rstrip() for i in range(0, len(cells), many)]


def _next(rows: list[dict[str, Any]]) -> str:
    from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES

    row = next_step(rows)
    if row is None:
        return (
            "everything passes." if len(rows) > 1 else f"npsoftmax grade {rows[0]['exercise']} --solution shows ours."
        )
    exercise = EXERCISES[row["exercise"]]
    where = f"{ASSIGNMENTS[exercise.assignment].folder}/README.md, step {exercise.step}"
    return f"next: {exercise.name} ({where})\nhint: npsoftmax grade {exercise.name} --hint"


def next_step(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The first exercise that is wrong, else the first that is not started."""
    for state in ("wrong", "not started"):
        for row in rows:
            if row["state"] == state:
                return row
    return None


def hint(exercise: Any, level: int) -> str:
    """The hint of that level, and how to get another."""
    from npsoftmax.grading.exercises import ASSIGNMENTS
    from npsoftmax.grading.report import WIDTH

    level = min(max(level, 1), len(exercise.hints))
    lines = [f"{exercise.assignment} {exercise.name}, hint {level} of {len(exercise.hints)}"]
    lines += textwrap.wrap(exercise.hints[level - 1], WIDTH, break_on_hyphens=False)
    if level < len(exercise.hints):
        lines.append(f"More: npsoftmax grade {exercise.name} --hint {level + 1}")
    else:
        folder = ASSIGNMENTS[exercise.assignment].folder
        lines.append(f"That was the last one; the derivation is in {folder}/README.md, step {exercise.step}.")
    return "\n".join(lines)


# ---------------------------------------------------------------- the other ways
def _solution(args: argparse.Namespace, exercises: list[Any], folder: Path) -> int:
    from npsoftmax.grading.gradebook import grade_folder
    from npsoftmax.grading.stubs import solution

    if len(exercises) != 1:
        raise InputError("--solution needs one FUNCTION, as in npsoftmax grade softmax_backward --solution.")
    (row,) = grade_folder(folder, exercises, args.seed, args.time_limit)
    if row["state"] != "passed":
        raise InputError(
            f"{row['exercise']} is {row['state']}: a solution is shown once yours passes; "
            f"type npsoftmax grade {row['exercise']} --hint."
        )
    say(solution(exercises[0]))
    return 0


def _tutor(args: argparse.Namespace, exercises: list[Any], folder: Path) -> int:
    from npsoftmax.errors import InputError
    from npsoftmax.grading.gradebook import grade_folder
    from npsoftmax.grading.tutor import advice, in_words

    if len(exercises) != 1:
        raise InputError("--tutor needs one FUNCTION, as in npsoftmax grade softmax_backward --tutor --json.")
    (row,) = grade_folder(folder, exercises, args.seed, args.time_limit)
    told = advice(exercises[0], row, args.hint or 1)
    say(json.dumps(told, indent=2) if args.json else in_words(told))
    return 1 if row["state"] == "wrong" else 0


def _watch(args: argparse.Namespace, exercises: list[Any], folder: Path) -> int:
    from npsoftmax.grading.student import find_file

    seen, code = None, 0
    while True:
        files = {file for exercise in exercises if (file := find_file(folder, exercise))}
        now = {file: file.stat().st_mtime_ns for file in files}
        if now != seen:
            seen = now
            say("\033[2J\033[H" if sys.stdout.isatty() else "")
            code = _once(args, exercises, folder)
            say("watching; Ctrl-C ends it")
        try:
            time.sleep(0.3)
        except KeyboardInterrupt:
            return code
