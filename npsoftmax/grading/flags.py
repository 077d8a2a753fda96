"""What a teacher may want to look at in a student's file: imports, names and attributes that no solution needs.

Design: the file is read by `ast` and never run. A flag is a sentence for the teacher and no mark, so it may be wrong:
it belongs to the exercises whose functions can reach what it is about. What a stub itself imports is free.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from npsoftmax.grading.exercises import ASSIGNMENTS, Exercise, exercises_of
from npsoftmax.grading.stubs import file_of

LIBRARY = "the library's own code"
DERIVES = "a library that finds gradients by itself, or has such functions"
READY = "one of the exercises, ready made"
LOOKS = "looks into the program that runs it"
OUTSIDE = "reaches out of the exercise, to files, processes or the network"
HIDES = "runs or finds what cannot be read from the source"
UNKNOWN = "a library that no exercise needs"
LATER = "a later exercise, and the library's while this one is graded"
REPLACES = "is replaced for the whole program"

MODULES = {
    **dict.fromkeys(("torch", "jax", "tensorflow", "keras", "autograd", "mxnet", "paddle", "tinygrad"), DERIVES),
    **dict.fromkeys(("cupy", "numba", "theano", "pytensor", "chainer", "flax", "sklearn", "sympy"), DERIVES),
    **dict.fromkeys(("inspect", "gc", "__main__", "traceback", "tracemalloc", "faulthandler", "dis", "bdb"), LOOKS),
    **dict.fromkeys(("pdb", "symtable", "linecache", "trace", "sysconfig", "site"), LOOKS),
    **dict.fromkeys(
        ("ctypes", "cffi", "subprocess", "multiprocessing", "socket", "urllib", "http", "requests"), OUTSIDE
    ),
    **dict.fromkeys(
        ("signal", "shutil", "pathlib", "tempfile", "glob", "io", "mmap", "fcntl", "pty", "resource"), OUTSIDE
    ),
    **dict.fromkeys(("posix", "nt", "_posixsubprocess", "asyncio", "concurrent", "threading", "_thread"), OUTSIDE),
    **dict.fromkeys(("ftplib", "smtplib", "ssl", "sqlite3", "dbm", "shelve", "atexit", "webbrowser"), OUTSIDE),
    **dict.fromkeys(("importlib", "builtins", "runpy", "imp", "pkgutil", "zipimport", "pickle", "marshal"), HIDES),
    **dict.fromkeys(("code", "codeop", "base64", "zlib", "codecs"), HIDES),
}
KNOWN = {"numpy", "scipy", "cython", "Cython", "matplotlib", "pytest", "typing_extensions", "IPython"}
ATTRIBUTES = {
    **dict.fromkeys(("sys._getframe", "sys._current_frames", "sys.modules", "sys.settrace", "sys.setprofile"), LOOKS),
    **dict.fromkeys(("sys.meta_path", "sys.path_hooks", "sys.excepthook", "sys.addaudithook", "sys.exc_info"), LOOKS),
    **dict.fromkeys(("types.FunctionType", "types.CodeType", "types.FrameType"), LOOKS),
    **dict.fromkeys(("numpy.load", "numpy.save", "numpy.savez", "numpy.fromfile", "numpy.memmap"), OUTSIDE),
    **dict.fromkeys(("numpy.loadtxt", "numpy.genfromtxt", "numpy.savetxt", "numpy.ctypeslib", "numpy.f2py"), OUTSIDE),
    **dict.fromkeys(("scipy.special.softmax", "scipy.special.log_softmax", "scipy.special.logsumexp"), READY),
    **dict.fromkeys(("operator.attrgetter", "operator.methodcaller"), HIDES),
}
INNER = frozenset(("sys", "os", "ctypes", "subprocess", "inspect", "gc", "importlib", "builtins"))  # np.….sys
HARMLESS_OS = ("os.path", "os.environ", "os.getenv", "os.cpu_count", "os.getcwd", "os.sep", "os.linesep")
NAMES = {
    **dict.fromkeys(("eval", "exec", "compile", "__import__", "globals", "vars", "__builtins__", "delattr"), HIDES),
    **dict.fromkeys(("open", "breakpoint"), OUTSIDE),
    **dict.fromkeys(("__loader__", "__spec__"), LOOKS),
}
ANYWHERE = {  # as an attribute of anything
    **dict.fromkeys(("f_back", "f_locals", "f_globals", "f_builtins", "tb_frame", "tb_next", "gi_frame"), LOOKS),
    **dict.fromkeys(("__globals__", "__code__", "__closure__", "__traceback__", "__dict__", "__defaults__"), LOOKS),
    **dict.fromkeys(("__subclasses__", "__bases__", "__base__", "__mro__", "__getattribute__"), LOOKS),
    **dict.fromkeys(("__builtins__", "__import__", "__loader__", "__spec__"), HIDES),
    **dict.fromkeys(("ctypes", "tofile", "dump"), OUTSIDE),
}


def flags(file: Path, exercise: Exercise) -> list[str]:
    """Sentences about what the exercise's function in a file can reach; none where the file cannot be read."""
    found: dict[tuple[str, str, str], int] = {}
    beside = frozenset(path.stem for path in file.parent.iterdir()) if file.parent.is_dir() else frozenset()
    for path, text in _read(file):
        scanned = _scanned(text, exercise.assignment, file_of(exercise), beside)
        for line, what, why in scanned.of(exercise.name) if path == file else scanned.all():
            found.setdefault((path.name, what, why), line)
    return [f"{name} line {line}: {what} {_verb(why)}" for (name, what, why), line in found.items()]


def _verb(why: str) -> str:
    return why if why in (LOOKS, OUTSIDE, HIDES, REPLACES) else f"is {why}"


def _read(file: Path) -> Iterator[tuple[Path, str]]:
    """The file, and those beside it that it imports, however far."""
    waiting, seen = [file], {file}
    while waiting:
        path = waiting.pop()
        try:
            text = path.read_bytes().decode("utf-8-sig", "replace")
            modules = _modules(text)
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        yield path, text
        for name in modules:
            beside = file.parent.joinpath(*name.split("."))
            for other in (beside.with_suffix(".py"), beside / "__init__.py"):
                if other not in seen and other.is_file():
                    seen.add(other)
                    waiting.append(other)


@functools.lru_cache(maxsize=64)
def _modules(text: str) -> tuple[str, ...]:
    """The modules that a file names in its imports."""
    found: dict[str, None] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name: None for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module: None} if node.module else {alias.name: None for alias in node.names}
    return tuple(found)


Flag = tuple[int, str, str]  # line, what, why


@dataclass
class Scanned:
    """A file's top level. parts: name -> the statements that bind it; loose: all others, which run at once."""

    shared: list[ast.stmt] = field(default_factory=list)  # whose imports hold in the whole file
    parts: dict[str, list[ast.stmt]] = field(default_factory=dict)
    loose: list[ast.stmt] = field(default_factory=list)
    free: frozenset[str] = frozenset()  # what the stub imports
    beside: frozenset[str] = frozenset()  # modules of the student's own
    others: tuple[str, ...] = ()  # exercises, in order: the library's, while another one is graded

    def of(self, name: str) -> list[Flag]:
        """The flags of a function and of what it reaches, and of what runs when the file is imported."""
        waiting = [*self.parts.get(name, ()), *self.loose] if name in self.parts else []
        seen: set[str] = {name}
        reached: list[ast.stmt] = []
        later = self.others[self.others.index(name) + 1 :]
        found: list[Flag] = []
        while waiting:
            statement = waiting.pop()
            reached.append(statement)
            for node in ast.walk(statement):
                if not isinstance(node, ast.Name) or not isinstance(node.ctx, ast.Load):
                    continue
                used = node.id
                if used in later and used in self.parts:
                    found.append((node.lineno, used, LATER))
                if used in self.parts and used not in seen and used not in self.others:
                    seen.add(used)
                    waiting += self.parts[used]
        return sorted({*found, *self._flags(reached)})

    def all(self) -> list[Flag]:
        """The flags of the whole file."""
        return self._flags([*self.loose, *(s for statements in self.parts.values() for s in statements)])

    def _flags(self, statements: Iterable[ast.stmt]) -> list[Flag]:
        return sorted({flag for statement in statements for flag in _Finder(self, statement).found()})


@functools.lru_cache(maxsize=64)
def _scanned(text: str, assignment: str, file: str, beside: frozenset[str]) -> Scanned:
    about = ASSIGNMENTS[assignment]
    header = about.header if file == about.file else about.more[file][1]
    names = tuple(e.name for e in exercises_of(assignment))
    scanned = Scanned(free=frozenset(_imported(ast.parse(header)).values()), others=names)
    scanned.beside = beside
    tree = ast.parse(text)
    scanned.shared = [statement for statement in tree.body if not _keeps_names(statement)]
    for statement in tree.body:
        bound = _bound(statement)
        if bound:
            for name in bound:
                scanned.parts.setdefault(name, []).append(statement)
        elif not _is_main(statement, tree):
            scanned.loose.append(statement)
    return scanned


def _keeps_names(statement: ast.stmt) -> bool:
    """Whether it is a function whose imports are its own: the same name may be anything in another function."""
    if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    return not any(isinstance(node, ast.Global) for node in ast.walk(statement))


def _imported(tree: ast.AST) -> dict[str, str]:
    """name -> the module or the member of one that it is, of all imports of a file and of plain `a = b` of them."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            dotted = _dotted(node.value, found)
            if dotted and not dotted.startswith(("numpy.", "math.")):  # m = np.inf: later m may be anything
                found.setdefault(node.targets[0].id, dotted)
    return found


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """The full name of an expression such as `F.softmax.softmax_forward`; "" where it begins with no import."""
    tail: list[str] = []
    while isinstance(node, ast.Attribute):
        tail.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in names:
        return ""
    return ".".join([names[node.id], *reversed(tail)])


def _bound(statement: ast.stmt) -> list[str]:
    """The names that a statement binds and does nothing else; none for one that does more."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name.partition(".")[0] for alias in statement.names if alias.name != "*"]
    if isinstance(statement, ast.Assign) and all(isinstance(t, ast.Name) for t in statement.targets):
        return [t.id for t in statement.targets if isinstance(t, ast.Name) and not t.id.startswith("__")]
    return []


def _is_main(statement: ast.stmt, tree: ast.Module) -> bool:
    """Whether it is `if __name__ == "__main__":`, which does not run while a file is graded."""
    if not isinstance(statement, ast.If) or ast.unparse(statement.test) not in (
        "__name__ == '__main__'",
        "'__main__' == __name__",
    ):
        return False
    return not any(
        isinstance(n, ast.Name) and n.id == "__name__" and isinstance(n.ctx, ast.Store) for n in ast.walk(tree)
    )


class _Finder:
    """The flags of a statement and of all that stands in it."""

    def __init__(self, scanned: Scanned, statement: ast.stmt):
        self.scanned, self.statement = scanned, statement
        self.names = _imported(ast.Module([*scanned.shared, statement], []))  # name -> what was imported under it

    def found(self) -> Iterator[Flag]:
        """What it finds."""
        inner: set[ast.AST] = set()  # attributes of attributes: the whole is told
        for node in ast.walk(self.statement):
            if node in inner:
                continue
            if isinstance(node, ast.Import):
                yield from self._each(node, [alias.name for alias in node.names])
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield from self._each(node, [f"{node.module}.{alias.name}" for alias in node.names])
            elif isinstance(node, ast.Attribute):
                yield from self._attribute(node, inner)
            elif isinstance(node, ast.Name):
                yield from self._name(node)
            elif isinstance(node, ast.Call):
                yield from self._call(node)

    def _each(self, node: ast.stmt, dotted: list[str]) -> Iterator[Flag]:
        for name in dotted:
            why = self._why(name)
            if why:
                yield node.lineno, name.removesuffix(".*"), why

    def _why(self, dotted: str) -> str:
        """Why a full name is flagged, "" if it is not."""
        root, _, rest = dotted.partition(".")
        if root == "npsoftmax":
            free = {*self.scanned.free, "npsoftmax.errors", "npsoftmax.errors.InputError", "npsoftmax.InputError"}
            return "" if dotted in free else LIBRARY
        if root in MODULES and root not in self.scanned.beside:
            return MODULES[root]
        if root == "os" and rest and not dotted.startswith(HARMLESS_OS):
            return OUTSIDE
        if not INNER.isdisjoint(rest.split(".")):
            return LOOKS
        for name, why in ATTRIBUTES.items():
            if dotted == name or dotted.startswith(f"{name}."):
                return why
        known = root in KNOWN or root in sys.stdlib_module_names or root in self.scanned.beside
        return "" if known else UNKNOWN

    def _attribute(self, node: ast.Attribute, inner: set[ast.AST]) -> Iterator[Flag]:
        dotted = _dotted(node, self.names)
        if node.attr in ANYWHERE:
            yield node.lineno, dotted or f".{node.attr}", ANYWHERE[node.attr]
        elif dotted:
            below: ast.expr = node.value
            while isinstance(below, ast.Attribute):
                inner.add(below)
                below = below.value
            inner.add(below)
            why = self._why(dotted) or (REPLACES if isinstance(node.ctx, ast.Store | ast.Del) else "")
            if why:
                yield node.lineno, dotted, why

    def _name(self, node: ast.Name) -> Iterator[Flag]:
        if node.id in self.names:
            why = self._why(self.names[node.id])
            if why:
                yield node.lineno, self.names[node.id], why
        elif node.id in NAMES and node.id not in self.scanned.parts and isinstance(node.ctx, ast.Load):
            yield node.lineno, node.id, NAMES[node.id]
        elif node.id == "__name__" and isinstance(node.ctx, ast.Store):
            yield node.lineno, "__name__", HIDES

    def _call(self, node: ast.Call) -> Iterator[Flag]:
        """getattr and setattr, by a name that is worked out, or on a module."""
        if isinstance(node.func, ast.Name) and node.func.id in ("getattr", "setattr") and len(node.args) > 1:
            on, name = node.args[0], node.args[1]
            dotted = _dotted(on, self.names)
            if not (isinstance(name, ast.Constant) and isinstance(name.value, str)):
                yield node.lineno, f"{node.func.id} by a name that is worked out", HIDES
            elif dotted and node.func.id == "setattr":
                yield node.lineno, f"{dotted}.{name.value}", REPLACES
            elif (dotted and (why := self._why(f"{dotted}.{name.value}"))) or (why := ANYWHERE.get(name.value, "")):
                yield node.lineno, f"{dotted}.{name.value}", why
