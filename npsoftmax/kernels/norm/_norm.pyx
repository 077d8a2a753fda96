# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Sums over the rows of a channels-last array, and batch norm with ReLU or SiLU in two passes each way. float32 and float64.

Design: these loops do a few operations a value, so they must run at the speed of memory, whatever the number of
channels. Ten channels would fill no vector register; so k rows at a time are seen as one *wide row* of k·C values, and
what belongs to a channel (its mean, its factor) is laid out k times:

    x  a b c a b c a b c a b c │ a b c …        mean  A B C A B C A B C A B C
       └────── wide row ─────┘

Sums go through blocks of ROWS wide rows. Within a block they are kept in the array's own type, in an array on the
stack that no pointer aliases (else the compiler could not vectorise); blocks are added up in double precision, so
that 100,000 rows cost no digits. A part is a run of blocks, summed by one thread; the number of parts depends on the
shape alone, and so do all bits of the result. The readable version of everything here is reference.py.
"""

from cython cimport floating
from cython.parallel cimport prange

from npsoftmax.kernels._arithmetic cimport sigmoid, silu_slope

ctypedef Py_ssize_t index

cdef enum:
    STRIP = 512    # columns that are summed at a time: their sums stay in the first-level cache
    ROWS = 64      # wide rows in a block: it stays in the second-level cache for a second look
    RELU = 1       # what comes after batch norm in the same passes
    SILU = 2


# Blocks of an array of n values in wide rows of `width` = k·c; the last block is what is left of a wide row.
cdef struct Grid:
    index n, c, width, whole, blocks

cdef struct Block:
    index at, rows, width


cdef Grid grid(index n, index c, index width) noexcept nogil:
    cdef Grid g
    g.n, g.c, g.width = n, c, width
    g.whole = (n // width + ROWS - 1) // ROWS
    g.blocks = g.whole + (1 if n % width else 0)
    return g


cdef Block block_at(Grid g, index j) noexcept nogil:
    cdef Block b
    if j < g.whole:
        b.at, b.width = j * ROWS * g.width, g.width
        b.rows = min(<index>ROWS, g.n // g.width - j * ROWS)
    else:
        b.at, b.width, b.rows = g.n - g.n % g.width, g.n % g.width, 1
    return b


def count_blocks(index n, index c, index width):
    """Blocks of an array of n values: there is no use for more parts than these."""
    return grid(n, c, width).blocks


# ---------------------------------------------------------------- within a block
cdef void add_rows(const floating* x, index rows, index stride, index width, floating* sums) noexcept nogil:
    """sums (width,) = Σ over the rows, four at a time: fewer visits to the sums, and shorter chains of rounding."""
    cdef floating total[STRIP]
    cdef const floating* x1
    cdef const floating* x2
    cdef const floating* x3
    cdef index r = 0, i
    for i in range(width):
        total[i] = 0
    while r + 4 <= rows:
        x1, x2, x3 = x + stride, x + 2 * stride, x + 3 * stride
        for i in range(width):
            total[i] += (x[i] + x1[i]) + (x2[i] + x3[i])
        x = x + 4 * stride
        r = r + 4
    while r < rows:
        for i in range(width):
            total[i] += x[i]
        x = x + stride
        r = r + 1
    for i in range(width):
        sums[i] = total[i]


cdef void add_centred(const floating* x, index rows, index stride, index width, const floating* centre,
                      floating* sums, floating* squares) noexcept nogil:
    """sums, squares (width,) = Σ (x - centre), Σ (x - centre)² over the rows."""
    cdef floating total[STRIP]
    cdef floating power[STRIP]
    cdef floating d, d1
    cdef const floating* x1
    cdef index r = 0, i
    for i in range(width):
        total[i] = power[i] = 0
    while r + 2 <= rows:
        x1 = x + stride
        for i in range(width):
            d, d1 = x[i] - centre[i], x1[i] - centre[i]
            total[i] += d + d1
            power[i] += d * d + d1 * d1
        x = x1 + stride
        r = r + 2
    if r < rows:
        for i in range(width):
            d = x[i] - centre[i]
            total[i] += d
            power[i] += d * d
    for i in range(width):
        sums[i] = total[i]
        squares[i] = power[i]


cdef void add_gradients(const floating* dy, const floating* x, index rows, index stride, index width,
                        const floating* v, int after, floating* sums, floating* products) noexcept nogil:
    """sums, products (width,) = Σ g, Σ g·(x - mean) over the rows; g is dy times the derivative of what comes after."""
    cdef floating total[STRIP]
    cdef floating product[STRIP]
    cdef const floating* factor = v + stride
    cdef const floating* shift = v + 2 * stride
    cdef floating centred, g
    cdef index r, i
    for i in range(width):
        total[i] = product[i] = 0
    for r in range(rows):
        if after == RELU:
            for i in range(width):
                centred, g = x[i] - v[i], dy[i]
                g = g if centred * factor[i] + shift[i] > 0 else 0
                total[i] += g
                product[i] += g * centred
        elif after == SILU:
            for i in range(width):
                centred = x[i] - v[i]
                g = dy[i] * silu_slope(centred * factor[i] + shift[i])
                total[i] += g
                product[i] += g * centred
        else:
            for i in range(width):
                total[i] += dy[i]
                product[i] += dy[i] * (x[i] - v[i])
        x, dy = x + stride, dy + stride
    for i in range(width):
        sums[i] = total[i]
        products[i] = product[i]


cdef void fold(floating* wide, index width, index c) noexcept nogil:
    """The sums of a wide row (width,) to sums of channels, in its first c places: the second half onto the first."""
    cdef index rows = width // c, half, i
    while rows > 1:
        half = (rows + 1) // 2
        for i in range((rows - half) * c):
            wide[i] += wide[half * c + i]
        rows = half


# ---------------------------------------------------------------- sums
cdef void sum_part(const floating* x, Grid g, index first_block, index last_block, double* sums) noexcept nogil:
    cdef floating wide[STRIP]
    cdef index first = 0, j, i, width, channels
    cdef Block b
    for j in range(first_block, last_block):
        b = block_at(g, j)
        first = 0
        while first < b.width:
            width = min(<index>STRIP, b.width - first)
            channels = min(g.c, width)
            add_rows(x + b.at + first, b.rows, g.width, width, wide)
            fold(wide, width, channels)
            for i in range(channels):
                sums[first + i] += wide[i]
            first = first + width


def column_sum(const floating[::1] x, index c, index width, double[:, ::1] sums, int threads):
    """Adds to sums (parts, C) the sums over the rows of x (M, C), flat, seen in wide rows of `width`."""
    cdef Grid g = grid(x.shape[0], c, width)
    cdef index part, parts = sums.shape[0]
    for part in prange(parts, nogil=True, num_threads=threads, schedule="static"):
        sum_part(&x[0], g, g.blocks * part // parts, g.blocks * (part + 1) // parts, &sums[part, 0])


# ---------------------------------------------------------------- mean and variance
cdef void moments_of_block(const floating* x, index rows, index stride, index width, index c, double seen,
                           double* mean, double* m2) noexcept nogil:
    """Merge a block into mean and m2 = Σ (x - mean)², (C,) each, of the `seen` rows before it.

    First the block's own mean, then squares about it while the block is still in the cache: so a mean of 1000 beside
    a deviation of 1 costs no digits. What rounding left of the block's mean is taken off again; merging is after Chan,
    Golub and LeVeque, 1979.
    """
    cdef floating sums[STRIP]
    cdef floating squares[STRIP]
    cdef floating centre[STRIP]
    cdef double count = rows * (width // c), off, delta, share = count / (seen + count)
    cdef index i, at = 0
    add_rows(x, rows, stride, width, sums)
    fold(sums, width, c)
    while at < width:
        for i in range(c):
            centre[at + i] = sums[i] / <floating>count
        at = at + c
    add_centred(x, rows, stride, width, centre, sums, squares)
    fold(sums, width, c)
    fold(squares, width, c)
    for i in range(c):
        off = sums[i] / count
        delta = centre[i] + off - mean[i]
        mean[i] += delta * share
        m2[i] += squares[i] - off * sums[i] + delta * delta * share * seen


cdef double moments_of_part(const floating* x, Grid g, index first_block, index last_block, double* mean,
                            double* m2) noexcept nogil:
    cdef index first, j, width
    cdef double seen = 0
    cdef Block b
    for j in range(first_block, last_block):
        b = block_at(g, j)
        first = 0
        while first < b.width:
            width = min(<index>STRIP, b.width - first)
            moments_of_block(x + b.at + first, b.rows, g.width, width, min(g.c, width), seen, mean + first, m2 + first)
            first = first + width
        seen = seen + b.rows * (b.width // g.c)
    return seen


def column_moments(const floating[::1] x, index c, index width, double[::1] count, double[:, ::1] mean,
                   double[:, ::1] m2, int threads):
    """Rows, mean and m2 = Σ (x - mean)² of each part, (parts,) and twice (parts, C), which hold 0 before."""
    cdef Grid g = grid(x.shape[0], c, width)
    cdef index part, parts = mean.shape[0]
    for part in prange(parts, nogil=True, num_threads=threads, schedule="static"):
        count[part] = moments_of_part(&x[0], g, g.blocks * part // parts, g.blocks * (part + 1) // parts,
                                      &mean[part, 0], &m2[part, 0])


# ---------------------------------------------------------------- normalising; v: mean, factor, shift, slope, offset
cdef void normalise_block(const floating* x, index n, index width, const floating* v, int after,
                          floating* y) noexcept nogil:
    cdef const floating* factor = v + width
    cdef const floating* shift = v + 2 * width
    cdef floating value
    cdef index at = 0, i, count
    while at < n:
        count = min(width, n - at)
        if after == RELU:
            for i in range(count):
                value = (x[i] - v[i]) * factor[i] + shift[i]
                y[i] = 0 if value < 0 else value
        elif after == SILU:
            for i in range(count):
                value = (x[i] - v[i]) * factor[i] + shift[i]
                y[i] = value * sigmoid(value)
        else:
            for i in range(count):
                y[i] = (x[i] - v[i]) * factor[i] + shift[i]
        x, y, at = x + width, y + width, at + width


def normalise(const floating[::1] x, const floating[:, ::1] v, int after, floating[::1] y, int threads):
    """y = (x - mean)·factor + shift, and what comes after. x, y flat; v (3, width): mean, factor, shift of a wide row."""
    cdef index width = v.shape[1], step = ROWS * width, j, n = x.shape[0]
    for j in prange((n + step - 1) // step, nogil=True, num_threads=threads, schedule="static"):
        normalise_block(&x[j * step], min(step, n - j * step), width, &v[0, 0], after, &y[j * step])


cdef void gradients_of_part(const floating* dy, const floating* x, Grid g, index first_block, index last_block,
                            const floating* v, int after, double* sums, double* products) noexcept nogil:
    cdef floating wide[STRIP]
    cdef floating wide_products[STRIP]
    cdef index first, j, i, width, channels
    cdef Block b
    for j in range(first_block, last_block):
        b = block_at(g, j)
        first = 0
        while first < b.width:
            width = min(<index>STRIP, b.width - first)
            channels = min(g.c, width)
            add_gradients(dy + b.at + first, x + b.at + first, b.rows, g.width, width, v + first, after, wide,
                          wide_products)
            fold(wide, width, channels)
            fold(wide_products, width, channels)
            for i in range(channels):
                sums[first + i] += wide[i]
                products[first + i] += wide_products[i]
            first = first + width


def normalise_sums(const floating[::1] dy, const floating[::1] x, index c, const floating[:, ::1] v, int after,
                   double[:, ::1] sums, double[:, ::1] products, int threads):
    """Adds Σ g and Σ g·(x - mean) over the rows to sums and products (parts, C); v (3, width) as in `normalise`."""
    cdef Grid g = grid(x.shape[0], c, v.shape[1])
    cdef index part, parts = sums.shape[0]
    for part in prange(parts, nogil=True, num_threads=threads, schedule="static"):
        gradients_of_part(&dy[0], &x[0], g, g.blocks * part // parts, g.blocks * (part + 1) // parts, &v[0, 0], after,
                          &sums[part, 0], &products[part, 0])


cdef void normalise_dx_block(const floating* dy, const floating* x, index n, index width, const floating* v,
                             int after, floating* dx) noexcept nogil:
    cdef const floating* factor = v + width
    cdef const floating* shift = v + 2 * width
    cdef const floating* slope = v + 3 * width
    cdef const floating* offset = v + 4 * width
    cdef floating centred, g
    cdef index at = 0, i, count
    while at < n:
        count = min(width, n - at)
        if after == RELU:
            for i in range(count):
                centred, g = x[i] - v[i], dy[i]
                g = g if centred * factor[i] + shift[i] > 0 else 0
                dx[i] = g * factor[i] + (centred * slope[i] + offset[i])
        elif after == SILU:
            for i in range(count):
                centred = x[i] - v[i]
                g = dy[i] * silu_slope(centred * factor[i] + shift[i])
                dx[i] = g * factor[i] + (centred * slope[i] + offset[i])
        else:
            for i in range(count):
                dx[i] = dy[i] * factor[i] + ((x[i] - v[i]) * slope[i] + offset[i])
        x, dy, dx, at = x + width, dy + width, dx + width, at + width


def normalise_dx(const floating[::1] dy, const floating[::1] x, const floating[:, ::1] v, int after,
                 floating[::1] dx, int threads):
    """dx = g·factor + (x - mean)·slope + offset; v (5, width): mean, factor, shift, slope, offset of a wide row."""
    cdef index width = v.shape[1], step = ROWS * width, j, n = x.shape[0]
    for j in prange((n + step - 1) // step, nogil=True, num_threads=threads, schedule="static"):
        normalise_dx_block(&dy[j * step], &x[j * step], min(step, n - j * step), width, &v[0, 0], after, &dx[j * step])
