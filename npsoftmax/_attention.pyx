# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What a transformer block does between its matrix products: layer norm, GELU, softmax attention. float32, float64.

Design: layer norm and GELU do little arithmetic, so each value should come from memory once and go back once: a row is
normalised while it is in the first-level cache, and the exponential of GELU is a polynomial that the compiler turns
into vector instructions (libm's is called for one number at a time). Attention works on one head of one sample at a
time: its scores, ROWS queries at most, stay in the cache between the two products, and only log Σ e^z of each row is
kept; backward makes the weights from it again. Heads are runs of columns and BLAS takes any distance between rows, so
nothing of them is transposed. Threads share out rows, or heads of samples; no write is shared, and the sums over all
rows (dgamma, dbeta) are made in parts whose number is the caller's, so that the bits do not depend on the
threads. The readable version of everything here is kernels/attention_reference.py.
"""

from cython cimport floating
from cython.parallel cimport parallel, prange
from libc.math cimport erfc, log, logf, sqrt, sqrtf
from libc.stdlib cimport abort, free, malloc

from npsoftmax._arithmetic cimport added, dot, exponential
from npsoftmax._small_products cimport pack, packed_size, product

ctypedef Py_ssize_t index

cdef enum:
    BLOCK = 1024    # elements of GELU that a thread takes at a time
    ROWS = 128      # queries whose scores are in the cache at a time


# ---------------------------------------------------------------- arithmetic
cdef inline float tail32(float a, float e) noexcept nogil:
    """Φ(−a) for a >= 0, given e = exp(−a²/2): e times a polynomial in t = 1 / (1 + 0.21 a).

    Fitted to erfcx(a/√2) / 2 on 0 <= a <= 14 with the relative error spread evenly: below 2e-8.
    """
    cdef float t = 1 / (1 + <float>0.21 * a)
    cdef float q = <float>(-7.165634553e-02) * t + <float>2.835887869e-01
    q = q * t + <float>(-3.302539127e-01)
    q = q * t + <float>3.494016853e-01
    q = q * t + <float>(-9.392571825e-02)
    q = q * t + <float>1.248729634e-01
    q = q * t + <float>6.919210504e-02
    q = q * t + <float>8.506886774e-02
    q = q * t + <float>8.371157504e-02
    return e * q * t


cdef inline floating normal_cdf(floating x, floating e) noexcept nogil:
    """Φ(x), given e = exp(−x²/2)."""
    cdef floating a
    if floating is float:
        a = tail32(-x if x < 0 else x, e)
        return a if x < 0 else 1 - a
    else:
        return 0.5 * erfc(-x * 0.70710678118654752440)


cdef inline floating total(const floating* x, index n) noexcept nogil:
    cdef floating sums[16]
    cdef floating rest = 0
    cdef index i, j, whole = n - n % 16
    for j in range(16):
        sums[j] = 0
    for i in range(0, whole, 16):
        for j in range(16):
            sums[j] += x[i + j]
    for i in range(whole, n):
        rest += x[i]
    return added(sums) + rest


cdef inline floating square_total(const floating* x, floating mean, index n) noexcept nogil:
    """Σ (x − mean)²."""
    cdef floating sums[16]
    cdef floating rest = 0
    cdef index i, j, whole = n - n % 16
    for j in range(16):
        sums[j] = 0
    for i in range(0, whole, 16):
        for j in range(16):
            sums[j] += (x[i + j] - mean) * (x[i + j] - mean)
    for i in range(whole, n):
        rest += (x[i] - mean) * (x[i] - mean)
    return added(sums) + rest


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


# ---------------------------------------------------------------- layer norm
cdef void norm_row(const floating* x, const floating* gamma, const floating* beta, floating* y, floating* mean,
                   floating* scale, floating eps, index d) noexcept nogil:
    cdef floating m = total(x, d) / d, s
    cdef index j
    s = square_total(x, m, d) / d + eps
    if floating is float:
        s = 1 / sqrtf(s)
    else:
        s = 1 / sqrt(s)
    mean[0], scale[0] = m, s
    if beta is NULL:
        for j in range(d):
            y[j] = (x[j] - m) * s * gamma[j]
    else:
        for j in range(d):
            y[j] = (x[j] - m) * s * gamma[j] + beta[j]


def layer_norm(const floating[:, ::1] x, const floating[::1] gamma, const floating[::1] beta, floating[:, ::1] y,
               floating[::1] mean, floating[::1] scale, floating eps, int threads):
    """x, y (M, D), gamma (D,), beta (D,) or None, mean, scale (M,)."""
    cdef index i, d = x.shape[1]
    cdef const floating* shift = NULL
    if beta is not None:
        shift = &beta[0]
    for i in prange(x.shape[0], nogil=True, num_threads=threads, schedule="static"):
        norm_row(&x[i, 0], &gamma[0], shift, &y[i, 0], &mean[i], &scale[i], eps, d)


cdef void norm_rows_backward(const floating* dy, const floating* x, const floating* gamma, const floating* mean,
                             const floating* scale, floating* dx, floating* dgamma, floating* dbeta, index m,
                             index d) noexcept nogil:
    """Rows 0 … m−1; dgamma and dbeta are added to. dx serves as scratch for g = dy·gamma on the way."""
    cdef index i, j
    cdef floating normal, g_mean, g_normal, centre, s
    for i in range(m):
        centre, s = mean[i], scale[i]
        for j in range(d):
            dx[j] = dy[j] * gamma[j]
        for j in range(d):
            dbeta[j] += dy[j]
        for j in range(d):
            dgamma[j] += dy[j] * ((x[j] - centre) * s)
        g_mean = total(dx, d)
        g_normal = (dot(dx, x, d) - centre * g_mean) * s / d    # mean of g · x̂
        g_mean = g_mean / d
        for j in range(d):
            normal = (x[j] - centre) * s
            dx[j] = s * (dx[j] - g_mean - normal * g_normal)
        dy, x, dx = dy + d, x + d, dx + d


def layer_norm_backward(const floating[:, ::1] dy, const floating[:, ::1] x, const floating[::1] gamma,
                        const floating[::1] mean, const floating[::1] scale, floating[:, ::1] dx,
                        floating[:, ::1] dgamma, floating[:, ::1] dbeta, int threads):
    """dx (M, D); dgamma, dbeta (parts, D): zeros, and part i of the rows is added up in row i."""
    cdef index i, first, last, m = x.shape[0], d = x.shape[1], parts = dgamma.shape[0]
    for i in prange(parts, nogil=True, num_threads=threads, schedule="static"):
        first = m * i // parts
        last = m * (i + 1) // parts
        if first < last:
            norm_rows_backward(&dy[first, 0], &x[first, 0], &gamma[0], &mean[first], &scale[first], &dx[first, 0],
                               &dgamma[i, 0], &dbeta[i, 0], last - first, d)


# ---------------------------------------------------------------- GELU
cdef void gelu_block(const floating* x, floating* y, index n) noexcept nogil:
    cdef index i
    cdef floating e
    for i in range(n):
        e = exponential(-x[i] * x[i] / 2)
        y[i] = x[i] * normal_cdf(x[i], e)


cdef void gelu_block_backward(const floating* dy, const floating* x, floating* dx, index n) noexcept nogil:
    cdef index i
    cdef floating e
    for i in range(n):
        e = exponential(-x[i] * x[i] / 2)
        dx[i] = dy[i] * (normal_cdf(x[i], e) + x[i] * e * <floating>0.39894228040143267794)    # 1 / √(2π)


def gelu(const floating[::1] x, floating[::1] y, int threads):
    """y = x · Φ(x)."""
    cdef index i, n = x.shape[0]
    for i in prange((n + BLOCK - 1) // BLOCK, nogil=True, num_threads=threads, schedule="static"):
        gelu_block(&x[i * BLOCK], &y[i * BLOCK], min(<index>BLOCK, n - i * BLOCK))


def gelu_backward(const floating[::1] dy, const floating[::1] x, floating[::1] dx, int threads):
    """dx = dy · (Φ(x) + x · φ(x))."""
    cdef index i, n = x.shape[0]
    for i in prange((n + BLOCK - 1) // BLOCK, nogil=True, num_threads=threads, schedule="static"):
        gelu_block_backward(&dy[i * BLOCK], &x[i * BLOCK], &dx[i * BLOCK], min(<index>BLOCK, n - i * BLOCK))


# ---------------------------------------------------------------- attention
cdef struct Sizes:
    index t, s, d           # queries, keys, features of a head
    index q, k, v, y        # distance of two rows of queries, keys, values and outputs, in values
    index dq, dk, dv, dy    # and of their gradients


cdef inline index distance(const floating[:, :, :] x) noexcept nogil:
    return x.strides[1] // <index>sizeof(floating)


cdef void weights_of_scores(floating* z, floating* lse, index m, index s, floating scale) noexcept nogil:
    """Rows of z (M, S) become softmax(scale · z), and lse log Σ e^(scale · z)."""
    cdef index i, j
    cdef floating top, sum
    for i in range(m):
        top = largest(z, s)
        for j in range(s):
            z[j] = exponential(scale * (z[j] - top))
        sum = total(z, s)
        if floating is float:
            lse[i] = scale * top + logf(sum)
        else:
            lse[i] = scale * top + log(sum)
        sum = 1 / sum
        for j in range(s):
            z[j] *= sum
        z = z + s


cdef void head_forward(const floating* q, const floating* k, const floating* v, floating* y, floating* lse,
                       floating* room, Sizes n, floating scale) noexcept nogil:
    """One head of one sample; room: for ROWS rows of scores, and k and v packed."""
    cdef index row = 0, m
    cdef floating* z = room
    cdef floating* keys = z + min(<index>ROWS, n.t) * n.s
    cdef floating* values = keys + packed_size(n.d, n.s)
    pack(k, 1, n.k, n.d, n.s, keys)    # kᵀ
    pack(v, n.v, 1, n.s, n.d, values)
    while row < n.t:
        m = min(<index>ROWS, n.t - row)
        product(q + row * n.q, n.q, 1, keys, m, n.s, n.d, z, n.s, False)
        weights_of_scores(z, lse + row, m, n.s, scale)
        product(z, n.s, 1, values, m, n.d, n.s, y + row * n.y, n.y, False)
        row = row + m


def attention(const floating[:, :, :] q, const floating[:, :, :] k, const floating[:, :, :] v, floating[:, :, :] y,
              floating[:, :, ::1] lse, int threads):
    """q, y (N, T, D), k, v (N, S, D), lse (N, heads, T). Features lie side by side, rows any distance apart."""
    cdef index heads = lse.shape[1], i, sample, column
    cdef Sizes n
    cdef floating* room = NULL
    cdef floating scale
    n.t, n.s, n.d = q.shape[1], k.shape[1], q.shape[2] // heads
    n.q, n.k, n.v, n.y = distance(q), distance(k), distance(v), distance[floating](y)
    scale = <floating>(1 / sqrt(<double>n.d))
    with nogil, parallel(num_threads=threads):
        room = <floating*>malloc((min(<index>ROWS, n.t) * n.s + packed_size(n.d, n.s) + packed_size(n.s, n.d))
                                 * sizeof(floating))
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
    """p (M, S) holds scores z: they become softmax(scale · z), and dp the gradient of z: scale · p · (dp − dy · y)."""
    cdef index i, j
    cdef floating mean
    for i in range(m):
        mean = dot(dy, y, n.d)
        for j in range(n.s):
            p[j] = exponential(scale * p[j] - lse[i])
        for j in range(n.s):
            dp[j] = scale * p[j] * (dp[j] - mean)
        p, dp, dy, y = p + n.s, dp + n.s, dy + n.dy, y + n.y


cdef void head_backward(const floating* dy, const floating* q, const floating* k, const floating* v, const floating* y,
                        const floating* lse, floating* dq, floating* dk, floating* dv, floating* room, Sizes n,
                        floating scale) noexcept nogil:
    """One head of one sample; room: as `backward_room` says."""
    cdef index row = 0, m, most = min(<index>ROWS, n.t)
    cdef floating* p = room
    cdef floating* dz = p + most * n.s
    cdef floating* keys = dz + most * n.s
    cdef floating* turned_keys = keys + packed_size(n.s, n.d)
    cdef floating* turned_values = turned_keys + packed_size(n.d, n.s)
    cdef floating* rows = turned_values + packed_size(n.d, n.s)
    cdef bint more = False    # the first rows set dk and dv, the others add to them
    pack(k, n.k, 1, n.s, n.d, keys)
    pack(k, 1, n.k, n.d, n.s, turned_keys)
    pack(v, 1, n.v, n.d, n.s, turned_values)
    while row < n.t:
        m = min(<index>ROWS, n.t - row)
        product(q + row * n.q, n.q, 1, turned_keys, m, n.s, n.d, p, n.s, False)
        product(dy + row * n.dy, n.dy, 1, turned_values, m, n.s, n.d, dz, n.s, False)
        scores_backward(p, dz, lse + row, dy + row * n.dy, y + row * n.y, m, n, scale)
        pack(dy + row * n.dy, n.dy, 1, m, n.d, rows)
        product(p, 1, n.s, rows, n.s, n.d, m, dv, n.dv, more)
        pack(q + row * n.q, n.q, 1, m, n.d, rows)
        product(dz, 1, n.s, rows, n.s, n.d, m, dk, n.dk, more)
        product(dz, n.s, 1, keys, m, n.d, n.s, dq + row * n.dq, n.dq, False)
        more = True
        row = row + m


cdef index backward_room(Sizes n) noexcept nogil:
    """Numbers for two blocks of scores, for k packed in both ways, v, and a block of q or dy."""
    cdef index most = min(<index>ROWS, n.t)
    return 2 * most * n.s + packed_size(n.s, n.d) + 2 * packed_size(n.d, n.s) + packed_size(most, n.d)


def attention_backward(const floating[:, :, :] dy, const floating[:, :, :] q, const floating[:, :, :] k,
                       const floating[:, :, :] v, const floating[:, :, :] y, const floating[:, :, ::1] lse,
                       floating[:, :, :] dq, floating[:, :, :] dk, floating[:, :, :] dv, int threads):
    """dy, y, q, dq (N, T, D), k, v, dk, dv (N, S, D), lse (N, heads, T). Layouts as in `attention`."""
    cdef index heads = lse.shape[1], i, sample, column
    cdef Sizes n
    cdef floating* room = NULL
    cdef floating scale
    n.t, n.s, n.d = q.shape[1], k.shape[1], q.shape[2] // heads
    n.q, n.k, n.v, n.y, n.dy = distance(q), distance(k), distance(v), distance(y), distance(dy)
    n.dq, n.dk, n.dv = distance[floating](dq), distance[floating](dk), distance[floating](dv)
    scale = <floating>(1 / sqrt(<double>n.d))
    with nogil, parallel(num_threads=threads):
        room = <floating*>malloc(backward_room(n) * sizeof(floating))
        if room is NULL:
            abort()
        for i in prange(q.shape[0] * heads, schedule="static"):
            sample = i // heads
            column = i % heads * n.d
            head_backward(&dy[sample, 0, column], &q[sample, 0, column], &k[sample, 0, column], &v[sample, 0, column],
                          &y[sample, 0, column], &lse[sample, i % heads, 0], &dq[sample, 0, column],
                          &dk[sample, 0, column], &dv[sample, 0, column], room, n, scale)
        free(room)
