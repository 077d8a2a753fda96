# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Winograd convolution, 3x3 and 2x2 at stride 1, in tiles of 2x2 to 4x4 outputs. float32 and float64, channels last.

Design: outputs that lie side by side share inputs. A tile of m x m outputs of an r x r kernel is the product of
two polynomials in each direction, and such a product is found by evaluating both factors at m + r - 1 points,
multiplying there, and interpolating (Winograd 1980; Lavin and Gray 2016, arXiv 1509.09308). In matrices, for one tile d
of inputs and one kernel g, with ⊙ element by element:

    Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A        36 multiplications for 16 outputs (m = 4, r = 3), by the definition 144

Summed over input channels, ⊙ is one matrix product at each of the (m + r - 1)² positions:

    x ──Bᵀ d B──► V[p] (T, C) ─┐
                               ├─ V[p] @ U[p] = M[p] (T, F) ──Aᵀ M A, + bias──► y        T tiles of a few images
    w ──G g Gᵀ──► U[p] (C, F) ─┘

The backward is the exact adjoint of that, right to left, and needs the transform of dy once for both gradients:

    dM[p] = A dy Aᵀ,    dU[p] = V[p]ᵀ @ dM[p],    dw = Gᵀ dU G,    dV[p] = dM[p] @ U[p]ᵀ,    dx = B dV Bᵀ, overlaps added

Points: 0, ±1, ∞ where they are four; 0, ±3/4, 2, ∞ where they are five; 0, ±5/8, ±3/2, ∞ where they are six, twice as
accurate as 0, ±1, ±2 (docs/how-it-is-fast.md). Points in pairs ±p share the even and the odd part of a polynomial, so a
line of six costs 14 operations, not 36. The points alone decide what is done with inputs, so a line of four serves m = 2
with r = 3 and m = 3 with r = 2, and a line of five serves m = 3 with r = 3 and m = 4 with r = 2.

Transforms run over images, products over positions: no write is shared, and a sum has the same order for any number
of threads. A tile that stands over the edge reads zeros there and writes nothing.
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.string cimport memset

from npsoftmax.kernels._blas cimport NORMAL, TRANSPOSED, gemm

ctypedef Py_ssize_t index

cdef enum:
    LANES = 64       # channels that a transform takes at a time: a tile of them stays in the first-level cache
    SIDE = 6         # the largest side of a tile of inputs
    INPUT, INPUT_ADJOINT, OUTPUT, OUTPUT_ADJOINT, KERNEL, KERNEL_ADJOINT


cdef struct Grid:
    index m, k, side            # side of a tile of outputs, of a kernel, of a tile of inputs
    index h, w, c, oh, ow, f    # of the images
    index ph, pw
    index rows, cols, tiles     # tiles of an image


cdef Grid grid(index m, index h, index w, index c, index oh, index ow, index f, index ph, index pw) noexcept nogil:
    cdef Grid g
    g.m, g.k = m, h + 2 * ph - oh + 1
    g.side = m + g.k - 1
    g.h, g.w, g.c, g.oh, g.ow, g.f, g.ph, g.pw = h, w, c, oh, ow, f, ph, pw
    g.rows, g.cols = (oh + m - 1) // m, (ow + m - 1) // m
    g.tiles = g.rows * g.cols
    return g


# ---------------------------------------------------------------- one line, n channels side by side: four points
cdef inline void line_of_4(int kind, index count, const floating* x, index s, floating* y, index t,
                           index n) noexcept nogil:
    """y[k·t + c] = Σ_i M[k, i] x[i·s + c] with the matrix M of `kind`, for the points 0, 1, -1, ∞.

    count: 2 or 3 outputs, 3 or 2 numbers of a kernel.
    """
    cdef index c
    cdef floating even, odd, half = 0.5
    if kind == INPUT:
        for c in range(n):
            y[c] = x[2 * s + c] - x[c]
            y[t + c] = x[2 * s + c] + x[s + c]
            y[2 * t + c] = x[2 * s + c] - x[s + c]
            y[3 * t + c] = x[3 * s + c] - x[s + c]
    elif kind == INPUT_ADJOINT:
        for c in range(n):
            y[c] = -x[c]
            y[t + c] = x[s + c] - x[2 * s + c] - x[3 * s + c]
            y[2 * t + c] = x[c] + x[s + c] + x[2 * s + c]
            y[3 * t + c] = x[3 * s + c]
    elif kind == OUTPUT and count == 2:
        for c in range(n):
            y[c] = x[c] + x[s + c] + x[2 * s + c]
            y[t + c] = x[s + c] - x[2 * s + c] + x[3 * s + c]
    elif kind == OUTPUT:
        for c in range(n):
            even = x[s + c] + x[2 * s + c]
            y[c] = x[c] + even
            y[t + c] = x[s + c] - x[2 * s + c]
            y[2 * t + c] = even + x[3 * s + c]
    elif kind == OUTPUT_ADJOINT and count == 2:
        for c in range(n):
            y[c] = x[c]
            y[t + c] = x[c] + x[s + c]
            y[2 * t + c] = x[c] - x[s + c]
            y[3 * t + c] = x[s + c]
    elif kind == OUTPUT_ADJOINT:
        for c in range(n):
            even = x[c] + x[2 * s + c]
            y[c] = x[c]
            y[t + c] = even + x[s + c]
            y[2 * t + c] = even - x[s + c]
            y[3 * t + c] = x[2 * s + c]
    elif kind == KERNEL and count == 3:
        for c in range(n):
            even, odd = half * (x[c] + x[2 * s + c]), half * x[s + c]
            y[c] = -x[c]
            y[t + c] = even + odd
            y[2 * t + c] = even - odd
            y[3 * t + c] = x[2 * s + c]
    elif kind == KERNEL:
        for c in range(n):
            y[c] = -x[c]
            y[t + c] = half * (x[c] + x[s + c])
            y[2 * t + c] = half * (x[c] - x[s + c])
            y[3 * t + c] = x[s + c]
    elif count == 3:
        for c in range(n):
            even = half * (x[s + c] + x[2 * s + c])
            y[c] = even - x[c]
            y[t + c] = half * (x[s + c] - x[2 * s + c])
            y[2 * t + c] = even + x[3 * s + c]
    else:
        for c in range(n):
            y[c] = half * (x[s + c] + x[2 * s + c]) - x[c]
            y[t + c] = half * (x[s + c] - x[2 * s + c]) + x[3 * s + c]


# ---------------------------------------------------------------- one line, n channels side by side: five points
cdef inline void line_of_5(int kind, index count, const floating* x, index s, floating* y, index t,
                           index n) noexcept nogil:
    """The same for the points 0, a, -a, b, ∞ with a = 3/4 and b = 2. count: 3 or 4 outputs, 3 or 2 of a kernel."""
    cdef index c
    cdef floating a = 0.75, b = 2
    cdef floating aa = a * a, bb = b * b, product = aa * b
    # The points' products of differences, by which a kernel is divided.
    cdef floating n0 = 1 / product, up = 1 / (2 * aa * (a - b)), down = -1 / (2 * aa * (a + b)), nb = 1 / (b * (bb - aa))
    cdef floating last = 1 if count == 3 else 0    # whether the third number is the one at ∞
    cdef floating even, odd, at_b
    if kind == INPUT:
        for c in range(n):
            even, odd = x[3 * s + c] - b * x[2 * s + c], a * (x[2 * s + c] - b * x[s + c])
            y[c] = even + product * x[c] - aa * x[s + c]
            y[t + c] = even + odd
            y[2 * t + c] = even - odd
            y[3 * t + c] = x[3 * s + c] - aa * x[s + c]
            y[4 * t + c] = x[4 * s + c] - b * x[3 * s + c] - aa * x[2 * s + c] + product * x[s + c]
    elif kind == INPUT_ADJOINT:
        for c in range(n):
            even, odd = x[s + c] + x[2 * s + c], a * (x[s + c] - x[2 * s + c])
            y[c] = product * x[c]
            y[t + c] = product * x[4 * s + c] - aa * (x[c] + x[3 * s + c]) - b * odd
            y[2 * t + c] = odd - b * (x[c] + even) - aa * x[4 * s + c]
            y[3 * t + c] = x[c] + even + x[3 * s + c] - b * x[4 * s + c]
            y[4 * t + c] = x[4 * s + c]
    elif kind == OUTPUT:
        for c in range(n):
            even, odd = x[s + c] + x[2 * s + c], a * (x[s + c] - x[2 * s + c])
            at_b = x[3 * s + c]
            y[c] = x[c] + even + at_b
            y[t + c] = odd + b * at_b
            y[2 * t + c] = aa * even + bb * at_b + last * x[4 * s + c]
        if count == 4:
            for c in range(n):
                y[3 * t + c] = aa * a * (x[s + c] - x[2 * s + c]) + bb * b * x[3 * s + c] + x[4 * s + c]
    elif kind == OUTPUT_ADJOINT and count == 3:
        for c in range(n):
            even, odd = x[c] + aa * x[2 * s + c], a * x[s + c]
            y[c] = x[c]
            y[t + c] = even + odd
            y[2 * t + c] = even - odd
            y[3 * t + c] = x[c] + b * x[s + c] + bb * x[2 * s + c]
            y[4 * t + c] = x[2 * s + c]
    elif kind == OUTPUT_ADJOINT:
        for c in range(n):
            even, odd = x[c] + aa * x[2 * s + c], a * (x[s + c] + aa * x[3 * s + c])
            y[c] = x[c]
            y[t + c] = even + odd
            y[2 * t + c] = even - odd
            y[3 * t + c] = x[c] + b * x[s + c] + bb * (x[2 * s + c] + b * x[3 * s + c])
            y[4 * t + c] = x[3 * s + c]
    elif kind == KERNEL and count == 3:
        for c in range(n):
            even, odd = x[c] + aa * x[2 * s + c], a * x[s + c]
            y[c] = n0 * x[c]
            y[t + c] = up * (even + odd)
            y[2 * t + c] = down * (even - odd)
            y[3 * t + c] = nb * (x[c] + b * x[s + c] + bb * x[2 * s + c])
            y[4 * t + c] = x[2 * s + c]
    elif kind == KERNEL:
        for c in range(n):
            y[c] = n0 * x[c]
            y[t + c] = up * (x[c] + a * x[s + c])
            y[2 * t + c] = down * (x[c] - a * x[s + c])
            y[3 * t + c] = nb * (x[c] + b * x[s + c])
            y[4 * t + c] = x[s + c]
    else:
        for c in range(n):
            even, odd = up * x[s + c] + down * x[2 * s + c], a * (up * x[s + c] - down * x[2 * s + c])
            at_b = nb * x[3 * s + c]
            y[c] = n0 * x[c] + even + at_b
            y[t + c] = odd + b * at_b + (1 - last) * x[4 * s + c]
        if count == 3:
            for c in range(n):
                y[2 * t + c] = aa * (up * x[s + c] + down * x[2 * s + c]) + bb * nb * x[3 * s + c] + x[4 * s + c]


# ---------------------------------------------------------------- one line, n channels side by side: six points
cdef inline void line_of_6(int kind, const floating* x, index s, floating* y, index t, index n) noexcept nogil:
    """The same for the points 0, a, -a, b, -b, ∞ with a = 5/8 and b = 3/2: four outputs, three numbers of a kernel."""
    cdef index c
    cdef floating a = 0.625, b = 1.5
    cdef floating aa = a * a, bb = b * b, sum_ = aa + bb, product = aa * bb
    # The points' products of differences, by which a kernel is divided.
    cdef floating na = 1 / (2 * aa * (aa - bb)), nb = 1 / (2 * bb * (bb - aa)), n0 = 1 / product
    cdef floating even_a, odd_a, even_b, odd_b
    if kind == INPUT:
        for c in range(n):
            even_a, odd_a = x[4 * s + c] - bb * x[2 * s + c], a * (x[3 * s + c] - bb * x[s + c])
            even_b, odd_b = x[4 * s + c] - aa * x[2 * s + c], b * (x[3 * s + c] - aa * x[s + c])
            y[c] = x[4 * s + c] - sum_ * x[2 * s + c] + product * x[c]
            y[t + c] = even_a + odd_a
            y[2 * t + c] = even_a - odd_a
            y[3 * t + c] = even_b + odd_b
            y[4 * t + c] = even_b - odd_b
            y[5 * t + c] = x[5 * s + c] - sum_ * x[3 * s + c] + product * x[s + c]
    elif kind == INPUT_ADJOINT:
        for c in range(n):
            even_a, odd_a = x[s + c] + x[2 * s + c], a * (x[s + c] - x[2 * s + c])
            even_b, odd_b = x[3 * s + c] + x[4 * s + c], b * (x[3 * s + c] - x[4 * s + c])
            y[c] = product * x[c]
            y[t + c] = product * x[5 * s + c] - bb * odd_a - aa * odd_b
            y[2 * t + c] = -sum_ * x[c] - bb * even_a - aa * even_b
            y[3 * t + c] = odd_a + odd_b - sum_ * x[5 * s + c]
            y[4 * t + c] = x[c] + even_a + even_b
            y[5 * t + c] = x[5 * s + c]
    elif kind == OUTPUT:
        for c in range(n):
            even_a, odd_a = x[s + c] + x[2 * s + c], a * (x[s + c] - x[2 * s + c])
            even_b, odd_b = x[3 * s + c] + x[4 * s + c], b * (x[3 * s + c] - x[4 * s + c])
            y[c] = x[c] + even_a + even_b
            y[t + c] = odd_a + odd_b
            y[2 * t + c] = aa * even_a + bb * even_b
            y[3 * t + c] = aa * odd_a + bb * odd_b + x[5 * s + c]
    elif kind == OUTPUT_ADJOINT:
        for c in range(n):
            even_a, odd_a = x[c] + aa * x[2 * s + c], a * (x[s + c] + aa * x[3 * s + c])
            even_b, odd_b = x[c] + bb * x[2 * s + c], b * (x[s + c] + bb * x[3 * s + c])
            y[c] = x[c]
            y[t + c] = even_a + odd_a
            y[2 * t + c] = even_a - odd_a
            y[3 * t + c] = even_b + odd_b
            y[4 * t + c] = even_b - odd_b
            y[5 * t + c] = x[3 * s + c]
    elif kind == KERNEL:
        for c in range(n):
            even_a, odd_a = na * (x[c] + aa * x[2 * s + c]), na * a * x[s + c]
            even_b, odd_b = nb * (x[c] + bb * x[2 * s + c]), nb * b * x[s + c]
            y[c] = n0 * x[c]
            y[t + c] = even_a + odd_a
            y[2 * t + c] = even_a - odd_a
            y[3 * t + c] = even_b + odd_b
            y[4 * t + c] = even_b - odd_b
            y[5 * t + c] = x[2 * s + c]
    else:
        for c in range(n):
            even_a, odd_a = na * (x[s + c] + x[2 * s + c]), na * a * (x[s + c] - x[2 * s + c])
            even_b, odd_b = nb * (x[3 * s + c] + x[4 * s + c]), nb * b * (x[3 * s + c] - x[4 * s + c])
            y[c] = n0 * x[c] + even_a + even_b
            y[t + c] = odd_a + odd_b
            y[2 * t + c] = aa * even_a + bb * even_b + x[5 * s + c]


# ---------------------------------------------------------------- a square: all columns, then all rows
cdef inline void line(int kind, index count, index points, const floating* x, index s, floating* y, index t,
                      index n) noexcept nogil:
    if points == 4:
        line_of_4(kind, count, x, s, y, t, n)
    elif points == 5:
        line_of_5(kind, count, x, s, y, t, n)
    else:
        line_of_6(kind, x, s, y, t, n)


cdef void square(int kind, index taken, index given, const floating* x, index xrow, index xcol, floating* y, index yrow,
                 index ycol, index n) noexcept nogil:
    """Y = M X Mᵀ for X (taken, taken) and Y (given, given), whose elements are runs of n <= LANES channels."""
    cdef floating between[SIDE * SIDE * LANES]
    cdef index i, j, row = SIDE * LANES, count = min(taken, given), points = max(taken, given)
    for j in range(taken):
        line(kind, count, points, x + j * xcol, xrow, &between[j * LANES], row, n)
    for i in range(given):
        line(kind, count, points, <const floating*>&between[i * row], <index>LANES, y + i * yrow, ycol, n)


cdef void read_tile(int kind, index taken, index given, const floating* image, index h, index w, index c,
                    index top, index left, floating* to, index step) noexcept nogil:
    """The transform of a tile (taken, taken) of an image (H, W, C); position p goes to `to + p·step`."""
    cdef floating framed[SIDE * SIDE * LANES]
    cdef index i, j, k, n, first = 0
    cdef bint inside = top >= 0 and left >= 0 and top + taken <= h and left + taken <= w
    cdef const floating* pixel
    while first < c:
        n = min(LANES, c - first)
        if inside:
            square(kind, taken, given, image + (top * w + left) * c + first, w * c, c,
                   to + first, given * step, step, n)
        else:
            for i in range(taken):
                for j in range(taken):
                    if 0 <= top + i < h and 0 <= left + j < w:
                        pixel = image + ((top + i) * w + left + j) * c + first
                        for k in range(n):
                            framed[(i * taken + j) * LANES + k] = pixel[k]
                    else:
                        memset(&framed[(i * taken + j) * LANES], 0, n * sizeof(floating))
            square(kind, taken, given, <const floating*>&framed[0], taken * LANES, LANES,
                   to + first, given * step, step, n)
        first = first + n


cdef inline void finish(const floating* result, const floating* bias, bint relu, floating* pixel,
                        index n) noexcept nogil:
    cdef index k
    cdef floating value, zero = 0
    if relu:
        for k in range(n):
            value = result[k] + bias[k]
            pixel[k] = zero if value < zero else value    # in this order NaN stays NaN
    else:
        for k in range(n):
            pixel[k] = result[k] + bias[k]


cdef void write_outputs(const floating* source, index step, const floating* bias, bint relu, floating* image, Grid g,
                        index top, index left) noexcept nogil:
    """All positions of a tile -> its m x m outputs, plus bias (and ReLU); what is outside the image is dropped."""
    cdef floating tile[SIDE * SIDE * LANES]
    cdef index i, j, n, first = 0
    while first < g.f:
        n = min(LANES, g.f - first)
        square(OUTPUT, g.side, g.m, source + first, g.side * step, step, tile, g.m * LANES, LANES, n)
        for i in range(min(g.m, g.oh - top)):
            for j in range(min(g.m, g.ow - left)):
                finish(&tile[(i * g.m + j) * LANES], bias + first, relu,
                       image + ((top + i) * g.ow + left + j) * g.f + first, n)
        first = first + n


cdef void add_inputs(const floating* source, index step, floating* image, Grid g, index top,
                     index left) noexcept nogil:
    """Positions of a tile of dV -> its share of dx, added to the pixels that the tile had read."""
    cdef floating tile[SIDE * SIDE * LANES]
    cdef index i, j, k, n, first = 0
    cdef floating* pixel
    cdef const floating* result
    while first < g.c:
        n = min(LANES, g.c - first)
        square(INPUT_ADJOINT, g.side, g.side, source + first, g.side * step, step,
               tile, g.side * LANES, LANES, n)
        for i in range(max(-top, 0), min(g.side, g.h - top)):
            for j in range(max(-left, 0), min(g.side, g.w - left)):
                pixel = image + ((top + i) * g.w + left + j) * g.c + first
                result = &tile[(i * g.side + j) * LANES]
                for k in range(n):
                    pixel[k] += result[k]
        first = first + n


# ---------------------------------------------------------------- the tiles of an image
cdef void read_inputs_of_image(const floating* image, floating* v, index step, Grid g) noexcept nogil:
    cdef index t
    for t in range(g.tiles):
        read_tile(INPUT, g.side, g.side, image, g.h, g.w, g.c, t // g.cols * g.m - g.ph, t % g.cols * g.m - g.pw,
                  v + t * g.c, step)


cdef void read_upstream_of_image(const floating* image, floating* v, index step, Grid g) noexcept nogil:
    cdef index t
    for t in range(g.tiles):
        read_tile(OUTPUT_ADJOINT, g.m, g.side, image, g.oh, g.ow, g.f, t // g.cols * g.m, t % g.cols * g.m,
                  v + t * g.f, step)


cdef void write_outputs_of_image(const floating* v, index step, const floating* bias, bint relu, floating* image,
                                 Grid g) noexcept nogil:
    cdef index t
    for t in range(g.tiles):
        write_outputs(v + t * g.f, step, bias, relu, image, g, t // g.cols * g.m, t % g.cols * g.m)


cdef void write_inputs_of_image(const floating* v, index step, floating* image, Grid g) noexcept nogil:
    cdef index t
    memset(image, 0, g.h * g.w * g.c * sizeof(floating))
    for t in range(g.tiles):
        add_inputs(v + t * g.c, step, image, g, t // g.cols * g.m - g.ph, t % g.cols * g.m - g.pw)


# ---------------------------------------------------------------- kernels
cdef void kernel_row(int kind, index taken, index given, const floating* source, index s, floating* to, index t,
                     index f) noexcept nogil:
    """(k, k, f) -> (side, side, f) or back, for one input channel; s and t are the steps between elements."""
    cdef index first = 0, n
    while first < f:
        n = min(LANES, f - first)
        square(kind, taken, given, source + first, taken * s, s, to + first, given * t, t, n)
        first = first + n


def transform_kernel(const floating[:, :, :, ::1] w, floating[:, :, ::1] u, index m, int threads):
    """U = G w Gᵀ: w (k, k, C, F) -> u ((m + k - 1)², C, F)."""
    cdef index c, k = w.shape[0], inputs = w.shape[2], f = w.shape[3]
    if inputs == 0 or f == 0:
        return
    for c in prange(inputs, nogil=True, num_threads=threads, schedule="static"):
        kernel_row(KERNEL, k, m + k - 1, &w[0, 0, c, 0], inputs * f, &u[0, c, 0], inputs * f, f)


def transform_kernel_adjoint(const floating[:, :, ::1] du, floating[:, :, :, ::1] dw, index m, int threads):
    """dw = Gᵀ du G: du ((m + k - 1)², C, F) -> dw (k, k, C, F)."""
    cdef index c, k = dw.shape[0], inputs = dw.shape[2], f = dw.shape[3]
    if inputs == 0 or f == 0:
        return
    for c in prange(inputs, nogil=True, num_threads=threads, schedule="static"):
        kernel_row(KERNEL_ADJOINT, m + k - 1, k, &du[0, c, 0], inputs * f, &dw[0, 0, c, 0], inputs * f, f)


# ---------------------------------------------------------------- convolution
def forward(const floating[:, :, :, ::1] x, const floating[:, :, ::1] u, const floating[::1] b, bint relu,
            floating[:, :, :, ::1] y, floating[:, ::1] v, floating[:, ::1] products, index m, index ph, index pw,
            index images, int threads):
    """y (N, OH, OW, F) of x (N, H, W, C), `images` at a time.

    Room for them: v (side², at least images·tiles·C), products (side², at least images·tiles·F).
    """
    cdef Grid g = grid(m, x.shape[1], x.shape[2], x.shape[3], y.shape[1], y.shape[2], y.shape[3], ph, pw)
    cdef index start = 0, count, i, p, positions = g.side * g.side, vs = v.shape[1], ps = products.shape[1]
    while start < x.shape[0]:
        count = min(images, x.shape[0] - start)
        for i in prange(count, nogil=True, num_threads=threads, schedule="static"):
            read_inputs_of_image(&x[start + i, 0, 0, 0], &v[0, i * g.tiles * g.c], vs, g)
        for p in prange(positions, nogil=True, num_threads=threads, schedule="static"):
            gemm(NORMAL, NORMAL, count * g.tiles, g.f, g.c, &v[p, 0], g.c, &u[p, 0, 0], g.f, <floating>0,
                 &products[p, 0], g.f)
        for i in prange(count, nogil=True, num_threads=threads, schedule="static"):
            write_outputs_of_image(&products[0, i * g.tiles * g.f], ps, &b[0], relu, &y[start + i, 0, 0, 0], g)
        start = start + count


cdef void position_backward(floating* v, const floating* dm, const floating* u, floating* du, bint first, bint need_dx,
                            bint need_dw, index t, index c, index f) noexcept nogil:
    """dU += Vᵀ dM, then dV = dM Uᵀ in V's place."""
    if need_dw:
        gemm(TRANSPOSED, NORMAL, c, f, t, <const floating*>v, c, dm, f, <floating>(0 if first else 1), du, f)
    if need_dx:
        gemm(NORMAL, TRANSPOSED, t, c, f, dm, f, u, f, <floating>0, v, c)


def backward(const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] dy, const floating[:, :, ::1] u,
             floating[:, :, :, ::1] dx, floating[:, :, ::1] du, floating[:, ::1] v, floating[:, ::1] dm, index m,
             index ph, index pw, index images, bint need_dx, bint need_dw, int threads):
    """dx (N, H, W, C) and du (side², C, F) of dy (N, OH, OW, F), `images` at a time; v and dm as in forward."""
    cdef Grid g = grid(m, x.shape[1], x.shape[2], x.shape[3], dy.shape[1], dy.shape[2], dy.shape[3], ph, pw)
    cdef index start = 0, count, i, p, positions = g.side * g.side, vs = v.shape[1], ds = dm.shape[1]
    while start < x.shape[0]:
        count = min(images, x.shape[0] - start)
        for i in prange(count, nogil=True, num_threads=threads, schedule="static"):
            if need_dw:
                read_inputs_of_image(&x[start + i, 0, 0, 0], &v[0, i * g.tiles * g.c], vs, g)
            read_upstream_of_image(&dy[start + i, 0, 0, 0], &dm[0, i * g.tiles * g.f], ds, g)
        for p in prange(positions, nogil=True, num_threads=threads, schedule="static"):
            position_backward(&v[p, 0], &dm[p, 0], &u[p, 0, 0], &du[p, 0, 0], start == 0, need_dx, need_dw,
                              count * g.tiles, g.c, g.f)
        if need_dx:
            for i in prange(count, nogil=True, num_threads=threads, schedule="static"):
                write_inputs_of_image(&v[0, i * g.tiles * g.c], vs, &dx[start + i, 0, 0, 0], g)
        start = start + count
