"""The process that runs student code, and nothing else: it is sent inputs, and sends back what came of them.

Design: what is right is not known here, nor the seed; the parent judges. So a student's code may look around in this
process, or change it, and finds no verdict to change. What students print goes nowhere and is counted; what they read
is empty. `faulthandler` writes the line of a hang or a crash to stderr, which the parent keeps.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import inspect
import io
import json
import os
import sys
import traceback
import warnings
from pathlib import Path
from time import perf_counter as clock
from typing import Any

import numpy as np

from npsoftmax.grading.loading import load, module_of, what_stands
from npsoftmax.grading.processes import MARK, keep
from npsoftmax.grading.wire import Blobs, Packer, Unpacker, framed

MEMORY = 8 * 2**30  # bytes that student code may ask for
BROKEN = 70  # the exit code where it is this file that failed
BEFORE_THE_END = 0.6  # of the time limit: when the place of a hang is written down


class Counted(io.RawIOBase):
    """Where prints go: nowhere, but their length is known."""

    count = 0

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.count += size
        return size

    def writable(self) -> bool:
        return True


class Worker:
    """Answers requests: {"do": "load", …}, {"do": "call", …}, and {"do": "rest"} between two exercises."""

    def __init__(self, answers: Any, places: Any, printed: Counted):
        self.answers, self.places, self.printed = answers, places, printed
        self.modules: dict[str, Any] = {}  # path -> module
        self.borrowed: tuple[Any, dict[str, Any], list[str]] | None = None

    def serve(self, requests: Any) -> None:
        """Answer until the requests end."""
        self._send({"ready": True}, [])
        for line in requests:
            request = json.loads(line)
            blobs = [requests.read(size) for size in request["blobs"]]
            faulthandler.dump_traceback_later(request["limit"] * BEFORE_THE_END, file=self.places)
            self.printed.count = 0
            function: Any = None
            back: Blobs = []
            try:
                if request["do"] == "load":
                    answer = self._load(request)
                elif request["do"] == "rest":
                    answer = {}
                else:
                    function = self._function(request)
                    answer, back = self._call(function, request, blobs)
            except BaseException as error:  # sys.exit and KeyboardInterrupt are a student's mistakes too
                answer = {"raised": told(error, function)}
            faulthandler.cancel_dump_traceback_later()
            with contextlib.suppress(Exception):
                sys.stdout.flush()
            self._send({**answer, "nonce": request["nonce"], "printed": self.printed.count}, back)

    def _send(self, answer: dict[str, Any], blobs: Blobs) -> None:
        self.answers.write(framed(answer, blobs))
        self.answers.flush()

    # ------------------------------------------------------------ requests
    def _load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run a file. found: what stands in it under the name."""
        file, name = request["file"], request["name"]
        self._give_back()
        if file not in self.modules:
            with warnings.catch_warnings():
                self.modules[file] = load(Path(file))
        value = getattr(self.modules[file], name, None)
        found = {"found": what_stands(value), "type": type(value).__name__}
        return found | ({"parameters": parameters(value)} if callable(value) else {})

    def _call(self, function: Any, request: dict[str, Any], blobs: Blobs) -> tuple[dict[str, Any], Blobs]:
        """Call a function, `times` times. result: what it returned last; changed: the inputs that it changed."""
        unpacker = Unpacker(blobs, layout=True)
        args, kwargs = unpacker.unpack(request["args"])
        before = {number: (array.shape, array.tobytes()) for number, array in unpacker.arrays.items()}
        result = None
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = clock()
            for _ in range(request["times"]):
                result = function(*args, **kwargs)
            seconds = clock() - start
            packer = Packer()
            tree = packer.pack(result)
        changed = []
        for number, array in unpacker.arrays.items():
            if (array.shape, array.tobytes()) != before[number]:
                changed.append([number, packer.pack(array)])
        return {"result": tree, "changed": changed, "seconds": seconds}, packer.blobs

    def _function(self, request: dict[str, Any]) -> Any:
        if request["library"] is not None:  # the library's own, on what a student returned
            return getattr(importlib.import_module(request["library"]), request["name"])
        if request["compiled"] is not None:
            path = request["compiled"]
            if path not in self.modules:
                self.modules[path] = module_of(Path(path), Path(request["file"]).stem)
            return getattr(self.modules[path], request["name"])
        module = self.modules[request["file"]]
        self._borrow(module, request["borrow"])
        return getattr(module, request["name"])

    # ------------------------------------------------------------ the other exercises are the library's
    def _borrow(self, module: Any, names: dict[str, str]) -> None:
        """Put the library's functions in the place of the student's: name -> the library's module."""
        if self.borrowed is not None and self.borrowed[0] is module and self.borrowed[2] == list(names):
            return
        self._give_back()
        own = {name: vars(module)[name] for name in names if name in vars(module)}
        vars(module).update({name: getattr(importlib.import_module(names[name]), name) for name in own})
        self.borrowed = module, own, list(names)

    def _give_back(self) -> None:
        if self.borrowed is not None:
            module, own, _ = self.borrowed
            vars(module).update(own)
            self.borrowed = None


def parameters(function: Any) -> list[list[Any]] | None:
    """Name, kind and whether there is a default of each parameter; None where Python cannot tell."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return [[p.name, int(p.kind), p.default is not p.empty] for p in found]


def told(error: BaseException, function: Any) -> dict[str, Any]:
    """An exception in words: its types, its text, and the lines that it came through.

    inside: the function that raised it; here: whether that is `function` itself.
    """
    try:
        text = str(error.msg if isinstance(error, SyntaxError) else error)[:10_000]
    except BaseException:  # a student's own class of exceptions
        text = ""
    frames = [
        [frame.filename, frame.lineno, frame.line]
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__
    ]
    if isinstance(error, SyntaxError):
        frames.append([error.filename or "", error.lineno or 0, (error.text or "").strip()])
    code = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
    return {
        "types": [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__],
        "text": text,
        "frames": frames[-50:],
        "inside": code.co_name if code else "",
        "here": code is not None and code is getattr(inspect.unwrap(function), "__code__", None),
    }


def limit_memory() -> None:
    """Less memory than a machine has, and no core files."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Serve until the requests end."""
    limit_memory()
    keep(os.environ.get(MARK, "no mark"))
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    places = os.fdopen(os.dup(2), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    faulthandler.enable(places)
    printed = Counted()
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 (for good)
    # A whole text stream, since students reconfigure() it, or write bytes to its buffer.
    sys.stdout = sys.stderr = io.TextIOWrapper(io.BufferedWriter(printed), "utf-8", "replace")
    try:
        Worker(answers, places, printed).serve(requests)
    except BaseException:
        traceback.print_exc(file=places)
        places.flush()
        os._exit(BROKEN)  # no more of the student's code, such as atexit's


if __name__ == "__main__":
    main()
