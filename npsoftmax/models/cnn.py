"""The small convolutional networks: convnet and tinyvgg.

Design: the ReLU before a max-pool stands inside it (`MaxPoolReLU2d`). Both only ever let larger values win, so they can
change places: max(maxpool(z), 0) = maxpool(max(z, 0)), value for value and gradient for gradient. The ReLU
then passes over a quarter of the values, and keeps nothing for the backward: the pool keeps its winners anyway.
"""

from __future__ import annotations

from npsoftmax.layers import Conv2d, ConvReLU2d, Dense, Dropout, Flatten, Layer, MaxPoolReLU2d, ReLU, Sequential
from npsoftmax.models.trunks import features_of, logits_layers, need_image
from npsoftmax.random import Rng, check_rng


def convnet(
    input_shape: tuple[int, ...],
    *,
    rng: Rng,
    widths: tuple[int, ...] = (32, 64, 128),
    fc: int = 256,
    dropout: float = 0.0,
    init: str = "default",
    logits: int | None = None,
    relu_logits: bool = False,
) -> Sequential:
    """For each width: 3x3 convolution (pad 1), ReLU and 2x2 max-pool; then one hidden dense layer of `fc` with ReLU.

    With the head's own linear map that is three convolutions and two dense layers.
    """
    check_rng(rng)
    shape = need_image("convnet", input_shape, 2 ** len(widths))
    layers: dict[str, Layer] = {}
    channels = shape[2]
    for number, width in enumerate(widths, start=1):
        layers[f"conv{number}"] = Conv2d(channels, width, 3, pad=1, rng=rng.child(f"conv{number}"), init=init)
        layers[f"pool{number}"] = MaxPoolReLU2d(2)
        channels = width
    layers["flatten"] = Flatten()
    layers["fc"] = Dense(features_of(Sequential(**layers), shape), fc, rng=rng.child("fc"), init=init)
    layers["relu_fc"] = ReLU()
    if dropout != 0:  # Dropout refuses what is no probability
        layers["dropout"] = Dropout(dropout)
    return Sequential(**layers, **logits_layers(fc, logits, relu_logits, rng))


def tinyvgg(
    input_shape: tuple[int, ...],
    *,
    rng: Rng,
    width: int = 10,
    pad: int = 1,
    init: str = "default",
    logits: int | None = None,
    relu_logits: bool = False,
) -> Sequential:
    """Two blocks of [3x3 convolution, ReLU, 3x3 convolution, ReLU, 2x2 max-pool], all `width` channels wide."""
    check_rng(rng)
    shape = need_image("tinyvgg", input_shape, 4 if pad else 16)
    layers: dict[str, Layer] = {}
    channels = shape[2]
    for block in (1, 2):
        for number in (1, 2):
            name, kind = f"conv{block}_{number}", ConvReLU2d if number == 1 else Conv2d
            layers[name] = kind(channels, width, 3, pad=pad, rng=rng.child(name), init=init)
            channels = width
        layers[f"pool{block}"] = MaxPoolReLU2d(2)
    layers["flatten"] = Flatten()
    features = features_of(Sequential(**layers), shape)
    return Sequential(**layers, **logits_layers(features, logits, relu_logits, rng))
