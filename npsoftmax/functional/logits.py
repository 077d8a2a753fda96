"""What is done to logits before a softmax, and asked of them beside its loss. Derivations: docs/softmax-family.md.

A penalty is a pair of rows: z (N, C) -> losses (N,), which are added to those of the softmax.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import gradient_like, taken
from npsoftmax.backend import Array, array_module
from npsoftmax.functional import softmax
from npsoftmax.functional.softmax import positive


def soft_cap_forward(z: Array, cap: float) -> tuple[Array, Any]:
    """y = c · tanh(z / c): z itself near 0, and never beyond ±c. Any shape. InputError unless c > 0.

    Source: Gemma Team, 2024 (arXiv 2408.00118).
    """
    z, cap = softmax.scores(z), positive("soft_cap", cap)
    share = array_module(z).tanh(z / cap)
    return cap * share, share


def soft_cap_backward(dy: Array, cache: Any) -> Array:
    """dz = (1 - (y / c)²) · dy. dy like z -> dz like z."""
    share = cache
    dy = gradient_like(dy, share.shape)
    return (1 - share * share) * dy


def z_loss_forward(z: Array, weight: float) -> tuple[Array, Any]:
    """weight · (log Σ_c e^{z_c})² of every row: the size of the scores, which softmax does not see.

    z (N, C) -> losses (N,). Source: Chowdhery et al., 2022 (arXiv 2204.02311).
    """
    (z,) = taken("z (N, C)", z)
    size, p = softmax.log_sum_exp_forward(z)
    return weight * size * size, (size, p, weight)


def z_loss_backward(dlosses: Array, cache: Any) -> Array:
    """dz = 2 · weight · log Σ_c e^{z_c} · p · dloss, p = softmax(z). dlosses (N,) -> dz (N, C)."""
    size, p, weight = cache
    dlosses = gradient_like(dlosses, size.shape, "dlosses")
    return softmax.log_sum_exp_backward(2 * weight * size * dlosses, p)


def max_suppression_forward(z: Array, weight: float) -> tuple[Array, Any]:
    """weight · (max_c z_c - mean_c z_c) of every row: how far the most probable class, right or wrong, stands out.

    z (N, C) -> losses (N,). Source: Zhou et al., 2025 (MaxSup, arXiv 2502.15798).
    """
    (z,) = taken("z (N, C)", z)
    top = z.argmax(axis=1)
    below = z - z.max(axis=1, keepdims=True)
    return -weight * below.mean(axis=1), (top, z.shape, z.dtype, weight)


def max_suppression_backward(dlosses: Array, cache: Any) -> Array:
    """dz = weight · (1 at the first maximum, else 0, - 1/C) · dloss. dlosses (N,) -> dz (N, C)."""
    top, shape, dtype, weight = cache
    dlosses = gradient_like(dlosses, shape[:1], "dlosses")
    xp = array_module(dlosses)
    scale = (weight * dlosses).astype(dtype, copy=False)
    dz = xp.zeros(shape, dtype=dtype) - (scale / shape[1])[:, None]
    dz[xp.arange(shape[0]), top] += scale
    return dz
