"""A vector for every word of a vocabulary."""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.errors import InputError
from npsoftmax.functional import tokens
from npsoftmax.layers.base import Layer, Shape, require_sizes
from npsoftmax.layers.initialisation import initialiser
from npsoftmax.params import SparseRows, Tree
from npsoftmax.random import Rng, check_rng

# Words from which on the gradient is SparseRows: a batch has a few thousand of them, and the optimiser then leaves the
# others alone (no momentum, no decay: training/optimizers/base.py). Below, it reaches every row in every step.
SPARSE_FROM = 10_000


class Embedding(Layer):
    """y_nt = w[x_nt]. x (N, T), whole numbers from 0 to words - 1 -> y (N, T, dim); params w (words, dim).

    w starts normal with deviation `std`. From 10,000 words on its gradient is SparseRows. There is no dx: a word is no
    number that could be a little larger.
    """

    takes_tokens = True

    def __init__(self, words: int, dim: int, *, rng: Rng, std: float = 1.0):
        super().__init__()
        require_sizes("Embedding", words=words, dim=dim)
        check_rng(rng)
        self.words, self.dim, self.sparse = words, dim, words >= SPARSE_FROM
        self.params["w"] = initialiser("normal")((words, dim), dim, rng.child("w")) * np.float32(std)

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        return tokens.embedding_rows_forward(self.params["w"], x)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        rows, values = tokens.embedding_rows_backward(dy, cache)
        dw = SparseRows.from_indices(rows, values, self.words)
        return None, {"w": dw if self.sparse else dw.to_dense()}

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise InputError(f"{self!r} takes samples of T words, shape (T,), not {shape}.")
        return *shape, self.dim

    def __repr__(self) -> str:
        return f"Embedding({self.words}, {self.dim})"
