# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Matrix products on all threads: each takes rows (or columns) of the result. float32 and float64.

Design: within a training step BLAS has one thread, because its pool and the kernels' would fight for the cores
(backend.single_threaded_blas). A product outside the kernels then uses one core unless it is shared out here. The side
of the result that is longer is cut, into one part for each thread: parts are whole products, added up by one thread,
so that the same number of threads gives the same bits. Where the sum is far longer than both, as in xᵀ @ dy over all
rows of a batch, the sum is cut instead: each thread then reads only its own rows, and the caller adds the parts.

A part goes block by block, as in Goto and van de Geijn (2008): up to PACKED numbers of b, DEPTH of its rows at most,
are packed into panels that stay in the second-level cache, and ROWS rows of a at a time are held against them
(_small_products).

        n                       width
    ┌───────┐            ┌──┬──┬──┬──┐
    │   ███ │      depth │  │  │  │  │ panels of b      c [ROWS, width] = bias, then += a [ROWS, depth] @ panels
    │ b ███ │ k    ────► │  │  │  │  │
    │       │            └──┴──┴──┴──┘

For few rows packing does not pay: their products are left to BLAS.
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.stdlib cimport abort, free, malloc
from libc.string cimport memcpy

from npsoftmax.kernels._blas cimport NORMAL, TRANSPOSED, gemm
from npsoftmax.kernels._small_products cimport LINE, PANEL, on_a_line, pack, packed_size, product

ctypedef Py_ssize_t index

cdef enum:
    FEW = 24          # rows of a, below which b is not packed
    ROWS = 96
    DEPTH = 640
    PACKED = 131072    # half a megabyte in float32


cdef struct Product:
    index m, n, k
    index ra, ca, rb, cb, ldc    # a[i, l] is at a[i · ra + l · ca], b[l, j] at b[l · rb + j · cb]


cdef void fill_rows(floating* c, const floating* bias, index rows, index columns, index n) noexcept nogil:
    cdef index i
    for i in range(rows):
        memcpy(c + i * n, bias, columns * sizeof(floating))


cdef void packed_product(const floating* a, const floating* b, const floating* bias, floating* c,
                         Product p) noexcept nogil:
    """c = a @ b + bias (n,), which may be NULL, by one thread."""
    cdef index blocks = (p.k + DEPTH - 1) // DEPTH, deepest = (p.k + blocks - 1) // blocks
    cdef index widest = min(p.n, PACKED // deepest // PANEL * PANEL)
    cdef index i, j = 0, l, rows, width, depth, block
    cdef floating* room = <floating*>malloc(packed_size(deepest, widest) * sizeof(floating) + LINE)
    cdef floating* panels = on_a_line(room)
    if room is NULL:
        abort()
    while j < p.n:
        width = min(widest, p.n - j)
        for block in range(blocks):
            l = p.k * block // blocks
            depth = p.k * (block + 1) // blocks - l
            pack(b + l * p.rb + j * p.cb, p.rb, p.cb, depth, width, panels)
            i = 0
            while i < p.m:
                rows = min(<index>ROWS, p.m - i)
                if block == 0 and bias is not NULL:
                    fill_rows(c + i * p.ldc + j, bias + j, rows, width, p.ldc)
                product(a + i * p.ra + l * p.ca, p.ra, p.ca, panels, rows, width, depth, c + i * p.ldc + j, p.ldc,
                        block > 0 or bias is not NULL)
                i = i + rows
        j = j + width
    free(room)


cdef void part(const floating* a, bint ta, index lda, const floating* b, bint tb, index ldb, const floating* bias,
               floating* c, index m, index n, index k, index which, index parts) noexcept nogil:
    """Part `which` of `parts` of c (m, n) = op(a) @ op(b) + bias (n,), which may be NULL."""
    cdef index longer = max(m, n), first = which * longer // parts, count = (which + 1) * longer // parts - first
    cdef floating kept = 0 if bias is NULL else 1
    cdef Product p
    if count == 0:
        return
    p.m, p.n, p.k, p.ldc = m, n, k, n
    p.ra, p.ca = 1 if ta else lda, lda if ta else 1
    p.rb, p.cb = 1 if tb else ldb, ldb if tb else 1
    if m >= n:
        a, c, p.m = a + first * p.ra, c + first * n, count
    else:
        b, c, p.n = b + first * p.cb, c + first, count
        if bias is not NULL:
            bias = bias + first
    if p.m >= FEW:
        packed_product(a, b, bias, c, p)
        return
    if bias is not NULL:    # BLAS would fill the result with zeros and add to them, and is given this to add to
        fill_rows(c, bias, p.m, p.n, n)
    gemm(TRANSPOSED if ta else NORMAL, TRANSPOSED if tb else NORMAL, p.m, p.n, k, a, lda, b, ldb, kept, c, n)


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
    cdef index parts = c.shape[0], m = c.shape[1], n = c.shape[2], k = a.shape[0], t, first
    for t in prange(parts, nogil=True, num_threads=parts, schedule="static", chunksize=1):
        first = t * k // parts
        part(&a[first, 0], True, m, &b[first, 0], False, n, <floating*>NULL, &c[t, 0, 0], m, n,
             (t + 1) * k // parts - first, 0, 1)
