"""Layers own parameters and choose a functional pair; they never keep an activation."""

from npsoftmax.layers.attention import MultiHeadAttention
from npsoftmax.layers.base import Layer, Shape
from npsoftmax.layers.containers import Residual, Sequential, all_layers
from npsoftmax.layers.conv import Conv2d, ConvReLU2d
from npsoftmax.layers.dense import Dense
from npsoftmax.layers.elementwise import GELU, Dropout, Flatten, ReLU, SiLU, StochasticDepth
from npsoftmax.layers.embedding import Embedding
from npsoftmax.layers.norm import BatchNorm, BatchNormReLU, BatchNormSiLU, LayerNorm
from npsoftmax.layers.pool import (
    AvgPool2d,
    GlobalAvgPool,
    GlobalMaxAvgPool,
    GlobalMaxPool,
    MaxPool2d,
    MaxPoolReLU2d,
    PadToOdd,
)
from npsoftmax.layers.tokens import ClassToken, PatchEmbed, PositionEmbedding, TokenPool
from npsoftmax.layers.transformer import FeedForward, TransformerBlock
from npsoftmax.layers.whitening import PatchWhitening
from npsoftmax.params import Tree, leaves, replace_leaves, tree_map

__all__ = [
    "GELU",
    "AvgPool2d",
    "BatchNorm",
    "BatchNormReLU",
    "BatchNormSiLU",
    "ClassToken",
    "Conv2d",
    "ConvReLU2d",
    "Dense",
    "Dropout",
    "Embedding",
    "FeedForward",
    "Flatten",
    "GlobalAvgPool",
    "GlobalMaxAvgPool",
    "GlobalMaxPool",
    "Layer",
    "LayerNorm",
    "MaxPool2d",
    "MaxPoolReLU2d",
    "MultiHeadAttention",
    "PadToOdd",
    "PatchEmbed",
    "PatchWhitening",
    "PositionEmbedding",
    "ReLU",
    "Residual",
    "Sequential",
    "Shape",
    "SiLU",
    "StochasticDepth",
    "TokenPool",
    "TransformerBlock",
    "Tree",
    "all_layers",
    "leaves",
    "replace_leaves",
    "tree_map",
]
