"""An assignment as a notebook: the page step by step, below each step its stubs, and below each stub its check.

It is made of the files of the assignment's folder, so it holds the same page and the same stubs. No Jupyter is needed
to make one.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from npsoftmax.grading.exercises import Assignment, exercises_of
from npsoftmax.grading.stubs import file_of

FENCE = re.compile(r"^```math\n(.*?)\n```$", re.DOTALL | re.MULTILINE)
LAST = """\
## All of it

In a terminal, or in a cell with `!` before it:

```sh
npsoftmax grade {assignment}
```

It reads this notebook as it was last **saved**. What is graded are the functions above with what they need, not the
cells that try them out.
"""


def with_notebook(assignment: Assignment, files: dict[str, bytes]) -> dict[str, bytes]:
    """The files of an assignment's folder with one notebook in the place of its Python files."""
    stub_files = dict.fromkeys(file_of(e) for e in exercises_of(assignment.id))
    kept = {name: data for name, data in files.items() if name not in stub_files}
    name = notebook_name(assignment)
    page = kept["README.md"].decode()
    links = [f"[{file}]({file})" for file in stub_files]
    for link in (" and ".join(links), *links):  # first where both are named
        page = page.replace(link, f"[{name}]({name})")
    kept["README.md"] = page.encode()
    kept[name] = _notebook(assignment, page, {file: files[file].decode() for file in stub_files})
    return kept


def notebook_name(assignment: Assignment) -> str:
    """softmax.ipynb beside softmax.py."""
    return f"{assignment.file.removesuffix('.py')}.ipynb"


def _notebook(assignment: Assignment, page: str, stub_files: dict[str, str]) -> bytes:
    parts = re.split(r"^(?=## )", page, flags=re.MULTILINE)
    heads, functions = zip(*map(_cut, stub_files.values()), strict=True)
    stubs = {name: text for found in functions for name, text in found.items()}
    cells = [("markdown", parts[0]), ("code", f"{heads[0]}\n\nimport npsoftmax")]
    for part in parts[1:]:
        cells.append(("markdown", part))
        step = re.match(r"## Step (\d+)", part)
        for exercise in exercises_of(assignment.id):
            if step and exercise.step == int(step[1]):
                file = list(stub_files).index(file_of(exercise))
                head = f"{heads[file]}\n\n\n" if file else ""
                cells.append(("code", head + stubs[exercise.name]))
                cells.append(("code", f'npsoftmax.check("{exercise.name}", {exercise.name})'))
    cells.append(("markdown", LAST.format(assignment=assignment.id)))
    book = {
        "cells": [_cell(number, kind, text.strip("\n")) for number, (kind, text) in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return (json.dumps(book, indent=1, ensure_ascii=False) + "\n").encode()


def _cut(text: str) -> tuple[str, dict[str, str]]:
    """A file of stubs as its head, and the text of each function by name."""
    lines = text.split("\n")
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    first = [min([f.lineno, *(d.lineno for d in f.decorator_list)]) for f in functions]
    # A stub's last line ends with a comment, which is no part of the tree: up to the next function all is its own.
    ends = [*(start - 1 for start in first[1:]), len(lines)]
    cut = {f.name: "\n".join(lines[a - 1 : b]).rstrip() for f, a, b in zip(functions, first, ends, strict=True)}
    return "\n".join(lines[: first[0] - 1]).rstrip(), cut


def _cell(number: int, kind: str, text: str) -> dict[str, Any]:
    shown = FENCE.sub(r"$$\n\1\n$$", text) if kind == "markdown" else text
    cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}}
    if kind == "code":
        cell |= {"execution_count": None, "outputs": []}
    return cell | {"source": shown.splitlines(keepends=True)}
