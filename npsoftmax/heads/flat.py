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
from npsoftmax.functional import loss as losses
from npsoftmax.functional import softmax
from npsoftmax.functional.softmax import positive
from npsoftmax.heads.base import Card, ClassInfo, Head
from npsoftmax.heads.checks import smoothing
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

    temperature: T > 0, in training and evaluation alike. label_smoothing ε (training only): the target is 1 - ε,
    plus ε/C on every class. Derivation: docs/softmax-family.md.
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
        **options: Any,
    ):
        super().__init__(features, classes, **options)
        self.label_smoothing = smoothing(label_smoothing)
        self.temperature = positive("temperature", temperature)

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        smoothed = self.label_smoothing if train else 0.0
        return losses.softmax_cross_entropy_fused_forward(z, targets, smoothed, self.temperature)

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
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

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        y, map_cache = softmax.log_softmax_forward(z / self.temperature)
        found, cache = losses.nll_forward(y, targets, self.label_smoothing if train else 0.0)
        return found, (map_cache, cache)

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        map_cache, loss_cache = cache
        dy = losses.nll_backward(dlosses, loss_cache)
        return softmax.log_softmax_backward(dy, map_cache) / self.temperature
