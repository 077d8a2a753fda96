"""A page for each student: their own verdicts and reports, and nothing of anybody else."""

from __future__ import annotations

from npsoftmax.grading.classroom.markup import Markup, page, table, tag
from npsoftmax.grading.classroom.report import _sign
from npsoftmax.grading.classroom.room import Room, Student
from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES


def feedback_page(room: Room, student: Student) -> str:
    """The page as text. Flags are for the teacher, and not on it."""
    wrong = student.states("wrong")
    passed, open_ = len(student.states("passed")), len(student.states("not started"))
    said = f"{passed} of {len(student.rows)} exercises pass"
    said += f", {len(wrong)} {'is' if len(wrong) == 1 else 'are'} wrong" if wrong else ""
    said += f", {open_} {'is' if open_ == 1 else 'are'} not started" if open_ else ""
    body = [
        tag("h1", f"{room.title}: feedback"),
        tag("p", student.name),
        tag("p", tag("b", f"{student.points} of {room.possible} points"), f"; {said}."),
        tag("p", f"About what you handed in: {student.remark}.", class_="flag") if student.remark else Markup(""),
    ]
    if wrong:
        body += [tag("h2", "What is wrong, and probably why"), *map(_wrong, wrong)]
    elif open_ == 0:
        body.append(tag("p", "Everything is right."))
    body += [tag("h2", "All exercises"), _all(student)]
    return page(f"{room.title}: {student.name}", *body)


def _wrong(row: dict) -> Markup:
    exercise = EXERCISES[row["exercise"]]
    return tag(
        "section",
        tag("h3", _sign("wrong"), f" {row['assignment']} ", tag("code", row["exercise"])),
        tag("p", row["cause"][:1].upper() + row["cause"][1:]) if row["cause"] else None,
        tag("pre", row["report"], tabindex="0", aria_label=f"report on {row['exercise']}") if row["report"] else None,
        tag("p", f"Read {ASSIGNMENTS[exercise.assignment].folder}/README.md, step {exercise.step}. For a hint type ",
            tag("code", f"npsoftmax grade {exercise.name} --hint"), "."),
    )  # fmt: skip


def _all(student: Student) -> Markup:
    lines: list[list[object]] = [
        [
            tag("span", f"{row['assignment']} {row['exercise']}"),
            tag("span", _sign(row["state"]), f" {row['state']}"),
            f"{row['points']} of {row['of']}",
            row["note"] if row["file"] else "",
        ]
        for row in student.rows
    ]
    return table(["exercise", "state", "points", "note"], lines, "Points are given for what passes.", frozenset((2,)))
