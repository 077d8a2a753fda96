"""Versions, machine and commit of a run: what env.json says of where it was made."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from npsoftmax._version import __version__
from npsoftmax.backend import Backend
from npsoftmax.host import blas_in_use, get_threads, processor
from npsoftmax.kernels import compiled_status


def environment(backend: Backend) -> dict[str, Any]:
    """Versions and machine, for env.json."""
    import numpy
    import scipy

    versions = {"npsoftmax": __version__, "python": platform.python_version(), "numpy": numpy.__version__}
    machine = {
        "platform": platform.platform(),
        "processor": processor(),
        "cpus": os.cpu_count(),
        "threads": get_threads(),
    }
    return {
        **versions,
        "scipy": scipy.__version__,
        **machine,
        "backend": backend.name,
        "kernels": compiled_status()[1],
        "blas": blas_in_use(),
        **backend.describe(),
        "commit": _commit(),
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%d %H:%M:%S%z"),
    }


def _commit() -> str | None:
    """The commit of the source that runs, with a + where its files differ from it; None where git knows of none."""
    here = Path(__file__).parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", here, *words], capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None
