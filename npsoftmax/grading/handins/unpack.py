"""What a student handed in, laid out as plain files in a folder of the grader's own: folders, zips and tars, nested.

Design: nothing is graded where it lies. What student code deletes is a copy, what lies in `__pycache__` is not taken,
and a zip looks like a folder to everything after. Nothing is written outside that folder, and no more than MOST.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

try:
    from lzma import LZMAError
except ImportError:  # a Python that was built without it, where nothing raises it
    LZMAError = OSError  # type: ignore[misc, assignment]

MOST, MOST_FILES, DEEPEST = 100 * 2**20, 5000, 5  # bytes, files, and archives within archives
MOST_CODE, MOST_OTHER = 50 * 2**20, 5 * 2**20  # bytes of one file; a notebook may hold pictures
CODE = (".py", ".pyw", ".ipynb", ".json", ".txt", "")
TARS = (".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz")
# Folders of a hand-in that hold nobody's work, and the library itself, where somebody handed in a copy of it.
LEFT_OUT = {"__macosx", "__pycache__", "venv", "site-packages", "node_modules"}
LIBRARY = re.compile(r"(^|/)npsoftmax/(functional|kernels|grading|heads|layers|models|cli)/", re.IGNORECASE)
BROKEN = (
    OSError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    LZMAError,
    EOFError,
    MemoryError,  # what a few bytes of LZMA may ask for
    NotImplementedError,
    RuntimeError,
    ValueError,
)


class Member(NamedTuple):
    """A file to be laid out: its name with / between folders, its size as far as that is told, and its bytes."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


@dataclass
class Layout:
    """The files of a hand-in. names: what the student calls each; remarks: what could not be had, and why."""

    folder: Path
    names: dict[Path, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    left: int = field(default_factory=lambda: MOST)

    def add(self, path: Path, name: str) -> None:
        """Lay out a folder ("" for the hand-in itself), an archive or a file."""
        if path.is_dir():
            self._all(folder_members(path, self.remarks), f"{name}/" if name else "", 0)
        else:
            self._one(Member(name, path.stat().st_size, lambda: path.open("rb")), "", 0)

    def _all(self, members: Iterable[Member], prefix: str, depth: int) -> None:
        for member in members:
            if self.left <= 0 or len(self.names) >= MOST_FILES:
                what = prefix.rstrip("/") or "the hand-in"
                many = f"{MOST // 2**20} MB or {MOST_FILES:,} files"
                self.remarks.append(f"{what} holds more than {many}: the rest was left out")
                return
            self._one(member, prefix, depth)

    def _one(self, member: Member, prefix: str, depth: int) -> None:
        name = prefix + "".join(c if c.isprintable() else "?" for c in member.name)
        if left_out(name):
            return
        if not is_inside(member.name):
            self.remarks.append(f"{name!r} points out of the hand-in: left out")
            return
        code = suffix_of(name) in CODE or is_archive(name)
        if member.size > (MOST_CODE if code else MOST_OTHER):
            if code:
                self.remarks.append(f"{name} has {member.size / 2**20:.0f} MB: left out")
            return
        try:
            path = self._write(member, name)
            if not holds_files(path, name):
                self.names[path] = name
            elif depth == DEEPEST:
                self.remarks.append(f"{name} lies in {depth} archives: not unpacked")
            else:
                archive = path.rename(free(path.with_name(f"{path.name}.archive")))  # its name is now a folder's
                self._all(members_of(archive), f"{name}/", depth + 1)
        except BROKEN as error:
            self.remarks.append(f"{name} cannot be read: {why(error)}")

    def _write(self, member: Member, name: str) -> Path:
        path = free(self.folder.joinpath(*(on_disk(part) for part in parts_of(name))))
        path.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, path.open("xb") as target:
            while self.left > 0 and (block := source.read(min(self.left, 2**20))):
                target.write(block)
                self.left -= len(block)
        return path


# ---------------------------------------------------------------- what holds files
def folder_members(folder: Path, remarks: list[str]) -> Iterator[Member]:
    """The files of a folder, code first. Links are not followed: they lead to others' files."""

    def complain(error: OSError) -> None:
        remarks.append(f"{error.filename} cannot be read: {why(error)}")

    found = []
    for place, inner, names in os.walk(folder, onerror=complain):
        inner[:] = sorted(n for n in inner if not left_out(f"{n}/x") and not Path(place, n, "pyvenv.cfg").exists())
        for name in names:
            path = Path(place, name)
            shown = as_text(path.relative_to(folder).as_posix())
            kind = path.lstat()
            if stat.S_ISLNK(kind.st_mode):
                remarks.append(f"{shown} is a link: not followed")
            elif stat.S_ISREG(kind.st_mode):
                found.append((*_order(shown), shown, kind.st_size, path))
    for *_, shown, size, path in sorted(found, key=lambda f: f[:5]):
        yield Member(shown, size, lambda path=path: path.open("rb"))  # type: ignore[misc]


def holds_files(path: Path, name: str) -> bool:
    """Whether a file is an archive, by its name, or by its bytes where it has the name of code."""
    return is_archive(name) or (suffix_of(name) in CODE and _head(path).startswith(b"PK\x03\x04"))


def members_of(path: Path) -> Iterator[Member]:
    """The members of an archive. Raises one of BROKEN where it cannot be read."""
    head = _head(path)
    if head.startswith((b"Rar!", b"7z\xbc\xaf")):
        raise zipfile.BadZipFile("it is a RAR or 7z archive: ask for a zip")
    if not head:
        raise zipfile.BadZipFile("it is empty")
    if zipfile.is_zipfile(path):
        return zip_members(path)
    if not tarfile.is_tarfile(path):
        raise zipfile.BadZipFile("it is no whole archive")
    return tar_members(path)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def zip_members(path: Path) -> Iterator[Member]:
    """The files of a zip, code first."""
    with zipfile.ZipFile(path) as archive:
        infos = [i for i in archive.infolist() if i.filename and not i.is_dir()]
        wanted = [i for i in infos if not left_out(i.filename)]
        if wanted and all(i.flag_bits & 1 for i in wanted):
            raise zipfile.BadZipFile("it is encrypted: ask for it without a password")
        for info in sorted(wanted, key=lambda i: _order(i.filename)):
            yield Member(info.filename, info.file_size, lambda info=info: archive.open(info))  # type: ignore[misc]


def tar_members(path: Path) -> Iterator[Member]:
    """The files of a tar, compressed or not; its links are no files. Ends where it has told of too many bytes."""
    total = 0
    with tarfile.open(path) as archive:
        for info in archive:
            total += info.size
            if info.isreg():
                yield Member(info.name.removeprefix("./"), info.size, lambda info=info: _of_tar(archive, info))  # type: ignore[misc]
            if total > 2 * MOST:
                raise tarfile.TarError(f"it unpacks to more than {2 * MOST // 2**20} MB: the rest was left out")


def _of_tar(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    found = archive.extractfile(info)
    if found is None:
        raise tarfile.TarError(f"{info.name} has no bytes")
    return found


# ---------------------------------------------------------------- names
def parts_of(name: str) -> list[str]:
    """The folders and the file of a name; a zip made on Windows may have \\ between them."""
    return [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]


def is_inside(name: str) -> bool:
    """Whether a member's name stays in the folder that it is laid out in."""
    return bool(parts_of(name)) and ".." not in parts_of(name) and not re.match(r"[/\\]|[A-Za-z]:[/\\]", name)


def left_out(name: str) -> bool:
    """Whether a file is nobody's work: of an environment, a cache, a version control, a Mac's double, the library."""
    *folders, file = parts_of(name.lower()) or [""]
    hidden = any(part.startswith(".") and part != ".." for part in folders)
    return hidden or not LEFT_OUT.isdisjoint(folders) or file.startswith(".") or LIBRARY.search(name) is not None


def suffix_of(name: str) -> str:
    """The suffix of a name in small letters."""
    return Path(parts_of(name)[-1] if parts_of(name) else "").suffix.lower()


def is_archive(name: str) -> bool:
    """Whether a name is one of an archive."""
    return suffix_of(name) in (".zip", ".rar", ".7z", *TARS)


def _order(name: str) -> tuple[bool, bool, bool, int]:
    """Code comes first and archives last, so that no data set and no bomb takes its room; what is less deep first."""
    suffix = suffix_of(name)
    return is_archive(name), suffix not in CODE, suffix not in (".py", ".pyw", ".ipynb"), len(parts_of(name))


def as_text(name: str) -> str:
    """A name of the file system as text, where the locale (LC_ALL=C) reads its UTF-8 as single bytes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def on_disk(part: str) -> str:
    """A part of a name as every system can write it."""
    known = sys.getfilesystemencoding()
    plain = part.encode(known, "replace").decode(known)
    safe = re.sub(r'[<>:"|?*\x00-\x1f]', "_", plain).rstrip(" .") or "_"
    return safe if len(safe) <= 80 else safe[:40] + safe[-40:]


def free(path: Path) -> Path:
    """The path, or where it is taken the same with a number before the suffix."""
    number, fresh = 2, path
    while fresh.exists():
        fresh, number = path.with_name(f"{path.stem}_{number}{path.suffix}"), number + 1
    return fresh


def why(error: BaseException) -> str:
    """The reason in a few words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
