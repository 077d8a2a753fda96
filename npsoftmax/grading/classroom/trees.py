"""A function as a normal form: what is left of its syntax tree when names, comments, docstrings, layout and the order
of commutative operands make no difference.

A parameter is named by its place, and a local variable by what it is first given, so that a form does not depend on
what anything is called or on which of two factors stands first.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from npsoftmax.grading import stubs
from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES, Exercise

COMMUTATIVE = (ast.Add, ast.Mult, ast.BitAnd, ast.BitOr)
METHODS = frozenset(
    ("sum", "max", "min", "mean", "prod", "any", "all", "argmax", "argmin", "cumsum", "reshape", "transpose", "clip")
)
SAME = {"amax": "max", "amin": "min", "dot": "matmul"}
REDUCING = frozenset(("sum", "max", "min", "mean", "prod", "any", "all", "argmax", "argmin", "cumsum"))
TURNED = {ast.Gt: ast.Lt, ast.GtE: ast.LtE}


@dataclass(frozen=True)
class Form:
    """A function without what anybody may choose. statements: in their normal form; lines: the same with all names
    alike and blocks taken apart, without what the assignment itself gives; size: how many names, numbers and operations
    those are; text: as it stands, comments and names included, without layout."""

    statements: tuple[str, ...]
    lines: tuple[str, ...]
    size: int
    text: str

    @property
    def key(self) -> str:
        """The same for two functions exactly if their forms are the same."""
        return hashlib.sha256("\n".join(self.statements).encode()).hexdigest()


def form(exercise: Exercise, source: str) -> Form | None:
    """The form of a student's function in the text of their file; None where there is none that can be read."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == exercise.name]
    if not found:
        return None
    try:
        return form_of(exercise, found[-1], aliases(tree), ast.get_source_segment(source, found[-1]) or "")
    except RecursionError:
        return None


def aliases(tree: ast.Module) -> dict[str, str]:
    """What a file calls modules and what it takes from them."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({a.asname or a.name.partition(".")[0]: a.name for a in node.names})
        elif isinstance(node, ast.ImportFrom):
            names.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
    return names


def form_of(exercise: Exercise, node: ast.FunctionDef, modules: dict[str, str], text: str = "") -> Form:
    """The form of one function."""
    normal = _Normal(node, modules)
    statements: list[str] = []
    lines: list[str] = []
    size, given = 0, given_by(exercise)
    for statement in node.body:
        if _of_no_account(statement):
            continue
        if stubs.is_cache_line(statement):
            normal.unpack(statement)
            continue
        statements.append(normal.statement(statement))
        lines += _lines(statement, given)
        size += _size(statement, given)
    return Form(tuple(statements), tuple(lines), size, _without_layout(text))


def _of_no_account(statement: ast.stmt) -> bool:
    """Docstrings, prints, asserts and what is left of the stub."""
    if isinstance(statement, ast.Pass | ast.Assert | ast.Import | ast.ImportFrom):
        return True
    if isinstance(statement, ast.Raise):
        return "NotImplementedError" in ast.dump(statement)
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) or (
        isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "print"
    )


def _lines(statement: ast.stmt, given: frozenset[str]) -> Iterator[str]:
    """The skeletons of a statement and of those inside it, one by one."""
    if _of_no_account(statement) or skeleton(statement) in given:
        return
    inner = [n for n in ast.iter_child_nodes(statement) if isinstance(n, ast.stmt)]
    if not inner:
        yield skeleton(statement)
        return
    heads = [n for n in ast.iter_child_nodes(statement) if isinstance(n, ast.expr)]
    yield f"{type(statement).__name__} {' '.join(map(skeleton, heads))}"
    for part in inner:
        yield from _lines(part, given)


def _size(node: ast.AST, given: frozenset[str]) -> int:
    """How many names, numbers and operations stand in it, those aside that the assignment itself gives."""
    if isinstance(node, ast.stmt) and _of_no_account(node):
        return 0
    larger = isinstance(node, ast.expr | ast.stmt) and not isinstance(node, ast.Name | ast.Constant)
    if larger and skeleton(node) in given:
        return 0
    own = isinstance(
        node, ast.Name | ast.Constant | ast.Attribute | ast.operator | ast.cmpop | ast.Call | ast.Subscript
    )
    return own + sum(_size(child, given) for child in ast.iter_child_nodes(node))


def _without_layout(text: str) -> str:
    """The text of a function below its signature, spaces aside."""
    return re.sub(r"\s+", "", text)


# ---------------------------------------------------------------- what the assignment gives
@cache
def given_by(exercise: Exercise) -> frozenset[str]:
    """Skeletons of what hints and page show as code: everybody may have that."""
    page = Path(stubs.__file__).with_name("pages") / ASSIGNMENTS[exercise.assignment].folder / "README.md"
    told = page.read_text(encoding="utf-8") if page.is_file() else ""
    fragments = re.findall(r"`([^`\n]+)`", told) + re.findall(r"```python\n(.*?)```", told, re.DOTALL)
    fragments += [exercise.cache, f"({', '.join(exercise.returns)})"]
    for hint in EXERCISES[exercise.name].hints:
        fragments += re.split(r"[,;:.] ", hint.rstrip("."))
    return frozenset(told for fragment in fragments for told in _skeletons(fragment))


def _skeletons(fragment: str) -> Iterator[str]:
    try:
        tree = ast.parse(fragment.replace("·", "*").replace("²", "**2").strip())
    except (SyntaxError, ValueError):
        return
    for statement in tree.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Name | ast.Constant):
            continue
        yield skeleton(statement)
        if isinstance(statement, ast.Assign):
            yield skeleton(statement.value)
        if isinstance(statement, ast.Expr):
            yield skeleton(statement.value)
            # What is shown as a value may be given a name, or returned.
            yield skeleton(ast.Assign([ast.Name("x", ast.Store())], statement.value))
            yield skeleton(ast.Return(statement.value))


def skeleton(node: ast.AST) -> str:
    """A tree with all names of variables alike."""
    blank = _Normal(None, {})
    return blank.statement(node) if isinstance(node, ast.stmt) else blank.of(node)


# ---------------------------------------------------------------- the normal form
class _Normal:
    """Writes a tree down. Without a function, all names are alike."""

    def __init__(self, function: ast.FunctionDef | None, modules: dict[str, str]):
        self.modules, self.blank = modules, function is None
        self.names: dict[str, str] = {}
        if function is not None:
            arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
            self.names = {a.arg: f"argument{i}" for i, a in enumerate(arguments)}

    def unpack(self, statement: ast.Assign) -> None:
        """Name the parts of a cache by their places."""
        for i, part in enumerate(n for n in ast.walk(statement.targets[0]) if isinstance(n, ast.Name)):
            self.names[part.id] = f"cache{i}"

    def define(self, target: ast.AST, value: str) -> None:
        """Name what is assigned to by what it is given, where it is new."""
        for i, part in enumerate(n for n in ast.walk(target) if isinstance(n, ast.Name)):
            if isinstance(part.ctx, ast.Store) and part.id not in self.names:
                self.names[part.id] = "v" + hashlib.sha256(f"{i} {value}".encode()).hexdigest()[:12]

    # ------------------------------------------------------------ statements
    def statement(self, node: ast.stmt) -> str:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            node = ast.Assign([node.target], node.value)
        if isinstance(node, ast.AugAssign):
            node = ast.Assign([node.target], ast.BinOp(_loaded(node.target), node.op, node.value))
        if isinstance(node, ast.Assign):
            value = self.of(node.value)
            for target in node.targets:
                self.define(target, value)
            return f"{' = '.join(self.of(t) for t in node.targets)} = {value}"
        if isinstance(node, ast.For):
            over = self.of(node.iter)
            self.define(node.target, f"for {over}")
            return f"for {self.of(node.target)} in {over}: {self.block(node.body)} else {self.block(node.orelse)}"
        if isinstance(node, ast.Return):
            return f"return {self.of(node.value) if node.value else None}"
        parts = []
        for name, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                parts.append(f"{name}({self.block(value)})")
            else:
                parts.append(f"{name}({self.field(value)})")
        return f"{type(node).__name__} {' '.join(parts)}"

    def block(self, statements: list[ast.stmt]) -> str:
        return "{" + "; ".join(self.statement(s) for s in statements if not _of_no_account(s)) + "}"

    def field(self, value: object) -> str:
        if isinstance(value, list):
            return ", ".join(self.field(v) for v in value)
        if isinstance(value, ast.stmt):
            return self.statement(value)
        return self.of(value) if isinstance(value, ast.AST) else repr(value)

    # ------------------------------------------------------------ expressions
    def of(self, node: ast.AST) -> str:
        writer = getattr(self, f"_{type(node).__name__}", None)
        if writer is not None:
            return writer(node)
        if isinstance(node, ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp):
            for generator in node.generators:
                self.define(generator.target, f"for {self.of(generator.iter)}")
        parts = [self.field(value) for name, value in ast.iter_fields(node) if name not in ("ctx", "type_comment")]
        return f"{type(node).__name__}({' '.join(parts)})"

    def _Name(self, node: ast.Name) -> str:
        if self.blank:
            return "v"
        if node.id in self.names:
            return self.names[node.id]
        if node.id in self.modules:
            return self.modules[node.id]
        return node.id if node.id in EXERCISES or node.id in dir(builtins) else "other"

    def _Attribute(self, node: ast.Attribute) -> str:
        return f"{self.of(node.value)}.{SAME.get(node.attr, node.attr)}"

    def _UnaryOp(self, node: ast.UnaryOp) -> str:
        if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            return f"-{node.operand.value!r}"
        return f"{type(node.op).__name__}({self.of(node.operand)})"

    def _Constant(self, node: ast.Constant) -> str:
        value = node.value
        return repr(int(value)) if isinstance(value, float) and value == int(value or 0) else repr(value)

    def _BinOp(self, node: ast.BinOp) -> str:
        if isinstance(node.op, COMMUTATIVE):
            operands = sorted(self.of(part) for part in _chain(node, type(node.op)))
            return f"{type(node.op).__name__}({', '.join(operands)})"
        return f"{type(node.op).__name__}({self.of(node.left)}, {self.of(node.right)})"

    def _Compare(self, node: ast.Compare) -> str:
        if len(node.ops) > 1:
            parts = [f"{type(o).__name__} {self.of(c)}" for o, c in zip(node.ops, node.comparators, strict=True)]
            return f"Compare({self.of(node.left)} {' '.join(parts)})"
        kind, sides = type(node.ops[0]), [self.of(node.left), self.of(node.comparators[0])]
        if kind in TURNED:
            kind, sides = TURNED[kind], sides[::-1]
        if kind in (ast.Eq, ast.NotEq):
            sides = sorted(sides)
        return f"{kind.__name__}({', '.join(sides)})"

    def _Call(self, node: ast.Call) -> str:
        """A call; np.sum(x, …) is x.sum(…), np.matmul(a, b) is a @ b, and sum(-1) is sum(axis=-1)."""
        function, arguments = node.func, list(node.args)
        keywords = {k.arg or "**": self.of(k.value) for k in node.keywords}
        if isinstance(function, ast.Attribute):
            name = SAME.get(function.attr, function.attr)
            owner = self.modules.get(function.value.id) if isinstance(function.value, ast.Name) else None
            of_numpy = owner == "numpy" or (self.blank and getattr(function.value, "id", "") == "np")
            if name == "matmul" and len(arguments) == (2 if of_numpy else 1):
                sides = arguments if of_numpy else [function.value, *arguments]
                return f"MatMult({', '.join(self.of(side) for side in sides)})"
            if name in METHODS and of_numpy and arguments:
                return self._method(name, self.of(arguments[0]), arguments[1:], keywords)
            if name in METHODS and not of_numpy:
                return self._method(name, self.of(function.value), arguments, keywords)
        return self._written(self.of(function), [self.of(a) for a in arguments], keywords)

    def _method(self, name: str, owner: str, arguments: list[ast.expr], keywords: dict[str, str]) -> str:
        told = [self.of(a) for a in arguments]
        if name in REDUCING and told:
            keywords["axis"] = told.pop(0)
        return self._written(f"{owner}.{name}", told, keywords)

    def _written(self, function: str, arguments: list[str], keywords: dict[str, str]) -> str:
        return f"{function}({', '.join(arguments + [f'{k}={v}' for k, v in sorted(keywords.items())])})"


def _chain(node: ast.expr, kind: type) -> Iterator[ast.expr]:
    """The operands of a + b + c."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, kind):
        yield from _chain(node.left, kind)
        yield from _chain(node.right, kind)
    else:
        yield node


def _loaded(target: ast.expr) -> ast.expr:
    return ast.parse(ast.unparse(target), mode="eval").body
