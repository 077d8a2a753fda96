"""Hierarchical softmax: classes are the leaves of a tree, and a sample goes from the root to one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.errors import InputError, unknown_name
from npsoftmax.heads import tree as trees
from npsoftmax.heads.base import Card, ClassInfo, Head
from npsoftmax.heads.binary_tree import BinaryTree
from npsoftmax.heads.checks import check_k
from npsoftmax.heads.tree_file import opened
from npsoftmax.heads.two_level import TwoLevel
from npsoftmax.params import Tree
from npsoftmax.random import Rng

ORDERS = ("superclass", "label")


class HierarchicalHead(Head):
    """log p(c) = Σ log p(turn) over the decisions on the path from the root to c (Morin and Bengio 2005).

    tree: `balanced` (a heap), `halving` (recursive halving), `huffman` (short paths to frequent classes; Mikolov et al.
    2013, arXiv 1310.4546), `superclass` (softmax over the superclasses, then over the classes of one), nested pairs of
    class numbers such as [[0, 1], 2], groups of any size for two levels, as in [[0, 1, 2], [3, 4]], or the path of a
    .json file that holds either (`npsoftmax tree` learns one).
    order: of the leaves of balanced, halving and huffman, from left to right: `superclass`, where there are any, so
    that a decision near the root separates kinds of things, or `label`.

    A step reads the rows on its path only, O(depth), but with soft targets all, O(C). Below 10,000 classes gradients
    are dense nevertheless, and a device multiplies by all rows, O(C); from 10,000 on they are SparseRows. A prediction
    opens the most probable nodes first: at most depth / p nodes where the winner has probability p, O(C) at worst.
    Derivation: docs/hierarchical.md.
    """

    soft_targets = True
    card = Card(
        "Π over the nodes on the path of σ(±z_node)",
        "Morin and Bengio, 2005; Mikolov et al., 2013 (arXiv 1310.4546)",
        step="O(log C)",
        prediction="O(C), less by search",
        parameters="(D + 1) (C - 1)",
    )

    def __init__(
        self,
        features: int,
        classes: ClassInfo,
        *,
        rng: Rng,
        tree: str | tuple = "balanced",
        order: str = "superclass",
        bias: bool = True,
        init: str = "default",
        **options: Any,
    ):
        super().__init__(features, classes, rng=rng, **options)
        if order not in ORDERS:
            raise unknown_name("order of the leaves", order, ORDERS)
        if order == "label":
            if tree not in trees.BUILDERS:
                raise InputError(f"order=label is for tree={', '.join(trees.BUILDERS)}; others have their own.")
            classes = ClassInfo(classes.n, classes.counts)
        tree = opened(tree)
        group = trees.groups_of(tree, classes.n)
        if group is not None:
            tree, classes = "superclass", ClassInfo(classes.n, classes.counts, group)
        if tree == "superclass":
            self.tree: BinaryTree | TwoLevel = TwoLevel(features, classes, rng=rng, bias=bias, init=init)
        else:
            self.tree = BinaryTree(features, classes, tree, rng=rng, bias=bias, init=init)
        self.params, self.buffers = self.tree.params, self.tree.buffers

    def losses_forward(self, h: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        soft = targets.ndim == 2
        losses, cache = self.tree.soft_forward(h, targets) if soft else self.tree.losses_forward(h, targets)
        return losses, (soft, cache)

    def losses_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        soft, cache = cache
        return self.tree.soft_backward(dlosses, cache) if soft else self.tree.losses_backward(dlosses, cache)

    def log_prob(self, h: Array, *, rng: Rng | None = None) -> Array:
        h, _ = self.check(h, rng=rng)
        return self.tree.log_prob(h)

    def predict(self, h: Array, k: int = 1, *, rng: Rng | None = None) -> Array:
        h, _ = self.check(h, rng=rng)
        check_k(k, self.classes.n)
        return self.tree.predict(h, k)

    def macs(self) -> int:
        return self.tree.macs()

    def parents(self) -> np.ndarray:
        """Of each node the node above it, -1 of the root, which is 0; the last C nodes are the classes 0 … C - 1."""
        return self.tree.parents()

    def tree_text(self, names: Sequence[str] | None = None, group_names: Sequence[str] | None = None) -> str:
        """The tree in lines, with the names of the classes; of a tree of two levels, with those of the superclasses."""
        return self.tree.text(names, group_names)
