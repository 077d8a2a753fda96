"""`npsoftmax` as it finds itself in a browser's Python: `python browser_python.py grade a1`.

A stand-in: no other process, no thread, no compiled kernels, none of the modules that Pyodide lacks. NumPy and SciPy
are loaded before, as those of a browser are built for it.
"""

import os
import subprocess
import sys
import threading

import numpy  # noqa: F401
import scipy.special  # noqa: F401


def refuse(*args, **options):
    raise OSError(138, "Function not implemented")


def no_thread(self):
    raise RuntimeError("can't start new thread")


for name in ("fcntl", "resource", "termios", "pty", "multiprocessing", "_posixsubprocess", "readline"):
    sys.modules[name] = None
subprocess.Popen.__init__ = os.fork = os.posix_spawn = os.kill = refuse
threading.Thread.start = no_thread
if hasattr(os, "sched_getaffinity"):
    del os.sched_getaffinity
os.cpu_count = lambda: None
os.environ["NPSOFTMAX_COMPILED"] = "0"
sys.platform = "emscripten"

from npsoftmax.cli.main import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
