"""The exercise in Cython, compiled in the student's folder: the same source, first in Python, then as machine code."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.machinery
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from npsoftmax.grading.child import Remote
from npsoftmax.grading.loading import module_of
from npsoftmax.grading.report import shortened

SECONDS = 300.0  # for the compiler, on a machine that is busy


TYPED = 25.0  # times as fast as in Python: with types it is 90 to 700, with none in the loops 1 to 11
NO_CYTHON = 'this machine has no Cython, type: pip install "npsoftmax[grade]"'
NO_COMPILER = (
    "this machine has no C compiler, which Cython needs, type: sudo apt install gcc python3-dev (Debian, Ubuntu) or "
    "xcode-select --install (macOS); for Windows it is in a3_conv/README.md, step 7"
)
MISSING = r"vcvarsall|Microsoft Visual C\+\+|unable to execute|No such file or directory"


class CompileError(Exception):
    """Why there is no compiled function; the text is for the student."""


class CannotCompile(CompileError):
    """This machine lacks what it takes, whatever the student wrote."""


def compiled_function(file: Path, name: str) -> Callable[..., Any]:
    """The function `name` of a file in Cython's pure-Python mode, as machine code. Raises CompileError."""
    return getattr(module_of(build(file), file.stem), name)


def build(file: Path) -> Path:
    """The library that Cython makes of a file; nothing of it is run. Raises CompileError.

    What is built stays in __pycache__ beside the file, under the hash of its text: it is compiled once a version.
    Within shared_builds it goes to one folder for all.
    """
    text = file.read_bytes()
    place = _shared[-1] if _shared else file.parent / "__pycache__"
    folder = place / f"cython-{file.stem}-{hashlib.sha256(text).hexdigest()[:16]}"
    with _building[folder]:  # who hands in the same waits for it
        if _library(folder, file.stem) is None:
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=place) as building:
                source = Path(building) / file.name
                source.write_bytes(text)
                _cythonize(source)
                with contextlib.suppress(OSError):  # another process was as fast
                    Path(building).rename(folder)
                    Path(building).mkdir()
    library = _library(folder, file.stem)
    if library is None:
        raise CompileError("Cython wrote no library")
    return library


@contextlib.contextmanager
def shared_builds() -> Iterator[None]:
    """Within it, what many students hand in alike is compiled once."""
    with tempfile.TemporaryDirectory(prefix="npsoftmax-", ignore_cleanup_errors=True) as folder:
        _shared.append(Path(folder))
        try:
            yield
        finally:
            _shared.remove(Path(folder))


_shared: list[Path] = []
_building: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)


def _library(folder: Path, stem: str) -> Path | None:
    suffixes = importlib.machinery.EXTENSION_SUFFIXES
    return next((p for suffix in suffixes if (p := folder / f"{stem}{suffix}").is_file()), None)


def _cythonize(source: Path) -> None:
    command = [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-3", source.name]
    try:
        # Light optimisation is enough to see what types do, and halves the wait.
        flags = os.environ | {"CFLAGS": f"{os.environ.get('CFLAGS', '')} -O1 -g0"}
        done = subprocess.run(command, cwd=source.parent, capture_output=True, text=True, timeout=SECONDS, env=flags)
    except subprocess.TimeoutExpired as error:
        raise CompileError(f"the compiler took more than {SECONDS:g} seconds") from error
    if done.returncode:
        text = done.stdout + done.stderr
        if "No module named 'Cython" in text:
            raise CannotCompile(NO_CYTHON)
        if re.search(MISSING, text):
            raise CannotCompile(NO_COMPILER)
        raise CompileError(_first_error(text))


def _first_error(text: str) -> str:
    """The lines of Cython's or the compiler's output that say what is wrong."""
    lines = [line.strip() for line in text.splitlines() if "rror" in line and "Traceback" not in line]
    return shortened(" ".join(lines[:2]) or text[-300:])


class Repeated:
    """A function, called so many times at once; `seconds` that took together. A Remote.repeated of this process."""

    def __init__(self, function: Callable[..., Any], times: int):
        self.function, self.times, self.seconds = function, times, 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        start = time.perf_counter()
        for _ in range(self.times):
            self.function(*args, **kwargs)
        self.seconds = time.perf_counter() - start


def speed_up(run: Callable[[Callable[..., Any]], Any], slow: Callable[..., Any], fast: Callable[..., Any]) -> float:
    """How many times as fast the second runs as the first; `run` calls a function on the inputs.

    The best of several rounds of both, in turn: another program on the machine slows down some of them.
    """
    rounds = [(_seconds(run, slow, 1), _seconds(run, fast, 10)) for _ in range(5)]
    best_slow, best_fast = (min(times) for times in zip(*rounds, strict=True))
    return best_slow / max(best_fast, 1e-9)


def _seconds(run: Callable[[Callable[..., Any]], Any], function: Callable[..., Any], times: int) -> float:
    timed = function.repeated(times) if isinstance(function, Remote) else Repeated(function, times)
    run(timed)
    return timed.seconds / times


def has_types(file: Path, name: str) -> bool:
    """Whether anything inside the function `name` has a type of Cython's: a counter, or what a decorator declares."""
    tree = ast.parse(file.read_text(encoding="utf-8-sig"))
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name == name:
            said = "\n".join(ast.unparse(part) for part in (*function.body, *function.decorator_list))
            return any(word in said for word in ("cython.declare", "cython.locals", "infer_types", ": cython."))
    return False
