"""Class centres that a sample must be near by a margin: ArcFace and CosFace. Derivation: docs/margins-and-priors.md."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError, as_number, unknown_name
from npsoftmax.functional.centres import (
    centres_backward,
    centres_forward,
    drawn_centres_backward,
    drawn_centres_forward,
)
from npsoftmax.functional.cosine import unit_rows_backward, unit_rows_forward
from npsoftmax.functional.linear_softmax import linear_softmax_nll_backward, linear_softmax_nll_forward
from npsoftmax.functional.softmax import log_softmax_forward, positive
from npsoftmax.heads.base import Card, ClassInfo, Head
from npsoftmax.heads.row_map import SPARSE_FROM
from npsoftmax.kernels import matmul
from npsoftmax.layers.initialisation import initialiser
from npsoftmax.params import SparseRows, Tree
from npsoftmax.random import Rng

MARGINS = {"arcface": 0.5, "cosface": 0.35}  # those of the papers


class ArcFaceHead(Head):
    """log p = log softmax(s · cos θ), θ_c the angle between h and the centre w_c; in training the target needs a lead.

    form: "arcface", z_y = s · cos(θ_y + m), which past θ_y = π - m goes on as s · (cos θ_y + cos m - 1); or "cosface",
    z_y = s · (cos θ_y - m). margin: m >= 0, an angle below π/2 or a cosine; None: 0.5 and 0.35, as published.
    scale: s > 0, with the ceiling of `cosine`. Evaluation has no margin. share: r in (0, 1]; below 1 a training step
    compares each sample with its own centre and with r·C drawn ones (at least two), the same for the whole batch, each
    counted 1/r times, so that the sum expects the full one. From 10,000 classes on gradients are then SparseRows.
    There is no bias. params w (C, D).
    """

    card = Card(
        "softmax(s cos θ), with cos(θ_y + m) or cos θ_y - m in training",
        "Deng et al., 2019 (arXiv 1801.07698); Wang et al., 2018 (arXiv 1801.09414)",
        step="O(C), O(r C) with share=r",
        parameters="D C",
    )

    def __init__(
        self,
        features: int,
        classes: ClassInfo,
        *,
        rng: Rng,
        form: str = "arcface",
        scale: float = 16.0,
        margin: float | None = None,
        share: float = 1.0,
        init: str = "default",
        **options: Any,
    ):
        super().__init__(features, classes, rng=rng, **options)
        if form not in MARGINS:
            raise unknown_name("form", form, MARGINS)
        self.form, self.scale = form, positive("scale", scale)
        self.margin = MARGINS[form] if margin is None else _margin(form, margin)
        if not 0 < as_number(share) <= 1:
            raise InputError(f"share is {share!r}, but a number above 0 and up to 1 was expected; type share=0.1.")
        self.share = float(share)
        self.drawn = min(classes.n, max(2, round(self.share * classes.n)))
        if self.drawn < classes.n:
            self.uncaptured = "it draws classes on the host"
        self.params["w"] = initialiser(init)((classes.n, features), features, rng.child("w"))

    def losses_forward(self, h: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        w = self.params["w"]
        if not train:
            (units, h_cache), (centres, w_cache) = unit_rows_forward(h), unit_rows_forward(w)
            nll, cache = linear_softmax_nll_forward(self.scale * units, centres, None, targets)
            return nll, ("evaluation", (h_cache, w_cache, cache))
        name = "angle" if self.form == "arcface" else "gap"
        options = {"scale": self.scale, name: self.margin}
        if self.drawn == self.classes.n:
            losses, cache = centres_forward(h, w, targets, **options)
            return losses, ("all", cache)
        losses, cache = drawn_centres_forward(h, w, targets, self.draw(rng, h), **options)
        return losses, ("drawn", cache)

    def losses_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        kind, cache = cache
        if kind == "all":
            dh, dw = centres_backward(dlosses, cache)
        elif kind == "drawn":
            dh, rows, values = drawn_centres_backward(dlosses, cache)
            found = SparseRows.from_indices(rows, values, self.classes.n)
            return dh, {"w": found.to_dense() if self.classes.n < SPARSE_FROM else found}
        else:
            h_cache, w_cache, cache = cache
            dunits, dcentres, _ = linear_softmax_nll_backward(dlosses, cache)
            dh, dw = unit_rows_backward(self.scale * dunits, h_cache), unit_rows_backward(dcentres, w_cache)
        return dh, {"w": dw}

    def draw(self, rng: Rng | None, like: Array) -> Array:
        """The classes drawn for this step (S,), each once, any S as likely as any others.

        One draw for the whole batch, the same on every rank that shares it.
        """
        if rng is None:
            raise InputError("arcface with a share draws classes in training: loss(…, train=True) needs rng=Rng(seed).")
        n, s, place = self.classes.n, self.drawn, rng.at(rng.step).child("drawn")
        if s == n:
            return array_module(like).arange(n)
        # The first S different ones of a sequence of draws. So many draws nearly always hold them.
        draws = math.ceil(-1.05 * n * math.log1p(-s / n)) + 20
        drawn, first = np.unique(np.minimum((place.fine_uniform(draws) * n).astype(np.int64), n - 1), return_index=True)
        if len(drawn) < s:
            drawn, first = place.permutation(n), np.arange(n)
        return array_module(like).asarray(np.sort(drawn[np.argsort(first, kind="stable")[:s]]))

    def log_prob(self, h: Array, *, rng: Rng | None = None) -> Array:
        h, _ = self.check(h, rng=rng)
        units, centres = unit_rows_forward(h)[0], unit_rows_forward(self.params["w"])[0]
        return log_softmax_forward(self.scale * matmul(units, centres.T))[0]

    def macs(self) -> int:
        """Of a training step."""
        return self.features * (self.drawn + (self.drawn < self.classes.n))


def _margin(form: str, margin: float) -> float:
    most = math.pi / 2 if form == "arcface" else 2.0  # two cosines cannot be further apart
    if not 0 <= as_number(margin) < most:
        kind = "an angle from 0 to below π/2" if form == "arcface" else "a cosine from 0 to below 2"
        raise InputError(f"margin is {margin!r}, but {kind} was expected; type for example margin={MARGINS[form]}.")
    return float(margin)
