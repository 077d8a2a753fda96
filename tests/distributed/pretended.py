"""The command line in a process whose GPUs are the strict stand-in: a program for mpiexec."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import strict_cupy

from npsoftmax import cublas
from npsoftmax.cli.main import main

if __name__ == "__main__":
    sys.modules |= strict_cupy.modules()
    cublas.library = strict_cupy.library
    sys.exit(main(sys.argv[1:]))
