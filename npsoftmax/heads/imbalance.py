"""A head for classes of unequal size: logit adjustment. Derivation: docs/margins-and-priors.md."""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError, unknown_name
from npsoftmax.functional import loss as losses
from npsoftmax.functional import softmax
from npsoftmax.heads.base import Card, ClassInfo
from npsoftmax.heads.checks import not_negative, smoothing
from npsoftmax.heads.flat import FlatHead
from npsoftmax.random import Rng

PRIORS = ("uniform", "train")


class BalancedHead(FlatHead):
    """Trains softmax(z + s · log π), π the shares of the classes in training; evaluates softmax(z + log ρ).

    strength: s >= 0; 1 makes z the scores for classes of equal size, 0 is plain softmax. prior: ρ, the shares
    expected where the model is used: uniform (every class as likely: best mean accuracy over classes), train
    (π, best accuracy on data like the training set), or C numbers above 0; `compensate` changes it in a trained
    model. label_smoothing (training only) as in `softmax`. buffers log_prior (C,): log π.
    Raises InputError without class counts, or for a class with none.
    """

    soft_targets = True
    card = Card("softmax(z + s log π) in training, softmax(z + log ρ) after", "Menon et al., 2021 (arXiv 2007.07314)")

    def __init__(
        self,
        features: int,
        classes: ClassInfo,
        *,
        strength: float = 1.0,
        prior: str | tuple[float, ...] = "uniform",
        label_smoothing: float = 0.0,
        **options: Any,
    ):
        super().__init__(features, classes, **options)
        self.strength = not_negative("strength", strength)
        self.label_smoothing = smoothing(label_smoothing)
        self.buffers["log_prior"] = log_shares("class counts", _counts(classes)).astype("float32")
        self.compensate(prior)

    def compensate(self, prior: str | tuple[float, ...]) -> None:
        """From now on evaluate for classes in the shares of `prior`: uniform, train, or C numbers above 0."""
        if isinstance(prior, str):
            if prior not in PRIORS:
                raise unknown_name("prior", prior, PRIORS)
            self.prior = None if prior == "uniform" else log_shares("class counts", _counts(self.classes))
            return
        if len(prior) != self.classes.n:
            raise InputError(
                f"prior has {len(prior)} numbers, but one for each of {self.classes.n} classes is needed; "
                "type prior=uniform, prior=train or that many numbers."
            )
        self.prior = log_shares("prior", np.asarray(prior, dtype=float))

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        if not train:
            return losses.softmax_cross_entropy_fused_forward(self._compensated(z), targets)
        adjusted = z + self.strength * self.buffers["log_prior"]
        return losses.softmax_cross_entropy_fused_forward(adjusted, targets, self.label_smoothing)

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        return losses.softmax_cross_entropy_fused_backward(dlosses, cache)  # the prior is a shift of z

    def log_prob_of_scores(self, z: Array, rng: Rng | None) -> Array:
        return softmax.log_softmax_forward(self._compensated(z))[0]

    def _compensated(self, z: Array) -> Array:
        return z if self.prior is None else z + array_module(z).asarray(self.prior, dtype=z.dtype)


def _counts(classes: ClassInfo) -> np.ndarray:
    if classes.counts is None:
        raise InputError(
            "the balanced head needs the number of training samples of each class, and none were given; "
            "pass classes=ClassInfo.from_labels(y_train, C)."
        )
    return np.asarray(classes.counts)


def log_shares(what: str, sizes: np.ndarray) -> np.ndarray:
    """log(sizes / Σ sizes) (C,); InputError unless all are finite and above 0."""
    good = np.isfinite(sizes) & (sizes > 0)
    if not good.all():
        first = int(np.argmin(good))
        raise InputError(
            f"{what} hold {sizes[first]} for class {first}, but a finite number above 0 is needed for each "
            "class: the logarithm of a share of 0 is no score."
        )
    return np.log(sizes / sizes.sum())
