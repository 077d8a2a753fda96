# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Convolution of few channels at stride 1, by its definition, with pixels side by side in registers. float32.

Design: ten outputs fill ten lanes of a vector of sixteen (see _direct.pyx). Sixteen pixels of a row fill all. So each
image is taken apart into *planes*, a channel each, padded with zeros, and a vector of pixels times one number of the
weights is added to the sums of one output:

    plane of channel i  … │x₀ x₁ x₂ … x₁₅│x₁₆ …       from tap to tap the vector begins a number further on
    acc[output] += w[tap, i, output] · vector          12 or 6 outputs x 2 vectors of pixels stay in registers

On the way in and out squares of LANES pixels by LANES channels are transposed, in registers too. For the weight
gradient planes of x meet planes of dy, and the lanes are added up at the very end. The loops are in _planar.h, in GCC's
vector types. A thread owns whole images, some small ones together, and a sum of weight gradients.
"""

from cython.parallel cimport parallel, prange, threadid
from libc.math cimport INFINITY

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
    #define LANES (NPSOFTMAX_VECTOR_BYTES / 4)
    #include "conv/_planar.h"
    """
    enum:
        LANES                                 # numbers in a vector
        OUTPUTS "NPSOFTMAX_OUTPUTS"           # in registers with two vectors of pixels, forward
        GRADIENTS "NPSOFTMAX_GRADIENTS"       # in registers with TAPS neighbours, weight gradient
        TAPS "NPSOFTMAX_TAPS"
    void npsoftmax_to_planes(const float*, const float*, index, int, int, float*, index) noexcept nogil
    void npsoftmax_pixels_by(int, const float**, const float*, const float*, index, index, index, index, index, float,
                             float**, const int*, index) noexcept nogil
    void npsoftmax_products_by(int, int, const float*, index, index, const float*, index, index, index, index, index,
                               index, int, float*, index) noexcept nogil
    void npsoftmax_sum(const float*, index, index, index, float*) noexcept nogil
    void npsoftmax_add_lanes(const float*, index, float*) noexcept nogil

cdef enum:
    LONG = 64    # vectors of pixels that should pass before sums of weight gradients are written


cdef struct Planes:
    index h, w, c, top, left      # image, and where it lies in its planes
    index row, plane, size        # numbers from row to row, from plane to plane, and in all planes


cdef struct Window:
    index kh, kw, oh, ow, f       # taps and outputs
    index vectors                 # in a row of outputs


cdef room_for(index rows, index together, Planes p):
    """Zeros (rows, together, size) for planes of images, from the beginning of a vector on."""
    room = np.zeros(rows * together * p.size + LANES, dtype=np.float32)
    return room[-room.ctypes.data // 4 % LANES :][: rows * together * p.size].reshape(rows, together, -1)


cdef index whole(index numbers) noexcept nogil:
    """Rounded up to whole vectors."""
    return (numbers + LANES - 1) // LANES * LANES


cdef Window window_of(index kh, index kw, index oh, index ow, index f) noexcept nogil:
    cdef Window g
    g.kh, g.kw, g.oh, g.ow, g.f, g.vectors = kh, kw, oh, ow, f, whole(ow) // LANES
    return g


cdef Planes planes_of(index h, index w, index c, index top, index left, index rows, index row) noexcept nogil:
    cdef Planes p
    p.h, p.w, p.c, p.top, p.left, p.row, p.plane = h, w, c, top, left, row, rows * row + LANES
    p.size = whole(c * p.plane)
    return p


cdef void fill(const float* image, const float* above, index left, Planes p, float* planes) noexcept nogil:
    """image (H, W, C) into its planes, which are 0 around it; 0 too where `above`, if it is not NULL, is not above 0.

    left: numbers of the array from here to its end. Zeros are written behind a row too, up to a vector of them: before
    the next row is filled.
    """
    cdef index y, block, first, at
    for y in range(p.h):
        for block in range((p.c + LANES - 1) // LANES):
            first = block * LANES
            at = y * p.w * p.c + first
            fill_row(image + at, above + at if above != NULL else NULL, left - at, p, min(LANES, p.c - first),
                     planes + first * p.plane + (y + p.top) * p.row + p.left)


cdef void fill_row(const float* row, const float* above, index left, Planes p, index channels,
                   float* planes) noexcept nogil:
    """Some channels of a row, in squares of LANES pixels by as many channels, which may be those of others."""
    cdef index x = 0, i, at
    cdef int pixels
    while x < p.w and (x + LANES - 1) * p.c + LANES <= left:
        at, pixels = x * p.c, <int>min(LANES, p.w - x)
        npsoftmax_to_planes(row + at, above + at if above != NULL else NULL, p.c, <int>channels, pixels, planes + x,
                            p.plane)
        x = x + LANES
    for x in range(x, p.w):                                  # what is left at the end of the array
        for i in range(channels):
            at = x * p.c + i
            planes[i * p.plane + x] = row[at] if above == NULL or above[at] > 0 else 0


# ---------------------------------------------------------------- forward
cdef void forward_image(const float* planes, Planes p, const float* w, const float* bias, float least,
                        float* y, Window g) noexcept nogil:
    """y (OH, OW, F) of what the window sees from `planes` on: two vectors of pixels together, of one row or of two.

    Where their number is odd, the last one is made twice.
    """
    cdef index pair, v, j, part, parts = (g.f + OUTPUTS - 1) // OUTPUTS, first, count = g.oh * g.vectors
    cdef const float* x[2]
    cdef float* to[2]
    cdef float* at[2]
    cdef int outputs
    cdef int pixels[2]
    for pair in range((count + 1) // 2):
        for v in range(2):
            j = min(2 * pair + v, count - 1)
            x[v] = planes + j // g.vectors * p.row + j % g.vectors * LANES
            to[v] = y + (j // g.vectors * g.ow + j % g.vectors * LANES) * g.f
            pixels[v] = <int>min(LANES, g.ow - j % g.vectors * LANES)
        for part in range(parts):
            first = g.f * part // parts
            outputs = <int>(g.f * (part + 1) // parts - first)
            for v in range(2):
                at[v] = to[v] + first
            npsoftmax_pixels_by(outputs, x, w + first, bias + first, p.row, p.plane, p.c, g.kh, g.kw, least, at,
                                pixels, g.f)


def forward(const float[:, :, :, ::1] x, const float[:, ::1] w, const float[::1] bias, bint relu,
            float[:, :, :, ::1] y, index kh, index kw, index ph, index pw, int threads):
    """y (N, OH, OW, F) of x (N, H, W, C), w (KH·KW·C, F) and bias (F,). No array is empty."""
    cdef index h = x.shape[1], n
    cdef Window g = window_of(kh, kw, y.shape[1], y.shape[2], y.shape[3])
    cdef Planes p = planes_of(h, x.shape[2], x.shape[3], ph, pw, h + 2 * ph, g.vectors * LANES + kw - 1)
    cdef float least = 0 if relu else -INFINITY
    cdef float[:, :, ::1] planes = room_for(threads, 1, p)
    with nogil, parallel(num_threads=threads):
        for n in prange(x.shape[0], schedule="static"):
            fill(&x[n, 0, 0, 0], NULL, (x.shape[0] - n) * h * p.w * p.c, p, &planes[threadid(), 0, 0])
            forward_image(<const float*>&planes[threadid(), 0, 0], p, &w[0, 0], &bias[0], least, &y[n, 0, 0, 0], g)


# ---------------------------------------------------------------- backward
cdef void weight_images(const float* x, Planes p, const float* dy, Planes d, index images, float* dw,
                        Window g) noexcept nogil:
    """dw (KH, KW, C, F, lanes) += what planes of x give with those of dy, from where their images begin."""
    cdef index part, first, parts = (g.f + GRADIENTS - 1) // GRADIENTS, i, k, tap = p.c * g.f * LANES
    cdef index group, l, groups = (g.kw + TAPS - 1) // TAPS
    cdef int outputs, taps, pixels = <int>(g.ow - (g.vectors - 1) * LANES)
    cdef const float* at
    cdef float* to
    for part in range(parts):
        first = g.f * part // parts
        outputs = <int>(g.f * (part + 1) // parts - first)
        for i in range(p.c):
            for k in range(g.kh):
                for group in range(groups):
                    l = g.kw * group // groups
                    taps = <int>(g.kw * (group + 1) // groups - l)
                    at = x + i * p.plane + k * p.row + l
                    to = dw + (k * g.kw + l) * tap + (i * g.f + first) * LANES
                    npsoftmax_products_by(taps, outputs, at, p.size, p.row, dy + first * d.plane, d.size, d.plane,
                                          d.row, images, g.oh, g.vectors, pixels, to, tap)


def backward(const float[:, :, :, ::1] x, const float[:, :, :, ::1] dy, const float[:, :, :, ::1] y,
             const float[:, ::1] rotated, float[:, :, :, ::1] dx, float[:, ::1] gradients, index kh, index kw,
             index ph, index pw):
    """dx (N, H, W, C), and in gradients[thread] (KH·KW·C·F + F) those of weights and bias by that thread's images.

    dy counts where y > 0, unless y is empty; an empty dx is not filled in. rotated (KH·KW·F, C):
    the weights, turned by 180°. PH < KH, PW < KW; no other array is empty.
    """
    cdef int threads = <int>gradients.shape[0]
    cdef index h = x.shape[1], w = x.shape[2], c = x.shape[3], oh = dy.shape[1], ow = dy.shape[2], f = dy.shape[3]
    cdef Window g = window_of(kh, kw, oh, ow, f), back = window_of(kh, kw, h, w, c)
    cdef Planes p = planes_of(h, w, c, ph, pw, h + 2 * ph, g.vectors * LANES + kw - 1)
    # Rows of dy begin at a vector. Where windows see more than a row, they see the zeros at the beginning of the next.
    cdef index top = kh - 1 - ph, seen = kw - 1 - pw, left = whole(seen)
    cdef index row = left + max(g.vectors, back.vectors) * LANES
    cdef Planes d = planes_of(oh, ow, f, top, left, oh + 2 * top + 1, row)
    cdef index begin = top * d.row + left, bias = kh * kw * c * f, thread
    cdef index together = max(1, min(LONG // (oh * g.vectors), (x.shape[0] + threads - 1) // threads))
    cdef index groups = (x.shape[0] + together - 1) // together
    cdef index group, n, i, first, images
    cdef bint masked = y.shape[0] == dy.shape[0], need_dx = dx.shape[0] == x.shape[0]
    cdef float[:, :, ::1] planes = room_for(threads, together, p)
    cdef float[:, :, ::1] dplanes = room_for(threads, together, d)
    cdef float[:, :, ::1] partial = np.zeros((threads, bias + f, LANES), dtype=np.float32)
    cdef float[::1] zeros = np.zeros(c, dtype=np.float32)
    with nogil, parallel(num_threads=threads):
        for group in prange(groups, schedule="static"):
            first = x.shape[0] * group // groups
            images = x.shape[0] * (group + 1) // groups - first
            for n in range(images):
                fill(&x[first + n, 0, 0, 0], NULL, (x.shape[0] - first - n) * h * w * c, p,
                     &planes[threadid(), n, 0])
                fill(&dy[first + n, 0, 0, 0], &y[first + n, 0, 0, 0] if masked else NULL,
                     (x.shape[0] - first - n) * oh * ow * f, d, &dplanes[threadid(), n, 0])
                for i in range(f):
                    npsoftmax_sum(&dplanes[threadid(), n, begin + i * d.plane], d.row, oh, g.vectors,
                                  &partial[threadid(), bias + i, 0])
                if need_dx:
                    forward_image(<const float*>&dplanes[threadid(), n, left - seen], d, &rotated[0, 0], &zeros[0],
                                  -INFINITY, &dx[first + n, 0, 0, 0], back)
            weight_images(<const float*>&planes[threadid(), 0, 0], p,
                          <const float*>&dplanes[threadid(), 0, begin], d, images, &partial[threadid(), 0, 0], g)
    for thread in range(threads):
        npsoftmax_add_lanes(&partial[thread, 0, 0], bias + f, &gradients[thread, 0])
