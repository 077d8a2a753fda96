"""Probabilities of the leaves of a binary tree, and the loss of one path. Derivations: docs/hierarchical.md.

A node with the score z sends a sample to the right with probability σ(z), to the left with σ(-z) = 1 - σ(z). A leaf's
probability is the product along its path: in log space a sum, which cannot underflow.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import each_once, fit, gradient_like, indices, number, real, samples, taken
from npsoftmax.backend import Array, array_module
from npsoftmax.kernels import tree as kernels


# ---------------------------------------------------------------- one path
def path_loss_forward(z: Array, signs: Array) -> tuple[Array, Any]:
    """Mean of Σ_l softplus(-s_l · z_l) = -log Π_l σ(s_l · z_l) over the samples, l running along each path.

    z (N, L) scores of the nodes on the path, signs (N, L): +1 where the path goes right, -1 left, 0 past its end
    -> loss (). Source: Morin and Bengio, 2005.
    """
    z, signs = taken("z (N, L), signs (N, L)", z, signs)
    samples(len(z))
    xp = array_module(z)
    turned = -signs * z
    tail = xp.exp(-xp.abs(turned))
    loss = (xp.maximum(turned, 0) + xp.log1p(tail) * xp.abs(signs)).sum() / z.shape[0]
    return loss, (turned, tail, signs)


def path_loss_backward(dloss: Array | float, cache: Any) -> Array:
    """dz = -s · σ(-s · z) · dloss / N: how wrong the decision was; exactly 0 past the end of a path.

    dloss () -> dz (N, L)
    """
    turned, tail, signs = cache
    dloss = number(dloss)
    xp = array_module(turned)
    return signs * xp.where(turned >= 0, 1, tail) / (1 + tail) * (-dloss / turned.shape[0])


def path_losses_forward(z: Array, signs: Array) -> tuple[Array, Any]:
    """`path_loss_forward` of each sample: what trains on the host. z, signs (N, L) -> losses (N,)."""
    z, signs = taken("z (N, L), signs (N, L)", z, signs)
    xp = array_module(z)
    turned = -signs * z
    tail = xp.exp(-xp.abs(turned))
    return (xp.maximum(turned, 0) + xp.log1p(tail) * xp.abs(signs)).sum(axis=1), (turned, tail, signs)


def path_losses_backward(dlosses: Array, cache: Any) -> Array:
    """dz = -s · σ(-s · z) · dlosses; exactly 0 past the end of a path. dlosses (N,) -> dz (N, L)."""
    turned, tail, signs = cache
    dlosses = gradient_like(dlosses, turned.shape[:1], "dlosses")
    xp = array_module(turned)
    return signs * xp.where(turned >= 0, 1, tail) / (1 + tail) * -dlosses[:, None]


def path_losses_fused_forward(z: Array, signs: Array) -> tuple[Array, Any]:
    """`path_losses_forward` in one pass where a device has a kernel for it. z, signs (N, L) -> losses (N,)."""
    z, signs = taken("z (N, L), signs (N, L)", z, signs)
    return kernels.path_losses(z, signs), (z, signs)


def path_losses_fused_backward(dlosses: Array, cache: Any) -> Array:
    """`path_losses_backward` in one pass. dlosses (N,) -> dz (N, L)."""
    z, signs = cache
    dlosses = gradient_like(dlosses, z.shape[:1], "dlosses")
    return kernels.path_slopes(z, signs) * dlosses[:, None]


# ---------------------------------------------------------------- all leaves
def tree_log_prob_forward(z: Array, children: Array, levels: list[tuple[int, int]]) -> tuple[Array, Any]:
    """log p of every leaf: log p(right child) = log p(node) - softplus(-z), log p(left) = log p(node) - softplus(z).

    z (N, C - 1) scores of all inner nodes; children (C - 1, 2) and levels as in heads/tree.py -> log_p (N, C), each row
    summing to 1 in probability, for any z.
    """
    z, children = real(z, "z"), indices(children, "children")
    fit("z (N, I), children (I, 2)", z.shape, children.shape)
    each_once(children, "children")
    return kernels.tree_log_prob(z, children, levels), (z, children, levels)


def tree_log_prob_backward(dlog_p: Array, cache: Any) -> Array:
    """dz = dright · σ(-z) - dleft · σ(z), where dleft and dright are the sums of dlog_p over the leaves of each child.

    dlog_p (N, C) -> dz (N, C - 1)
    """
    z, children, levels = cache
    dlog_p = gradient_like(dlog_p, (len(z), len(children) + 1), "dlog_p")
    xp = array_module(z)
    inner = len(children)
    below = xp.empty((z.shape[0], 2 * inner + 1), dtype=z.dtype)  # Σ dlog_p over the leaves below every place
    below[:, inner:] = dlog_p
    dz = xp.empty_like(z)
    for first, last in reversed(levels):
        left, right = below[:, children[first:last, 0]], below[:, children[first:last, 1]]
        below[:, first:last] = left + right
        p_right = sigmoid(z[:, first:last])
        dz[:, first:last] = right * (1 - p_right) - left * p_right
    return dz


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^{-x}) without overflow: the exponential is only ever taken of -|x|."""
    xp = array_module(x)
    e = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1, e) / (1 + e)
