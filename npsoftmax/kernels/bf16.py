"""Products of float32 matrices on a device whose factors are rounded to bfloat16 first; sums and result are float32.

CuPy has no such product: the factors are rounded by a kernel of ours, at half the width, and cuBLAS multiplies them.
"""

from __future__ import annotations

import numpy as np

from npsoftmax.backend import Array, array_module, device_precision
from npsoftmax.cuda import compiled_for, cuda

KEPT, TRANSPOSED = 0, 1  # cublasOperation_t
BFLOAT16, FLOAT32 = 14, 0  # cudaDataType_t
SUMS_IN_FLOAT32 = 68  # cublasComputeType_t
DEFAULT_ALGORITHM = -1  # cublasGemmAlgo_t
ONE, ZERO = np.ones(1, np.float32), np.zeros(1, np.float32)


def wanted(*arrays: Array) -> bool:
    """Whether products of these are to be made so: --precision bf16, and all float32, on a device and not empty."""
    if device_precision() != "bf16" or arrays[0].dtype != np.float32 or cuda("bf16", *arrays) is None:
        return False
    return all(array.size for array in arrays)


def rounded(x: Array) -> Array:
    """x to the nearest bfloat16, which are the upper halves of float32; as uint16, contiguous, any shape."""
    xp = array_module(x)
    y = xp.empty(x.shape, dtype=xp.uint16)
    compiled_for(xp, "bf16", "f").each("round_bf16", x.size, xp.ascontiguousarray(x), y)
    return y


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """a @ b for matrices a (M, K), b (K, N) -> (M, N). Transposed views are read where they lie.

    out: contiguous, where the result is to be written.
    """
    xp, (m, k), n = array_module(a), a.shape, b.shape[1]
    from cupy_backends.cuda.libs import cublas

    (a, a_as), (b, b_as) = _as_stored(a), _as_stored(b)
    y = xp.empty((m, n), dtype=xp.float32) if out is None else out
    # cuBLAS goes through memory by columns, so that our rows are its columns: it makes yᵀ = bᵀ @ aᵀ.
    cublas.gemmEx(
        *(xp.cuda.get_cublas_handle(), b_as, a_as, n, m, k, ONE.ctypes.data),
        *(b.data.ptr, BFLOAT16, b.shape[1], a.data.ptr, BFLOAT16, a.shape[1]),
        *(ZERO.ctypes.data, y.data.ptr, FLOAT32, n, SUMS_IN_FLOAT32, DEFAULT_ALGORITHM),
    )
    return y


def _as_stored(x: Array) -> tuple[Array, int]:
    """x, or what it is the transpose of, rounded; and which of them it is."""
    if x.flags.f_contiguous and not x.flags.c_contiguous:
        return rounded(x.T), TRANSPOSED
    return rounded(x), KEPT
