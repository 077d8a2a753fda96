"""A residual network on whitened patches, for the most accuracy in a few minutes' training."""

from __future__ import annotations

from npsoftmax.errors import InputError, unknown_name
from npsoftmax.layers import (
    BatchNorm,
    BatchNormReLU,
    BatchNormSiLU,
    Conv2d,
    GlobalAvgPool,
    GlobalMaxAvgPool,
    GlobalMaxPool,
    Layer,
    MaxPool2d,
    PadToOdd,
    PatchWhitening,
    ReLU,
    Residual,
    Sequential,
    SiLU,
)
from npsoftmax.models.trunks import logits_layers, need_image
from npsoftmax.random import Rng, check_rng

# name -> by itself, behind a batch norm
ACTIVATIONS: dict[str, tuple[type[Layer], type[BatchNorm]]] = {
    "silu": (SiLU, BatchNormSiLU),
    "relu": (ReLU, BatchNormReLU),
}
POOLS: dict[str, type[Layer]] = {"max_mean": GlobalMaxAvgPool, "max": GlobalMaxPool, "mean": GlobalAvgPool}


def whitened_resnet(
    input_shape: tuple[int, ...],
    *,
    rng: Rng,
    widths: tuple[int, ...] = (64, 256, 768),
    inner: tuple[int, ...] = (64, 192, 512),
    kernels: tuple[int, ...] = (3, 1, 1, 3, 3, 1, 2, 3, 3),
    patch: int = 2,
    whiten: bool = True,
    activation: str = "silu",
    pool: str = "max_mean",
    init: str = "dirac",
    logits: int | None = None,
    relu_logits: bool = False,
) -> Sequential:
    """Whitened patches and SiLU; for each of `widths` a group; then the largest value of each channel plus its mean.

    A group: convolution, 2x2 max-pool, batch norm and SiLU; then a residual of two convolutions, through as many
    channels as `inner` says, each with batch norm and SiLU. No convolution has a bias. kernels: the sizes of the three
    convolutions of each group; only the first of a group may be even. patch: the size of the whitened patches, whose
    filters are set from training images (`Model.prepare`). With init="dirac" all convolutions begin as copies.

    What each is worth is asked by whiten=False (the first layer is a convolution of as many filters, which learns),
    activation="relu" and pool="mean" or "max".

    Takes images of any size from 2^groups + 1 pixels, with the same parameters.
    """
    check_rng(rng)
    groups = len(widths)
    if len(inner) != groups or len(kernels) != 3 * groups:
        raise InputError(
            f"whitened_resnet has {groups} groups, so {groups} numbers in inner and {3 * groups} in kernels; "
            f"{len(inner)} and {len(kernels)} were given."
        )
    if activation not in ACTIVATIONS:
        raise unknown_name("activation", activation, ACTIVATIONS)
    if pool not in POOLS:
        raise unknown_name("pool", pool, POOLS)
    *_, channels = need_image("whitened_resnet", input_shape, 2**groups + 1)
    act, norm = ACTIVATIONS[activation]
    stem: Conv2d = PatchWhitening(channels, patch)
    if not whiten:
        stem = Conv2d(channels, stem.outputs, patch, bias=False, rng=rng.child("stem"), init=init)
    layers: dict[str, Layer] = {"stem": Sequential(**{"whiten" if whiten else "conv": stem}, act=act())}
    channels = stem.outputs
    for number, (width, middle) in enumerate(zip(widths, inner, strict=True), start=1):
        first, second, third = kernels[3 * number - 3 : 3 * number]
        name, residual = f"group{number}", f"residual{number}"
        layers[name] = _pooled(channels, width, first, norm, rng.child(name), init)
        draw = rng.child(residual)
        blocks = {
            "block1": _block(width, middle, second, norm, draw.child("block1"), init),
            "block2": _block(middle, width, third, norm, draw.child("block2"), init),
        }
        layers[residual] = Residual(Sequential(**blocks))
        channels = width
    layers["pool"] = POOLS[pool]()
    return Sequential(**layers, **logits_layers(channels, logits, relu_logits, rng))


def _pooled(inputs: int, outputs: int, k: int, norm: type[BatchNorm], rng: Rng, init: str) -> Sequential:
    conv = Conv2d(inputs, outputs, k, pad=k // 2 if k % 2 else 0, bias=False, rng=rng, init=init)
    padded: dict[str, Layer] = {} if k % 2 else {"pad": PadToOdd()}
    return Sequential(**padded, conv=conv, pool=MaxPool2d(2), norm=norm(outputs))


def _block(inputs: int, outputs: int, k: int, norm: type[BatchNorm], rng: Rng, init: str) -> Sequential:
    if k % 2 == 0:
        raise InputError(
            f"kernels has {k} inside a residual, where the map must keep its size: give odd numbers there."
        )
    return Sequential(conv=Conv2d(inputs, outputs, k, pad=k // 2, bias=False, rng=rng, init=init), norm=norm(outputs))
