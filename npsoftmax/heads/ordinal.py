"""A head for classes that have an order: ages, grades, stages. Derivation: docs/ordinal.md."""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.errors import unknown_name
from npsoftmax.functional import loss as losses
from npsoftmax.functional import ordinal
from npsoftmax.heads.base import Card, ClassInfo, Head
from npsoftmax.layers.dense import Dense
from npsoftmax.params import Tree
from npsoftmax.random import Rng

FORMS = ("cumulative", "corn")


class OrdinalHead(Head):
    """Classes 0 … C - 1 are ranks: class 3 is nearer to 2 than to 0.

    form: "cumulative", one score s = h @ w for all and C - 1 rising thresholds, p_k = σ(b_k - s) - σ(b_{k-1} - s);
    or "corn", a linear map with a score a rank, P(class > k | class >= k) = σ(z_k), which may bend where the other
    has one direction. loss = -mean log p[target] for both. params w (D, 1) and theta (C - 1,), the first threshold and
    what the gaps are softplus of; or w (D, C - 1), b (C - 1,). The test set's summary adds mean_absolute_error (in
    ranks) and quadratic_kappa.
    """

    soft_targets, ordered = True, True
    card = Card(
        "σ(b_k - h w) - σ(b_{k-1} - h w); corn: Π_{j<k} σ(z_j) · σ(-z_k)",
        "McCullagh, 1980; Shi et al., 2021 (arXiv 2111.08851)",
        parameters="D + C - 1; corn: (D + 1) (C - 1)",
    )

    def __init__(
        self,
        features: int,
        classes: ClassInfo,
        *,
        rng: Rng,
        form: str = "cumulative",
        init: str = "default",
        **options: Any,
    ):
        super().__init__(features, classes, rng=rng, **options)
        if form not in FORMS:
            raise unknown_name("form", form, FORMS)
        self.form, ranks = form, classes.n - 1
        self.map = Dense(features, 1 if form == "cumulative" else ranks, rng=rng, bias=form == "corn", init=init)
        self.params = self.map.params
        if form == "cumulative":
            self.params["theta"] = equal_shares(ranks).astype("float32")

    def losses_forward(self, h: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        log_p, cache = self._log_p(h)
        found, loss_cache = losses.nll_forward(log_p, targets)
        return found, (cache, loss_cache)

    def losses_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        (map_cache, of_ranks), loss_cache = cache
        dlog_p = losses.nll_backward(dlosses, loss_cache)
        if self.form == "corn":
            dz, own = ordinal.corn_log_prob_backward(dlog_p, of_ranks), {}
        else:
            ds, dtheta = ordinal.cumulative_log_prob_backward(dlog_p, of_ranks)
            dz, own = ds[:, None], {"theta": dtheta}
        dh, grads = self.map.backward(dz, map_cache)
        assert dh is not None  # it was asked for
        return dh, {**grads, **own}

    def log_prob(self, h: Array, *, rng: Rng | None = None) -> Array:
        h, _ = self.check(h, rng=rng)
        return self._log_p(h)[0]

    def macs(self) -> int:
        return self.features * (1 if self.form == "cumulative" else self.classes.n - 1)

    def _log_p(self, h: Array) -> tuple[Array, Any]:
        """h (N, D) -> log p (N, C), cache."""
        z, map_cache = self.map.forward(h)
        if self.form == "corn":
            log_p, cache = ordinal.corn_log_prob_forward(z)
        else:
            log_p, cache = ordinal.cumulative_log_prob_forward(z[:, 0], self.params["theta"])
        return log_p, (map_cache, cache)


def equal_shares(ranks: int) -> np.ndarray:
    """θ for which all classes are as likely at s = 0: b_k = log(k / (C - k)). -> (C - 1,)"""
    k = np.arange(1, ranks + 1)
    b = np.log(k) - np.log(ranks + 1 - k)
    return np.concatenate([b[:1], np.log(np.expm1(np.diff(b)))])
