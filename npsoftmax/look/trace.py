"""What every layer of a network sees on the way there and back, for one sample.

Design: a network that is looked at is a copy of its own, in float64. Each of its layers gets a `forward` and a
`backward` of the instance that note what passes and hand on; so containers, blocks and residuals need not know.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npsoftmax.layers import Layer, MultiHeadAttention

Index = tuple[int, ...]


@dataclass
class Seen:
    """Of one layer and one pass: x and y of the forward, dy, dx and grads of the backward (None before it)."""

    x: Any = None
    y: Any = None
    dy: Any = None
    dx: Any = None
    grads: Any = None


@dataclass
class Trace:
    """What passed. seen: by the path of the layer; shift: (path, index, step) added to one number of a layer's x."""

    seen: dict[str, Seen] = field(default_factory=dict)
    shift: tuple[str, Index, float] | None = None

    def watch(self, trunk: Layer) -> dict[str, Layer]:
        """Let every layer in `trunk` note what passes; returns them by path, in the order of the network."""
        found = dict(paths(trunk))
        for path, layer in found.items():
            self._watch_one(path, layer)
        return found

    def _watch_one(self, path: str, layer: Layer) -> None:
        forward, backward = layer.forward, layer.backward

        def noting_forward(x: Any, **options: Any) -> tuple[Any, Any]:
            if self.shift is not None and self.shift[0] == path:
                _, index, step = self.shift
                x = x.copy()
                x[index] += step
            y, cache = forward(x, **options)
            self.seen[path] = Seen(x, y)
            return y, cache

        def noting_backward(dy: Any, cache: Any, **options: Any) -> tuple[Any, Any]:
            dx, grads = backward(dy, cache, **options | {"need_dx": True})
            note = self.seen[path]
            note.dy, note.dx, note.grads = dy, dx, grads
            return dx, grads

        if isinstance(layer, MultiHeadAttention):
            layer.cross_forward = self._noting_cross(path, layer.cross_forward)  # type: ignore[method-assign]
        layer.forward, layer.backward = noting_forward, noting_backward  # type: ignore[method-assign]

    def _noting_cross(self, path: str, cross_forward: Any) -> Any:
        """Attention of the first tokens alone, as in a last block: x are all tokens, of which those come first."""

        def noting(x: Any, context: Any, **options: Any) -> tuple[Any, Any]:
            y, cache = cross_forward(x, context, **options)
            self.seen[path] = Seen(context, y)
            return y, cache

        return noting


def paths(layer: Layer, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """The layers inside, each with its dotted path: a container before what is in it."""
    for name, child in layer.children().items():
        path = f"{prefix}{name}"
        yield path, child
        yield from paths(child, f"{path}.")


def sample(x: Any) -> np.ndarray:
    """The one sample of a batch of one; of tokens laid out as rows (T, D), all."""
    return x[0] if len(x) == 1 else x
