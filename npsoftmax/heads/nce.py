"""Noise contrastive estimation and negative sampling: the target told from classes drawn as noise.

Derivation: docs/sampled.md.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npsoftmax.arguments import whole
from npsoftmax.backend import Array, array_module
from npsoftmax.cuda import Constant
from npsoftmax.errors import InputError, unknown_name
from npsoftmax.functional.linear_softmax import linear_softmax_nll_backward, linear_softmax_nll_forward
from npsoftmax.functional.noise import noise_contrast_backward, noise_contrast_forward
from npsoftmax.functional.softmax import log_softmax_forward
from npsoftmax.heads.base import Card, ClassInfo, Head
from npsoftmax.heads.checks import not_negative
from npsoftmax.heads.row_map import gradient_of_rows
from npsoftmax.kernels import matmul
from npsoftmax.layers.initialisation import initialiser, uniform_fan_in, zeros
from npsoftmax.params import SparseRows, Tree
from npsoftmax.random import Rng

FORMS = ("nce", "negative_sampling")
DISTRIBUTIONS = ("counts", "log_uniform", "uniform")


class NCEHead(Head):
    """In training one yes or no for the target and for each of k classes drawn as noise; log p is a softmax.

    form "nce": -log σ(z_y - log k q_y) - Σ_j log σ(-(z_j - log k q_j)), z = h·w + b. It teaches z to be log p, already
    normalised; evaluation normalises all the same, log p = log softmax(z), so that p sums to 1 before z is perfect, and
    its loss is -mean log p. form "negative_sampling": without log k q. It teaches z_c to be log p_c - log k q_c, so
    log p = log softmax(z + log q); no likelihood: its loss in evaluation is what the loss in training expects.
    samples: k, one draw for the whole batch, with replacement. distribution: q_c ∝ (training samples of c)^power, a
    class without any counting as one with one, and all alike where there are no counts; `log_uniform` by the rank and
    `uniform` as in `sampled`. A step costs O(k), evaluation O(C). From 10,000 classes on gradients are SparseRows.
    params w (C, D), b (C,), which begins at -log C, or -log k; buffers log_kq (C,): log k q.
    """

    card = Card(
        "σ(z_y - log k q_y) against k drawn classes; then softmax(z)",
        "Gutmann and Hyvärinen, 2010; Mnih and Teh, 2012 (arXiv 1206.6426); Mikolov et al., 2013 (arXiv 1310.4546)",
        step="O(k)",
    )

    def __init__(
        self,
        features: int,
        classes: ClassInfo,
        *,
        rng: Rng,
        form: str = "nce",
        samples: int = 128,
        distribution: str = "counts",
        power: float = 0.75,
        bias: bool = True,
        init: str = "default",
        **options: Any,
    ):
        super().__init__(features, classes, rng=rng, **options)
        if form not in FORMS:
            raise unknown_name("form", form, FORMS)
        if distribution not in DISTRIBUTIONS:
            raise unknown_name("distribution", distribution, DISTRIBUTIONS)
        self.form, self.samples, self.drawn_from = form, whole("option samples", samples), distribution
        self.power = not_negative("power", power)
        self.likelihood = form == "nce"
        self.params["w"] = initialiser(init)((classes.n, features), features, rng.child("w"))
        if bias:
            start = uniform_fan_in if init == "default" else zeros
            self.params["b"] = start((classes.n,), features, rng.child("b"))
            # So that Σ e^z begins near 1; of negative sampling Σ k q e^z, with kq near k / C.
            self.params["b"] = self.params["b"] - math.log(classes.n if form == "nce" else self.samples)
        log_q = _log_shares(classes, distribution, self.power)
        self._up_to = Constant(np.cumsum(np.exp(log_q)))
        self.buffers["log_kq"] = (math.log(self.samples) + log_q).astype("float32")

    def losses_forward(self, h: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        w, b, log_kq = self.params["w"], self.params.get("b"), self.buffers["log_kq"]
        shift = log_kq if self.form == "nce" else None
        if not train and self.likelihood:
            nll, cache = linear_softmax_nll_forward(h, w, b, targets)
            return nll, (False, cache)
        xp = array_module(h)
        # In evaluation every class, as often as it is expected.
        drawn, times = self.draw(rng, h) if train else (xp.arange(self.classes.n), xp.exp(log_kq))
        losses, cache = noise_contrast_forward(h, w, b, shift, targets, drawn, times)
        return losses, (True, cache)

    def losses_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        of_rows, cache = cache
        dw: Array | SparseRows
        db: Array | SparseRows | None
        if of_rows:
            dh, rows, *found = noise_contrast_backward(dlosses, cache)
            dw, db = (gradient_of_rows(rows, x, self.classes.n) for x in found)
        else:
            dh, dw, db = linear_softmax_nll_backward(dlosses, cache)
        return dh, {"w": dw, "b": db} if "b" in self.params else {"w": dw}

    def draw(self, rng: Rng | None, like: Array) -> tuple[Array, Array]:
        """The classes drawn as noise for this step, and how often each was: both (S,), S <= samples.

        One draw for the whole batch, the same on every rank that shares it. On a device S = samples: a class that was
        drawn twice is there twice, since how many there are would be waited for.
        """
        if rng is None:
            raise InputError("nce draws classes in training, so loss(…, train=True) needs rng=Rng(seed).")
        xp = array_module(like)
        u, up_to = rng.at(rng.step).child("drawn").fine_uniform(self.samples, xp), self._up_to
        places = xp.searchsorted(up_to.like(u), u * float(up_to.values[-1]), side="right")
        drawn = xp.minimum(places, self.classes.n - 1)
        drawn, times = np.unique(drawn, return_counts=True) if xp is np else (drawn, xp.ones(self.samples))
        return drawn, times.astype(like.dtype)

    def log_prob(self, h: Array, *, rng: Rng | None = None) -> Array:
        h, _ = self.check(h, rng=rng)
        z = matmul(h, self.params["w"].T)
        if "b" in self.params:
            z += self.params["b"]
        if self.form != "nce":
            z += self.buffers["log_kq"]  # log k is the same for all
        return log_softmax_forward(z)[0]

    def macs(self) -> int:
        """Of a training step."""
        return self.features * (self.samples + 1)


def _log_shares(classes: ClassInfo, distribution: str, power: float) -> np.ndarray:
    """log q (C,), as NCEHead says; by logarithms, so that no q is 0 whatever the power."""
    counts = np.ones(classes.n) if classes.counts is None else np.maximum(classes.counts, 1).astype(np.float64)
    if distribution == "log_uniform":
        known = np.zeros(classes.n, dtype=np.int64) if classes.counts is None else classes.counts
        log_share = np.empty(classes.n)
        by_rank = np.argsort(-known.astype(np.int64), kind="stable")
        log_share[by_rank] = np.log(np.log1p(1 / np.arange(1, classes.n + 1)))
    else:
        log_share = np.zeros(classes.n) if distribution == "uniform" else power * np.log(counts)
    log_share = log_share - log_share.max()
    return log_share - np.log(np.exp(log_share).sum())
