# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Matrix products on all threads: each takes rows (or columns) of the result. float32 and float64.

Design: within a training step BLAS has one thread, because its pool and the kernels' would fight for the cores
(backend.single_threaded_blas). A product outside the kernels then uses one core unless it is shared out here. The side
of the result that is longer is cut, into one part for each thread: parts are whole products, added up by one thread,
so that the same number of threads gives the same bits.
"""

from cython cimport floating
from cython.parallel cimport prange

from npsoftmax._blas cimport NORMAL, TRANSPOSED, gemm

ctypedef Py_ssize_t index


cdef void part(const floating* a, bint ta, index lda, const floating* b, bint tb, index ldb, floating* c, index m,
               index n, index k, index which, index parts) noexcept nogil:
    """Part `which` of `parts` of c (m, n) = op(a) @ op(b)."""
    cdef index longer = max(m, n), first = which * longer // parts, count = (which + 1) * longer // parts - first
    cdef char how_a = TRANSPOSED if ta else NORMAL, how_b = TRANSPOSED if tb else NORMAL
    if count == 0:
        return
    if m >= n:
        gemm(how_a, how_b, count, n, k, a + (first if ta else first * lda), lda, b, ldb, <floating>0,
             c + first * n, n)
    else:
        gemm(how_a, how_b, m, count, k, a, lda, b + (first * ldb if tb else first), ldb, <floating>0, c + first, n)


def matmul(const floating[:, ::1] a, const floating[:, ::1] b, floating[:, ::1] c, bint ta, bint tb, int threads):
    """c (M, N) = op(a) @ op(b), where op transposes if ta, tb."""
    cdef index m = c.shape[0], n = c.shape[1], k = a.shape[0] if ta else a.shape[1], t
    for t in prange(threads, nogil=True, num_threads=threads, schedule="static", chunksize=1):
        part(&a[0, 0], ta, a.shape[1], &b[0, 0], tb, b.shape[1], &c[0, 0], m, n, k, t, threads)
