# cython: language_level=3
"""Exponentials and sums in a form that compilers can vectorise: what several kernels share."""

cimport cython
from cython cimport floating
from libc.math cimport exp

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* e^x for x <= 0, to 2 units in the last place, in steps that a compiler can vectorise (the C library's function
       is a call). x = n ln 2 + r with |r| <= (ln 2) / 2; adding 1.5 * 2^23 rounds to n, in the low bits of the sum,
       and the shift moves it to the exponent's place. Below -87, where that would overflow, it is 0. */
    static inline float npsoftmax_exp(float x)
    {
        float t, n, r, p, scale, lowest = x < -87.0f ? 0.0f : 1.0f;
        int32_t bits;
        x = x < -87.0f ? -87.0f : x;
        t = x * 1.44269504f + 12582912.0f;
        n = t - 12582912.0f;
        r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
        p = 1.0f / 720 + r * (1.0f / 5040);
        p = 1.0f / 120 + r * p;
        p = 1.0f / 24 + r * p;
        p = 1.0f / 6 + r * p;
        p = 0.5f + r * p;
        p = 1.0f + r * (1.0f + r * p);
        memcpy(&bits, &t, 4);
        bits = (int32_t)((uint32_t)bits << 23) + 0x3f800000;
        memcpy(&scale, &bits, 4);
        return p * scale * lowest;
    }
    """
    float npsoftmax_exp(float x) noexcept nogil


cdef inline floating exponential(floating x) noexcept nogil:
    if floating is float:
        return npsoftmax_exp(x)
    else:
        return exp(x)


@cython.cdivision(True)    # a check of the divisor would keep loops from being vectorised
cdef inline floating sigmoid(floating x) noexcept nogil:
    """1 / (1 + exp(-x))."""
    cdef floating one = 1    # as a number in the text it would be a double
    cdef floating e = exponential(-abs(x))
    cdef floating s = one / (one + e), below = e * s
    return below if x < 0 else s


cdef inline floating silu_slope(floating x) noexcept nogil:
    """The derivative of x · σ(x)."""
    cdef floating one = 1, s = sigmoid(x)
    return s * (one + x * (one - s))


cdef inline floating added(floating* sums) noexcept nogil:
    """The sum of sixteen that ran side by side: those may stay in vector registers, a single one may not be reordered."""
    cdef Py_ssize_t j
    for j in range(8):
        sums[j] += sums[j + 8]
    for j in range(4):
        sums[j] += sums[j + 4]
    return (sums[0] + sums[2]) + (sums[1] + sums[3])


cdef inline floating dot(const floating* x, const floating* y, Py_ssize_t n) noexcept nogil:
    cdef floating sums[16]
    cdef floating rest = 0
    cdef Py_ssize_t i, j, whole = n - n % 16
    for j in range(16):
        sums[j] = 0
    for i in range(0, whole, 16):
        for j in range(16):
            sums[j] += x[i + j] * y[i + j]
    for i in range(whole, n):
        rest += x[i] * y[i]
    return added(sums) + rest


cdef inline floating total(const floating* x, Py_ssize_t n) noexcept nogil:
    cdef floating sums[16]
    cdef floating rest = 0
    cdef Py_ssize_t i, j, whole = n - n % 16
    for j in range(16):
        sums[j] = 0
    for i in range(0, whole, 16):
        for j in range(16):
            sums[j] += x[i + j]
    for i in range(whole, n):
        rest += x[i]
    return added(sums) + rest
