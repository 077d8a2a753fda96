"""How the tests start several processes, and wait for them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# mpiexec of this environment first: it belongs to the MPI that mpi4py finds.
MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
MOST_SECONDS = 120  # what takes longer hangs


def start(n, *words, **options):
    """`python words…` in n processes, its words to be read from the pipes."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"} | options.pop("env", {})
    command = [MPIEXEC, "-n", str(n), sys.executable, *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes, **options)


def ended(process, seconds=MOST_SECONDS):
    """Exit code, standard output and standard error, once it has ended."""
    try:
        out, error = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, error = process.communicate()
        pytest.fail(f"it hung:\n{out}\n{error}")
    return process.returncode, out, error
