"""From a folder of hand-ins and a roster to a class: graded, matched, and looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from npsoftmax.grading.classroom.borrowed import flag_borrowed
from npsoftmax.grading.classroom.copied import copied, copied_in_all
from npsoftmax.grading.classroom.lookalikes import look_alikes
from npsoftmax.grading.classroom.matching import match
from npsoftmax.grading.classroom.room import Room, Student, arrange, read_forms
from npsoftmax.grading.classroom.roster import Person, Roster, plain
from npsoftmax.grading.classroom.trees import Form
from npsoftmax.grading.classroom.variants import noted, seed_of
from npsoftmax.grading.exercises import EXERCISES, SEED, Exercise
from npsoftmax.grading.gradebook import Graded, grade_submissions
from npsoftmax.grading.handins.students import submissions_in
from npsoftmax.grading.runner import LIMIT


def gather(
    folder: Path,
    exercises: list[Exercise],
    roster: Roster | None = None,
    seed: int = SEED,
    limit: float = LIMIT,
    *,
    hidden: bool = False,
    store: Path | None = None,
    tell: Callable[[Graded], None] = lambda graded: None,
) -> Room:
    """Grade every hand-in with its student's own seed, and arrange the class. `tell` hears of each as it comes.

    hidden, store: as for grade_submissions; what is kept is only good for the same roster.
    """
    people = roster.people if roster else []
    owners: dict[str, Owner] = {}

    def own_seed(submission: str, laid_out: Path) -> int:
        owner = owners[submission] = Owner(submission, laid_out, people, seed)
        return owner.seed

    students = []
    submissions, others = submissions_in(folder)
    parts = {submission.name: submission for submission in submissions}
    for graded in grade_submissions(folder, exercises, own_seed, limit, hidden=hidden, store=store):
        tell(graded)
        if graded.submission not in owners:  # it was graded before
            with parts[graded.submission].laid_out() as layout:
                own_seed(graded.submission, layout.folder)
        owner = owners[graded.submission]
        student = Student(
            graded.submission,
            owner.person,
            owner.why if roster else "",
            graded.rows,
            graded.remark,
            graded.code,
            owner.seed,
            owner.variant,
        )
        student.flags += owner.flags
        students.append(student)
    room = Room(exercises, arrange(students), roster, others)
    look_at(room)
    flag_borrowed(room, limit)
    return room


class Owner:
    """Whose a hand-in is, and the seed that is theirs: by the roster, else by the id in the handout."""

    def __init__(self, submission: str, laid_out: Path, people: list[Person], hidden: int):
        note = noted(sorted(laid_out.rglob("*")))
        told = note[0] if note else ""
        found = match(submission, people, told)
        self.person, self.why = found.person, found.why
        self.flags: list[tuple[str, str]] = []
        self.variant = told
        if self.person is not None:
            own = [value for value in (*self.person.ids, self.person.email) if value]
            if plain(told) not in map(plain, own):
                self.variant = own[0] if own else ""
                if told:
                    self.flags.append(("", f"the handout in it was made for another student, {told!r}"))
        if note and note[1] != seed_of(told):
            self.flags.append(("", f"the seed in its first line was changed: it is not that of {told!r}"))
        self.seed = seed_of(self.variant, hidden) if self.variant else hidden


def look_at(room: Room) -> None:
    """Everything that is flagged from the source: what the grader saw, the library's own text, and look-alikes."""
    forms: dict[str, dict[str, Form]] = {exercise.name: {} for exercise in room.exercises}
    for student in room.students:
        read_forms(student)
        for row in student.rows:
            name = row["exercise"]
            student.flags += [(name, sentence) for sentence in row.get("flags") or ()]
            if name in student.forms:
                forms[name][student.handin] = student.forms[name]
                if said := copied(EXERCISES[name], student.forms[name], student.source(name)):
                    student.flags.append((name, said))
        if said := copied_in_all(student.forms):
            student.flags.append(("", said))
    room.alike, room.common = look_alikes(forms)
