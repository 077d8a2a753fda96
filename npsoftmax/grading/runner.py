"""Student code in a process of its own, with a time limit: started once, and again after every kill or crash."""

from __future__ import annotations

import contextlib
import json
import linecache
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from npsoftmax.grading import compiled
from npsoftmax.grading.exercises import SEED, Exercise
from npsoftmax.grading.report import assemble, line_fact

Facts = list[tuple[str, str]]
LIMIT = 10.0  # seconds for one exercise
COMPILING = 1.1 * compiled.SECONDS
START = 60.0  # for the process to start, on a machine that is busy


@dataclass
class Child:
    """The process that runs student code: what it is asked, what it answers, and what it writes to stderr."""

    process: subprocess.Popen[str]
    requests: IO[str]
    answers: queue.Queue[str | None]
    errors: IO[str]


class Runner:
    """Grades the exercises of one student, one after the other. A context manager: its process ends with it."""

    def __init__(self, seed: int = SEED, limit: float = LIMIT):
        self.seed, self.limit = seed, limit
        self.child: Child | None = None
        self.dead: dict[Path, Facts] = {}  # files that killed the process while they were loaded

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def grade(self, exercise: Exercise, file: Path | None) -> dict[str, Any]:
        """The verdict as a dict: state, report, cause, mistake, wrong, note, printed, seconds."""
        if file is None:
            return _verdict("not started", note="there is no file for it")
        if file in self.dead:
            return self._stopped(exercise, self.dead[file])
        request = {"exercise": exercise.name, "file": str(file), "seed": self.seed, "limit": self.limit}
        child = self.child or self._start()
        try:
            answer, at = self._ask(child, request)
        except OSError:  # it died between two exercises
            self.stop()
            child = self._start()
            answer, at = self._ask(child, request)
        if answer is not None:
            return _verdict(**answer)
        return self._ended(child, exercise, file, at)

    # ------------------------------------------------------------ the process
    def _start(self) -> Child:
        errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 (until stop)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "npsoftmax.grading.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
            start_new_session=True,  # so that a kill takes its children along, and Ctrl-C comes to us alone
        )
        assert process.stdin is not None and process.stdout is not None, "both were asked for"
        answers: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_read, args=(process.stdout, answers), daemon=True).start()
        self.child = Child(process, process.stdin, answers, errors)
        return self.child

    def _ask(self, child: Child, request: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
        """The answer, or None where the process hung or died; and what it was doing last."""
        child.requests.write(json.dumps(request) + "\n")
        child.requests.flush()
        at, patience = "starting", START
        while True:
            try:
                line = child.answers.get(timeout=patience)
            except queue.Empty:
                return None, at
            if line is None:
                return None, at
            answer = json.loads(line)
            if "state" in answer:
                return answer, at
            at = answer["at"]
            patience = COMPILING if at == "compiling" else self.limit

    def stop(self) -> None:
        """Kill the process and whatever it started."""
        if self.child is None:
            return
        child, self.child = self.child, None
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(child.process.pid, signal.SIGKILL)
            else:
                child.process.kill()
        child.process.wait()
        child.requests.close()
        child.errors.close()

    def _ended(self, child: Child, exercise: Exercise, file: Path, at: str) -> dict[str, Any]:
        """The verdict on code that never answered; the process is started again for the next exercise."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(0.5 if child.answers.empty() else 0.1)
        code = child.process.poll()
        child.errors.seek(0)
        trace = child.errors.read()
        self.stop()
        doing = "while it was imported" if at == "loading" else "while it ran"
        if code is None:
            fact = ("stopped", f"no answer within {self.limit:g} seconds {doing}: an infinite loop?")
        elif code >= 0:
            fact = ("stopped", f"the whole process ended with exit code {code} {doing}: does it call os._exit or quit?")
        else:
            fact = ("crashed", f"the whole process was killed by {_signal_name(-code)} {doing}")
        facts = [fact, *_place(trace, file)]
        if at == "loading":
            self.dead[file] = facts
        return self._stopped(exercise, facts)

    def _stopped(self, exercise: Exercise, facts: Facts) -> dict[str, Any]:
        report = assemble(exercise, "", "", facts, [], self.seed)
        return _verdict("wrong", report=report, cause=facts[0][1])


def _verdict(state: str, **more: Any) -> dict[str, Any]:
    empty = {"report": "", "cause": "", "mistake": "", "wrong": (), "note": "", "printed": 0, "seconds": 0.0}
    return {"state": state, **empty, **more}


def _read(stream: Any, answers: queue.Queue[str | None]) -> None:
    with contextlib.suppress(ValueError, OSError):  # closed by stop()
        for line in stream:
            answers.put(line)
    answers.put(None)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _place(trace: str, file: Path) -> list[tuple[str, str]]:
    """The innermost line of the student's file in what faulthandler wrote."""
    found = re.search(rf'File "{re.escape(str(file))}", line (\d+)', trace)
    if found is None:
        return []
    number = int(found[1])
    linecache.checkcache(str(file))
    return [line_fact(str(file), number)]
