"""A head that sees directions only. Derivation: docs/margins-and-priors.md."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from npsoftmax.backend import Array
from npsoftmax.functional import cosine
from npsoftmax.functional.linear_softmax import direction_gain_backward, direction_gain_forward
from npsoftmax.functional.softmax import positive
from npsoftmax.heads.base import Card, ClassInfo
from npsoftmax.heads.flat import SoftmaxHead, Terms
from npsoftmax.params import Tree
from npsoftmax.random import Rng


class CosineHead(SoftmaxHead):
    """Cross entropy of softmax(s · cos(h, w_c)): lengths of features and class weights do not count.

    scale: s > 0. A cosine is at most 1, so no probability can pass e^{2s} / (e^{2s} + C - 1): choose s well above
    ln(C) / 2. label_smoothing (training only) as in `softmax`. params w (D, C); there is no bias. A vector of
    zeros has the cosine 0 with everything.
    """

    has_blocks = True
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
        logits: str = "auto",
        class_weight: tuple[float, ...] | str | None = None,
        ignore_label: int | None = None,
    ):
        options: dict[str, Any] = {"init": init, "class_weight": class_weight, "ignore_label": ignore_label}
        options["logits"] = logits
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

    # ------------------------------------------------------------ in blocks
    def terms(self, train: bool) -> Terms:
        return replace(super().terms(train), scale=self.scale)

    def blocks_forward(self, h: Array, targets: Array, terms: Terms) -> tuple[Array, Any]:
        units, h_cache = cosine.unit_rows_forward(h)
        gain, w_cache = direction_gain_forward(self.params["w"].T, eps=cosine.EPS)
        losses, cache = super().blocks_forward(units, targets, replace(terms, gain=gain))
        return losses, (h_cache, w_cache, cache)

    def blocks_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        h_cache, w_cache, cache = cache
        dunits, grads = super().blocks_backward(dlosses, cache)
        dw = direction_gain_backward(grads["w"].T, w_cache)
        return cosine.unit_rows_backward(dunits, h_cache), {"w": dw.T}
