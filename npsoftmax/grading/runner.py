"""The exercises of one student, graded in order: their code in a process of its own, the verdict in this one."""

from __future__ import annotations

import importlib.util
import linecache
import re
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from npsoftmax.grading.check import FAILED, NOT_STARTED, WRONG, Verdict, check, grader_failed, not_judged
from npsoftmax.grading.child import DIED, GARBAGE, Child, Ended, Remote, exception_of, signature_of, target
from npsoftmax.grading.compiled import NO_CYTHON
from npsoftmax.grading.exercises import SEED, Exercise
from npsoftmax.grading.flags import flags
from npsoftmax.grading.inline import judged_here
from npsoftmax.grading.loading import load, what_stands
from npsoftmax.grading.report import assemble, exception_facts, line_fact
from npsoftmax.grading.student import borrowed
from npsoftmax.grading.worker import BROKEN

Facts = list[tuple[str, str]]
LIMIT = 10.0  # seconds for one exercise
NO_PROCESSES = ("emscripten", "wasi")  # systems, such as a browser, where a program cannot start another


class Runner:
    """Grades the exercises of one student, one after the other. A context manager: its process ends with it."""

    def __init__(self, seed: int = SEED, limit: float = LIMIT):
        self.seed, self.limit = seed, limit
        self.child: Child | None = None
        self.loaded: dict[Path, ModuleType] = {}  # in this process, where there is no other
        self.dead: dict[Path, tuple[str, Facts, str]] = {}  # files that cannot be loaded, or kill the process meanwhile

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def grade(self, exercise: Exercise, file: Path | None) -> dict[str, Any]:
        """The verdict as a dict: state, report, cause, mistake, wrong, note, printed, seconds, flags."""
        if file is None:
            return _verdict("not started", note="there is no file for it")
        start, printed, marked = time.perf_counter(), 0, []
        try:
            marked = flags(file, exercise)
            if sys.platform in NO_PROCESSES:
                verdict = self._here(exercise, file)
            else:
                verdict, printed = self._there(exercise, file)
        except Exception as error:
            self.stop()
            verdict = grader_failed(exercise, error, self.seed)
        if verdict.cause.startswith(FAILED):
            marked.append(f"{verdict.cause}: mark it by hand")
        seconds = round(time.perf_counter() - start, 3)
        return _verdict(**vars(verdict), printed=printed, seconds=seconds, flags=tuple(marked))

    def _there(self, exercise: Exercise, file: Path) -> tuple[Verdict, int]:
        """The verdict on code in the other process, and how many characters it printed."""
        child = self._child()
        child.printed = 0
        try:
            verdict = self._graded(child, exercise, file)
        except Ended as end:
            verdict = self._ended(child, end, exercise, file)
        return verdict, child.printed

    def _here(self, exercise: Exercise, file: Path) -> Verdict:
        """The verdict on code that runs in this process, where there is no other: without a time limit."""
        if exercise.compiled:
            return self._uncompiled(exercise, file)
        if file in self.dead:
            return self._broken(exercise, *self.dead[file])
        if file not in self.loaded:
            try:
                self.loaded[file] = load(file)
            except Exception as error:
                return self._unloadable(error, exercise, file)
        function: Any = getattr(self.loaded[file], exercise.name, None)
        unusable = self._unusable(what_stands(function), type(function).__name__, exercise, file)
        return judged_here(exercise, function, self.seed) if unusable is None else unusable

    def stop(self) -> None:
        """Kill the process and whatever it started."""
        if self.child is not None:
            self.child.stop()
        self.child = None

    def _child(self) -> Child:
        if self.child is not None and self.child.process.poll() is not None:  # it died between two exercises
            self.stop()
        self.child = self.child or Child()
        return self.child

    def _graded(self, child: Child, exercise: Exercise, file: Path) -> Verdict:
        if exercise.compiled and importlib.util.find_spec("cython") is None:  # the file could not even be loaded
            return self._uncompiled(exercise, file)
        function = self._function(child, exercise, file)
        if isinstance(function, Verdict):
            return function
        child.begin(self.limit)
        verdict = check(exercise, function, self.seed, file=str(file))
        if child.ended:  # when the verdict was clear, and only its cause was looked for
            self.stop()
            return verdict
        child.begin(self.limit)
        child.ask({"do": "rest"}, [], "running")  # what else it sent belongs to this exercise, not to the next
        return verdict

    def _function(self, child: Child, exercise: Exercise, file: Path) -> Remote | Verdict:
        """The function in the student's file, or the verdict on what stands there instead."""
        if file in self.dead:
            return self._broken(exercise, *self.dead[file])
        child.begin(self.limit)
        message, _ = child.ask({"do": "load", "file": str(file), "name": exercise.name}, [], "loading")
        if "raised" in message:
            try:
                error = exception_of(message["raised"])
            except Exception:
                raise Ended("loading", GARBAGE) from None
            return self._unloadable(error, exercise, file)
        unusable = self._unusable(message.get("found"), str(message.get("type")), exercise, file)
        if unusable is not None:
            return unusable
        signature = signature_of(message.get("parameters"))
        return Remote(child, target(str(file), exercise.name, borrowed(exercise)), signature=signature)

    # ------------------------------------------------------------ what could not be tried
    def _uncompiled(self, exercise: Exercise, file: Path) -> Verdict:
        """The verdict without Cython: only whether the stub still stands can be seen."""
        text = file.read_text(encoding="utf-8", errors="replace")
        stub = f'NotImplementedError("{exercise.assignment} {exercise.name}")' in text
        return Verdict(NOT_STARTED) if stub else not_judged(exercise, NO_CYTHON, self.seed)

    def _unloadable(self, error: BaseException, exercise: Exercise, file: Path) -> Verdict:
        facts = exception_facts(error, str(file))
        self.dead[file] = "the file cannot be loaded", facts, "; ".join(text for _, text in facts)
        return self._broken(exercise, *self.dead[file])

    def _unusable(self, found: Any, kind: str, exercise: Exercise, file: Path) -> Verdict | None:
        """The verdict on what is no function of the student's; None where it is one (loading.what_stands)."""
        if found == "nothing":
            return Verdict(NOT_STARTED, note=f"{file.name} has no function {exercise.name}")
        if found == "no function":
            fact = f"{exercise.name} is of type {kind}, but a function is needed"
            return self._broken(exercise, "", [("found", fact)], fact)
        if found == "the library's":
            fact = f"{exercise.name} is the library's own function, imported: write it yourself"
            return self._broken(exercise, "", [("found", fact)], fact)
        return None

    def _broken(self, exercise: Exercise, verdict: str, facts: Facts, cause: str) -> Verdict:
        return Verdict(WRONG, assemble(exercise, verdict, "", facts, [], self.seed), cause)

    def _ended(self, child: Child, end: Ended, exercise: Exercise, file: Path) -> Verdict:
        """The verdict on code that never answered; the process is started again for the next exercise."""
        code, trace = child.end(end.how)
        self.stop()
        doing = "while it was imported" if end.doing == "loading" else "while it ran"
        if code == BROKEN or end.doing == "starting":
            return grader_failed(exercise, RuntimeError(_last(trace)), self.seed)
        if end.how == GARBAGE or (end.how == DIED and code is None):
            text = f"what came back could not be read {doing}: does it write to files that it did not open?"
            facts = [("crashed", text)]
        elif code is None:
            facts = [("stopped", self._too_long(end, doing))]
        elif code >= 0:
            facts = [("stopped", f"the whole process ended with exit code {code} {doing}{_what_ends(file)}")]
        else:
            facts = [("crashed", f"the whole process was killed by {_signal_name(-code)} {doing}")]
        facts += _place(trace, file)
        if end.doing == "loading":
            self.dead[file] = "", facts, facts[0][1]
        return self._broken(exercise, "", facts, facts[0][1])

    def _too_long(self, end: Ended, doing: str) -> str:
        if end.waited > self.limit / 2 or not end.calls:
            return f"no answer within {self.limit:g} seconds {doing}: an infinite loop?"
        return f"no answer within {self.limit:g} seconds: it was called {end.calls + 1} times, each of which took long"


def _verdict(state: str, **more: Any) -> dict[str, Any]:
    empty = {
        "report": "",
        "cause": "",
        "mistake": "",
        "wrong": (),
        "note": "",
        "printed": 0,
        "seconds": 0.0,
        "flags": (),
    }
    return {"state": state, **empty, **more}


def _what_ends(file: Path) -> str:
    """The calls in a file that end a process, as a question: "" where there is none."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = [
        name for name in ("os._exit", "quit", "exit", "os.kill") if re.search(rf"(?<![\w.]){re.escape(name)}\(", text)
    ]
    return f": it calls {' and '.join(found)}" if found else ""


def _last(trace: str) -> str:
    """The last line of a traceback."""
    return (trace.strip().splitlines() or ["the process that runs student code ended without a word"])[-1]


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
