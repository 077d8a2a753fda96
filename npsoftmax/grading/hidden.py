"""Rows that tell nothing to fit to: of hidden cases, verdicts and causes without a number, a size or the seed."""

from __future__ import annotations

import builtins
import re
from typing import Any

from npsoftmax.grading.check import FAILED
from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES
from npsoftmax.grading.mistakes import all_mistakes
from npsoftmax.grading.report import INDENT, LABEL, field

TOLD = ("stopped", "crashed", "where", "found", "in Python", "not compiled")  # facts without a number of the case
FAILS = "it fails on hidden numbers"


class _Names(dict[str, str]):
    """Every size and number of a case, as its own name."""

    def __missing__(self, key: str) -> _Name:
        return _Name(key)


class _Name(str):
    def __format__(self, how: str) -> str:
        return str(self)


def hide(row: dict[str, Any]) -> dict[str, Any]:
    """The row without what would tell the seed, or what the right answer is. Facts that it does not know are left
    out."""
    hidden = row | {"seed": None, "note": without_numbers(row["note"]), "cause": ""}
    if row["state"] != "wrong":
        return hidden
    exercise = EXERCISES[row["exercise"]]
    facts = _facts(row["report"])
    if row["cause"].startswith((FAILED, "not judged")):  # that is nobody's mistake
        facts = {"found": row["cause"].partition(" (")[0]}
    cause = hidden_cause(row) if "likely cause" in facts else ""
    told = [(label, text) for label, text in facts.items() if label in TOLD]
    if raised := facts.get("raised"):
        told.insert(0, ("raised", raised if "cannot be loaded" in row["report"] else _kind(raised)))
    if cause:
        told.append(("likely cause", cause))
    fails = "" if "found" in facts else f"   {FAILS}"
    lines = [f"{row['report'][:1]} {exercise.assignment} {exercise.name}{fails}"]
    told.append(("read", f"{ASSIGNMENTS[exercise.assignment].folder}/README.md, step {exercise.step}"))
    for label, text in told:
        lines += field(label, text)
    hidden["report"] = "\n".join(lines)
    hidden["cause"] = cause or (told[0][1] if told[0][0] != "read" else FAILS)
    return hidden


def hidden_cause(row: dict[str, Any]) -> str:
    """The cause in words alone: a catalogued sentence with the names of sizes, any other without its numbers."""
    for mistake in all_mistakes().get(row["exercise"], ()):
        if mistake.id == row["mistake"]:
            return _once(mistake.sentence.format_map(_Names()))
    return without_numbers(row["cause"])


def _once(text: str) -> str:
    """'N = N rows' is 'N rows'."""
    return re.sub(r"\b(\w+) = \1\b", r"\1", text)


def without_numbers(text: str) -> str:
    """A size's name for "N = 7", an ellipsis for every other number above 1; 1/N and float32 stay."""
    text = re.sub(r"\b([A-Za-z]\w*|1/\w+) = -?[\d.][\d.e+-]*", r"\1", text)
    return re.sub(r"(?<![\w/])-?(?![01]\b(?!\.))\d[\d,.]*(?:e[+-]?\d+)?(?![\w])", "\N{HORIZONTAL ELLIPSIS}", text)


def _kind(raised: str) -> str:
    """The type of an exception, without its message, which may hold anything."""
    name = raised.partition(":")[0]
    return name if isinstance(getattr(builtins, name, None), type) else "an exception"


def _facts(report: str) -> dict[str, str]:
    """label -> text of the lines below the head of a report."""
    facts: dict[str, str] = {}
    label = ""
    for line in report.split("\n")[1:]:
        found, text = line[: LABEL + INDENT].strip(), line[LABEL + INDENT :].strip()
        label = found or label
        facts[label] = f"{facts[label]} {text}" if label in facts and not found else text
    return facts
