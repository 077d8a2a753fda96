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

A transposed a has the numbers of a row far apart: of it are packed AT_A_TIME rows side by side as well, as many as a tile
holds. The sum is cut shorter there (SHALLOW), so that such rows and a panel fit the first-level cache together, and c,
which then is added to more often, is small.

For few rows packing does not pay: their products are left to BLAS.
"""

cdef extern from *:
    """
    #define NPSOFTMAX_AHEAD
    """

from cython cimport floating
from cython.parallel cimport prange
from libc.stdlib cimport abort, free, malloc
from libc.string cimport memcpy

from npsoftmax.kernels._blas cimport NORMAL, TRANSPOSED, gemm
from npsoftmax.kernels._small_products cimport (
    AT_A_TIME, LINE, PANEL, on_a_line, pack, packed_size, panel_width, product, product_and,
)

ctypedef Py_ssize_t index

cdef enum:
    FEW = 24          # rows of a, below which b is not packed
    ROWS = 48
    DEPTH = 640
    SHALLOW = 208
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
    cdef const floating* added
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
                added = <const floating*>(c + i * p.ldc + j) if block > 0 else bias if bias is NULL else bias + j
                product_and(a + i * p.ra + l * p.ca, p.ra, p.ca, panels, rows, width, depth, added,
                            p.ldc if block > 0 else 0, c + i * p.ldc + j, p.ldc)
                i = i + rows
        j = j + width
    free(room)


cdef void pack_rows(const floating* a, index ca, index m, index k, floating* packed) noexcept nogil:
    """a[i, l], at a[i + l · ca], as runs of AT_A_TIME rows, in which they lie side by side for each l."""
    cdef index i = 0, l
    while i < m:
        if i + AT_A_TIME <= m:
            for l in range(k):
                memcpy(packed + l * AT_A_TIME, a + i + l * ca, AT_A_TIME * sizeof(floating))    # of known length
        else:
            for l in range(k):
                memcpy(packed + l * AT_A_TIME, a + i + l * ca, (m - i) * sizeof(floating))
        packed, i = packed + k * AT_A_TIME, i + AT_A_TIME


cdef void transposed_product(const floating* a, const floating* b, floating* c, Product p) noexcept nogil:
    """c = a @ b by one thread, for the transpose of a matrix in row order as a."""
    cdef index blocks = (p.k + SHALLOW - 1) // SHALLOW, deepest = (p.k + blocks - 1) // blocks
    cdef index most = PACKED // deepest // PANEL * PANEL, widest = min(p.n, most), highest = min(p.m, most)
    cdef index i = 0, j, l, rows, width, depth, block
    cdef index rows_size = (highest + AT_A_TIME - 1) // AT_A_TIME * AT_A_TIME * deepest
    cdef floating* room = <floating*>malloc((packed_size(deepest, widest) + rows_size) * sizeof(floating) + LINE)
    cdef floating* panels = on_a_line(room)
    cdef floating* packed = panels + packed_size(deepest, widest)
    if room is NULL:
        abort()
    while i < p.m:
        rows = min(highest, p.m - i)
        for block in range(blocks):
            l = p.k * block // blocks
            depth = p.k * (block + 1) // blocks - l
            pack_rows(a + i + l * p.ca, p.ca, rows, depth, packed)
            j = 0
            while j < p.n:
                width = min(widest, p.n - j)
                pack(b + l * p.rb + j * p.cb, p.rb, p.cb, depth, width, panels)
                packed_by_packed(packed, panels, rows, width, depth, c + i * p.ldc + j, p.ldc, block > 0)
                j = j + width
        i = i + rows
    free(room)


cdef void packed_by_packed(const floating* packed, const floating* panels, index m, index n, index k, floating* c,
                           index ldc, bint more) noexcept nogil:
    """c (m, n) = or += what `pack_rows` has packed @ what `pack` has: all rows against a panel, then the next."""
    cdef index i, j = 0, tile, width = panel_width(<floating*>panels)
    while j < n:
        for tile in range((m + AT_A_TIME - 1) // AT_A_TIME):
            i = tile * AT_A_TIME
            product(packed + i * k, 1, AT_A_TIME, panels + j * k, min(<index>AT_A_TIME, m - i), min(width, n - j), k,
                    c + i * ldc + j, ldc, more)
        j = j + width


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
        if ta and bias is NULL:
            transposed_product(a, b, c, p)
        else:
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
