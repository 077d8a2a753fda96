"""Sampled softmax: training compares the target with a few classes drawn at random; evaluation is the full softmax."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npsoftmax.arguments import whole
from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError, unknown_name
from npsoftmax.functional.linear_softmax import linear_softmax_nll_backward, linear_softmax_nll_forward
from npsoftmax.functional.sampled import sampled_softmax_backward, sampled_softmax_forward
from npsoftmax.functional.softmax import log_softmax_forward
from npsoftmax.heads.base import Card, ClassInfo, Head
from npsoftmax.heads.row_map import gradient_of_rows
from npsoftmax.kernels import matmul
from npsoftmax.layers.initialisation import initialiser, uniform_fan_in, zeros
from npsoftmax.params import SparseRows, Tree
from npsoftmax.random import Rng, check_rng

DISTRIBUTIONS = ("log_uniform", "uniform")


class SampledSoftmaxHead(Head):
    """log p = log softmax(w·h + b); in training the sum runs over the target and `samples` classes drawn for the batch.

    Drawn with replacement, from `uniform` or from `log_uniform`: q(r) = log((r + 2)/(r + 1)) / log(C + 1) for the class
    of rank r by falling count (Zipf's law), or of label r where there are no counts. A drawn class has log(samples · q)
    subtracted from its score, so that the sum expects the full one, and is left out where it is the target. A training
    step costs O(samples), evaluation O(C). From 10,000 classes on gradients are SparseRows.
    Jean et al. 2015, arXiv 1412.2007. Derivation: docs/sampled.md.

    params w (C, D), b (C,); buffers order (C,): the class of each rank.
    """

    card = Card(
        "softmax(z), in training over y and S drawn classes",
        "Jean et al., 2015 (arXiv 1412.2007)",
        step="O(S)",
    )

    def __init__(
        self,
        features: int,
        classes: ClassInfo,
        *,
        rng: Rng,
        samples: int = 128,
        distribution: str = "log_uniform",
        bias: bool = True,
        init: str = "default",
        **options: Any,
    ):
        super().__init__(features, classes, rng=rng, **options)
        if distribution not in DISTRIBUTIONS:
            raise unknown_name("distribution", distribution, DISTRIBUTIONS)
        self.samples, self.drawn_from = whole("option samples", samples), distribution
        self.params["w"] = initialiser(init)((classes.n, features), features, rng.child("w"))
        if bias:
            start = uniform_fan_in if init == "default" else zeros
            self.params["b"] = start((classes.n,), features, rng.child("b"))
        known = np.zeros(classes.n, dtype=np.int64) if classes.counts is None else classes.counts.astype(np.int64)
        self.buffers["order"] = np.argsort(-known, kind="stable")

    def losses_forward(self, h: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        w, b = self.params["w"], self.params.get("b")
        if not train:
            losses, cache = linear_softmax_nll_forward(h, w, b, targets)
            return losses, (False, cache)
        drawn, log_expected = self.draw(rng, h)
        losses, cache = sampled_softmax_forward(h, w, b, targets, drawn, log_expected)
        return losses, (True, cache)

    def losses_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        sampled, cache = cache
        db: Array | SparseRows | None
        if sampled:
            dh, rows, *found = sampled_softmax_backward(dlosses, cache)
            dw, db = (gradient_of_rows(rows, x, self.classes.n) for x in found)
        else:
            dh, dw, db = linear_softmax_nll_backward(dlosses, cache)
        return dh, {"w": dw, "b": db} if "b" in self.params else {"w": dw}

    def draw(self, rng: Rng | None, like: Array) -> tuple[Array, Array]:
        """The classes drawn for this step, and log(samples · q / times drawn) of each: both (S,), S ≤ samples.

        One draw for the whole batch, the same on every rank that shares it. On a device S = samples: a class that was
        drawn twice is there twice, each time as if once, since how many there are would be waited for.
        """
        if rng is None:
            raise InputError("sampled softmax draws classes in training, so loss(…, train=True) needs rng=Rng(seed).")
        check_rng(rng)
        xp, n = array_module(like), self.classes.n
        u = rng.at(rng.step).child("drawn").fine_uniform(self.samples, xp)
        raw = xp.exp(u * math.log(n + 1)) - 1 if self.drawn_from == "log_uniform" else u * n
        rank = xp.minimum(raw.astype(xp.int64), n - 1)
        rank, times = np.unique(rank, return_counts=True) if xp is np else (rank, xp.ones(self.samples))
        q = xp.log1p(1 / (rank + 1)) / math.log(n + 1) if self.drawn_from == "log_uniform" else 1 / n
        return self.buffers["order"][rank], xp.log(self.samples * q / times).astype(like.dtype)

    def log_prob(self, h: Array, *, rng: Rng | None = None) -> Array:
        h, _ = self.check(h, rng=rng)
        z = matmul(h, self.params["w"].T)
        if "b" in self.params:
            z += self.params["b"]
        return log_softmax_forward(z)[0]

    def macs(self) -> int:
        """Of a training step."""
        return self.features * (self.samples + 1)
