"""Hierarchical, two-level, adaptive and sampled softmax: a loss that need not look at every class."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.functional.softmax import log_softmax_forward
from npsoftmax.kernels.tree.reference import Levels


# ---------------------------------------------------------------- step 1
def balanced(order: np.ndarray) -> np.ndarray:
    """A heap: node i has the children 2i + 1 and 2i + 2, and order[j] is the leaf at heap position C - 1 + j.

    order (C,), the classes from left to right -> children (C - 1, 2): the places of the left and the right child of
    each node, where node i is place i and class c is place C - 1 + c.
    """
    c = len(order)
    place = np.concatenate([np.arange(c - 1), c - 1 + order])  # of every position of the heap
    return place[1:].reshape(c - 1, 2)


# ---------------------------------------------------------------- step 2
def huffman(order: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Join the two rarest subtrees until one is left: no tree has a smaller Σ_c counts[c] · depth[c].

    order (C,), the classes in some order; counts (C,), by class: counts[c] is how often class c comes, whatever the
    order -> children (C - 1, 2), numbered so that every child of a node has a larger place. Where counts tie, any
    choice will do: take single classes before joined ones, and the first in `order` first, to get the library's tree.
    """
    c = len(order)
    queue = [(counts[label], j, c - 1 + label) for j, label in enumerate(order)]  # (count, turn in a tie, place)
    heapq.heapify(queue)
    children = np.empty((c - 1, 2), dtype=int)
    for node in range(c - 2, -1, -1):  # the last that is joined is the root, node 0
        left, right = heapq.heappop(queue), heapq.heappop(queue)
        children[node] = left[2], right[2]
        heapq.heappush(queue, (left[0] + right[0], 2 * c - node, node))
    return children


# ---------------------------------------------------------------- step 3
def climb(up: Array, labels: Array, levels: int) -> tuple[Array, Array]:
    """The way from the leaf of each label to the root.

    up (2C - 1,): 2 · parent + side of every place, side 1 being right, and -1 at the root; labels (N,); levels: the
    length of the longest way -> nodes (N, levels), the leaf's parent first, -1 past the root, and signs (N, levels):
    +1 where the path turns right at the node, -1 left, 0 past the root. Both hold integers.
    """
    place = labels + len(up) // 2  # C - 1 + label
    nodes = np.full((len(labels), levels), -1)
    signs = np.zeros((len(labels), levels), dtype=int)
    for level in range(levels):
        below = up[place] >= 0  # False for those that have arrived at the root
        parent, side = up[place] // 2, up[place] % 2
        nodes[below, level] = parent[below]
        signs[below, level] = 2 * side[below] - 1
        place = np.where(below, parent, 0)
    return nodes, signs


# ---------------------------------------------------------------- step 4
def path_loss_forward(z: Array, signs: Array) -> tuple[Array, Any]:
    """Mean over the samples of Σ_l softplus(-s_l · z_l) = -log Π_l σ(s_l · z_l), l running along each path.

    z (N, L) scores of the nodes on the path, s = signs (N, L): +1 where the path goes right, -1 left, 0 past its end
    -> loss (). Places past the end count nothing.
    """
    turned = -signs * z
    tail = np.exp(-np.abs(turned))
    softplus = np.maximum(turned, 0) + np.log1p(tail)
    loss = (softplus * np.abs(signs)).sum() / len(z)
    return loss, (turned, tail, signs)


def path_loss_backward(dloss: Array | float, cache: Any) -> Array:
    """Gradient of `path_loss_forward` with respect to z; exactly 0 past the end of a path. dloss () -> dz (N, L).

    Formula: dz = -s · σ(-s · z) · dloss / N, how wrong the decision was.
    """
    turned, tail, signs = cache
    sigma = np.where(turned >= 0, 1, tail) / (1 + tail)  # σ(turned), and no exponential overflows
    return -signs * sigma * dloss / len(turned)


# ---------------------------------------------------------------- step 5
def tree_log_prob(z: Array, children: Array, levels: Levels) -> Array:
    """log p of every class: log σ(±z) of every decision on the way, added up from the root, level by level.

    z (N, C - 1) scores of all inner nodes, children (C - 1, 2), levels: (first, last) of each level from the root
    down, whose nodes are first … last - 1 -> log_p (N, C).
    """
    nodes = len(children)
    log_p = np.zeros((len(z), 2 * nodes + 1), dtype=z.dtype)  # of every place; log 1 = 0 at the root
    for first, last in levels:
        here, score = log_p[:, first:last], z[:, first:last]
        log_p[:, children[first:last, 0]] = here - np.logaddexp(0, score)  # log σ(-z) = -softplus(z)
        log_p[:, children[first:last, 1]] = here - np.logaddexp(0, -score)
    return log_p[:, nodes:]


def tree_log_prob_backward(dlog_p: Array, cache: Any) -> Array:
    """Gradient of `tree_log_prob` with respect to z. dlog_p (N, C) -> dz (N, C - 1).

    Formula: dz = dright · σ(-z) - dleft · σ(z), where dright and dleft are the sums of dlog_p over the leaves below
    each child.
    """
    z, children, levels = cache
    nodes = len(children)
    below = np.zeros((len(z), 2 * nodes + 1), dtype=z.dtype)  # Σ dlog_p over the leaves below every place
    below[:, nodes:] = dlog_p
    sigma = np.exp(-np.logaddexp(0, -z))  # σ(z), and no exponential overflows
    dz = np.zeros_like(z)
    for first, last in reversed(levels):
        left, right = below[:, children[first:last, 0]], below[:, children[first:last, 1]]
        below[:, first:last] = left + right
        p_right = sigma[:, first:last]
        dz[:, first:last] = right * (1 - p_right) - left * p_right
    return dz


# ---------------------------------------------------------------- step 6
def two_level_loss_forward(z_group: Array, z_class: Array, t: Array, group: Array) -> tuple[Array, Any]:
    """Mean of -log p(group of t) - log p(t | its group): a softmax over the groups, one over the classes of the group.

    z_group (N, G), z_class (N, C), t (N,) labels, group (C,): the group of each class -> loss ().
    Scores of classes in other groups than the target's play no part.
    """
    rows = np.arange(len(t))
    g = group[t]
    log_p_group, _ = log_softmax_forward(z_group)
    inside = group == g[:, None]  # (N, C): the classes of the target's group
    log_p_class, _ = log_softmax_forward(np.where(inside, z_class, -np.inf))
    loss = -(log_p_group[rows, g] + log_p_class[rows, t]).mean()
    return loss, (np.exp(log_p_group), np.exp(log_p_class), t, g)


def two_level_loss_backward(dloss: Array | float, cache: Any) -> tuple[Array, Array]:
    """Gradients of `two_level_loss_forward`; exactly 0 in other groups. dloss () -> dz_group (N, G), dz_class (N, C).

    Formula: dz = (p - onehot) · dloss / N in each of the two cross entropies.
    """
    p_group, p_class, t, g = cache
    rows = np.arange(len(t))
    dz_group, dz_class = p_group.copy(), p_class.copy()
    dz_group[rows, g] -= 1
    dz_class[rows, t] -= 1
    return dz_group * dloss / len(t), dz_class * dloss / len(t)


# ---------------------------------------------------------------- step 7
def adaptive_loss_forward(
    h: Array, w_head: Array, proj: Array, w_tail: Array, t: Array, cutoff: int
) -> tuple[Array, Any]:
    """Mean of -log p(t): t < cutoff is in the short list, a rarer class is reached through the cluster.

    log p(t) = log softmax(h @ w_headᵀ)_t for t < cutoff, else log softmax(h @ w_headᵀ)_cutoff (the cluster's own
    place, the last one) + log softmax(h @ projᵀ @ w_tailᵀ)_{t - cutoff}.
    h (N, D), w_head (cutoff + 1, D), proj (E, D), w_tail (C - cutoff, E), t (N,) labels -> loss (). Only the samples
    with t >= cutoff are ever multiplied by proj and w_tail.
    """
    log_p_head, _ = log_softmax_forward(h @ w_head.T)
    log_p = log_p_head[np.arange(len(t)), np.minimum(t, cutoff)]
    tail = np.flatnonzero(t >= cutoff)  # the samples with a rare label
    low = h[tail] @ proj.T  # their features, projected
    log_p_tail, _ = log_softmax_forward(low @ w_tail.T)
    log_p[tail] += log_p_tail[np.arange(len(tail)), t[tail] - cutoff]
    cache = (h, w_head, proj, w_tail, t, cutoff, tail, low, np.exp(log_p_head), np.exp(log_p_tail))
    return -log_p.mean(), cache


def adaptive_loss_backward(dloss: Array | float, cache: Any) -> tuple[Array, Array, Array, Array]:
    """Gradients of `adaptive_loss_forward`.

    dloss () -> dh (N, D), dw_head (cutoff + 1, D), dproj (E, D), dw_tail (C - cutoff, E)

    Formula: dz = (p - onehot) · dloss / N for the scores of the head and, in the rows of the tail, for those of the
    tail; then back through three matrix products.
    """
    h, w_head, proj, w_tail, t, cutoff, tail, low, p_head, p_tail = cache
    dz_head, dz_tail = p_head.copy(), p_tail.copy()
    dz_head[np.arange(len(t)), np.minimum(t, cutoff)] -= 1
    dz_tail[np.arange(len(tail)), t[tail] - cutoff] -= 1
    dz_head, dz_tail = dz_head * dloss / len(t), dz_tail * dloss / len(t)
    dlow = dz_tail @ w_tail
    dh = dz_head @ w_head
    dh[tail] += dlow @ proj
    return dh, dz_head.T @ h, dlow.T @ h[tail], dz_tail.T @ low


# ---------------------------------------------------------------- step 8
def sampled_loss_forward(
    h: Array, w: Array, b: Array, t: Array, drawn: Array, log_expected: Array
) -> tuple[Array, Any]:
    """Mean of -log( e^{z_t} / (e^{z_t} + Σ_{c drawn, c ≠ t} e^{z_c - log_expected_c}) ), z = h @ wᵀ + b.

    h (N, D), w (C, D), b (C,), t (N,) labels, drawn (S,) classes, each once, log_expected (S,): the logarithm of how
    often each was expected among the draws -> loss (). A drawn class that is the target must not count twice.
    """
    z_t = (h * w[t]).sum(axis=1) + b[t]  # (N,)
    z = h @ w[drawn].T + b[drawn] - log_expected  # (N, S)
    z = np.where(drawn == t[:, None], -np.inf, z)
    log_p, _ = log_softmax_forward(np.concatenate([z_t[:, None], z], axis=1))
    return -log_p[:, 0].mean(), (h, w, t, drawn, np.exp(log_p))


def sampled_loss_backward(dloss: Array | float, cache: Any) -> tuple[Array, Array, Array]:
    """Gradients of `sampled_loss_forward`.

    dloss () -> dh (N, D), dw (C, D), db (C,), the last two 0 in every row that was neither drawn nor a target. A row
    may get several shares, and gets their sum.

    Formula: dz = (p - onehot) · dloss / N with the target in column 0; dh = Σ dz · w and dw = Σ dz · h, row by row.
    """
    h, w, t, drawn, p = cache
    dz = p * dloss / len(t)
    dz[:, 0] -= dloss / len(t)
    dz_t, dz_drawn = dz[:, :1], dz[:, 1:]
    dh = dz_t * w[t] + dz_drawn @ w[drawn]
    dw, db = np.zeros_like(w), np.zeros_like(w[:, 0])
    dw[drawn] += dz_drawn.T @ h
    db[drawn] += dz_drawn.sum(axis=0)
    np.add.at(dw, t, dz_t * h)  # += would count a label that occurs twice only once
    np.add.at(db, t, dz_t[:, 0])
    return dh, dw, db
