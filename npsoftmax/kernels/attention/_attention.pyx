# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Softmax attention of all heads. float32 and float64.

Design: one head of one sample at a time: its scores, ROWS queries at most, stay in the cache between the two products,
and only log Σ e^z of each row is kept; backward makes the weights from it again. Heads are runs of columns and BLAS
takes any distance between rows, so nothing of them is transposed. Threads share out the heads of the samples; no write
is shared. The readable version is reference.py.
"""

cdef extern from *:
    """
    #define NPSOFTMAX_AHEAD
    """

from cython cimport floating
from cython.parallel cimport parallel, prange
from libc.math cimport log, logf, sqrt
from libc.stdlib cimport abort, free, malloc

from npsoftmax.kernels._arithmetic cimport dot, exponential, total
from npsoftmax.kernels._small_products cimport LINE, on_a_line, pack, packed_size, product

ctypedef Py_ssize_t index

cdef enum:
    ROWS = 128      # queries whose scores are in the cache at a time
    VECTOR = 16     # scores, of which a row is made a multiple: what follows the last one is computed, and not looked at


cdef inline floating largest(const floating* x, index n) noexcept nogil:
    cdef floating tops[16]
    cdef floating top = x[0]
    cdef index i, j, whole = n - n % 16
    for j in range(16):
        tops[j] = top
    for i in range(0, whole, 16):
        for j in range(16):
            tops[j] = x[i + j] if x[i + j] > tops[j] else tops[j]
    for j in range(16):
        top = tops[j] if tops[j] > top else top
    for i in range(whole, n):
        top = x[i] if x[i] > top else top
    return top


cdef struct Sizes:
    index t, s, d           # queries, keys, features of a head
    index row               # distance of two rows of scores: s rounded up to whole vectors
    index q, k, v, y        # distance of two rows of queries, keys, values and outputs, in values
    index dq, dk, dv, dy    # and of their gradients


cdef inline index distance(const floating[:, :, :] x) noexcept nogil:
    return x.strides[1] // <index>sizeof(floating)


cdef inline index row_of_scores(index s) noexcept nogil:
    return (s + VECTOR - 1) // VECTOR * VECTOR


cdef void weights_of_scores(floating* z, floating* lse, index m, Sizes n, floating scale) noexcept nogil:
    """Rows of z (M, S) become softmax(scale · z), and lse log Σ e^(scale · z)."""
    cdef index i, j
    cdef floating top, sum
    for i in range(m):
        top = largest(z, n.s)
        for j in range(n.row):
            z[j] = exponential(scale * (z[j] - top))
        sum = total(z, n.s)
        if floating is float:
            lse[i] = scale * top + logf(sum)
        else:
            lse[i] = scale * top + log(sum)
        sum = 1 / sum
        for j in range(n.row):
            z[j] *= sum
        z = z + n.row


cdef void head_forward(const floating* q, const floating* k, const floating* v, floating* y, floating* lse,
                       floating* room, Sizes n, floating scale) noexcept nogil:
    """One head of one sample; room: for ROWS rows of scores, and k and v packed."""
    cdef index row = 0, m
    cdef floating* z = on_a_line(room)
    cdef floating* keys = z + min(<index>ROWS, n.t) * n.row
    cdef floating* values = keys + packed_size(n.d, n.s)
    pack(k, 1, n.k, n.d, n.s, keys)    # kᵀ
    pack(v, n.v, 1, n.s, n.d, values)
    while row < n.t:
        m = min(<index>ROWS, n.t - row)
        product(q + row * n.q, n.q, 1, keys, m, n.s, n.d, z, n.row, False)
        weights_of_scores(z, lse + row, m, n, scale)
        product(z, n.row, 1, values, m, n.d, n.s, y + row * n.y, n.y, False)
        row = row + m


def attention(const floating[:, :, :] q, const floating[:, :, :] k, const floating[:, :, :] v, floating[:, :, :] y,
              floating[:, :, ::1] lse, int threads):
    """q, y (N, T, D), k, v (N, S, D), lse (N, heads, T). Features lie side by side, rows any distance apart."""
    cdef index heads = lse.shape[1], i, sample, column
    cdef Sizes n
    cdef floating* room = NULL
    cdef floating scale
    n.t, n.s, n.d, n.row = q.shape[1], k.shape[1], q.shape[2] // heads, row_of_scores(k.shape[1])
    n.q, n.k, n.v, n.y = distance(q), distance(k), distance(v), distance[floating](y)
    scale = <floating>(1 / sqrt(<double>n.d))
    with nogil, parallel(num_threads=threads):
        room = <floating*>malloc((min(<index>ROWS, n.t) * n.row + packed_size(n.d, n.s) + packed_size(n.s, n.d))
                                 * sizeof(floating) + LINE)
        if room is NULL:
            abort()
        for i in prange(q.shape[0] * heads, schedule="static"):
            sample = i // heads
            column = i % heads * n.d
            head_forward(&q[sample, 0, column], &k[sample, 0, column], &v[sample, 0, column], &y[sample, 0, column],
                         &lse[sample, i % heads, 0], room, n, scale)
        free(room)


cdef void scores_backward(floating* p, floating* dp, const floating* lse, const floating* dy, const floating* y,
                          index m, Sizes n, floating scale) noexcept nogil:
    """p (M, S) holds scores z: they become softmax(scale · z), and dp the gradient of z: scale · p · (dp - dy · y)."""
    cdef index i, j
    cdef floating mean
    for i in range(m):
        mean = dot(dy, y, n.d)
        for j in range(n.row):
            p[j] = exponential(scale * p[j] - lse[i])
        for j in range(n.row):
            dp[j] = scale * p[j] * (dp[j] - mean)
        p, dp, dy, y = p + n.row, dp + n.row, dy + n.dy, y + n.y


cdef void head_backward(const floating* dy, const floating* q, const floating* k, const floating* v, const floating* y,
                        const floating* lse, floating* dq, floating* dk, floating* dv, floating* room, Sizes n,
                        floating scale) noexcept nogil:
    """One head of one sample; room: as `backward_room` says."""
    cdef index row = 0, m, most = min(<index>ROWS, n.t)
    cdef floating* p = on_a_line(room)
    cdef floating* dz = p + most * n.row
    cdef floating* keys = dz + most * n.row
    cdef floating* transposed_keys = keys + packed_size(n.s, n.d)
    cdef floating* transposed_values = transposed_keys + packed_size(n.d, n.s)
    cdef floating* rows = transposed_values + packed_size(n.d, n.s)
    cdef bint more = False    # the first rows set dk and dv, the others add to them
    pack(k, n.k, 1, n.s, n.d, keys)
    pack(k, 1, n.k, n.d, n.s, transposed_keys)
    pack(v, 1, n.v, n.d, n.s, transposed_values)
    while row < n.t:
        m = min(<index>ROWS, n.t - row)
        product(q + row * n.q, n.q, 1, transposed_keys, m, n.s, n.d, p, n.row, False)
        product(dy + row * n.dy, n.dy, 1, transposed_values, m, n.s, n.d, dz, n.row, False)
        scores_backward(p, dz, lse + row, dy + row * n.dy, y + row * n.y, m, n, scale)
        pack(dy + row * n.dy, n.dy, 1, m, n.d, rows)
        product(p, 1, n.row, rows, n.s, n.d, m, dv, n.dv, more)
        pack(q + row * n.q, n.q, 1, m, n.d, rows)
        product(dz, 1, n.row, rows, n.s, n.d, m, dk, n.dk, more)
        product(dz, n.row, 1, keys, m, n.d, n.s, dq + row * n.dq, n.dq, False)
        more = True
        row = row + m


cdef index backward_room(Sizes n) noexcept nogil:
    """Numbers for two blocks of scores, for k packed in both ways, v, and a block of q or dy."""
    cdef index most = min(<index>ROWS, n.t)
    return 2 * most * n.row + packed_size(n.s, n.d) + 2 * packed_size(n.d, n.s) + packed_size(most, n.d)


def attention_backward(const floating[:, :, :] dy, const floating[:, :, :] q, const floating[:, :, :] k,
                       const floating[:, :, :] v, const floating[:, :, :] y, const floating[:, :, ::1] lse,
                       floating[:, :, :] dq, floating[:, :, :] dk, floating[:, :, :] dv, int threads):
    """dy, y, q, dq (N, T, D), k, v, dk, dv (N, S, D), lse (N, heads, T). Layouts as in `attention`."""
    cdef index heads = lse.shape[1], i, sample, column
    cdef Sizes n
    cdef floating* room = NULL
    cdef floating scale
    n.t, n.s, n.d, n.row = q.shape[1], k.shape[1], q.shape[2] // heads, row_of_scores(k.shape[1])
    n.q, n.k, n.v, n.y, n.dy = distance(q), distance(k), distance(v), distance(y), distance(dy)
    n.dq, n.dk, n.dv = distance[floating](dq), distance[floating](dk), distance[floating](dv)
    scale = <floating>(1 / sqrt(<double>n.d))
    with nogil, parallel(num_threads=threads):
        room = <floating*>malloc(backward_room(n) * sizeof(floating) + LINE)
        if room is NULL:
            abort()
        for i in prange(q.shape[0] * heads, schedule="static"):
            sample = i // heads
            column = i % heads * n.d
            head_backward(&dy[sample, 0, column], &q[sample, 0, column], &k[sample, 0, column], &v[sample, 0, column],
                          &y[sample, 0, column], &lse[sample, i % heads, 0], &dq[sample, 0, column],
                          &dk[sample, 0, column], &dv[sample, 0, column], room, n, scale)
        free(room)
