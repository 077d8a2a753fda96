"""A class as it was graded: every hand-in with its rows, whose it is, and what there is to look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from npsoftmax.grading.classroom.lookalikes import Alike
from npsoftmax.grading.classroom.roster import Person, Roster, words
from npsoftmax.grading.classroom.trees import Form, form
from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES, Exercise
from npsoftmax.grading.gradebook import score

Row = dict[str, Any]


@dataclass(eq=False)
class Student:
    """A hand-in. handin: its name in the folder; person: whose it is, None if that is not known, `why` says why not;
    rows: one an exercise; remark: on the hand-in as a whole; code: file -> text; seed: of its numbers;
    variant: the id whose numbers these are, "" if none is known; flags: (exercise or "", sentence), to look at and
    never marks; slug: a name for its files; forms: exercise -> the normal form of what is written."""

    handin: str
    person: Person | None
    why: str
    rows: list[Row]
    remark: str = ""
    code: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    variant: str = ""
    flags: list[tuple[str, str]] = field(default_factory=list)
    slug: str = ""
    forms: dict[str, Form] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What to call them: the roster's name, else that of the hand-in."""
        return self.person.name if self.person else self.handin

    @property
    def points(self) -> int:
        return score(self.rows)[0]

    def row(self, exercise: str) -> Row:
        """The row of an exercise."""
        return next(row for row in self.rows if row["exercise"] == exercise)

    def states(self, state: str) -> list[Row]:
        """The rows in a state."""
        return [row for row in self.rows if row["state"] == state]

    def source(self, exercise: str) -> str:
        """The text of the file that an exercise was graded in."""
        return self.code.get(self.row(exercise)["file"] or "", "")


@dataclass(eq=False)
class Room:
    """A class. students: hand-ins by name, of two by the same person the better one; absent: on the roster, without a
    hand-in; others: what lay in the folder and is nobody's; alike, common: what looks alike."""

    exercises: list[Exercise]
    students: list[Student]
    roster: Roster | None = None
    others: list[str] = field(default_factory=list)
    alike: list[Alike] = field(default_factory=list)
    common: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)

    @property
    def absent(self) -> list[Person]:
        there = {student.person for student in self.students}
        return [person for person in self.roster.people if person not in there] if self.roster else []

    @property
    def strangers(self) -> list[Student]:
        """Hand-ins of nobody on the roster."""
        return [student for student in self.students if student.person is None] if self.roster else []

    @property
    def assignments(self) -> list[str]:
        return list(dict.fromkeys(exercise.assignment for exercise in self.exercises))

    @property
    def title(self) -> str:
        """What was graded."""
        return ", ".join(ASSIGNMENTS[a].folder.replace("_", " ") for a in self.assignments)

    @property
    def possible(self) -> int:
        """Points that can be had."""
        return sum(exercise.points for exercise in self.exercises)

    def called(self, handin: str) -> str:
        """The name of the student of a hand-in."""
        return next(student.name for student in self.students if student.handin == handin)


def arrange(students: list[Student]) -> list[Student]:
    """By name; of several hand-ins of one person only the one with most points counts, which is flagged."""
    best: dict[Person, Student] = {}
    for student in students:
        if student.person is not None and student.points > getattr(best.get(student.person), "points", -1):
            best[student.person] = student
    for student in students:
        if student.person is not None and (kept := best[student.person]) is not student:
            said = f"a second hand-in, {student.handin!r} with {student.points} points, is not counted"
            kept.flags.append(("", f"{said}; {kept.handin!r} with {kept.points} is"))
    kept_ones = [s for s in students if s.person is None or best[s.person] is s]
    kept_ones.sort(key=lambda s: (words(s.name)[-1:], words(s.name)))
    taken: set[str] = set()
    for student in kept_ones:
        wish = "-".join(words(student.person.id if student.person and student.person.id else student.handin))[:60]
        slug, number = wish or "student", 2
        while slug in taken:
            slug, number = f"{wish or 'student'}-{number}", number + 1
        taken.add(slug)
        student.slug = slug
    return kept_ones


def read_forms(student: Student) -> None:
    """Keep the normal forms of what is written, right or wrong."""
    for row in student.rows:
        if row["state"] != "not started" and (source := student.source(row["exercise"])):
            found = form(EXERCISES[row["exercise"]], source)
            if found is not None:
                student.forms[row["exercise"]] = found
