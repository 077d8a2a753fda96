"""The process that runs student code: reads one request a line, answers with one line of JSON each.

What students print goes nowhere and is counted; what they read is empty. A line {"at": …} is sent before their code
runs, so that the parent knows what hung or crashed. `faulthandler` writes the line of the hang or the crash to stderr,
which the parent keeps.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from npsoftmax.grading.check import NOT_STARTED, WRONG, Verdict, check
from npsoftmax.grading.exercises import EXERCISES, Exercise
from npsoftmax.grading.report import assemble, exception_facts
from npsoftmax.grading.student import alone, load

MEMORY = 8 * 2**30  # bytes that student code may ask for
BEFORE_THE_END = 0.6  # of the time limit: when the place of a hang is written down


class Counter(io.TextIOBase):
    """Where prints go: nowhere, but their length is known."""

    def __init__(self) -> None:
        self.count = 0

    def write(self, text: str) -> int:
        self.count += len(text)
        return len(text)

    def writable(self) -> bool:
        return True


class Worker:
    """Answers requests {"exercise", "file", "seed", "limit"}; the line of a hang is written to `places`."""

    def __init__(self, answers: Any, places: Any, printed: Counter):
        self.answers, self.places, self.printed = answers, places, printed
        self.modules: dict[str, Any] = {}  # path -> module, or the exception that loading it raised

    def send(self, **message: Any) -> None:
        self.answers.write(json.dumps(message) + "\n")
        self.answers.flush()

    def serve(self, requests: Any) -> None:
        for line in requests:
            request = json.loads(line)
            exercise, file = EXERCISES[request["exercise"]], request["file"]
            faulthandler.dump_traceback_later(request["limit"] * BEFORE_THE_END, file=self.places)
            start, self.printed.count = time.perf_counter(), 0
            if file not in self.modules:
                self.send(at="loading")
                self._load(file)
            self.send(at="running")
            verdict = self._check(exercise, file, request["seed"])
            faulthandler.cancel_dump_traceback_later()
            self.send(**vars(verdict), printed=self.printed.count, seconds=round(time.perf_counter() - start, 3))

    def _load(self, file: str) -> None:
        try:
            self.modules[file] = load(Path(file))
        except BaseException as error:  # sys.exit at the top of a file, too
            self.modules[file] = error

    def _check(self, exercise: Exercise, file: str, seed: int) -> Verdict:
        module = self.modules[file]
        if isinstance(module, NotImplementedError):
            return Verdict(NOT_STARTED)
        if isinstance(module, BaseException):
            return broken(exercise, "the file cannot be loaded", exception_facts(module, file), seed)
        function = getattr(module, exercise.name, None)
        if function is None:
            return Verdict(NOT_STARTED, note=f"{Path(file).name} has no function {exercise.name}")
        if not callable(function):
            fact = ("found", f"{exercise.name} is of type {type(function).__name__}, but a function is needed")
            return broken(exercise, "", [fact], seed)
        if (getattr(function, "__module__", None) or "").startswith("npsoftmax."):
            fact = ("found", f"{exercise.name} is the library's own function, imported: write it yourself")
            return broken(exercise, "", [fact], seed)
        with alone(module, exercise):
            return check(exercise, function, seed, file=file, tell=lambda what: self.send(at=what))


def broken(exercise: Exercise, verdict: str, facts: list[tuple[str, str]], seed: int) -> Verdict:
    """The verdict on code that could not be tried at all."""
    return Verdict(WRONG, assemble(exercise, verdict, "", facts, [], seed), "; ".join(text for _, text in facts))


def main() -> None:
    """Serve until the requests end."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    places = os.fdopen(os.dup(2), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    faulthandler.enable(places)
    printed = Counter()
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 (for good)
    sys.stdout = sys.stderr = printed
    warnings.simplefilter("ignore")
    Worker(answers, places, printed).serve(requests)


if __name__ == "__main__":
    main()
