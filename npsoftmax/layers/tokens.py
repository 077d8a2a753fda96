"""From an image to a row of tokens, and from tokens to one vector: patches, class token, positions, pooling."""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.autocast import activation, kept_gradient
from npsoftmax.backend import Array
from npsoftmax.errors import InputError, unknown_name
from npsoftmax.functional import patches, tokens
from npsoftmax.layers.base import Layer, Shape, require_sizes
from npsoftmax.layers.dense import Dense
from npsoftmax.layers.initialisation import initialiser
from npsoftmax.params import Tree
from npsoftmax.random import Rng, check_rng

POSITIONS = ("learned", "sinusoidal")


class PatchEmbed(Layer):
    """Cut the image into patches and map each by one dense layer: a convolution with stride = kernel = `size`.

    x (N, H, W, C) -> y (N, P, D), P = H/size · W/size, row by row; params w (size·size·C, D), b (D,).
    """

    def __init__(self, size: int, channels: int, dim: int, *, rng: Rng, bias: bool = True, init: str = "default"):
        super().__init__()
        require_sizes("PatchEmbed", size=size, channels=channels, dim=dim)
        self.size, self.channels, self.dim = size, channels, dim
        self.dense = Dense(size * size * channels, dim, rng=rng, bias=bias, init=init)
        self.params = self.dense.params

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        x = activation(x)
        shape = self.output_shape(x.shape[1:])
        cut, cut_cache = patches.patches_forward(x, self.size)
        y, dense_cache = self.dense.forward(cut.reshape(-1, cut.shape[-1]))
        return y.reshape(len(x), *shape), (cut_cache, dense_cache)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        cut_cache, dense_cache = cache
        (n, h, w, _), size = cut_cache
        dy = kept_gradient(dy, (n, (h // size) * (w // size), self.dim))
        dcut, grads = self.dense.backward(dy.reshape(-1, self.dim), dense_cache, need_dx=need_dx)
        if dcut is None:
            return None, grads
        return patches.patches_backward(dcut.reshape(*dy.shape[:2], dcut.shape[-1]), cut_cache), grads

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 3 or shape[2] != self.channels:
            raise InputError(f"{self!r} takes images of shape (H, W, {self.channels}), channels last, not {shape}.")
        if shape[0] % self.size or shape[1] % self.size:
            raise InputError(
                f"an image of {shape[0]}x{shape[1]} does not divide into patches of {self.size}x{self.size}; choose a "
                "patch size that divides both sides."
            )
        return (shape[0] // self.size) * (shape[1] // self.size), self.dim

    def macs(self, shape: Shape) -> int:
        return self.output_shape(shape)[0] * self.dense.macs((self.dense.inputs,))

    def children(self) -> dict[str, Layer]:
        return {"dense": self.dense}

    def __repr__(self) -> str:
        return f"PatchEmbed({self.size}x{self.size}x{self.channels}, {self.dim})"


class ClassToken(Layer):
    """One more token, the same for every sample and learned, before all others. (N, T, D) -> (N, T+1, D); params token
    (D,), normal with deviation `std`."""

    def __init__(self, dim: int, *, rng: Rng, std: float = 0.02):
        super().__init__()
        require_sizes("ClassToken", dim=dim)
        check_rng(rng)
        self.dim = dim
        self.params["token"] = initialiser("normal")((dim,), dim, rng.child("token")) * np.float32(std)

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        x = self.taken(x)
        return tokens.class_token_forward(x, self.params["token"])

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        dx, dtoken = tokens.class_token_backward(dy, cache)
        return dx, {"token": dtoken}

    def output_shape(self, shape: Shape) -> Shape:
        count, dim = _require_tokens(self, shape, self.dim)
        return count + 1, dim

    def __repr__(self) -> str:
        return f"ClassToken({self.dim})"


class PositionEmbedding(Layer):
    """y = x + position: without it a set of tokens has no order. x (N, T, D) -> y (N, T, D).

    kind: "learned", params position (T, D), normal with deviation `std`; or "sinusoidal", buffers position (T, D),
    sines and cosines of t / 10000^(2i/D) (Vaswani et al., 2017, arXiv 1706.03762).
    """

    def __init__(self, tokens: int, dim: int, *, rng: Rng, kind: str = "learned", std: float = 0.02):
        super().__init__()
        require_sizes("PositionEmbedding", tokens=tokens, dim=dim)
        check_rng(rng)
        if kind not in POSITIONS:
            raise unknown_name("position embedding", kind, POSITIONS)
        self.tokens, self.dim, self.kind = tokens, dim, kind
        if kind == "learned":
            drawn = initialiser("normal")((tokens, dim), dim, rng.child("position"))
            self.params["position"] = drawn * np.float32(std)
        else:
            self.buffers["position"] = sinusoidal_positions(tokens, dim)

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        x = self.taken(x)
        return tokens.position_embedding_forward(x, (self.params | self.buffers)["position"])

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        learned = self.kind == "learned"
        dx, dposition = tokens.position_embedding_backward(dy, cache, need_dposition=learned)
        return dx, {"position": dposition} if learned else {}

    def output_shape(self, shape: Shape) -> Shape:
        if shape != (self.tokens, self.dim):
            raise InputError(f"{self!r} takes samples of shape ({self.tokens}, {self.dim}), not {shape}.")
        return shape

    def __repr__(self) -> str:
        return f"PositionEmbedding({self.tokens}, {self.dim}, {self.kind})"


class TokenPool(Layer):
    """One vector of all tokens: the first ("class"), their mean or their sum. (N, T, D) -> (N, D)."""

    def __init__(self, kind: str = "class"):
        super().__init__()
        if kind not in tokens.POOLS:
            raise unknown_name("pool of tokens", kind, tokens.POOLS)
        self.kind = kind

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        x = self.taken(x)
        return tokens.token_pool_forward(x, self.kind)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        return tokens.token_pool_backward(dy, cache), {}

    def output_shape(self, shape: Shape) -> Shape:
        return _require_tokens(self, shape)[1:]

    def __repr__(self) -> str:
        return f"TokenPool({self.kind})"


def sinusoidal_positions(tokens: int, dim: int) -> np.ndarray:
    """p[t, 2i] = sin(t / 10000^(2i/D)), p[t, 2i+1] = cos of the same. -> (T, D) float32"""
    i = np.arange(dim)
    angle = np.arange(tokens)[:, None] / 10000.0 ** ((i - i % 2) / dim)
    return np.where(i % 2, np.cos(angle), np.sin(angle)).astype(np.float32)


def _require_tokens(layer: Layer, shape: Shape, dim: int | None = None) -> Shape:
    if len(shape) != 2 or (dim is not None and shape[1] != dim):
        raise InputError(f"{layer!r} takes samples of shape (T, {dim or 'D'}), not {shape}.")
    return shape
