"""The code of a notebook as the text of a module.

What is kept: functions, classes, imports, and the statements on which a function depends, in the order of the cells.
What is left out: plots, prints, training and tries, magics and shell lines. A kept statement that is no definition and
fails, as an import of a plotting library, is passed over. A cell that cannot be parsed is left out alone and told: in
Jupyter, too, it harms no other.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from npsoftmax.grading.handins.text import parsed

IMPORTS = (ast.Import, ast.ImportFrom)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
ANY_NAME = {"globals", "vars", "exec", "setattr", "sys"}  # what uses one of these may make, or find, any name
PASSED_OVER = ("except Exception:", "    pass")
FUTURE = "from __future__ import annotations"
PYTHON_CELLS = ("%%time", "%%timeit", "%%capture", "%%prun", "%%cython", "%%python", "%%writefile")
MAGIC = re.compile(r"(\s*)(?:[%!?]|[\w, ]+=\s*[%!]|[\w.]+\?{1,2}\s*$)")


class NoNotebook(ValueError):
    """Why a file is no notebook; the text is for the teacher."""


def notebook_source(data: bytes) -> tuple[str, list[str]]:
    """The module that a notebook's code cells make, and what was left out of it. Raises NoNotebook."""
    cells, remarks = [], []
    for number, code in enumerate(_code_cells(data), start=1):
        text = _without_magics(code)
        tree, problem = parsed(text)
        if tree is not None:
            cells.append((number, text, tree))
        elif re.search(r"^\s*def \w+", code, re.MULTILINE):
            remarks.append(f"cell {number} cannot be parsed ({problem}): left out")
    kept = _needed([statement for _, _, tree in cells for statement in tree.body])
    parts = [FUTURE] if any(FUTURE in text for _, text, _ in cells) else []
    for number, text, tree in cells:
        own = [line for statement in tree.body if statement in kept for line in _lines(text, statement)]
        parts += [f"# cell {number}\n" + "\n".join(own)] if own else []
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


def _needed(statements: list[ast.stmt]) -> set[ast.stmt]:
    """The definitions, the imports, and the statements that make or change what these, or one another, look up."""
    kept: set[ast.stmt] = {s for s in statements if isinstance(s, DEFINITIONS + IMPORTS)}
    modules = {(a.asname or a.name).partition(".")[0] for s in kept if isinstance(s, IMPORTS) for a in s.names}
    wanted = set().union(*(_looked_up(s) for s in kept if isinstance(s, DEFINITIONS)))
    for statement in reversed(statements):
        if statement not in kept and _made(statement) & ((wanted - modules) | ANY_NAME):
            kept.add(statement)
            wanted |= _looked_up(statement)
    return {s for s in kept if not (isinstance(s, ast.ImportFrom) and s.module == "__future__")}


def _looked_up(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _made(statement: ast.stmt) -> set[str]:
    """Names that a statement binds, defines, or may change: by `name[…] = …`, `name.append(…)`, `globals()`."""
    made = set()
    for node in ast.walk(statement):
        if isinstance(node, DEFINITIONS):
            made.add(node.name)
        elif isinstance(node, ast.Name) and (isinstance(node.ctx, ast.Store) or node.id in ANY_NAME):
            made.add(node.id)
        elif isinstance(node, ast.Call | ast.Subscript | ast.Attribute):
            inner: ast.expr = node.func if isinstance(node, ast.Call) else node
            stored = isinstance(node, ast.Call) or isinstance(node.ctx, ast.Store)
            while isinstance(inner, ast.Subscript | ast.Attribute) and stored:
                inner = inner.value
            if (
                stored
                and inner is not node
                and isinstance(inner, ast.Name)
                and inner is not getattr(node, "func", None)
            ):
                made.add(inner.id)
    return made


def _lines(text: str, statement: ast.stmt) -> list[str]:
    if isinstance(statement, DEFINITIONS):
        first = min([statement.lineno, *(d.lineno for d in statement.decorator_list)])
        return text.split("\n")[first - 1 : statement.end_lineno]
    return ["try:", _indented(ast.get_source_segment(text, statement) or "", statement), *PASSED_OVER]


def _indented(text: str, statement: ast.stmt) -> str:
    """The statement four spaces to the right, but not the lines that go on with a text of several lines."""
    inside = {
        line - statement.lineno
        for node in ast.walk(statement)
        if isinstance(node, ast.JoinedStr | ast.Constant) and node.end_lineno is not None
        for line in range(node.lineno + 1, node.end_lineno + 1)
    }
    return "\n".join(line if i in inside else f"    {line}" for i, line in enumerate(text.split("\n")))
