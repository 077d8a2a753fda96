"""`npsoftmax assignments`: the folders that students work in."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register the command on the `add_subparsers()` of the main parser."""
    parser = subparsers.add_parser("assignments", help="start an assignment, or reset a function", description=__doc__)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    start = actions.add_parser("start", help="make the folder of an assignment, with its page and stubs")
    start.add_argument("names", nargs="*", metavar="ASSIGNMENT", help="such as a1; all six by default")
    start.add_argument("--to", type=Path, default=Path(), metavar="DIR", help="where (default: here)")
    start.add_argument("--notebook", action="store_true", help="a notebook (.ipynb) in the place of Python files")
    start.add_argument(
        "--no-formulas", action="store_true", help="ask for the derivations: no formulas of gradients in stubs and page"
    )
    start.add_argument("--student", metavar="ID", help="with the own numbers and shapes of this student")
    start.set_defaults(run=start_)
    reset = actions.add_parser(
        "reset", help="put one function back to its stub; every version is kept, as .bak, .1.bak …"
    )
    reset.add_argument("function", metavar="FUNCTION", help="such as softmax_backward")
    reset.add_argument("path", nargs="?", type=Path, metavar="PATH", help="your folder (default: here, or assignments)")
    reset.set_defaults(run=reset_)
    answers = actions.add_parser("answers", help="for teachers: the answers to the questions on the page")
    answers.add_argument("name", metavar="ASSIGNMENT", help="such as a1")
    answers.set_defaults(run=answers_)
    build = actions.add_parser("build", help="for this project: cut the stubs from the library's source again")
    build.add_argument("--check", action="store_true", help="write nothing; exit with 1 if anything differs")
    build.add_argument("--to", type=Path, default=Path("assignments"), metavar="DIR", help="default: assignments")
    build.set_defaults(run=build_)


def start_(args: argparse.Namespace) -> int:
    """Make the folders and say what to do next."""
    from npsoftmax.grading.classroom import variants
    from npsoftmax.grading.exercises import ASSIGNMENTS
    from npsoftmax.grading.stub_notebook import notebook_name
    from npsoftmax.grading.workspace import start

    chosen = list(dict.fromkeys(map(_assignment, args.names))) or list(ASSIGNMENTS.values())
    if args.student is not None:
        variants.note(args.student)  # refused before anything is written
    made = start(chosen, args.to, args.notebook, formulas=not args.no_formulas)
    if args.student is not None:
        seed = variants.sign(made, args.student)
        print(f"for student {args.student}: numbers and shapes of their own (seed {seed}), which npsoftmax grade takes")
    for assignment, folder in zip(chosen, made, strict=True):
        file = notebook_name(assignment) if args.notebook else assignment.file
        print(f"{folder}: read README.md, write {file}, then type")
        print(f"    npsoftmax grade {assignment.id}{'' if args.to == Path() else f' {args.to}'}")
    return 0


def _assignment(name: str) -> Any:
    """The assignment of that name: "a1" or "a1_softmax"."""
    from npsoftmax.errors import unknown_name
    from npsoftmax.grading.exercises import ASSIGNMENTS

    for assignment in ASSIGNMENTS.values():
        if name.rstrip("/") in (assignment.id, assignment.folder):
            return assignment
    raise unknown_name("assignment", name, ASSIGNMENTS)


def answers_(args: argparse.Namespace) -> int:
    """Print the questions of a page, with answers."""
    from npsoftmax.grading.plain import readable
    from npsoftmax.grading.stubs import answers

    print(readable(answers(_assignment(args.name))), end="")
    return 0


def reset_(args: argparse.Namespace) -> int:
    """Put the function back."""
    from npsoftmax.errors import InputError, unknown_name
    from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES
    from npsoftmax.grading.notebook import notebook_of
    from npsoftmax.grading.student import default_folder, existing_file
    from npsoftmax.grading.workspace import reset

    if args.function not in EXERCISES:
        raise unknown_name("exercise", args.function, EXERCISES)
    exercise = EXERCISES[args.function]
    folder = args.path or default_folder(list(ASSIGNMENTS.values()))
    file = existing_file(folder, exercise)
    if (book := notebook_of(file)) is not None:
        raise InputError(
            f"{book.name} is a notebook: put {exercise.name} back there by hand; the stub as it was is in what "
            f"npsoftmax assignments start {exercise.assignment} --to ANOTHER makes."
        )
    kept = reset(exercise, file)
    print(f"{file}: {exercise.name} is a stub again; the file as it was is {kept.name}")
    return 0


def build_(args: argparse.Namespace) -> int:
    """Write, or compare."""
    from npsoftmax.grading.workspace import build

    differences = build(args.to, args.check)
    for line in differences:
        print(line if args.check else f"{line}: written" if "belongs" not in line else line)
    return 1 if args.check and differences else 0
