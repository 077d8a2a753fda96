"""The multilayer perceptron."""

from __future__ import annotations

import math

from npsoftmax.layers import Dense, Flatten, Layer, ReLU, Sequential
from npsoftmax.models.trunks import logits_layers
from npsoftmax.random import Rng, check_rng


def mlp(
    input_shape: tuple[int, ...],
    *,
    rng: Rng,
    hidden: tuple[int, ...] = (256, 128),
    init: str = "default",
    logits: int | None = None,
    relu_logits: bool = False,
) -> Sequential:
    """Flatten, then a dense layer and a ReLU for each width in `hidden`. Takes samples of any shape."""
    check_rng(rng)
    layers: dict[str, Layer] = {"flatten": Flatten()}
    features = math.prod(input_shape)
    for number, width in enumerate(hidden, start=1):
        layers[f"fc{number}"] = Dense(features, width, rng=rng.child(f"fc{number}"), init=init)
        layers[f"relu{number}"] = ReLU()
        features = width
    return Sequential(**layers, **logits_layers(features, logits, relu_logits, rng))
