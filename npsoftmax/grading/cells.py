"""CSV that a spreadsheet can open: what students call themselves and their files is never a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable


def harmless(value: object) -> str:
    """A cell that no spreadsheet takes for a formula; numbers, and a lone sign, stay as they are."""
    text = str(value)
    if re.fullmatch(r"[+-]?\d+([.,]\d+)?%?|\s*[+-]?\s*", text) or not re.match(r"\s*[=+\-@\t\r]", text):
        return text
    return f"'{text}"


def as_csv(lines: Iterable[Iterable[object]], end: str = "\r\n") -> str:
    """Lines of cells as CSV, formulas made harmless."""
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerows([[harmless(cell) for cell in line] for line in lines])
    return text.getvalue()
