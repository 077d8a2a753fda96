"""ReLU as one reads it; the library's own is one pass of a compiled kernel."""

from __future__ import annotations

from typing import Any

from npsoftmax.backend import Array, array_module


def relu_forward(x: Array) -> tuple[Array, Any]:
    """y = max(x, 0). Any shape. The cache is y itself: where y > 0, x was."""
    xp = array_module(x)
    y = xp.maximum(x, 0)
    return y, y


def relu_backward(dy: Array, cache: Any) -> Array:
    """dx = dy where x > 0, else 0 (the subgradient at the kink is 0)."""
    y = cache
    return dy * (y > 0)
