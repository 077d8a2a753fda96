# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What happens to gradients and parameters after backward: clipping, SGD, Adam. float32 and float64, flat arrays.

Design: an update reads parameter, gradient and state once and writes parameter and state once; in NumPy the rule is a
dozen passes. Chunks of CHUNK values are shared out among the threads, and no sum depends on how many there are. The
readable rules stand in training/optimizers/, the rest in reference.py.

The state of a unit whose gradient has become 0 decays into the subnormal numbers, below 1.2e-38 in float32, and stays
there; x86 leaves its fast way for every vector with one. So SGD and Adam count them as 0: no parameter moves by more.
"""

cdef extern from *:
    """
    #if defined(__SSE2__) || defined(_M_X64)
    #include <immintrin.h>
    #if defined(__GNUC__)
    #define NPSOFTMAX_IN_ORDER __asm__ volatile("" ::: "memory")
    #else
    #define NPSOFTMAX_IN_ORDER
    #endif
    static unsigned set_mode(unsigned mode) {
        unsigned before = _mm_getcsr();
        NPSOFTMAX_IN_ORDER;
        _mm_setcsr(mode);
        NPSOFTMAX_IN_ORDER;
        return before;
    }
    static unsigned without_subnormals(int without) { return set_mode(_mm_getcsr() | (without ? 0x8040 : 0)); }
    #else  /* other processors are as fast with them */
    static unsigned set_mode(unsigned mode) { return mode; }
    static unsigned without_subnormals(int without) { return 0; }
    #endif
    """
    unsigned set_mode(unsigned mode) noexcept nogil    # of this thread's arithmetic; the one before
    unsigned without_subnormals(bint without) noexcept nogil

from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport sqrt, sqrtf

ctypedef Py_ssize_t index

cdef index CHUNK = 16384

cdef enum:
    LANES = 64    # sums that run side by side


cdef inline index chunks(index n) noexcept nogil:
    return (n + CHUNK - 1) // CHUNK


# ---------------------------------------------------------------- clipping
cdef void scale_chunk(const floating* x, index n, floating factor, floating* y) noexcept nogil:
    cdef index i
    for i in range(n):
        y[i] = x[i] * factor


def scale(const floating[::1] x, double factor, floating[::1] y, int threads):
    """y = x · factor."""
    cdef index j, n = x.shape[0]
    for j in prange(chunks(n), nogil=True, num_threads=threads, schedule="static"):
        scale_chunk(&x[j * CHUNK], min(CHUNK, n - j * CHUNK), <floating>factor, &y[j * CHUNK])


cdef void clip_chunk(const floating* x, index n, floating limit, floating* y) noexcept nogil:
    cdef index i
    cdef floating value
    for i in range(n):
        value = x[i]
        value = limit if value > limit else value
        y[i] = -limit if value < -limit else value


def clip(const floating[::1] x, double limit, floating[::1] y, int threads):
    """y = x clipped to [-limit, limit]."""
    cdef index j, n = x.shape[0]
    for j in prange(chunks(n), nogil=True, num_threads=threads, schedule="static"):
        clip_chunk(&x[j * CHUNK], min(CHUNK, n - j * CHUNK), <floating>limit, &y[j * CHUNK])


cdef double square_sum_chunk(const floating* x, index n) noexcept nogil:
    cdef double sums[LANES]
    cdef double total = 0, value
    cdef index at = 0, i, count
    for i in range(LANES):
        sums[i] = 0
    while at < n:
        count = min(<index>LANES, n - at)
        for i in range(count):
            value = x[at + i]
            sums[i] += value * value
        at = at + count
    for i in range(LANES):
        total += sums[i]
    return total


def count_chunks(index n):
    """Chunks of n values."""
    return chunks(n)


def square_sum(const floating[::1] x, double[::1] sums, int threads):
    """sums (ceil(n / CHUNK),) = Σ x² of each chunk of CHUNK values, in double precision."""
    cdef index j, n = x.shape[0]
    for j in prange(sums.shape[0], nogil=True, num_threads=threads, schedule="static"):
        sums[j] = square_sum_chunk(&x[j * CHUNK], min(CHUNK, n - j * CHUNK))


# ---------------------------------------------------------------- optimisers
cdef void sgd_chunk(floating* p, const floating* g, index n, floating lr, floating decay) noexcept nogil:
    cdef index i
    for i in range(n):
        p[i] -= (g[i] + p[i] * decay) * lr


cdef void momentum_chunk(floating* p, const floating* g, floating* b, index n, floating lr, floating momentum,
                         floating decay, bint nesterov) noexcept nogil:
    cdef index i
    cdef floating whole, speed
    if nesterov:
        for i in range(n):
            whole = g[i] + p[i] * decay
            speed = b[i] * momentum + whole
            b[i] = speed
            p[i] -= (speed * momentum + whole) * lr
    else:
        for i in range(n):
            speed = b[i] * momentum + (g[i] + p[i] * decay)
            b[i] = speed
            p[i] -= speed * lr


def sgd(floating[::1] p, const floating[::1] g, floating[::1] b, double lr, double momentum, double decay,
        bint nesterov, int threads):
    """b ← momentum·b + g + decay·p, p ← p - lr·b (nesterov: p - lr·(g + decay·p + momentum·b)); b may be None."""
    cdef index j, at, count, n = p.shape[0]
    cdef bint plain = b is None
    cdef unsigned mode
    for j in prange(chunks(n), nogil=True, num_threads=threads, schedule="static"):
        at = j * CHUNK
        count = min(CHUNK, n - at)
        mode = without_subnormals(True)
        if plain:
            sgd_chunk(&p[at], &g[at], count, <floating>lr, <floating>decay)
        else:
            momentum_chunk(&p[at], &g[at], &b[at], count, <floating>lr, <floating>momentum, <floating>decay, nesterov)
        set_mode(mode)


cdef void adam_chunk(floating* p, const floating* g, floating* m, floating* v, index n, floating shrink,
                     floating decay, floating beta1, floating rest1, floating beta2, floating rest2, floating rate,
                     floating eps) noexcept nogil:
    cdef index i
    cdef floating old, grad, first, second, root
    for i in range(n):
        old = p[i] * shrink
        grad = g[i] + old * decay
        first = m[i] * beta1 + grad * rest1
        second = v[i] * beta2 + grad * grad * rest2
        root = sqrtf(second) if floating is float else sqrt(second)
        m[i] = first
        v[i] = second
        p[i] = old - first / (root + eps) * rate


def adam(floating[::1] p, const floating[::1] g, floating[::1] m, floating[::1] v, double shrink, double decay,
         double beta1, double beta2, double rate, double eps, int threads):
    """m ← beta1·m + (1 - beta1)·g′, v ← beta2·v + (1 - beta2)·g′², p ← p′ - rate·m / (√v + eps).

    p′ = shrink·p and g′ = g + decay·p′: Adam has shrink = 1, AdamW decay = 0.
    """
    cdef index j, at, n = p.shape[0]
    cdef unsigned mode
    cdef bint without = eps >= 1e-12    # else a step may be divided by little more than √v, for subnormal v below 1e-19
    for j in prange(chunks(n), nogil=True, num_threads=threads, schedule="static"):
        at = j * CHUNK
        mode = without_subnormals(without)
        adam_chunk(&p[at], &g[at], &m[at], &v[at], min(CHUNK, n - at), <floating>shrink, <floating>decay,
                   <floating>beta1, <floating>(1 - beta1), <floating>beta2, <floating>(1 - beta2), <floating>rate,
                   <floating>eps)
        set_mode(mode)
