"""Softmax attention of all heads; the array decides which version runs. What each function does stands in `reference`.

There is no version for a device: CuPy's matrix products serve there, in `reference` or functional/attention.py.
"""

from __future__ import annotations

from npsoftmax.arguments import fit, refuse
from npsoftmax.backend import Array
from npsoftmax.kernels.attention import compiled, reference
from npsoftmax.kernels.attention.reference import Three
from npsoftmax.kernels.dispatch import chooser

__all__ = ["attention", "attention_backward", "has_compiled"]

version_for = chooser(compiled.MODULE, compiled, reference)

BACKWARD = "q (N, T, D), k (N, S, D), v (N, S, D), y (N, T, D), dy (N, T, D), lse (N, H, T)"
WRITTEN = ", dq (N, T, D), dk (N, S, D), dv (N, S, D)"


def has_compiled(*arrays: Array) -> bool:
    """Whether arrays like these would run on the compiled kernels."""
    return version_for(*arrays) is compiled and compiled.takes(*arrays)


def attention(q: Array, k: Array, v: Array, heads: int) -> tuple[Array, Array]:
    """y, and the log Σ e^z of every row of scores; see `reference.attention`."""
    fit("q (N, T, D), k (N, S, D), v (N, S, D)", q.shape, k.shape, v.shape)
    _fit_heads(q.shape[2], heads)
    return version_for(q, k, v).attention(q, k, v, heads)


def attention_backward(
    dy: Array, q: Array, k: Array, v: Array, y: Array, lse: Array, heads: int, out: Three | None = None
) -> Three:
    """dq, dk, dv, into `out` where it is given; see `reference.attention_backward`."""
    shapes = (a.shape for a in (q, k, v, y, dy, lse, *(out or ())))
    fit(BACKWARD + WRITTEN if out else BACKWARD, *shapes)
    _fit_heads(q.shape[2], heads, lse.shape[1])
    return version_for(dy, q, k, v, y, lse).attention_backward(dy, q, k, v, y, lse, heads, out)


def _fit_heads(features: int, heads: int, known: int | None = None) -> None:
    if heads < 1 or features % heads or known not in (None, heads):
        raise refuse(f"{features} features do not divide into {heads} heads; choose a divisor of {features}.")
