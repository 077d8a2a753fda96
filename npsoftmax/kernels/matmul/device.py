"""Products of matrices on a device: cuBLAS's (cublas.py), or CuPy's for what that does not take.

With `--precision bf16` factors that are not bfloat16 yet are rounded first. Sums are float32, and so is the result, but
for that of an activation and weights (`npsoftmax.autocast`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax import autocast, cublas
from npsoftmax.backend import Array, array_module, device_precision
from npsoftmax.bfloat16 import BFloat16
from npsoftmax.cuda import cuda, on_device
from npsoftmax.kernels.dispatch import as_stored, contiguous


def matmul(a: Array, b: Array, bias: Array | None) -> Array:
    """See `reference.matmul`; of an activation in bfloat16 and weights it is one again, of two of those float32."""
    if isinstance(a, BFloat16) != isinstance(b, BFloat16):
        return activation(a, b, bias)
    y = product(a, b) if a.ndim == b.ndim == 2 else a @ b
    return y if bias is None else y + bias


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """a @ b of matrices in the precision that was asked for; into `out`, contiguous, if given."""
    if a.shape[1] == b.shape[0] and wants_bf16(a, b):
        return bf16_product(a, b, out)
    if cublas.takes(a, b):
        return cublas.product(a, b, out)
    if isinstance(a, BFloat16):  # of no samples
        return array_module(a).zeros((a.shape[0], b.shape[1]), dtype=np.float32)
    return a @ b if out is None else array_module(a).matmul(a, b, out=out)


def products(a: Array, b: Array) -> Array:
    """See `reference.products`; with --precision bf16 in tf32."""
    return cublas.product(a, b) if cublas.takes(a, b) else a @ b


# ---------------------------------------------------------------- bfloat16
def wants_bf16(a: Array, b: Array) -> bool:
    """Whether a product of these is to be made so: of activations, and of float32 with --precision bf16."""
    narrow = isinstance(a, BFloat16) or (device_precision() == "bf16" and a.dtype == np.float32)
    return narrow and on_device(a, b) and bool(a.size and b.size)


def activation(a: Array, b: Array, bias: Array | None, out: Any = None) -> Any:
    """a @ b + bias in bfloat16, into `out` if given; the bias is rounded too, and then the sum. a (M, K), b (K, N)"""
    y = autocast.room(a if isinstance(a, BFloat16) else b, (a.shape[0], b.shape[1])) if out is None else out
    if bias is not None:
        cuda("matmul", y).packs("rows", y.size, *contiguous(bias), y, b.shape[1])
    if a.size and b.size:
        bf16_product(a, b, y.bits, "all bf16", more=bias is not None)
    return y


def rounded(x: Array) -> Array:
    """x (float32 or bfloat16, any shape) to the nearest bfloat16: its bits, in row order."""
    return contiguous(autocast.rounded(x).bits)[0]


def rounded_to_tf32(x: Array) -> Array:
    """x, float32, to the nearest numbers of 10 bits after the point; contiguous, any shape."""
    xp = array_module(x)
    y = xp.empty(x.shape, dtype=x.dtype)
    cuda("matmul", x).each("round_tf32", x.size, *contiguous(x), y)
    return y


def bf16_product(a: Array, b: Array, out: Array | None, kind: str = "bf16", *, more: bool = False) -> Array:
    """a @ b for matrices a (M, K), b (K, N) -> (M, N), into `out` if given; see `cublas.product`."""
    (a, ta), (b, tb) = as_stored(a), as_stored(b)
    a, b = rounded(a), rounded(b)
    return cublas.product(a.T if ta else a, b.T if tb else b, out, kind, more=more)
