"""What cuBLAS is asked for by address, done in NumPy: the stand-in of strict_cupy has its arrays in host memory."""

from __future__ import annotations

import ctypes

import numpy as np

HANDLE = 4711
BFLOAT16, FLOAT32, SUMS_IN_FLOAT32, DEFAULT_ALGORITHM = 14, 0, 68, -1


def gemmEx(handle, ta, tb, m, n, k, alpha, a, a_kind, lda, b, b_kind, ldb, beta, c, c_kind, ldc, compute, algorithm):
    """c (m, n) = alpha · a (m, k) @ b (k, n) of bfloat16 factors, either transposed where its flag says so."""
    assert (handle, a_kind, b_kind, c_kind) == (HANDLE, BFLOAT16, BFLOAT16, FLOAT32)
    assert (compute, algorithm) == (SUMS_IN_FLOAT32, DEFAULT_ALGORITHM)
    left = matrix(a, np.uint16, k, m, lda).T if ta else matrix(a, np.uint16, m, k, lda)
    right = matrix(b, np.uint16, n, k, ldb).T if tb else matrix(b, np.uint16, k, n, ldb)
    one, zero = (float(matrix(number, np.float32, 1, 1, 1)[0, 0]) for number in (alpha, beta))
    assert zero == 0, "what was in c is not looked at"
    matrix(c, np.float32, m, n, ldc)[...] = one * (from_bfloat16(left) @ from_bfloat16(right))


def matrix(address, dtype, rows, columns, leading):
    """(rows, columns) that lie at an address column by column, `leading` numbers apart."""
    assert leading >= rows
    size = np.dtype(dtype).itemsize
    memory = (ctypes.c_char * (((columns - 1) * leading + rows) * size)).from_address(address)
    return np.ndarray((rows, columns), dtype, memory, strides=(size, leading * size))


def from_bfloat16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
