"""Source files as rows of tokens: found, read by `tokenize`, and kept for the next time.

Design: a token is its text, so a string is one token, an f-string too (from Python 3.12 on `tokenize` takes these to
pieces; they are put together again). Comments and blank lines are left out; the end of a line and a change of its
indentation are words of their own. Reading the standard library takes seconds, so the tokens are kept in the user's
cache, and taken from there as long as no file's name, size or time has changed.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from npsoftmax.data.editions import user_cache
from npsoftmax.data.folder import state_of
from npsoftmax.errors import InputError
from npsoftmax.files import WriteError, replacing

# Tests are other text, and not installed everywhere; encodings and pydoc_data are tables that a program wrote; the
# others are programs and copies beside the library, some of which newer versions no longer have.
LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "turtledemo", "ensurepip", "encodings", "pydoc_data"}
MACHINES_OWN = "_sysconfigdata"  # written when that Python was built: its folders and compilers

LONGEST = 40  # characters of a token that can be a word; longer ones, and those of several lines, are all one
NAMES = {tokenize.NEWLINE: "<newline>", tokenize.INDENT: "<indent>", tokenize.DEDENT: "<dedent>"}
NO_WORDS = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}
TOO_LONG = -1


@dataclass(frozen=True)
class Source:
    """The tokens of source files.

    files: their paths below the folder, in order; ends (F,): where each file's tokens end.
    tokens (M,): numbers in `texts`, TOO_LONG for what is no word. unread: how many files could not be read as Python.
    """

    files: tuple[str, ...]
    ends: np.ndarray
    tokens: np.ndarray
    texts: tuple[str, ...]
    unread: int = 0


def read_source(folder: Path) -> Source:
    """The tokens of the .py files under `folder`, but for LEFT_OUT and for folders that no `import` can reach.

    Raises InputError where there is no such folder, or no such file in it.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {what}, but a folder of Python's source files was expected.")
    files = list(_files(folder))
    if not files:
        raise InputError(f"{folder} has no Python source files (.py): give another folder with --data-dir.")
    kept = user_cache() / "tokens" / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:24]}.npz"
    state = state_of(folder, files, sys.version)  # which decides what `tokenize` does
    found = _from_cache(kept, state)
    if found is None:
        found = _tokenized(folder, files)
        _keep(kept, state, found)
    return found


def tokens_of(text: str) -> Iterator[str]:
    """The tokens of a source text. Raises what `tokenize` does where the text ends too early, after the last token."""
    lines = text.splitlines(keepends=True)
    depth, begun = 0, (0, 0)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        name = tokenize.tok_name[token.type]
        if name.endswith("STRING_START"):
            begun = token.start if not depth else begun
            depth += 1
        elif name.endswith("STRING_END"):
            depth -= 1
            if not depth:
                yield _between(lines, begun, token.end)
        elif not depth and token.type not in NO_WORDS:
            yield NAMES.get(token.type, token.string)


def read_beginning(path: Path) -> list[str]:
    """The tokens of the beginning of a source file, which may end anywhere. InputError for what is no such text."""
    found: list[str] = []
    try:
        with tokenize.open(path) as file:
            text = file.read()
        for token in tokens_of(text):
            found.append(token)
    except tokenize.TokenError:  # within brackets or a string; where it ends is where the next token comes
        pass
    except (OSError, SyntaxError, UnicodeError) as error:
        raise InputError(f"{path} cannot be read as Python's source: {error}.") from error
    # What `tokenize` adds at the end of any text: the indentation comes to an end, and a line that has none.
    while found[-1:] == ["<dedent>"]:
        found.pop()
    if found[-1:] == ["<newline>"] and not text.endswith(("\n", "\r")):
        found.pop()
    return found


def _between(lines: list[str], begin: tuple[int, int], end: tuple[int, int]) -> str:
    (first, left), (last, right) = begin, end
    return lines[first - 1][left:right] if first == last else "\n"  # of several lines: no word anyway


def _files(folder: Path) -> Iterator[Path]:
    """All modules under `folder`, in a fixed order. What has no name that can be imported is no module."""
    try:
        inside = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}.") from error
    for path in inside:
        if not path.stem.isidentifier() or path.stem.startswith(("__pycache__", MACHINES_OWN)):
            continue
        if path.is_dir():
            yield from _files(path) if path.name not in LEFT_OUT and path.suffix == "" else ()
        elif path.suffix == ".py":
            yield path


def _tokenized(folder: Path, files: list[Path]) -> Source:
    numbers: dict[str, int] = {}
    tokens: list[int] = []
    names, ends, unread = [], [], 0
    for path in files:
        try:
            with tokenize.open(path) as file:
                found = list(tokens_of(file.read()))
        except (OSError, SyntaxError, UnicodeError, tokenize.TokenError):
            unread += 1
            continue
        for text in found:
            word = len(text) <= LONGEST and "\n" not in text
            tokens.append(numbers.setdefault(text, len(numbers)) if word else TOO_LONG)
        names.append(path.relative_to(folder).as_posix())
        ends.append(len(tokens))
    return Source(tuple(names), np.array(ends, np.int64), np.array(tokens, np.int32), tuple(numbers), unread)


# ---------------------------------------------------------------- the cache
def _from_cache(path: Path, state: str) -> Source | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["state"]) != state:
                return None
            texts, files = (bytes(file[name]).decode().split("\n") for name in ("texts", "files"))
            found = Source(tuple(files), file["ends"], file["tokens"], tuple(texts), int(file["unread"]))
    except Exception:  # none there, or damaged in whatever way: it is made again
        return None
    whole = len(found.ends) == len(found.files) and found.ends[-1:] == len(found.tokens)
    return found if whole and found.tokens.max(initial=-1) < len(found.texts) else None


def _keep(path: Path, state: str, found: Source) -> None:
    def text(words: tuple[str, ...]) -> np.ndarray:
        return np.frombuffer("\n".join(words).encode(), dtype=np.uint8)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside, beside.open("wb") as file:
            np.savez(
                file,
                state=np.array(state),
                texts=text(found.texts),
                files=text(found.files),
                ends=found.ends,
                tokens=found.tokens,
                unread=np.array(found.unread),
            )
    except (OSError, WriteError):  # a full disk, or a home that cannot be written: it is only slower next time
        return
