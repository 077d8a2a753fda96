"""What a tutor may know: what is wrong, where to read, the next hint; never how a solution is written.

Design: an assistant that helps a student is asked to teach (AGENTS.md in every folder), and gets here what it needs for
that. Nothing that it is told holds a statement of a solution: texts that anybody else wrote, such as the messages of
exceptions, are passed on only where they are Python's or NumPy's own, and every text is searched for statements.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from functools import cache
from typing import Any

from npsoftmax.grading.exercises import ASSIGNMENTS, Exercise, exercises_of
from npsoftmax.grading.report import fields_of
from npsoftmax.grading.stubs import solution, stub

WITHHELD = "[a line of the solution, withheld]"
# What the report says in the grader's own words.
FACTS = ("shape", "returned", "stopped", "crashed", "changed in place", "called twice", "how many", "not finite")
CACHE = "the cache has to hold"
# Messages of Python and NumPy that say something about shapes and names, and hold no text of a student's.
KNOWN_MESSAGES = re.compile(
    r"operands could not be broadcast together with shapes [\d(), ]+"
    r"|matmul: Input operand \d has a mismatch in its core dimension \d[^\n]{0,160}"
    r"|shapes [\d(), ]+ not aligned: [\w\s().!=]+"
    r"|cannot reshape array of size \d+ into shape [\d(), ]+"
    r"|axis -?\d+ is out of bounds for array of dimension \d+"
    r"|index -?\d+ is out of bounds for axis \d+ with size \d+"
    r"|too many indices for array: [\w\s,-]+"
    r"|name '\w{1,30}' is not defined( Did you mean: '\w{1,30}'\?)?"
    r"|(not enough|too many) values to unpack \([\w\s,]+\)"
    r"|\w{1,40}\(\) (missing|takes|got) [\w\s',]{1,80}"
    r"|'\w{1,30}' object (is not \w+|has no attribute '\w{1,30}')"
)


def advice(exercise: Exercise, row: dict[str, Any], level: int = 1) -> dict[str, Any]:
    """What to tell the tutor about a verdict. hint: the one of that level; next: the command for the next, "" after the
    last."""
    level = min(max(level, 1), len(exercise.hints))
    facts = dict(fields_of(row["report"]))
    more = f"npsoftmax grade {exercise.name} --tutor --json --hint {level + 1}"
    told = {
        "assignment": exercise.assignment,
        "exercise": exercise.name,
        "state": row["state"],
        "points": row["points"],
        "of": exercise.points,
        "cause": facts.get("likely cause", ""),
        "facts": [f"{label}: {_own(facts[label])}" for label in FACTS if label in facts]
        + ([f"cache: wrong; {CACHE} {facts[CACHE]}"] if CACHE in facts else [])
        + _raised(facts),
        "read": f"{ASSIGNMENTS[exercise.assignment].folder}/README.md, step {exercise.step}",
        "hint": exercise.hints[level - 1],
        "level": level,
        "levels": len(exercise.hints),
        "next": more if level < len(exercise.hints) else "",
        "rule": "Teach, do not solve: AGENTS.md says how.",
    }
    return {key: _clean(exercise, value) for key, value in told.items()}


def in_words(told: dict[str, Any]) -> str:
    """The same for a person."""
    lines = [f"{told['assignment']} {told['exercise']}: {told['state']}"]
    lines += [f"cause: {told['cause']}"] if told["cause"] else []
    lines += [*told["facts"], f"read: {told['read']}", f"hint {told['level']} of {told['levels']}: {told['hint']}"]
    lines += [f"more: {told['next']}"] if told["next"] else []
    return "\n".join(lines)


def _own(text: str) -> str:
    """A fact without the name of a type that a student made up."""
    return (
        text if re.search(r"of type \w{1,40},", text) else re.sub(r"of type .*, but", "of a type of its own, but", text)
    )


def _raised(facts: dict[str, str]) -> list[str]:
    """The type of an exception and its line; its message where it is known not to hold text of somebody's."""
    if "raised" not in facts:
        return []
    kind, _, message = facts["raised"].partition(": ")
    shown = kind if re.fullmatch(r"\w{1,40}", kind) else "an exception"
    if KNOWN_MESSAGES.fullmatch(message.strip()):
        shown += f": {message.strip()}"
    line = re.search(r"line (\d+)", facts.get("where", ""))
    return [f"raised: {shown}" + (f", in line {line[1]} of the student's file" if line else "")]


# ---------------------------------------------------------------- no statement of a solution
def _clean(exercise: Exercise, value: Any) -> Any:
    if isinstance(value, list):
        return [_clean(exercise, inner) for inner in value]
    return without_statements(value, exercise.assignment) if isinstance(value, str) else value


def without_statements(text: str, assignment: str) -> str:
    """The text with every statement of a solution of the assignment taken out, however it is spaced."""
    squeezed = squeeze(text)
    for statement in statements_of(assignment):
        if statement in squeezed:
            text = re.sub(r"\s*".join(map(re.escape, statement)), WITHHELD, text)
            squeezed = squeeze(text)
    return text


@cache
def statements_of(assignment: str) -> tuple[str, ...]:
    """Every statement of every solution of an assignment, squeezed, the longest first; what stubs show is none."""
    shown = squeeze("\n".join(stub(e) for e in exercises_of(assignment)))
    found = set()
    for exercise in exercises_of(assignment):
        for text in {solution(exercise), *_reference(exercise)}:
            function = ast.parse(text).body[0]
            for node in ast.walk(function):
                if isinstance(node, ast.stmt) and node is not function and not _is_docstring(node):
                    head = ast.unparse(node).split("\n")[0] if hasattr(node, "body") else ast.unparse(node)
                    found |= {squeeze(head)}
    return tuple(sorted((s for s in found if len(s) > 3 and s not in shown), key=len, reverse=True))


def _reference(exercise: Exercise) -> list[str]:
    """The library's own function beside the solution, where Python can show it."""
    if exercise.compiled:
        return []
    return [textwrap.dedent(inspect.getsource(exercise.reference))]


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def squeeze(text: str) -> str:
    """A text without its spaces: how a statement is set does not matter."""
    return re.sub(r"\s+", "", text)
