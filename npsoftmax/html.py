"""Values as HTML for a notebook: a heading and small tables, everything in them escaped.

Colours and fonts are those of the page around it, so that it is read in the light and in the dark.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

CELL = "padding: 0.15em 0.6em; border-bottom: 1px solid color-mix(in srgb, currentColor 25%, transparent)"
TABLE = "border-collapse: collapse; font-size: 0.92em; margin: 0.3em 0; font-variant-numeric: tabular-nums"


def titled(title: str, *parts: str) -> str:
    """A heading in bold, and what stands below it (HTML already)."""
    return f"<div><b>{html.escape(title)}</b>{''.join(parts)}</div>"


def paragraph(text: str) -> str:
    """A line of text."""
    return f'<div style="margin: 0.2em 0">{html.escape(text)}</div>'


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; the first column is text, the others stand on the right."""
    head = "".join(_cell("th", name, i) for i, name in enumerate(columns))
    body = "".join(f"<tr>{''.join(_cell('td', value, i) for i, value in enumerate(row))}</tr>" for row in rows)
    return f'<table style="{TABLE}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _cell(tag: str, value: object, place: int) -> str:
    side = "right" if place else "left"
    return f'<{tag} style="{CELL}; text-align: {side}">{html.escape(str(value))}</{tag}>'
