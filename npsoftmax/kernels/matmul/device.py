"""Products of matrices on a device: cuBLAS's (cublas.py), or CuPy's for what that does not take.

With `--precision bf16` the factors are first rounded to bfloat16 by a kernel of matmul.cu, at half the width. Sums and
result are float32.
"""

from __future__ import annotations

import numpy as np

from npsoftmax import autocast, cublas
from npsoftmax.backend import Array, array_module, device_precision
from npsoftmax.bfloat16 import BFloat16
from npsoftmax.cuda import cuda, on_device
from npsoftmax.kernels.dispatch import as_stored, contiguous


def matmul(a: Array, b: Array, bias: Array | None) -> Array:
    """See `reference.matmul`."""
    if isinstance(a, BFloat16) or isinstance(b, BFloat16):
        return _of_activations(a, b, bias)
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
    """x (float32 or bfloat16, any shape) to the nearest bfloat16: its bits, in row order."""
    return contiguous(autocast.rounded(x).bits)[0]


def _of_activations(a: Array, b: Array, bias: Array | None) -> Array:
    """Of an activation, in bfloat16, and weights: an activation again. Of two of the former: float32, for weights."""
    full = bf16_product(a, b) if a.size and b.size else array_module(a).zeros((len(a), b.shape[1]), dtype=np.float32)
    if isinstance(a, BFloat16) and isinstance(b, BFloat16):
        return full if bias is None else full + bias
    y = autocast.room(a if isinstance(a, BFloat16) else b, full.shape)
    cuda("matmul", full).each("add_bias_and_round", full.size, *contiguous(full, bias), y, full.shape[1])
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
