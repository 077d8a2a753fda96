"""Files that are written whole or not at all, and read only as far as they may be large.

Design: what replaces a file is written beside it, forced to the disk and then renamed, so that at any moment, also
when the process is killed or the disk is full, the path holds all of the old content or all of the new. What is added
to a file is added entirely or taken back.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from npsoftmax.errors import InputError

BINARY = getattr(os, "O_BINARY", 0)  # Windows would otherwise turn ends of lines into two characters
MOST_JSON = 2**25  # bytes: the names of a million classes


class WriteError(InputError):
    """A file that could not be written, and why; what the path held before is still there."""

    def __init__(self, path: Path, error: OSError):
        self.path, self.reason = path, error.strerror or str(error)
        super().__init__(f"cannot write {path} ({self.reason}); what was written before is kept.")


@contextlib.contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Within it, what the system says against writing `path` becomes a WriteError."""
    try:
        yield
    except OSError as error:
        raise WriteError(path, error) from error


# ---------------------------------------------------------------- writing
@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path beside `path`; what is written there takes the place of `path` at the end, whole.

    A link stays one: the file that it leads to is replaced. Raises WriteError where that is not possible, and for a
    device or a pipe, which is no file. After any exception nothing has changed and nothing is left behind.
    """
    with write_errors(path):
        if path.exists() and not path.is_file():
            raise OSError(f"it is {'a folder' if path.is_dir() else 'no file'}")
        if path.is_symlink():
            path = path.resolve()
    beside = _beside(path)
    with write_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield beside
            _sync(beside)
            os.replace(beside, path)
        except BaseException:  # Ctrl-C as well
            _remove(beside)
            raise
        _sync_folder(path.parent)


def write_replacing(path: Path, content: bytes) -> None:
    """Write a file so that at any moment the path holds all of the old or all of the new content."""
    with replacing(path) as beside:
        write_new(beside, content)


def copy_replacing(source: Path, path: Path) -> None:
    """Let `path` hold what `source` holds: the same bytes on the disk, or a copy where the disk has no such links.

    `source` must only ever be replaced, never written into.
    """
    if path.exists() and path.samefile(source):  # killed right after: renaming one link over another does nothing
        return
    with replacing(path) as beside:
        _remove(beside)  # of a killed process with the same number: it may be linked to a file in use
        try:
            os.link(source, beside)
        except OSError:
            shutil.copyfile(source, beside)


def write_new(path: Path, content: bytes) -> None:
    """Write a file that nobody reads yet."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | BINARY, 0o666)
    try:
        _write(descriptor, content)
    finally:
        os.close(descriptor)


def append(path: Path, content: bytes) -> None:
    """Add `content` to the end of a file, all of it or (WriteError) nothing."""
    with write_errors(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | BINARY, 0o666)
        try:
            before = os.fstat(descriptor).st_size
            try:
                _write(descriptor, content)
            except BaseException:
                os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)


def sync(path: Path) -> None:
    """Wait until what was written to a file is on the disk."""
    with write_errors(path):
        _sync(path)


def remove_parts(folder: Path) -> None:
    """Remove what killed processes left beside the files that they were writing."""
    for part in folder.glob(".*.part"):
        _remove(part)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _write(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:  # the system may take a part of it
        rest = rest[os.write(descriptor, rest) :]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | BINARY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk too, where the system lets a folder be forced there."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# ---------------------------------------------------------------- reading
def read_at_most(path: Path, most: int) -> bytes:
    """The content of a file. InputError where it cannot be read or is longer than `most` bytes."""
    try:
        content = read_up_to(path, most + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(content) > most:
        raise InputError(f"{path} cannot be read: it is longer than {most:,} bytes.")
    return content


def read_up_to(path: Path, most: int) -> bytes:
    """The first `most` bytes of a file, or all of them; raises OSError."""
    with open(path, "rb") as file:
        # Not `most` at once: room would be made for all of it. A device or a pipe has no size, and is read to its end.
        content = file.read(min(os.fstat(file.fileno()).st_size, most))
        while len(content) < most and (more := file.read(min(max(len(content), 2**16), most - len(content)))):
            content += more
    return content


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. InputError where there is none."""
    text = read_at_most(path, MOST_JSON)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        held = {list: "a list", str: "a text", type(None): "null"}.get(type(content), "a number or a word")
        raise InputError(f"{path} holds {held}; expected a JSON object.")
    return content
