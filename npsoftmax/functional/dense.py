"""The fully connected (linear) map.

The protocol, here as in every file of this folder:
    y, cache = thing_forward(x, …)          forward returns what backward needs,
    dx, …    = thing_backward(dy, cache)    backward returns what the optimiser or the layer before needs,
    and neither keeps anything, nor changes what it is given.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import gradient_like, taken
from npsoftmax.autocast import activation_and, gradient_as
from npsoftmax.backend import Array
from npsoftmax.kernels.matmul import matmul
from npsoftmax.kernels.norm import column_sum


def dense_forward(x: Array, w: Array, b: Array | None = None) -> tuple[Array, Any]:
    """y = x @ w + b.

    x (N, D), w (D, M), b (M,) or None -> y (N, M)
    """
    x, w, b = taken("x (N, D), w (D, M), b (M)?", x, w, b)
    y = x @ w
    if b is not None:
        y += b
    return y, (x, w, b is not None)


def dense_backward(dy: Array, cache: Any, need_dx: bool = True) -> tuple[Array | None, Array, Array | None]:
    """Gradients of `dense_forward`: dx = dy @ wᵀ, dw = xᵀ @ dy, db = Σ_n dy.

    dy (N, M) -> dx (N, D), dw (D, M), db (M,) or None. Each is a sum over the batch: the 1/N belongs to the loss.
    """
    x, w, has_bias = cache
    dy = gradient_like(dy, (len(x), w.shape[1]))
    dx = dy @ w.T if need_dx else None
    dw = x.T @ dy
    db = dy.sum(axis=0) if has_bias else None
    return dx, dw, db


def dense_threaded_forward(x: Array, w: Array, b: Array | None = None) -> tuple[Array, Any]:
    """`dense_forward` with the product on all threads. x (N, D), w (D, M), b (M,) or None -> y (N, M)"""
    x, w, b = activation_and(x, w, b)
    return matmul(x, w, b), (x, w, b is not None)


def dense_threaded_backward(dy: Array, cache: Any, need_dx: bool = True) -> tuple[Array | None, Array, Array | None]:
    """`dense_backward` with the products on all threads.

    dy (N, M) -> dx (N, D), dw (D, M), db (M,) or None
    """
    x, w, has_bias = cache
    dy = gradient_as(dy, (len(x), w.shape[1]), x)
    dx = matmul(dy, w.T) if need_dx else None
    return dx, matmul(x.T, dy), column_sum(dy) if has_bias else None
