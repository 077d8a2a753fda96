"""A model is a trunk and a head, built by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from npsoftmax import html
from npsoftmax.autocast import narrowed, rounded, widened
from npsoftmax.backend import Array, Backend, array_module
from npsoftmax.bfloat16 import BFloat16
from npsoftmax.errors import InputError, unknown_name
from npsoftmax.heads import ClassInfo, Head
from npsoftmax.layers import BatchNorm, Conv2d, Layer, Sequential, all_layers
from npsoftmax.layers.conv import ALGORITHMS
from npsoftmax.layers.norm import SharedBatch
from npsoftmax.models.trunks import features_of
from npsoftmax.params import Branches, HoldsTrees, Tree, leaves, replace_leaves
from npsoftmax.random import Rng, check_rng


class Model(HoldsTrees):
    """Trunk (images to features) and head (features to classes); params and buffers hold both, by name.

    A tree assigned to either, as in `model.params = other.params`, sets the arrays where names and shapes fit.
    """

    def __init__(self, name: str, head_name: str, trunk: Layer, head: Head, input_shape: tuple[int, ...]):
        self.name, self.head_name = name, head_name
        self.trunk, self.head, self.input_shape = trunk, head, input_shape
        self.params: Branches = Branches(trunk=trunk.params, head=head.params)
        self.buffers: Branches = Branches(trunk=trunk.buffers, head=head.buffers)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in ("trunk", "head") and "buffers" in self.__dict__:  # another one than the constructor got
            self.params.replace(name, value.params)
            self.buffers.replace(name, value.buffers)

    def forward(
        self,
        x: Array,
        targets: Array,
        *,
        weights: Array | None = None,
        train: bool = False,
        rng: Rng | None = None,
    ) -> tuple[Array, Array, Any]:
        """Features and mean loss of a batch. x (N, …) -> h (N, D), scalar, cache. targets, weights: as in `Head.loss`;
        targets on the device of x, or on the host, where a head that reads labels needs no copy of them.
        """
        check_rng(rng, optional=True)
        h, trunk_cache = self.through_trunk(x, train=train, rng=rng and rng.child("trunk"))
        targets = targets if self.head.reads_labels else array_module(h).asarray(targets)
        value, head_cache = self.head.loss(h, targets, weights=weights, train=train, rng=rng and rng.child("head"))
        return h, value, (trunk_cache, head_cache)

    def loss(
        self, x: Array, targets: Array, *, weights: Array | None = None, train: bool = False, rng: Rng | None = None
    ) -> tuple[Array, Any]:
        """Mean loss of a batch. x (N, …), targets and weights as in `Head.loss` -> scalar, cache."""
        return self.forward(x, targets, weights=weights, train=train, rng=rng)[1:]

    def backward(self, cache: Any, dloss: float = 1.0) -> Tree:
        """cache -> grads (mirrors params)."""
        if type(cache) is not tuple or len(cache) != 2 or np.isscalar(cache[0]):
            raise InputError(
                f"backward takes the cache of `loss`, but {type(cache).__name__} was given; type "
                "value, cache = model.loss(images, labels), then model.backward(cache)."
            )
        trunk_cache, head_cache = cache
        dh, head_grads = self.head.backward(head_cache, dloss)
        trunk_grads = self.back_through_trunk(dh, trunk_cache)
        return {"trunk": trunk_grads, "head": head_grads}

    def through_trunk(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        """Features of a batch, in float32 where what is between the layers is bfloat16. x (N, …) -> h (N, D), cache."""
        h, cache = self.trunk.forward(x if self.trunk.takes_tokens else narrowed(x), train=train, rng=rng)
        return widened(h), (isinstance(h, BFloat16), cache)

    def back_through_trunk(self, dh: Array, cache: Any) -> Tree:
        """dh (N, D), cache -> grads of the trunk."""
        narrow, trunk_cache = cache
        return self.trunk.backward(rounded(dh) if narrow else dh, trunk_cache, need_dx=False)[1]

    def features(self, x: Array) -> Array:
        """What the trunk makes of x in evaluation. x (N, …) -> (N, D)."""
        return self.through_trunk(x)[0]

    def log_prob(self, x: Array, *, rng: Rng | None = None) -> Array:
        """log p of every class. x (N, …) -> (N, C). rng: for a head that draws noise in evaluation."""
        check_rng(rng, optional=True)
        return self.head.log_prob(self.features(x), rng=rng and rng.child("head"))

    def predict(self, x: Array, k: int = 1, *, rng: Rng | None = None) -> Array:
        """The k most probable labels, best first. x (N, …) -> (N, k). rng: as for `log_prob`."""
        check_rng(rng, optional=True)
        return self.head.predict(self.features(x), k, rng=rng and rng.child("head"))

    @property
    def prepares_from(self) -> int:
        """How many training images `prepare` should get; 0 where it does nothing."""
        return self.trunk.prepares_from

    def prepare(self, x: Array) -> None:
        """Set what the first layer takes from training images, before training. x (N, …), normalised as in training."""
        self.trunk.prepare(x)

    def use_convolution(self, algorithm: str) -> Model:
        """Run every convolution by `algorithm` (one of layers.conv.ALGORITHMS); returns self.

        "winograd" is taken where it is defined, "tiled" elsewhere. Raises InputError for an unknown name.
        """
        if algorithm not in ALGORITHMS:
            raise unknown_name("convolution algorithm", algorithm, ALGORITHMS)
        for layer in all_layers(self.trunk):
            if isinstance(layer, Conv2d):
                layer.algorithm = algorithm
        return self

    def share_batch_norm(self, batch: SharedBatch) -> Model:
        """Let every batch norm take mean and variance over a batch that several processes share; returns self."""
        for layer in all_layers(self.trunk):
            if isinstance(layer, BatchNorm):
                layer.shared = batch
        return self

    def parameter_count(self) -> int:
        return sum(p.size for _, p in leaves(self.params))

    def macs(self) -> int:
        """Multiply-adds of one sample's forward pass."""
        return self.trunk.macs(self.input_shape) + self.head.macs()

    def to(self, backend: Backend, dtype: Any = np.float32) -> Model:
        """Move all arrays to a backend and all floating ones to `dtype`; returns self."""

        if not isinstance(backend, Backend):
            raise InputError(f"backend is {backend!r:.60}, but what get_backend() gives was expected.")
        if np.dtype(dtype).kind != "f":
            raise InputError(f"dtype is {dtype!r:.60}, but parameters are real numbers; type for example np.float64.")

        def move(_: str, x: Array) -> Array:
            return backend.asarray(x, dtype=dtype if x.dtype.kind == "f" else x.dtype)

        replace_leaves(self.params, move)
        replace_leaves(self.buffers, move)
        return self

    def _repr_html_(self) -> str:
        rows, shape = [], self.input_shape
        for name, layer in self.trunk.children().items():
            shape, macs = layer.output_shape(shape), layer.macs(shape)
            count = sum(p.size for _, p in leaves(layer.params))
            rows.append((name, repr(layer), "x".join(map(str, shape)), f"{count:,}", f"{macs:,}"))
        own = sum(p.size for _, p in leaves(self.head.params))
        rows.append(("head", self.head_name, f"{self.head.classes.n} classes", f"{own:,}", f"{self.head.macs():,}"))
        columns = ("layer", "what", "gives", "parameters", "multiply-adds")
        return html.titled(repr(self), html.table(columns, rows))

    def __repr__(self) -> str:
        return f"Model({self.name}, {self.head_name}, {self.parameter_count():,} parameters)"


def assemble(
    name: str,
    head: str,
    build_trunk: Callable[..., Sequential],
    build_head: Callable[..., Head],
    classes: ClassInfo,
    input_shape: tuple[int, ...],
    seed: int,
) -> Model:
    """Build trunk and head; the same seed gives the same parameters."""
    rng = Rng(seed, "init")
    trunk = build_trunk(input_shape, rng=rng.child("trunk"))
    built = build_head(features_of(trunk, input_shape), classes, rng=rng.child("head"))
    return Model(name, head, trunk, built, input_shape)
