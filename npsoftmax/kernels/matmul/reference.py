"""A product of matrices and a bias by the library of the array: the documentation of the kernels, and the fallback."""

from __future__ import annotations

from npsoftmax.backend import Array


def matmul(a: Array, b: Array, bias: Array | None = None) -> Array:
    """a @ b + bias. a (M, K), b (K, N), bias (N,) or None -> (M, N)."""
    y = a @ b
    return y if bias is None else y + bias


def products(a: Array, b: Array) -> Array:
    """a @ b. a (…, M, K), b (…, K, N) -> (…, M, N)."""
    return a @ b
