"""Small changes of a student's function: one operator, name or number in one line is another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

OPERATORS: dict[type[ast.operator] | type[ast.cmpop], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.Gt: (">", "<"),
    ast.Lt: ("<", ">"),
    ast.GtE: (">=", "<"),
    ast.LtE: ("<=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
}
NAMES = {
    "max": "min",
    "min": "max",
    "maximum": "minimum",
    "minimum": "maximum",
    "sum": "mean",
    "mean": "sum",
    "argmax": "argmin",
    "argmin": "argmax",
    "zeros": "ones",
    "zeros_like": "ones_like",
    "ones_like": "zeros_like",
    "exp": "expm1",
    "log1p": "log",
    "pop": "copy",
}


@dataclass(frozen=True)
class Variation:
    """One line of a file changed. number: of the line; before, after: its text; source: the whole file."""

    number: int
    before: str
    after: str
    source: str


def variations(source: str, name: str) -> list[Variation]:
    """All changes of the function `name`, and then of the functions of the file that it may call, those of operators
    and names first, those of numbers last."""
    functions = dict(_named(ast.parse(source).body))
    reached, waiting = [], [name]
    while waiting:
        called = functions.get(waiting.pop(0))
        if called is not None and called not in reached:
            reached.append(called)
            names = [getattr(n, "id", getattr(n, "attr", "")) for n in ast.walk(called)]
            waiting += [n for n in names if n in functions]
    lines = source.split("\n")
    found = [change for function in reached for change in _changes(function)]
    return [v for change in sorted(found, key=lambda c: c[0]) if (v := _varied(lines, *change[1:])) is not None]


def _named(body: list[ast.stmt]) -> Iterator[tuple[str, ast.AST]]:
    """Functions, methods, and what is assigned to a name, as in f = lambda z: …"""
    for node in body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _named(node.body)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value


Change = tuple[int, int, int, int, str, str]  # rank, line, from byte, to byte or -1, text before, text after


def _changes(function: ast.AST) -> Iterator[Change]:
    hidden: set[int] = set()
    if isinstance(function, ast.FunctionDef):
        parts = [function.args, *([function.returns] if function.returns else []), *function.decorator_list]
        hidden = {id(inner) for part in parts for inner in ast.walk(part)}
    hidden |= {id(i) for n in ast.walk(function) if isinstance(n, ast.AnnAssign) for i in ast.walk(n.annotation)}
    for node in (n for n in ast.walk(function) if id(n) not in hidden):
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            yield from _between(node.left, node.right, node.op)
        elif isinstance(node, ast.AugAssign) and type(node.op) in OPERATORS:
            yield from _between(node.target, node.value, node.op)
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in OPERATORS:
            yield from _between(node.left, node.comparators[0], node.ops[0])
        elif (
            isinstance(node, ast.UnaryOp)
            and isinstance(node.op, ast.USub)
            and not isinstance(node.operand, ast.Constant)
        ):
            yield 0, node.lineno, node.col_offset, -1, "-", ""
        elif isinstance(node, ast.Call):
            yield from _called(node)
        elif isinstance(node, ast.Constant) and type(node.value) is int and 0 <= node.value <= 9:
            yield 3, node.lineno, node.col_offset, -1, str(node.value), str(node.value + 1)


def _between(left: ast.expr, right: ast.expr, op: ast.operator | ast.cmpop) -> Iterator[Change]:
    before, after = OPERATORS[type(op)]
    if left.end_lineno == right.lineno and left.end_col_offset is not None:
        yield 0, right.lineno, left.end_col_offset, right.col_offset, before, after


def _called(node: ast.Call) -> Iterator[Change]:
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name in NAMES and function.end_lineno is not None and function.end_col_offset is not None:
        at = function.end_col_offset - len(name.encode())
        yield 1, function.end_lineno, at, -1, name, NAMES[name]
    for a, b in zip(node.args, node.args[1:], strict=False):  # transpose(0, 2, 1, 3), f(x, y)
        if isinstance(a, ast.Constant) and isinstance(b, ast.Constant) and a.lineno == b.lineno and a.value != b.value:
            text = ast.unparse(a), ast.unparse(b)
            yield 2, a.lineno, a.col_offset, b.end_col_offset or -1, ", ".join(text), ", ".join(text[::-1])


def _varied(lines: list[str], number: int, start: int, end: int, before: str, after: str) -> Variation | None:
    """The file with `before`, which begins at byte `start` of a line or is the first within start:end, replaced."""
    line = lines[number - 1].encode()
    at = line.find(before.encode(), start, end if end >= 0 else start + len(before.encode()))
    if at < 0:
        return None
    changed = (line[:at] + after.encode() + line[at + len(before.encode()) :]).decode()
    source = "\n".join([*lines[: number - 1], changed, *lines[number:]])
    try:
        ast.parse(source)
    except SyntaxError:
        return None
    return Variation(number, lines[number - 1].strip(), changed.strip(), source)
