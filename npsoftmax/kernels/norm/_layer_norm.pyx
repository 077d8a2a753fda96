# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Layer norm. float32 and float64.

Design: there is little arithmetic, so each value should come from memory once and go back once: a row is normalised
while it is in the first-level cache. Threads share out rows; no write is shared, and the sums over all rows (dgamma,
dbeta) are made in parts whose number is the caller's, so that the bits do not depend on the threads. The readable
version is reference.py.
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport sqrt, sqrtf

from npsoftmax.kernels._arithmetic cimport added, dot, total

ctypedef Py_ssize_t index


cdef inline floating square_total(const floating* x, floating mean, index n) noexcept nogil:
    """Σ (x - mean)²."""
    cdef floating sums[16]
    cdef floating rest = 0
    cdef index i, j, whole = n - n % 16
    for j in range(16):
        sums[j] = 0
    for i in range(0, whole, 16):
        for j in range(16):
            sums[j] += (x[i + j] - mean) * (x[i + j] - mean)
    for i in range(whole, n):
        rest += (x[i] - mean) * (x[i] - mean)
    return added(sums) + rest

cdef void norm_row(const floating* x, const floating* gamma, const floating* beta, floating* y, floating* mean,
                   floating* scale, floating eps, index d) noexcept nogil:
    cdef floating m = total(x, d) / d, s
    cdef index j
    s = square_total(x, m, d) / d + eps
    if floating is float:
        s = 1 / sqrtf(s)
    else:
        s = 1 / sqrt(s)
    mean[0], scale[0] = m, s
    if beta is NULL:
        for j in range(d):
            y[j] = (x[j] - m) * s * gamma[j]
    else:
        for j in range(d):
            y[j] = (x[j] - m) * s * gamma[j] + beta[j]


def layer_norm(const floating[:, ::1] x, const floating[::1] gamma, const floating[::1] beta, floating[:, ::1] y,
               floating[::1] mean, floating[::1] scale, floating eps, int threads):
    """x, y (M, D), gamma (D,), beta (D,) or None, mean, scale (M,)."""
    cdef index i, d = x.shape[1]
    cdef const floating* shift = NULL
    if beta is not None:
        shift = &beta[0]
    for i in prange(x.shape[0], nogil=True, num_threads=threads, schedule="static"):
        norm_row(&x[i, 0], &gamma[0], shift, &y[i, 0], &mean[i], &scale[i], eps, d)


cdef void norm_rows_backward(const floating* dy, const floating* x, const floating* gamma, const floating* mean,
                             const floating* scale, floating* dx, floating* dgamma, floating* dbeta, index m,
                             index d) noexcept nogil:
    """Rows 0 … m-1; dgamma and dbeta are added to. dx serves as scratch for g = dy·gamma on the way."""
    cdef index i, j
    cdef floating normal, g_mean, g_normal, centre, s
    for i in range(m):
        centre, s = mean[i], scale[i]
        for j in range(d):
            dx[j] = dy[j] * gamma[j]
        for j in range(d):
            dbeta[j] += dy[j]
        for j in range(d):
            dgamma[j] += dy[j] * ((x[j] - centre) * s)
        g_mean = total(dx, d)
        g_normal = (dot(dx, x, d) - centre * g_mean) * s / d    # mean of g · x̂
        g_mean = g_mean / d
        for j in range(d):
            normal = (x[j] - centre) * s
            dx[j] = s * (dx[j] - g_mean - normal * g_normal)
        dy, x, dx = dy + d, x + d, dx + d


def layer_norm_backward(const floating[:, ::1] dy, const floating[:, ::1] x, const floating[::1] gamma,
                        const floating[::1] mean, const floating[::1] scale, floating[:, ::1] dx,
                        floating[:, ::1] dgamma, floating[:, ::1] dbeta, int threads):
    """dx (M, D); dgamma, dbeta (parts, D): zeros, and part i of the rows is added up in row i."""
    cdef index i, first, last, m = x.shape[0], d = x.shape[1], parts = dgamma.shape[0]
    for i in prange(parts, nogil=True, num_threads=threads, schedule="static"):
        first = m * i // parts
        last = m * (i + 1) // parts
        if first < last:
            norm_rows_backward(&dy[first, 0], &x[first, 0], &gamma[0], &mean[first], &scale[first], &dx[first, 0],
                               &dgamma[i, 0], &dbeta[i, 0], last - first, d)
