"""Layer norm, GELU and softmax attention, each in one pass: the array's type decides which version runs.

What each function does stands in `attention_reference`; here is only who does it. The compiled versions take NumPy
arrays, all float32 or all float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array, get_threads, single_threaded_blas
from npsoftmax.cuda import cuda
from npsoftmax.kernels import attention_reference as reference
from npsoftmax.kernels import device_rows as device
from npsoftmax.kernels.attention_reference import Three
from npsoftmax.kernels.dispatch import compiled, threads_for

__all__ = ["attention", "attention_backward", "gelu", "gelu_backward", "layer_norm", "layer_norm_backward"]

PARTS = 64  # sums of rows that threads share out, at most: their number must not depend on that of the threads


def has_compiled(*arrays: Array) -> bool:
    """Whether arrays like these would run on the compiled kernels."""
    return _compiled(*arrays) is not None


def in_one_pass(*arrays: Array) -> bool:
    """Whether layer norm and GELU of arrays like these run in one pass: compiled, or by a kernel of the device."""
    return has_compiled(*arrays) or cuda("norm", *arrays) is not None


def _compiled(*arrays: Array | None) -> Any:
    given = [a for a in arrays if a is not None]
    return compiled("_attention", *given) if all(a.size for a in given) else None


# ---------------------------------------------------------------- layer norm
def layer_norm(x: Array, gamma: Array, beta: Array | None, eps: float) -> Three:
    """y, and mean and scale of every row; see `attention_reference.layer_norm`."""
    fast = _compiled(x, gamma, beta)
    if fast is None:
        return device.layer_norm(x, gamma, beta, eps)
    y, mean, scale = np.empty(x.shape, x.dtype), np.empty(len(x), x.dtype), np.empty(len(x), x.dtype)
    fast.layer_norm(*_contiguous(x, gamma, beta), y, mean, scale, eps, threads_for(x.size))
    return y, mean, scale


def layer_norm_backward(dy: Array, x: Array, gamma: Array, mean: Array, scale: Array) -> Three:
    """dx, dgamma, dbeta; see `attention_reference.layer_norm_backward`."""
    fast = _compiled(dy, x, gamma, mean, scale)
    if fast is None:
        return device.layer_norm_backward(dy, x, gamma, mean, scale)
    dx = np.empty(x.shape, x.dtype)
    sums = np.zeros((2, min(PARTS, len(x)), x.shape[1]), x.dtype)
    fast.layer_norm_backward(*_contiguous(dy, x, gamma, mean, scale), dx, *sums, threads_for(x.size))
    dgamma, dbeta = sums.sum(axis=1)
    return dx, dgamma, dbeta


# ---------------------------------------------------------------- GELU
def gelu(x: Array) -> Array:
    """See `attention_reference.gelu`."""
    fast = _compiled(x)
    if fast is None:
        return device.gelu(x)
    x = np.ascontiguousarray(x)
    y = np.empty_like(x)
    fast.gelu(x.reshape(-1), y.reshape(-1), threads_for(x.size))
    return y


def gelu_backward(dy: Array, x: Array) -> Array:
    """See `attention_reference.gelu_backward`."""
    fast = _compiled(dy, x)
    if fast is None:
        return device.gelu_backward(dy, x)
    dy, x = _contiguous(dy, x)
    dx = np.empty_like(x)
    fast.gelu_backward(dy.reshape(-1), x.reshape(-1), dx.reshape(-1), threads_for(x.size))
    return dx


# ---------------------------------------------------------------- softmax attention
def attention(q: Array, k: Array, v: Array, heads: int) -> tuple[Array, Array]:
    """y, and the log Σ e^z of every row of scores; see `attention_reference.attention`."""
    fast = _compiled(q, k, v)
    if fast is None:
        return reference.attention(q, k, v, heads)
    y = np.empty(q.shape, q.dtype)
    lse = np.empty((q.shape[0], heads, q.shape[1]), q.dtype)
    with single_threaded_blas():
        fast.attention(*_rows_of_features(q, k, v), y, lse, get_threads())
    return y, lse


def attention_backward(
    dy: Array, q: Array, k: Array, v: Array, y: Array, lse: Array, heads: int, out: Three | None = None
) -> Three:
    """dq, dk, dv, into `out` where it is given; see `attention_reference.attention_backward`."""
    fast = _compiled(dy, q, k, v, y, lse)
    if fast is None:
        return reference.attention_backward(dy, q, k, v, y, lse, heads, out)
    if out is None:
        out = np.empty(q.shape, q.dtype), np.empty(k.shape, k.dtype), np.empty(v.shape, v.dtype)
    with single_threaded_blas():
        fast.attention_backward(*_rows_of_features(dy, q, k, v), *_contiguous(y, lse), *out, get_threads())
    return out


# ---------------------------------------------------------------- layouts
def _contiguous(*arrays: Array | None) -> list[Array | None]:
    return [None if a is None else np.ascontiguousarray(a) for a in arrays]


def _rows_of_features(*arrays: Array) -> list[Array]:
    """Copies of those whose features do not lie side by side: BLAS takes any distance of rows, but not of features."""

    def fits(a: Array) -> bool:
        rows = a.strides[1] // a.itemsize
        return a.strides[2] == a.itemsize and a.strides[1] % a.itemsize == 0 and rows >= a.shape[2]

    return [a if fits(a) else np.ascontiguousarray(a) for a in arrays]
