"""The compiled modules, each loaded at its first use; where one was not built, the readable reference runs instead."""

from __future__ import annotations

import functools
import importlib
import os
from typing import Any

EXTENSIONS = ("npsoftmax._im2col", "npsoftmax._tree")


@functools.cache
def load_extension(name: str) -> tuple[Any, str]:
    """The compiled module called `name` or None, and why. `NPSOFTMAX_COMPILED=0` switches all off (for tests)."""
    if os.environ.get("NPSOFTMAX_COMPILED", "1") == "0":
        return None, "switched off by NPSOFTMAX_COMPILED=0"
    try:
        return importlib.import_module(name), ""
    except ImportError as error:
        return None, f"not built ({error}); reinstall with a C compiler present to get it"


def compiled_status() -> tuple[bool, str]:
    """Whether all compiled kernels are in use, and one line about them (for `npsoftmax info`)."""
    for name in EXTENSIONS:
        module, reason = load_extension(name)
        if module is None:
            return False, reason
    windows, _ = load_extension("npsoftmax._im2col")
    return True, "compiled, with OpenMP" if windows.has_openmp() else "compiled, without OpenMP (one thread)"
