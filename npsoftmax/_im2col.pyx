# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""im2col, col2im, and convolution in tiles of columns. float32 and float64, channels last.

Design: a convolution is `cols @ w`, but the columns of a batch are KH·KW times as large as the images and only ever
read once. So each thread keeps a few output rows of columns in a buffer that stays in its caches and hands it to
one BLAS call:

    x ──copy runs of channels──► tile of columns (M, KH·KW·C) ──gemm──► M rows of y
                                 └── reused for the next M rows, never written to memory

An output row r is counted over the whole batch, r = n·OH + oy, so that a tile may span images. Threads own whole
tiles (forward, weight gradient) or whole images (everything that adds into dx): no write is shared. Indices are
Py_ssize_t: with C int arithmetic and Python's -fwrapv the compiler could not prove that channels are contiguous.
The readable versions are kernels/windows/reference.py and, of the convolution, kernels/conv/reference.py. This file
stays in the root of the package, where its place is fixed; everything that calls it is in these two folders.
"""

from cython cimport floating
from cython.parallel cimport parallel, prange, threadid
from libc.string cimport memcpy, memset

from npsoftmax.kernels._blas cimport NORMAL, TRANSPOSED, gemm

import numpy as np

ctypedef Py_ssize_t index

# Output positions in a tile: few enough that its columns are still in the cache when BLAS reads them, and enough
# that the weights, which every tile reads again, cost little.
cdef index TILE_POSITIONS = 512


cdef extern from *:
    """
    #ifdef _OPENMP
    #define NPSOFTMAX_OPENMP 1
    #else
    #define NPSOFTMAX_OPENMP 0
    #endif
    """
    int NPSOFTMAX_OPENMP


cdef struct Window:
    index h, w, c, oh, ow, kh, kw, sh, sw, ph, pw


def has_openmp():
    """Whether the loops run in parallel."""
    return bool(NPSOFTMAX_OPENMP)


cdef Window window(index h, index w, index c, index oh, index ow, index kh, index kw,
                   index sh, index sw, index ph, index pw) noexcept nogil:
    cdef Window g
    g.h, g.w, g.c, g.oh, g.ow = h, w, c, oh, ow
    g.kh, g.kw, g.sh, g.sw, g.ph, g.pw = kh, kw, sh, sw, ph, pw
    return g


# ---------------------------------------------------------------- one output row of columns
cdef inline void copy_run(floating* to, const floating* source, index n) noexcept nogil:
    cdef index i
    if n > 64:
        memcpy(to, source, n * sizeof(floating))
    else:
        for i in range(n):
            to[i] = source[i]


cdef inline void zero_run(floating* to, index n) noexcept nogil:
    memset(to, 0, n * sizeof(floating))


cdef void row_of_columns(const floating* image, index oy, Window g, floating* cols) noexcept nogil:
    """cols (OW, KH·KW·C) of output row oy; what lies outside the image is 0."""
    cdef index taps = g.kw * g.c, stride = g.kh * taps
    cdef index ky, iy, ox, ix, first, last
    cdef floating* to
    cdef const floating* line
    for ky in range(g.kh):
        iy = oy * g.sh - g.ph + ky
        to = cols + ky * taps
        if iy < 0 or iy >= g.h:
            for ox in range(g.ow):
                zero_run(to + ox * stride, taps)
            continue
        line = image + iy * g.w * g.c
        for ox in range(g.ow):
            ix = ox * g.sw - g.pw
            first = min(max(-ix, 0), g.kw)            # taps left of the image
            last = max(min(g.w - ix, g.kw), first)    # one past the last tap inside it
            if first > 0:
                zero_run(to, first * g.c)
            copy_run(to + first * g.c, line + (ix + first) * g.c, (last - first) * g.c)
            if last < g.kw:
                zero_run(to + last * g.c, (g.kw - last) * g.c)
            to = to + stride


cdef void add_row_of_columns(floating* image, index oy, Window g, const floating* cols) noexcept nogil:
    """The adjoint: cols (OW, KH·KW·C) of output row oy are added to the pixels they were read from."""
    cdef index taps = g.kw * g.c, stride = g.kh * taps
    cdef index ky, iy, ox, ix, first, last, i
    cdef const floating* source
    cdef floating* to
    for ky in range(g.kh):
        iy = oy * g.sh - g.ph + ky
        if iy < 0 or iy >= g.h:
            continue
        for ox in range(g.ow):
            ix = ox * g.sw - g.pw
            first = min(max(-ix, 0), g.kw)
            last = max(min(g.w - ix, g.kw), first)
            source = cols + ox * stride + ky * taps + first * g.c
            to = image + (iy * g.w + ix + first) * g.c
            for i in range((last - first) * g.c):
                to[i] += source[i]


# ---------------------------------------------------------------- columns of a whole batch
def im2col(const floating[:, :, :, ::1] x, floating[:, ::1] cols, index kh, index kw, index sh, index sw,
           index ph, index pw, index oh, index ow, int threads):
    """x (N, H, W, C) -> cols (N·OH·OW, KH·KW·C)."""
    cdef Window g = window(x.shape[1], x.shape[2], x.shape[3], oh, ow, kh, kw, sh, sw, ph, pw)
    cdef index r, image = g.h * g.w * g.c, rows = x.shape[0] * oh, width = ow * cols.shape[1]
    cdef const floating* source
    cdef floating* to
    if rows == 0 or width == 0:
        return
    source, to = &x[0, 0, 0, 0], &cols[0, 0]
    for r in prange(rows, nogil=True, num_threads=threads, schedule="static"):
        row_of_columns(source + (r // oh) * image, r % oh, g, to + r * width)


def col2im(const floating[:, ::1] cols, floating[:, :, :, ::1] dx, index kh, index kw, index sh, index sw,
           index ph, index pw, index oh, index ow, int threads):
    """cols (N·OH·OW, KH·KW·C) -> dx (N, H, W, C), each entry added to its pixel; a thread owns whole images."""
    cdef Window g = window(dx.shape[1], dx.shape[2], dx.shape[3], oh, ow, kh, kw, sh, sw, ph, pw)
    cdef index n, oy, image = g.h * g.w * g.c, width = ow * cols.shape[1]
    cdef const floating* source
    cdef floating* to
    if dx.shape[0] == 0 or image == 0:
        return
    source, to = &cols[0, 0], &dx[0, 0, 0, 0]
    for n in prange(dx.shape[0], nogil=True, num_threads=threads, schedule="static"):
        zero_run(to + n * image, image)
        for oy in range(oh):
            add_row_of_columns(to + n * image, oy, g, source + (n * oh + oy) * width)


# ---------------------------------------------------------------- convolution in tiles
cdef index tile_rows(index ow, index rows, int threads) noexcept nogil:
    """Output rows in a tile: about TILE_POSITIONS output positions, but enough tiles for all threads."""
    return max(1, min(TILE_POSITIONS // ow, (rows + threads - 1) // threads))


cdef tile_buffers(size_t itemsize, int threads, index n):
    """Room for the columns of one tile, for each thread."""
    return np.empty((threads, n), dtype=np.float32 if itemsize == 4 else np.float64)


cdef void fill_tile(const floating* x, index first, index count, Window g, floating* cols) noexcept nogil:
    cdef index r, width = g.ow * g.kh * g.kw * g.c, image = g.h * g.w * g.c
    for r in range(first, first + count):
        row_of_columns(x + (r // g.oh) * image, r % g.oh, g, cols + (r - first) * width)


cdef inline void cut_off(floating* y, index n) noexcept nogil:
    cdef index i
    cdef floating zero = 0
    for i in range(n):
        y[i] = zero if y[i] < zero else y[i]    # in this order NaN stays NaN


cdef void forward_tile(const floating* x, const floating* w, const floating* b, bint relu, floating* y, index first,
                       index count, index f, Window g, floating* cols) noexcept nogil:
    cdef index i, positions = count * g.ow, depth = g.kh * g.kw * g.c
    cdef floating* out = y + first * g.ow * f
    fill_tile(x, first, count, g, cols)
    for i in range(positions):
        copy_run(out + i * f, b, f)
    gemm(NORMAL, NORMAL, positions, f, depth, cols, depth, w, f, <floating>1, out, f)
    if relu:
        cut_off(out, positions * f)


def conv_forward(const floating[:, :, :, ::1] x, const floating[:, ::1] w, const floating[::1] b, bint relu,
                 floating[:, :, :, ::1] y, index kh, index kw, index sh, index sw, index ph, index pw, int threads):
    """y (N, OH, OW, F) = columns of x (N, H, W, C) @ w (KH·KW·C, F) + b (F,); with relu what is below 0 becomes 0."""
    cdef Window g = window(x.shape[1], x.shape[2], x.shape[3], y.shape[1], y.shape[2], kh, kw, sh, sw, ph, pw)
    cdef index rows = x.shape[0] * g.oh, f = w.shape[1], depth = w.shape[0]
    if rows == 0 or g.ow == 0 or depth == 0 or f == 0:
        return
    cdef index step = tile_rows(g.ow, rows, threads), t, tiles = (rows + step - 1) // step
    cdef const floating* source = &x[0, 0, 0, 0]
    cdef floating* out = &y[0, 0, 0, 0]
    cdef floating[:, ::1] buffer = tile_buffers(sizeof(floating), threads, step * g.ow * depth)
    with nogil, parallel(num_threads=threads):
        cols = &buffer[threadid(), 0]
        for t in prange(tiles, schedule="static"):
            forward_tile(source, &w[0, 0], &b[0], relu, out, t * step, min(step, rows - t * step), f, g, cols)


def conv_backward_weight(const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] dy,
                         floating[:, :, ::1] partial, index kh, index kw, index sh, index sw, index ph, index pw):
    """partial[thread] (KH·KW·C, F) += columns of x, transposed, @ dy, over the tiles of that thread."""
    cdef Window g = window(x.shape[1], x.shape[2], x.shape[3], dy.shape[1], dy.shape[2], kh, kw, sh, sw, ph, pw)
    cdef index rows = x.shape[0] * g.oh, f = dy.shape[3], depth = partial.shape[1]
    cdef int threads = <int>partial.shape[0]
    if rows == 0 or g.ow == 0 or depth == 0 or f == 0:
        return
    cdef index step = tile_rows(g.ow, rows, threads), t, count, tiles = (rows + step - 1) // step
    cdef const floating* source = &x[0, 0, 0, 0]
    cdef const floating* upstream = &dy[0, 0, 0, 0]
    cdef floating[:, ::1] buffer = tile_buffers(sizeof(floating), threads, step * g.ow * depth)
    with nogil, parallel(num_threads=threads):
        cols = &buffer[threadid(), 0]
        for t in prange(tiles, schedule="static"):
            count = min(step, rows - t * step)
            fill_tile(source, t * step, count, g, cols)
            gemm(TRANSPOSED, NORMAL, depth, f, count * g.ow, cols, depth, upstream + t * step * g.ow * f, f, <floating>1,
                 &partial[threadid(), 0, 0], f)


cdef void backward_input_image(const floating* dy, const floating* w, floating* dx, index f, index step, Window g,
                               floating* cols) noexcept nogil:
    cdef index first = 0, count, oy, depth = g.kh * g.kw * g.c
    zero_run(dx, g.h * g.w * g.c)
    while first < g.oh:
        count = min(step, g.oh - first)
        gemm(NORMAL, TRANSPOSED, count * g.ow, depth, f, dy + first * g.ow * f, f, w, f, <floating>0, cols, depth)
        for oy in range(first, first + count):
            add_row_of_columns(dx, oy, g, cols + (oy - first) * g.ow * depth)
        first = first + count


def conv_backward_input(const floating[:, :, :, ::1] dy, const floating[:, ::1] w, floating[:, :, :, ::1] dx,
                        index kh, index kw, index sh, index sw, index ph, index pw, int threads):
    """dx (N, H, W, C) = col2im(dy @ wᵀ) for any stride; a thread owns whole images."""
    cdef Window g = window(dx.shape[1], dx.shape[2], dx.shape[3], dy.shape[1], dy.shape[2], kh, kw, sh, sw, ph, pw)
    cdef index n, f = w.shape[1], image = g.h * g.w * g.c, pixels = g.oh * g.ow * f
    if dx.shape[0] == 0 or image == 0 or pixels == 0:
        return
    cdef index step = tile_rows(g.ow, g.oh, 1)
    cdef const floating* upstream = &dy[0, 0, 0, 0]
    cdef floating* to = &dx[0, 0, 0, 0]
    cdef floating[:, ::1] buffer = tile_buffers(sizeof(floating), threads, step * g.ow * w.shape[0])
    with nogil, parallel(num_threads=threads):
        cols = &buffer[threadid(), 0]
        for n in prange(dx.shape[0], schedule="static"):
            backward_input_image(upstream + n * pixels, &w[0, 0], to + n * image, f, step, g, cols)
