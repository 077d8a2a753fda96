"""Rows of a weight matrix picked for each sample, and walks through a binary tree, in readable NumPy.

These are the documentation of the kernels in `_tree.pyx`, and the fallback. A head for a million classes reads some
twenty rows of its weights for a sample:

    rows (N, L)            w (R, D)                z (N, L)
    ┌───┬───┬───┐         ┌────────────┐
    │ 7 │ 3 │ 0 │  ─────► │ row 0 3 7  │ · h[n] = │ z z z │      -1 in `rows` is an empty place: z = 0 there,
    │ 9 │ 0 │ -1│         │     0   9  │          │ z z 0 │      and no gradient
    └───┴───┴───┘         └────────────┘

The numbering of the places of a tree is explained in heads/tree.py.
"""

from __future__ import annotations

import heapq

from npsoftmax.backend import Array, array_module, to_numpy
from npsoftmax.kernels.matmul import products

Levels = list[tuple[int, int]]


# ---------------------------------------------------------------- chosen rows
def chosen_scores(h: Array, w: Array, b: Array | None, rows: Array) -> Array:
    """z[n, l] = w[rows[n, l]] · h[n] + b[rows[n, l]]. h (N, D), w (R, D), b (R,) or None, rows (N, L) -> z (N, L)."""
    z = (w[rows] @ h[:, :, None])[:, :, 0]
    if b is not None:
        z += b[rows]
    return z * (rows >= 0)


def chosen_dh(dz: Array, w: Array, rows: Array) -> Array:
    """dh[n] = Σ_l dz[n, l] w[rows[n, l]]. dz (N, L) -> dh (N, D)."""
    return ((dz * (rows >= 0))[:, None] @ w[rows])[:, 0]


def chosen_dw(dz: Array, h: Array, rows: Array) -> tuple[Array, Array, Array]:
    """Gradient of the rows that were chosen: dw[r] = Σ dz[n, l] h[n], db[r] = Σ dz[n, l] over the places of row r.

    dz (N, L), h (N, D), rows (N, L) -> sorted unique rows (K,), dw (K, D), db (K,).
    """
    xp = array_module(h)
    sample, column = xp.nonzero(rows >= 0)
    unique, place = xp.unique(rows[sample, column], return_inverse=True)
    share = xp.zeros(len(unique) * len(h), dtype=h.dtype)  # of each sample in each row, also if it chose one twice
    xp.add.at(share, place * len(h) + sample, dz[sample, column])
    share = share.reshape(len(unique), len(h))
    return unique, share @ h, share.sum(axis=1)


def subtract_rows(p: Array, rows: Array, values: Array, factor: float) -> None:
    """p[rows] -= factor · values, in place. p (R, …), rows (K,) unique, values (K, …)."""
    p[rows] -= values * array_module(p).asarray(factor, dtype=p.dtype)


def write_rows(p: Array, rows: Array, values: Array) -> None:
    """p[rows] = values, in place. p (R, …), rows (K,) unique, values (K, …)."""
    p[rows] = values


def sum_rows(rows: Array, values: Array) -> tuple[Array, Array]:
    """The sum of the values of each row, at the first place of that row: as long as before, whatever rows there are.

    rows (M,), -1 for none, values (M, …) -> rows (M,), -1 at all other places, and sums (M, …), 0 there.
    """
    xp = array_module(values)
    same = rows[:, None] == rows
    first = (same.argmax(axis=1) == xp.arange(len(rows))) & (rows >= 0)
    sums = (same & first[:, None]).astype(values.dtype) @ values.reshape(len(values), -1)
    return xp.where(first, rows, -1), sums.reshape(values.shape)


# ---------------------------------------------------------------- trees
def climb(up: Array, labels: Array, levels: int) -> tuple[Array, Array]:
    """The way from each leaf to the root.

    up (2C - 1,), labels (N,), levels: the longest way -> nodes (N, levels), -1 past the root, and signs (N, levels):
    +1 where the path turns right at the node, -1 left, 0 past the root.
    """
    xp = array_module(up)
    place = labels.astype(xp.int64) + len(up) // 2
    nodes, signs = [], []
    for _ in range(levels):
        link = up[place]
        nodes.append(link >> 1)  # -1 stays -1
        signs.append(xp.where(link < 0, 0, 2 * (link & 1) - 1))
        place = xp.maximum(link >> 1, 0)
    return xp.stack(nodes, axis=1), xp.stack(signs, axis=1)


def path_losses(z: Array, signs: Array) -> Array:
    """Σ_l softplus(-s_l·z_l) along each path. z (N, L), signs (N, L): +1 right, -1 left, 0 past the end -> (N,)."""
    xp = array_module(z)
    flipped = -signs * z
    return (xp.maximum(flipped, 0) + xp.log1p(xp.exp(-xp.abs(flipped))) * xp.abs(signs)).sum(axis=1)


def path_slopes(z: Array, signs: Array) -> Array:
    """-s·σ(-s·z), what z adds to its path's loss. z, signs as in `path_losses` -> (N, L)."""
    xp = array_module(z)
    flipped = -signs * z
    tail = xp.exp(-xp.abs(flipped))
    return -signs * xp.where(flipped >= 0, 1, tail) / (1 + tail)


def all_scores(h: Array, w: Array, b: Array | None) -> Array:
    """z = h @ wᵀ + b. h (N, D), w (R, D), b (R,) or None -> z (N, R)."""
    z = products(h, w.T)
    return z if b is None else z + b


def tree_log_prob(z: Array, children: Array, levels: Levels) -> Array:
    """log p of every class: minus the softplus of every decision on the way, added up from the root, level by level.

    z (N, C - 1) scores of all inner nodes, children (C - 1, 2), levels: first and one past the last node of each
    -> (N, C).
    """
    xp = array_module(z)
    inner = len(children)
    reach = xp.zeros((z.shape[0], 2 * inner + 1), dtype=z.dtype)  # log p of every place
    for first, last in levels:
        here, level = reach[:, first:last], z[:, first:last]
        reach[:, children[first:last, 0]] = here - xp.logaddexp(level, 0)  # left: log σ(-z) = -softplus(z)
        reach[:, children[first:last, 1]] = here - xp.logaddexp(-level, 0)
    return reach[:, inner:]


def best_first(h: Array, w: Array, b: Array | None, children: Array, k: int, limit: int) -> Array:
    """The k most probable classes without scoring all: always open the most probable place that is known.

    log p of a place is never above that of its parent. So when a leaf comes out of the queue, nothing that is still in
    there can beat it. The queue puts an inner node before a leaf of the same log p, and leaves by label: ties go to the
    lowest label. A sample that would open more than `limit` nodes gets -1 (its classes are nearly equally probable).

    h (N, D), w (C - 1, D), b (C - 1,) or None, children (C - 1, 2) -> labels (N, k), best first.
    """
    xp = array_module(h)
    inner, below = len(children), to_numpy(children).tolist()
    labels = xp.full((len(h), k), -1)
    for n in range(len(h)):
        found: list[int] = []
        queue, opened = [(0.0, 0)], 0
        while queue and len(found) < k:
            cost, place = heapq.heappop(queue)  # cost = -log p
            if place >= inner:
                found.append(place - inner)
                continue
            if opened == limit:
                break
            opened += 1
            z = w[place] @ h[n] + (0 if b is None else b[place])
            for child, flipped in zip(below[place], (z, -z), strict=True):
                heapq.heappush(queue, (float(cost + xp.logaddexp(flipped, 0)), child))
        if len(found) == k:
            labels[n] = xp.asarray(found)
    return labels
