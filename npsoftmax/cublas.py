"""cuBLAS, called by name: products of matrices on a device, of one kind of numbers, as `--precision` says.

CuPy's own way to cuBLAS cannot be part of a CUDA graph: it refuses while a stream is captured (cupy/cupy#6290), though
cuBLAS does not. So all products of a step go through this file, captured or not, and both ways make the same bits. The
library is the one that CuPy has loaded; handle and workspace are our own, since a workspace that cuBLAS takes for
itself while a stream is captured is another one in each call.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import c_float, c_int, c_longlong, c_void_p
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from npsoftmax.backend import Array, array_module, device_precision
from npsoftmax.cuda import on_device

WORKSPACE = 32 << 20  # bytes: what cuBLAS itself takes on an H100
FLOAT32, FLOAT64, BFLOAT16 = 0, 1, 14  # cudaDataType_t
IN_FLOAT32, IN_FLOAT64, IN_TF32 = 68, 70, 77  # cublasComputeType_t
DEFAULT_ALGORITHM = -1  # cublasGemmAlgo_t
# handle | transposed, twice | m, n, k | factor | a, kind, leading | b, kind, leading | factor of c | c, kind, leading
_A_B, _C = [c_void_p, c_int, c_int], [c_void_p, c_int, c_int]
GEMM = [c_void_p, *[c_int] * 5, c_void_p, *_A_B, *_A_B, c_void_p, *_C, c_int, c_int]
STRIDED = [c_void_p, *[c_int] * 5, c_void_p, *[*_A_B, c_longlong] * 2, c_void_p, *_C, c_longlong, c_int, c_int, c_int]
ARGUMENTS = {
    "cublasCreate_v2": [c_void_p],
    "cublasSetStream_v2": [c_void_p, c_void_p],
    "cublasSetWorkspace_v2": [c_void_p, c_void_p, ctypes.c_size_t],
    "cublasGemmEx": GEMM,
    "cublasGemmStridedBatchedEx": STRIDED,
}


def library(xp: Any) -> Any:
    """The library, whose functions are attributes of it; None where it is not found by name."""
    xp.cuda.get_cublas_handle()  # CuPy loads it, and the system knows it by name from then on
    major = xp.cuda.runtime.runtimeGetVersion() // 1000
    for name in (f"libcublas.so.{major}", f"cublas64_{major}.dll"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


class CublasError(RuntimeError):
    """A function of cuBLAS did not do what it was asked for."""


class Cublas:
    """A handle of cuBLAS on the current device, with a workspace of its own."""

    def __init__(self, xp: Any, functions: Any):
        self._xp, self._functions = xp, functions
        for name, kinds in ARGUMENTS.items():
            getattr(functions, name).argtypes = kinds
        self._stream: int | None = None
        self._handle = c_void_p()
        self._call("cublasCreate_v2", ctypes.addressof(self._handle))
        self._workspace = xp.empty(WORKSPACE, dtype=xp.uint8)

    def _call(self, name: str, *args: Any) -> None:
        status = getattr(self._functions, name)(*args)
        if status:
            raise CublasError(f"{name} of cuBLAS gives the status {status}.")

    def multiply(self, name: str, *args: Any) -> None:
        """One of the products, on CuPy's current stream."""
        stream = self._xp.cuda.get_current_stream().ptr
        if stream != self._stream:
            self._call("cublasSetStream_v2", self._handle, stream)  # which takes the workspace away
            self._call("cublasSetWorkspace_v2", self._handle, self._workspace.data.ptr, WORKSPACE)
            self._stream = stream
        self._call(name, self._handle, *args)


@functools.cache
def handle_of(xp: Any, device: int) -> Cublas | None:
    """The handle on a device, which is the current one; None where the library is not found."""
    functions = library(xp)
    return None if functions is None else Cublas(xp, functions)


def handle(a: Array) -> Cublas | None:
    """The handle for products with `a`, which is on a device; None where the library is not found."""
    xp = array_module(a)
    return handle_of(xp, xp.cuda.Device().id)


# ---------------------------------------------------------------- products
class Kind(NamedTuple):
    """Types of the factors and the result and how it is summed, as cuBLAS numbers them; the factors 1 and 0 in it."""

    factors: int
    result: int
    sums: int
    one: Any
    zero: Any


_FLOATS, _DOUBLES = (c_float(1), c_float(0)), (ctypes.c_double(1), ctypes.c_double(0))
KINDS = {
    "fp32": Kind(FLOAT32, FLOAT32, IN_FLOAT32, *_FLOATS),
    "tf32": Kind(FLOAT32, FLOAT32, IN_TF32, *_FLOATS),
    "bf16": Kind(BFLOAT16, FLOAT32, IN_FLOAT32, *_FLOATS),  # of factors that were rounded, in uint16
    "all bf16": Kind(BFLOAT16, BFLOAT16, IN_FLOAT32, *_FLOATS),  # the same, and the result is rounded too
    "double": Kind(FLOAT64, FLOAT64, IN_FLOAT64, *_DOUBLES),
}


def takes(a: Array, b: Array) -> bool:
    """Whether `product` multiplies these: both float32 or both float64, on a device and not empty."""
    fits = a.ndim == b.ndim >= 2 and a.shape[:-2] == b.shape[:-2] and a.shape[-1] == b.shape[-2]
    return fits and bool(a.size and b.size) and on_device(a, b) and handle(a) is not None


def product(a: Array, b: Array, out: Array | None = None, kind: str | None = None, *, more: bool = False) -> Array:
    """a @ b. a (…, M, K), b (…, K, N) -> (…, M, N), into `out`, contiguous, if given. For what `takes` says yes to.

    kind: "bf16" for factors that were rounded, in uint16, and "all bf16" for an `out` like them. more: added to what is
    in `out`. Transposed views are read where they lie; others that are not contiguous are copied.
    """
    xp, (m, k), n = array_module(a), a.shape[-2:], b.shape[-1]
    if kind is None:
        kind = "double" if a.dtype == np.float64 else "fp32" if device_precision() == "fp32" else "tf32"
    how = KINDS[kind]
    left, right = Factor.of(a), Factor.of(b)
    if out is None:
        out = xp.empty((*a.shape[:-1], n), dtype=xp.float64 if how.result == FLOAT64 else xp.float32)
    one, kept = ctypes.addressof(how.one), ctypes.addressof(how.one if more else how.zero)
    # cuBLAS goes through memory by columns, so that our rows are its columns: it makes yᵀ = bᵀ @ aᵀ.
    sizes = right.transposed, left.transposed, n, m, k
    gemm = handle(a)
    assert gemm is not None
    # fmt: off
    if a.ndim == 2:
        gemm.multiply(
            "cublasGemmEx", *sizes, one, right.address, how.factors, right.leading,
            left.address, how.factors, left.leading, kept, out.data.ptr, how.result, n, how.sums, DEFAULT_ALGORITHM,
        )
    else:
        gemm.multiply(
            "cublasGemmStridedBatchedEx", *sizes, one, right.address, how.factors, right.leading, right.step,
            left.address, how.factors, left.leading, left.step, kept, out.data.ptr, how.result, n, m * n,
            out.size // (m * n), how.sums, DEFAULT_ALGORITHM,
        )
    # fmt: on
    return out


class Factor(NamedTuple):
    """Where a stack of matrices lies: numbers from one row to the next (of what is stored), and matrix to matrix."""

    kept: Array  # so that a copy is there until it was used
    transposed: bool
    leading: int
    step: int

    @property
    def address(self) -> int:
        return int(self.kept.data.ptr)

    @classmethod
    def of(cls, x: Array) -> Factor:
        *outer, down, across = (stride // x.itemsize for stride in x.strides)
        *counts, rows, columns = x.shape
        # The matrices have to follow each other at one distance; the stride of an axis of length 1 says nothing.
        axes = [(n, stride) for n, stride in zip(counts, outer, strict=True) if n != 1]
        even = all(stride == n * inner for (_, stride), (n, inner) in pairwise(axes))
        step = axes[-1][1] if axes else 0
        if even and (across == 1 or columns == 1) and (down >= columns or rows == 1):
            return cls(x, False, columns if rows == 1 else down, step)
        if even and (down == 1 or rows == 1) and (across >= rows or columns == 1):
            return cls(x, True, rows if columns == 1 else across, step)
        return cls(array_module(x).ascontiguousarray(x), False, columns, rows * columns)
