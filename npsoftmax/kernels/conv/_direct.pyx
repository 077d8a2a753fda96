# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Convolution of few channels at stride 1, by its definition, in registers. float32 and float64, channels last.

Design: with 3 or 10 channels a matrix product is mostly packing and empty lanes, and columns are copies of a few
floats. Here nothing is copied but the image, once: padded with zeros it is a *frame*. There a row of a window is one
run of KW·C numbers, so that the loop over taps and channels is a single one:

    frame  … │p₀ p₁ p₂│p₃ …      run of KW·C numbers, the next pixel's starts C further on
              ╰──┬───╯
    acc[pixel] += number · w[tap, outputs]          6 or 8 pixels x 2 vectors of outputs stay in registers

For the weight gradient numbers of the run x outputs stay in registers, and the loop is over rows of pixels. Both loops
are in _direct.h: GCC's vector types say there which numbers share a register; the compiler would not find out (it is
slow to unroll in the right order). A thread owns whole images, and a sum of weight gradients.
"""

from cython cimport floating
from cython.parallel cimport parallel, prange, threadid
from libc.math cimport INFINITY
from libc.string cimport memcpy

import numpy as np

ctypedef Py_ssize_t index

cdef extern from *:
    """
    #if defined(__AVX512F__)
    #define NPSOFTMAX_VECTOR_BYTES 64
    #elif defined(__AVX__)
    #define NPSOFTMAX_VECTOR_BYTES 32
    #else
    #define NPSOFTMAX_VECTOR_BYTES 16
    #endif
    #define NUMBER float
    #define VECTOR npsoftmax_float_vector
    #define LANES (NPSOFTMAX_VECTOR_BYTES / 4)
    #define NAME(x) npsoftmax_float_##x
    #include "conv/_direct.h"
    #define NUMBER double
    #define VECTOR npsoftmax_double_vector
    #define LANES (NPSOFTMAX_VECTOR_BYTES / 8)
    #define NAME(x) npsoftmax_double_##x
    #include "conv/_direct.h"
    """
    enum:
        BYTES "NPSOFTMAX_VECTOR_BYTES"    # of a vector
        PIXELS "NPSOFTMAX_PIXELS"         # in registers with two vectors of outputs, forward
        RUN "NPSOFTMAX_RUN"               # numbers of a run in registers with two vectors, weight gradient
    void npsoftmax_float_windows(int, int, const float*, const float*, const float*, index, index, index, index, index,
                                 float, float*, index) noexcept nogil
    void npsoftmax_double_windows(int, int, const double*, const double*, const double*, index, index, index, index,
                                  index, double, double*, index) noexcept nogil
    void npsoftmax_float_outers(int, int, const float*, const float*, index, index, index, index, index, index,
                                float*) noexcept nogil
    void npsoftmax_double_outers(int, int, const double*, const double*, index, index, index, index, index, index,
                                 double*) noexcept nogil

cdef enum:
    FEW = 4096       # numbers of dy that stay in the first-level cache while all of a window passes over them


cdef struct Frame:
    index h, w, c, ph, pw       # image
    index kh, run               # window: rows, numbers in a row
    index oh, ow, f             # output
    index vector, lanes         # numbers in a vector; outputs rounded up to whole vectors
    index row, size             # numbers in a row of the frame and in all of it


def lanes_for(index f, index itemsize):
    """f rounded up to whole vectors."""
    cdef index vector = BYTES // itemsize
    return (f + vector - 1) // vector * vector


cdef Frame frame(index h, index w, index c, index kh, index kw, index ph, index pw, index f, index lanes,
                 index itemsize) noexcept nogil:
    cdef Frame g
    g.h, g.w, g.c, g.ph, g.pw, g.kh, g.run, g.f = h, w, c, ph, pw, kh, kw * c, f
    g.vector, g.lanes = BYTES // itemsize, lanes
    g.oh, g.ow = h + 2 * ph - kh + 1, w + 2 * pw - kw + 1
    g.row = ((g.ow + PIXELS - 1) // PIXELS * PIXELS + kw - 1) * c    # windows are seen PIXELS at a time
    g.size = (h + 2 * ph) * g.row
    return g


cdef void fill_rows(const floating* image, Frame g, floating* framed, index first, index last) noexcept nogil:
    """The image into the middle of a frame that is 0 elsewhere: rows `first` to before `last` of the frame."""
    cdef index y
    for y in range(max(first - g.ph, 0), min(last - g.ph, g.h)):
        memcpy(framed + (y + g.ph) * g.row + g.pw * g.c, image + y * g.w * g.c, g.w * g.c * sizeof(floating))


# ---------------------------------------------------------------- forward
cdef inline index together(Frame g) noexcept nogil:
    """Pixels at a time."""
    return PIXELS if g.lanes > g.vector else 2 * PIXELS


cdef void forward_pixels(const floating* framed, const floating* w, const floating* bias, floating least, floating* y,
                         index f, index pixels, Frame g) noexcept nogil:
    """The outputs of `together` pixels, f apart; those of all but the first `pixels` may be left out.

    What is written behind the last output of a pixel belongs to the next one. So the last block is made first.
    """
    cdef index first = (g.lanes - 1) // (2 * g.vector) * 2 * g.vector
    cdef int vectors
    while first >= 0:
        vectors = 1 if first + g.vector == g.lanes else 2
        if floating is float:
            npsoftmax_float_windows(<int>pixels, vectors, framed, w + first, bias + first, g.row, g.c, g.kh, g.run,
                                    g.lanes, least, y + first, f)
        else:
            npsoftmax_double_windows(<int>pixels, vectors, framed, w + first, bias + first, g.row, g.c, g.kh, g.run,
                                     g.lanes, least, y + first, f)
        first = first - 2 * g.vector


cdef void forward_image(const floating* image, floating* framed, const floating* w, const floating* bias,
                        floating least, floating* y, floating* room, Frame g) noexcept nogil:
    """room: for the outputs of `together` pixels, each with `lanes`, where y might be written past its end."""
    cdef index oy, ox, p, pixels, most = together(g), left
    cdef const floating* windows
    fill_rows(image, g, framed, 0, g.kh - 1)
    for oy in range(g.oh):
        fill_rows(image, g, framed, oy + g.kh - 1, oy + g.kh)    # just before it is needed, so it is in the cache
        ox = 0
        while ox < g.ow:
            pixels = min(most, g.ow - ox)
            windows = framed + oy * g.row + ox * g.c
            left = ((g.oh - oy) * g.ow - ox) * g.f
            if (most - 1) * g.f + g.lanes <= left:
                forward_pixels(windows, w, bias, least, y, g.f, pixels, g)
            else:
                forward_pixels(windows, w, bias, least, room, g.lanes, pixels, g)
                for p in range(pixels):
                    memcpy(y + p * g.f, room + p * g.lanes, g.f * sizeof(floating))
            y, ox = y + pixels * g.f, ox + pixels


def forward(const floating[:, :, :, ::1] x, const floating[:, ::1] w, const floating[::1] bias, bint relu,
            floating[:, :, :, ::1] y, index kh, index kw, index ph, index pw, int threads):
    """y (N, OH, OW, F) of x (N, H, W, C), w (KH·KW·C, lanes) and bias (lanes,), both 0 from F on."""
    cdef Frame g = frame(x.shape[1], x.shape[2], x.shape[3], kh, kw, ph, pw, y.shape[3], w.shape[1], sizeof(floating))
    cdef index n
    cdef floating least = 0 if relu else -INFINITY
    dtype = np.asarray(x).dtype
    cdef floating[:, ::1] frames = np.zeros((threads, g.size), dtype=dtype)
    cdef floating[:, ::1] rooms = np.empty((threads, together(g) * g.lanes), dtype=dtype)
    if y.shape[0] == 0:
        return
    with nogil, parallel(num_threads=threads):
        for n in prange(x.shape[0], schedule="static"):
            forward_image(&x[n, 0, 0, 0], &frames[threadid(), 0], &w[0, 0], &bias[0], least, &y[n, 0, 0, 0],
                          &rooms[threadid(), 0], g)


# ---------------------------------------------------------------- weight gradient
cdef void weight_block(const floating* framed, const floating* dy, floating* dw, index rows, int vectors,
                       Frame g) noexcept nogil:
    """dw (KH·run, lanes), of which some vectors, += what rows of pixels, dy (rows, OW, F), give with their frame."""
    cdef index k, i, numbers, part, parts, most = RUN if vectors == 2 else 2 * RUN
    parts = (g.run + most - 1) // most
    for k in range(g.kh):
        for part in range(parts):
            i = g.run * part // parts
            numbers = g.run * (part + 1) // parts - i
            if floating is float:
                npsoftmax_float_outers(<int>numbers, vectors, framed + i, dy, g.row, g.c, g.f, rows, g.ow, g.lanes,
                                       dw + i * g.lanes)
            else:
                npsoftmax_double_outers(<int>numbers, vectors, framed + i, dy, g.row, g.c, g.f, rows, g.ow, g.lanes,
                                        dw + i * g.lanes)
        framed, dw = framed + g.row, dw + g.run * g.lanes


cdef void weight_image(const floating* image, floating* framed, const floating* dy, floating* room, index step,
                       floating* dw, Frame g) noexcept nogil:
    """All rows of an image, `step` at a time; room: for the last ones and as many numbers as are read past the end."""
    cdef index oy = 0, rows, first
    fill_rows(image, g, framed, 0, g.kh - 1)
    while oy < g.oh:
        rows = min(step, g.oh - oy)
        fill_rows(image, g, framed, oy + g.kh - 1, oy + rows + g.kh - 1)
        if oy + rows == g.oh:
            memcpy(room, dy, rows * g.ow * g.f * sizeof(floating))
            dy = room
        first = 0
        while first < g.lanes:
            weight_block(<const floating*>framed + oy * g.row, dy + first, dw + first, rows,
                         1 if first + g.vector == g.lanes else 2, g)
            first = first + 2 * g.vector
        dy, oy = dy + rows * g.ow * g.f, oy + rows


def backward_weight(const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] dy, floating[:, :, ::1] partial,
                    index kh, index kw, index ph, index pw):
    """partial[thread] (KH·KW·C, lanes) += the weight gradient of that thread's images."""
    cdef int threads = <int>partial.shape[0]
    cdef Frame g = frame(x.shape[1], x.shape[2], x.shape[3], kh, kw, ph, pw, dy.shape[3], partial.shape[2],
                         sizeof(floating))
    cdef index n, step = max(1, FEW // max(1, g.ow * g.f))
    dtype = np.asarray(x).dtype
    cdef floating[:, ::1] frames = np.zeros((threads, g.size), dtype=dtype)
    cdef floating[:, ::1] rooms = np.zeros((threads, step * g.ow * g.f + g.lanes), dtype=dtype)
    if dy.shape[0] == 0:
        return
    with nogil, parallel(num_threads=threads):
        for n in prange(x.shape[0], schedule="static"):
            weight_image(&x[n, 0, 0, 0], &frames[threadid(), 0], &dy[n, 0, 0, 0], &rooms[threadid(), 0], step,
                         &partial[threadid(), 0, 0], g)
