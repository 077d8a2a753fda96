"""Hierarchical softmax on a binary tree: a class is a leaf, its probability the product of the decisions on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from npsoftmax.backend import Array, array_module, to_numpy
from npsoftmax.functional import path
from npsoftmax.functional.loss import nll_backward, nll_forward
from npsoftmax.heads import tree as trees
from npsoftmax.heads.base import ClassInfo, top_k
from npsoftmax.heads.on_host import OnHost
from npsoftmax.heads.row_map import SPARSE_FROM, RowMap
from npsoftmax.heads.search import SCORES
from npsoftmax.kernels import on_device
from npsoftmax.kernels import tree as kernels
from npsoftmax.params import HoldsTrees, Tree
from npsoftmax.random import Rng

# A search that opens more than one node in so many is slower than scoring all.
SEARCH_SHARE = 16


class BinaryTree(HoldsTrees):
    """log p(c) = Σ over the nodes i on the path to c of log σ(s·z_i), z_i = w_i·h + b_i, s = +1 right, -1 left.

    params w (C - 1, D), b (C - 1,): row i is node i. buffers children (C - 1, 2), up (2C - 1,) and, where the levels
    are not those of an even tree, depth (1,): the number of levels. See heads/tree.py for the numbering.
    """

    def __init__(self, features: int, classes: ClassInfo, tree: str | trees.Nested, *, rng: Rng, bias: bool, init: str):
        self.n = classes.n
        self.map = RowMap(features, self.n - 1, sparse=self.n >= SPARSE_FROM, rng=rng, bias=bias, init=init)
        self.params = self.map.params
        self.even = tree in ("balanced", "halving")
        children = trees.build(tree, classes)
        self.buffers: Tree = {"children": children, "up": trees.uplinks(children)}
        self._on_host = OnHost(trees.levels)
        if not self.even:
            self.buffers["depth"] = np.array([len(trees.levels(children))])

    def losses_forward(self, h: Array, targets: Array) -> tuple[Array, Any]:
        """-log p of each target. h (N, D), targets (N,) -> (N,), cache."""
        nodes, signs = kernels.climb(self.buffers["up"], targets, self._depth(), h.dtype)  # (N, L)
        z, map_cache = self.map.chosen(h, nodes)
        pair = "path_losses_fused" if on_device(z) else "path_losses"
        losses, cache = getattr(path, f"{pair}_forward")(z, signs)
        return losses, (map_cache, (pair, cache))

    def losses_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        """dlosses (N,) -> dh (N, D), grads."""
        map_cache, (pair, loss_cache) = cache
        return self.map.backward(getattr(path, f"{pair}_backward")(dlosses, loss_cache), map_cache)

    def soft_forward(self, h: Array, q: Array) -> tuple[Array, Any]:
        """-Σ_c q_c · log p_c from all log p, O(C). h (N, D), q (N, C) -> (N,), cache."""
        log_p, tree_cache = path.tree_log_prob_forward(self.map.all(h), self.buffers["children"], self._levels())
        losses, loss_cache = nll_forward(log_p, q)
        return losses, (h, tree_cache, loss_cache)

    def soft_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        """What a node gets is the mass of q below each of its sides. dlosses (N,) -> dh (N, D), grads."""
        h, tree_cache, loss_cache = cache
        dz = path.tree_log_prob_backward(nll_backward(dlosses, loss_cache), tree_cache)
        return self.map.all_backward(dz, h)

    def log_prob(self, h: Array) -> Array:
        return path.tree_log_prob_forward(self.map.all(h), self.buffers["children"], self._levels())[0]

    def predict(self, h: Array, k: int) -> Array:
        """Below SPARSE_FROM classes from all log-probabilities, above it by best-first search."""
        w = self.params["w"]
        if not self.map.sparse or not kernels.has_compiled(h, w):
            return top_k(self.log_prob(h), k)
        labels = kernels.best_first(
            h, w, self.params.get("b"), self.buffers["children"], k, max(self.n // SEARCH_SHARE, 4 * k)
        )
        given_up = array_module(h).flatnonzero(labels[:, 0] < 0)
        step = max(1, SCORES // self.n)
        for part in (given_up[i : i + step] for i in range(0, len(given_up), step)):
            labels[part] = top_k(self.log_prob(h[part]), k)
        return labels

    def macs(self) -> int:
        """Those of the longest path."""
        return self.map.features * self._depth()

    def parents(self) -> np.ndarray:
        return to_numpy(self.buffers["up"]) // 2

    def text(self, names: Sequence[str] | None, _: Sequence[str] | None = None) -> str:
        return trees.to_text(self.buffers["children"], names)

    def _depth(self) -> int:
        if self.even or not isinstance(self.buffers["children"], np.ndarray):
            return len(self._levels())
        return int(self.buffers["depth"][0])

    def _levels(self) -> list[tuple[int, int]]:
        return trees.even_levels(self.n) if self.even else self._on_host(self.buffers["children"])
