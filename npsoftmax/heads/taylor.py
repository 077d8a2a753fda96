"""Heads with a polynomial in the place of the exponential. Derivation: docs/taylor.md.

Design: a polynomial does not keep the order of the scores, so these predict by the argmax of the probability,
never of z, and normalise each row by its own sum.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.backend import Array
from npsoftmax.functional import log_loss, spherical, taylor
from npsoftmax.functional import loss as losses
from npsoftmax.functional.softmax import positive
from npsoftmax.heads.base import Card, ClassInfo
from npsoftmax.heads.checks import smoothing
from npsoftmax.heads.flat import FlatHead
from npsoftmax.random import Rng

_REFERENCE = "de Brébisson and Vincent, 2016 (arXiv 1511.05042)"


class LogTaylorSoftmaxHead(FlatHead):
    """log p = log f(z) - log Σ f(z), f the Taylor polynomial of e^z of even `order`; loss = -mean log p[target].

    order: 2, 4, 6, … label_smoothing (training only) as in `softmax`.
    """

    soft_targets = True
    card = Card("log f(z) - log Σ f(z), then NLL; f(z) = Σ_{k≤order} z^k / k!", _REFERENCE)

    def __init__(
        self, features: int, classes: ClassInfo, *, order: int = 2, label_smoothing: float = 0.0, **options: Any
    ):
        super().__init__(features, classes, **options)
        self.order = taylor.check_order(order)
        self.label_smoothing = smoothing(label_smoothing)

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        y, map_cache = taylor.log_taylor_softmax_forward(z, order=self.order)
        found, cache = losses.nll_forward(y, targets, self.label_smoothing if train else 0.0)
        return found, (map_cache, cache)

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        map_cache, loss_cache = cache
        return taylor.log_taylor_softmax_backward(losses.nll_backward(dlosses, loss_cache), map_cache)

    def log_prob_of_scores(self, z: Array, rng: Rng | None) -> Array:
        return taylor.log_taylor_softmax_forward(z, order=self.order)[0]


class TaylorSoftmaxHead(LogTaylorSoftmaxHead):
    """p = f(z) / Σ f(z), f the Taylor polynomial of e^z of even `order`; loss = -mean log p[target].

    The same function as `log_taylor_softmax`, with its options: here the shares are formed and the logarithm is
    taken of the target's alone. An exponential would underflow there; a polynomial never gets so small.
    """

    card = Card("f(z) / Σ f(z); f(z) = Σ_{k≤order} z^k / k!", _REFERENCE)

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        p, map_cache = taylor.taylor_softmax_forward(z, order=self.order)
        found, cache = log_loss.log_loss_forward(p, targets, self.label_smoothing if train else 0.0)
        return found, (map_cache, cache)

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        map_cache, loss_cache = cache
        return taylor.taylor_softmax_backward(log_loss.log_loss_backward(dlosses, loss_cache), map_cache)


class SphericalHead(FlatHead):
    """log p = log(z² + ε) - log Σ (z² + ε); loss = -mean log p[target]. It sees the size of a score, not its sign.

    eps: ε > 0 keeps a row of zeros from 0/0 and the gradient below 1/√ε. label_smoothing (training only) as in
    `softmax`.
    """

    soft_targets = True
    card = Card("(z² + ε) / Σ (z² + ε)", _REFERENCE)

    def __init__(
        self, features: int, classes: ClassInfo, *, eps: float = 1e-3, label_smoothing: float = 0.0, **options: Any
    ):
        super().__init__(features, classes, **options)
        self.eps = positive("eps", eps)
        self.label_smoothing = smoothing(label_smoothing)

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        y, map_cache = spherical.log_spherical_softmax_forward(z, eps=self.eps)
        found, cache = losses.nll_forward(y, targets, self.label_smoothing if train else 0.0)
        return found, (map_cache, cache)

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        map_cache, loss_cache = cache
        return spherical.log_spherical_softmax_backward(losses.nll_backward(dlosses, loss_cache), map_cache)

    def log_prob_of_scores(self, z: Array, rng: Rng | None) -> Array:
        return spherical.log_spherical_softmax_forward(z, eps=self.eps)[0]
