"""Sums of columns, norms, rows of a softmax, ReLU and GELU on a device; where there is no kernel for the arrays, the
reference runs.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.backend import Array, array_module
from npsoftmax.cuda import cuda
from npsoftmax.kernels import attention_reference, fused_reference
from npsoftmax.kernels.attention_reference import Three

WIDTH = 32  # columns that a block of norm.cu sums
PARTS, ROWS = 128, 64  # blocks that share out the rows of a column, at most; rows of one, at least


def _shares(xp: Any, m: int, c: int) -> tuple[tuple[int, int], int, tuple[int, int]]:
    """How sums of the columns of (m, c) are shared out: blocks, rows of each, and the shape of what they find."""
    each = max(ROWS, -(-m // PARTS))
    parts = max(1, -(-m // each))
    return (-(-c // WIDTH), parts), each, (parts, c)


# ---------------------------------------------------------------- columns
def column_sum(rows: Array) -> Array:
    """See `fused_reference.column_sum`."""
    gpu = cuda("norm", rows)
    if gpu is None or not rows.size:
        return fused_reference.column_sum(rows)
    xp, (m, c) = array_module(rows), rows.shape
    blocks, each, shape = _shares(xp, m, c)
    sums, out = xp.empty(shape, dtype=xp.float64), xp.empty(c, dtype=rows.dtype)
    gpu.blocks("column_sum", blocks, xp.ascontiguousarray(rows), sums, m, c, each)
    gpu.each("add_parts", c, sums, out, shape[0])
    return out


def column_moments(rows: Array) -> tuple[Array, Array]:
    """See `fused_reference.column_moments`."""
    gpu = cuda("norm", rows)
    if gpu is None or not rows.size:
        return fused_reference.column_moments(rows)
    xp, (m, c) = array_module(rows), rows.shape
    blocks, each, shape = _shares(xp, m, c)
    rows = xp.ascontiguousarray(rows)
    sums, squares = (xp.empty(shape, dtype=xp.float64) for _ in range(2))
    mean, var = xp.empty(c, dtype=rows.dtype), xp.empty(c, dtype=rows.dtype)
    gpu.blocks("column_moments", blocks, rows, sums, squares, m, c, each)
    gpu.each("finish_moments", c, sums, squares, rows, mean, var, shape[0], m)
    return mean, var


# ---------------------------------------------------------------- batch norm
def normalise(x: Array, mean: Array, factor: Array, shift: Array, relu: bool) -> Array:
    """See `fused_reference.normalise`."""
    gpu = cuda("norm", x, mean, factor, shift)
    if gpu is None:
        return fused_reference.normalise(x, mean, factor, shift, relu)
    y = array_module(x).empty(x.shape, dtype=x.dtype)
    gpu.each("normalise", x.size, *_contiguous(x, mean, factor, shift), y, x.shape[-1], relu)
    return y


def normalise_sums(dy: Array, x: Array, mean: Array, factor: Array, shift: Array, relu: bool) -> tuple[Array, Array]:
    """See `fused_reference.normalise_sums`."""
    gpu = cuda("norm", dy, x, mean, factor, shift)
    if gpu is None or not x.size:
        return fused_reference.normalise_sums(dy, x, mean, factor, shift, relu)
    xp, c = array_module(x), x.shape[-1]
    m = x.size // c
    blocks, each, shape = _shares(xp, m, c)
    sums, products = (xp.empty(shape, dtype=xp.float64) for _ in range(2))
    gpu.blocks("normalise_sums", blocks, *_contiguous(dy, x, mean, factor, shift), sums, products, relu, m, c, each)
    return _added(gpu, sums, x.dtype), _added(gpu, products, x.dtype)


def normalise_dx(
    dy: Array, x: Array, mean: Array, factor: Array, shift: Array, slope: Array, offset: Array, relu: bool
) -> Array:
    """See `fused_reference.normalise_dx`."""
    arrays = dy, x, mean, factor, shift, slope, offset
    gpu = cuda("norm", *arrays)
    if gpu is None:
        return fused_reference.normalise_dx(*arrays, relu)
    dx = array_module(x).empty(x.shape, dtype=x.dtype)
    gpu.each("normalise_dx", x.size, *_contiguous(*arrays), dx, x.shape[-1], relu)
    return dx


def _added(gpu: Any, sums: Array, dtype: Any) -> Array:
    parts, c = sums.shape
    out = array_module(sums).empty(c, dtype=dtype)
    gpu.each("add_parts", c, sums, out, parts)
    return out


def _contiguous(*arrays: Array | None) -> list[Array | None]:
    return [None if a is None else array_module(a).ascontiguousarray(a) for a in arrays]


# ---------------------------------------------------------------- layer norm
def layer_norm(x: Array, gamma: Array, beta: Array | None, eps: float) -> Three:
    """See `attention_reference.layer_norm`."""
    gpu = cuda("norm", *(a for a in (x, gamma, beta) if a is not None))
    if gpu is None or not x.size:
        return attention_reference.layer_norm(x, gamma, beta, eps)
    xp, (m, d) = array_module(x), x.shape
    y, mean, scale = (xp.empty(shape, dtype=x.dtype) for shape in (x.shape, m, m))
    gpu.blocks("layer_norm", (m,), *_contiguous(x, gamma, beta), y, mean, scale, float(eps), d)
    return y, mean, scale


def layer_norm_backward(dy: Array, x: Array, gamma: Array, mean: Array, scale: Array) -> Three:
    """See `attention_reference.layer_norm_backward`."""
    gpu = cuda("norm", dy, x, gamma, mean, scale)
    if gpu is None or not x.size:
        return attention_reference.layer_norm_backward(dy, x, gamma, mean, scale)
    xp, (m, d) = array_module(x), x.shape
    dy, x, gamma = _contiguous(dy, x, gamma)
    dx = xp.empty(x.shape, dtype=x.dtype)
    gpu.blocks("layer_norm_dx", (m,), dy, x, gamma, mean, scale, dx, d)
    blocks, each, shape = _shares(xp, m, d)
    dgamma, dbeta = (xp.empty(shape, dtype=xp.float64) for _ in range(2))
    gpu.blocks("layer_norm_sums", blocks, dy, x, mean, scale, dgamma, dbeta, m, d, each)
    return dx, _added(gpu, dgamma, x.dtype), _added(gpu, dbeta, x.dtype)


# ---------------------------------------------------------------- element by element
def relu_backward(dy: Array, y: Array) -> Array:
    """See `fused_reference.relu_backward`."""
    gpu = cuda("softmax", dy, y)
    if gpu is None:
        return fused_reference.relu_backward(dy, y)
    dx = array_module(y).empty(y.shape, dtype=y.dtype)
    gpu.each("relu_backward", y.size, *_contiguous(dy, y), dx)
    return dx


def gelu(x: Array) -> Array:
    """See `attention_reference.gelu`."""
    gpu = cuda("softmax", x)
    if gpu is None:
        return attention_reference.gelu(x)
    y = array_module(x).empty(x.shape, dtype=x.dtype)
    gpu.each("gelu", x.size, *_contiguous(x), y)
    return y


def gelu_backward(dy: Array, x: Array) -> Array:
    """See `attention_reference.gelu_backward`."""
    gpu = cuda("softmax", dy, x)
    if gpu is None:
        return attention_reference.gelu_backward(dy, x)
    dx = array_module(x).empty(x.shape, dtype=x.dtype)
    gpu.each("gelu_backward", x.size, *_contiguous(dy, x), dx)
    return dx


# ---------------------------------------------------------------- rows of a softmax
def exp_rows(z: Array, temperature: float, out: Array | None) -> tuple[Array, Array, Array, Array]:
    """See `fused_reference.exp_rows`."""
    gpu = cuda("softmax", z)
    if gpu is None or not z.size or not (out is None or out.flags.c_contiguous):
        return fused_reference.exp_rows(z, temperature, out)
    xp, (n, c) = array_module(z), z.shape
    e = xp.empty(z.shape, dtype=z.dtype) if out is None else out
    top, total, exponents = (xp.empty(n, dtype=z.dtype) for _ in range(3))
    gpu.blocks("exp_rows", (n,), *_contiguous(z), e, top, total, exponents, float(temperature), c)
    return e, top, total, exponents


def scaled_less_onehot(e: Array, t: Array, factor: Array, height: Array, low: float) -> Array:
    """See `fused_reference.scaled_less_onehot`."""
    gpu = cuda("softmax", e, factor, height)
    if gpu is None:
        return fused_reference.scaled_less_onehot(e, t, factor, height, low)
    xp = array_module(e)
    dz = xp.empty(e.shape, dtype=e.dtype)
    columns = xp.ascontiguousarray(t, dtype=xp.int64)
    e, factor, height = _contiguous(e, factor, height)
    gpu.each("scaled_less_onehot", e.size, e, columns, factor, height, dz, float(low), e.shape[1])
    return dz
