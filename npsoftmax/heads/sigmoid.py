"""One sigmoid a class, for sets of labels and for single ones. Derivation: docs/multi-label.md."""

from __future__ import annotations

import math
from typing import Any

from npsoftmax.backend import Array
from npsoftmax.errors import InputError, as_number
from npsoftmax.functional.binary import log_sigmoid, one_against_rest_backward, one_against_rest_forward
from npsoftmax.heads.base import Card, ClassInfo, top_k
from npsoftmax.heads.checks import check_k
from npsoftmax.heads.flat import FlatHead
from npsoftmax.random import Rng


class SigmoidHead(FlatHead):
    """p_c = σ(z_c), each class against the rest: loss = mean Σ_c softplus(z_c) - q_c · z_c.

    q: a set of labels a sample, (N, C) of 0 and 1 (or shares between), or its one label, (N,). No distribution over the
    classes: several may be right, or none, and p does not sum to 1; no likelihood of one label. `predict` gives the
    highest scores, `predict_sets` the labels with p_c >= threshold, from 0 to 1. class_weight, for sets of labels, is
    what the "yes" of each class is multiplied by in training (PyTorch's pos_weight). b begins at -log C.
    """

    likelihood, distribution, multi_label = False, False, True
    card = Card("σ(z_c), each class against the rest", "Cox, 1958; Wightman et al., 2021 (arXiv 2110.00476)")

    def __init__(self, features: int, classes: ClassInfo, *, threshold: float = 0.5, **options: Any):
        super().__init__(features, classes, **options)
        self.threshold = _threshold(threshold)
        if "b" in self.params:  # so that Σ p begins near 1, where at z = 0 it would be C/2
            self.params["b"] = self.params["b"] - math.log(classes.n)

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        yes = None
        if targets.ndim == 2 and self.ignore_label is not None:
            raise InputError(
                f"ignore_label={self.ignore_label} is for single labels, but these are sets of them; leave it out, and "
                "give samples that don't count the weight 0: loss(h, targets, weights=w)."
            )
        if train and self.class_weight is not None and targets.ndim == 2:
            yes = self._class_weights(z)
        return one_against_rest_forward(z, targets, yes)

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        return one_against_rest_backward(dlosses, cache)

    def log_prob_of_scores(self, z: Array, rng: Rng | None) -> Array:
        return log_sigmoid(z)

    def predict(self, h: Array, k: int = 1, *, rng: Rng | None = None) -> Array:
        """The k labels with the highest scores, best first; ties go to the lowest label. h (N, D) -> (N, k)."""
        check_k(k, self.classes.n)
        h, _ = self.check(h, rng=rng)
        return top_k(self.scores(h)[0], k)

    def predict_sets(self, h: Array, *, threshold: float | None = None, rng: Rng | None = None) -> Array:
        """Whether each label is in the set: p >= threshold (None: the head's own). h (N, D) -> booleans (N, C)."""
        p = self.threshold if threshold is None else _threshold(threshold)
        h, _ = self.check(h, rng=rng)
        return self.scores(h)[0] >= (math.inf if p == 1 else -math.inf if p == 0 else math.log(p) - math.log1p(-p))


def _threshold(value: float) -> float:
    if not 0 <= as_number(value) <= 1:
        raise InputError(f"threshold is {value!r}, but a probability from 0 to 1 was expected; type threshold=0.5.")
    return float(value)
