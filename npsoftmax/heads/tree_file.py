"""Trees of classes that stand in a file, or in a line of text: nested lists as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from npsoftmax.errors import InputError

MOST_TEXT = 2**19  # characters of a tree in the settings of a run: those of some 60,000 classes


def opened(tree: Any) -> Any:
    """The option `tree` with nested lists in the place of their text, or of the path of a .json file that holds them.

    Names, and what is nested already, stay. InputError where a file or a text is no JSON.
    """
    if not isinstance(tree, str):
        return tree
    if tree.startswith("["):
        return _parsed(tree, "its text")
    return _read(Path(tree)) if tree.endswith(".json") else tree


def written_out(tree: Any) -> Any:
    """The option `tree` as a run keeps it: a file that can be read becomes the text in it, anything else stays.

    So the run has its tree when the file is gone, or holds another one. A text of more than MOST_TEXT stays a file.
    """
    if not isinstance(tree, str) or not tree.endswith(".json") or not Path(tree).is_file():
        return tree
    text = json.dumps(_read(Path(tree)))
    return text if len(text) <= MOST_TEXT and text.startswith("[") else str(Path(tree).absolute())


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
