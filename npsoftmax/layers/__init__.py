"""Layers own parameters and choose a functional pair; they never keep an activation."""

from npsoftmax.layers.base import Layer, Shape, Tree, leaves, replace_leaves, tree_map
from npsoftmax.layers.containers import Residual, Sequential, all_layers
from npsoftmax.layers.conv import Conv2d
from npsoftmax.layers.dense import Dense
from npsoftmax.layers.elementwise import GELU, Dropout, Flatten, ReLU
from npsoftmax.layers.norm import BatchNorm, LayerNorm
from npsoftmax.layers.pool import AvgPool2d, GlobalAvgPool, GlobalMaxPool, MaxPool2d

__all__ = [
    "GELU",
    "AvgPool2d",
    "BatchNorm",
    "Conv2d",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "Layer",
    "LayerNorm",
    "MaxPool2d",
    "ReLU",
    "Residual",
    "Sequential",
    "Shape",
    "Tree",
    "all_layers",
    "leaves",
    "replace_leaves",
    "tree_map",
]
