"""Hierarchical, two-level, adaptive and sampled softmax: a loss that need not look at every class.

Replace each `raise NotImplementedError`, then type

    npsoftmax grade a5

The page that goes with it: README.md in this folder.

Array is a NumPy array. Its shape is in the docstring: (N,) is a vector, () a single number, and (…, C) has any axes
before the last one. If float32 comes in, let float32 go out: the page says how.
Levels is a list of pairs of ints. heapq, of Python, may help with `huffman`.

    log_softmax_forward(z) -> y, cache

is that of a1, along the last axis: y is what you need. A score of -inf is fine: its class has probability 0.
"""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.functional.softmax import log_softmax_forward
from npsoftmax.kernels.tree.reference import Levels


def balanced(order: np.ndarray) -> np.ndarray:
    """A heap: node i has the children 2i + 1 and 2i + 2, and order[j] is the leaf at heap position C - 1 + j.

    order (C,), the classes from left to right -> children (C - 1, 2): the places of the left and the right child of
    each node, where node i is place i and class c is place C - 1 + c.
    """
    raise NotImplementedError("a5 balanced")  # return children


def huffman(order: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Join the two rarest subtrees until one is left: no tree has a smaller Σ_c counts[c] · depth[c].

    order (C,), the classes in some order; counts (C,), by class: counts[c] is how often class c comes, whatever the
    order -> children (C - 1, 2), numbered so that every child of a node has a larger place. Where counts tie, any
    choice will do: take single classes before joined ones, and the first in `order` first, to get the library's tree.
    """
    raise NotImplementedError("a5 huffman")  # return children


def climb(up: Array, labels: Array, levels: int) -> tuple[Array, Array]:
    """The way from the leaf of each label to the root.

    up (2C - 1,): 2 · parent + side of every place, side 1 being right, and -1 at the root; labels (N,); levels: the
    length of the longest way -> nodes (N, levels), the leaf's parent first, -1 past the root, and signs (N, levels):
    +1 where the path turns right at the node, -1 left, 0 past the root. Both hold integers.
    """
    raise NotImplementedError("a5 climb")  # return nodes, signs


def path_loss_forward(z: Array, signs: Array) -> tuple[Array, Any]:
    """Mean over the samples of Σ_l softplus(-s_l · z_l) = -log Π_l σ(s_l · z_l), l running along each path.

    z (N, L) scores of the nodes on the path, s = signs (N, L): +1 where the path goes right, -1 left, 0 past its end
    -> loss (). Places past the end count nothing.
    """
    # The cache is (turned, tail, signs), each (N, L): turned = -s · z, tail = e^-|turned|.
    raise NotImplementedError("a5 path_loss_forward")  # return loss, cache


def path_loss_backward(dloss: Array | float, cache: Any) -> Array:
    """Gradient of `path_loss_forward` with respect to z; exactly 0 past the end of a path. dloss () -> dz (N, L).

    Formula: dz = -s · σ(-s · z) · dloss / N, how wrong the decision was.
    """
    # The cache is (turned, tail, signs), each (N, L): turned = -s · z, tail = e^-|turned|.
    turned, tail, signs = cache
    raise NotImplementedError("a5 path_loss_backward")  # return dz


def tree_log_prob(z: Array, children: Array, levels: Levels) -> Array:
    """log p of every class: log σ(±z) of every decision on the way, added up from the root, level by level.

    z (N, C - 1) scores of all inner nodes, children (C - 1, 2), levels: (first, last) of each level from the root
    down, whose nodes are first … last - 1 -> log_p (N, C).
    """
    raise NotImplementedError("a5 tree_log_prob")  # return log_p


def tree_log_prob_backward(dlog_p: Array, cache: Any) -> Array:
    """Gradient of `tree_log_prob` with respect to z. dlog_p (N, C) -> dz (N, C - 1).

    Formula: dz = dright · σ(-z) - dleft · σ(z), where dright and dleft are the sums of dlog_p over the leaves below
    each child.
    """
    # The cache is (z, children, levels): what tree_log_prob was given.
    z, children, levels = cache
    raise NotImplementedError("a5 tree_log_prob_backward")  # return dz


def two_level_loss_forward(z_group: Array, z_class: Array, t: Array, group: Array) -> tuple[Array, Any]:
    """Mean of -log p(group of t) - log p(t | its group): a softmax over the groups, one over the classes of the group.

    z_group (N, G), z_class (N, C), t (N,) labels, group (C,): the group of each class -> loss ().
    Scores of classes in other groups than the target's play no part.
    """
    # The cache is (p_group, p_class, t, g): p_group (N, G), the softmax of z_group; p_class (N, C), that of z_class
    # among the classes of the target's group, 0 elsewhere; g (N,) = group[t].
    raise NotImplementedError("a5 two_level_loss_forward")  # return loss, cache


def two_level_loss_backward(dloss: Array | float, cache: Any) -> tuple[Array, Array]:
    """Gradients of `two_level_loss_forward`; exactly 0 in other groups. dloss () -> dz_group (N, G), dz_class (N, C).

    Formula: dz = (p - onehot) · dloss / N in each of the two cross entropies.
    """
    # The cache is (p_group, p_class, t, g): p_group (N, G), the softmax of z_group; p_class (N, C), that of z_class
    # among the classes of the target's group, 0 elsewhere; g (N,) = group[t].
    p_group, p_class, t, g = cache
    raise NotImplementedError("a5 two_level_loss_backward")  # return dz_group, dz_class


def adaptive_loss_forward(
    h: Array, w_head: Array, proj: Array, w_tail: Array, t: Array, cutoff: int
) -> tuple[Array, Any]:
    """Mean of -log p(t): t < cutoff is in the short list, a rarer class is reached through the cluster.

    log p(t) = log softmax(h @ w_headᵀ)_t for t < cutoff, else log softmax(h @ w_headᵀ)_cutoff (the cluster's own
    place, the last one) + log softmax(h @ projᵀ @ w_tailᵀ)_{t - cutoff}.
    h (N, D), w_head (cutoff + 1, D), proj (E, D), w_tail (C - cutoff, E), t (N,) labels -> loss (). Only the samples
    with t >= cutoff are ever multiplied by proj and w_tail.
    """
    # The cache is (h, w_head, proj, w_tail, t, cutoff, tail, low, p_head, p_tail): six as they came in; tail (R,),
    # the numbers of the R >= 0 rows with t >= cutoff; low (R, E) = h[tail] @ projᵀ; p_head (N, cutoff + 1) and p_tail
    # (R, C - cutoff), the two softmaxes.
    raise NotImplementedError("a5 adaptive_loss_forward")  # return loss, cache


def adaptive_loss_backward(dloss: Array | float, cache: Any) -> tuple[Array, Array, Array, Array]:
    """Gradients of `adaptive_loss_forward`.

    dloss () -> dh (N, D), dw_head (cutoff + 1, D), dproj (E, D), dw_tail (C - cutoff, E)

    Formula: dz = (p - onehot) · dloss / N for the scores of the head and, in the rows of the tail, for those of the
    tail; then back through three matrix products.
    """
    # The cache is (h, w_head, proj, w_tail, t, cutoff, tail, low, p_head, p_tail): six as they came in; tail (R,),
    # the numbers of the R >= 0 rows with t >= cutoff; low (R, E) = h[tail] @ projᵀ; p_head (N, cutoff + 1) and p_tail
    # (R, C - cutoff), the two softmaxes.
    h, w_head, proj, w_tail, t, cutoff, tail, low, p_head, p_tail = cache
    raise NotImplementedError("a5 adaptive_loss_backward")  # return dh, dw_head, dproj, dw_tail


def sampled_loss_forward(
    h: Array, w: Array, b: Array, t: Array, drawn: Array, log_expected: Array
) -> tuple[Array, Any]:
    """Mean of -log( e^{z_t} / (e^{z_t} + Σ_{c drawn, c ≠ t} e^{z_c - log_expected_c}) ), z = h @ wᵀ + b.

    h (N, D), w (C, D), b (C,), t (N,) labels, drawn (S,) classes, each once, log_expected (S,): the logarithm of how
    often each was expected among the draws -> loss (). A drawn class that is the target must not count twice.
    """
    # The cache is (h, w, t, drawn, p): p (N, 1 + S), the probability of the target first, then those of the drawn
    # classes; the others as they came in.
    raise NotImplementedError("a5 sampled_loss_forward")  # return loss, cache


def sampled_loss_backward(dloss: Array | float, cache: Any) -> tuple[Array, Array, Array]:
    """Gradients of `sampled_loss_forward`.

    dloss () -> dh (N, D), dw (C, D), db (C,), the last two 0 in every row that was neither drawn nor a target. A row
    may get several shares, and gets their sum.

    Formula: dz = (p - onehot) · dloss / N with the target in column 0; dh = Σ dz · w and dw = Σ dz · h, row by row.
    """
    # The cache is (h, w, t, drawn, p): p (N, 1 + S), the probability of the target first, then those of the drawn
    # classes; the others as they came in.
    h, w, t, drawn, p = cache
    raise NotImplementedError("a5 sampled_loss_backward")  # return dh, dw, db
