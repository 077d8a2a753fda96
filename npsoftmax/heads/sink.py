"""A head that may answer "none of these". Derivation: docs/softmax-family.md."""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array, array_module
from npsoftmax.functional import loss as losses
from npsoftmax.functional import sink
from npsoftmax.functional.softmax import finite
from npsoftmax.heads.base import Card, ClassInfo
from npsoftmax.heads.flat import FlatHead
from npsoftmax.params import Tree
from npsoftmax.random import Rng


class SinkHead(FlatHead):
    """p_c = e^{z_c} / (e^b + Σ_j e^{z_j}): what is missing to 1 is p_0, the probability of none of these.

    sink: b at the start, 0 for softmax1. learned: whether b is a parameter; else it stays as it is, in the buffers.
    loss = -mean log p[target]: a sample must beat the sink as well as the other classes. Labels say a class, so nothing
    pulls p_0 up in training; examples of none are better made a class of their own. params w, b as in `softmax`, and
    sink (1,).
    """

    soft_targets, distribution = True, False
    card = Card(
        "exp(z) / (exp(b) + Σ exp(z))",
        "Miller, 2023; OpenAI, 2025 (arXiv 2508.10925)",
        parameters="(D + 1) C + 1",
    )

    def __init__(self, features: int, classes: ClassInfo, *, sink: float = 0.0, learned: bool = True, **options: Any):
        super().__init__(features, classes, **options)
        self.learned = learned
        (self.params if learned else self.buffers)["sink"] = np.full(1, finite("sink", sink), np.float32)

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        y, sink_cache = sink.log_sink_softmax_forward(z, self._sink)
        found, cache = losses.nll_forward(y, targets)
        return found, (sink_cache, cache)

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        return self._dz_and_dsink(dlosses, cache)[0]

    def losses_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        map_cache, loss_cache = cache
        dz, dsink = self._dz_and_dsink(dlosses, loss_cache)
        dh, grads = self.scores_backward(dz, map_cache)
        return dh, {**grads, "sink": dsink} if self.learned else grads

    def log_prob_of_scores(self, z: Array, rng: Rng | None) -> Array:
        return sink.log_sink_softmax_forward(z, self._sink)[0]

    def none_of_these(self, h: Array) -> Array:
        """p_0, the probability that it is none of the classes. h (N, D) -> (N,)."""
        h, _ = self.check(h)
        _, (_, log_none, _) = sink.log_sink_softmax_forward(self.scores(h)[0], self._sink)
        return array_module(h).exp(log_none)

    def closer_look(self, h: Array, targets: Array, rng: Rng | None) -> dict[str, Any]:
        """none_of_these: the mean probability of none."""
        return super().closer_look(h, targets, rng) | {"none_of_these": {"mean_p": self.none_of_these(h).sum()}}

    def _dz_and_dsink(self, dlosses: Array, cache: Any) -> tuple[Array, Array]:
        sink_cache, loss_cache = cache
        return sink.log_sink_softmax_backward(losses.nll_backward(dlosses, loss_cache), sink_cache)

    @property
    def _sink(self) -> Array:
        return (self.params if self.learned else self.buffers)["sink"]
