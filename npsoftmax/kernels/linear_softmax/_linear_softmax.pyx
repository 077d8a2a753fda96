# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A linear map and the softmax after it, whose logits never leave the cache. float32 and float64.

Design: the logits of a block of classes and a block of samples are made, used and forgotten, once for the sums and once
more for the gradients: a product more, which costs less than N·C logits written to memory and read again. Samples lie
along the panels of _small_products, so that a maximum or a sum over classes is one over rows, and vectors never have to
be added up within. h is packed once, for all classes; a block of w is read where it lies, or turned, where w is (D, C).

          SAMPLES                    z = block of w @ hᵀ, by panels of h           (rows, SAMPLES)
        ┌──┬──┬──┐                   sums: a running maximum and Σ e^(z - maximum) of each sample
   rows │ z│  │  │ of one block      gradients: z becomes dz, then block of dw += dz @ h, and dh += dzᵀ @ block of w
        └──┴──┴──┘

Classes are cut into blocks, runs of blocks into groups; threads share out groups. A group has sums and a dh of its own,
which the caller adds in their order: the groups depend on the shapes alone, so that any number of threads gives the
same bits. The readable version is reference.py.
"""

cdef extern from *:
    """
    #define NPSOFTMAX_AHEAD
    """

from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport INFINITY
from libc.stdint cimport int64_t
from libc.stdlib cimport abort, free, malloc
from libc.string cimport memcpy, memset

from npsoftmax.kernels._arithmetic cimport exponential, total as sum_of
from npsoftmax.kernels._small_products cimport LINE, PANEL, on_a_line, pack, packed_size, panel_width, product

ctypedef Py_ssize_t index

cdef enum:
    SAMPLES = 128    # of a block: whole panels in either type
    APART = 144      # numbers between the rows of a block of logits: a power of two would fill few sets of a cache
    SIDE = 16        # of the squares in which a matrix is turned


cdef struct Sizes:
    index n, c, d, classes, samples    # samples: n up to whole panels of either type; classes: of a block
    bint turned                        # whether w and dw are (D, C) in memory


cdef inline floating* room_for(index numbers, floating* unused) noexcept nogil:
    cdef floating* room = <floating*>malloc(numbers * sizeof(floating) + LINE)
    if room is NULL:
        abort()
    return room


cdef void turn(const floating* a, index lda, index rows, index columns, floating* b, index ldb) noexcept nogil:
    """b[j, i] = a[i, j] for a (rows, columns), whose rows lie lda apart, and those of b ldb."""
    cdef index first = 0, at, i, j, most, wide
    while first < rows:
        most = min(<index>SIDE, rows - first)
        at = 0
        while at < columns:
            wide = min(<index>SIDE, columns - at)
            for j in range(at, at + wide):
                for i in range(first, first + most):
                    b[j * ldb + i] = a[i * lda + j]
            at = at + SIDE
        first = first + SIDE


cdef const floating* block_of(const floating* w, index first, index rows, Sizes s, floating* room) noexcept nogil:
    """Rows first … first + rows of w (C, D): where they lie, or turned into `room`, twice as large as they are."""
    cdef floating* copy = room + s.classes * s.d
    cdef index l
    if not s.turned:
        return w + first * s.d
    for l in range(s.d):    # long pieces of far rows first: small squares of them would wait for memory again and again
        memcpy(copy + l * rows, w + l * s.c + first, rows * sizeof(floating))
    turn(copy, rows, s.d, rows, room, s.d)
    return room


cdef void put_back(const floating* found, index first, index rows, Sizes s, floating* copy, floating* w) noexcept nogil:
    """Columns first … first + rows of w (D, C) = found (rows, D), turned by way of `copy`."""
    cdef index l
    turn(found, s.d, rows, s.d, copy, rows)
    for l in range(s.d):
        memcpy(w + l * s.c + first, copy + l * rows, rows * sizeof(floating))


cdef void logits(const floating* w, const floating* line, const floating* panels, index rows, index width, Sizes s,
                 floating* z) noexcept nogil:
    """z (rows, width) = gain · (w @ hᵀ) + b, row by row; line (rows, 2): gain and b, or NULL for 1 and 0."""
    cdef index i, j
    product(w, s.d, 1, panels, rows, width, s.d, z, APART, False)
    if line is not NULL:
        for i in range(rows):
            for j in range(width):
                z[i * APART + j] = z[i * APART + j] * line[2 * i] + line[2 * i + 1]


# ---------------------------------------------------------------- sums
cdef void add_sums(const floating* z, index rows, index width, floating* top, floating* total) noexcept nogil:
    """Go on with the maximum and the sum of exponentials below it of each column of z. NaN is no maximum."""
    cdef floating tops[PANEL]
    cdef floating sums[PANEL]
    cdef floating value
    cdef index at = 0, i, j, lanes = panel_width(top)
    while at < width:
        for j in range(lanes):
            tops[j] = top[at + j]
        for i in range(rows):
            for j in range(lanes):
                value = z[i * APART + at + j]
                tops[j] = value if value > tops[j] else tops[j]
        for j in range(lanes):
            sums[j] = total[at + j] * exponential(top[at + j] - tops[j])
        for i in range(rows):
            for j in range(lanes):
                sums[j] += exponential(z[i * APART + at + j] - tops[j])
        for j in range(lanes):
            top[at + j], total[at + j] = tops[j], sums[j]
        at = at + lanes


cdef void sums_of_group(const floating* w, const floating* lines, const floating* panels, const int64_t* t,
                        const floating* lead, Sizes s, index first, index stop, floating* top, floating* total,
                        floating* target) noexcept nogil:
    """Of the classes first … stop: top, total (samples,); and target (n,) where it is one of them."""
    cdef floating* room = room_for(s.classes * (APART + 2 * s.d), top)
    cdef floating* z = on_a_line(room)
    cdef floating* turned = z + s.classes * APART
    cdef const floating* rows
    cdef index count, at, j, width, column
    for j in range(s.samples):
        top[j], total[j] = -INFINITY, 0
    while first < stop:
        count = min(s.classes, stop - first)
        rows = block_of(w, first, count, s, turned)
        at = 0
        while at < s.samples:
            width = min(<index>SAMPLES, s.samples - at)
            logits(rows, NULL if lines is NULL else lines + 2 * first, panels + at * s.d, count, width, s, z)
            for j in range(min(width, s.n - at)):
                column = t[at + j] - first
                if 0 <= column < count:
                    z[column * APART + j] -= lead[at + j]
                    target[at + j] = z[column * APART + j]
            add_sums(z, count, width, top + at, total + at)
            at = at + SAMPLES
        first = first + count
    free(room)


# ---------------------------------------------------------------- gradients
cdef void gradients_of_logits(floating* z, index rows, index width, const floating* top, const floating* factor,
                              const floating* low) noexcept nogil:
    """z (rows, width) becomes e^(z - top) · factor - low."""
    cdef index i, j
    for i in range(rows):
        for j in range(width):
            z[i * APART + j] = exponential(z[i * APART + j] - top[j]) * factor[j] - low[j]


cdef void gradients_of_group(const floating* w, const floating* lines, const floating* columns, const floating* rows_of_h,
                             const int64_t* t, const floating* of_samples, Sizes s, index first, index stop,
                             floating* dw, floating* db, floating* dh) noexcept nogil:
    """Of the classes first … stop: dw, db, and their part of dh (n, D). of_samples (5, samples): lead, top, factor,
    height, low."""
    cdef index size = s.classes * s.d, wide = packed_size(s.classes, s.d)
    cdef floating* room = room_for(s.classes * APART + wide + 3 * size, dw)
    cdef floating* z = on_a_line(room)
    cdef floating* packed = z + s.classes * APART
    cdef floating* turned = packed + wide
    cdef floating* found = turned + 2 * size
    cdef const floating* rows
    cdef const floating* lead = of_samples
    cdef const floating* height = of_samples + 3 * s.samples
    cdef index count, at, i, j, width, column
    cdef bint more = False
    while first < stop:
        count = min(s.classes, stop - first)
        rows = block_of(w, first, count, s, turned)
        if not s.turned:
            found = dw + first * s.d
        at = 0
        while at < s.samples:
            width = min(<index>SAMPLES, s.samples - at)
            logits(rows, NULL if lines is NULL else lines + 2 * first, columns + at * s.d, count, width, s, z)
            if at == 0:    # now the rows are in the cache
                pack(rows, s.d, 1, count, s.d, packed)
            for j in range(min(width, s.n - at)):
                column = t[at + j] - first
                if 0 <= column < count:
                    z[column * APART + j] -= lead[at + j]
            gradients_of_logits(z, count, width, lead + s.samples + at, lead + 2 * s.samples + at,
                                lead + 4 * s.samples + at)
            for j in range(min(width, s.n - at)):
                column = t[at + j] - first
                if 0 <= column < count:
                    z[column * APART + j] -= height[at + j]
            if lines is not NULL:
                for i in range(count):
                    db[first + i] = sum_of(z + i * APART, width) + (db[first + i] if at else 0)
                    for j in range(width):
                        z[i * APART + j] *= lines[2 * (first + i)]
            product(z, APART, 1, rows_of_h + at // SAMPLES * packed_size(SAMPLES, s.d), count, s.d, width, found, s.d,
                    at > 0)
            product(z, 1, APART, packed, min(width, s.n - at), s.d, count, dh + at * s.d, s.d, more)
            at = at + SAMPLES
        if s.turned:
            put_back(found, first, count, s, turned + size, dw)
        more = True
        first = first + count
    free(room)


# ---------------------------------------------------------------- what Python calls
cdef Sizes sizes(index n, index samples, index c, index d, index classes, bint turned) noexcept nogil:
    cdef Sizes s
    s.n, s.samples, s.c, s.d, s.classes, s.turned = n, samples, c, d, classes, turned
    return s


cdef inline index start(index group, index groups, Sizes s) noexcept nogil:
    """The first class of a group: groups are runs of whole blocks."""
    cdef index blocks = (s.c + s.classes - 1) // s.classes
    return min(s.c, blocks * group // groups * s.classes)


def sums(const floating[:, ::1] h, const floating[:, ::1] w, bint turned, const floating[:, ::1] lines,
         const int64_t[::1] t, const floating[::1] lead, floating[:, :, ::1] found, floating[::1] target, index classes,
         int threads):
    """found (groups, 2, samples): the largest logit of each group and Σ e^(z - it); target (N,): logits less lead.

    lines (C, 2): the gain and b of each class, or None for 1 and 0.
    """
    cdef index groups = found.shape[0], g
    cdef Sizes s = sizes(h.shape[0], found.shape[2], w.shape[1] if turned else w.shape[0], h.shape[1], classes, turned)
    cdef floating* room = room_for(packed_size(s.d, s.samples), &target[0])
    cdef floating* panels = on_a_line(room)
    cdef const floating* line = NULL
    if lines is not None:
        line = &lines[0, 0]
    pack_columns(&h[0, 0], s, panels)
    for g in prange(groups, nogil=True, num_threads=threads, schedule="dynamic", chunksize=1):
        sums_of_group(&w[0, 0], line, panels, &t[0], &lead[0], s, start(g, groups, s), start(g + 1, groups, s),
                      &found[g, 0, 0], &found[g, 1, 0], &target[0])
    free(room)


def gradients(const floating[:, ::1] h, const floating[:, ::1] w, bint turned, const floating[:, ::1] lines,
              const int64_t[::1] t, const floating[:, ::1] of_samples, floating[:, ::1] dw, floating[::1] db,
              floating[:, :, ::1] dh, index classes, int threads):
    """dw like w, db (C,) where there are lines, and the part of each group of dh (groups, N, D).

    of_samples (5, samples): lead, top, factor, height, low; a sample that is only there to fill a panel has top inf.
    """
    cdef index groups = dh.shape[0], g, at
    cdef Sizes s = sizes(h.shape[0], of_samples.shape[1], w.shape[1] if turned else w.shape[0], h.shape[1], classes,
                         turned)
    cdef index panel = packed_size(SAMPLES, s.d)
    cdef floating* room = room_for(packed_size(s.d, s.samples) + (s.n + SAMPLES - 1) // SAMPLES * panel, &dw[0, 0])
    cdef floating* columns = on_a_line(room)
    cdef floating* rows = columns + packed_size(s.d, s.samples)
    cdef const floating* line = NULL
    cdef floating* sums_of_dz = NULL
    if lines is not None:
        line, sums_of_dz = &lines[0, 0], &db[0]
    pack_columns(&h[0, 0], s, columns)
    for at in range(0, s.n, SAMPLES):
        pack_rows(&h[at, 0], min(<index>SAMPLES, s.n - at), min(<index>SAMPLES, s.samples - at), s.d,
                  rows + at // SAMPLES * panel)
    for g in prange(groups, nogil=True, num_threads=threads, schedule="dynamic", chunksize=1):
        gradients_of_group(&w[0, 0], line, columns, rows, &t[0], &of_samples[0, 0], s, start(g, groups, s),
                           start(g + 1, groups, s), &dw[0, 0], sums_of_dz, &dh[g, 0, 0])
    free(room)


cdef void pack_columns(const floating* h, Sizes s, floating* panels) noexcept nogil:
    """Panels of hᵀ (D, n), and of zeros up to `samples`."""
    cdef index taken = packed_size_of(s.d, s.n, panels)
    pack(h, 1, s.d, s.d, s.n, panels)
    memset(panels + taken, 0, (s.d * s.samples - taken) * sizeof(floating))


cdef inline index packed_size_of(index k, index n, floating* unused) noexcept nogil:
    """Numbers that `pack` writes for this type."""
    cdef index lanes = panel_width(unused)
    return (n + lanes - 1) // lanes * lanes * k


cdef void pack_rows(const floating* h, index n, index samples, index d, floating* panels) noexcept nogil:
    """Panels of h (n, d), and rows of zeros up to `samples`, which the sums run over."""
    cdef index j = 0, lanes = panel_width(panels)
    while j < d:
        pack(h + j, d, 1, n, min(lanes, d - j), panels)
        memset(panels + n * lanes, 0, (samples - n) * lanes * sizeof(floating))
        panels = panels + samples * lanes
        j = j + lanes
