"""The code of a notebook as the text of a module.

What is kept: imports, functions, classes and assignments, in the order of the cells, and `if`, `try` and `with` around
them. What is left out: bare calls, loops and asserts (plots, prints, training, tries), magics and shell lines. A kept
statement that is no definition and fails, as an import of a plotting library, is passed over. A cell that cannot be
parsed is left out alone and told: in Jupyter, too, it harms no other.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from npsoftmax.grading.handins.text import parsed

KEPT = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.If, ast.Try, ast.With)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
PYTHON_CELLS = ("%%time", "%%timeit", "%%capture", "%%prun", "%%cython", "%%python", "%%writefile")
MAGIC = re.compile(r"(\s*)(?:[%!?]|[\w, ]+=\s*[%!]|[\w.]+\?{1,2}\s*$)")


class NoNotebook(ValueError):
    """Why a file is no notebook; the text is for the teacher."""


def notebook_source(data: bytes) -> tuple[str, list[str]]:
    """The module that a notebook's code cells make, and what was left out of it. Raises NoNotebook."""
    parts, remarks = [], []
    for number, code in enumerate(_code_cells(data), start=1):
        text = _without_magics(code)
        tree, problem = parsed(text)
        if tree is None:
            if re.search(r"^\s*def \w+", code, re.MULTILINE):
                remarks.append(f"cell {number} cannot be parsed ({problem}): left out")
            continue
        kept = _kept(tree, text)
        if kept:
            parts.append(f"# cell {number}\n" + "\n".join(kept))
    return "\n\n".join(parts) + "\n", remarks


def _code_cells(data: bytes) -> list[str]:
    try:
        book = json.loads(data.decode("utf-8-sig"))
        cells = book["cells"] if "cells" in book else [c for sheet in book["worksheets"] for c in sheet["cells"]]
        sources = [c.get("source", c.get("input", "")) for c in cells if c.get("cell_type") == "code"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NoNotebook("it is no notebook that can be read") from error
    return [_joined(source) for source in sources]


def _joined(source: Any) -> str:
    text = source if isinstance(source, str) else "".join(map(str, source))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _without_magics(code: str) -> str:
    first = next((line.strip() for line in code.split("\n") if line.strip()), "")
    if first.startswith("%%"):
        word = first.split()[0]
        if word not in PYTHON_CELLS or (word == "%%writefile" and not first.endswith(".py")):
            return ""
        code = code.replace(first, "", 1)
    if parsed(code)[0] is not None:  # a line that begins with % may go on with the one before
        return code
    return "\n".join(f"{found[1]}pass" if (found := MAGIC.match(line)) else line for line in code.split("\n"))


def _kept(tree: ast.Module, text: str) -> list[str]:
    lines, kept = text.split("\n"), []
    for statement in tree.body:
        if isinstance(statement, DEFINITIONS):
            first = min([statement.lineno, *(d.lineno for d in statement.decorator_list)])
            kept.append("\n".join(lines[first - 1 : statement.end_lineno]))
        elif isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            continue  # it may stand in the first line of a module only
        elif isinstance(statement, KEPT):
            kept += ["try:", _indented(ast.get_source_segment(text, statement) or "", statement), *PASSED_OVER]
    return kept


PASSED_OVER = ("except Exception:", "    pass")


def _indented(text: str, statement: ast.stmt) -> str:
    """The statement four spaces to the right, but not the lines that go on with a text of several lines."""
    inside = {
        line - statement.lineno
        for node in ast.walk(statement)
        if isinstance(node, ast.JoinedStr | ast.Constant) and node.end_lineno is not None
        for line in range(node.lineno + 1, node.end_lineno + 1)
    }
    return "\n".join(line if i in inside else f"    {line}" for i, line in enumerate(text.split("\n")))
