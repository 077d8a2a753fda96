"""Hierarchical softmax on two levels: which superclass, then which class in it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from npsoftmax.backend import Array, array_module, to_numpy
from npsoftmax.errors import InputError
from npsoftmax.functional.loss import softmax_cross_entropy_fused_backward as cross_entropy_backward
from npsoftmax.functional.loss import softmax_cross_entropy_fused_forward as cross_entropy_forward
from npsoftmax.functional.softmax import log_softmax_forward
from npsoftmax.heads import tree as trees
from npsoftmax.heads.base import ClassInfo, top_k
from npsoftmax.heads.on_host import OnHost
from npsoftmax.heads.row_map import SPARSE_FROM, RowMap
from npsoftmax.heads.search import best_in_groups
from npsoftmax.layers.dense import Dense
from npsoftmax.params import HoldsTrees, Tree
from npsoftmax.random import Rng


class TwoLevel(HoldsTrees):
    """log p(c) = log softmax(z_group)_g + log softmax(z_class over the classes of g)_c, g the superclass of c.

    params group.w (D, G), group.b (G,), class.w (C, D), class.b (C,). buffers group (C,): the superclass of each class;
    members (C,): the classes, superclass by superclass; start (G + 1,): where each superclass starts in it;
    place (C,): where each class stands in it. InputError where the classes have no superclasses.
    """

    def __init__(self, features: int, classes: ClassInfo, *, rng: Rng, bias: bool, init: str):
        if classes.coarse is None:
            raise InputError(
                "tree=superclass needs the superclass of each class, but these classes have none; use tree=balanced."
            )
        self.n = classes.n
        _, group = np.unique(classes.coarse, return_inverse=True)  # superclasses without a class don't count
        members = np.argsort(group, kind="stable")
        self.largest = int(np.bincount(group).max())  # classes of a superclass, at most
        self.buffers: Tree = {
            "group": group.astype(np.int64),
            "members": members,
            "start": np.concatenate([[0], np.cumsum(np.bincount(group))]),
            "place": np.argsort(members),
        }
        self._on_host = OnHost(np.ndarray.tolist)
        self.groups = Dense(features, int(group.max()) + 1, rng=rng.child("group"), bias=bias, init=init)
        self.classes = RowMap(
            features, self.n, sparse=self.n >= SPARSE_FROM, rng=rng.child("class"), bias=bias, init=init
        )
        self.params: Tree = {"group": self.groups.params, "class": self.classes.params}

    def losses_forward(self, h: Array, targets: Array) -> tuple[Array, Any]:
        """-log p of each target. h (N, D), targets (N,) -> (N,), cache."""
        xp = array_module(h)
        start, members = self.buffers["start"], self.buffers["members"]
        group = self.buffers["group"][targets]
        first, size = start[group], start[group + 1] - start[group]
        column = xp.arange(self.largest)
        rows = xp.where(column < size[:, None], members[(first[:, None] + column) % self.n], -1)  # (N, M)
        z_group, group_cache = self.groups.forward(h)
        z_class, class_cache = self.classes.chosen(h, rows)
        z_class = xp.where(rows >= 0, z_class, -xp.inf)
        group_loss, group_loss_cache = cross_entropy_forward(z_group, group)
        class_loss, class_loss_cache = cross_entropy_forward(z_class, self.buffers["place"][targets] - first)
        return group_loss + class_loss, (group_cache, class_cache, group_loss_cache, class_loss_cache)

    def losses_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        """dlosses (N,) -> dh (N, D), grads."""
        group_cache, class_cache, group_loss_cache, class_loss_cache = cache
        dz_group = cross_entropy_backward(dlosses, group_loss_cache)
        dz_class = cross_entropy_backward(dlosses, class_loss_cache)
        dh_group, group_grads = self.groups.backward(dz_group, group_cache)
        dh_class, class_grads = self.classes.backward(dz_class, class_cache)
        return dh_group + dh_class, {"group": group_grads, "class": class_grads}

    def soft_forward(self, h: Array, q: Array) -> tuple[Array, Any]:
        """-Σ_c q_c · log p_c: a cross entropy of the masses of the superclasses, and one of the classes of each, O(C).

        h (N, D), q (N, C) -> (N,), cache.
        """
        z_group, group_cache = self.groups.forward(h)
        z, parts = self.classes.all(h), [self.buffers["members"][part] for part in self._parts()]
        mass = array_module(h).stack([q[:, members].sum(axis=1) for members in parts], axis=1)  # (N, G)
        found = [cross_entropy_forward(z_group, mass)]
        found += [cross_entropy_forward(z[:, members], q[:, members]) for members in parts]
        losses, caches = zip(*found, strict=True)
        return sum(losses[1:], start=losses[0]), (h, group_cache, caches)

    def soft_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        """dlosses (N,) -> dh (N, D), grads."""
        h, group_cache, caches = cache
        dz_group, *found = (cross_entropy_backward(dlosses, part) for part in caches)
        dz = array_module(h).empty((len(h), self.n), dtype=h.dtype)
        for part, dz_part in zip(self._parts(), found, strict=True):
            dz[:, self.buffers["members"][part]] = dz_part
        dh_group, group_grads = self.groups.backward(dz_group, group_cache)
        dh_class, class_grads = self.classes.all_backward(dz, h)
        return dh_group + dh_class, {"group": group_grads, "class": class_grads}

    def _parts(self) -> list[slice]:
        """Where each superclass stands in `members`."""
        return [slice(first, end) for first, end in pairwise(self._on_host(self.buffers["start"]))]

    def log_prob(self, h: Array) -> Array:
        xp = array_module(h)
        log_p_group = log_softmax_forward(self.groups.forward(h)[0])[0]
        z = self.classes.all(h)
        log_p = xp.empty_like(z)
        for g, part in enumerate(self._parts()):
            members = self.buffers["members"][part]
            log_p[:, members] = log_p_group[:, g : g + 1] + log_softmax_forward(z[:, members])[0]
        return log_p

    def predict(self, h: Array, k: int) -> Array:
        """Below SPARSE_FROM classes from all log-probabilities, above it by opening the best superclasses first."""
        if not self.classes.sparse:
            return top_k(self.log_prob(h), k)
        xp = array_module(h)
        log_p_group = log_softmax_forward(self.groups.forward(h)[0])[0]
        parts = self._parts()

        def candidates(samples: Array, g: int) -> tuple[Array, Array]:
            members = self.buffers["members"][parts[g]]
            rows = xp.ascontiguousarray(xp.broadcast_to(members, (len(samples), len(members))))
            z, _ = self.classes.chosen(h[samples], rows)
            return log_p_group[samples, g][:, None] + log_softmax_forward(z)[0], members

        return best_in_groups(log_p_group, [part.stop - part.start for part in parts], k, candidates)

    def macs(self) -> int:
        """Those of the superclasses and of the classes of an average one."""
        return self.groups.inputs * (self.groups.outputs + self.n // self.groups.outputs)

    def parents(self) -> np.ndarray:
        return np.concatenate(
            [[-1], np.zeros(self.groups.outputs, dtype=np.int64), 1 + to_numpy(self.buffers["group"])]
        )

    def text(self, names: Sequence[str] | None, group_names: Sequence[str] | None = None) -> str:
        return trees.groups_to_text(self.buffers["group"], names, group_names)
