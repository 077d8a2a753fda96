"""Matrix products on all threads; the array decides which version runs. What it computes stands in `reference`."""

from __future__ import annotations

from npsoftmax.arguments import fit
from npsoftmax.backend import Array
from npsoftmax.kernels.dispatch import chooser
from npsoftmax.kernels.matmul import compiled, device, reference

__all__ = ["matmul", "products"]

version_for = chooser(compiled.MODULE, compiled, reference, device)


def matmul(a: Array, b: Array, bias: Array | None = None) -> Array:
    """a @ b + bias for matrices a (M, K), b (K, N) and bias (N,) or None, on as many threads as `--threads` says.

    Transposed views are read where they lie. NumPy's own product runs on one thread within a training step.
    """
    fit("left (M, K), right (K, N), bias (N)?", a.shape, b.shape, None if bias is None else bias.shape)
    return version_for(a, b, bias).matmul(a, b, bias)


def products(a: Array, b: Array) -> Array:
    """a @ b for stacks of as many matrices, a (…, M, K), b (…, K, N); on the host NumPy's own, on a device cuBLAS's."""
    return version_for(a, b).products(a, b)
