# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Matrix products on all threads: each takes rows (or columns) of the result. float32 and float64.

Design: within a training step BLAS has one thread, because its pool and the kernels' would fight for the cores
(backend.single_threaded_blas). A product outside the kernels then uses one core unless it is shared out here. The side
of the result that is longer is cut, into one part for each thread: parts are whole products, added up by one thread,
so that the same number of threads gives the same bits. Where the sum is far longer than both, as in xᵀ @ dy over all
rows of a batch, the sum is cut instead: each thread then reads only its own rows, and the caller adds the parts. A bias costs nothing: BLAS would fill the result with zeros and
add to them, and is given the bias to add to instead.
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.string cimport memcpy

from npsoftmax._blas cimport NORMAL, TRANSPOSED, gemm

ctypedef Py_ssize_t index


cdef void fill_rows(floating* c, const floating* bias, index rows, index columns, index n) noexcept nogil:
    cdef index i
    for i in range(rows):
        memcpy(c + i * n, bias, columns * sizeof(floating))


cdef void part(const floating* a, bint ta, index lda, const floating* b, bint tb, index ldb, const floating* bias,
               floating* c, index m, index n, index k, index which, index parts) noexcept nogil:
    """Part `which` of `parts` of c (m, n) = op(a) @ op(b) + bias (n,), which may be NULL."""
    cdef index longer = max(m, n), first = which * longer // parts, count = (which + 1) * longer // parts - first
    cdef char how_a = TRANSPOSED if ta else NORMAL, how_b = TRANSPOSED if tb else NORMAL
    cdef floating kept = 0 if bias is NULL else 1
    if count == 0:
        return
    if m >= n:
        if bias is not NULL:
            fill_rows(c + first * n, bias, count, n, n)
        gemm(how_a, how_b, count, n, k, a + (first if ta else first * lda), lda, b, ldb, kept, c + first * n, n)
    else:
        if bias is not NULL:
            fill_rows(c + first, bias + first, m, count, n)
        gemm(how_a, how_b, m, count, k, a, lda, b + (first * ldb if tb else first), ldb, kept, c + first, n)


def matmul(const floating[:, ::1] a, const floating[:, ::1] b, const floating[::1] bias, floating[:, ::1] c, bint ta,
           bint tb, int threads):
    """c (M, N) = op(a) @ op(b) + bias (N,) or None, where op transposes if ta, tb."""
    cdef index m = c.shape[0], n = c.shape[1], k = a.shape[0] if ta else a.shape[1], t
    cdef const floating* added = NULL
    if bias is not None:
        added = &bias[0]
    for t in prange(threads, nogil=True, num_threads=threads, schedule="static", chunksize=1):
        part(&a[0, 0], ta, a.shape[1], &b[0, 0], tb, b.shape[1], added, &c[0, 0], m, n, k, t, threads)


def matmul_parts(const floating[:, ::1] a, const floating[:, ::1] b, floating[:, :, ::1] c):
    """Part i of c (parts, M, N) = the product of the i-th run of rows of a (K, M), transposed, and of b (K, N)."""
    cdef index parts = c.shape[0], m = c.shape[1], n = c.shape[2], k = a.shape[0], t, first, count
    for t in prange(parts, nogil=True, num_threads=parts, schedule="static", chunksize=1):
        first = t * k // parts
        count = (t + 1) * k // parts - first
        gemm(TRANSPOSED, NORMAL, m, n, count, &a[first, 0], m, &b[first, 0], n, <floating>0, &c[t, 0, 0], n)
