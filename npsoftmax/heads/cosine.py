"""A head that sees directions only. Derivation: docs/margins-and-priors.md."""

from __future__ import annotations

from typing import Any

from npsoftmax.backend import Array
from npsoftmax.functional import cosine
from npsoftmax.functional.softmax import positive
from npsoftmax.heads.base import Card, ClassInfo
from npsoftmax.heads.flat import SoftmaxHead
from npsoftmax.params import Tree
from npsoftmax.random import Rng


class CosineHead(SoftmaxHead):
    """Cross entropy of softmax(s · cos(h, w_c)): lengths of features and class weights do not count.

    scale: s > 0. A cosine is at most 1, so no probability can pass e^{2s} / (e^{2s} + C - 1): choose s well above
    ln(C) / 2. label_smoothing (training only) as in `softmax`. params w (D, C); there is no bias. A vector of
    zeros has the cosine 0 with everything.
    """

    card = Card(
        "softmax(s cos(h, w_c))",
        "Wang et al., 2017 (arXiv 1704.06369); Luo et al., 2018 (arXiv 1702.05870)",
        parameters="D C",
    )

    def __init__(
        self,
        features: int,
        classes: ClassInfo,
        *,
        rng: Rng,
        scale: float = 16.0,
        label_smoothing: float = 0.0,
        init: str = "default",
        class_weight: str | tuple[float, ...] | None = None,
        ignore_label: int | None = None,
    ):
        options: dict[str, Any] = {"init": init, "class_weight": class_weight, "ignore_label": ignore_label}
        super().__init__(features, classes, rng=rng, label_smoothing=label_smoothing, bias=False, **options)
        self.scale = positive("scale", scale)

    def scores(self, h: Array) -> tuple[Array, Any]:
        """h (N, D) -> z (N, C) in (-s, s), cache."""
        y, cache = cosine.cosine_forward(h, self.params["w"])
        return self.scale * y, cache

    def scores_backward(self, dz: Array, cache: Any) -> tuple[Array, Tree]:
        """dz (N, C) -> dh (N, D), grads."""
        dh, dw = cosine.cosine_backward(self.scale * dz, cache)
        return dh, {"w": dw}
