"""Student code as text: in the encoding that it declares, parsed without a word on the console."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings


def encoding_of(data: bytes) -> str:
    """The encoding of a Python file, by its byte-order mark or its first two lines. Raises SyntaxError."""
    return tokenize.detect_encoding(io.BytesIO(data).readline)[0]


def decoded(data: bytes) -> str:
    """The text of a Python file as well as it can be had, for a look at its functions."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        encoding = encoding_of(data)
    except SyntaxError:
        encoding = "utf-8"
    return data.decode(encoding, "replace")


def parsed(text: str) -> tuple[ast.Module | None, str]:
    """The tree, or None and why there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(re.sub(r"\A\ufeff", "", text)), ""
    except SyntaxError as error:
        return None, f"line {error.lineno}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return None, f"{error}"
