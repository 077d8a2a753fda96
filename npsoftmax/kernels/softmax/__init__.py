"""Rows of a softmax: the exponentials of logits, and the gradient of logits; the array decides which version runs.

What each function does stands in `reference`.
"""

from __future__ import annotations

from npsoftmax.arguments import fit
from npsoftmax.backend import Array
from npsoftmax.cuda import on_device
from npsoftmax.kernels.dispatch import chooser
from npsoftmax.kernels.softmax import compiled, device, reference

__all__ = ["exp_rows", "on_device", "scaled_less_onehot", "sparse_rows"]

version_for = chooser(compiled.MODULE, compiled, reference, device)


def exp_rows(
    z: Array, temperature: float = 1.0, out: Array | None = None, threads: int | None = None
) -> tuple[Array, Array, Array, Array]:
    """Exponentials of each row below its maximum, and three sums; see `reference.exp_rows`.

    threads: 1 where a thread of its own calls it, None for as many as pay.
    """
    fit("z (N, C), out (N, C)?", z.shape, None if out is None else out.shape)
    return version_for(z).exp_rows(z, temperature, out, threads)


def sparse_rows(z: Array, power: int) -> Array:
    """Probabilities that can be 0, found without sorting; see `reference.sparse_rows`."""
    fit("z (N, C)", z.shape)
    return version_for(z).sparse_rows(z, power)


def scaled_less_onehot(
    e: Array, t: Array, factor: Array, height: Array, low: Array | None = None, threads: int | None = None
) -> Array:
    """The gradient of logits from exponentials; see `reference.scaled_less_onehot`; threads as above."""
    below = None if low is None else low.shape
    fit("e (N, C), t (N), factor (N), height (N), low (N)?", e.shape, t.shape, factor.shape, height.shape, below)
    return version_for(e, factor, height, low).scaled_less_onehot(e, t, factor, height, low, threads)
