"""An answer that only fits somebody else's numbers: wrong on the student's own, right on those of another's handout."""

from __future__ import annotations

import ast
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from npsoftmax.grading import stubs
from npsoftmax.grading.classroom.room import Room, Row, Student
from npsoftmax.grading.classroom.variants import seed_of
from npsoftmax.grading.exercises import EXERCISES, SEED, Exercise
from npsoftmax.grading.runner import LIMIT, Runner
from npsoftmax.host import available_cpus

CONTROLS = tuple(seed_of(f"nobody {number}") for number in range(12))
GENERAL = 3  # of the controls: what is right on more of them is nearly right, and not made for anybody's numbers
NAMED = 3


def flag_borrowed(room: Room, limit: float = LIMIT) -> None:
    """Flag answers with numbers of their own that are wrong, but right on another handout's numbers."""
    handouts = {seed_of(s.variant): s for s in room.students if s.variant}

    def one(student: Student) -> None:
        rows = [row for row in student.states("wrong") if _worth_trying(student, row)]
        if not rows:
            return
        with tempfile.TemporaryDirectory() as folder, Runner(SEED, limit) as runner:
            for row in rows:
                path = Path(folder, stubs.file_of(EXERCISES[row["exercise"]]))
                path.write_text(student.source(row["exercise"]), encoding="utf-8", errors="replace")
                if said := _fits(runner, EXERCISES[row["exercise"]], path.resolve(), student, handouts):
                    student.flags.append((row["exercise"], said))

    with ThreadPoolExecutor(available_cpus()) as pool:
        list(pool.map(one, room.students))


def _fits(runner: Runner, exercise: Exercise, path: Path, student: Student, handouts: dict[int, Student]) -> str:
    """Whose numbers it is right on; "" if nobody's, or if on many."""

    def right(seed: int) -> bool:
        runner.seed = seed
        return runner.grade(exercise, path)["state"] == "passed"

    often = 0
    for seed in CONTROLS:
        often += right(seed)
        if often >= GENERAL:
            return ""
    others = [s for seed, s in handouts.items() if seed != student.seed and s is not student and right(seed)]
    if others:
        names = ", ".join(s.name for s in others[:NAMED])
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        return f"it is wrong on the student's own numbers, but right on those of {names}{more}"
    if student.variant and student.seed != seed_of(student.variant) and right(seed_of(student.variant)):
        return "it is right on the numbers of the student's handout alone"
    if student.seed != SEED and right(SEED):
        return f"it is wrong on the student's own numbers, but right on those of everybody's handout (seed {SEED})"
    return ""


# ---------------------------------------------------------------- which are worth trying
def _worth_trying(student: Student, row: Row) -> bool:
    """Wrong for no known reason, and with numbers or data in it that the exercise does not ask for."""
    return not row["mistake"] and _has_numbers(student.source(row["exercise"]), EXERCISES[row["exercise"]])


def _has_numbers(source: str, exercise: Exercise) -> bool:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    others = EXERCISES.keys() - {exercise.name}
    own = [node for node in tree.body if not (isinstance(node, ast.FunctionDef) and node.name in others)]
    usual = _numbers([ast.parse(stubs.solution(exercise))]) | {0, 1, 2, 0.5}
    return bool(_numbers(own) - usual) or any(_is_data(node) for part in own for node in ast.walk(part))


def _numbers(parts: list[ast.stmt] | list[ast.Module]) -> set[object]:
    constants = [n.value for part in parts for n in ast.walk(part) if isinstance(n, ast.Constant)]
    return {value for value in constants if isinstance(value, int | float) and not isinstance(value, bool)}


def _is_data(node: ast.AST) -> bool:
    """A file that is read."""
    return isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("open", "load", "loads", "loadtxt")
