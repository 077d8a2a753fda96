"""The end of student code: its process, and everything that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

MARK = "NPSOFTMAX_GRADED"  # an environment variable that what student code starts inherits
ROUNDS = 50


def kill_all(process: subprocess.Popen[bytes], mark: str) -> None:
    """Kill a process that leads a session, and its group; on Linux all that it started, in sessions of its own too.

    Those are found by their parents (the worker is who adopts them) and by the mark in their environment: one whose
    worker has died has another parent, one that was started with an empty environment has no mark.
    """
    if os.name != "posix":
        process.kill()
        return
    pid = process.pid
    if process.poll() is None:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGSTOP)  # it starts no more
    for _ in range(ROUNDS):  # what is being killed may start another
        others = _started_by(pid, mark.encode())
        for other in others:
            with contextlib.suppress(OSError):
                os.kill(other, signal.SIGKILL)
        if not others:
            break
        time.sleep(0.001)
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def _started_by(pid: int, mark: bytes) -> list[int]:
    """The living processes below `pid`, and those that bear the mark; without `pid`."""
    parents: dict[int, int] = {}
    marked = set()
    for place in Path("/proc").glob("[0-9]*"):
        number = int(place.name)
        with contextlib.suppress(OSError):  # ended meanwhile, or somebody else's
            state, parent = (place / "stat").read_bytes().rpartition(b")")[2].split()[:2]
            if state in b"ZX" or number == pid:
                continue
            parents[number] = int(parent)
            if mark in (place / "environ").read_bytes():
                marked.add(number)
    below = {pid}
    while more := {number for number, parent in parents.items() if parent in below} - below:
        below |= more
    return sorted((below | marked) - {pid})


def adopt_orphans() -> None:
    """Let this process be the parent of whatever is started below it and loses its own (Linux)."""
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
