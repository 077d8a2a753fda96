"""Products of matrices on a device: cuBLAS's (cublas.py), or CuPy's for what that does not take.

With `--precision bf16` the factors are first rounded to bfloat16 by a kernel of matmul.cu, at half the width. Sums and
result are float32.
"""

from __future__ import annotations

import numpy as np

from npsoftmax import cublas
from npsoftmax.backend import Array, array_module, device_precision
from npsoftmax.cuda import cuda, on_device
from npsoftmax.kernels.dispatch import as_stored, contiguous


def matmul(a: Array, b: Array, bias: Array | None) -> Array:
    """See `reference.matmul`."""
    y = product(a, b) if a.ndim == b.ndim == 2 else a @ b
    return y if bias is None else y + bias


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """a @ b of matrices in the precision that was asked for; into `out`, contiguous, if given."""
    if a.shape[1] == b.shape[0] and wants_bf16(a, b):
        return bf16_product(a, b, out)
    if cublas.takes(a, b):
        return cublas.product(a, b, out)
    return a @ b if out is None else array_module(a).matmul(a, b, out=out)


def products(a: Array, b: Array) -> Array:
    """See `reference.products`; with --precision bf16 in tf32."""
    return cublas.product(a, b) if cublas.takes(a, b) else a @ b


# ---------------------------------------------------------------- bfloat16
def wants_bf16(*arrays: Array) -> bool:
    """Whether products of these are to be made so: --precision bf16, and all float32, on a device and not empty."""
    if device_precision() != "bf16" or arrays[0].dtype != np.float32 or not on_device(*arrays):
        return False
    return all(array.size for array in arrays)


def rounded(x: Array) -> Array:
    """x to the nearest bfloat16, which are the upper halves of float32; as uint16, contiguous, any shape."""
    xp = array_module(x)
    y = xp.empty(x.shape, dtype=xp.uint16)
    cuda("matmul", x).each("round_bf16", x.size, *contiguous(x), y)
    return y


def rounded_to_tf32(x: Array) -> Array:
    """x, float32, to the nearest numbers of 10 bits after the point; contiguous, any shape."""
    xp = array_module(x)
    y = xp.empty(x.shape, dtype=x.dtype)
    cuda("matmul", x).each("round_tf32", x.size, *contiguous(x), y)
    return y


def bf16_product(a: Array, b: Array, out: Array | None = None) -> Array:
    """a @ b for matrices a (M, K), b (K, N) -> (M, N). Transposed views are read where they lie.

    out: contiguous, where the result is to be written.
    """
    (a, ta), (b, tb) = as_stored(a), as_stored(b)
    a, b = rounded(a), rounded(b)
    return cublas.product(a.T if ta else a, b.T if tb else b, out, "bf16")
