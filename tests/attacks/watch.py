"""Sees what a reader does beside reading: starting programs, opening connections, importing, writing elsewhere.

An audit hook of Python's (PEP 578), which cannot be taken away again: it is quiet outside of `watched`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.Popen",
    "pty.spawn",
)
NETWORK = ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "urllib.Request")
CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.chmod", "os.link", "os.symlink", "os.truncate", "shutil.rmtree")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Forbidden(BaseException):
    """A reader did what no file may make it do. No Exception: nothing that it catches."""


class _Watch:
    folder: Path | None = None
    asleep = True

    def hook(self, event: str, args: tuple) -> None:
        if self.asleep:
            return
        if self._is_forbidden(event, args):
            self.asleep = True
            raise Forbidden(f"{event} {args!r:.200}")

    def _is_forbidden(self, event: str, args: tuple) -> bool:
        if event.startswith((*PROGRAMS, *NETWORK)) or event == "pickle.find_class":
            return True
        if event == "import":
            return args[0] not in sys.modules and not _expected(args[0])
        if event == "open":
            return isinstance(args[2], int) and bool(args[2] & WRITING) and not self._inside(args[0])
        return event in CHANGES and not self._inside(args[0])

    def _inside(self, path: object) -> bool:
        if isinstance(path, int) or self.folder is None:  # an open file
            return True
        place = Path(os.fsdecode(path))  # type: ignore[arg-type]
        return place == Path(os.devnull) or place.resolve().is_relative_to(self.folder)


def _expected(module: str) -> bool:
    """What Python and Pillow load when they first need it: text codings, and readers of kinds of images."""
    return module.startswith(("encodings.", "PIL.", "numpy.", "_", "dataclasses", "zlib", "lzma", "bz2", "olefile"))


_WATCH = _Watch()
_SET: list[bool] = []


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Within it, whatever of this process does one of these things, or writes outside of `folder`, gets Forbidden."""
    if not _SET:
        sys.addaudithook(_WATCH.hook)
        _SET.append(True)
    _WATCH.folder, _WATCH.asleep = folder.resolve(), False
    try:
        yield
    finally:
        _WATCH.asleep = True
