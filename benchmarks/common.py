"""What the scripts beside this file take from `npsoftmax bench`, in the words of a script that is its own worker."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from npsoftmax.bench import turns, workers
from npsoftmax.bench.machine import describe, machine, version
from npsoftmax.bench.report import table
from npsoftmax.bench.turns import Summary
from npsoftmax.bench.workers import BenchmarkError, Job
from npsoftmax.cli.bench import names_in
from npsoftmax.errors import InputError

__all__ = [
    "BenchmarkError",
    "Job",
    "Summary",
    "describe",
    "entry",
    "machine",
    "name_list",
    "new_file",
    "run_worker",
    "table",
    "take_turns",
    "version",
    "whole_number",
    "write_json",
]


def run_worker(script: str, job: Job) -> dict[str, Any]:
    """Run `job` by `script` in a process of its own with its number of threads."""
    return workers.run_worker(job, (sys.executable, script, "--worker"))


def entry(main: Callable[[Sequence[str]], int], work: Callable[[Job], dict[str, Any]]) -> int:
    """Start a script: as a worker if it was called as one, else for the user. Returns the exit code."""
    try:
        if sys.argv[1:2] == ["--worker"]:
            print(json.dumps(work(json.loads(sys.argv[2]))))
            return 0
        return main(sys.argv[1:])
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def take_turns(
    cases: Iterable[turns.Case], rounds: int, measure: Callable[..., float], unit: str
) -> dict[turns.Case, Summary]:
    """Measure every case once in each round (A B C A B C …), and show the progress on standard error."""

    def tell(number: int, case: turns.Case, value: float) -> None:
        print(f"round {number}/{rounds}  {' '.join(case)}  {value:.1f} {unit}", file=sys.stderr)

    return {case: turns.summary(values) for case, values in turns.take_turns(cases, rounds, measure, tell).items()}


# ---------------------------------------------------------------- options and files
SPEEDRUNS = ("speedrun/cifar100_75", "speedrun/speednet")  # recipes that speedrun_torch.py is a program of


def new_file(text: str) -> Path:
    """A path that can be written once the figures are there: its folder must exist now."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is no file in a folder that exists.")
    return path


def name_list(kind: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    """'a,b' -> ('a', 'b'), each once; argparse's error for a name that is not known."""
    try:
        return names_in(text, kind, known)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def whole_number(least: int) -> Callable[[str], int]:
    """What argparse calls to read a whole number of at least `least`."""

    def read(text: str) -> int:
        if not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {least}.")
        return int(text)

    return read


def write_json(args: argparse.Namespace, figures: dict[str, Any]) -> None:
    """Save the figures and the options behind them where --json says, if it was given."""
    if args.json is None:
        return
    settings = {name: value for name, value in vars(args).items() if name != "json"}
    try:
        args.json.write_text(json.dumps({**figures, "settings": settings}, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise BenchmarkError(f"cannot write {args.json}: {error.strerror}; choose another --json.") from error
