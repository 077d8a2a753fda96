# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Element by element: ReLU, GELU, SiLU, sums of arrays. float32 and float64, flat arrays.

Design: every value is read once, goes through the whole formula in a register and is written once; chunks are shared
out among the threads. A condition has both of its values read before it: a read that may not happen would keep a
loop from being vectorised. The exponential of GELU and SiLU is a polynomial that the compiler turns into vector instructions
(libm's is called for one number at a time). The readable version is reference.py.
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport erfc

from npsoftmax.kernels._arithmetic cimport exponential, sigmoid, silu_slope

ctypedef Py_ssize_t index

cdef index CHUNK = 16384

cdef enum:
    SMOOTH_CHUNK = 1024    # fewer values: each is some thirty operations


cdef inline index chunks(index n) noexcept nogil:
    return (n + CHUNK - 1) // CHUNK


# ---------------------------------------------------------------- ReLU, sums
cdef void relu_chunk(const floating* x, index n, floating* y) noexcept nogil:
    cdef index i
    cdef floating value
    for i in range(n):
        value = x[i]
        y[i] = 0 if value < 0 else value    # NaN stays NaN


def relu(const floating[::1] x, floating[::1] y, int threads):
    """y = max(x, 0)."""
    cdef index j, n = x.shape[0]
    for j in prange(chunks(n), nogil=True, num_threads=threads, schedule="static"):
        relu_chunk(&x[j * CHUNK], min(CHUNK, n - j * CHUNK), &y[j * CHUNK])


cdef void relu_backward_chunk(const floating* dy, const floating* y, index n, floating* dx) noexcept nogil:
    cdef index i
    cdef floating g
    for i in range(n):
        g = dy[i]
        dx[i] = g if y[i] > 0 else 0


def relu_backward(const floating[::1] dy, const floating[::1] y, floating[::1] dx, int threads):
    """dx = dy where y > 0, else 0."""
    cdef index j, n = dy.shape[0]
    for j in prange(chunks(n), nogil=True, num_threads=threads, schedule="static"):
        relu_backward_chunk(&dy[j * CHUNK], &y[j * CHUNK], min(CHUNK, n - j * CHUNK), &dx[j * CHUNK])


cdef void add_chunk(const floating* a, const floating* b, index n, floating* y) noexcept nogil:
    cdef index i
    for i in range(n):
        y[i] = a[i] + b[i]


def add(const floating[::1] a, const floating[::1] b, floating[::1] y, int threads):
    """y = a + b."""
    cdef index j, n = a.shape[0]
    for j in prange(chunks(n), nogil=True, num_threads=threads, schedule="static"):
        add_chunk(&a[j * CHUNK], &b[j * CHUNK], min(CHUNK, n - j * CHUNK), &y[j * CHUNK])


# ---------------------------------------------------------------- GELU
cdef inline float tail32(float a, float e) noexcept nogil:
    """Φ(-a) for a >= 0, given e = exp(-a²/2): e times a polynomial in t = 1 / (1 + 0.21·a).

    Fitted to erfcx(a/√2) / 2 on 0 <= a <= 14 with the relative error spread evenly: below 2e-8.
    """
    cdef float one = 1    # as a number in the text it would be a double, and the division one of doubles
    cdef float t = one / (one + <float>0.21 * a)
    cdef float q = <float>(-7.165634553e-02) * t + <float>2.835887869e-01
    q = q * t + <float>(-3.302539127e-01)
    q = q * t + <float>3.494016853e-01
    q = q * t + <float>(-9.392571825e-02)
    q = q * t + <float>1.248729634e-01
    q = q * t + <float>6.919210504e-02
    q = q * t + <float>8.506886774e-02
    q = q * t + <float>8.371157504e-02
    return e * q * t


cdef inline floating normal_cdf(floating x, floating e) noexcept nogil:
    """Φ(x), given e = exp(-x²/2)."""
    cdef floating a
    if floating is float:
        a = tail32(-x if x < 0 else x, e)
        return a if x < 0 else 1 - a
    else:
        return 0.5 * erfc(-x * 0.70710678118654752440)


cdef void gelu_chunk(const floating* x, floating* y, index n) noexcept nogil:
    cdef index i
    cdef floating e
    for i in range(n):
        e = exponential(-x[i] * x[i] / 2)
        y[i] = x[i] * normal_cdf(x[i], e)


cdef void gelu_backward_chunk(const floating* dy, const floating* x, floating* dx, index n) noexcept nogil:
    cdef index i
    cdef floating e
    for i in range(n):
        e = exponential(-x[i] * x[i] / 2)
        dx[i] = dy[i] * (normal_cdf(x[i], e) + x[i] * e * <floating>0.39894228040143267794)    # 1 / √(2π)


def gelu(const floating[::1] x, floating[::1] y, int threads):
    """y = x · Φ(x)."""
    cdef index i, n = x.shape[0]
    for i in prange((n + SMOOTH_CHUNK - 1) // SMOOTH_CHUNK, nogil=True, num_threads=threads, schedule="static"):
        gelu_chunk(&x[i * SMOOTH_CHUNK], &y[i * SMOOTH_CHUNK], min(<index>SMOOTH_CHUNK, n - i * SMOOTH_CHUNK))


def gelu_backward(const floating[::1] dy, const floating[::1] x, floating[::1] dx, int threads):
    """dx = dy · (Φ(x) + x · φ(x))."""
    cdef index i, n = x.shape[0]
    for i in prange((n + SMOOTH_CHUNK - 1) // SMOOTH_CHUNK, nogil=True, num_threads=threads, schedule="static"):
        gelu_backward_chunk(&dy[i * SMOOTH_CHUNK], &x[i * SMOOTH_CHUNK], &dx[i * SMOOTH_CHUNK],
                            min(<index>SMOOTH_CHUNK, n - i * SMOOTH_CHUNK))


# ---------------------------------------------------------------- SiLU
cdef void silu_chunk(const floating* x, floating* y, index n) noexcept nogil:
    cdef index i
    for i in range(n):
        y[i] = x[i] * sigmoid(x[i])


cdef void silu_backward_chunk(const floating* dy, const floating* x, floating* dx, index n) noexcept nogil:
    cdef index i
    for i in range(n):
        dx[i] = dy[i] * silu_slope(x[i])


def silu(const floating[::1] x, floating[::1] y, int threads):
    """y = x · σ(x)."""
    cdef index i, n = x.shape[0]
    for i in prange((n + SMOOTH_CHUNK - 1) // SMOOTH_CHUNK, nogil=True, num_threads=threads, schedule="static"):
        silu_chunk(&x[i * SMOOTH_CHUNK], &y[i * SMOOTH_CHUNK], min(<index>SMOOTH_CHUNK, n - i * SMOOTH_CHUNK))


def silu_backward(const floating[::1] dy, const floating[::1] x, floating[::1] dx, int threads):
    """dx = dy · σ(x) · (1 + x · (1 - σ(x)))."""
    cdef index i, n = x.shape[0]
    for i in prange((n + SMOOTH_CHUNK - 1) // SMOOTH_CHUNK, nogil=True, num_threads=threads, schedule="static"):
        silu_backward_chunk(&dy[i * SMOOTH_CHUNK], &x[i * SMOOTH_CHUNK], &dx[i * SMOOTH_CHUNK],
                            min(<index>SMOOTH_CHUNK, n - i * SMOOTH_CHUNK))
