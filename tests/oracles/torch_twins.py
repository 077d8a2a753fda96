"""PyTorch modules with the parameters of our layers, channels first as PyTorch has it.

Convolution weights (KH, KW, C, F) become (F, C, KH, KW), dense weights (D, M) become (M, D), and those of the dense
layer after a Flatten of (H, W, C) have their features in the order (C, H, W).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch_transformer import fill_twin

from npsoftmax import layers
from npsoftmax.params import leaves

TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}


def tensor(a):
    """A float64 tensor of its own, images channels first; words as whole numbers."""
    if np.asarray(a).dtype.kind in "iu":
        return torch.tensor(np.asarray(a, dtype=np.int64))
    a = np.moveaxis(a, -1, 1) if np.ndim(a) == 4 else a
    return torch.tensor(np.ascontiguousarray(a), dtype=torch.float64)


def array(t):
    """The tensor as an array, images channels last."""
    a = t.detach().numpy()
    return np.moveaxis(a, 1, -1) if a.ndim == 4 else a


def agree(ours, theirs):
    np.testing.assert_allclose(ours, array(theirs) if isinstance(theirs, torch.Tensor) else theirs, **TOLERANCE)


class FixedDropout(nn.Module):
    """Dropout of feature vectors, its mask in training given by `draw(shape)`."""

    def __init__(self, p):
        super().__init__()
        self.p, self.draw = p, None

    def forward(self, x):
        return x * tensor(self.draw(tuple(x.shape))) / (1 - self.p) if self.training and self.p else x


class Sum(nn.Module):
    def __init__(self, branch):
        super().__init__()
        self.branch = branch

    def forward(self, x):
        return x + self.branch(x)


class Then(nn.Module):
    def __init__(self, function, inner):
        super().__init__()
        self.function, self.inner = function, inner

    def forward(self, x):
        return self.function(self.inner(x))


class Apply(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def conv_weight(w):
    return w.transpose(3, 2, 0, 1)


def dense_weight(image):
    """How a dense weight is laid out, given the shape (H, W, C) of the image it was flattened from, or None."""

    def layout(w):
        if image is not None:
            w = w.reshape(*image, -1).transpose(2, 0, 1, 3).reshape(w.shape)
        return w.T

    return layout


def same(p):
    return p


@dataclass
class Twin:
    """A module; for each of our parameters and buffers its tensor there, and how ours is laid out there.

    image: the shape (H, W, C) from which its output was flattened, where that is still the order of the features.
    """

    module: nn.Module
    image: tuple[int, int, int] | None = None
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    layouts: dict[str, Callable] = field(default_factory=dict)

    def tie(self, layer, names, layouts=None):
        """Copy the layer's parameters and buffers; names: ours -> the module's."""
        ours = layer.params | layer.buffers
        for name, theirs in names.items():
            if name in ours:
                self.tensors[name] = getattr(self.module, theirs)
                self.layouts[name] = (layouts or {}).get(name, same)
                with torch.no_grad():
                    self.tensors[name].copy_(torch.tensor(np.ascontiguousarray(self.layouts[name](ours[name]))))
        return self

    def take(self, name, other):
        """Know the tensors of a module inside this one."""
        prefix = f"{name}." if name else ""
        self.tensors |= {prefix + n: t for n, t in other.tensors.items()}
        self.layouts |= {prefix + n: f for n, f in other.layouts.items()}

    def check_gradients(self, grads):
        """Our gradients (a tree) against those of the module."""
        ours = dict(leaves(grads))
        assert set(ours) == {n for n, t in self.tensors.items() if isinstance(t, nn.Parameter)}
        for name, g in ours.items():
            agree(self.layouts[name](g), self.tensors[name].grad.numpy())

    def check_buffers(self, buffers):
        """Our running statistics (a tree) against those of the module."""
        ours = dict(leaves(buffers))
        assert set(ours) == {n for n, t in self.tensors.items() if not isinstance(t, nn.Parameter)}
        for name, b in ours.items():
            agree(self.layouts[name](b), self.tensors[name].numpy())


def make_twin(layer, shape, image=None):
    """Twin of `layer` for samples of `shape`; `image`: the shape from which the samples were flattened just before."""
    kind = type(layer)
    if isinstance(layer, layers.Sequential | layers.Residual):
        return container_twin(layer, shape)
    if kind is layers.Dense:
        module = nn.Linear(layer.inputs, layer.outputs, bias="b" in layer.params, dtype=torch.float64)
        return Twin(module).tie(layer, {"w": "weight", "b": "bias"}, {"w": dense_weight(image)})
    if kind is layers.Embedding:
        return Twin(nn.Embedding(layer.words, layer.dim, dtype=torch.float64)).tie(layer, {"w": "weight"})
    if kind in FUSED:
        inner = make_twin(FUSED[kind](layer), shape)
        twin = Twin(Then(torch.nn.functional.silu if kind is layers.BatchNormSiLU else torch.relu, inner.module))
        twin.take("", inner)
        return twin
    if kind is layers.PatchWhitening:
        module = nn.Conv2d(layer.inputs, layer.outputs, layer.k, bias=False, dtype=torch.float64)
        weight = module.weight.detach()
        del module.weight
        module.register_buffer("weight", weight)
        return Twin(module).tie(layer, {"w": "weight"}, {"w": conv_weight})
    if kind is layers.Conv2d:
        sizes = (layer.inputs, layer.outputs, layer.k, layer.stride, layer.pad)
        module = nn.Conv2d(*sizes, bias="b" in layer.params, dtype=torch.float64)
        return Twin(module).tie(layer, {"w": "weight", "b": "bias"}, {"w": conv_weight})
    if kind is layers.BatchNorm:
        norm = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
        module = norm(layer.features, eps=layer.eps, momentum=layer.momentum, dtype=torch.float64)
        names = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"}
        return Twin(module).tie(layer, names)
    if kind is layers.LayerNorm:
        module = nn.LayerNorm(layer.features, eps=layer.eps, dtype=torch.float64)
        return Twin(module).tie(layer, {"gamma": "weight", "beta": "bias"})
    return fill_twin(Twin, layer) or Twin(SIMPLE[kind](layer))


def without_relu(kind):
    """A view of a fused layer as the plain one: the same parameters."""

    def plain(layer):
        other = object.__new__(kind)
        other.__dict__ = layer.__dict__
        return other

    return plain


FUSED = {
    layers.BatchNormSiLU: without_relu(layers.BatchNorm),
    layers.ConvReLU2d: without_relu(layers.Conv2d),
    layers.BatchNormReLU: without_relu(layers.BatchNorm),
    layers.MaxPoolReLU2d: without_relu(layers.MaxPool2d),
}
SIMPLE = {
    layers.ReLU: lambda _: nn.ReLU(),
    layers.GELU: lambda _: nn.GELU(),
    layers.SiLU: lambda _: nn.SiLU(),
    layers.Dropout: lambda layer: FixedDropout(layer.p),
    layers.Flatten: lambda _: nn.Flatten(),
    layers.MaxPool2d: lambda layer: nn.MaxPool2d(layer.size, layer.stride, layer.pad),
    layers.AvgPool2d: lambda layer: nn.AvgPool2d(layer.size, layer.stride, layer.pad, count_include_pad=True),
    layers.GlobalAvgPool: lambda _: Apply(lambda x: x.mean(dim=(2, 3))),
    layers.GlobalMaxPool: lambda _: Apply(lambda x: x.amax(dim=(2, 3))),
    layers.GlobalMaxAvgPool: lambda _: Apply(lambda x: x.amax(dim=(2, 3)) + x.mean(dim=(2, 3))),
    layers.PadToOdd: lambda _: Apply(lambda x: nn.functional.pad(x, (0, 1 - x.shape[3] % 2, 0, 1 - x.shape[2] % 2))),
}


def container_twin(layer, shape):
    if isinstance(layer, layers.Residual):
        inner = make_twin(layer.branch, shape)
        twin = Twin(Sum(inner.module))
        twin.take("", inner)
        return twin
    twin, image = Twin(nn.Sequential()), None
    for name, child in layer.layers.items():
        inner = make_twin(child, shape, image)
        twin.module.add_module(name, inner.module)
        twin.take(name, inner)
        if isinstance(child, layers.Flatten):
            image = shape if len(shape) == 3 else None
        elif isinstance(child, layers.Dense):
            image = None
        shape = child.output_shape(shape)
    twin.image = image
    return twin
