"""Two small residual networks.

resnet9 is what a published comparison of softmax heads used: 6,621,540 parameters with a softmax over 100 classes.
speednet was made to learn CIFAR-100 within minutes on two CPU cores.
"""

from __future__ import annotations

from npsoftmax.errors import InputError
from npsoftmax.layers import BatchNormReLU, Conv2d, Dropout, Flatten, Layer, MaxPool2d, Residual, Sequential
from npsoftmax.models.trunks import conv_norm_relu, logits_layers, need_image
from npsoftmax.random import Rng, check_rng


def resnet9(
    input_shape: tuple[int, ...],
    *,
    rng: Rng,
    widths: tuple[int, ...] = (64, 128, 256, 512),
    dropout: float = 0.25,
    init: str = "default",
    logits: int | None = None,
    relu_logits: bool = False,
) -> Sequential:
    """Four blocks of 3x3 convolution (with bias), batch norm and ReLU, all but the first followed by a 2x2 max-pool.

    A residual of two such blocks stands after the second and the fourth (no ReLU after the sum); then the last
    max-pool takes what is left of the image, flatten, dropout.
    """
    if len(widths) != 4:
        raise InputError(f"resnet9 has four widths, such as widths=64,128,256,512; {len(widths)} were given.")
    check_rng(rng)
    height, width, channels = need_image("resnet9", input_shape, 8)
    layers: dict[str, Layer] = {}
    for number, outputs in enumerate(widths, start=1):
        name = f"block{number}"
        layers[name] = Sequential(**conv_norm_relu(channels, outputs, rng=rng.child(name), init=init))
        channels = outputs
        if number > 1:
            layers[f"pool{number}"] = MaxPool2d(2)
        if number in (2, 4):
            layers[f"residual{number}"] = _residual(outputs, rng.child(f"residual{number}"), init)
    layers["pool"] = MaxPool2d((height // 8, width // 8))
    layers["flatten"] = Flatten()
    layers["dropout"] = Dropout(dropout)
    return Sequential(**layers, **logits_layers(channels, logits, relu_logits, rng))


def _residual(channels: int, rng: Rng, init: str) -> Residual:
    blocks = {
        name: Sequential(**conv_norm_relu(channels, channels, rng=rng.child(name), init=init))
        for name in ("block1", "block2")
    }
    return Residual(Sequential(**blocks))


def speednet(
    input_shape: tuple[int, ...],
    *,
    rng: Rng,
    widths: tuple[int, ...] = (64, 128, 256),
    init: str = "default",
    logits: int | None = None,
    relu_logits: bool = False,
) -> Sequential:
    """For each width: convolution, 2x2 max-pool, batch norm, ReLU, a residual of two blocks. Then a global max-pool.

    Only the first convolution sees the whole image. Every other one works on maps of a quarter or less and on 64
    channels or more, where Winograd's products are efficient; and as the pool stands before the norm, norm and ReLU
    pass over a quarter of the values.
    """
    check_rng(rng)
    height, width, channels = need_image("speednet", input_shape, 2 ** len(widths))
    layers: dict[str, Layer] = {}
    for number, outputs in enumerate(widths, start=1):
        name = f"block{number}"
        layers[name] = Sequential(
            conv=Conv2d(channels, outputs, 3, pad=1, bias=False, rng=rng.child(name), init=init),
            pool=MaxPool2d(2),
            norm=BatchNormReLU(outputs),
        )
        layers[f"residual{number}"] = _residual(outputs, rng.child(f"residual{number}"), init)
        channels = outputs
    layers["pool"] = MaxPool2d((height >> len(widths), width >> len(widths)))
    layers["flatten"] = Flatten()
    return Sequential(**layers, **logits_layers(channels, logits, relu_logits, rng))
