"""Text for consoles that lack characters: each missing one becomes something that can be read, never a question mark.

Passed and wrong in particular must not look alike.
"""

from __future__ import annotations

import sys
import unicodedata

MARKS = {"passed": "✓", "wrong": "✗", "not started": "·"}
PLAIN_MARKS = {"passed": "ok", "wrong": "WRONG", "not started": "-"}
# What neither its letters (NFKD) nor its name says; Greek letters are read by their names.
SPELT = {
    "✓": "ok", "✗": "WRONG", "·": "*", "•": "*", "∘": "*", "⊙": "*", "×": "x", "\u2212": "-", "–": "-", "—": "-",
    "Σ": "sum", "∑": "sum", "Π": "product", "√": "sqrt ", "∞": "inf", "∂": "d", "±": "+-", "½": "1/2", "¼": "1/4",
    "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "∈": " in ", "→": "->", "←": "<-", "‖": "||", "ᵀ": "^T", "⊤": "^T",
    "²": "^2", "³": "^3", "⁻": "^-", "¹": "1", "\u0302": "_hat", "\u0304": "_mean", "█": "#", "░": ".",
    "“": '"', "”": '"', "„": '"', "‘": "'", "’": "'",
    "│": "|", "─": "-", "┌": "+", "┐": "+", "└": "+", "┘": "+", "├": "+", "┤": "+", "┬": "+", "┴": "+", "┼": "+",
    "►": ">", "°": " degrees",
}  # fmt: skip


def readable(text: str, encoding: str | None = None) -> str:
    """`text` in characters that the encoding (by default the console's) has."""
    encoding = encoding or console_encoding()
    if can_show(text, encoding):
        return text
    return "".join(c if can_show(c, encoding) else _spelt(c, encoding) for c in text)


def marks(encoding: str | None = None) -> dict[str, str]:
    """The mark of each state: ✓ ✗ · where the console has all three, else ok WRONG -."""
    return MARKS if can_show("".join(MARKS.values()), encoding or console_encoding()) else PLAIN_MARKS


def console_encoding() -> str:
    """The encoding of what is printed."""
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def can_show(text: str, encoding: str) -> bool:
    """Whether the encoding has all characters of a text."""
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _spelt(character: str, encoding: str) -> str:
    if character in SPELT:
        return SPELT[character]
    name = unicodedata.name(character, "").split()
    if name[:1] == ["GREEK"]:
        return name[-1].lower() if "SMALL" in name else name[-1].capitalize()
    letters = unicodedata.normalize("NFKD", character)
    kept = "".join(c for c in letters if can_show(c, encoding))
    return kept or f"<{' '.join(name).lower() or hex(ord(character))}>"
