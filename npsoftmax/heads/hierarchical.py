"""Hierarchical softmax: a class is a leaf of a binary tree, its probability the product of decisions on the way."""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array, array_module
from npsoftmax.functional import path
from npsoftmax.heads.base import ClassInfo, Head
from npsoftmax.layers.base import Tree
from npsoftmax.layers.initialisation import initialiser, uniform_fan_in, zeros
from npsoftmax.random import Rng


class HierarchicalHead(Head):
    """log p(c) = Σ over the nodes i on the path to c of log σ(s·z_i), z_i = w_i·h + b_i, s = ±1 (Morin and Bengio 2005).

    The tree is a heap with exactly C − 1 inner nodes: node i has the children 2i + 1 and 2i + 2, and numbers from
    C − 1 on are leaves. All 2C − 1 places are used, so the probabilities sum to 1 for any C (a perfect tree of 128
    leaves for 100 classes would give mass to 28 classes that don't exist). Leaves are in the order of the
    superclasses where there are any, so that a decision near the root separates kinds of things.

    params w (C − 1, D), b (C − 1,); buffers leaf (C,): the leaf number of each class, counted from 0.
    """

    def __init__(self, features: int, classes: ClassInfo, *, rng: Rng, bias: bool = True, init: str = "default"):
        super().__init__(features, classes)
        inner = classes.n - 1
        self.params["w"] = initialiser(init)((inner, features), features, rng.child("w"))
        if bias:
            start = uniform_fan_in if init == "default" else zeros
            self.params["b"] = start((inner,), features, rng.child("b"))
        order = np.arange(classes.n) if classes.coarse is None else np.argsort(classes.coarse, kind="stable")
        self.buffers["leaf"] = np.argsort(order)

    def loss(
        self, h: Array, targets: Array, *, train: bool = False, rng: Rng | None = None
    ) -> tuple[Array, Any]:
        self.check(h, targets)
        xp = array_module(h)
        nodes, signs = heap_paths(self.buffers["leaf"][targets], self.classes.n)  # (N, L)
        z = xp.take_along_axis(self._scores(h), nodes, axis=1)
        value, cache = path.path_loss_forward(z, signs.astype(h.dtype))
        return value, (h, nodes, cache)

    def backward(self, cache: Any, dloss: float = 1.0) -> tuple[Array, Tree]:
        h, nodes, loss_cache = cache
        xp = array_module(h)
        dz_path = path.path_loss_backward(dloss, loss_cache)
        dz = xp.zeros((h.shape[0], self.classes.n - 1), dtype=h.dtype)
        # Column by column: places past the end of a short path point at node 0 and add exactly 0 there.
        rows = xp.arange(h.shape[0])
        for level in range(nodes.shape[1]):
            dz[rows, nodes[:, level]] += dz_path[:, level]
        grads = {"w": dz.T @ h}
        if "b" in self.params:
            grads["b"] = dz.sum(axis=0)
        return dz @ self.params["w"], grads

    def log_prob(self, h: Array, *, rng: Rng | None = None) -> Array:
        self.check(h)
        xp = array_module(h)
        z, n = self._scores(h), self.classes.n
        reach = xp.zeros((h.shape[0], 2 * n - 1), dtype=h.dtype)  # log p of reaching each place of the heap
        first = 0
        while first < n - 1:  # one level of the heap at a time: first … last − 1
            last = min(2 * first + 1, n - 1)
            level, above = z[:, first:last], reach[:, first:last]
            reach[:, 2 * first + 1 : 2 * last + 1 : 2] = above - path.softplus(level)
            reach[:, 2 * first + 2 : 2 * last + 1 : 2] = above - path.softplus(-level)
            first = last
        return reach[:, n - 1 :][:, self.buffers["leaf"]]

    def _scores(self, h: Array) -> Array:
        z = h @ self.params["w"].T  # (N, C − 1)
        return z + self.params["b"] if "b" in self.params else z

    def macs(self) -> int:
        return self.features * (self.classes.n - 1)


def heap_paths(leaves: Array, n: int) -> tuple[Array, Array]:
    """The way from the root to each leaf of a heap with n − 1 inner nodes.

    leaves (N,) numbers 0 … n − 1 -> nodes (N, L) inner nodes from the root down, signs (N, L): +1 where the path
    turns right, −1 left. Shorter paths end with node 0 and sign 0.
    """
    xp = array_module(leaves)
    place = leaves + (n - 1)
    nodes, signs = [], []
    for _ in range((2 * n - 2).bit_length()):
        inside = place > 0
        parent = (place - 1) // 2
        nodes.append(xp.where(inside, parent, 0))
        signs.append(xp.where(inside, xp.where(place % 2 == 0, 1, -1), 0))
        place = xp.where(inside, parent, 0)
    return _root_first(xp.stack(nodes, axis=1), xp.stack(signs, axis=1))


def _root_first(nodes: Array, signs: Array) -> tuple[Array, Array]:
    """Turn each row round, its empty places kept at the end."""
    xp = array_module(nodes)
    length = (signs != 0).sum(axis=1, keepdims=True)
    index = xp.arange(nodes.shape[1])[None]
    source = xp.where(index < length, length - 1 - index, index)
    used = int(length.max())
    return xp.take_along_axis(nodes, source, axis=1)[:, :used], xp.take_along_axis(signs, source, axis=1)[:, :used]
