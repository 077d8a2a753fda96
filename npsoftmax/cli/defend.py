"""`npsoftmax defend`: three questions about a student's own function, with computed answers for the teacher."""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register the command on the `add_subparsers()` of the main parser."""
    parser = subparsers.add_parser("defend", help="three questions about your own function", description=__doc__)
    parser.add_argument("function", metavar="FUNCTION", help="such as softmax_backward; it has to pass")
    parser.add_argument(
        "path", nargs="?", type=Path, metavar="PATH", help="your folder (default: here, or assignments)"
    )
    parser.add_argument("--student", default="", metavar="NAME", help="each name has questions of its own")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="other questions (default: 0)")
    parser.add_argument("--answers", action="store_true", help="for the teacher: print the answers too")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check that the function passes, then ask: 0, or 2 where there is nothing to defend yet."""
    from npsoftmax.errors import InputError, unknown_name
    from npsoftmax.grading.defend import defend
    from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES
    from npsoftmax.grading.gradebook import grade_folder
    from npsoftmax.grading.plain import readable
    from npsoftmax.grading.student import default_folder, existing_file

    if args.function not in EXERCISES:
        raise unknown_name("exercise", args.function, EXERCISES)
    if args.seed < 0:
        raise InputError(f"--seed is {args.seed}, but a whole number of at least 0 was expected.")
    exercise = EXERCISES[args.function]
    folder = args.path or default_folder(list(ASSIGNMENTS.values()))
    file = existing_file(folder, exercise)
    (row,) = grade_folder(folder, [exercise])
    if row["state"] != "passed":
        raise InputError(
            f"{exercise.name} is {row['state']}: there are questions about it once it passes; "
            f"type npsoftmax grade {exercise.name}{' --hint' if row['state'] == 'not started' else ''}."
        )
    defence = defend(exercise, file, args.student, args.seed)
    print(readable(as_json(defence, args.answers) if args.json else in_words(defence, args.answers)))
    return 0


def as_json(defence: Any, answers: bool) -> str:
    """The questions, with their answers where these are asked for, as JSON."""
    questions = [
        {"question": q.text, "answer": q.answer} if answers else {"question": q.text} for q in defence.questions
    ]
    told = {"exercise": defence.exercise, "student": defence.student, "seed": defence.seed}
    return json.dumps(told | {"given": defence.given, "questions": questions}, indent=2)


def in_words(defence: Any, answers: bool) -> str:
    """The same for a person."""
    from npsoftmax.grading.report import WIDTH

    who = f" of {defence.student}" if defence.student else ""
    lines = [f"{defence.exercise}{who}: three questions. Numbers to within 1 %.", ""]
    for name, text in defence.given.items():
        lines += [f"{name} =", *textwrap.indent(text, "  ").split("\n")] if "\n" in text else [f"{name} = {text}"]
    for number, question in enumerate(defence.questions, 1):
        lines += [
            "",
            *textwrap.wrap(f"{number}. {question.text}", WIDTH, subsequent_indent="   ", break_on_hyphens=False),
        ]
        if answers:
            lines += textwrap.wrap(f"   answer: {question.answer}", WIDTH, subsequent_indent="   ")
    return "\n".join(lines)
