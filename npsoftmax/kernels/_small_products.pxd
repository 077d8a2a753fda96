# cython: language_level=3
"""Products of matrices that fit a cache: c (m, n) = a (m, k) @ b (k, n).

b is packed into panels of PANEL columns, one row of a panel after the other and zeros where b ends. A panel is two
vectors of the processor wide. The sums of six rows of a with it stay in registers while k runs: two loads of b and six
numbers of a serve 6 · PANEL multiplications. Operands are read by strides, so that a transposed one costs nothing.
"""

from cython cimport floating
from libc.string cimport memcpy, memset

cdef extern from *:
    """
    #if defined(__AVX512F__)
    #define NPSOFTMAX_VECTOR_BYTES 64
    #elif defined(__AVX__)
    #define NPSOFTMAX_VECTOR_BYTES 32
    #else
    #define NPSOFTMAX_VECTOR_BYTES 16
    #endif
    #define NPSOFTMAX_PANEL (NPSOFTMAX_VECTOR_BYTES / 2)
    #define NUMBER float
    #define VECTOR npsoftmax_float_vector
    #define LANES (NPSOFTMAX_VECTOR_BYTES / 4)
    #define NAME(x) npsoftmax_float_##x
    #include "_small_products.h"
    #define NUMBER double
    #define VECTOR npsoftmax_double_vector
    #define LANES (NPSOFTMAX_VECTOR_BYTES / 8)
    #define NAME(x) npsoftmax_double_##x
    #include "_small_products.h"
    """
    enum:
        PANEL "NPSOFTMAX_PANEL"    # columns of a panel in float32; half as many in float64
        AT_A_TIME "NPSOFTMAX_ROWS"    # rows of a with which a panel is multiplied at a time
    void npsoftmax_float_product(const float*, Py_ssize_t, Py_ssize_t, const float*, Py_ssize_t, Py_ssize_t,
                                 Py_ssize_t, const float*, Py_ssize_t, float*, Py_ssize_t) noexcept nogil
    void npsoftmax_double_product(const double*, Py_ssize_t, Py_ssize_t, const double*, Py_ssize_t, Py_ssize_t,
                                  Py_ssize_t, const double*, Py_ssize_t, double*, Py_ssize_t) noexcept nogil


cdef enum:
    LINE = 64    # bytes of a cache line


cdef inline Py_ssize_t panel_width(floating* unused) noexcept nogil:
    return PANEL if sizeof(floating) == 4 else PANEL // 2


cdef inline Py_ssize_t packed_size(Py_ssize_t k, Py_ssize_t n) noexcept nogil:
    """Numbers that the panels of b (k, n) need, in either type: whole cache lines."""
    return k * ((n + PANEL - 1) // PANEL) * PANEL


cdef inline floating* on_a_line(floating* room) noexcept nogil:
    """Where the next cache line begins: panels should lie there, lest every second load takes two lines."""
    return <floating*>((<size_t>room + LINE - 1) // LINE * LINE)


cdef inline void pack(const floating* b, Py_ssize_t rb, Py_ssize_t cb, Py_ssize_t k, Py_ssize_t n,
                      floating* panels) noexcept nogil:
    """b[l, j], at b[l · rb + j · cb], into panels."""
    cdef Py_ssize_t j = 0, l, i, width = panel_width(panels), columns
    while j < n:
        columns = min(width, n - j)
        if columns < width:
            memset(panels, 0, k * width * sizeof(floating))
        if cb == 1:
            for l in range(k):
                memcpy(panels + l * width, b + l * rb + j, columns * sizeof(floating))
        else:
            for i in range(columns):
                for l in range(k):
                    panels[l * width + i] = b[l * rb + (j + i) * cb]
        panels = panels + k * width
        j = j + width


cdef inline void product(const floating* a, Py_ssize_t ra, Py_ssize_t ca, const floating* panels, Py_ssize_t m,
                         Py_ssize_t n, Py_ssize_t k, floating* c, Py_ssize_t ldc, bint more) noexcept nogil:
    """c (m, n), rows ldc apart, = a @ b, where a[i, l] is at a[i · ra + l · ca] and `pack` made panels of b (k, n).

    more: add to c instead of setting it.
    """
    product_and(a, ra, ca, panels, m, n, k, <const floating*>c if more else NULL, ldc, c, ldc)


cdef inline void product_and(const floating* a, Py_ssize_t ra, Py_ssize_t ca, const floating* panels, Py_ssize_t m,
                             Py_ssize_t n, Py_ssize_t k, const floating* added, Py_ssize_t ldadded, floating* c,
                             Py_ssize_t ldc) noexcept nogil:
    """The same plus `added`, unless it is NULL, whose rows are ldadded apart: 0 for a bias (n,)."""
    if floating is float:
        npsoftmax_float_product(a, ra, ca, panels, m, n, k, added, ldadded, c, ldc)
    else:
        npsoftmax_double_product(a, ra, ca, panels, m, n, k, added, ldadded, c, ldc)
