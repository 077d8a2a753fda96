"""The definitions behind a4, query by query."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npsoftmax.grading.oracles import exact

Outputs = tuple[Any, ...]


def causal_mask(t: int, s: int, like: np.ndarray) -> Outputs:
    """Key j may be seen by query i if it is not later."""
    return (np.array([[j <= i for j in range(s)] for i in range(t)]),)


def masked_softmax(z: np.ndarray, mask: np.ndarray) -> Outputs:
    """Softmax of the allowed numbers alone, put back into their places."""
    p = np.zeros(z.shape)
    for index in np.ndindex(z.shape[:-1]):
        allowed = np.flatnonzero(mask[index])
        if len(allowed):
            p[index][allowed] = [float(v) for v in exact.softmax(z[index][allowed].tolist())]
    return (p,)


def scaled_dot_product_attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray) -> Outputs:
    """The values that a query may see, added up with its weights."""
    y = np.zeros((*q.shape[:-1], v.shape[-1]))
    for index in np.ndindex(q.shape[:-1]):
        keys, values = k[index[:-1]], v[index[:-1]]
        z = np.array([math.fsum(q[index] * key) / math.sqrt(q.shape[-1]) for key in keys])
        (p,) = masked_softmax(z, mask[index])
        for weight, value in zip(p, values, strict=True):
            y[index] += weight * value
    return (y,)


def split_heads(x: np.ndarray, heads: int) -> Outputs:
    """A run of columns for each head."""
    width = x.shape[2] // heads
    return (np.array([[image[:, h * width : (h + 1) * width] for h in range(heads)] for image in x]),)


def merge_heads(y: np.ndarray) -> Outputs:
    """The heads' columns one after another."""
    return (np.array([np.concatenate(list(image), axis=-1) for image in y]),)


def multi_head_attention(x: np.ndarray, w_qkv: np.ndarray, w_out: np.ndarray, heads: int, mask: np.ndarray) -> Outputs:
    """Head by head, each with its own columns of the three projections."""
    d = x.shape[-1]
    width, parts = d // heads, []
    for h in range(heads):
        q, k, v = (x @ w_qkv[:, i * d + h * width : i * d + (h + 1) * width] for i in range(3))
        parts.append(scaled_dot_product_attention(q, k, v, mask[:, h])[0])
    return (np.concatenate(parts, axis=-1) @ w_out,)
