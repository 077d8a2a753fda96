# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Chosen rows of a weight matrix, and walks through a binary tree, for heads of very many classes. float32 and float64.

Design: the weights of a million classes don't fit into any cache, so a step is as fast as it reads rows from memory:
every row that a sample needs is read once, where it lies, with no copy. A score is always summed by `dot`, in one
fixed order, whoever asks for it; so the search and the full log-probabilities agree to the last bit. Samples are
shared out among the threads; the gradient of a row is summed by one thread in the order of the samples, so that it has
the same bits for any number of threads. The readable version of everything here is reference.py.
"""

from cython cimport floating
from cython.parallel cimport parallel, prange, threadid
from libc.math cimport exp, expf, log1p, log1pf
from libc.stdint cimport int64_t
from libc.stdlib cimport free, realloc

from npsoftmax.kernels._arithmetic cimport dot

import numpy as np

ctypedef Py_ssize_t index

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define NPSOFTMAX_FETCH(address) __builtin_prefetch(address)
    #else
    #define NPSOFTMAX_FETCH(address) ((void)0)
    #endif
    """
    void NPSOFTMAX_FETCH(const void* address) noexcept nogil

# Samples that climb together, so that the waits for their reads of the tree overlap.
cdef index SAMPLES = 32

# Nodes whose weights stay in the second-level cache while all samples are multiplied by them.
cdef index NODES = 64


# ---------------------------------------------------------------- arithmetic
cdef void add_scaled(floating* to, floating factor, const floating* x, index n) noexcept nogil:
    cdef index i
    for i in range(n):
        to[i] += factor * x[i]


cdef void scale(floating* to, floating factor, const floating* x, index n) noexcept nogil:
    cdef index i
    for i in range(n):
        to[i] = factor * x[i]


cdef void weighted_sum(floating* to, const floating* factors, const int64_t* rows, const floating* w, index count,
                       index d) noexcept nogil:
    """to (D,) = Σ factors · rows of w, sixteen columns at a time: these stay in registers. -1 is no row."""
    cdef floating sums[16]
    cdef const floating* row
    cdef index i, j, k, whole = d - d % 16
    for i in range(0, whole, 16):
        for j in range(16):
            sums[j] = 0
        for k in range(count):
            if rows[k] >= 0:
                row = w + rows[k] * d + i
                for j in range(16):
                    sums[j] += factors[k] * row[j]
        for j in range(16):
            to[i + j] = sums[j]
    for i in range(whole, d):
        to[i] = 0
        for k in range(count):
            if rows[k] >= 0:
                to[i] += factors[k] * w[rows[k] * d + i]


cdef floating score(const floating* h, const floating* w, const floating* b, index row, index d) noexcept nogil:
    cdef floating z = dot(h, w + row * d, d)
    if b is not NULL:
        z += b[row]
    return z


cdef inline void fetch(const floating* x, index n) noexcept nogil:
    """Start to read a row that is needed soon: rows lie far apart, and no processor can predict which comes next."""
    cdef const char* start = <const char*>x
    cdef index i
    for i in range(0, n * <index>sizeof(floating), 64):    # a cache line
        NPSOFTMAX_FETCH(start + i)


cdef floating softplus(floating x) noexcept nogil:
    """log(1 + eˣ) without overflow."""
    cdef floating positive = x if x > 0 else 0, small = -x if x > 0 else x
    if floating is float:
        return positive + log1pf(expf(small))
    else:
        return positive + log1p(exp(small))


# ---------------------------------------------------------------- chosen rows
def chosen_scores(const floating[:, ::1] h, const floating[:, ::1] w, const floating[::1] b, const int64_t[:, ::1] rows,
                  floating[:, ::1] z, int threads):
    """z (N, L): h[n] · w[rows[n, l]] + b[rows[n, l]], 0 where the row is -1. b may be None."""
    cdef index n, l, d = h.shape[1], chosen = rows.shape[1]
    cdef const floating* bias = NULL
    if b is not None:
        bias = &b[0]
    for n in prange(h.shape[0], nogil=True, num_threads=threads, schedule="static"):
        for l in range(chosen):
            if l + 1 < chosen and rows[n, l + 1] >= 0:
                fetch(&w[rows[n, l + 1], 0], d)
            z[n, l] = 0 if rows[n, l] < 0 else score(&h[n, 0], &w[0, 0], bias, rows[n, l], d)


def chosen_dh(const floating[:, ::1] dz, const floating[:, ::1] w, const int64_t[:, ::1] rows, floating[:, ::1] dh,
              int threads):
    """dh (N, D): the rows of each sample, weighted by dz (N, L)."""
    cdef index n, chosen = rows.shape[1]
    for n in prange(dh.shape[0], nogil=True, num_threads=threads, schedule="static"):
        weighted_sum(&dh[n, 0], &dz[n, 0], &rows[n, 0], &w[0, 0], chosen, dh.shape[1])


def chosen_dw(const floating[::1] dz, const floating[:, ::1] h, const int64_t[::1] places, const int64_t[::1] starts,
              floating[:, ::1] dw, floating[::1] db, int threads):
    """dw (K, D), db (K,): row k is the sum over places[starts[k]] … places[starts[k + 1] - 1] of dz, times h for dw.

    dz (N·L,); place p belongs to sample p // L.
    """
    cdef index k, i, d = h.shape[1], chosen = dz.shape[0] // h.shape[0]
    for k in prange(dw.shape[0], nogil=True, num_threads=threads, schedule="dynamic", chunksize=32):
        i = starts[k]
        scale(&dw[k, 0], dz[places[i]], &h[places[i] // chosen, 0], d)
        db[k] = dz[places[i]]
        for i in range(starts[k] + 1, starts[k + 1]):
            add_scaled(&dw[k, 0], dz[places[i]], &h[places[i] // chosen, 0], d)
            db[k] += dz[places[i]]


def subtract_rows(floating[:, ::1] p, const int64_t[::1] rows, const floating[:, ::1] values, double factor, int threads):
    """p[rows] -= factor · values, in place; rows (K,) unique."""
    cdef index k
    cdef floating step = <floating>factor
    for k in prange(rows.shape[0], nogil=True, num_threads=threads, schedule="static"):
        add_scaled(&p[rows[k], 0], -step, &values[k, 0], p.shape[1])


# ---------------------------------------------------------------- trees
def climb(const int64_t[::1] up, const int64_t[::1] labels, int64_t[:, ::1] nodes, floating[:, ::1] signs, int threads):
    """nodes and signs (N, L) from each leaf to the root; -1 and 0 past the root."""
    cdef index block, n, l, place, link, inner = up.shape[0] // 2, count = labels.shape[0]
    for block in prange((count + SAMPLES - 1) // SAMPLES, nogil=True, num_threads=threads, schedule="static"):
        for l in range(nodes.shape[1]):
            for n in range(block * SAMPLES, min((block + 1) * SAMPLES, count)):
                place = max(nodes[n, l - 1], 0) if l else inner + labels[n]
                link = min(up[place], 2 * inner - 1)    # a damaged file must not lead out of the array
                nodes[n, l] = link >> 1
                signs[n, l] = 0 if link < 0 else 2 * (link & 1) - 1


def all_scores(const floating[:, ::1] h, const floating[:, ::1] w, const floating[::1] b, floating[:, ::1] z, int threads):
    """z (N, R) = h @ wᵀ + b, summed as everywhere here. b may be None."""
    cdef index block, n, row, d = h.shape[1], count = w.shape[0], blocks = (count + NODES - 1) // NODES
    cdef const floating* bias = NULL
    if b is not None:
        bias = &b[0]
    for block in prange(blocks, nogil=True, num_threads=threads, schedule="static"):
        for n in range(h.shape[0]):
            for row in range(block * NODES, min((block + 1) * NODES, count)):
                z[n, row] = score(&h[n, 0], &w[0, 0], bias, row, d)


cdef void descend(const floating* z, const int64_t* children, index inner, floating* reach, floating* out) noexcept nogil:
    """log p of all places of one sample; `reach` (inner,) is room for those of the inner nodes."""
    cdef index node, side, child
    cdef floating value
    reach[0] = 0
    for node in range(inner):
        for side in range(2):
            child = children[2 * node + side]
            value = reach[node] - softplus(-z[node] if side else z[node])
            if 0 <= child < inner:
                reach[child] = value
            elif inner <= child <= 2 * inner:
                out[child - inner] = value


def tree_log_prob(const floating[:, ::1] z, const int64_t[:, ::1] children, floating[:, ::1] out, int threads):
    """out (N, C): log p of every class; z (N, C - 1)."""
    cdef index n, inner = children.shape[0]
    cdef floating[:, ::1] reach = np.empty((threads, inner), dtype=np.asarray(out).dtype)
    with nogil, parallel(num_threads=threads):
        for n in prange(z.shape[0], schedule="static"):
            descend(&z[n, 0], &children[0, 0], inner, &reach[threadid(), 0], &out[n, 0])


# ---------------------------------------------------------------- search
cdef struct Place:
    double log_p
    index place


cdef inline bint before(Place a, Place b) noexcept nogil:
    """Inner nodes have lower numbers than leaves, and leaves are in the order of their labels."""
    return a.log_p > b.log_p or (a.log_p == b.log_p and a.place < b.place)


cdef void push(Place* queue, index size, Place new) noexcept nogil:
    """Into a binary heap of `size` places that has room for one more."""
    cdef index at = size, parent
    while at > 0:
        parent = (at - 1) // 2
        if not before(new, queue[parent]):
            break
        queue[at] = queue[parent]
        at = parent
    queue[at] = new


cdef Place pop(Place* queue, index size) noexcept nogil:
    """The first of `size` places; the rest stay a heap."""
    cdef Place first = queue[0], last = queue[size - 1]
    cdef index at = 0, child = 1
    while child < size - 1:
        if child + 1 < size - 1 and before(queue[child + 1], queue[child]):
            child = child + 1
        if not before(queue[child], last):
            break
        queue[at] = queue[child]
        at = child
        child = 2 * at + 1
    queue[at] = last
    return first


cdef int search(const floating* h, const floating* w, const floating* b, const int64_t* children, index inner, index d,
                index k, index limit, int64_t* labels) noexcept nogil:
    """Fill labels (k,), or return 1 after `limit` nodes (and for a damaged tree), 2 when there is no memory."""
    cdef index size = 0, room = 0, found = 0, opened = 0, side
    cdef Place* queue = NULL
    cdef Place* larger
    cdef Place here, below
    cdef floating z
    cdef int outcome = 0
    here.log_p, here.place = 0, 0
    while True:
        if inner <= here.place <= 2 * inner:
            labels[found] = here.place - inner
            found += 1
            if found == k:
                break
        elif opened == limit or not 0 <= here.place < inner:
            outcome = 1
            break
        else:
            opened += 1
            if size + 2 > room:
                room = 2 * room + 64
                larger = <Place*>realloc(queue, room * sizeof(Place))
                if larger is NULL:
                    outcome = 2
                    break
                queue = larger
            z = score(h, w, b, here.place, d)
            for side in range(2):
                below.place = children[2 * here.place + side]
                below.log_p = <floating>here.log_p - softplus(-z if side else z)
                push(queue, size, below)
                size += 1
        if size == 0:
            outcome = 1
            break
        here = pop(queue, size)
        size -= 1
    free(queue)
    return outcome


def best_first(const floating[:, ::1] h, const floating[:, ::1] w, const floating[::1] b, const int64_t[:, ::1] children,
               index limit, int64_t[:, ::1] labels, int threads):
    """labels (N, k), best first; the first is -1 for a sample that would open more than `limit` nodes. b may be None."""
    cdef index n, inner = children.shape[0], d = h.shape[1], k = labels.shape[1]
    cdef const floating* bias = NULL
    if b is not None:
        bias = &b[0]
    cdef int outcome, failed = 0
    for n in prange(h.shape[0], nogil=True, num_threads=threads, schedule="dynamic"):
        outcome = search(&h[n, 0], &w[0, 0], bias, &children[0, 0], inner, d, k, limit, &labels[n, 0])
        if outcome:
            labels[n, 0] = -1
        failed += outcome == 2
    if failed:
        raise MemoryError("no memory left for the queues of the search")
