# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Max pooling with one byte of cache a window, float32 and float64, channels last.

Design: a pool does next to no arithmetic, so it must run at the speed of memory: read the images once, write the
maxima and one byte a window that says which tap won. Bytes and floats in one loop would vectorise badly, and runs of
ten channels hardly at all, so a thread works on up to LANES values (several windows of few channels, or a part of one
window of many) in two steps:

    images ──walk the taps, window by window──► best, who (both as wide as floats, in the first-level cache)
                                                └─ flat, whatever the channels ─► y, byte

Backward goes the other way. Windows that tile the image write every pixel once; others add into an image of zeros.
ReLU costs nothing here, for relu(maxpool(x)) = maxpool(relu(x)): a window whose maximum is not above 0 has no winner.
The readable version is reference.py.
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport INFINITY
from libc.stdint cimport uint8_t
from libc.string cimport memset

ctypedef Py_ssize_t index

cdef enum:
    LANES = 1024    # values that are worked on at a time
    VECTOR = 16     # values, of which few channels are made a multiple where that is possible


cdef struct Pool:
    index h, w, c, oh, ow, kh, kw, sh, sw, ph, pw


# The taps of one window that lie inside the image: ky from `top` to before `bottom`, kx from `left` to before
# `right`; `origin` is where tap (0, 0) lies in the image, counted in values.
cdef struct Taps:
    index origin, top, bottom, left, right


cdef Pool geometry(index h, index w, index c, index oh, index ow, index kh, index kw, index sh, index sw, index ph,
                   index pw) noexcept nogil:
    cdef Pool g
    g.h, g.w, g.c, g.oh, g.ow = h, w, c, oh, ow
    g.kh, g.kw, g.sh, g.sw, g.ph, g.pw = kh, kw, sh, sw, ph, pw
    return g


cdef inline Taps taps_inside(index oy, index ox, Pool g) noexcept nogil:
    cdef Taps t
    cdef index iy = oy * g.sh - g.ph, ix = ox * g.sw - g.pw
    t.origin = (iy * g.w + ix) * g.c
    t.top, t.bottom = max(-iy, 0), min(g.kh, g.h - iy)
    t.left, t.right = max(-ix, 0), min(g.kw, g.w - ix)
    return t


cdef inline index whole(index n, index left) noexcept nogil:
    """n rounded up to whole vectors, if there are so many values left."""
    cdef index more = (n + VECTOR - 1) // VECTOR * VECTOR
    return more if more <= left else n


# ---------------------------------------------------------------- forward
cdef void best_of_window(const floating* image, Taps t, Pool g, index n, floating* best, int* who) noexcept nogil:
    """Largest value of one window and its tap, for n channels; NaN must not vanish in a maximum."""
    cdef index ky, kx, c
    cdef int tap, larger, held
    cdef floating value, top
    cdef const floating* pixel
    for c in range(n):
        best[c] = -INFINITY
        who[c] = 0
    for ky in range(t.top, t.bottom):
        for kx in range(t.left, t.right):
            tap = <int>(ky * g.kw + kx)
            pixel = image + t.origin + (ky * g.w + kx) * g.c
            for c in range(n):
                value, top, held = pixel[c], best[c], who[c]
                larger = (value > top) | (value != value)
                best[c] = value if larger else top
                who[c] = tap if larger else held


cdef void best_of_four(const floating* upper, index to_the_right, index down, index n, floating* best,
                       int* who) noexcept nogil:
    """The same for a whole window of 2x2, in one loop."""
    cdef const floating* lower = upper + down
    cdef const floating* upper_right = upper + to_the_right
    cdef const floating* lower_right = lower + to_the_right
    cdef floating top, value
    cdef int tap, larger
    cdef index c
    for c in range(n):
        top, tap = upper[c], 0
        value = upper_right[c]
        larger = (value > top) | (value != value)
        top, tap = value if larger else top, 1 if larger else tap
        value = lower[c]
        larger = (value > top) | (value != value)
        top, tap = value if larger else top, 2 if larger else tap
        value = lower_right[c]
        larger = (value > top) | (value != value)
        best[c] = value if larger else top
        who[c] = 3 if larger else tap


cdef void write_winners(const floating* best, const int* who, index n, int nobody, floating* y,
                        uint8_t* winner) noexcept nogil:
    """Values and bytes of n windows; with `nobody` >= 0 what is not above 0 becomes 0, won by that tap."""
    cdef index i
    cdef int tap
    cdef floating value
    if nobody < 0:
        for i in range(n):
            y[i] = best[i]
        for i in range(n):
            winner[i] = <uint8_t>who[i]
    else:
        for i in range(n):
            value = best[i]
            y[i] = 0 if value < 0 else value
        for i in range(n):
            value, tap = best[i], who[i]
            winner[i] = <uint8_t>(tap if value > 0 else nobody)


cdef void pool_row(const floating* image, index oy, Pool g, int nobody, floating* y, uint8_t* winner) noexcept nogil:
    """One output row (OW, C)."""
    cdef floating best[LANES + VECTOR]
    cdef int who[LANES + VECTOR]
    cdef index windows = max(1, LANES // g.c), ox = 0, count, first, n, i, at, corner
    cdef bint four = g.kh == 2 and g.kw == 2 and g.ph == 0 and g.pw == 0
    while ox < g.ow:
        count = min(windows, g.ow - ox)
        first = 0
        while first < g.c:    # once, unless a single window has more than LANES channels
            n = min(<index>LANES, g.c - first)
            for i in range(count):
                if four:
                    corner = first + (oy * g.sh * g.w + (ox + i) * g.sw) * g.c
                    best_of_four(image + corner, g.c, g.w * g.c, whole(n, g.c * (g.h * g.w - g.w - 1) - corner),
                                 best + i * n, who + i * n)
                else:
                    best_of_window(image + first, taps_inside(oy, ox + i, g), g, n, best + i * n, who + i * n)
            at = ox * g.c + first
            write_winners(best, who, count * n, nobody, y + at, winner + at)
            first = first + n
        ox = ox + count


def max_pool(const floating[:, :, :, ::1] x, floating[:, :, :, ::1] y, uint8_t[:, :, :, ::1] winner, index kh,
             index kw, index sh, index sw, index ph, index pw, bint relu, int threads):
    """x (N, H, W, C) -> y and winner (N, OH, OW, C): the largest value of each window and its tap.

    With `relu` y is at least 0, and the winner KH·KW (no tap) where no value was above it.
    """
    cdef Pool g = geometry(x.shape[1], x.shape[2], x.shape[3], y.shape[1], y.shape[2], kh, kw, sh, sw, ph, pw)
    cdef index r, image = g.h * g.w * g.c, rows = x.shape[0] * g.oh, width = g.ow * g.c
    cdef int nobody = <int>(kh * kw) if relu else -1
    cdef const floating* source
    cdef floating* to
    cdef uint8_t* tap
    if rows == 0 or width == 0:
        return
    source, to, tap = &x[0, 0, 0, 0], &y[0, 0, 0, 0], &winner[0, 0, 0, 0]
    for r in prange(rows, nogil=True, num_threads=threads, schedule="static"):
        pool_row(source + (r // g.oh) * image, r % g.oh, g, nobody, to + r * width, tap + r * width)


# ---------------------------------------------------------------- backward
cdef void share_out(floating* image, Taps t, Pool g, index n, const floating* dy, const int* who,
                    bint tiled) noexcept nogil:
    """The adjoint of best_of_window: dy goes to the winner; where windows tile the image the others are set to 0."""
    cdef index ky, kx, c
    cdef int tap
    cdef floating value
    cdef floating* pixel
    for ky in range(t.top, t.bottom):
        for kx in range(t.left, t.right):
            tap = <int>(ky * g.kw + kx)
            pixel = image + t.origin + (ky * g.w + kx) * g.c
            if tiled:
                for c in range(n):
                    value = dy[c]    # read before it is known to be needed, or the loop would not vectorise
                    pixel[c] = value if who[c] == tap else 0
            else:
                for c in range(n):
                    value = dy[c]
                    pixel[c] += value if who[c] == tap else 0


cdef void unpool_row(floating* image, index oy, Pool g, const floating* dy, const uint8_t* winner,
                     bint tiled) noexcept nogil:
    """One output row (OW, C) back into its image."""
    cdef floating share[LANES + VECTOR]
    cdef int who[LANES + VECTOR]
    cdef index windows = max(1, LANES // g.c), ox = 0, count, first, n, i, at, after
    while ox < g.ow:
        count = min(windows, g.ow - ox)
        first = 0
        while first < g.c:
            n = min(<index>LANES, g.c - first)
            at = ox * g.c + first
            for i in range(count * n):
                share[i] = dy[at + i]
            for i in range(count * n):
                who[i] = winner[at + i]
            for i in range(count):
                after = (g.ow - ox - i - 1) * n if tiled and n == g.c else 0    # what later windows of the row write
                share_out(image + first, taps_inside(oy, ox + i, g), g, whole(n, n + after), share + i * n,
                          who + i * n, tiled)
            first = first + n
        ox = ox + count


cdef void unpool_image(floating* image, Pool g, const floating* dy, const uint8_t* winner) noexcept nogil:
    cdef index oy, width = g.ow * g.c
    memset(image, 0, g.h * g.w * g.c * sizeof(floating))
    for oy in range(g.oh):
        unpool_row(image, oy, g, dy + oy * width, winner + oy * width, False)


cdef bint tiles(index size, index windows, index k, index stride, index pad) noexcept nogil:
    """Whether the windows cover an axis without gap, overlap or padding."""
    return windows * k == size and pad == 0 and (stride == k or windows == 1)


def max_pool_backward(const floating[:, :, :, ::1] dy, const uint8_t[:, :, :, ::1] winner,
                      floating[:, :, :, ::1] dx, index kh, index kw, index sh, index sw, index ph, index pw,
                      int threads):
    """dy (N, OH, OW, C) -> dx (N, H, W, C), added at the winners.

    A thread owns whole images, or whole rows of windows where these tile the image.
    """
    cdef Pool g = geometry(dx.shape[1], dx.shape[2], dx.shape[3], dy.shape[1], dy.shape[2], kh, kw, sh, sw, ph, pw)
    cdef index r, image = g.h * g.w * g.c, width = g.ow * g.c, rows = dx.shape[0] * g.oh
    cdef bint tiled = tiles(g.h, g.oh, kh, sh, ph) and tiles(g.w, g.ow, kw, sw, pw)
    cdef const floating* source
    cdef const uint8_t* tap
    cdef floating* to
    if rows == 0 or image == 0 or width == 0:
        return
    source, tap, to = &dy[0, 0, 0, 0], &winner[0, 0, 0, 0], &dx[0, 0, 0, 0]
    if tiled:
        for r in prange(rows, nogil=True, num_threads=threads, schedule="static"):
            unpool_row(to + (r // g.oh) * image, r % g.oh, g, source + r * width, tap + r * width, True)
    else:
        for r in prange(dx.shape[0], nogil=True, num_threads=threads, schedule="static"):
            unpool_image(to + r * image, g, source + r * g.oh * width, tap + r * g.oh * width)
