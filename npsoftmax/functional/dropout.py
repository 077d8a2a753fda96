"""Inverted dropout (Srivastava et al. 2014), with the mask injected: the pair itself is not random."""

from __future__ import annotations

from typing import Any

from npsoftmax.backend import Array


def dropout_forward(x: Array, mask: Array, keep: float) -> tuple[Array, Any]:
    """y = x · mask / keep, so that its expectation is x.

    x any shape, mask boolean like x (true with probability `keep`) -> y like x
    """
    return x * mask / x.dtype.type(keep), (mask, keep)


def dropout_backward(dy: Array, cache: Any) -> Array:
    """dx = dy · mask / keep. dy like x -> dx like x."""
    mask, keep = cache
    return dy * mask / dy.dtype.type(keep)
