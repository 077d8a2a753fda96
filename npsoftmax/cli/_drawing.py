"""A network drawn in text: one line a layer, residual branches as a line past them.

  layer                       output      parameters   multiply-adds
│ conv  Conv2d(3, 64, 3x3)    32x32x64         1,792       1,769,472
├─╮
│ │ conv  …
⊕─╯
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from npsoftmax.heads import Head
from npsoftmax.layers import Layer, Residual, Sequential, Shape
from npsoftmax.models import Model
from npsoftmax.params import leaves

HEADINGS = ("output", "parameters", "multiply-adds")
LEAST = (12, 12, 15)  # columns of each
NARROW = (10, 10, 13)  # columns of each, where there are few
SHORTEST = 24  # columns for the layers, however few there are


@dataclass
class Row:
    """One line: the drawing at its left, what stands on it, and the layer's own numbers (None: not a layer)."""

    rail: str
    text: str
    shape: Shape | None = None
    parameters: int = 0
    macs: int = 0


def draw_model(model: Model, unicode: bool = True, columns: int | None = None) -> str:
    """The drawing and the totals, as text; where it would be wider than so many columns, layers have several lines."""
    rows = [Row("", "input", model.input_shape)]
    rows += _rows(model.trunk, model.input_shape, "│", "")
    head = Row("▼", f"head: {model.head!r}", (model.head.classes.n,), _count(model.head), model.head.macs())
    rows.append(head)
    rows.append(Row("", "total", None, model.parameter_count(), model.macs()))
    cells = [_numbers(row) for row in rows]
    width = max(len(row.rail) + len(row.text) for row in rows) + 2
    narrow = columns is not None and width + sum(LEAST) + len(LEAST) > columns
    least = NARROW if narrow else LEAST
    widths = [max(least[i], *(len(line[i]) for line in cells)) for i in range(len(least))]
    if columns is not None and narrow:
        width = min(width, max(columns - sum(widths) - len(widths), SHORTEST))
    lines = []
    for row, numbers in zip(rows, cells, strict=True):
        *above, last = _pieces(row, width)
        right = " ".join(f"{cell:>{w}}" for cell, w in zip(numbers, widths, strict=True))
        lines += [*above, f"{last:<{width}} {right}".rstrip()]
    *lines, total = lines
    heads = " ".join(f"{head:>{w}}" for head, w in zip(HEADINGS, widths, strict=True))
    lines = [f"{'layer':<{width}} {heads}", *lines]
    text = "\n".join([*lines, "─" * len(lines[0]), total])
    return text if unicode else text.translate(str.maketrans("│├─╮╯⊕▼", "|+-\\/+v")).replace("·", ".")


def _rows(layer: Layer, shape: Shape, rail: str, name: str) -> list[Row]:
    if isinstance(layer, Sequential):
        rows = []
        for child_name, child in layer.layers.items():
            rows += _rows(child, shape, rail, f"{name}.{child_name}" if name else child_name)
            shape = child.output_shape(shape)
        return rows
    if isinstance(layer, Residual):
        inside = _rows(layer.branch, shape, f"{rail} │", name)
        return [
            Row(f"{rail[:-1]}├─╮", "the branch; its input goes past it"),
            *inside,
            Row(f"{rail[:-1]}⊕─╯", "sum", shape),
        ]
    return [Row(rail, f"{name}  {layer!r}", layer.output_shape(shape), _count(layer), layer.macs(shape))]


def layers_with_shapes(layer: Layer, shape: Shape, name: str = "") -> Iterator[tuple[str, Layer, Shape]]:
    """Each layer that is no container: its dotted name and the shape of a sample that it takes."""
    if isinstance(layer, Residual):
        yield from layers_with_shapes(layer.branch, shape, name)
    elif isinstance(layer, Sequential):
        for child_name, child in layer.layers.items():
            yield from layers_with_shapes(child, shape, f"{name}.{child_name}" if name else child_name)
            shape = child.output_shape(shape)
    else:
        yield name, layer, shape


def _count(owner: Layer | Head) -> int:
    return sum(p.size for _, p in leaves(owner.params))


def _numbers(row: Row) -> tuple[str, str, str]:
    shape = "" if row.shape is None else "x".join(str(n) for n in row.shape)
    return (shape, f"{row.parameters:,}", f"{row.macs:,}") if row.parameters or row.macs else (shape, "", "")


def _pieces(row: Row, width: int) -> list[str]:
    """The text of a row behind its rail; where it is too long, the layer below its name, and both in several lines."""
    rail = f"{row.rail} " if row.rail else ""
    room = width - len(rail)
    if len(row.text) <= room:
        return [rail + row.text]
    name, _, layer = row.text.partition("  ")
    wrapped = textwrap.wrap(name, room, break_long_words=False)
    wrapped += textwrap.wrap(layer, room, initial_indent="  ", subsequent_indent="    ", break_long_words=False)
    rails = [rail] + [rail.replace("▼", " ")] * len(wrapped)
    return [left + piece for left, piece in zip(rails, wrapped, strict=False)]
