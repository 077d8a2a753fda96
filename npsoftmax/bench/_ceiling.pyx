# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What the machine can do at best, for `npsoftmax bench`: matrix products and streams through memory, float32.

Design: loops of the same kind as the kernels': each thread multiplies matrices of its own with a BLAS that has one
thread, and streams through arrays of its own. Its part of an array is first written by that thread, so that on a
machine with several memories it lies in the nearer one.
"""

from cython.parallel cimport prange

from npsoftmax.kernels._blas cimport NORMAL, gemm

ctypedef Py_ssize_t index


def products(const float[:, :, ::1] a, const float[:, :, ::1] b, float[:, :, ::1] c, index repeat):
    """c[t] = a[t] @ b[t], `repeat` times in thread t. a (threads, M, K), b (threads, K, N), c (threads, M, N)."""
    cdef index t, r, threads = a.shape[0], m = a.shape[1], k = a.shape[2], n = b.shape[2]
    for t in prange(threads, nogil=True, num_threads=threads, schedule="static", chunksize=1):
        for r in range(repeat):
            gemm(NORMAL, NORMAL, m, n, k, &a[t, 0, 0], k, &b[t, 0, 0], n, <float>0, &c[t, 0, 0], n)


cdef void fill_one(float* a, index n, float value) noexcept nogil:
    cdef index i
    for i in range(n):
        a[i] = value


cdef void copy_one(float* a, const float* b, index n) noexcept nogil:
    cdef index i
    for i in range(n):
        a[i] = b[i]


cdef void triad_one(float* a, const float* b, const float* c, float s, index n) noexcept nogil:
    cdef index i
    for i in range(n):
        a[i] = b[i] + s * c[i]


def fill(float[:, ::1] a, float value):
    """a[t] = value, by thread t. a (threads, n)."""
    cdef index t, threads = a.shape[0]
    for t in prange(threads, nogil=True, num_threads=threads, schedule="static", chunksize=1):
        fill_one(&a[t, 0], a.shape[1], value)


def copies(float[:, ::1] a, float[:, ::1] b, index repeat):
    """a[t] = b[t], then b[t] = a[t], and so on: `repeat` copies in thread t."""
    cdef index t, r, threads = a.shape[0], n = a.shape[1]
    for t in prange(threads, nogil=True, num_threads=threads, schedule="static", chunksize=1):
        for r in range(repeat):
            if r % 2:
                copy_one(&b[t, 0], &a[t, 0], n)
            else:
                copy_one(&a[t, 0], &b[t, 0], n)


def triads(float[:, ::1] a, const float[:, ::1] b, const float[:, ::1] c, index repeat):
    """a[t] = b[t] + s·c[t], `repeat` times in thread t with another s each time (McCalpin's STREAM triad)."""
    cdef index t, r, threads = a.shape[0], n = a.shape[1]
    for t in prange(threads, nogil=True, num_threads=threads, schedule="static", chunksize=1):
        for r in range(repeat):
            triad_one(&a[t, 0], &b[t, 0], &c[t, 0], <float>r, n)
