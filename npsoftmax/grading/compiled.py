"""The exercise in Cython, compiled in the student's folder: the same source, first in Python, then as machine code."""

from __future__ import annotations

import hashlib
import importlib.machinery
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from npsoftmax.grading.report import shortened
from npsoftmax.grading.student import module_of

SECONDS = 300.0  # for the compiler, on a machine that is busy


class CompileError(Exception):
    """Why there is no compiled function; the text is for the student."""


def compiled_function(file: Path, name: str) -> Callable[..., Any]:
    """The function `name` of a file in Cython's pure-Python mode, as machine code. Raises CompileError.

    What is built stays in __pycache__ beside the file, under the hash of its text: it is compiled once a version.
    """
    text = file.read_bytes()
    folder = file.parent / "__pycache__" / f"cython-{hashlib.sha256(text).hexdigest()[:16]}"
    library = _library(folder, file.stem)
    if library is None:
        folder.mkdir(parents=True, exist_ok=True)
        source = folder / file.name
        source.write_bytes(text)
        _cythonize(source)
        library = _library(folder, file.stem)
    if library is None:
        raise CompileError("Cython wrote no library")
    return getattr(module_of(library, file.stem), name)


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
        raise CompileError(_first_error(done.stdout + done.stderr))


def _first_error(text: str) -> str:
    """The lines of Cython's or the compiler's output that say what is wrong."""
    lines = [line.strip() for line in text.splitlines() if "rror" in line and "Traceback" not in line]
    return shortened(" ".join(lines[:2]) or text[-300:])


def speed_up(slow: Callable[[], Any], fast: Callable[[], Any]) -> float:
    """How many times as fast the second runs as the first."""
    fast()
    times = []
    for function, repeats in ((slow, 1), (fast, 20)):
        start = time.perf_counter()
        for _ in range(repeats):
            function()
        times.append((time.perf_counter() - start) / repeats)
    return times[0] / max(times[1], 1e-9)
