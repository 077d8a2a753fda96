"""Trees of classes that stand in a file, or in a line of text: nested lists as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from npsoftmax.errors import InputError


def opened(tree: Any) -> Any:
    """The option `tree` with nested lists in the place of their text, or of the path of a .json file that holds them.

    Names, and what is nested already, stay. InputError where a file or a text is no JSON.
    """
    if not isinstance(tree, str):
        return tree
    if tree.startswith("["):
        return _parsed(tree, "its text")
    return _read(Path(tree)) if tree.endswith(".json") else tree


def _read(path: Path) -> Any:
    try:
        return _parsed(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"option tree: {path} cannot be read as JSON: {error}.") from error


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"option tree: {where} cannot be read as JSON: {error}.") from error
