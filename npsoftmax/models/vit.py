"""The vision transformer (Dosovitskiy et al. 2020, arXiv 2010.11929): an image as a row of tokens."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from npsoftmax.backend import Array
from npsoftmax.errors import InputError
from npsoftmax.layers import (
    ClassToken,
    Dropout,
    Layer,
    LayerNorm,
    PatchEmbed,
    PositionEmbedding,
    Sequential,
    TokenPool,
    TransformerBlock,
)
from npsoftmax.models.trunks import NOT_WEIGHTS, logits_layers, need_image
from npsoftmax.random import Rng, check_rng


class VisionTransformer(Sequential):
    """The trunk that `vit` builds. no_decay: leaf names of what weight decay should leave alone."""

    no_decay = NOT_WEIGHTS

    def attention_maps(self, x: Array) -> Array:
        """Where the class token looks in the last block, in evaluation. x (N, H, W, C) -> (N, heads, rows, columns).

        Sums to 1 less what the token gives to itself.
        """
        patches = next(layer for layer in self.layers.values() if isinstance(layer, PatchEmbed))
        *_, block = (layer for layer in self.layers.values() if isinstance(layer, TransformerBlock))
        grid = x.shape[1] // patches.size, x.shape[2] // patches.size
        for layer in self.layers.values():
            if layer is block:
                break
            x, _ = layer.forward(x)
        if block.pre:
            x, _ = block.norm1.forward(x)
        p = block.attention.weights(x)  # (N, heads, T, T)
        return p[:, :, 0, 1:].reshape(*p.shape[:2], *grid)


def vit(
    input_shape: tuple[int, ...],
    *,
    rng: Rng,
    patch: int = 4,
    dim: int = 192,
    depth: int = 6,
    heads: int = 3,
    mlp: int = 384,
    attention: str = "softmax",
    attention_opts: dict[str, Any] | None = None,
    norm: str = "pre",
    activation: str = "gelu",
    pool: str = "class",
    position: str = "learned",
    embed_std: float = 0.3,
    dropout: float = 0.0,
    attention_dropout: float | None = None,
    drop_path: float = 0.0,
    init: str = "default",
    logits: int | None = None,
    relu_logits: bool = False,
) -> Sequential:
    """Patches and a class token, positions added, `depth` transformer blocks, one vector out of all tokens, layer norm.

    attention: the mapping in the middle of every block, attention_opts its options. embed_std: deviation of the class
    token and of learned positions at the start; 0.02 is usual, but patches start at about 0.6, and positions so small
    beside them have no effect for many epochs. drop_path: stochastic depth of the last block; it grows from 0 at the
    first in equal steps. With pool="class" the last block computes the class token alone: the others are not used.
    """
    check_rng(rng)
    shape = need_image("vit", input_shape, patch)
    if depth < 1:
        raise InputError(f"depth is {depth}, but at least 1 block is needed.")
    embed = PatchEmbed(patch, shape[2], dim, rng=rng.child("patches"), init=init)
    tokens = embed.output_shape(shape)[0] + 1
    layers: dict[str, Layer] = {
        "patches": embed,
        "class_token": ClassToken(dim, rng=rng.child("class_token"), std=embed_std),
        "positions": PositionEmbedding(tokens, dim, rng=rng.child("positions"), kind=position, std=embed_std),
    }
    if dropout != 0:  # Dropout refuses what is no probability
        layers["dropout"] = Dropout(dropout)
    for number in range(depth):
        layers[f"block{number + 1}"] = TransformerBlock(
            dim,
            heads,
            mlp,
            rng=rng.child(f"block{number + 1}"),
            norm=norm,
            activation=activation,
            mapping=attention,
            mapping_opts=attention_opts,
            dropout=dropout,
            attention_dropout=attention_dropout,
            drop_path=drop_path if depth == 1 else drop_path * number / (depth - 1),
            queries=1 if pool == "class" and number == depth - 1 else None,
            init=init,
        )
    layers |= {"pool": TokenPool(pool), "norm": LayerNorm(dim)}
    return VisionTransformer(**layers, **logits_layers(dim, logits, relu_logits, rng))


def _preset(name: str, doc: str, **defaults: Any) -> Callable[..., Sequential]:
    """`vit` with other defaults; its signature shows the options of `vit`, for help() and `options.option_defaults`."""

    def build(input_shape: tuple[int, ...], **options: Any) -> Sequential:
        return vit(input_shape, **(defaults | options))

    own = inspect.signature(vit)
    changed = [p.replace(default=defaults.get(p.name, p.default)) for p in own.parameters.values()]
    build.__name__, build.__doc__ = name, doc
    build.__signature__ = own.replace(parameters=changed)  # type: ignore[attr-defined]
    build.__annotations__ = vit.__annotations__
    return build


vit_small = _preset(
    "vit_small",
    "`vit` for images of 32x32: patches of 4x4, 192 features, 6 blocks of 3 heads, 384 hidden features.",
    patch=4,
    dim=192,
    depth=6,
    heads=3,
    mlp=384,
)

vit_e4 = _preset(
    "vit_e4",
    """The transformer of a published comparison: 3,312,740 parameters with a softmax over 100 classes.

    Patches of 8x8, 512 features, one pre-norm block of 4 heads and 2048 hidden features with ReLU, dropout 0.1, class
    token and positions from N(0, 1), the sum of all 17 tokens, layer norm.
    """,
    patch=8,
    dim=512,
    depth=1,
    heads=4,
    mlp=2048,
    activation="relu",
    pool="sum",
    embed_std=1.0,
    dropout=0.1,
)
