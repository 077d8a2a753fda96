"""What cuBLAS is asked for by address, done in NumPy: the stand-in of strict_cupy has its arrays in host memory.

`library` is what the kernels get in the place of the real one: the same functions, whose arguments are looked at.
"""

from __future__ import annotations

import ctypes

import numpy as np

HANDLE = 4711
FLOAT32, FLOAT64, BFLOAT16 = 0, 1, 14
IN_FLOAT32, IN_FLOAT64, IN_TF32 = 68, 70, 77
KINDS = {  # factors, result, sums: types of both in memory, and what a factor is
    (FLOAT32, FLOAT32, IN_FLOAT32): (np.float32, np.float32),
    (FLOAT32, FLOAT32, IN_TF32): (np.float32, np.float32),
    (FLOAT64, FLOAT64, IN_FLOAT64): (np.float64, np.float64),
    (BFLOAT16, FLOAT32, IN_FLOAT32): (np.uint16, np.float32),
    (BFLOAT16, BFLOAT16, IN_FLOAT32): (np.uint16, np.uint16),
}
DEFAULT_ALGORITHM = -1


class Library:
    """The functions that are called, as a library that ctypes has loaded would have them."""

    def __init__(self, recorder):
        self._stream, self._workspace, self._recorder = None, None, recorder
        self.cublasCreate_v2 = lambda *args: self._create(*args)
        self.cublasSetStream_v2 = lambda *args: self._set_stream(*args)
        self.cublasSetWorkspace_v2 = lambda *args: self._set_workspace(*args)
        self.cublasGemmEx = lambda *args: self._gemm(*args)
        self.cublasGemmStridedBatchedEx = lambda *args: self._gemms(*args)

    def _create(self, address):
        ctypes.c_void_p.from_address(address).value = HANDLE
        return 0

    def _set_stream(self, handle, stream):
        assert handle.value == HANDLE
        self._stream, self._workspace = stream, None
        return 0

    def _set_workspace(self, handle, address, size):
        assert handle.value == HANDLE and address and size >= 4 << 20
        self._workspace = address
        return 0

    def _gemm(self, handle, ta, tb, m, n, k, one, a, a_kind, lda, b, b_kind, ldb, zero, c, c_kind, ldc, sums, how):
        rest = one, a, a_kind, lda, 0, b, b_kind, ldb, 0, zero, c, c_kind, ldc, 0, 1, sums, how
        return self._gemms(handle, ta, tb, m, n, k, *rest)

    def _gemms(
        self, handle, ta, tb, m, n, k, one, a, a_kind, lda, to_a, b, b_kind, ldb, to_b, zero, c, c_kind, ldc, to_c,
        count, sums, how,
    ):  # fmt: skip
        """c (m, n) = a (m, k) @ b (k, n), `count` of each, either transposed where its flag says so."""
        assert handle.value == HANDLE and self._workspace, "a workspace of one's own, after each change of the stream"
        assert self._stream == self._recorder.current_stream(), "on the current stream"
        assert a_kind == b_kind and how == DEFAULT_ALGORITHM
        inside, outside = KINDS[a_kind, c_kind, sums]
        numbers = np.float64 if sums == IN_FLOAT64 else np.float32
        factor, kept = (matrix(address, numbers, 1, 1, 1)[0, 0] for address in (one, zero))
        assert factor == 1 and (kept == 0 or (kept == 1 and outside == np.uint16))

        def multiply():
            for i in range(count):
                left, right = (
                    stored(address + i * step * np.dtype(inside).itemsize, inside, flag, *sizes, leading)
                    for address, step, flag, sizes, leading in (
                        (a, to_a, ta, (m, k), lda),
                        (b, to_b, tb, (k, n), ldb),
                    )
                )
                place = matrix(c + i * to_c * np.dtype(outside).itemsize, outside, m, n, ldc)
                sums_found = value_of(left) @ value_of(right)
                place[...] = sums_found if outside != np.uint16 else rounded(sums_found + kept_of(place, kept))

        self._recorder.run(multiply, f"cuBLAS {m} {n} {k}", [a, b], [c])
        return 0


def stored(address, dtype, transposed, rows, columns, leading):
    if transposed:
        return matrix(address, dtype, columns, rows, leading).T
    return matrix(address, dtype, rows, columns, leading)


def matrix(address, dtype, rows, columns, leading):
    """(rows, columns) that lie at an address column by column, `leading` numbers apart."""
    assert leading >= rows
    size = np.dtype(dtype).itemsize
    memory = (ctypes.c_char * (((columns - 1) * leading + rows) * size)).from_address(address)
    return np.ndarray((rows, columns), dtype, memory, strides=(size, leading * size))


def value_of(x):
    """Factors in bfloat16 are the upper halves of floats; sums are made in the type of the factors, or wider."""
    return (x.astype(np.uint32) << 16).view(np.float32).astype(np.float64) if x.dtype == np.uint16 else x


def kept_of(place, kept):
    """What was there, if it is kept."""
    return value_of(place) if kept else 0


def rounded(x):
    """Sums of float32 to the nearest bfloat16, of two as near the even one."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
