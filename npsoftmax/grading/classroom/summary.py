"""What a class got wrong: how many pass, the most frequent causes, what returns later, what is worth discussing."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from npsoftmax.grading.classroom.room import Room, Row, Student
from npsoftmax.grading.gradebook import first_fact

# A misconception: what it is called, and how its causes are worded.
MISCONCEPTIONS = {
    "sum, mean and 1/N over the batch": r"averaged|1/N|mean of the samples|summed over the N|mean is over all N",
    "the wrong axis": r"axis 0|axis=-1|axis=\(0|over the queries|whole array|has no axis|keepdims",
    "only the diagonal of softmax's Jacobian": r"only the diagonal|through the Jacobian|softmax was skipped",
    "numbers that overflow or underflow": r"overflow|underflow|-inf where|max trick",
    "= where += is needed": r"\(=\)|assigned|counted once",
    "changed in place": r"in place|was changed",
    "a sign turned round": r"sign is|signs are|sign is flipped|signs are flipped",
    "a transpose or an order of axes": r"transpos|order:|exchanged",
    "a scale or temperature forgotten": r"temperature|τ|√D|scaled|eps is|keep is|scale is",
    "what is masked still counts": r"mask|forbidden|e\^0 = 1|zeros, which win",
    "float32 becomes float64": r"float32|float64|dtype",
    "not subtracted: the target in p - q": r"p - q|p - onehot|not subtracted",
    "nothing returned, or not all of it": r"returned",
}
MOST = 10  # causes shown
PICKS = 5  # hand-ins worth discussing
FEW = 4  # who pass an exercise, so that its shortest solution says something


@dataclass
class Cause:
    """A cause, and whose. text: without the sizes of a case, which differ from student to student."""

    text: str
    exercises: list[str] = field(default_factory=list)
    students: list[Student] = field(default_factory=list)
    named: bool = True


@dataclass(frozen=True)
class Pick:
    """A hand-in worth discussing: what it is an example of, the exercise, and why."""

    kind: str
    student: Student
    exercise: str
    why: str


def without_sizes(text: str) -> str:
    """N for "N = 7", and no line of anybody's file; other numbers stay, since 1/N and float32 are the point."""
    text = re.sub(r"; \S+ line \d+(:.*)?$", "", text)
    return re.sub(r"\b([A-Za-z]\w*) = -?[\d.]+(?= )", r"\1", text)


def shares(room: Room) -> dict[str, Counter[str]]:
    """exercise -> how many are in which state."""
    return {e.name: Counter(s.row(e.name)["state"] for s in room.students) for e in room.exercises}


def cause_of(row: Row) -> str:
    """The cause of a wrong answer, or the first fact where none is known; "" unless it is wrong."""
    if row["state"] != "wrong":
        return ""
    return without_sizes(row["cause"] or first_fact(row["report"]) or "wrong")


def causes(room: Room) -> list[Cause]:
    """Causes that are known, the most frequent first: by students, then by exercises."""
    found: dict[str, Cause] = {}
    for student in room.students:
        for row in student.states("wrong"):
            if not row["cause"]:
                continue
            cause = found.setdefault(without_sizes(row["cause"]), Cause(without_sizes(row["cause"])))
            if row["exercise"] not in cause.exercises:
                cause.exercises.append(row["exercise"])
            if student not in cause.students:
                cause.students.append(student)
    return sorted(found.values(), key=lambda c: (-len(c.students), -len(c.exercises)))


# ---------------------------------------------------------------- what returns
def concepts(text: str) -> list[str]:
    """The misconceptions that a cause is of."""
    return [name for name, worded in MISCONCEPTIONS.items() if re.search(worded, text)]


def returning(room: Room) -> dict[str, list[tuple[Student, list[Row]]]]:
    """misconception -> students in whose hand-in it is in two assignments or more, with the rows."""
    found: dict[str, list[tuple[Student, list[Row]]]] = {}
    for student in room.students:
        had: dict[str, list[Row]] = {}
        for row in student.states("wrong"):
            for concept in concepts(row["cause"]):
                had.setdefault(concept, []).append(row)
        for concept, rows in had.items():
            if len({row["assignment"] for row in rows}) > 1:
                found.setdefault(concept, []).append((student, rows))
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


# ---------------------------------------------------------------- worth discussing
def worth_discussing(room: Room) -> list[Pick]:
    """Up to five hand-ins, of five students where there are as many."""
    picks: list[Pick] = []
    for kind in (_typical, _nearly, _rare, _short, _long):
        options = list(kind(room))
        new = [p for p in options if p.student not in [x.student for x in picks]]
        picks += (new or options)[:1]
    for pick in (
        p for kind in (_typical, _rare, _nearly) for p in kind(room)
    ):  # where a kind is missing, more of these
        if len(picks) < PICKS and pick.student not in [x.student for x in picks] and _is_new(pick, picks):
            picks.append(pick)
    return picks


def _is_new(pick: Pick, picks: list[Pick]) -> bool:
    """Whether it shows something that no other does."""
    return pick.why not in [x.why for x in picks] and (pick.exercise, pick.kind) not in [
        (x.exercise, x.kind) for x in picks
    ]


def _typical(room: Room) -> Iterator[Pick]:
    for number, cause in enumerate(causes(room)):
        if len(cause.students) > 1:
            kind = "a frequent mistake" if number else "the most frequent mistake"
            why = f"{len(cause.students)} students have this mistake: {cause.text}"
            for student in cause.students:
                row = next(r for r in student.states("wrong") if without_sizes(r["cause"]) == cause.text)
                yield Pick(kind, student, row["exercise"], why)


def _nearly(room: Room) -> Iterator[Pick]:
    for student in sorted(room.students, key=lambda s: (len(s.states("wrong")), -s.points)):
        wrong = student.states("wrong")
        if wrong and student.points:
            row = wrong[0]
            others = "it is the only thing wrong" if len(wrong) == 1 else f"one of {len(wrong)} things wrong"
            yield Pick("nearly right", student, row["exercise"], f"{others} in a good hand-in: {cause_of(row)}")


def _rare(room: Room) -> Iterator[Pick]:
    for cause in reversed(causes(room)):
        if len(cause.students) == 1:
            student = cause.students[0]
            row = next(r for r in student.states("wrong") if without_sizes(r["cause"]) == cause.text)
            if row["mistake"]:
                yield Pick("a rare cause", student, row["exercise"], f"nobody else has it: {cause.text}")


def _lengths(room: Room) -> Iterator[tuple[float, Student, str, int, float]]:
    """(length / median, student, exercise, length, median) of right solutions that are not alike or copied."""
    alike = {student for group in room.alike for student in group.students}
    for exercise in room.exercises:
        right = [
            (length(student.source(exercise.name), exercise.name), student)
            for student in room.students
            if student.row(exercise.name)["state"] == "passed" and exercise.name in student.forms
        ]
        if len(right) < FEW:
            continue
        middle = median(size for size, _ in right)
        for size, student in right:
            flagged = student.handin in alike or any(e == exercise.name for e, _ in student.flags)
            if middle and not flagged:
                yield size / middle, student, exercise.name, size, middle


def _short(room: Room) -> Iterator[Pick]:
    for ratio, student, exercise, size, middle in sorted(_lengths(room), key=lambda x: x[3] - x[4]):
        if ratio <= 0.75:
            why = f"right in {size} {'line' if size == 1 else 'lines'}; the class needs {middle:g}"
            yield Pick("short", student, exercise, why)


def _long(room: Room) -> Iterator[Pick]:
    for ratio, student, exercise, size, middle in sorted(_lengths(room), key=lambda x: x[4] - x[3]):
        if ratio >= 1.5:
            yield Pick("long", student, exercise, f"right in {size} lines; the class needs {middle:g}")


def length(source: str, exercise: str) -> int:
    """Lines of code of a function, without docstring, comments and blank lines."""
    text = function_text(source, exercise)
    return max(1, len(ast.unparse(_bare(ast.parse(text).body[0])).splitlines()) - 1) if text else 0


def _bare(node: ast.stmt) -> ast.stmt:
    if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None and len(node.body) > 1:
        node.body = node.body[1:]
    return node


def function_text(source: str, exercise: str) -> str:
    """The text of a function in a file, "" where it cannot be read."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    found = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == exercise]
    return ast.get_source_segment(source, found[-1]) or "" if found else ""
