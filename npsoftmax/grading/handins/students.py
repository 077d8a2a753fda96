"""Whose is what in a folder of hand-ins, as Canvas, Moodle and teachers lay it out."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from npsoftmax.errors import InputError
from npsoftmax.grading.exercises import EXERCISES
from npsoftmax.grading.handins.unpack import Layout, as_text, is_archive, suffix_of
from npsoftmax.grading.stubs import file_of

# smithanna_123_4567_softmax.py, smithanna_LATE_123_4567_softmax-2.py: name, user and file.
CANVAS = re.compile(r"(?P<name>[^_]+)_(?:LATE_)?(?P<id>\d{2,})_\d{2,}_(?P<rest>.+)")
# "Anna Smith_123_assignsubmission_file_" as a folder, or before the name of a file; "…_onlinetext_" beside it.
MOODLE = re.compile(r"(?P<name>.+)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)_?(?P<rest>.*)")
HANDED_IN = {".py", ".pyw", ".ipynb", ".pdf", ".docx"}
ENOUGH = 20 * 2**20  # bytes of a file; a larger one is known by its size and time
NO_WORK = ("readme", "test_", "conftest")
PLAIN = {file_of(exercise) for exercise in EXERCISES.values()}


@dataclass
class Submission:
    """What one student handed in. name: in the folder, no other has it; student: the name as the LMS gives it;
    parts: (path, the name without what the LMS put before it, "" for a folder)."""

    name: str
    student: str
    parts: list[tuple[Path, str]] = field(default_factory=list)

    @contextmanager
    def laid_out(self) -> Iterator[Layout]:
        """Its files in a folder of the grader's own, which goes when it was graded."""
        with tempfile.TemporaryDirectory(prefix="npsoftmax-", ignore_cleanup_errors=True) as folder:
            layout = Layout(Path(folder).resolve())
            for path, name in self.parts:
                layout.add(path, name)
            yield layout

    def content(self) -> str:
        """A hash of names and bytes: another one when a file was changed."""
        digest = hashlib.sha256()
        for top, name in self.parts:
            for path in [top] if top.is_file() else sorted(p for p in top.rglob("*") if p.is_file()):
                digest.update(f"{name}/{path.relative_to(top)}\0".encode("utf-8", "surrogateescape"))
                digest.update(_content(path))
        return digest.hexdigest()


def _content(path: Path) -> bytes:
    try:
        about = path.stat()
        if about.st_size >= ENOUGH:
            return f"{about.st_size} {about.st_mtime_ns}".encode()
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError as error:
        return str(error).encode()


def submissions_in(folder: Path) -> tuple[list[Submission], list[str]]:
    """The hand-ins in a folder, by name; and the names of files that are nobody's. InputError where there is none."""
    if folder.is_file():
        raise InputError(f"--csv {folder} is a file: unpack it, and name the folder.")
    if not folder.is_dir():
        raise InputError(f"--csv {folder}: there is no such folder; name the one that holds the students' folders.")
    inner = [path for path in folder.iterdir() if not path.name.startswith((".", "__"))]
    if len(inner) == 1 and inner[0].is_dir() and any(_of_lms(path) for path in inner[0].iterdir()):
        folder = inner[0]  # the folder that an LMS's zip was unpacked to
    found: dict[str, Submission] = {}
    others = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in ("__MACOSX", "__pycache__"):
            continue
        if not _is_handed_in(path):
            others.append(as_text(path.name))
            continue
        key, submission = _whose(path)
        parts = found.setdefault(key, submission).parts
        parts += submission.parts if parts is not submission.parts else []
    if not found or {s.parts[0][0].name for s in found.values()} <= PLAIN:
        raise InputError(f"--csv {folder}: it holds no folders; each submission has to be a folder (or a zip) in it.")
    return [found[key] for key in sorted(found)], others


def _of_lms(path: Path) -> bool:
    name = as_text(path.name)
    return MOODLE.fullmatch(name) is not None or (not path.is_dir() and CANVAS.fullmatch(name) is not None)


def _whose(path: Path) -> tuple[str, Submission]:
    """What all parts of a hand-in share, and the hand-in with this part alone."""
    folder, name = path.is_dir(), as_text(path.name)
    match = MOODLE.fullmatch(name) or (None if folder else CANVAS.fullmatch(name))
    if match:
        key = f"{match['name']}_{match['id']}"
        rest = f"handed-in{match['rest']}" if match["rest"].startswith(".") else match["rest"]  # "…_file_.zip"
        return key, Submission(name if folder else key, match["name"], [(path, rest)])
    stem = name
    while not folder and (suffix_of(stem) in (*HANDED_IN, ".txt") or is_archive(stem)):
        stem = stem[: -len(suffix_of(stem))]
    return stem, Submission(stem, stem, [(path, "" if folder else name)])


def _is_handed_in(path: Path) -> bool:
    name = as_text(path.name).lower()
    if path.is_dir() or is_archive(name) or _of_lms(path):
        return True
    return (suffix_of(name) in HANDED_IN or name.endswith(".py.txt")) and not name.startswith(NO_WORK)
