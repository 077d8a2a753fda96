"""A head that sees distances. Derivation: docs/margins-and-priors.md."""

from __future__ import annotations

import math
from typing import Any

from npsoftmax.backend import Array
from npsoftmax.functional import harmonic
from npsoftmax.functional.softmax import positive
from npsoftmax.heads.base import Card, ClassInfo
from npsoftmax.heads.flat import SoftmaxHead
from npsoftmax.params import Tree
from npsoftmax.random import Rng


class HarmonicHead(SoftmaxHead):
    """p_c in proportion to ‖h - w_c‖^{-n}: each class has a centre, and the nearest one is predicted.

    It is softmax of the scores -n · log ‖h - w_c‖. power: n above 0; None for √D, the published choice.
    label_smoothing (training only) as in `softmax`. params w (D, C), the centres; there is no bias.
    """

    card = Card("‖h - w_c‖^-n / Σ_j ‖h - w_j‖^-n", "Baek et al., 2025 (arXiv 2502.01628)", parameters="D C")

    def __init__(
        self,
        features: int,
        classes: ClassInfo,
        *,
        rng: Rng,
        power: float | None = None,
        label_smoothing: float = 0.0,
        init: str = "default",
        class_weight: tuple[float, ...] | str | None = None,
        ignore_label: int | None = None,
    ):
        options: dict[str, Any] = {"init": init, "class_weight": class_weight, "ignore_label": ignore_label}
        super().__init__(features, classes, rng=rng, label_smoothing=label_smoothing, bias=False, **options)
        self.power = math.sqrt(features) if power is None else positive("power", power)

    def scores(self, h: Array) -> tuple[Array, Any]:
        """h (N, D) -> z (N, C), cache."""
        return harmonic.harmonic_forward(h, self.params["w"], self.power)

    def scores_backward(self, dz: Array, cache: Any) -> tuple[Array, Tree]:
        """dz (N, C) -> dh (N, D), grads."""
        dh, dw = harmonic.harmonic_backward(dz, cache)
        return dh, {"w": dw}
