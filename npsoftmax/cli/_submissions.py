"""Hand-ins graded for tables, tools and Gradescope: written as UTF-8 whatever the console is, a student at a time."""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from npsoftmax.cli._surroundings import INTERRUPTED


def table(args: argparse.Namespace, exercises: list[Any]) -> int:
    """`--csv FOLDER`: a row a student as each ends, to --out or the console; 130 where Ctrl-C ended it."""
    from npsoftmax.grading.gradebook import csv_head, csv_row, grade_submissions, score

    as_json = args.json or (args.out is not None and args.out.suffix.lower() == ".json")
    store = args.out and args.out.with_name(f"{args.out.name}.graded")
    graded = grade_submissions(
        args.csv, exercises, args.seed, args.time_limit, hidden=args.hidden, store=store, tell=_tell
    )
    many = 0
    with _target(args.out, as_json) as out, _listed(out) if as_json else contextlib.nullcontext() as put:
        if put is None:
            out.write(csv_head(exercises))
        try:
            for one in graded:
                reached, possible = score(one.rows)
                if put is None:
                    out.write(csv_row(one))
                else:
                    entry = {"submission": one.submission, "student": one.student, "points": reached, "of": possible}
                    put({**entry, "remark": one.remark, "file": one.file, "rows": one.rows})
                out.flush()
                many += 1
                _tell(f"{one.submission}: {reached} of {possible}")
        except KeyboardInterrupt:
            words = shlex.join(["npsoftmax", *args.words])
            kept = f"{many} are in {args.out}; to go on, type again: {words}" if args.out else f"{many} were printed"
            _tell(f"stopped: {kept}" + ("" if args.out else f"; what can go on is: {words} --out FILE"))
            return INTERRUPTED
    return 0


def gradescope(args: argparse.Namespace, wanted: Callable[[], tuple[list[Any], Path]]) -> int:
    """`--gradescope FILE`: always a results file, and 0; what went wrong is said in it."""
    from npsoftmax.grading.gradebook import grade_alone, to_gradescope

    _results(args.gradescope, failed_results("the autograder was ended before it had graded everything"))
    try:
        exercises, path = wanted()
        graded = grade_alone(path, exercises, args.seed, args.time_limit, args.hidden)
        results = to_gradescope(graded.rows, graded.remark)
        if args.json:
            with json_list() as put:
                for row in graded.rows:
                    put(row)
    except Exception as error:
        results = failed_results(f"the autograder failed ({type(error).__name__}: {error})")
    _results(args.gradescope, results)
    _tell(results["output"])
    return 0


def failed_results(why: str) -> dict[str, Any]:
    """Gradescope's results where nothing was graded."""
    return {"score": 0, "output": f"{why}. This is not your fault: tell your teacher.", "tests": []}


def _results(file: Path, results: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=2) + "\n"
    file.write_text(text, encoding="utf-8")


# ---------------------------------------------------------------- where it is written
@contextlib.contextmanager
def _target(out: Path | None, as_json: bool) -> Iterator[TextIO]:
    """The console, or a file: with a byte-order mark where Excel may open it, which takes it for Latin-1 without."""
    if out is None:
        yield _utf8(sys.stdout)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    encoding = "utf-8" if as_json or out.suffix.lower() != ".csv" else "utf-8-sig"
    with out.open("w", encoding=encoding, errors="backslashreplace", newline="") as file:
        yield file


def _utf8(stream: Any) -> Any:
    """A text stream that writes UTF-8, whatever the code page of the console is."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    return stream


@contextlib.contextmanager
def json_list() -> Iterator[Any]:
    """`put` of entries of a JSON list on the console, each written as it comes."""
    with _listed(_utf8(sys.stdout)) as put:
        yield put


@contextlib.contextmanager
def _listed(out: TextIO) -> Iterator[Any]:
    many = 0

    def put(entry: dict[str, Any]) -> None:
        nonlocal many
        text = json.dumps(entry, indent=2, ensure_ascii=False)
        out.write(("," if many else "[") + "\n" + textwrap.indent(text, "  "))
        out.flush()
        many += 1

    try:
        yield put
    finally:
        out.write("\n]\n" if many else "[]\n")


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
