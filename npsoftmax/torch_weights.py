"""Weights to and from PyTorch's names and layouts, in safetensors files, without PyTorch. See docs/pytorch.md.

Design: every tensor of PyTorch is one of ours with its axes split, put in another order, and joined again. So one small
table (`Place`) holds for both directions, and none can drift from the other:

    Conv2d   w (KH, KW, C, F)      -> F C KH KW              weight (F, C, KH, KW)
    Dense    w (D, M)              -> M D                    weight (M, D)
    Dense    w (H·W·C, M)          -> H W C M -> M C H W     weight (M, C·H·W), the first one after a Flatten

The last is the trap: PyTorch flattens images in the order C, H, W. Whatever first reads the flattened features has its
weights permuted; in a network without dense layers that is the head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax import layers
from npsoftmax.backend import Array, array_module, to_numpy
from npsoftmax.errors import InputError
from npsoftmax.files import write_replacing
from npsoftmax.heads.adaptive import AdaptiveHead
from npsoftmax.heads.flat import FlatHead
from npsoftmax.heads.ordinal import OrdinalHead
from npsoftmax.layers import Layer
from npsoftmax.layers.base import Shape
from npsoftmax.models import Model
from npsoftmax.params import leaves
from npsoftmax.torch_files import read_tensors

Image = tuple[int, int, int] | None  # (H, W, C) of what was flattened into the features, while they are in that order

NORM = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"}
BLOCK = {"attention.out": "self_attn.out_proj", "mlp.fc1": "linear1", "mlp.fc2": "linear2"}
COUNTER = "num_batches_tracked"  # PyTorch counts the batches of a norm with a fixed momentum, and never reads the count
MOST_NAMES = 8  # of each kind in an error
WRAPPERS = ("module.", "_orig_mod.", "model.")


@dataclass(frozen=True)
class Place:
    """Where one of our arrays is in PyTorch: the name there; our axes `split`, put in the order `axes`, are `shape`."""

    name: str
    split: Shape
    axes: tuple[int, ...]
    shape: Shape

    def to_torch(self, ours: np.ndarray) -> np.ndarray:
        """A copy of our array in PyTorch's layout."""
        return np.array(ours.reshape(self.split).transpose(self.axes).reshape(self.shape), order="C")

    def from_torch(self, theirs: np.ndarray, shape: Shape) -> np.ndarray:
        """Their tensor in our layout, of our `shape`."""
        permuted = theirs.reshape([self.split[axis] for axis in self.axes])
        return permuted.transpose(np.argsort(self.axes)).reshape(shape)


# ---------------------------------------------------------------- files and tensors
def save_torch(model: Model, path: str | Path) -> None:
    """Write parameters and buffers as a safetensors file that `load_state_dict` of a PyTorch twin takes.

    InputError for a layer without a counterpart in PyTorch, and where the file cannot be written.
    """
    from safetensors.numpy import save

    write_replacing(Path(path), save(torch_tensors(model), metadata={"format": "pt"}))


def load_torch(model: Model, path: str | Path) -> None:
    """Read such a file, ours or a PyTorch twin's `state_dict`, into the parameters and buffers of `model`.

    InputError, with nothing changed, where the file cannot be read, or lists all names that are missing, unexpected or
    of another shape.
    """
    load_torch_tensors(model, read_tensors(Path(path)), str(path))


def torch_tensors(model: Model) -> dict[str, np.ndarray]:
    """PyTorch's names -> parameters and buffers of the model, copied into PyTorch's layouts."""
    arrays, tensors = _arrays(model), {}
    for ours, place in places(model).items():
        tensors[place.name] = place.to_torch(to_numpy(arrays[ours]))
    counters = dict.fromkeys(_counters(model), np.zeros((), np.int64))
    return tensors | counters | _order(model)


def load_torch_tensors(model: Model, tensors: Mapping[str, Any], source: str = "the state_dict") -> None:
    """Copy tensors by PyTorch's names (arrays, or tensors on the CPU) into the parameters and buffers of `model`.

    Errors as in `load_torch`.
    """
    found = {name: np.asarray(value) for name, value in tensors.items()}
    found = {name: value for name, value in _unwrapped(found).items() if name not in _counters(model)}
    order = found.pop("head.order", None) if isinstance(model.head, AdaptiveHead) else None
    table, arrays = places(model), _arrays(model)
    _check(model, {place.name: (place, arrays[ours]) for ours, place in table.items()}, found, source)
    if isinstance(model.head, AdaptiveHead):
        _take_order(model.head, order, source)
    for ours, place in table.items():
        array = arrays[ours]
        values = place.from_torch(found[place.name], array.shape)
        array[...] = array_module(array).asarray(values, dtype=array.dtype)


def _unwrapped(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Without what DataParallel, torch.compile and Lightning put before every name."""
    while tensors:
        prefix = next((p for p in WRAPPERS if all(name.startswith(p) for name in tensors)), None)
        if prefix is None:
            break
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _arrays(model: Model) -> dict[str, Array]:
    return {**dict(leaves(model.params)), **dict(leaves(model.buffers))}


def _check(model: Model, wanted: dict[str, tuple[Place, Array]], found: dict[str, np.ndarray], source: str) -> None:
    """InputError that lists all that is wrong with the tensors found."""
    shapes = {n: place.shape for n, (place, _) in wanted.items() if n in found and found[n].shape != place.shape}
    problems = {
        "missing": [name for name in wanted if name not in found],
        "not expected": [name for name in found if name not in wanted],
        "of another shape": [f"{n} is {found[n].shape}, expected {shape}" for n, shape in shapes.items()],
        "no floating-point numbers": [
            n for n, (_, ours) in wanted.items() if n in found and ours.dtype.kind == "f" and found[n].dtype.kind != "f"
        ],
        # Trees decide which classes the rows of a head separate, and are no weights.
        "of another tree": [
            n
            for n, (place, ours) in wanted.items()
            if n in found and n not in shapes and ours.dtype.kind != "f"
            if not np.array_equal(place.to_torch(to_numpy(ours)), found[n])
        ],
    }
    said = "; ".join(f"{what}: {_listed(names)}" for what, names in problems.items() if names)
    if said:
        raise InputError(
            f"{source} does not fit {model!r}. {said}. Give the model and options that the weights were made with; "
            "docs/pytorch.md has the table of names."
        )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:MOST_NAMES]) + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")


# ---------------------------------------------------------------- the table of a model
def places(model: Model) -> dict[str, Place]:
    """Our dotted name -> its place in PyTorch, for all parameters and buffers but the class order of two heads.

    InputError for a layer without a counterpart.
    """
    table: dict[str, Place] = {}
    image: Image = None
    for layer, path, shape in _flat(model.trunk, "trunk", model.input_shape):
        if isinstance(layer, layers.Flatten):
            image = shape if len(shape) == 3 else None
        elif layer.params or layer.buffers:
            table |= {f"{path}.{ours}": place for ours, place in _of_layer(layer, path, image).items()}
            image = None
    return table | {f"head.{ours}": place for ours, place in _of_head(model, image).items()}


def _flat(layer: Layer, path: str, shape: Shape) -> Iterator[tuple[Layer, str, Shape]]:
    """Every layer that is no container, its path, and the shape of a sample that it gets."""
    if isinstance(layer, layers.Residual):
        yield from _flat(layer.branch, path, shape)
    elif isinstance(layer, layers.Sequential):
        for name, child in layer.layers.items():
            yield from _flat(child, f"{path}.{name}", shape)
            shape = child.output_shape(shape)
    else:
        yield layer, path, shape


def _of_layer(layer: Layer, path: str, image: Image) -> dict[str, Place]:
    arrays = {**layer.params, **layer.buffers}
    if isinstance(layer, layers.Dense):
        return _linear("", path, arrays, image)
    if isinstance(layer, layers.Embedding):
        return {"w": _same(f"{path}.weight", arrays["w"].shape)}
    if isinstance(layer, layers.Conv2d):
        return _named(path, arrays, w=_conv(arrays["w"].shape))
    if isinstance(layer, layers.PatchEmbed):
        return _named(path, arrays, w=_conv((layer.size, layer.size, layer.channels, layer.dim)))
    if image is None and isinstance(layer, layers.BatchNorm | layers.LayerNorm):
        return {name: _same(f"{path}.{NORM[name]}", a.shape) for name, a in arrays.items()}
    if isinstance(layer, layers.ClassToken | layers.PositionEmbedding):  # with an axis for the batch, as is usual there
        return {n: Place(f"{path}.{n}", a.shape, tuple(range(a.ndim)), _batched(a.shape)) for n, a in arrays.items()}
    if isinstance(layer, layers.TransformerBlock):
        return _of_block(layer, path)
    raise InputError(f"{path} is a {layer!r}, which has no counterpart in PyTorch that npsoftmax knows of.")


def _of_block(block: layers.TransformerBlock, path: str) -> dict[str, Place]:
    """The names of nn.TransformerEncoderLayer."""
    qkv = block.params["attention"]["qkv"]
    table = {"attention.qkv.w": _transposed(f"{path}.self_attn.in_proj_weight", qkv["w"].shape)}
    if "b" in qkv:
        table["attention.qkv.b"] = _same(f"{path}.self_attn.in_proj_bias", qkv["b"].shape)
    for ours, theirs in BLOCK.items():
        part, _, name = ours.partition(".")
        table |= _linear(f"{ours}.", f"{path}.{theirs}", block.params[part][name])
    for norm in ("norm1", "norm2"):
        table |= {f"{norm}.{n}": _same(f"{path}.{norm}.{NORM[n]}", a.shape) for n, a in block.params[norm].items()}
    return table


def _of_head(model: Model, image: Image) -> dict[str, Place]:
    """A linear map is `head`, a tree's rows (R, D) too; the adaptive head has nn.AdaptiveLogSoftmaxWithLoss's names."""
    table: dict[str, Place] = {}
    head = model.head
    if isinstance(head, AdaptiveHead):
        for ours, parameters in head.params.items():
            group = ours.removeprefix("tail")
            if ours == "head":
                table |= _rows("head.", "head.head", parameters, image)
            else:
                first, second = f"head.tail.{int(group) - 1}.0", f"head.tail.{int(group) - 1}.1"
                table |= _rows(f"{ours}.", first, {"proj": parameters["proj"]}, image)
                table |= _rows(f"{ours}.", second, {"w": parameters["w"]}, None)
        return table
    for ours, _ in leaves(head.params):
        *path, leaf = ours.split(".")
        if leaf != "w":
            continue
        parameters = head.params
        for name in path:
            parameters = parameters[name]
        dense = isinstance(head, FlatHead | OrdinalHead) or path == ["group"]
        prefix = "".join(f"{name}." for name in path)
        table |= (_linear if dense else _rows)(prefix, ".".join(["head", *path]), parameters, image)
    # What is no linear map: a sink, and the thresholds of ranks.
    table |= {name: _same(f"head.{name}", a.shape) for name, a in leaves(head.params) if name not in table}
    # The ranks of sampled softmax are for training alone.
    buffers = {name: a for name, a in leaves(head.buffers) if model.head_name != "sampled"}
    return table | {name: _same(f"head.{name}", a.shape) for name, a in buffers.items()}


# ---------------------------------------------------------------- layouts
def _same(name: str, shape: Shape) -> Place:
    return Place(name, shape, tuple(range(len(shape))), shape)


def _transposed(name: str, shape: Shape) -> Place:
    return Place(name, shape, (1, 0), shape[::-1])


def _batched(shape: Shape) -> Shape:
    return (1, *shape) if len(shape) == 2 else (1, 1, *shape)


def _conv(split: Shape) -> tuple[Shape, tuple[int, ...], Shape]:
    """(KH, KW, C, F) -> (F, C, KH, KW)."""
    axes = (3, 2, 0, 1)
    return split, axes, tuple(split[axis] for axis in axes)


def _named(path: str, arrays: Mapping[str, Array], w: tuple[Shape, tuple[int, ...], Shape]) -> dict[str, Place]:
    bias = {"b": _same(f"{path}.bias", arrays["b"].shape)} if "b" in arrays else {}
    return {"w": Place(f"{path}.weight", *w), **bias}


def _linear(prefix: str, path: str, arrays: Mapping[str, Array], image: Image = None) -> dict[str, Place]:
    """w (D, M), b (M,) as those of nn.Linear; `image`: what was flattened into the D features."""
    d, m = arrays["w"].shape
    w = ((d, m), (1, 0), (m, d)) if image is None else ((*image, m), (3, 2, 0, 1), (m, d))
    return {prefix + ours: place for ours, place in _named(path, arrays, w).items()}


def _rows(prefix: str, path: str, arrays: Mapping[str, Array], image: Image) -> dict[str, Place]:
    """Rows w (R, D), whatever they are called, and b (R,), as those of nn.Linear."""
    rows = next(name for name in arrays if name != "b")
    r, d = arrays[rows].shape
    w = ((r, d), (0, 1), (r, d)) if image is None else ((r, *image), (0, 3, 1, 2), (r, d))
    named = _named(path, arrays, w)
    return {prefix + (rows if ours == "w" else ours): place for ours, place in named.items()}


# ---------------------------------------------------------------- what only one side has
def _counters(model: Model) -> list[str]:
    """Names of the counters that PyTorch's batch norms have beside ours: written as 0, not read."""
    return [
        f"{path}.{COUNTER}"
        for layer, path, _ in _flat(model.trunk, "trunk", model.input_shape)
        if isinstance(layer, layers.BatchNorm)
    ]


def _order(model: Model) -> dict[str, np.ndarray]:
    """Of an adaptive head whose classes are not in the order of their labels: the class of each rank."""
    if not isinstance(model.head, AdaptiveHead):
        return {}
    order = to_numpy(model.head.buffers["order"])
    return {} if (order == np.arange(len(order))).all() else {"head.order": order.astype(np.int64)}


def _take_order(head: AdaptiveHead, order: np.ndarray | None, source: str) -> None:
    """PyTorch's classes are ranks: without `order`, label and rank are the same. InputError for no permutation."""
    ranks = np.arange(head.classes.n)
    order = ranks if order is None else order
    if order.dtype.kind not in "iu" or not np.array_equal(np.sort(order, axis=None), ranks) or order.ndim != 1:
        raise InputError(f"{source}: head.order is not a permutation of the classes 0 to {head.classes.n - 1}.")
    for name, values in (("order", order), ("rank", np.argsort(order))):
        # A new array, since a head keeps on the host what it read from one on a device.
        buffer = head.buffers[name]
        head.buffers[name] = array_module(buffer).array(values, dtype=buffer.dtype)
