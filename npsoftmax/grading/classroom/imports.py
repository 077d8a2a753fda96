"""marks.csv, and the files that Moodle and Canvas import.

Who has no hand-in, or none of an assignment, has no mark in them, rather than 0: what is there already stays.
"""

from __future__ import annotations

import re

from npsoftmax.grading.classroom.room import Room, Student
from npsoftmax.grading.classroom.roster import Person, words
from npsoftmax.grading.exercises import ASSIGNMENTS
from npsoftmax.grading.gradebook import remarks

Line = list[str]
CANVAS = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
POINTS = "    Points Possible"  # as Canvas writes it, spaces included


def total(student: Student, assignment: str) -> str:
    """The points of an assignment; nothing where none of its files was handed in."""
    rows = [row for row in student.rows if row["assignment"] == assignment]
    return str(sum(row["points"] for row in rows)) if any(row["file"] for row in rows) else ""


def possible(room: Room, assignment: str) -> int:
    """How many there are."""
    return sum(e.points for e in room.exercises if e.assignment == assignment)


def column(assignment: str) -> str:
    """What an assignment is called in a gradebook."""
    return ASSIGNMENTS[assignment].folder.replace("_", " ")


# ---------------------------------------------------------------- for the teacher
def marks(room: Room) -> list[Line]:
    """A line a student, those without a hand-in and hand-ins of nobody on the roster included."""
    names = [e.name for e in room.exercises]
    head = ["name", "id", "email", "hand-in", "points", "of", "passed", "wrong", "not started", *room.assignments]
    lines = [[*head, *names, "remarks"]]
    for student in room.students:
        who = student.person or Person(student.handin, (), "")
        counts = [str(len(student.states(state))) for state in ("passed", "wrong", "not started")]
        each = [str(row["points"]) if row["state"] != "not started" else "" for row in student.rows]
        said = " | ".join(filter(None, [student.why, student.remark, remarks(student.rows)]))
        sums = [total(student, assignment) for assignment in room.assignments]
        own = [who.name, who.id, who.email, student.handin, str(student.points), str(room.possible)]
        lines.append([*own, *counts, *sums, *each, said])
    for person in room.absent:
        empty = [""] * (len(lines[0]) - 4)
        lines.append([person.name, person.id, person.email, *empty, "no hand-in"])
    return lines


# ---------------------------------------------------------------- Moodle
def moodle(room: Room) -> list[Line]:
    """For Grades > Import > CSV file: who, by ID number and email, and a column an assignment.

    Where the roster is a grading worksheet of an assignment, it is that worksheet with the column Grade filled in, in
    points of its Maximum Grade.
    """
    assert room.roster is not None, "without a roster there are no ids"
    if room.roster.kind == "worksheet":
        return _worksheet(room)
    lines = [["ID number", "Email address", "Full name", *map(column, room.assignments)]]
    for student in room.students:
        if (who := student.person) is not None:
            lines.append([who.id, who.email, who.name, *(total(student, a) for a in room.assignments)])
    return lines


def _worksheet(room: Room) -> list[Line]:
    assert room.roster is not None, "it is the roster"
    lines = [list(line) for line in room.roster.lines]
    keys = ["".join(words(cell)) for cell in lines[0]]
    grade = keys.index("grade")
    most = keys.index("maximumgrade") if "maximumgrade" in keys else None
    for line, student in _with_students(room, lines):
        mark: float = student.points
        if most is not None and re.fullmatch(r"\d+([.,]\d+)?", line[most].strip()):
            mark = student.points * float(line[most].replace(",", ".")) / max(1, room.possible)
        line[grade] = f"{mark:.2f}".rstrip("0").rstrip(".")
    return lines


def _with_students(room: Room, lines: list[Line]) -> list[tuple[Line, Student]]:
    """The lines (copies of the roster's) of those who handed in."""
    assert room.roster is not None, "the lines are the roster's"
    of = {id(person.row): student for student in room.students if (person := student.person) is not None}
    pairs = zip(room.roster.lines, lines, strict=True)
    return [(line, of[id(row)]) for row, line in pairs if id(row) in of]


# ---------------------------------------------------------------- Canvas
def canvas(room: Room) -> list[Line]:
    """For Grades > Import: its own columns, a column an assignment, and the line of points possible.

    Where the roster is its exported gradebook, that gradebook with the columns of these assignments filled in: those
    whose title has a1 or the assignment's name in it, or new ones at the end.
    """
    assert room.roster is not None, "without a roster there are no ids"
    if room.roster.kind == "canvas":
        return _gradebook(room)
    head = [*CANVAS, *map(column, room.assignments)]
    lines = [head, [POINTS, "", "", "", "", *(str(possible(room, a)) for a in room.assignments)]]
    for student in room.students:
        if (who := student.person) is not None:
            login = who.ids[1] if len(who.ids) > 1 else who.email
            own = [who.name, "", who.id, login, ""]
            lines.append([*own, *(total(student, a) for a in room.assignments)])
    return lines


def _gradebook(room: Room) -> list[Line]:
    assert room.roster is not None, "it is the roster"
    lines = [list(line) for line in room.roster.lines]
    for assignment in room.assignments:
        place = _canvas_column(lines[0], assignment)
        if place is None:
            place = len(lines[0])
            for line in lines:
                line += [""] * (place + 1 - len(line))
            lines[0][place] = column(assignment)
        for line in lines[1:]:
            line += [""] * (len(lines[0]) - len(line))
            if "points possible" in line[0].casefold() and not line[place].strip():
                line[place] = str(possible(room, assignment))
        for line, student in _with_students(room, lines):
            line[place] = total(student, assignment) or line[place]
    return lines


def _canvas_column(head: Line, assignment: str) -> int | None:
    """The one column that is called like the assignment: "a1 (12345)", "Homework a1: softmax (12345)"."""
    titles = {i: set(words(re.sub(r"\(\d+\)\s*$", "", cell))) for i, cell in enumerate(head) if i > 0}
    found = [i for i, title in titles.items() if assignment in title]
    found = found or [i for i, title in titles.items() if set(words(column(assignment))) - {assignment} == title]
    return found[0] if len(found) == 1 else None
