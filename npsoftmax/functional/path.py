"""The loss of a path of yes/no decisions down a binary tree."""

from __future__ import annotations

from typing import Any

from npsoftmax.backend import Array, array_module


def path_loss_forward(z: Array, signs: Array) -> tuple[Array, Any]:
    """loss = (1/N) Σ_n Σ_l softplus(−s·z): minus the log of the product of sigmoids σ(s·z) along each path.

    z (N, L) scores of the nodes on the path, signs (N, L): +1 where the path goes right, −1 left, 0 past its end.
    In log space throughout: a product of sigmoids would underflow.
    """
    loss = (softplus(-signs * z) * (signs != 0)).sum() / z.shape[0]
    return loss, (z, signs)


def path_loss_backward(dloss: float, cache: Any) -> Array:
    """dz = −s · σ(−s·z) · dloss/N, exactly 0 past the end of a path.

    dloss scalar -> dz (N, L)
    """
    z, signs = cache
    return -signs * sigmoid(-signs * z) * (dloss / z.shape[0])


def softplus(x: Array) -> Array:
    """log(1 + eˣ) without overflow."""
    xp = array_module(x)
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))


def sigmoid(x: Array) -> Array:
    """1 / (1 + e⁻ˣ) without overflow: the exponential is only ever taken of −|x|."""
    xp = array_module(x)
    e = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1, e) / (1 + e)
