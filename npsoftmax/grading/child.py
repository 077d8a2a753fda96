"""The grader's side of the process that runs student code: started, asked, killed, never trusted."""

from __future__ import annotations

import builtins
import contextlib
import inspect
import json
import os
import secrets
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from npsoftmax.errors import InputError
from npsoftmax.grading.pipes import Pipes, ThreadedPipes, TimeIsUp
from npsoftmax.grading.processes import MARK, kill_all
from npsoftmax.grading.wire import MOST, Blobs, Packer, Unpacker, framed

START = 60.0  # seconds for the process to start, on a machine that is busy
HUNG, DIED, GARBAGE = "hung", "died", "garbage"
HEAD = 2**26  # bytes of the line of JSON that a message begins with


class Ended(BaseException):
    """The process hung, died, or sent what is no answer. No answer of a student's: not to be caught as one.

    doing: "starting", "loading" or "running"; how: HUNG, DIED or GARBAGE; calls: how many it had answered before, in
    this exercise; waited: seconds for this one.
    """

    def __init__(self, doing: str, how: str):
        super().__init__(doing, how)
        self.doing, self.how, self.calls, self.waited = doing, how, 0, 0.0


class Child:
    """The process. left: seconds that it may still take for the exercise at hand; calls: what it has answered there."""

    def __init__(self) -> None:
        self.mark = secrets.token_hex(16)
        self.errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        one = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS")}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "npsoftmax.grading.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=os.environ | one | {"PYTHONIOENCODING": "utf-8", MARK: self.mark},
            start_new_session=True,  # so that Ctrl-C comes to us alone
        )
        self.pipes: Pipes | ThreadedPipes = (Pipes if hasattr(select, "poll") else ThreadedPipes)(self.process)
        self.buffer = bytearray()
        self.left, self.calls, self.printed = 0.0, 0, 0
        self.started = self.ended = self.stopped = False

    # ------------------------------------------------------------ bytes
    def _more(self, deadline: float, doing: str) -> None:
        try:
            if self.buffer and time.perf_counter() > deadline:  # it sends, and never comes to an end
                raise TimeIsUp
            chunk = self.pipes.receive(deadline)
        except TimeIsUp:
            raise Ended(doing, HUNG) from None
        if not chunk:
            raise Ended(doing, DIED)
        self.buffer += chunk

    def _receive(self, deadline: float, doing: str) -> tuple[dict[str, Any], Blobs]:
        """The next message. Whatever cannot be read as one ends the process."""
        seen = 0
        while (end := self.buffer.find(b"\n", seen)) < 0:
            seen = len(self.buffer)
            if seen > HEAD:
                raise Ended(doing, GARBAGE)
            self._more(deadline, doing)
        try:
            message = json.loads(self.buffer[:end])
            sizes = message["blobs"]
            if not all(type(size) is int and size >= 0 for size in sizes) or sum(sizes) > 2 * MOST:
                raise ValueError("no sizes")
        except (ValueError, TypeError, KeyError, RecursionError):
            raise Ended(doing, GARBAGE) from None
        del self.buffer[: end + 1]
        while len(self.buffer) < sum(sizes):
            self._more(deadline, doing)
        blobs = []
        for size in sizes:
            blobs.append(bytes(self.buffer[:size]))
            del self.buffer[:size]
        return message, blobs

    def ask(self, request: dict[str, Any], blobs: Blobs, doing: str) -> tuple[dict[str, Any], Blobs]:
        """What it answers to a request. Raises Ended."""
        if not self.started:
            self._receive(time.perf_counter() + START, "starting")
            self.started = True
        start = time.perf_counter()
        try:
            message, back = self._answer(request, blobs, doing, start + self.left)
        except Ended as end:
            self.ended, end.calls, end.waited = True, self.calls, time.perf_counter() - start
            raise
        self.left -= time.perf_counter() - start
        self.calls += 1
        printed = message.get("printed")
        self.printed += printed if isinstance(printed, int) else 0
        return message, back

    def _answer(
        self, request: dict[str, Any], blobs: Blobs, doing: str, deadline: float
    ) -> tuple[dict[str, Any], Blobs]:
        nonce = secrets.token_hex(8)
        try:
            data = framed({**request, "nonce": nonce, "limit": max(self.left, 1e-3)}, blobs)
            self.pipes.send(data, deadline)
        except TimeIsUp:
            raise Ended(doing, HUNG) from None
        except OSError:
            raise Ended(doing, DIED) from None
        message, back = self._receive(deadline, doing)
        if not isinstance(message, dict) or message.get("nonce") != nonce:
            raise Ended(doing, GARBAGE)
        return message, back

    def begin(self, seconds: float) -> None:
        """Give it so many seconds for what comes."""
        self.left, self.calls = seconds, 0

    # ------------------------------------------------------------ the end
    def end(self, how: str) -> tuple[int | None, str]:
        """Kill it and all that it started. Its exit code, None where it was still running, and what stderr holds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2.0 if how == DIED else 0.0)
        code = self.process.poll()
        self._kill()
        self.errors.seek(0)
        trace = self.errors.read(2**20)
        self.stop()
        return code, trace

    def stop(self) -> None:
        """Kill it and all that it started."""
        self._kill()
        self.errors.close()

    def _kill(self) -> None:
        if self.stopped:
            return
        self.stopped = True
        kill_all(self.process, self.mark)
        self.process.wait()
        self.pipes.close()


class Remote:
    """A function in that process: called like any other, its arguments changed in place like any other's.

    seconds: what the last call took, with its repetitions.
    What the student's code raises is raised here, with `frames`, `inside` and `here` of it (worker.told).
    """

    def __init__(
        self, child: Child, target: dict[str, Any], times: int = 1, signature: inspect.Signature | None = None
    ):
        self.child, self.target, self.times, self.seconds = child, target, times, 0.0
        self.__signature__ = signature or inspect.Signature(EVERYTHING)
        self.__name__ = target["name"]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        packer = Packer(layout=True)
        request = {"do": "call", **self.target, "times": self.times, "args": packer.pack(([*args], kwargs))}
        message, blobs = self.child.ask(request, packer.blobs, "running")
        try:
            raised = exception_of(message["raised"]) if "raised" in message else None
            unpacker = Unpacker(blobs)
            self.seconds = 0.0 if raised else float(message["seconds"])
            result = None if raised else unpacker.unpack(message["result"])
            for number, tree in () if raised else message["changed"]:
                _put(packer.arrays[number], unpacker.unpack(tree))
        except Exception:
            raise Ended("running", GARBAGE) from None
        if raised is not None:
            raise raised
        return result

    def repeated(self, times: int) -> Remote:
        """The same, called so many times at once; what the last call returns comes back."""
        return Remote(self.child, self.target, times, self.__signature__)

    def compiled(self, library: str) -> Remote:
        """The function of this name in a compiled library."""
        return Remote(self.child, {**self.target, "compiled": library})

    def librarys(self, function: Callable[..., Any]) -> Remote:
        """A function of npsoftmax itself, there: where it is given what a student returned, which may crash it."""
        return Remote(self.child, {**self.target, "name": function.__name__, "library": function.__module__})


def is_students(function: Any, error: BaseException) -> bool:
    """Whether an exception out of a call of `function` was raised by it: any, where it runs in this process."""
    return not isinstance(function, Remote) or hasattr(error, "frames")


def _put(array: np.ndarray, value: np.ndarray) -> None:
    """Let an input be what it became."""
    if value.shape != array.shape:
        array.shape = value.shape
    array[...] = value


EVERYTHING = (
    inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
    inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
)


def signature_of(parameters: Any) -> inspect.Signature | None:
    """The signature that worker.parameters told of; None where it makes no sense."""
    with contextlib.suppress(TypeError, ValueError):
        kind, none = inspect.Parameter, inspect.Parameter.empty
        return inspect.Signature([kind(str(n), k, default=None if has else none) for n, k, has in parameters])
    return None


def target(file: str, name: str, borrow: dict[str, str]) -> dict[str, Any]:
    """What a Remote calls; borrow: functions that are the library's meanwhile, and the modules that have them."""
    return {"file": file, "name": name, "borrow": borrow, "compiled": None, "library": None}


# ---------------------------------------------------------------- exceptions
def exception_of(told: dict[str, Any]) -> BaseException:
    """The exception of worker.told: of the nearest type that is known here, under the name that it has there."""
    types, text = [str(kind) for kind in told["types"]], str(told["text"])
    known = next(kind for kind in map(_known, types) if kind is not None)
    name = types[0].rpartition(".")[2]
    made: Any = type(name, (known,), {"__str__": lambda self: text, "__module__": __name__})
    error = made.__new__(made)
    error.args = (text,)
    if isinstance(error, SyntaxError):
        error.msg = text
    error.frames = [(str(file), int(line), str(code)) for file, line, code in told["frames"]]
    error.inside, error.here = str(told["inside"]), told["here"] is True
    return error


def _known(name: str) -> type[BaseException] | None:
    module, _, kind = name.rpartition(".")
    if module == "builtins":
        found = getattr(builtins, kind, None)
        if isinstance(found, type) and issubclass(found, BaseException) and not issubclass(found, BaseExceptionGroup):
            return found
        return None
    return InputError if name == "npsoftmax.errors.InputError" else None
