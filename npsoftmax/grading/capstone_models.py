"""The networks that are trained on a student's functions, in float64, with nothing but readable pairs in the way.

Design: layers and heads call pairs through their modules (`conv.conv2d_im2col_forward`), so a student's function put in
the place of one is the one that runs. Where a layer or head has a faster version, `fused` or `threaded` set to False
brings the readable pair back; where it computes something else than the exercise (biases in attention, several
clusters), a small layer or head of its own stands here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from npsoftmax.backend import Array, get_backend
from npsoftmax.data import Dataset
from npsoftmax.functional import adaptive, loss, softmax_attention, two_level
from npsoftmax.functional.softmax import log_softmax_forward
from npsoftmax.heads import ClassInfo, Head
from npsoftmax.heads.flat import FlatHead
from npsoftmax.layers import Layer, TransformerBlock
from npsoftmax.layers.initialisation import uniform_fan_in
from npsoftmax.models import Model, build_model
from npsoftmax.params import Tree
from npsoftmax.random import Rng

CONVNET = {"widths": (16, 32), "fc": 64}


def convnet(data: Dataset) -> Model:
    """A small convnet on which only the readable pairs run: convolution, pooling, ReLU, dense, cross entropy."""
    return _readable(_built("convnet", data, CONVNET))


def vit_small(data: Dataset) -> Model:
    """A vision transformer of two blocks whose attention is the one of a4: without biases, every token to every one."""
    patch = 2 if data.x_train.shape[1] <= 16 else 4
    options = {"patch": patch, "dim": 48, "depth": 2, "heads": 3, "mlp": 96, "pool": "mean"}
    model = _built("vit_small", data, options)
    for block in (layer for layer in layers_of(model.trunk) if isinstance(layer, TransformerBlock)):
        for part in ("qkv", "out"):
            del block.params["attention"][part]["b"]
        block.attention = PlainAttention(block.attention)  # type: ignore[assignment]
    return _readable(model)


def adaptive_net(data: Dataset) -> Model:
    """A small convnet with the adaptive softmax of a5 on it."""
    return _with_head(data, PlainAdaptive)


def two_level_net(data: Dataset) -> Model:
    """The same with the two-level softmax of a5."""
    return _with_head(data, PlainTwoLevel)


def _built(name: str, data: Dataset, options: dict[str, Any]) -> Model:
    model = build_model(name, "softmax", len(data.class_names), data.x_train.shape[1:], seed=0, model_opts=options)
    model.head = PlainSoftmax(model.head)
    return model


def _with_head(data: Dataset, kind: type[Head]) -> Model:
    model = _built("convnet", data, CONVNET)
    model.head = kind(model.head.features, classes_of(data), rng=Rng(0, "head"))
    return _readable(model)


def classes_of(data: Dataset) -> ClassInfo:
    """Number and superclasses of the classes."""
    return ClassInfo(len(data.class_names), None, data.coarse)


def _readable(model: Model) -> Model:
    head = model.head
    last = [head.map] if isinstance(head, FlatHead) and head.map is not None else []
    for part in (*layers_of(model.trunk), head, *last):
        for option, readable in (("fused", False), ("threaded", False), ("algorithm", "im2col")):
            if hasattr(part, option):
                setattr(part, option, readable)
    return model.to(get_backend("numpy"), np.float64)


def layers_of(layer: Layer) -> Iterator[Layer]:
    """A layer and all that it holds."""
    yield layer
    for child in layer.children().values():
        yield from layers_of(child)


# ---------------------------------------------------------------- attention as in a4
class PlainAttention(Layer):
    """Attention as the exercise asks for it, with the weights of a layer: no biases, no mask. x, y (N, T, D)."""

    def __init__(self, layer: Any):
        super().__init__()
        self.heads, self.params = layer.heads, layer.params

    def forward(
        self, x: Array, *, train: bool = False, rng: Rng | None = None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        n, tokens, _ = x.shape
        everywhere = np.ones((n, self.heads, tokens, tokens), dtype=bool)
        weights = self.params["qkv"]["w"], self.params["out"]["w"]
        return softmax_attention.multi_head_attention_forward(x, *weights, self.heads, everywhere)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        dx, dw_qkv, dw_out = softmax_attention.multi_head_attention_backward(dy, cache)
        return dx, {"qkv": {"w": dw_qkv}, "out": {"w": dw_out}}


# ---------------------------------------------------------------- heads as in a1 and a5
def to_each(loss: Array, n: int) -> Array:
    """The mean as the loss of each of n samples: a student's loss is a mean and nothing else, but a head's are many."""
    return np.full(n, loss)


class PlainSoftmax(FlatHead):
    """The softmax head with the cross entropy of a1, and with the numbers of the parameters of `head`."""

    def __init__(self, head: Head):
        super().__init__(head.features, head.classes, rng=Rng(0))
        self.params = head.params

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        value, cache = loss.softmax_cross_entropy_forward(z, targets)
        return to_each(value, len(z)), cache

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        return loss.softmax_cross_entropy_backward(dlosses.sum(), cache)

    def log_prob_of_scores(self, z: Array, rng: Rng | None) -> Array:
        return log_softmax_forward(z)[0]


class PlainAdaptive(Head):
    """The first fifth of the classes in a short list, the others in one cluster behind it."""

    def __init__(self, features: int, classes: ClassInfo, *, rng: Rng):
        super().__init__(features, classes, rng=rng)
        self.cutoff, low = max(1, classes.n // 5), max(1, features // 2)
        shapes = {
            "w_head": (self.cutoff + 1, features),
            "proj": (low, features),
            "w_tail": (classes.n - self.cutoff, low),
        }
        self.params = {name: uniform_fan_in(shape, shape[1], rng.child(name)) for name, shape in shapes.items()}

    def losses_forward(self, h: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        p = self.params
        value, cache = adaptive.adaptive_loss_forward(h, p["w_head"], p["proj"], p["w_tail"], targets, self.cutoff)
        return to_each(value, len(h)), cache

    def losses_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        dh, *grads = adaptive.adaptive_loss_backward(dlosses.sum(), cache)
        return dh, dict(zip(("w_head", "proj", "w_tail"), grads, strict=True))

    def log_prob(self, h: Array, *, rng: Rng | None = None) -> Array:
        p = self.params
        head, _ = log_softmax_forward(h @ p["w_head"].T)
        tail, _ = log_softmax_forward(h @ p["proj"].T @ p["w_tail"].T)
        return np.concatenate([head[:, :-1], head[:, -1:] + tail], axis=1)


class PlainTwoLevel(Head):
    """A softmax over superclasses, one over the classes of each; where there are none, every ten classes are one."""

    def __init__(self, features: int, classes: ClassInfo, *, rng: Rng):
        super().__init__(features, classes, rng=rng)
        self.group = np.arange(classes.n) % max(2, classes.n // 10) if classes.coarse is None else classes.coarse
        shapes = {"w_group": (features, int(self.group.max()) + 1), "w_class": (features, classes.n)}
        self.params = {name: uniform_fan_in(shape, features, rng.child(name)) for name, shape in shapes.items()}

    def losses_forward(self, h: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        z_group, z_class = h @ self.params["w_group"], h @ self.params["w_class"]
        value, cache = two_level.two_level_loss_forward(z_group, z_class, targets, self.group)
        return to_each(value, len(h)), (h, cache)

    def losses_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        h, cache = cache
        dz_group, dz_class = two_level.two_level_loss_backward(dlosses.sum(), cache)
        dh = dz_group @ self.params["w_group"].T + dz_class @ self.params["w_class"].T
        return dh, {"w_group": h.T @ dz_group, "w_class": h.T @ dz_class}

    def log_prob(self, h: Array, *, rng: Rng | None = None) -> Array:
        log_group, _ = log_softmax_forward(h @ self.params["w_group"])
        z = h @ self.params["w_class"]
        log_p = np.empty_like(z)
        for g in range(log_group.shape[1]):
            inside = self.group == g
            log_p[:, inside] = log_group[:, g : g + 1] + log_softmax_forward(z[:, inside])[0]
        return log_p
