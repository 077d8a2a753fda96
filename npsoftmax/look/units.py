"""One unit of a layer, and what made it: products of a convolution, the winner of a pool, a row of attention.

Each function gets the layer, what it saw (x and y of one sample) and a place, and returns plain values for the page.
`value` is always the number that the layer gave; `made` is the same number put together from what is shown, so that
whoever looks (and a test) sees that they agree.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from npsoftmax.layers import (
    AvgPool2d,
    BatchNorm,
    Conv2d,
    ConvReLU2d,
    Dense,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    Layer,
    LayerNorm,
    MaxPool2d,
    MaxPoolReLU2d,
    MultiHeadAttention,
    PatchEmbed,
    PositionEmbedding,
    Residual,
)
from npsoftmax.look.plain import numbers

Place = tuple[int, ...]
MOST_TERMS = 12


@functools.singledispatch
def unit(layer: Layer, x: np.ndarray, y: np.ndarray, place: Place) -> dict[str, Any]:
    """What made y[place]. x, y: of one sample, without the batch axis."""
    answer: dict[str, Any] = {"kind": "other", "value": float(y[place])}
    if x.shape == y.shape:
        answer |= {"kind": "elementwise", "x": float(x[place])}
    return answer


# ---------------------------------------------------------------- convolution
@unit.register
def _(layer: Conv2d, x: np.ndarray, y: np.ndarray, place: Place) -> dict[str, Any]:
    row, column, f = place
    patch, top, left = _window(x, layer.k, layer.stride, layer.pad, row, column, 0.0)
    w = (layer.params | layer.buffers)["w"][..., f]  # (KH, KW, C); of filters that do not learn it is a buffer
    bias = float(layer.params["b"][f]) if "b" in layer.params else 0.0
    products = patch * w
    total = float(products.sum()) + bias
    by_channel = products.sum(axis=(0, 1))
    made = max(total, 0.0) if isinstance(layer, ConvReLU2d) else total
    return {
        "kind": "convolution",
        "value": float(y[place]),
        "made": made,
        "relu": isinstance(layer, ConvReLU2d),
        "bias": bias,
        "at": [top, left, *layer.k],
        "channels": [int(c) for c in np.argsort(-np.abs(by_channel), kind="stable")[:MOST_TERMS]],
        "by_channel": numbers(by_channel),
        "x": numbers(np.moveaxis(patch, -1, 0)),
        "w": numbers(np.moveaxis(w, -1, 0)),
    }


def _window(
    x: np.ndarray, k: Place, stride: Place, pad: Place, row: int, column: int, outside: float
) -> tuple[np.ndarray, int, int]:
    """The patch (KH, KW, C) under a place of the output, and where it begins; what is outside of x is `outside`."""
    top, left = row * stride[0] - pad[0], column * stride[1] - pad[1]
    patch = np.full((*k, x.shape[2]), outside)
    rows = slice(max(top, 0), min(top + k[0], x.shape[0]))
    columns = slice(max(left, 0), min(left + k[1], x.shape[1]))
    inside = x[rows, columns]
    patch[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = inside
    return patch, top, left


# ---------------------------------------------------------------- pools
@unit.register(MaxPool2d)
@unit.register(MaxPoolReLU2d)
def _(layer: Any, x: np.ndarray, y: np.ndarray, place: Place) -> dict[str, Any]:
    row, column, c = place
    patch, top, left = _window(x, layer.size, layer.stride, layer.pad, row, column, -np.inf)
    window = patch[..., c]
    winner = np.unravel_index(int(window.argmax()), window.shape)
    relu = isinstance(layer, MaxPoolReLU2d)
    largest = float(window[winner])
    return {
        "kind": "largest",
        "value": float(y[place]),
        "made": max(largest, 0.0) if relu else largest,
        "relu": relu,
        "at": [top, left, *layer.size],
        "x": numbers(window),
        "winner": [int(i) for i in winner],
    }


@unit.register
def _(layer: AvgPool2d, x: np.ndarray, y: np.ndarray, place: Place) -> dict[str, Any]:
    row, column, c = place
    patch, top, left = _window(x, layer.size, layer.stride, layer.pad, row, column, 0.0)
    return {
        "kind": "mean",
        "value": float(y[place]),
        "made": float(patch[..., c].mean()),
        "at": [top, left, *layer.size],
        "x": numbers(patch[..., c]),
    }


@unit.register(GlobalAvgPool)
@unit.register(GlobalMaxPool)
def _(layer: Any, x: np.ndarray, y: np.ndarray, place: Place) -> dict[str, Any]:
    channel = x[..., place[0]]
    largest = isinstance(layer, GlobalMaxPool)
    answer = {"value": float(y[place]), "x": numbers(channel), "at": [0, 0, *channel.shape]}
    if not largest:
        return answer | {"kind": "mean", "made": float(channel.mean())}
    winner = [int(i) for i in np.unravel_index(int(channel.argmax()), channel.shape)]
    return answer | {"kind": "largest", "made": float(channel.max()), "winner": winner, "relu": False}


# ---------------------------------------------------------------- linear maps
def sum_of_products(x: np.ndarray, w: np.ndarray, bias: float, value: float) -> dict[str, Any]:
    """y = Σ_d x_d · w_d + b, the largest terms first. x (D,), w (D,)."""
    terms = x * w
    order = np.argsort(-np.abs(terms), kind="stable")[:MOST_TERMS]
    return {
        "kind": "products",
        "value": value,
        "made": float(terms.sum()) + bias,
        "bias": bias,
        "terms": [{"d": int(d), "x": float(x[d]), "w": float(w[d])} for d in order],
        "others": float(terms.sum() - terms[order].sum()),
        "count": len(x),
    }


@unit.register
def _(layer: Dense, x: np.ndarray, y: np.ndarray, place: Place) -> dict[str, Any]:
    row, m = (x[place[0]], place[1]) if x.ndim == 2 else (x, place[0])
    bias = float(layer.params["b"][m]) if "b" in layer.params else 0.0
    return sum_of_products(row, layer.params["w"][:, m], bias, float(y[place]))


@unit.register
def _(layer: PatchEmbed, x: np.ndarray, y: np.ndarray, place: Place) -> dict[str, Any]:
    token, m = place
    s, across = layer.size, x.shape[1] // layer.size
    top, left = s * (token // across), s * (token % across)
    patch = x[top : top + s, left : left + s]
    bias = float(layer.params["b"][m]) if "b" in layer.params else 0.0
    found = sum_of_products(patch.reshape(-1), layer.params["w"][:, m], bias, float(y[place]))
    return found | {"at": [top, left, s, s]}


# ---------------------------------------------------------------- norms
@unit.register
def _(layer: BatchNorm, x: np.ndarray, y: np.ndarray, place: Place) -> dict[str, Any]:
    c = place[-1]
    mean, var = float(layer.buffers["mean"][c]), float(layer.buffers["var"][c])
    return _normalised(layer, x, y, place, mean, var, layer.after)


@unit.register
def _(layer: LayerNorm, x: np.ndarray, y: np.ndarray, place: Place) -> dict[str, Any]:
    row = x[place[:-1]]
    return _normalised(layer, x, y, place, float(row.mean()), float(row.var()), "")


def _normalised(
    layer: Any, x: np.ndarray, y: np.ndarray, place: Place, mean: float, var: float, after: str
) -> dict[str, Any]:
    c = place[-1]
    gamma = float(layer.params["gamma"][c])
    beta = float(layer.params["beta"][c]) if "beta" in layer.params else 0.0
    made = gamma * (float(x[place]) - mean) / float(np.sqrt(var + layer.eps)) + beta
    return {
        "kind": "norm",
        "value": float(y[place]),
        "made": {"": made, "relu": max(made, 0.0), "silu": made / (1 + math.exp(min(-made, 700)))}[after],
        "relu": after == "relu",
        "silu": after == "silu",
        "x": float(x[place]),
        "mean": mean,
        "var": var,
        "eps": layer.eps,
        "gamma": gamma,
        "beta": beta,
    }


# ---------------------------------------------------------------- the others
@unit.register
def _(layer: Flatten, x: np.ndarray, y: np.ndarray, place: Place) -> dict[str, Any]:
    source = [int(i) for i in np.unravel_index(place[0], x.shape)]
    return {"kind": "moved", "value": float(y[place]), "made": float(x[tuple(source)]), "source": source}


@unit.register(Residual)
@unit.register(PositionEmbedding)
def _(layer: Any, x: np.ndarray, y: np.ndarray, place: Place) -> dict[str, Any]:
    before, added = float(x[place]), float(y[place] - x[place])
    return {"kind": "sum", "value": float(y[place]), "made": before + added, "x": before, "f": added}


@unit.register
def _(layer: MultiHeadAttention, x: np.ndarray, y: np.ndarray, place: Place) -> dict[str, Any]:
    token = place[0]
    return {
        "kind": "attention",
        "value": float(y[place]),
        "token": token,
        "weights": numbers(layer.weights(x[None])[0, :, token]),
    }
