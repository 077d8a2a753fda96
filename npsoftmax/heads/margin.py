"""Heads whose target must lead by a margin. Derivation: docs/margins-and-priors.md."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from npsoftmax.backend import Array, array_module
from npsoftmax.errors import unknown_name
from npsoftmax.functional import loss as losses
from npsoftmax.functional import softmax
from npsoftmax.functional.softmax import positive
from npsoftmax.heads.base import Card, ClassInfo
from npsoftmax.heads.checks import not_negative
from npsoftmax.heads.flat import FlatHead, SoftmaxHead, Terms
from npsoftmax.heads.taylor import LogTaylorSoftmaxHead
from npsoftmax.random import Rng

_REFERENCE = "Banerjee et al., 2020 (arXiv 2011.11538)"


def with_margin(z: Array, targets: Array, margin: Array | float) -> Array:
    """z (N, C) with the target's score lowered by `margin`, one or (N,): a shift, so its backward is the identity."""
    lowered = z.copy()
    lowered[array_module(z).arange(len(targets)), targets] -= margin
    return lowered


class SMSoftmaxHead(SoftmaxHead):
    """Soft-margin softmax: in training the target's score is z_y - m, so it must lead by m to be as sure.

    margin: m >= 0, in training only: evaluation is plain softmax. label_smoothing and temperature as in `softmax`.
    """

    soft_targets = False  # the margin is one target's
    has_blocks = True
    card = Card("softmax(z / T), with z_y - m in training", f"Liang et al., 2017; {_REFERENCE}")

    def __init__(self, features: int, classes: ClassInfo, *, margin: float = 0.6, **options: Any):
        super().__init__(features, classes, **options)
        self.margin = not_negative("margin", margin)

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        z = with_margin(z, targets, self.margin) if train else z
        return super().losses_of_scores(z, targets, train, rng)

    def terms(self, train: bool) -> Terms:
        return replace(super().terms(train), lead=self.margin / self.temperature if train else 0.0)


class SMTaylorSoftmaxHead(LogTaylorSoftmaxHead):
    """Soft-margin Taylor softmax: in training the target's share is f(z_y - m); evaluation is Taylor softmax.

    order: 2, 4, 6, … margin: m >= 0. The polynomial is not monotone, so where z_y lies below its minimum the
    margin *raises* the target's share.
    """

    soft_targets = False  # the margin is one target's
    card = Card("f(z) / Σ f(z), with f(z_y - m) in training", _REFERENCE)

    def __init__(self, features: int, classes: ClassInfo, *, order: int = 2, margin: float = 0.6, **options: Any):
        # Named again so that margin is listed behind it.
        super().__init__(features, classes, order=order, **options)
        self.margin = not_negative("margin", margin)

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        z = with_margin(z, targets, self.margin) if train else z
        return super().losses_of_scores(z, targets, train, rng)


RIVALS = ("all", "worst")


class HingeHead(FlatHead):
    """Multi-class hinge: loss = mean Σ_{c≠y} max(0, m + z_c - z_y) / C, which is 0 once the target leads all by m.

    margin: m > 0. rivals: "all", as above (Weston and Watkins; PyTorch's MultiMarginLoss), or "worst":
    max(0, m + max_{c≠y} z_c - z_y) (Crammer and Singer), which with many classes may teach a fresh network to
    make all scores equal (docs/margins-and-priors.md).
    No likelihood: a hinge orders the classes and gives no probabilities. log_prob is defined as log softmax(z), whose
    confidence nothing has trained; predict is its argmax.
    """

    likelihood = False
    card = Card("Σ_{c≠y} max(0, m + z_c - z_y) / C", "Weston and Watkins, 1999; Crammer and Singer, 2001")

    def __init__(self, features: int, classes: ClassInfo, *, margin: float = 1.0, rivals: str = "all", **options: Any):
        super().__init__(features, classes, **options)
        self.margin = positive("margin", margin)
        if rivals not in RIVALS:
            raise unknown_name("rivals", rivals, RIVALS)
        self.rivals = rivals

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        forward = losses.multi_margin_forward if self.rivals == "all" else losses.hinge_forward
        return forward(z, targets, self.margin)

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        backward = losses.multi_margin_backward if self.rivals == "all" else losses.hinge_backward
        return backward(dlosses, cache)

    def log_prob_of_scores(self, z: Array, rng: Rng | None) -> Array:
        return softmax.log_softmax_forward(z)[0]
