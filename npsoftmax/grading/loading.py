"""Running a student's file as a module."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def load(path: Path) -> ModuleType:
    """Run a student's file and return its module. Raises whatever it raises."""
    if str(path.parent) not in sys.path:  # last: a file of theirs called random.py must not replace Python's
        sys.path.append(str(path.parent))
    return module_of(path, f"student_{path.parent.name}_{path.stem}")


def module_of(path: Path, name: str) -> ModuleType:
    """Run a file, in Python or compiled, as a module of this name."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no file that Python can run")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and their like look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def what_stands(value: Any) -> str:
    """What a file has under the name of an exercise, None for nothing: "nothing", "no function", "the library's" or
    "a function"."""
    if value is None:
        return "nothing"
    if not callable(value):
        return "no function"
    return "the library's" if (getattr(value, "__module__", None) or "").startswith("npsoftmax.") else "a function"
