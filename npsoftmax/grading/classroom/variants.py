"""Each student's own numbers and shapes: a seed from a hash of the id, noted in the handout, derived again at grading.

Only the seed differs. What is right is right for every seed, so nobody has an easier or a harder task.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

from npsoftmax.errors import InputError
from npsoftmax.grading.classroom.roster import plain
from npsoftmax.grading.exercises import EXERCISES
from npsoftmax.grading.notebook import notebook_of
from npsoftmax.grading.stubs import file_of

SEEDS = 2**31
# The first line of a handout's file: it stays with the code, whatever a learning platform does to names and folders.
NOTE = re.compile(r"# student: (?P<student>[^\n\",\\]+?), seed: (?P<seed>\d{1,12})\b")
READ = 2**16  # characters in which it is looked for
SUFFIXES = (".py", ".ipynb")


def seed_of(student: str, hidden: int = 0) -> int:
    """The seed of a student; how the id is spelt (large letters, spaces) makes no difference.

    hidden: a seed that the teacher keeps: then it is another one for each student, which no handout shows.
    """
    text = f"npsoftmax {hidden} {''.join(plain(student).split())}"
    return 1 + int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % SEEDS


def note(student: str) -> str:
    """The line that the files of a handout begin with. InputError for an id that cannot stand in it."""
    student = student.strip()
    line = f"# student: {student}, seed: {seed_of(student)}"
    found = NOTE.fullmatch(line)
    if not found or found["student"] != student:
        raise InputError(f"--student {student!r:.60} is no id; type a student number, a login or an email address.")
    return f"{line} (npsoftmax grade takes these numbers)\n"


def noted(files: Iterable[Path]) -> tuple[str, int] | None:
    """The id and the seed that stand in the first of these files that has a note; None where none has."""
    for file in files:
        path = notebook_of(file) or file
        if path.suffix not in SUFFIXES or not path.is_file():
            continue
        try:
            with path.open(encoding="utf-8-sig", errors="replace") as text:
                found = NOTE.search(text.read(READ))
        except OSError:
            continue
        if found:
            return found["student"], int(found["seed"])
    return None


def sign(folders: Iterable[Path], student: str) -> int:
    """Write the note into the files of fresh handouts that students work in; returns the seed."""
    line, own = note(student), {Path(file_of(exercise)).stem for exercise in EXERCISES.values()}
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path.stem in own and path.suffix == ".py":
                path.write_bytes(line.encode() + path.read_bytes())
            elif path.stem in own and path.suffix == ".ipynb":
                book = json.loads(path.read_bytes())
                cell: dict[str, object] = {
                    "cell_type": "code",
                    "execution_count": None,
                    "metadata": {},
                    "outputs": [],
                    "source": [line],
                }
                book["cells"].insert(0, {"id": "student", **cell})
                path.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return seed_of(student)
