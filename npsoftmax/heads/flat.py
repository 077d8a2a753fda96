"""Heads with one score a class."""

from __future__ import annotations

from typing import Any

from npsoftmax.backend import Array
from npsoftmax.errors import InputError
from npsoftmax.functional import loss as losses
from npsoftmax.functional import softmax
from npsoftmax.heads.base import ClassInfo, Head
from npsoftmax.layers.base import Tree
from npsoftmax.layers.dense import Dense
from npsoftmax.random import Rng


class FlatHead(Head):
    """The linear map that flat heads share: scores z = h @ w + b, or z = h with linear=False (then D must be C)."""

    def __init__(
        self, features: int, classes: ClassInfo, *, rng: Rng, linear: bool = True, bias: bool = True, init: str = "default"
    ):
        super().__init__(features, classes)
        if not linear and features != classes.n:
            raise InputError(
                f"linear=false takes the features as the {classes.n} scores, but there are {features} of them; "
                f"give the model a layer of {classes.n} logits (--model-opt logits={classes.n})."
            )
        self.map = Dense(features, classes.n, rng=rng, bias=bias, init=init) if linear else None
        if self.map is not None:
            self.params = self.map.params

    def scores(self, h: Array) -> tuple[Array, Any]:
        """h (N, D) -> z (N, C), cache."""
        return (h, None) if self.map is None else self.map.forward(h)

    def scores_backward(self, dz: Array, cache: Any) -> tuple[Array, Tree]:
        """dz (N, C) -> dh (N, D), grads."""
        if self.map is None:
            return dz, {}
        dh, grads = self.map.backward(dz, cache)
        return dh, grads

    def macs(self) -> int:
        return 0 if self.map is None else self.features * self.classes.n


class SoftmaxHead(FlatHead):
    """log p = log softmax(z / temperature); loss = cross entropy, fused with it.

    label_smoothing ε (training only): the target is 1 − ε plus ε/C on every class (Szegedy et al. 2016,
    arXiv 1512.00567). A step and a prediction cost O(C).
    """

    def __init__(
        self,
        features: int,
        classes: ClassInfo,
        *,
        rng: Rng,
        label_smoothing: float = 0.0,
        temperature: float = 1.0,
        linear: bool = True,
        bias: bool = True,
        init: str = "default",
    ):
        super().__init__(features, classes, rng=rng, linear=linear, bias=bias, init=init)
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing is {label_smoothing}, but a number of at least 0 and below 1 was expected.")
        if not temperature > 0:
            raise InputError(f"temperature is {temperature}, but a number above 0 was expected.")
        self.label_smoothing, self.temperature = label_smoothing, temperature

    def loss(
        self, h: Array, targets: Array, *, train: bool = False, rng: Rng | None = None
    ) -> tuple[Array, Any]:
        self.check(h, targets)
        z, map_cache = self.scores(h)
        smoothing = self.label_smoothing if train else 0.0
        value, cache = losses.softmax_cross_entropy_forward(z, targets, smoothing, self.temperature)
        return value, (map_cache, cache)

    def backward(self, cache: Any, dloss: float = 1.0) -> tuple[Array, Tree]:
        map_cache, loss_cache = cache
        dz = losses.softmax_cross_entropy_backward(dloss, loss_cache)
        return self.scores_backward(dz, map_cache)

    def log_prob(self, h: Array, *, rng: Rng | None = None) -> Array:
        self.check(h)
        z, _ = self.scores(h)
        return softmax.log_softmax_forward(z / self.temperature)[0]
