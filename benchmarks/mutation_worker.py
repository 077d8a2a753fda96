"""What mutation.py runs in the copy of the tree: mutmut, with the changes that numerical code needs besides its own.

It is a process of its own because mutmut takes the folder it is started in for the tree to mutate.
"""

from __future__ import annotations

import ast
import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libcst as cst
from mutmut import __main__ as mutmut
from mutmut.mutation import mutators
from mutmut.mutation.data import SourceFileMutationData
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files
from mutmut.utils.format_utils import orig_function_and_class_names_from_key

OTHER_NAMES = {
    "max": "min", "maximum": "minimum", "argmax": "argmin", "any": "all", "ceil": "floor", "zeros": "ones",
}  # fmt: skip
OTHER_NAMES |= {other: name for name, other in OTHER_NAMES.items()}

OUTCOMES = {"timeout": "timed out", "segfault": "killed", "skipped": "no tests"}


# ---------------------------------------------------------------- changes beyond mutmut's
def other_axis(node: cst.Arg) -> Iterator[cst.Arg]:
    """axis=1 -> axis=0. (mutmut makes 1 of 0, and of 1 an axis that most arrays lack.)"""
    keyword, value = node.keyword, node.value
    if keyword and keyword.value == "axis" and isinstance(value, cst.Integer) and value.value == "1":
        yield node.with_changes(value=cst.Integer("0"))


def other_name(node: cst.Name) -> Iterator[cst.Name]:
    """max -> min, any -> all, zeros -> ones, and back."""
    if node.value in OTHER_NAMES:
        yield node.with_changes(value=OTHER_NAMES[node.value])


def left_out(node: cst.Expr) -> Iterator[cst.Pass]:
    """A call for its effect alone is left out."""
    if isinstance(node.value, cst.Call):
        yield cst.Pass()


def opposite_branch(node: cst.If) -> Iterator[cst.If]:
    """if x: -> if not x: (mutmut does so where x is a comparison or a `not`)."""
    if not isinstance(node.test, cst.Comparison | cst.UnaryOperation):
        test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), test))


def change_operators() -> None:
    """Add ours; leave out the changes inside strings: few are more than a word in a message."""
    operators = [pair for pair in mutators.mutation_operators if pair[1] is not mutators.operator_string]
    ours = [(cst.Arg, other_axis), (cst.Name, other_name), (cst.Expr, left_out), (cst.If, opposite_branch)]
    mutators.mutation_operators[:] = [*operators, *ours]


# What is the same on a CPU, or the same but for a check of ours or a copy that nobody keeps.
NO_MATTER = ((re.compile(r"array_module\(\w+\)"), "xp"), (re.compile(r",\s*(strict|copy)=\w+|,\s*(?=\))"), ""))


def changes_something(mutant: dict[str, Any]) -> bool:
    """Whether the lines still differ without what NO_MATTER names (copy=True is a promise, and counts)."""
    old, new = str(mutant["old"]), str(mutant["new"])
    if "copy=True" in old:
        return True
    for pattern, same in NO_MATTER:
        old, new = pattern.sub(same, old), pattern.sub(same, new)
    return old != new


# ---------------------------------------------------------------- what became of them
def line_of(source: str, key: str, first: str, offset: int) -> int:
    """The number of the changed line: the one in its function that reads so, and of several the nearest to `offset`."""
    name, class_ = orig_function_and_class_names_from_key(key)
    body = ast.parse(source).body
    if class_:
        body = next(node.body for node in body if isinstance(node, ast.ClassDef) and node.name == class_)
    function = next(node for node in body if isinstance(node, ast.FunctionDef) and node.name == name)
    lines = source.splitlines()
    same = [i for i in range(function.lineno, (function.end_lineno or 0) + 1) if lines[i - 1].strip() == first]
    return min(same, key=lambda i: abs(i - function.lineno - offset), default=function.lineno)


def tell(path: Path, key: str) -> dict[str, Any]:
    """One mutant, as mutation.py reads it, before it is run."""
    lines = mutmut.get_diff_for_mutant(key, path=path).splitlines()[2:] or ["@@ -1 +1 @@"]  # a new name alone: no lines
    changed = next((i for i, line in enumerate(lines) if line.startswith("-")), 0)
    old, new = ("\n".join(s[1:].strip() for s in lines if s.startswith(sign)) for sign in "-+")
    start = int(lines[0].split()[1].split(",")[0].lstrip("-"))  # @@ -5,7 +5,7 @@
    name, class_ = orig_function_and_class_names_from_key(key)
    return {
        "module": path.as_posix(),
        "function": f"{class_}.{name}" if class_ else name,
        "line": line_of(path.read_text(), key, old.split("\n", 1)[0], start + changed - 2),
        "old": old,
        "new": new,
    }


def exit_codes(path: Path) -> dict[str, int | None]:
    """What mutmut wrote of each mutant of a module."""
    data = SourceFileMutationData(path=path)
    data.load()
    return dict(data.exit_code_by_key)


def work(sample: int | None, seed: int) -> list[dict[str, Any]]:
    """Make the mutants of the modules that pyproject.toml names, draw, run them, and tell."""
    change_operators()
    for step in (mutmut.copy_src_dir, mutmut.copy_also_copy_files, mutmut.setup_source_paths):
        step()
    mutmut.create_mutants(1)
    chosen: dict[str, dict[str, Any]] = {}
    for path in sorted(walk_mutatable_files()):
        told = {key: tell(path, key) for key in sorted(exit_codes(path))}
        kept = {key: mutant for key, mutant in told.items() if changes_something(mutant)}
        # Drawn by the module's name as well: what a module gets depends on no other.
        draw = random.Random(f"{seed} {path.as_posix()}")
        names = draw.sample(list(kept), min(len(kept), len(kept) if sample is None else sample))
        chosen |= {key: {**kept[key], "of": len(kept)} for key in names}
    mutmut._run(list(chosen), 1)
    codes = {key: code for path in walk_mutatable_files() for key, code in exit_codes(path).items()}
    outcomes = {key: status_by_exit_code[codes[key]] for key in chosen}
    return [{**mutant, "outcome": OUTCOMES.get(outcomes[key], outcomes[key])} for key, mutant in chosen.items()]


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    found = work(job["sample"], job["seed"])
    Path(job["found"]).write_text(json.dumps(found))
