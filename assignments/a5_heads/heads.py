"""Hierarchical, two-level, adaptive and sampled softmax: a loss that need not look at every class.

Replace each `raise NotImplementedError`, then type

    npsoftmax grade a5

The page that goes with it: README.md in this folder.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.functional.softmax import log_softmax_forward
from npsoftmax.kernels.tree.reference import Levels


def balanced(order: np.ndarray) -> np.ndarray:
    """A heap: node i has the children 2i + 1 and 2i + 2, and order[j] is the leaf at heap position n - 1 + j.

    All 2n - 1 positions are used, so no mass goes to classes that don't exist; depths are ⌊log₂ n⌋ and ⌈log₂ n⌉.
    order (n,) classes -> children (n - 1, 2).
    """
    raise NotImplementedError("a5 balanced")  # return children


def huffman(order: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Join the two rarest subtrees until one is left: the least Σ counts · depth (Huffman 1952).

    With leaves sorted by count, the joined ones come out sorted as well, so that the rarest is always at the front of
    one of two queues. Ties go to single classes before joined ones, and to the front of `order`.
    order (n,) classes, counts (n,) of each class -> children (n - 1, 2).
    """
    raise NotImplementedError("a5 huffman")  # return children


def climb(up: Array, labels: Array, levels: int) -> tuple[Array, Array]:
    """The way from each leaf to the root.

    up (2C - 1,), labels (N,), levels: the longest way -> nodes (N, levels), -1 past the root, and signs (N, levels):
    +1 where the path turns right at the node, -1 left, 0 past the root.
    """
    raise NotImplementedError("a5 climb")  # return nodes, signs


def path_loss_forward(z: Array, signs: Array) -> tuple[Array, Any]:
    """Mean of Σ_l softplus(-s_l · z_l) = -log Π_l σ(s_l · z_l) over the samples, l running along each path.

    z (N, L) scores of the nodes on the path, signs (N, L): +1 where the path goes right, -1 left, 0 past its end
    -> loss (). Source: Morin and Bengio, 2005.
    """
    # The cache is (turned, tail, signs), turned = -s · z, tail = e^-|turned|.
    raise NotImplementedError("a5 path_loss_forward")  # return loss, cache


def path_loss_backward(dloss: Array | float, cache: Any) -> Array:
    """dz = -s · σ(-s · z) · dloss / N: how wrong the decision was; exactly 0 past the end of a path.

    dloss () -> dz (N, L)
    """
    turned, tail, signs = cache
    raise NotImplementedError("a5 path_loss_backward")  # return dz


def tree_log_prob(z: Array, children: Array, levels: Levels) -> Array:
    """log p of every class: minus the softplus of every decision on the way, added up from the root, level by level.

    z (N, C - 1) scores of all inner nodes, children (C - 1, 2), levels: first and one past the last node of each
    -> (N, C).
    """
    raise NotImplementedError("a5 tree_log_prob")  # return log_p


def tree_log_prob_backward(dlog_p: Array, cache: Any) -> Array:
    """dz = dright · σ(-z) - dleft · σ(z), where dleft and dright are the sums of dlog_p over the leaves of each child.

    dlog_p (N, C) -> dz (N, C - 1)
    """
    z, children, levels = cache
    raise NotImplementedError("a5 tree_log_prob_backward")  # return dz


def two_level_loss_forward(z_group: Array, z_class: Array, t: Array, group: Array) -> tuple[Array, Any]:
    """Mean of -log p(group of t) - log p(t | its group): a softmax over the groups, one over the classes of the group.

    z_group (N, G), z_class (N, C), t (N,) labels, group (C,): the group of each class -> loss ().
    Scores of classes in other groups than the target's play no part.
    """
    # The cache is (p_group, p_class, t, g).
    raise NotImplementedError("a5 two_level_loss_forward")  # return loss, cache


def two_level_loss_backward(dloss: Array | float, cache: Any) -> tuple[Array, Array]:
    """Two cross entropies: dz = (p - onehot) · dloss / N in each; exactly 0 in other groups. -> dz_group, dz_class."""
    p_group, p_class, t, g = cache
    raise NotImplementedError("a5 two_level_loss_backward")  # return dz_group, dz_class


def adaptive_loss_forward(
    h: Array, w_head: Array, proj: Array, w_tail: Array, t: Array, cutoff: int
) -> tuple[Array, Any]:
    """Mean of -log p(t): t < cutoff is in the short list, a rarer class is reached through the cluster.

    log p(t) = log softmax(h @ w_headᵀ)_t for t < cutoff, else log softmax(h @ w_headᵀ)_cutoff (the cluster's own
    place, the last one) + log softmax(h @ projᵀ @ w_tailᵀ)_{t - cutoff}.
    h (N, D), w_head (cutoff + 1, D), proj (E, D), w_tail (C - cutoff, E), t (N,) -> loss (). Only samples with
    t >= cutoff, the rows `tail`, are ever multiplied by proj and w_tail.
    """
    # The cache is (h, w_head, proj, w_tail, t, cutoff, tail, low, p_head, p_tail).
    raise NotImplementedError("a5 adaptive_loss_forward")  # return loss, cache


def adaptive_loss_backward(dloss: Array | float, cache: Any) -> tuple[Array, Array, Array, Array]:
    """Two cross entropies, the second for the samples of the tail only, and back through three matrix products.

    dloss () -> dh (N, D), dw_head (cutoff + 1, D), dproj (E, D), dw_tail (C - cutoff, E)
    """
    h, w_head, proj, w_tail, t, cutoff, tail, low, p_head, p_tail = cache
    raise NotImplementedError("a5 adaptive_loss_backward")  # return dh, dw_head, dproj, dw_tail


def sampled_loss_forward(
    h: Array, w: Array, b: Array, t: Array, drawn: Array, log_expected: Array
) -> tuple[Array, Any]:
    """Mean of -log( e^{z_t} / (e^{z_t} + Σ_{c drawn, c ≠ t} e^{z_c - log_expected_c}) ), z = h @ wᵀ + b.

    h (N, D), w (C, D), b (C,), t (N,) labels, drawn (S,) classes, each once, log_expected (S,): the logarithm of how
    often each was expected among the draws -> loss (). A drawn class that is the target must not count twice.
    """
    # The cache is (h, w, t, drawn, p).
    raise NotImplementedError("a5 sampled_loss_forward")  # return loss, cache


def sampled_loss_backward(dloss: Array | float, cache: Any) -> tuple[Array, Array, Array]:
    """Column 0 of p (N, 1 + S) is the target, the others are the drawn classes; a row of w may get several shares.

    dloss () -> dh (N, D), dw (C, D), db (C,), both 0 in every row that was neither drawn nor a target
    """
    h, w, t, drawn, p = cache
    raise NotImplementedError("a5 sampled_loss_backward")  # return dh, dw, db
