# cython: language_level=3
"""Matrix products for rows of C floats, through SciPy's BLAS: what the convolution kernels share."""

from cython cimport floating
from scipy.linalg.cython_blas cimport dgemm, sgemm

# How BLAS spells an operand: as it is, or transposed.
cdef enum:
    NORMAL = 78
    TRANSPOSED = 84


cdef inline void gemm(char transpose_a, char transpose_b, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
                      const floating* a, Py_ssize_t lda, const floating* b, Py_ssize_t ldb, floating beta,
                      floating* c, Py_ssize_t ldc) noexcept nogil:
    """Row-major c (m, n) = op(a) @ op(b) + beta·c. BLAS is column-major, which swaps the operands."""
    cdef int rows = <int>m, cols = <int>n, depth = <int>k, la = <int>lda, lb = <int>ldb, lc = <int>ldc
    cdef floating one = 1
    if floating is float:
        sgemm(&transpose_b, &transpose_a, &cols, &rows, &depth, &one, <float*>b, &lb, <float*>a, &la, &beta, c, &lc)
    else:
        dgemm(&transpose_b, &transpose_a, &cols, &rows, &depth, &one, <double*>b, &lb, <double*>a, &la, &beta, c, &lc)
