"""Bytes to and from a process that is not trusted: every wait has an end."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import subprocess
import threading
import time

CHUNK = 2**16


class TimeIsUp(Exception):
    """The process neither read nor wrote in time."""


class Pipes:
    """The two pipes of a process, on a system that can wait for one."""

    def __init__(self, process: subprocess.Popen[bytes]):
        assert process.stdin is not None and process.stdout is not None, "both were asked for"
        self.stdin, self.stdout = process.stdin, process.stdout
        os.set_blocking(self.stdin.fileno(), False)
        self.readable, self.writable = select.poll(), select.poll()
        self.readable.register(self.stdout.fileno(), select.POLLIN)
        self.writable.register(self.stdin.fileno(), select.POLLOUT)

    def send(self, data: bytes, deadline: float) -> None:
        """Write all of it. Raises TimeIsUp; OSError where nobody reads any more."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.stdin.fileno(), view) :]
            except BlockingIOError:
                if not self.writable.poll(_milliseconds(deadline)):
                    raise TimeIsUp from None

    def receive(self, deadline: float) -> bytes:
        """What has come, at least a byte; b"" at the end. Raises TimeIsUp."""
        if not self.readable.poll(_milliseconds(deadline)):
            raise TimeIsUp
        return os.read(self.stdout.fileno(), CHUNK)

    def close(self) -> None:
        """When the process has ended."""
        self.stdout.close()
        with contextlib.suppress(OSError):
            self.stdin.close()


def _milliseconds(deadline: float) -> float:
    return max(deadline - time.perf_counter(), 0.0) * 1000


class ThreadedPipes:
    """The same by two threads that may wait for ever, on Windows."""

    def __init__(self, process: subprocess.Popen[bytes]):
        assert process.stdin is not None and process.stdout is not None, "both were asked for"
        self.stdin, self.stdout = process.stdin, process.stdout
        self.ended = False
        self.chunks: queue.Queue[bytes] = queue.Queue(64)  # b"" at the end
        self.waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        for work in (self._read, self._write):
            threading.Thread(target=work, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(ValueError, OSError), self.stdout:
            while not self.ended and (chunk := os.read(self.stdout.fileno(), CHUNK)):
                self.chunks.put(chunk)
        self.chunks.put(b"")

    def _write(self) -> None:
        with contextlib.suppress(ValueError, OSError), self.stdin:
            while (data := self.waiting.get()) is not None:
                self.stdin.write(data)
                self.stdin.flush()

    def send(self, data: bytes, deadline: float) -> None:
        """Let it be written; whether it is read shows by the answer."""
        self.waiting.put(data)

    def receive(self, deadline: float) -> bytes:
        """What has come, at least a byte; b"" at the end. Raises TimeIsUp."""
        try:
            return self.chunks.get(timeout=max(deadline - time.perf_counter(), 0.0))
        except queue.Empty:
            raise TimeIsUp from None

    def close(self) -> None:
        """When the process has ended."""
        self.ended = True
        self.waiting.put(None)
        with contextlib.suppress(queue.Empty):  # the reader may wait for room
            while True:
                self.chunks.get_nowait()
