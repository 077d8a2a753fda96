"""Heads for classes of unequal size: logit adjustment with vector scaling, and margins by class.

Derivation: docs/margins-and-priors.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.cuda import Constant
from npsoftmax.errors import InputError, unknown_name
from npsoftmax.functional import loss as losses
from npsoftmax.functional import softmax
from npsoftmax.heads.base import Card, ClassInfo
from npsoftmax.heads.checks import not_negative, smoothing
from npsoftmax.heads.cosine import CosineHead
from npsoftmax.heads.flat import CrossEntropyHead, Terms
from npsoftmax.heads.margin import with_margin
from npsoftmax.random import Rng

PRIORS = ("uniform", "train")


class BalancedHead(CrossEntropyHead):
    """Trains softmax(z + s · log π), π the shares of the classes in training; evaluates softmax(z + log ρ).

    strength: s >= 0; 1 makes z the scores for classes of equal size, 0 is plain softmax. scaling: γ >= 0, vector
    scaling: in training each z_c is multiplied by (n_c / max n)^γ first, so that rare classes need larger scores.
    prior: ρ, the shares expected where the model is used: uniform (every class as likely: best mean accuracy over
    classes), train (π, best accuracy on data like the training set), or C numbers above 0; `compensate` changes it in
    a trained model. label_smoothing (training only) as in `softmax`. buffers log_prior (C,), log π, and slope (C,), the
    factors of vector scaling, if it is on.
    Raises InputError without class counts, or for a class with none.
    """

    soft_targets = has_blocks = True
    card = Card("softmax(z + s log π) in training, softmax(z + log ρ) after", "Menon et al., 2021 (arXiv 2007.07314)")

    def __init__(
        self,
        features: int,
        classes: ClassInfo,
        *,
        strength: float = 1.0,
        scaling: float = 0.0,
        prior: str | tuple[float, ...] = "uniform",
        label_smoothing: float = 0.0,
        **options: Any,
    ):
        super().__init__(features, classes, **options)
        self.strength, self.scaling = not_negative("strength", strength), not_negative("scaling", scaling)
        self.label_smoothing = smoothing(label_smoothing)
        log_prior = log_shares("class counts", _counts(classes))
        self.buffers["log_prior"] = log_prior.astype("float32")
        if self.scaling:
            self.buffers["slope"] = np.exp(self.scaling * (log_prior - log_prior.max())).astype("float32")
        self.compensate(prior)
        self.check_logits()

    def compensate(self, prior: str | tuple[float, ...]) -> None:
        """From now on evaluate for classes in the shares of `prior`: uniform, train, or C numbers above 0."""
        if isinstance(prior, str):
            if prior not in PRIORS:
                raise unknown_name("prior", prior, PRIORS)
            self.prior = None if prior == "uniform" else log_shares("class counts", _counts(self.classes))
            self._prior = Constant(self.prior)
            return
        if len(prior) != self.classes.n:
            raise InputError(
                f"prior has {len(prior)} numbers, but one for each of {self.classes.n} classes is needed; "
                "type prior=uniform, prior=train or that many numbers."
            )
        self.prior = log_shares("prior", np.asarray(prior, dtype=float))
        self._prior = Constant(self.prior)

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        if not train:
            found, cache = losses.softmax_cross_entropy_fused_forward(self._compensated(z), targets)
            return found, (cache, None)
        slope = self.buffers.get("slope")
        adjusted = (z if slope is None else z * slope) + self.strength * self.buffers["log_prior"]
        found, cache = losses.softmax_cross_entropy_fused_forward(adjusted, targets, self.label_smoothing)
        return found, (cache, slope)

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        cache, slope = cache
        dz = losses.softmax_cross_entropy_fused_backward(dlosses, cache)  # the prior is a shift of z
        return dz if slope is None else slope * dz

    def terms(self, train: bool) -> Terms:
        if train:
            shift = self.strength * self.buffers["log_prior"]
            return Terms(gain=self.buffers.get("slope"), shift=shift, label_smoothing=self.label_smoothing)
        return Terms(shift=self.prior)

    def log_prob_of_scores(self, z: Array, rng: Rng | None) -> Array:
        return softmax.log_softmax_forward(self._compensated(z))[0]

    def _compensated(self, z: Array) -> Array:
        return z if self.prior is None else z + self._prior.like(z)


class LDAMHead(CosineHead):
    """Margins by class: in training the target's score is s · (cos(h, w_y) - m_y), m_c in proportion to n_c^{-1/4}.

    margin: that of the smallest class, the largest of all; a class 16 times as large has half of it. scale: s > 0, as
    in `cosine`. In evaluation there is no margin. class_weight may be added, as in every head: the published recipe
    turns it on for the last epochs. buffers margins (C,). Raises InputError without class counts, or for a class with
    none.
    """

    soft_targets = False  # the margin is one target's
    has_blocks = True
    card = Card(
        "softmax(s cos(h, w_c)), with cos - m_y in training", "Cao et al., 2019 (arXiv 1906.07413)", parameters="D C"
    )

    def __init__(self, features: int, classes: ClassInfo, *, margin: float = 0.5, scale: float = 30.0, **options: Any):
        super().__init__(features, classes, scale=scale, **options)
        self.margin = not_negative("margin", margin)
        log_share = log_shares("class counts", _counts(classes))
        self.buffers["margins"] = (self.margin * np.exp((log_share.min() - log_share) / 4)).astype("float32")

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        z = with_margin(z, targets, self.scale * self.buffers["margins"][targets]) if train else z
        return super().losses_of_scores(z, targets, train, rng)

    def terms(self, train: bool) -> Terms:
        return replace(super().terms(train), lead=self.scale * self.buffers["margins"] if train else 0.0)


def _counts(classes: ClassInfo) -> np.ndarray:
    if classes.counts is None:
        raise InputError(
            "this head needs the number of training samples of each class, and none were given; "
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
            "class: there is neither a score nor a margin for a share of 0."
        )
    return np.log(sizes / sizes.sum())
