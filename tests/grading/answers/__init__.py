"""Answers as students write them, in text files beside this one: `right.txt` and `wrong.txt`.

A line `=== exercise: what is special` starts an answer; what follows is the body of the function, put into the stub.
Lines before a line `--- body` stand at the top of the file instead.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

from npsoftmax.grading import stubs
from npsoftmax.grading.check import Verdict, check
from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES
from npsoftmax.grading.loading import load
from npsoftmax.grading.student import borrowed


@dataclass(frozen=True)
class Answer:
    """One function of one student."""

    exercise: str
    what: str
    head: str
    body: str

    def file(self, folder: Path) -> Path:
        """The student's file: everything else in it is still a stub."""
        exercise = EXERCISES[self.exercise]
        name, stub = stubs.file_of(exercise), stubs.stub(exercise)
        text = stubs.stub_file(ASSIGNMENTS[exercise.assignment], name)
        written = stub.rpartition("    raise NotImplementedError")[0] + textwrap.indent(self.body, "    ")
        if self.body.startswith(f"def {self.exercise}("):
            written = self.body
        assert stub in text
        first, _, rest = text.partition("import")
        path = folder / name
        path.write_text(first + "import" + rest.replace(stub, f"{self.head}\n\n{written}"), encoding="utf-8")
        return path


def answers(name: str) -> list[Answer]:
    """All answers of a text file."""
    found = []
    for part in Path(__file__).with_name(f"{name}.txt").read_text(encoding="utf-8").split("=== ")[1:]:
        title, _, text = part.partition("\n")
        exercise, _, what = title.partition(": ")
        head, cut, body = text.rpartition("--- body\n")
        found.append(Answer(exercise, what, head.rstrip(), body.rstrip() if cut else text.rstrip()))
    return found


def verdict_on(answer: Answer, folder: Path, seed: int = 0) -> Verdict:
    """The answer, loaded and judged as a hand-in is, but in this process."""
    folder.mkdir(exist_ok=True)
    file = answer.file(folder)
    module = load(file)
    exercise = EXERCISES[answer.exercise]
    others = borrowed(exercise)
    vars(module).update({n: EXERCISES[n].reference for n in others if n in vars(module)})
    return check(exercise, getattr(module, exercise.name), seed, file=str(file))
