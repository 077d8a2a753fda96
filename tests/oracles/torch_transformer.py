"""PyTorch modules with the parameters of our transformer layers: those of torch.nn where there are any."""

from __future__ import annotations

from functools import reduce

import numpy as np
import torch
from torch import nn

from npsoftmax.params import leaves


def transposed(w):
    return w.T


def linear(ours, theirs):
    """Names and layouts of a dense layer."""
    return {f"{ours}.w": (f"{theirs}.weight", transposed), f"{ours}.b": (f"{theirs}.bias", None)}


def norm(name):
    return {f"{name}.gamma": (f"{name}.weight", None), f"{name}.beta": (f"{name}.bias", None)}


def attention_names(prefix=""):
    ours, theirs = (f"{prefix}.", "self_attn.") if prefix else ("", "")
    return {
        f"{ours}qkv.w": (f"{theirs}in_proj_weight", transposed),
        f"{ours}qkv.b": (f"{theirs}in_proj_bias", None),
        **linear(f"{ours}out", f"{theirs}out_proj"),
    }


BLOCK = attention_names("attention") | linear("mlp.fc1", "linear1") | linear("mlp.fc2", "linear2")
BLOCK |= norm("norm1") | norm("norm2")


def tie(twin, layer, names):
    """Copy the layer's parameters into the module; names: ours -> (theirs, layout of ours there or None)."""
    for name, p in leaves(layer.params):
        path, layout = names[name]
        twin.tensors[name] = reduce(getattr, path.split("."), twin.module)
        twin.layouts[name] = layout or (lambda a: a)
        with torch.no_grad():
            twin.tensors[name].copy_(torch.tensor(np.ascontiguousarray(twin.layouts[name](p))))
    return twin


# ---------------------------------------------------------------- modules
def attention_module(layer):
    return nn.MultiheadAttention(
        layer.dim, layer.heads, bias="b" in layer.params["qkv"], batch_first=True, dtype=torch.float64
    )


def block_module(layer):
    """nn.TransformerEncoderLayer of the same kind, without dropout."""
    return nn.TransformerEncoderLayer(
        layer.attention.dim,
        layer.attention.heads,
        layer.mlp.fc1.outputs,
        dropout=0.0,
        activation=type(layer.mlp.act).__name__.lower(),
        layer_norm_eps=layer.norm1.eps,
        batch_first=True,
        norm_first=layer.pre,
        bias="b" in layer.mlp.fc1.params,
        dtype=torch.float64,
    )


class Patches(nn.Conv2d):
    """A strided convolution, its pixels as tokens."""

    def forward(self, x):
        return super().forward(x).flatten(2).transpose(1, 2)


class WithClassToken(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(dim, dtype=torch.float64))

    def forward(self, x):
        return torch.cat([self.token.expand(len(x), 1, -1), x], dim=1)


class WithPositions(nn.Module):
    def __init__(self, tokens, dim):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(tokens, dim, dtype=torch.float64))

    def forward(self, x):
        return x + self.position


class FirstTokens(nn.Module):
    """A block, of whose tokens only the first `n` are passed on."""

    def __init__(self, block, n):
        super().__init__()
        self.block, self.n = block, n

    def forward(self, x):
        return self.block(x)[:, : self.n]


class Pool(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, x):
        return x[:, 0] if self.kind == "class" else getattr(x, self.kind)(dim=1)


# ---------------------------------------------------------------- twins
def fill_twin(twin_class, layer):
    """The twin of one transformer layer, a `twin_class`; None for a layer of another kind."""
    kind = type(layer).__name__
    if kind == "PatchEmbed":
        size = (layer.size, layer.size, layer.channels, layer.dim)
        module = Patches(layer.channels, layer.dim, layer.size, layer.size, dtype=torch.float64)
        names = {"w": ("weight", lambda w: w.reshape(size).transpose(3, 2, 0, 1)), "b": ("bias", None)}
        return tie(twin_class(module), layer, names)
    if kind == "ClassToken":
        return tie(twin_class(WithClassToken(layer.dim)), layer, {"token": ("token", None)})
    if kind == "PositionEmbedding":
        return tie(twin_class(WithPositions(layer.tokens, layer.dim)), layer, {"position": ("position", None)})
    if kind == "TransformerBlock":
        twin = tie(twin_class(block_module(layer)), layer, BLOCK)
        twin.module = FirstTokens(twin.module, layer.queries)
        return twin
    if kind == "TokenPool":
        return twin_class(Pool(layer.kind))
    return None
