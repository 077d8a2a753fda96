"""Heads whose loss weighs a sample by the probability of its target. Derivation: docs/focal-and-robust.md."""

from __future__ import annotations

import math
from typing import Any

from npsoftmax.backend import Array
from npsoftmax.errors import InputError, as_number
from npsoftmax.functional import softmax, target_losses
from npsoftmax.heads.base import Card, ClassInfo
from npsoftmax.heads.checks import not_negative
from npsoftmax.heads.flat import FlatHead
from npsoftmax.random import Rng


class OfTheTarget(FlatHead):
    """What both share: softmax, and a loss that is no likelihood, in training and evaluation alike."""

    likelihood, soft_targets = False, True

    def log_prob_of_scores(self, z: Array, rng: Rng | None) -> Array:
        return softmax.log_softmax_forward(z)[0]


class FocalHead(OfTheTarget):
    """loss = mean (1 - p_y)^γ · (-log p_y + ε · (1 - p_y)), p = softmax(z): what is right already counts little.

    gamma: γ >= 0; 0 is the cross entropy. epsilon: ε > -1, the first coefficient of Poly-1, which with gamma=0 adds
    ε · (1 - p_y) to the cross entropy. No likelihood: the p that makes the mean loss least is flatter than the true one
    for γ > 0. log_prob = log softmax(z).
    """

    card = Card(
        "(1 - p_y)^γ (-log p_y + ε (1 - p_y))",
        "Lin et al., 2017 (arXiv 1708.02002); Leng et al., 2022 (arXiv 2204.12511)",
    )

    def __init__(self, features: int, classes: ClassInfo, *, gamma: float = 2.0, epsilon: float = 0.0, **options: Any):
        super().__init__(features, classes, **options)
        self.gamma = not_negative("gamma", gamma)
        if not -1 < as_number(epsilon) < math.inf:
            raise InputError(f"epsilon is {epsilon!r}, but a finite number above -1 is needed; type for example 1.")
        self.epsilon = float(epsilon)

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        return target_losses.focal_forward(z, targets, self.gamma, self.epsilon)

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        return target_losses.focal_backward(dlosses, cache)


class GeneralisedCrossEntropyHead(OfTheTarget):
    """loss = mean (1 - p_y^q) / q, p = softmax(z): a sample that the network finds impossible teaches it little.

    q: 1e-6 to 1; towards 0 it is the cross entropy, 1 is half the distance Σ_c |p_c - onehot_c|, which a share
    of wrong labels that is the same for all classes does not move. No likelihood: the loss is at most 1 / q, however
    wrong p is. log_prob = log softmax(z).
    """

    card = Card("(1 - p_y^q) / q", "Zhang and Sabuncu, 2018 (arXiv 1805.07836)")

    def __init__(self, features: int, classes: ClassInfo, *, q: float = 0.7, **options: Any):
        super().__init__(features, classes, **options)
        if not 1e-6 <= as_number(q) <= 1:
            raise InputError(
                f"q is {q!r}, but a number from 1e-6 to 1 is needed; type for example q=0.7. Towards 0 it is the cross "
                "entropy: softmax."
            )
        self.q = float(q)

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        return target_losses.generalised_cross_entropy_forward(z, targets, self.q)

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        return target_losses.generalised_cross_entropy_backward(dlosses, cache)
