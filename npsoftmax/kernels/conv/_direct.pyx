# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Convolution of few channels at stride 1, by its definition, in registers. float32 and float64, channels last.

Design: with 3 or 10 channels a matrix product is mostly packing and empty lanes, and columns are copies of a few
floats. Here nothing is copied but the image, once: padded with zeros it is a *frame*. There a row of a window is one
run of KW·C numbers, so that the loop over taps and channels is a single one:

    frame  … │p₀ p₁ p₂│p₃ …      run of KW·C numbers, the next pixel's starts C further on
              ╰──┬───╯
    acc[pixel] += number · w[tap, 16 outputs]          6 pixels x 16 outputs stay in registers

For the weight gradient 6 numbers of the run x 16 outputs stay in registers, and the loop is over a row of pixels.
GCC's vector types say which numbers share a register; the compiler would not find out (it is slow to unroll in the
right order), and splits them where registers are narrower. A thread owns whole images, and a sum of weight gradients.
"""

from cython cimport floating
from cython.parallel cimport parallel, prange, threadid
from libc.math cimport INFINITY
from libc.string cimport memcpy, memset

import numpy as np

ctypedef Py_ssize_t index

cdef extern from *:
    """
    typedef float npsoftmax_f8 __attribute__((vector_size(32), aligned(4), may_alias));
    typedef double npsoftmax_d4 __attribute__((vector_size(32), aligned(8), may_alias));
    """
    ctypedef float f8 "npsoftmax_f8"
    ctypedef double d4 "npsoftmax_d4"

cdef enum:
    PIXELS = 6       # in registers, forward
    NUMBERS = 6      # of a run in registers, weight gradient
    FEW = 4096       # numbers of dy that stay in the first-level cache while all of a window passes over them


cdef struct Frame:
    index h, w, c, ph, pw       # image
    index kh, run               # window: rows, numbers in a row
    index oh, ow, f, lanes      # output; its channels rounded up to whole registers
    index row, size             # numbers in a row of the frame and in all of it


def lanes_for(index f, index itemsize):
    """f rounded up to two registers of 32 bytes, which the kernels fill at a time."""
    cdef index block = 64 // itemsize
    return (f + block - 1) // block * block


cdef Frame frame(index h, index w, index c, index kh, index kw, index ph, index pw, index f,
                 index lanes) noexcept nogil:
    cdef Frame g
    cdef index whole
    g.h, g.w, g.c, g.ph, g.pw, g.kh, g.run, g.f, g.lanes = h, w, c, ph, pw, kh, kw * c, f, lanes
    g.oh, g.ow = h + 2 * ph - kh + 1, w + 2 * pw - kw + 1
    whole = (g.ow + PIXELS - 1) // PIXELS * PIXELS
    g.row = (whole + kw - 1) * c
    g.size = (h + 2 * ph) * g.row + NUMBERS    # the last run may be read past its end
    return g


cdef void fill_frame(const floating* image, Frame g, floating* framed) noexcept nogil:
    """The image into the middle of a frame that is 0 elsewhere."""
    cdef index y
    for y in range(g.h):
        memcpy(framed + (y + g.ph) * g.row + g.pw * g.c, image + y * g.w * g.c, g.w * g.c * sizeof(floating))


# ---------------------------------------------------------------- registers, forward
cdef void window_float(const float* x, const float* w, const float* bias, index row, index c, index kh, index run,
                       index lanes, float* out) noexcept nogil:
    """out (PIXELS, 16) = bias + Σ numbers of the windows · w (KH·run, lanes), of which 16."""
    cdef f8 a0 = (<const f8*>bias)[0], b0 = (<const f8*>(bias + 8))[0], u, v
    cdef f8 a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, b1 = b0, b2 = b0, b3 = b0, b4 = b0, b5 = b0
    cdef const float* x1
    cdef const float* x2
    cdef const float* x3
    cdef const float* x4
    cdef const float* x5
    cdef index i, k
    for k in range(kh):
        x1, x2, x3, x4, x5 = x + c, x + 2 * c, x + 3 * c, x + 4 * c, x + 5 * c
        for i in range(run):
            u, v = (<const f8*>w)[0], (<const f8*>(w + 8))[0]
            a0, b0, a1, b1 = a0 + x[i] * u, b0 + x[i] * v, a1 + x1[i] * u, b1 + x1[i] * v
            a2, b2, a3, b3 = a2 + x2[i] * u, b2 + x2[i] * v, a3 + x3[i] * u, b3 + x3[i] * v
            a4, b4, a5, b5 = a4 + x4[i] * u, b4 + x4[i] * v, a5 + x5[i] * u, b5 + x5[i] * v
            w = w + lanes
        x = x + row
    (<f8*>out)[0], (<f8*>out)[1], (<f8*>out)[2], (<f8*>out)[3] = a0, b0, a1, b1
    (<f8*>out)[4], (<f8*>out)[5], (<f8*>out)[6], (<f8*>out)[7] = a2, b2, a3, b3
    (<f8*>out)[8], (<f8*>out)[9], (<f8*>out)[10], (<f8*>out)[11] = a4, b4, a5, b5


cdef void window_double(const double* x, const double* w, const double* bias, index row, index c, index kh, index run,
                        index lanes, double* out) noexcept nogil:
    """The same in double precision: out (PIXELS, 8)."""
    cdef d4 a0 = (<const d4*>bias)[0], b0 = (<const d4*>(bias + 4))[0], u, v
    cdef d4 a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, b1 = b0, b2 = b0, b3 = b0, b4 = b0, b5 = b0
    cdef const double* x1
    cdef const double* x2
    cdef const double* x3
    cdef const double* x4
    cdef const double* x5
    cdef index i, k
    for k in range(kh):
        x1, x2, x3, x4, x5 = x + c, x + 2 * c, x + 3 * c, x + 4 * c, x + 5 * c
        for i in range(run):
            u, v = (<const d4*>w)[0], (<const d4*>(w + 4))[0]
            a0, b0, a1, b1 = a0 + x[i] * u, b0 + x[i] * v, a1 + x1[i] * u, b1 + x1[i] * v
            a2, b2, a3, b3 = a2 + x2[i] * u, b2 + x2[i] * v, a3 + x3[i] * u, b3 + x3[i] * v
            a4, b4, a5, b5 = a4 + x4[i] * u, b4 + x4[i] * v, a5 + x5[i] * u, b5 + x5[i] * v
            w = w + lanes
        x = x + row
    (<d4*>out)[0], (<d4*>out)[1], (<d4*>out)[2], (<d4*>out)[3] = a0, b0, a1, b1
    (<d4*>out)[4], (<d4*>out)[5], (<d4*>out)[6], (<d4*>out)[7] = a2, b2, a3, b3
    (<d4*>out)[8], (<d4*>out)[9], (<d4*>out)[10], (<d4*>out)[11] = a4, b4, a5, b5


# Called through variables, so that they are not inlined: in the middle of other loops they would lack registers.
ctypedef void (*WindowsF)(const float*, const float*, const float*, index, index, index, index, index,
                          float*) noexcept nogil
ctypedef void (*WindowsD)(const double*, const double*, const double*, index, index, index, index, index,
                          double*) noexcept nogil
cdef WindowsF windows_float = window_float
cdef WindowsD windows_double = window_double


cdef void store(const floating* out, index block, index n, floating least, floating* y, index f,
                index pixels) noexcept nogil:
    """n channels of each of `pixels` rows of out (PIXELS, block) to y, whose pixels have f; none below `least`."""
    cdef index p, k
    for p in range(pixels):
        for k in range(n):
            y[k] = least if out[k] < least else out[k]    # in this order NaN stays NaN
        y, out = y + f, out + block


cdef void forward_row(const floating* framed, const floating* w, const floating* bias, floating least, floating* y,
                      Frame g) noexcept nogil:
    """One row of outputs, from the row of the frame where its windows begin."""
    cdef floating out[PIXELS * 16]
    cdef index at, ox, first = 0, block = 64 // <index>sizeof(floating)
    while first < g.lanes:
        for at in range((g.ow + PIXELS - 1) // PIXELS):
            ox = at * PIXELS
            if floating is float:
                windows_float(framed + ox * g.c, w + first, bias + first, g.row, g.c, g.kh, g.run, g.lanes, out)
            else:
                windows_double(framed + ox * g.c, w + first, bias + first, g.row, g.c, g.kh, g.run, g.lanes, out)
            store(<const floating*>&out[0], block, min(block, g.f - first), least, y + ox * g.f + first, g.f,
                  min(<index>PIXELS, g.ow - ox))
        first = first + block


cdef void forward_image(const floating* framed, const floating* w, const floating* bias, floating least, floating* y,
                        Frame g) noexcept nogil:
    cdef index oy
    for oy in range(g.oh):
        forward_row(framed + oy * g.row, w, bias, least, y + oy * g.ow * g.f, g)


def forward(const floating[:, :, :, ::1] x, const floating[:, ::1] w, const floating[::1] bias, bint relu,
            floating[:, :, :, ::1] y, index kh, index kw, index ph, index pw, int threads):
    """y (N, OH, OW, F) of x (N, H, W, C), w (KH·KW·C, lanes) and bias (lanes,), both 0 from F on."""
    cdef Frame g = frame(x.shape[1], x.shape[2], x.shape[3], kh, kw, ph, pw, y.shape[3], w.shape[1])
    cdef index n
    cdef floating least = 0 if relu else -INFINITY
    cdef floating[:, ::1] frames = np.zeros((threads, g.size), dtype=np.asarray(x).dtype)
    if y.shape[0] == 0:
        return
    with nogil, parallel(num_threads=threads):
        for n in prange(x.shape[0], schedule="static"):
            fill_frame(&x[n, 0, 0, 0], g, &frames[threadid(), 0])
            forward_image(<const floating*>&frames[threadid(), 0], &w[0, 0], &bias[0], least, &y[n, 0, 0, 0], g)


# ---------------------------------------------------------------- registers, weight gradient
cdef void outer_float(const float* x, const float* dy, index row, index c, index lanes, index rows, index pixels,
                      float* out) noexcept nogil:
    """out (NUMBERS, 16) = Σ over rows of pixels of x[pixel, 6 numbers] ⊗ dy[pixel, 16 outputs]."""
    cdef f8 zero = (<const f8*>out)[0], u, v
    cdef f8 a0 = zero, a1 = zero, a2 = zero, a3 = zero, a4 = zero, a5 = zero
    cdef f8 b0 = zero, b1 = zero, b2 = zero, b3 = zero, b4 = zero, b5 = zero
    cdef const float* number
    cdef index r, p
    for r in range(rows):
        number = x + r * row
        for p in range(pixels):
            u, v = (<const f8*>dy)[0], (<const f8*>(dy + 8))[0]
            a0, b0, a1, b1 = a0 + number[0] * u, b0 + number[0] * v, a1 + number[1] * u, b1 + number[1] * v
            a2, b2, a3, b3 = a2 + number[2] * u, b2 + number[2] * v, a3 + number[3] * u, b3 + number[3] * v
            a4, b4, a5, b5 = a4 + number[4] * u, b4 + number[4] * v, a5 + number[5] * u, b5 + number[5] * v
            number, dy = number + c, dy + lanes
    (<f8*>out)[0], (<f8*>out)[1], (<f8*>out)[2], (<f8*>out)[3] = a0, b0, a1, b1
    (<f8*>out)[4], (<f8*>out)[5], (<f8*>out)[6], (<f8*>out)[7] = a2, b2, a3, b3
    (<f8*>out)[8], (<f8*>out)[9], (<f8*>out)[10], (<f8*>out)[11] = a4, b4, a5, b5


cdef void outer_double(const double* x, const double* dy, index row, index c, index lanes, index rows, index pixels,
                       double* out) noexcept nogil:
    """The same in double precision: out (NUMBERS, 8)."""
    cdef d4 zero = (<const d4*>out)[0], u, v
    cdef d4 a0 = zero, a1 = zero, a2 = zero, a3 = zero, a4 = zero, a5 = zero
    cdef d4 b0 = zero, b1 = zero, b2 = zero, b3 = zero, b4 = zero, b5 = zero
    cdef const double* number
    cdef index r, p
    for r in range(rows):
        number = x + r * row
        for p in range(pixels):
            u, v = (<const d4*>dy)[0], (<const d4*>(dy + 4))[0]
            a0, b0, a1, b1 = a0 + number[0] * u, b0 + number[0] * v, a1 + number[1] * u, b1 + number[1] * v
            a2, b2, a3, b3 = a2 + number[2] * u, b2 + number[2] * v, a3 + number[3] * u, b3 + number[3] * v
            a4, b4, a5, b5 = a4 + number[4] * u, b4 + number[4] * v, a5 + number[5] * u, b5 + number[5] * v
            number, dy = number + c, dy + lanes
    (<d4*>out)[0], (<d4*>out)[1], (<d4*>out)[2], (<d4*>out)[3] = a0, b0, a1, b1
    (<d4*>out)[4], (<d4*>out)[5], (<d4*>out)[6], (<d4*>out)[7] = a2, b2, a3, b3
    (<d4*>out)[8], (<d4*>out)[9], (<d4*>out)[10], (<d4*>out)[11] = a4, b4, a5, b5


ctypedef void (*OutersF)(const float*, const float*, index, index, index, index, index, float*) noexcept nogil
ctypedef void (*OutersD)(const double*, const double*, index, index, index, index, index, double*) noexcept nogil
cdef OutersF outers_float = outer_float
cdef OutersD outers_double = outer_double


cdef void weight_rows(const floating* framed, const floating* dy, floating* dw, index rows, Frame g) noexcept nogil:
    """dw (KH·run, lanes) += what some rows of pixels, dy (rows, OW, lanes), give with the frame that they saw."""
    cdef floating out[NUMBERS * 16]
    cdef index k, at, i, j, l, first = 0, block = 64 // <index>sizeof(floating)
    cdef floating* to
    while first < g.lanes:
        for k in range(g.kh):
            for at in range((g.run + NUMBERS - 1) // NUMBERS):
                i = at * NUMBERS
                memset(out, 0, 32)
                if floating is float:
                    outers_float(framed + k * g.row + i, dy + first, g.row, g.c, g.lanes, rows, g.ow, out)
                else:
                    outers_double(framed + k * g.row + i, dy + first, g.row, g.c, g.lanes, rows, g.ow, out)
                for j in range(min(<index>NUMBERS, g.run - i)):
                    to = dw + (k * g.run + i + j) * g.lanes + first
                    for l in range(block):
                        to[l] += out[j * block + l]
        first = first + block


cdef void weight_image(const floating* framed, const floating* dy, floating* padded, index step, floating* dw,
                       Frame g) noexcept nogil:
    """All rows of an image, `step` at a time; padded has room for their dy with channels up to `lanes`."""
    cdef index oy = 0, rows, pixel
    while oy < g.oh:
        rows = min(step, g.oh - oy)
        for pixel in range(rows * g.ow):
            memcpy(padded + pixel * g.lanes, dy + (oy * g.ow + pixel) * g.f, g.f * sizeof(floating))
        weight_rows(framed + oy * g.row, <const floating*>padded, dw, rows, g)
        oy = oy + rows


def backward_weight(const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] dy, floating[:, :, ::1] partial,
                    index kh, index kw, index ph, index pw):
    """partial[thread] (KH·KW·C, lanes) += the weight gradient of that thread's images."""
    cdef int threads = <int>partial.shape[0]
    cdef Frame g = frame(x.shape[1], x.shape[2], x.shape[3], kh, kw, ph, pw, dy.shape[3], partial.shape[2])
    cdef index n
    dtype = np.asarray(x).dtype
    cdef floating[:, ::1] frames = np.zeros((threads, g.size), dtype=dtype)
    cdef index step = max(1, FEW // max(1, g.ow * g.lanes))
    cdef floating[:, ::1] padded = np.zeros((threads, step * g.ow * g.lanes), dtype=dtype)
    if dy.shape[0] == 0:
        return
    with nogil, parallel(num_threads=threads):
        for n in prange(x.shape[0], schedule="static"):
            fill_frame(&x[n, 0, 0, 0], g, &frames[threadid(), 0])
            weight_image(<const floating*>&frames[threadid(), 0], &dy[n, 0, 0, 0], &padded[threadid(), 0], step,
                         &partial[threadid(), 0, 0], g)
