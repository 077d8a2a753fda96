"""Which of the files of a hand-in is graded: the one in which most exercises are finished, whatever its name.

Names only decide between files with as much in them: the plain one (softmax.py, in its folder or at the top) comes
first. An exercise that is finished in another file only is graded there. Whatever was not taken is told.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from npsoftmax.errors import InputError
from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES, Exercise, exercises_of
from npsoftmax.grading.handins.text import decoded, parsed
from npsoftmax.grading.handins.unpack import CODE, Layout, free, parts_of, suffix_of
from npsoftmax.grading.notebook import notebook_source
from npsoftmax.grading.stubs import file_of, is_cache_line

STUB, BEGUN, FINISHED = range(3)
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
NUMBERED = re.compile(r"-(\d+)(?=\.[A-Za-z.]+$)")  # softmax-2.py: Canvas's second hand-in


@dataclass
class Candidate:
    """A file that may be graded. path: where it was laid out; name: as the student calls it."""

    path: Path
    name: str
    remarks: list[str] = field(default_factory=list)

    @cached_property
    def is_notebook(self) -> bool:
        """By its name, or by what is in it where it was saved under another."""
        if suffix_of(self.name) == ".ipynb":
            return True
        data = self.path.read_bytes()
        return data.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"{") and b'"cells"' in data

    @cached_property
    def text(self) -> str:
        """The code; of a notebook the module that its cells make."""
        data = self.path.read_bytes()
        if not self.is_notebook:
            if data.startswith(UTF_16):
                self.remarks = ["it is written in UTF-16, which Python does not read"]
            return decoded(data)
        try:
            return notebook_source(data, EXERCISES)
        except InputError as error:
            self.remarks = [str(error)]
            return ""

    @cached_property
    def problem(self) -> str:
        """Why Python cannot read it, "" if it can."""
        return parsed(self.text)[1]

    @cached_property
    def functions(self) -> dict[str, int]:
        """name -> STUB, BEGUN or FINISHED of every function that the file defines, imports or assigns.

        What it takes from the library is none: stubs do that themselves.
        """
        tree, _ = parsed(self.text)
        if tree is not None:
            return dict(_defined(tree.body))
        parts = re.split(r"^[ \t]*def (\w+)", self.text, flags=re.MULTILINE)
        bodies = zip(parts[1::2], parts[2::2], strict=True)
        return {name: BEGUN if "NotImplementedError" in body else FINISHED for name, body in bodies}

    def finished(self, exercises: Iterable[Exercise]) -> set[str]:
        """Names of the exercises that are finished in it."""
        return {e.name for e in exercises if self.functions.get(e.name) == FINISHED}

    def to_grade(self, stub: str, own: list[Exercise]) -> Path:
        """The file that Python can load: the laid-out one, or one beside it with its code."""
        compiled = own[0].compiled
        rewritten = self.is_notebook or self.path.read_bytes().startswith(UTF_16)
        if self.path.suffix == ".py" and not rewritten and (not compiled or self.path.stem.isidentifier()):
            return self.path
        path = free(self.path.with_name(stub if compiled or not rewritten else f"{self.path.name}.py"))
        data = self.path.read_bytes()
        if self.is_notebook:  # Cython takes no more than it needs
            data = notebook_source(data, [e.name for e in own]).encode("utf-8", "replace")
        path.write_bytes(self.text.encode("utf-8", "replace") if data.startswith(UTF_16) else data)
        return path


@dataclass
class Found:
    """files: exercise -> the file to grade, None where there is none; names: file -> what the student calls it;
    remark: what to say of the hand-in; file: what is graded where that is not the plain file, "" otherwise."""

    files: dict[str, Path | None]
    names: dict[Path, str]
    remark: str
    file: str


def chosen(layout: Layout, exercises: Iterable[Exercise]) -> Found:
    """The file to grade for each of the exercises."""
    candidates = [Candidate(p, n) for p, n in layout.names.items() if suffix_of(n) in CODE and not _is_test(n)]
    found = Found({}, {}, "", "")
    remarks, graded, missing = list(layout.remarks), [], []
    stubs = dict.fromkeys((e.assignment, file_of(e)) for e in exercises)
    for assignment, stub in stubs:
        own = [e for e in exercises_of(assignment) if file_of(e) == stub]
        ranked = sorted((c for c in candidates if _counts(c, own, stub)), key=lambda c: _rank(c, own, assignment, stub))
        if not ranked:
            missing.append(stub)
            found.files |= {e.name: None for e in own}
            continue
        used = _share(found, ranked, own, stub)
        graded += [c.name for c in used if not _is_plain(c.name, assignment, stub)]
        remarks += _said(ranked, used, own)
    if missing:
        remarks.append(_nothing(layout, missing))
    found.remark = "; ".join(dict.fromkeys(remarks))
    found.file = ", ".join(dict.fromkeys(graded))
    return found


def _share(found: Found, ranked: list[Candidate], own: list[Exercise], stub: str) -> list[Candidate]:
    """Give every exercise its file: the first of all, or the first in which it is finished. Returns those used."""
    used = [ranked[0]]
    paths: dict[int, Path] = {}
    for exercise in own:
        done = [c for c in ranked if not c.problem and c.finished([exercise])]
        best = done[0] if done and not ranked[0].finished([exercise]) else ranked[0]
        if best not in used:
            used.append(best)
        if id(best) not in paths:
            paths[id(best)] = best.to_grade(stub, own)
            found.names[paths[id(best)]] = best.name
        found.files[exercise.name] = paths[id(best)]
    return used


def _said(ranked: list[Candidate], used: list[Candidate], own: list[Exercise]) -> list[str]:
    """What was not taken, or not all of it, and why."""
    first, said = used[0], [f"{c.name}: {text}" for c in ranked for text in c.remarks]
    for other in used[1:]:
        extra = [e.name for e in own if e.name in other.finished(own) - first.finished(own)]
        said.append(f"{', '.join(extra[:3])}{' …' if len(extra) > 3 else ''} graded in {other.name}")
    known = {hashlib.sha256(c.text.encode("utf-8", "replace")).digest() for c in used}
    for other in ranked:
        digest = hashlib.sha256(other.text.encode("utf-8", "replace")).digest()
        if other in used or digest in known:
            continue
        known.add(digest)
        if other.problem and len(other.finished(own)) > len(first.finished(own)) // 2:
            said.append(f"{other.name} cannot be read by Python ({other.problem}): not graded")
        elif finished := other.finished(own):
            said.append(f"{other.name} has {len(finished)} finished too: not graded")
    if not any(state > STUB for c in used for state in (c.functions.get(e.name, STUB) for e in own)):
        if not any(e.name in first.functions for e in own):
            said.append(f"{first.name} defines none of the exercises")
        elif not first.problem:
            said.append(f"{first.name} is as it was handed out")
    return said


def _nothing(layout: Layout, missing: list[str]) -> str:
    """What there is instead of the files that are missing."""
    there = [name for name in layout.names.values() if not _is_test(name)]
    wanted = ", ".join(missing)
    if not there:
        return f"no {wanted}: the hand-in is empty" if not layout.remarks else f"no {wanted} found"
    shown = ", ".join(there[:4]) + (f" and {len(there) - 4} more" if len(there) > 4 else "")
    return f"no {wanted} among {shown}"


# ---------------------------------------------------------------- which comes first
def _counts(candidate: Candidate, own: list[Exercise], stub: str) -> bool:
    """Whether a file can be meant: it defines an exercise, or has the name."""
    return any(e.name in candidate.functions for e in own) or (
        suffix_of(candidate.name) == ".py" and _alike(candidate.name, stub)
    )


def _rank(candidate: Candidate, own: list[Exercise], assignment: str, stub: str) -> tuple[object, ...]:
    many = len(candidate.finished(own))
    name = candidate.name
    version = int(found[1]) if (found := NUMBERED.search(name)) else 0
    return (
        -(many if not candidate.problem else 0),
        bool(candidate.problem) and not many,
        -many,
        not _is_plain(name, assignment, stub),
        -version,
        parts_of(name)[-1] != stub,
        not _alike(name, stub),
        len(parts_of(name)),
        name,
    )


def _is_plain(name: str, assignment: str, stub: str) -> bool:
    folder = ASSIGNMENTS[assignment].folder
    return name in (stub, f"{folder}/{stub}", f"assignments/{folder}/{stub}")


def _is_test(name: str) -> bool:
    return parts_of(name)[-1].startswith("test_")


def _alike(name: str, stub: str) -> bool:
    """Whether the name of a file has that of the stub in it: "Softmax (1).py", "my_softmax_final.py"."""
    stem = stub.removesuffix(".py")
    return re.search(rf"(?<![a-z]){re.escape(stem)}(?![a-z])", parts_of(name)[-1].lower()) is not None


# ---------------------------------------------------------------- what is in a file
def _defined(body: list[ast.stmt]) -> Iterable[tuple[str, int]]:
    """(name, how far it is) of functions, names imported and names assigned; later ones take the place of earlier."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, _state(node)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] != "npsoftmax":
            yield from ((a.asname or a.name, BEGUN) for a in node.names)  # it is finished where it is written
        elif isinstance(node, ast.Assign):
            yield from ((t.id, FINISHED) for t in node.targets if isinstance(t, ast.Name))
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.For | ast.While):
            for part in ("body", "handlers", "orelse", "finalbody"):
                for inner in getattr(node, part, []):
                    yield from _defined(inner.body if isinstance(inner, ast.ExceptHandler) else [inner])


def _state(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """A stub is a docstring, a cache line and `raise NotImplementedError`; what returns is finished."""
    written = [s for s in node.body if not (_is_nothing(s) or is_cache_line(s))]
    left = any(isinstance(s, ast.Raise) and "NotImplementedError" in ast.unparse(s) for s in node.body)
    if not written:
        return STUB
    return BEGUN if left and not any(isinstance(n, ast.Return) for n in ast.walk(node)) else FINISHED


def _is_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Raise):
        return "NotImplementedError" in ast.unparse(statement)
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )
