"""The end of student code: its process, and everything that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

MARK = "NPSOFTMAX_GRADED"  # an environment variable that what student code starts inherits
ROUNDS = 50


def kill_all(process: subprocess.Popen[bytes], mark: str) -> None:
    """Kill a process that leads a session, and its group; on Linux all that it started, in sessions of its own too.

    Those are found by their parents, since the process is their keeper, and by the mark in their environment: where the
    keeper was killed they have another parent, and where they were started with an empty environment no mark.
    """
    if os.name != "posix":
        process.kill()
        return
    pid = process.pid
    if process.poll() is None:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGSTOP)  # it starts no more
    _kill_below(pid, mark)
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def _kill_below(pid: int, mark: str) -> None:
    """Kill what was started below a process, but not itself."""
    for _ in range(ROUNDS):  # what is being killed may start another
        others = _started_by(pid, mark.encode())
        for other in others:
            with contextlib.suppress(OSError):
                os.kill(other, signal.SIGKILL)
        if not others:
            break
        time.sleep(0.001)


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


# ---------------------------------------------------------------- within the process that was started
def keep(mark: str) -> None:
    """Go on in a child of this process; the process itself stays as its keeper (Linux; elsewhere nothing happens).

    The keeper adopts whatever loses its parent below it. When the child ends, or the grader does, it ends all of them,
    and then itself, in the way the child did.
    """
    if not sys.platform.startswith("linux"):
        return
    _adopt_orphans()
    grader = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        return
    for stream in (0, 1):  # so that the grader sees their end when the child has ended
        os.close(stream)
    status = None
    while status is None and os.getppid() == grader:
        signal.sigtimedwait({signal.SIGCHLD}, 1.0)
        with contextlib.suppress(ChildProcessError):
            while status is None and (ended := os.waitpid(-1, os.WNOHANG))[0]:
                status = ended[1] if ended[0] == child else None
    _kill_below(os.getpid(), mark)
    code = os.waitstatus_to_exitcode(status or 0)
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no other way
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _adopt_orphans() -> None:
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
