"""Products of matrices on a device: CuPy's, or with `--precision bf16` of factors that are rounded to bfloat16 first.

CuPy has none of the latter kind: the factors are rounded by a kernel of matmul.cu, at half the width, and cuBLAS
multiplies them. Sums and result are float32.
"""

from __future__ import annotations

import numpy as np

from npsoftmax.backend import Array, array_module, device_precision
from npsoftmax.cuda import cuda, on_device
from npsoftmax.kernels.dispatch import as_stored, contiguous

OPERATIONS = {False: 0, True: 1}  # whether transposed: cublasOperation_t
BFLOAT16, FLOAT32 = 14, 0  # cudaDataType_t
SUMS_IN_FLOAT32 = 68  # cublasComputeType_t
DEFAULT_ALGORITHM = -1  # cublasGemmAlgo_t
FACTOR_OF_PRODUCT, FACTOR_OF_OLD_Y = np.ones(1, np.float32), np.zeros(1, np.float32)


def matmul(a: Array, b: Array, bias: Array | None) -> Array:
    """See `reference.matmul`."""
    y = product(a, b) if a.ndim == b.ndim == 2 else a @ b
    return y if bias is None else y + bias


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """a @ b of matrices in the precision that was asked for; into `out`, contiguous, if given."""
    if a.shape[1] == b.shape[0] and wants_bf16(a, b):
        return bf16_product(a, b, out)
    return a @ b if out is None else array_module(a).matmul(a, b, out=out)


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
    xp, (m, k), n = array_module(a), a.shape, b.shape[1]
    from cupy_backends.cuda.libs import cublas

    (a, ta), (b, tb) = as_stored(a), as_stored(b)
    a, b = rounded(a), rounded(b)
    y = xp.empty((m, n), dtype=xp.float32) if out is None else out
    # cuBLAS goes through memory by columns, so that our rows are its columns: it makes yᵀ = bᵀ @ aᵀ.
    handle, one, zero = xp.cuda.get_cublas_handle(), FACTOR_OF_PRODUCT.ctypes.data, FACTOR_OF_OLD_Y.ctypes.data
    # fmt: off
    cublas.gemmEx(
        handle, OPERATIONS[tb], OPERATIONS[ta], n, m, k,
        one, b.data.ptr, BFLOAT16, b.shape[1], a.data.ptr, BFLOAT16, a.shape[1],
        zero, y.data.ptr, FLOAT32, n, SUMS_IN_FLOAT32, DEFAULT_ALGORITHM,
    )
    # fmt: on
    return y
