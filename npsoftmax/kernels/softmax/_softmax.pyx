# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Rows of a softmax: exponentials with their sums, and the gradient of the logits. float32 and float64.

Design: NumPy would make a pass through memory for each operation, on a single thread; here a row stays in the
first-level cache from its maximum to its sums, and goes back to memory once. Threads share out rows. The readable
version is reference.py.
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport INFINITY
from libc.stdint cimport int64_t

from npsoftmax.kernels._arithmetic cimport exponential

ctypedef Py_ssize_t index

cdef enum:
    LANES = 64    # sums that run side by side


cdef floating largest(const floating* z, index n) noexcept nogil:
    """The largest of n values, LANES of them at a time; NaN is ignored."""
    cdef floating tops[LANES]
    cdef floating top = -INFINITY, value, held
    cdef index at = 0, i, count
    for i in range(LANES):
        tops[i] = -INFINITY
    while at < n:
        count = min(<index>LANES, n - at)
        for i in range(count):
            value, held = z[at + i], tops[i]
            tops[i] = value if value > held else held
        at = at + count
    for i in range(LANES):
        top = tops[i] if tops[i] > top else top
    return top


cdef void exp_row(const floating* z, index n, floating temperature, floating* e, floating* sums) noexcept nogil:
    """e = exp(s), s = (z - max z) / temperature; sums: max z, Σ e, Σ s. e may be z: a row passes through `part`."""
    cdef floating part[LANES]
    cdef floating totals[LANES]
    cdef floating exponents[LANES]
    cdef floating top = largest(z, n), s
    cdef double total = 0, exponent = 0
    cdef index at = 0, i, count
    for i in range(LANES):
        totals[i] = exponents[i] = 0
    while at < n:
        count = min(<index>LANES, n - at)
        for i in range(count):
            s = (z[at + i] - top) / temperature
            part[i] = exponential(s)
            totals[i] += part[i]
            exponents[i] += s
        for i in range(count):
            e[at + i] = part[i]
        at = at + count
    for i in range(LANES):
        total += totals[i]
        exponent += exponents[i]
    sums[0], sums[1], sums[2] = top, <floating>total, <floating>exponent


def exp_rows(const floating[:, ::1] z, double temperature, floating[:, ::1] e, floating[:, ::1] sums, int threads):
    """e (N, C) = exp(s), s = (z - max z) / temperature; sums (N, 3): max z, Σ e, Σ s of each row. e may be z."""
    cdef index n
    for n in prange(z.shape[0], nogil=True, num_threads=threads, schedule="static"):
        exp_row(&z[n, 0], z.shape[1], <floating>temperature, &e[n, 0], &sums[n, 0])


cdef void scale_less_row(const floating* e, index n, floating factor, floating low, floating* dz) noexcept nogil:
    cdef index i
    for i in range(n):
        dz[i] = e[i] * factor - low


def scaled_less_onehot(const floating[:, ::1] e, const int64_t[::1] t, const floating[::1] factor,
                       const floating[::1] height, const floating[::1] low, floating[:, ::1] dz, int threads):
    """dz[n] = e[n]·factor[n] - low[n], and height[n] less at column t[n], where t[n] is one of the columns.

    low: may be None, for 0.
    """
    cdef index n
    cdef bint lower = low is not None
    for n in prange(e.shape[0], nogil=True, num_threads=threads, schedule="static"):
        scale_less_row(&e[n, 0], e.shape[1], factor[n], low[n] if lower else 0, &dz[n, 0])
        if 0 <= t[n] < e.shape[1]:
            dz[n, t[n]] -= height[n]
