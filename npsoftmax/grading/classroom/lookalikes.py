"""Hand-ins that look alike: flags to look at, never marks.

Two functions are alike if their normal forms are the same (trees.py). That happens honestly too, the more easily the
smaller a function is and the more usual its lines are. So a coincidence is weighed in bits: a line that one of n in
this class has is worth log2 n, a line that all have nothing. Functions below a size are left out, where everybody has
to write the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from npsoftmax.grading.classroom.trees import Form

SMALLEST = 25  # names, numbers and operations; below it, of 60 honest answers nearly all are the same as another one
ENOUGH = 12.0  # bits, for one exercise: of 60 honest students two or fewer are flagged (measured in docs/teaching.md)
COMMON = 0.2  # a solution that this share of a class has is no sign of anything
SOME = 4  # … and more than so many students


@dataclass(frozen=True)
class Alike:
    """Students whose functions are the same but for names, comments and layout. exercises: which; bits: how unlikely
    that is; to_the_letter: those of them in which the comments and names are the same too."""

    students: tuple[str, ...]
    exercises: tuple[str, ...]
    bits: float
    to_the_letter: tuple[str, ...] = ()


def look_alikes(forms: dict[str, dict[str, Form]]) -> tuple[list[Alike], dict[str, list[tuple[str, ...]]]]:
    """exercise -> student -> form: the groups to look at, and exercise -> solutions that are common in the class."""
    weights: Counter[tuple[str, str]] = Counter()
    shared: dict[tuple[str, str], list[str]] = {}
    common: dict[str, list[tuple[str, ...]]] = {}
    compared = [e for e, of in forms.items() if sum(form.size >= SMALLEST for form in of.values()) > 1]
    for exercise, of in forms.items():
        for students in _same(of):
            if len(students) > max(SOME, COMMON * len(of)):
                common.setdefault(exercise, []).append(students)
                continue
            bits = unlikely(students, of)
            for pair in combinations(students, 2):
                weights[pair] += bits  # type: ignore[assignment]
                shared.setdefault(pair, []).append(exercise)
    enough = ENOUGH + 2 * math.log2(max(1, len(compared)))  # the more is compared, the more is alike by itself
    pairs = [pair for pair, bits in weights.items() if bits >= enough]
    found = []
    for students in _connected(pairs):
        inside = [pair for pair in pairs if set(pair) <= set(students)]
        exercises = tuple(e for e in forms if any(e in shared[pair] for pair in inside))
        letter = tuple(e for e in exercises if any(_to_the_letter(forms[e], p) for p in inside if e in shared[p]))
        found.append(Alike(students, exercises, min(weights[pair] for pair in inside), letter))
    return sorted(found, key=lambda alike: -alike.bits), common


def _same(of: dict[str, Form]) -> Iterator[tuple[str, ...]]:
    """Groups of students with the same form that is not tiny."""
    groups: dict[str, list[str]] = {}
    for student, form in of.items():
        if form.size >= SMALLEST:
            groups.setdefault(form.key, []).append(student)
    yield from (tuple(sorted(group)) for group in groups.values() if len(group) > 1)


def unlikely(students: tuple[str, ...], of: dict[str, Form]) -> float:
    """How many bits the lines of one form have, by how many of the OTHER students have them."""
    others = [set(form.lines) for student, form in of.items() if student not in students]
    lines = set(of[students[0]].lines)
    return sum(math.log2((len(others) + 2) / (sum(line in o for o in others) + 1)) for line in lines)


def _to_the_letter(of: dict[str, Form], pair: tuple[str, str]) -> bool:
    return of[pair[0]].text == of[pair[1]].text


def _connected(pairs: list[tuple[str, str]]) -> Iterator[tuple[str, ...]]:
    """Students that are joined by pairs."""
    left = {student for pair in pairs for student in pair}
    while left:
        group, new = set(), {min(left)}
        while new:
            group |= new
            new = {s for pair in pairs if set(pair) & new for s in pair} - group
        left -= group
        yield tuple(sorted(group))
