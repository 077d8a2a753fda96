"""Published miswirings of trees and clusters, kept by name to be studied; docstrings say what each gets wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError
from npsoftmax.functional import loss as losses
from npsoftmax.functional import path
from npsoftmax.functional.softmax import log_softmax_forward
from npsoftmax.heads import tree as trees
from npsoftmax.heads.adaptive import AdaptiveHead
from npsoftmax.heads.base import Card, ClassInfo, Head, top_k
from npsoftmax.heads.binary_tree import BinaryTree
from npsoftmax.heads.checks import check_k
from npsoftmax.kernels import tree as kernels
from npsoftmax.kernels.matmul import products
from npsoftmax.params import SparseRows, Tree, tree_map
from npsoftmax.random import Rng


class LegacyHeap128Head(Head):
    """A perfect tree of 2^⌈log₂ C⌉ leaves, 128 for 100 classes: leaf = y + 127, parent = (i - 1)//2, no bias.

    What is wrong: the leaves C … 127 belong to no class, yet get their share of the probability, so that Σ_c p(c) < 1
    (at equal decisions 28/128 = 21.9 % is missing) and the loss starts above ln C; nodes above such leaves alone never
    see a sample, 25 of 127. `log_prob` is as published, hence no likelihood; with `renormalise` loss and log_prob are
    divided by the mass of the classes that exist, which makes it one.
    """

    likelihood = False
    legacy = True

    card = Card(
        "Π over the path of σ(±z_node), in a tree of 2^⌈log₂ C⌉ leaves",
        "published comparisons of softmax heads, 2023",
        parameters="D (2^⌈log₂ C⌉ - 1)",
        mistake="leaves that belong to no class keep their share of the probability",
        instead="hierarchical",
    )

    def __init__(
        self,
        features: int,
        classes: ClassInfo,
        *,
        rng: Rng,
        renormalise: bool = False,
        init: str = "default",
        **options: Any,
    ):
        super().__init__(features, classes, rng=rng, **options)
        leaves = 2 ** (classes.n - 1).bit_length()
        self.tree = BinaryTree(features, ClassInfo(leaves), "balanced", rng=rng, bias=False, init=init)
        self.params, self.buffers = self.tree.params, self.tree.buffers
        self.renormalise = self.likelihood = renormalise
        self.distribution = renormalise or classes.n & (classes.n - 1) == 0  # else leaves of no class keep a share

    def losses_forward(self, h: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        if not self.renormalise:
            return self.tree.losses_forward(h, targets)
        log_p, tree_cache = self._all_leaves(h)
        found, cache = losses.softmax_cross_entropy_fused_forward(log_p[:, : self.classes.n], targets)
        return found, (h, log_p.shape, tree_cache, cache)

    def losses_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        if not self.renormalise:
            return self.tree.losses_backward(dlosses, cache)
        h, shape, tree_cache, cache = cache
        dlog_p = array_module(h).zeros(shape, dtype=h.dtype)
        dlog_p[:, : self.classes.n] = losses.softmax_cross_entropy_fused_backward(dlosses, cache)
        dz = path.tree_log_prob_backward(dlog_p, tree_cache)
        return products(dz, self.params["w"]), {"w": products(dz.T, h)}

    def log_prob(self, h: Array, *, rng: Rng | None = None) -> Array:
        h, _ = self.check(h, rng=rng)
        log_p = self._all_leaves(h)[0][:, : self.classes.n]
        return log_softmax_forward(log_p)[0] if self.renormalise else log_p

    def _all_leaves(self, h: Array) -> tuple[Array, Any]:
        levels = trees.even_levels(self.tree.n)
        return path.tree_log_prob_forward(products(h, self.params["w"].T), self.buffers["children"], levels)

    def macs(self) -> int:
        return self.tree.macs()


class LegacyHierarchicalMissingStepHead(Head):
    """A tree by recursive halving whose loss leaves out the last decision of every path; prediction is greedy descent.

    What is wrong: a node with two leaves is nothing but a last decision, so it never trains: 36 of 99 nodes at C = 100.
    A node with one leaf only ever trains towards its other child. With features of at least 0 (it was published on
    ReLUs) that raises its score for every sample, until nobody descends to the leaf: 28 of 100 classes. The loss is
    that of the beginning of the path and no likelihood; `log_prob` is that of the whole tree.
    As published: normal(0, 1) initialisation, no bias.
    """

    likelihood = False
    legacy = True

    card = Card(
        "Π over the path, without its last decision, of σ(±z_node)",
        "published comparisons of softmax heads, 2023",
        parameters="D (C - 1)",
        mistake="the last decision is missing from the loss, so many nodes never train",
        instead="hierarchical tree=halving",
    )

    def __init__(self, features: int, classes: ClassInfo, *, rng: Rng, init: str = "normal", **options: Any):
        super().__init__(features, classes, rng=rng, **options)
        self.tree = BinaryTree(features, ClassInfo(classes.n), "halving", rng=rng, bias=False, init=init)
        self.params, self.buffers = self.tree.params, self.tree.buffers

    def losses_forward(self, h: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        levels = len(trees.even_levels(self.classes.n))
        nodes, signs = kernels.climb(self.buffers["up"], targets, levels, h.dtype)
        nodes[:, 0], signs[:, 0] = -1, 0  # paths run from the leaf up: the last decision comes first
        z, map_cache = self.tree.map.chosen(h, nodes)
        found, cache = path.path_losses_forward(z, signs)
        return found, (map_cache, ("path_losses", cache))

    def losses_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        return self.tree.losses_backward(dlosses, cache)

    def log_prob(self, h: Array, *, rng: Rng | None = None) -> Array:
        h, _ = self.check(h, rng=rng)
        return self.tree.log_prob(h)

    def predict(self, h: Array, k: int = 1, *, rng: Rng | None = None) -> Array:
        """Where greedy descent ends; for k > 1, the most probable of the other classes after it."""
        check_k(k, self.classes.n)
        h, _ = self.check(h, rng=rng)
        xp = array_module(h)
        z, children = self.tree.map.all(h), self.buffers["children"]
        inner, every = len(children), xp.arange(len(h))
        place = xp.zeros(len(h), dtype=xp.int64)
        for _ in trees.even_levels(self.classes.n):
            node = xp.minimum(place, inner - 1)
            turn = (z[every, node] > 0).astype(xp.int64)
            place = xp.where(place < inner, children[node, turn], place)
        if k == 1:
            return (place - inner)[:, None]
        log_p = self.tree.log_prob(h)
        log_p[every, place - inner] = xp.inf
        return top_k(log_p, k)

    def macs(self) -> int:
        return self.tree.macs()


class LegacyAdaptiveUntrainedHead(AdaptiveHead):
    """Adaptive softmax whose parameters never reached the optimiser; classes by label, [10, 90] of 100, no bias.

    What is wrong: the gradients of all its parameters are empty, so it stays as it was drawn while the model below
    adapts to it; and the prediction is the largest of the features (which are the model's C logits) and not the
    head's. The features get the true gradient, and log_prob is that of the untrained head.
    """

    legacy = True
    soft_targets = False

    card = Card(
        "softmax(head)_g · softmax(tail_g)_c, predicted by argmax of the features",
        "published comparisons of softmax heads, 2023",
        step="O(s + C_g)",
        parameters="D (s + G) + Σ D_g (D + C_g)",
        mistake="its parameters never reach the optimiser, and the prediction is not the head's",
        instead="adaptive",
    )

    def __init__(
        self,
        features: int,
        classes: ClassInfo,
        *,
        rng: Rng,
        cutoffs: tuple[int, ...] = (10, 90),
        div_value: float = 4.0,
        **options: Any,
    ):
        if features != classes.n:
            raise InputError(
                f"legacy_adaptive_untrained predicts the largest feature, so it takes {classes.n} of them, not "
                f"{features}; give the model a layer of logits (--model-opt logits={classes.n})."
            )
        super().__init__(features, classes, rng=rng, cutoffs=cutoffs, div_value=div_value, **options)

    def _frequency_order(self) -> np.ndarray:
        return np.arange(self.classes.n)

    def losses_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        """No rows of any parameter: a gradient of zeros would still let weight decay and momentum move them."""
        dh, _ = super().losses_backward(dlosses, cache)
        return dh, tree_map(_no_rows, self.params)

    def predict(self, h: Array, k: int = 1, *, rng: Rng | None = None) -> Array:
        check_k(k, self.classes.n)
        h, _ = self.check(h, rng=rng)
        return top_k(h, k)


def _no_rows(p: Array) -> SparseRows:
    xp = array_module(p)
    return SparseRows(xp.zeros(0, dtype=xp.int64), xp.zeros((0, *p.shape[1:]), dtype=p.dtype), len(p))
