"""Notebooks: from the cells of a hand-in to a file that can be graded.

Design: a notebook holds more than its functions: plots, prints, training loops, files that only its author has. What is
taken over is what the asked-for functions need, by the names that they read; all else cannot break or delay anything.
"""

from __future__ import annotations

import ast
import json
import re
import symtable
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npsoftmax.errors import InputError

PYTHON_CELLS = ("capture", "cython", "prun", "time", "timeit", "writefile")  # %%magics above a cell of Python
FOLDER = "from_notebook"
ANY_NAME = {"globals", "exec", "setattr"}  # what a statement does with one of these may make any name
FUTURE = "from __future__ import annotations"


@dataclass
class Piece:
    """A statement at the top of a cell. binds, reads: the global names that it gives a value, and that it needs."""

    cell: int
    text: str
    binds: frozenset[str]
    reads: frozenset[str]
    stub: bool = False


def notebook_source(data: bytes, names: Collection[str]) -> str:
    """The functions `names` of a notebook, with all that they need, as the text of a Python file.

    Magics and `!` lines are left out. A cell that is no Python becomes functions that say so when they are called; of
    several definitions the last counts, a stub only where there is no other. "" where none of the functions is there.
    Raises InputError for what is no notebook of Python.
    """
    cells = code_cells(data)
    pieces = [piece for number, text in enumerate(cells, 1) if text.strip() for piece in _pieces(number, text)]
    written = {name for p in pieces if not p.stub for name in p.binds}
    pieces = [p for p in pieces if not (p.stub and p.binds <= written)]
    kept = _needed(pieces, set(names))
    if not any(p.binds & set(names) for p in kept):
        return ""
    lines, cell = [], 0
    if any(FUTURE in text for text in cells) and not any("cython" in p.binds for p in kept):
        lines.append(FUTURE)
    for piece in kept:
        lines += ["", ""] if piece.text.startswith(("def ", "class ", "@")) else []
        if piece.cell != cell:
            lines.append(f"# cell {piece.cell}")
        lines.append(piece.text)
        cell = piece.cell
    return "\n".join(lines).strip("\n") + "\n"


def code_cells(data: bytes) -> list[str]:
    """The text of every cell of code, as it is in the notebook. Raises InputError for what is no notebook of Python."""
    try:
        book = json.loads(data.decode("utf-8-sig"))
        cells = [cell for sheet in book.get("worksheets", [book]) for cell in sheet["cells"]]  # worksheets: version 3
        kernel = ((book.get("metadata") or {}).get("kernelspec") or {}).get("language", "python")
        code = [cell.get("source", cell.get("input", "")) or "" for cell in cells if cell.get("cell_type") == "code"]
        texts = [text if isinstance(text, str) else "".join(text) for text in code]
    except (UnicodeDecodeError, RecursionError, ValueError, TypeError, KeyError, AttributeError) as error:
        said = type(error).__name__
        raise InputError(f"it is no notebook that can be read ({said}); save it as .ipynb again.") from error
    if str(kernel).lower() not in ("python", "python3", "ipython"):
        raise InputError(f"it is a notebook of {kernel}, but one of Python was expected.")
    return [text.replace("\r\n", "\n").replace("\r", "\n") for text in texts]


# ---------------------------------------------------------------- in a student's own folder
def as_file(notebook: Path, file: str, names: Collection[str]) -> Path:
    """The file of Python that is graded for a notebook: written in __pycache__ beside it, where its text changed.

    Raises InputError for what is no notebook.
    """
    try:
        text = notebook_source(notebook.read_bytes(), names).encode()
    except InputError as error:
        raise InputError(f"{notebook}: {error}") from error
    path = notebook.parent / "__pycache__" / FOLDER / file
    if not path.is_file() or path.read_bytes() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    return path


def notebook_of(file: Path) -> Path | None:
    """The notebook that a file was made of by `as_file`; None for any other file."""
    if file.parent.name != FOLDER:
        return None
    folder = file.parent.parent.parent
    return next((p for p in sorted(folder.glob("*.ipynb"))), None)


# ---------------------------------------------------------------- from a cell to Python
def _pieces(number: int, text: str) -> Iterator[Piece]:
    """The statements of a cell; of one that is no Python, a function for each that it would have defined."""
    text = without_magics(text)
    try:
        tree = ast.parse(text)
        compile(tree, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        yield from [_piece(number, text.split("\n"), node) for node in tree.body]
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        said = getattr(error, "msg", str(error))
        line = getattr(error, "lineno", None) or 1
        shown = "".join(text.split("\n")[line - 1 : line]).strip()
        wrong = f"cell {number}, line {line}: {said}: {shown}"
        for name in dict.fromkeys(re.findall(r"^(?:async )?def\s+(\w+)", text, re.MULTILINE)):
            body = f"def {name}(*_, **__):\n    raise SyntaxError({wrong!r})"
            yield Piece(number, body, frozenset([name]), frozenset())


def without_magics(text: str) -> str:
    """A cell without what only IPython understands; its lines keep their numbers.

    Only lines at which Python stops are looked at: a line of an expression may begin with %, and one of a string with
    anything.
    """
    first, _, rest = text.lstrip().partition("\n")
    if first.startswith("%%"):
        words = first[2:].split()
        python = bool(words) and words[0] in PYTHON_CELLS and (words[0] != "writefile" or words[-1].endswith(".py"))
        text = "\n" * (len(text) - len(text.lstrip()) + 1) + rest if python else ""
    lines = text.split("\n")
    for _ in range(len(lines)):
        try:
            ast.parse("\n".join(lines))
        except SyntaxError as error:
            at = (error.lineno or 0) - 1
            if not 0 <= at < len(lines):
                break
            plain = _plain(lines[at])
            if plain == lines[at]:
                break
            lines[at] = plain
        except (ValueError, RecursionError, MemoryError):
            break
        else:
            break
    return "\n".join(lines)


def _plain(line: str) -> str:
    """One line without its magic; the same line where it has none."""
    code = line.lstrip()
    indent = line[: len(line) - len(code)]
    if found := re.match(r"%time\s+(.+)", code):
        return indent + found[1]
    if code.startswith(("%", "!", "?")) or re.fullmatch(r"[\w.]+\?{1,2}\s*", code):
        return indent + "pass"
    if found := re.match(r"([\w, ]+=)\s*[!%]", code):
        return f"{indent}{found[1]} None"
    return line


def _piece(number: int, lines: list[str], node: ast.stmt) -> Piece:
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(d.lineno for d in decorators)])
    text = "\n".join(lines[first - 1 : node.end_lineno])
    if not decorators and (node.col_offset or _shares_its_line(text, node)):  # a = 1; b = 2
        text = ast.unparse(node)
    table = symtable.symtable(text, "cell", "exec")
    binds = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
    binds |= set(_changed(node))
    if isinstance(node, ast.ImportFrom) and node.module == "__future__":
        binds = set()
    return Piece(number, text, frozenset(binds), frozenset(_read(table)), _is_stub(node))


def _shares_its_line(text: str, node: ast.stmt) -> bool:
    return len(ast.parse(text).body) > 1


def _changed(node: ast.stmt) -> Iterator[str]:
    """Names whose value is changed in place, loops and conditions included: table[k] = v, table.append(v)."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return
    targets: list[Any] = []
    for inner in ast.walk(node):
        targets += [*getattr(inner, "targets", []), getattr(inner, "target", None)]
        if isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Call):
            targets.append(inner.value.func)
    for target in targets:
        base = target
        while isinstance(base, ast.Attribute | ast.Subscript):
            base = base.value
        if base is not target and isinstance(base, ast.Name):
            yield base.id


def _read(table: symtable.SymbolTable) -> Iterator[str]:
    """The global names that a statement, or a function inside it, reads."""
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (table.get_type() == "module" or symbol.is_global()):
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _read(inner)


def _is_stub(node: ast.stmt) -> bool:
    """Whether it is a function that only raises NotImplementedError."""
    if not isinstance(node, ast.FunctionDef):
        return False
    last = node.body[-1]
    raised = last.exc if isinstance(last, ast.Raise) else None
    raised = raised.func if isinstance(raised, ast.Call) else raised
    return isinstance(raised, ast.Name) and raised.id == "NotImplementedError" and len(node.body) <= 3


# ---------------------------------------------------------------- what is needed
def _needed(pieces: list[Piece], names: set[str]) -> list[Piece]:
    """The pieces that give a value to `names`, to what those read, and so on; in their order."""
    imported = tuple(f"{name}." for p in pieces if p.text.startswith(("import ", "from ")) for name in p.binds)
    needed, kept = set(names), [False] * len(pieces)
    grew = True
    while grew:
        grew = False
        for i, piece in enumerate(pieces):
            everything = piece.text.startswith("from ") and piece.text.endswith("import *")
            everything |= bool(piece.reads & ANY_NAME) and not piece.text.startswith(("def ", "class ", "@"))
            shows = piece.text.startswith(imported)  # np.seterr(…) changes nothing that np is needed for
            if not kept[i] and (everything or (piece.binds & needed and not shows)):
                kept[i] = grew = True
                needed |= piece.reads
    return [piece for i, piece in enumerate(pieces) if kept[i]]
