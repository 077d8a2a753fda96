"""Inverted dropout (Srivastava et al. 2014), with the mask injected: the pair itself is not random."""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import booleans, real, refuse
from npsoftmax.backend import Array
from npsoftmax.errors import as_number


def dropout_forward(x: Array, mask: Array, keep: float) -> tuple[Array, Any]:
    """y = x · mask / keep, so that its expectation is x.

    x any shape, mask boolean like x (true with probability `keep`) -> y like x
    """
    x = real(x)
    mask = _fits(mask, x.shape, keep)
    return x * mask / x.dtype.type(keep), (mask, keep)


def dropout_backward(dy: Array, cache: Any) -> Array:
    """dx = dy · mask / keep. dy like x -> dx like x."""
    mask, keep = cache
    dy = real(dy, "dy")
    _fits(mask, dy.shape, keep)
    return dy * mask / dy.dtype.type(keep)


def _fits(mask: Array, shape: tuple[int, ...], keep: float) -> Array:
    if mask is None or not 0 < as_number(keep) <= 1:
        raise refuse(f"keep is {keep!r} and mask {type(mask).__name__}, but 0 < keep <= 1 and booleans were expected.")
    return booleans(mask, shape)
