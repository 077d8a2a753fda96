"""What the trunks share: the blocks that repeat, and the optional logits before the head."""

from __future__ import annotations

from npsoftmax.errors import InputError
from npsoftmax.layers import BatchNormReLU, Conv2d, Dense, Layer, ReLU, Sequential
from npsoftmax.random import Rng

# Leaf names of the parameters that are no weights: biases, norms, a class token, positions.
NOT_WEIGHTS = ("b", "gamma", "beta", "token", "position")


def features_of(trunk: Sequential, input_shape: tuple[int, ...]) -> int:
    """Length of the feature vector that the trunk gives the head; InputError if its output is no vector."""
    shape = trunk.output_shape(input_shape)
    if len(shape) != 1:
        raise InputError(f"a trunk must end in a vector of features, but it ends in shape {shape}.")
    return shape[0]


def need_image(model: str, input_shape: tuple[int, ...], least: int) -> tuple[int, int, int]:
    """(H, W, C), or InputError where the input is no image of at least `least` pixels a side."""
    if len(input_shape) != 3 or min(input_shape[:2]) < least:
        raise InputError(
            f"model {model} takes images of at least {least}x{least} pixels, not samples of shape {input_shape}; "
            "try --model mlp, which takes any shape."
        )
    return input_shape


def logits_layers(features: int, logits: int | None, relu_logits: bool, rng: Rng) -> dict[str, Layer]:
    """The layers of `logits=100` and `relu_logits=true`: wirings of published experiments, off by default."""
    if logits is None:
        if relu_logits:
            raise InputError("relu_logits=true needs logits=N: there is no logit layer to put a ReLU on.")
        return {}
    if logits < 1:
        raise InputError(f"logits is {logits}, but at least 1 is needed.")
    layers: dict[str, Layer] = {"logits": Dense(features, logits, rng=rng.child("logits"))}
    if relu_logits:
        layers["relu_logits"] = ReLU()
    return layers


def conv_norm_relu(inputs: int, outputs: int, *, rng: Rng, init: str) -> dict[str, Layer]:
    """3x3 convolution (stride 1, pad 1, with bias), batch norm and ReLU in one layer."""
    return {
        "conv": Conv2d(inputs, outputs, 3, pad=1, rng=rng.child("conv"), init=init),
        "norm": BatchNormReLU(outputs),
    }
