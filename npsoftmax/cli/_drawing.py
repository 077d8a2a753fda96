"""A network drawn in text: one line a layer, residual branches as a line past them.

  layer                       output      parameters   multiply-adds
│ conv  Conv2d(3, 64, 3x3)    32x32x64         1,792       1,769,472
├─╮
│ │ conv  …
⊕─╯
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from npsoftmax.heads import Head
from npsoftmax.layers import Layer, Residual, Sequential, Shape
from npsoftmax.models import Model
from npsoftmax.params import leaves


@dataclass
class Row:
    """One line: the drawing at its left, what stands on it, and the layer's own numbers (None: not a layer)."""

    rail: str
    text: str
    shape: Shape | None = None
    parameters: int = 0
    macs: int = 0


def draw_model(model: Model, unicode: bool = True) -> str:
    """The drawing and the totals, as text."""
    rows = [Row("", "input", model.input_shape)]
    rows += _rows(model.trunk, model.input_shape, "│", "")
    head = Row("▼", f"head: {model.head!r}", (model.head.classes.n,), _count(model.head), model.head.macs())
    rows.append(head)
    width = max(len(row.rail) + len(row.text) for row in rows) + 2
    lines = [f"{'layer':<{width}} {'output':>12} {'parameters':>12} {'multiply-adds':>15}"]
    lines += [_line(row, width) for row in rows]
    total = f"{'total':<{width}} {'':>12} {model.parameter_count():>12,} {model.macs():>15,}"
    text = "\n".join([*lines, "─" * len(total), total])
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


def _line(row: Row, width: int) -> str:
    left = f"{row.rail} {row.text}" if row.rail else row.text
    if row.shape is None:
        return left
    shape = "x".join(str(n) for n in row.shape)
    numbers = f"{row.parameters:>12,} {row.macs:>15,}" if row.parameters or row.macs else ""
    return f"{left:<{width}} {shape:>12} {numbers}".rstrip()
