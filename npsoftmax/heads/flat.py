"""Heads with one score a class: the linear map that they share, and softmax by its two routes.

Design: a flat head is a map h -> z and a function of each row of z. `FlatHead` does the first and the protocol;
a subclass adds three small methods on the scores: the losses, their backward and the log-probabilities. None of
them may change z, which is the features themselves under linear=False.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from npsoftmax.backend import Array
from npsoftmax.errors import InputError
from npsoftmax.functional import cosine, logits, softmax
from npsoftmax.functional import loss as losses
from npsoftmax.functional.softmax import positive
from npsoftmax.functional.targets import mass_of
from npsoftmax.heads.base import Card, ClassInfo, Head
from npsoftmax.heads.checks import not_negative, smoothing
from npsoftmax.layers.dense import Dense
from npsoftmax.params import Tree
from npsoftmax.random import Rng


class FlatHead(Head):
    """Scores z = h @ w + b, or z = h with linear=False (then D must be C), and a loss of the scores.

    params w (D, C), b (C,): none under linear=False, no b under bias=False.
    """

    def __init__(
        self,
        features: int,
        classes: ClassInfo,
        *,
        rng: Rng,
        linear: bool = True,
        bias: bool = True,
        init: str = "default",
        **options: Any,
    ):
        super().__init__(features, classes, rng=rng, **options)
        if not linear and features != classes.n:
            raise InputError(
                f"linear=false takes the features as the {classes.n} scores, but there are {features} of "
                f"them; give the model a layer of {classes.n} logits (--model-opt logits={classes.n})."
            )
        self.map = Dense(features, classes.n, rng=rng, bias=bias, init=init) if linear else None
        if self.map is not None:
            self.params = self.map.params

    # ------------------------------------------------------------ what a flat head adds
    @abstractmethod
    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        """z (N, C), targets (N,), or (N, C) if `soft_targets` -> losses (N,), cache."""

    @abstractmethod
    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        """dlosses (N,) -> dz (N, C)."""

    @abstractmethod
    def log_prob_of_scores(self, z: Array, rng: Rng | None) -> Array:
        """z (N, C) -> log p (N, C), in evaluation."""

    # ------------------------------------------------------------ the protocol
    def losses_forward(self, h: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        z, map_cache = self.scores(h)
        losses, cache = self.losses_of_scores(z, targets, train, rng)
        return losses, (map_cache, cache)

    def losses_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        map_cache, loss_cache = cache
        return self.scores_backward(self.losses_of_scores_backward(dlosses, loss_cache), map_cache)

    def log_prob(self, h: Array, *, rng: Rng | None = None) -> Array:
        h, _ = self.check(h, rng=rng)
        z, _ = self.scores(h)
        return self.log_prob_of_scores(z, rng) if len(z) else z

    # ------------------------------------------------------------ the linear map
    def scores(self, h: Array) -> tuple[Array, Any]:
        """h (N, D) -> z (N, C), cache."""
        return (h, None) if self.map is None else self.map.forward(h)

    def scores_backward(self, dz: Array, cache: Any) -> tuple[Array, Tree]:
        """dz (N, C) -> dh (N, D), grads."""
        if self.map is None:
            return dz, {}
        dh, grads = self.map.backward(dz, cache)
        assert dh is not None  # it was asked for
        return dh, grads

    def macs(self) -> int:
        return 0 if self.map is None else self.features * self.classes.n


class SoftmaxHead(FlatHead):
    """log p = log softmax(z / T); loss = -mean log p[target], both in one fused step.

    In training and evaluation alike: temperature T > 0; soft_cap c > 0, z becomes c · tanh(z / c); logit_norm τ > 0, z
    becomes z / (τ · ‖z‖), behind the cap. In training only: label_smoothing ε, the target is 1 - ε, plus ε/C on every
    class; and of the scores s that softmax is given, z_loss λ adds λ · (log Σ e^s)², max_sup α adds
    α · (max s - mean s). Derivation: docs/softmax-family.md.
    """

    card = Card("softmax(z / T)", "Bridle, 1990; label smoothing: Szegedy et al., 2016 (arXiv 1512.00567)")
    soft_targets = True

    def __init__(
        self,
        features: int,
        classes: ClassInfo,
        *,
        label_smoothing: float = 0.0,
        temperature: float = 1.0,
        soft_cap: float | None = None,
        logit_norm: float | None = None,
        z_loss: float = 0.0,
        max_sup: float = 0.0,
        **options: Any,
    ):
        super().__init__(features, classes, **options)
        self.label_smoothing = smoothing(label_smoothing)
        self.temperature = positive("temperature", temperature)
        self.soft_cap = None if soft_cap is None else positive("soft_cap", soft_cap)
        self.logit_norm = None if logit_norm is None else positive("logit_norm", logit_norm)
        self.z_loss, self.max_sup = not_negative("z_loss", z_loss), not_negative("max_sup", max_sup)
        self.plain = self.soft_cap is None and self.logit_norm is None  # scores are those of the linear map

    # ------------------------------------------------------------ the scores
    def scores(self, h: Array) -> tuple[Array, Any]:
        """h (N, D) -> z (N, C), capped and normalised, cache."""
        z, map_cache = super().scores(h)
        if self.plain:
            return z, map_cache
        cap_cache = norm_cache = None
        if self.soft_cap is not None:
            z, cap_cache = logits.soft_cap_forward(z, self.soft_cap)
        if self.logit_norm is not None:
            z, norm_cache = cosine.unit_rows_forward(z)
            z = z / self.logit_norm
        return z, (map_cache, cap_cache, norm_cache)

    def scores_backward(self, dz: Array, cache: Any) -> tuple[Array, Tree]:
        """dz (N, C) -> dh (N, D), grads."""
        if self.plain:
            return super().scores_backward(dz, cache)
        map_cache, cap_cache, norm_cache = cache
        if self.logit_norm is not None:
            dz = cosine.unit_rows_backward(dz / self.logit_norm, norm_cache)
        if self.soft_cap is not None:
            dz = logits.soft_cap_backward(dz, cap_cache)
        return super().scores_backward(dz, map_cache)

    # ------------------------------------------------------------ the loss
    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        found, cache = self.cross_entropy(z, targets, self.label_smoothing if train else 0.0)
        if not (train and (self.z_loss or self.max_sup)):
            return found, (cache, None)
        mass, s = mass_of(targets), z / self.temperature
        size, size_cache = logits.z_loss_forward(s, self.z_loss)
        lead, lead_cache = logits.max_suppression_forward(s, self.max_sup)
        return found + mass * (size + lead), (cache, (mass, size_cache, lead_cache))

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        cache, penalties = cache
        dz = self.cross_entropy_backward(dlosses, cache)
        if penalties is None:
            return dz
        mass, size_cache, lead_cache = penalties
        dlosses = dlosses * mass / self.temperature
        return dz + logits.z_loss_backward(dlosses, size_cache) + logits.max_suppression_backward(dlosses, lead_cache)

    def cross_entropy(self, z: Array, targets: Array, label_smoothing: float) -> tuple[Array, Any]:
        """z (N, C), targets (N,) or (N, C) -> losses (N,), cache."""
        return losses.softmax_cross_entropy_fused_forward(z, targets, label_smoothing, self.temperature)

    def cross_entropy_backward(self, dlosses: Array, cache: Any) -> Array:
        """dlosses (N,) -> dz (N, C)."""
        return losses.softmax_cross_entropy_fused_backward(dlosses, cache)

    def log_prob_of_scores(self, z: Array, rng: Rng | None) -> Array:
        return softmax.log_softmax_forward(z / self.temperature)[0]


class LogSoftmaxHead(SoftmaxHead):
    """The softmax head in two steps: log-softmax, then the negative log-likelihood of the target.

    The same function as `softmax`, loss for loss and gradient for gradient, with the options of `softmax`: it is
    the logarithm *inside* the loss that matters, not the name. It writes the (N, C) log-probabilities out and
    reads them again, which the fused step need not.
    """

    card = Card("log_softmax(z / T), then NLL", "Bridle, 1990")

    def cross_entropy(self, z: Array, targets: Array, label_smoothing: float) -> tuple[Array, Any]:
        y, map_cache = softmax.log_softmax_forward(z / self.temperature)
        found, cache = losses.nll_forward(y, targets, label_smoothing)
        return found, (map_cache, cache)

    def cross_entropy_backward(self, dlosses: Array, cache: Any) -> Array:
        map_cache, loss_cache = cache
        dy = losses.nll_backward(dlosses, loss_cache)
        return softmax.log_softmax_backward(dy, map_cache) / self.temperature
