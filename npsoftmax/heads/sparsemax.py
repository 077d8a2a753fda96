"""Heads that can give a class probability 0, with their Fenchel-Young losses. Derivation: docs/sparse.md."""

from __future__ import annotations

from typing import Any

from npsoftmax.backend import Array, array_module
from npsoftmax.functional import entmax, sparse_mappings
from npsoftmax.functional import loss as losses
from npsoftmax.heads.base import Card, ClassInfo, top_k
from npsoftmax.heads.checks import check_k
from npsoftmax.heads.flat import FlatHead
from npsoftmax.random import Rng


class SparseHead(FlatHead):
    """What they share: no likelihood (-log 0 is infinite), and a ranking that goes on below probability 0."""

    likelihood = False
    soft_targets = True

    def predict(self, h: Array, k: int = 1, *, rng: Rng | None = None) -> Array:
        """The k best labels by score, which is the order of log_prob; of classes at 0, the highest score first."""
        check_k(k, self.classes.n)
        h, _ = self.check(h, rng=rng)
        return top_k(self.scores(h)[0], k)


class SparsemaxHead(SparseHead):
    """p = the point of the simplex nearest to z; loss = Σ_c (p_c - onehot_c) · z_c + (1 - Σ p²) / 2, mean over N.

    The loss is 0 once the target leads by 1. log_prob is -inf where p is 0, so no NLL is reported.
    """

    card = Card("max(z - θ, 0), θ with Σ = 1", "Martins and Astudillo, 2016 (arXiv 1602.02068)", "O(C log C)", "O(C)")

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        return losses.sparsemax_loss_forward(z, targets)

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        return losses.sparsemax_loss_backward(dlosses, cache)

    def log_prob_of_scores(self, z: Array, rng: Rng | None) -> Array:
        return log_or_minus_infinity(sparse_mappings.sparsemax_forward(z)[0])


class Entmax15Head(SparseHead):
    """p = max(z/2 - θ, 0)², half-way from softmax to sparsemax; its loss is 0 once the target leads by 2.

    log_prob is -inf where p is 0, so no NLL is reported.
    """

    card = Card("max(z / 2 - θ, 0)², θ with Σ = 1", "Peters et al., 2019 (arXiv 1905.05702)", "O(C log C)", "O(C)")

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        return losses.entmax15_loss_forward(z, targets)

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        return losses.entmax15_loss_backward(dlosses, cache)

    def log_prob_of_scores(self, z: Array, rng: Rng | None) -> Array:
        return log_or_minus_infinity(sparse_mappings.entmax15_forward(z)[0])


class EntmaxHead(SparseHead):
    """p = max((α - 1) z - θ, 0)^{1 / (α - 1)}: softmax, entmax15 and sparsemax are α = 1, 1.5 and 2 of this family.

    alpha: above 1; the larger, the more classes have probability 0. The loss is 0 once the target leads by
    1 / (α - 1). log_prob is -inf where p is 0, so no NLL is reported.
    """

    card = Card("max((α - 1) z - θ, 0)^(1 / (α - 1)), θ with Σ = 1", "Peters et al., 2019 (arXiv 1905.05702)")

    def __init__(self, features: int, classes: ClassInfo, *, alpha: float = 1.25, **options: Any):
        super().__init__(features, classes, **options)
        self.alpha = entmax.check_alpha(alpha)

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        return losses.entmax_loss_forward(z, targets, self.alpha)

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        return losses.entmax_loss_backward(dlosses, cache)

    def log_prob_of_scores(self, z: Array, rng: Rng | None) -> Array:
        return log_or_minus_infinity(entmax.entmax_forward(z, alpha=self.alpha)[0])


def log_or_minus_infinity(p: Array) -> Array:
    """log p, and -inf for 0 without the warning. p (…) -> (…)."""
    xp = array_module(p)
    return xp.where(p > 0, xp.log(xp.where(p > 0, p, 1)), -xp.inf)
