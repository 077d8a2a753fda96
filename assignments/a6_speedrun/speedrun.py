"""What lets a network learn in a few epochs: targets, activation, first filters, images and direction of a step.

Replace each `raise NotImplementedError`, then type

    npsoftmax grade a6

The page that goes with it: README.md in this folder.

Array is a NumPy array. Its shape is in the docstring: (N,) is a vector, () a single number, and (…, C) has any axes
before the last one. If float32 comes in, let float32 go out: the page says how.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npsoftmax.backend import Array


def smoothed_targets(q: Array, label_smoothing: float) -> Array:
    """A share ε = label_smoothing of each row is taken from where it was and given to all C classes alike.

    q (N, C) targets of at least 0, one-hot rows or others -> (N, C). The sum of a row stays what it is.
    """
    raise NotImplementedError("a6 smoothed_targets")  # return smoothed


def soft_cross_entropy_forward(z: Array, q: Array) -> tuple[Array, Any]:
    """The mean over the N rows of -Σ_c q_c · log softmax(z)_c. z (N, C) logits, q (N, C) targets -> loss ().

    Rows of q need not sum to 1.
    """
    # The cache is (p, q): p (N, C), the softmax of z, and q as it came in.
    raise NotImplementedError("a6 soft_cross_entropy_forward")  # return loss, cache


def soft_cross_entropy_backward(dloss: Array | float, cache: Any) -> Array:
    """Gradient of `soft_cross_entropy_forward` with respect to z. dloss () -> dz (N, C).

    Formula: dz = (p · Σ_c q_c - q) · dloss / N.
    """
    # The cache is (p, q): p (N, C), the softmax of z, and q as it came in.
    p, q = cache
    raise NotImplementedError("a6 soft_cross_entropy_backward")  # return dz


def silu_forward(x: Array) -> tuple[Array, Any]:
    """y = x · σ(x), number by number, with σ(x) = 1 / (1 + e^{-x}). x of any shape -> y like x."""
    # The cache is (x, s): x as it came in, s = σ(x) like x.
    raise NotImplementedError("a6 silu_forward")  # return y, cache


def silu_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `silu_forward` with respect to x. dy like x -> dx like x.

    Formula: dx = dy · σ(x) · (1 + x · (1 - σ(x))).
    """
    # The cache is (x, s): x as it came in, s = σ(x) like x.
    x, s = cache
    raise NotImplementedError("a6 silu_backward")  # return dx


def patch_covariance(x: Array, k: tuple[int, int]) -> Array:
    """Covariance of the patches of k = (KH, KW) pixels, at every place of every image: the mean of (a - ā)(a - ā)ᵀ.

    x (N, H, W, C) -> (D, D), D = KH·KW·C. The numbers of a patch are in the order (KH, KW, C), as they lie in x.
    """
    raise NotImplementedError("a6 patch_covariance")  # return covariance


def whitening_filters(x: Array, k: tuple[int, int], eps: float) -> Array:
    """Filters that make patches like those of x uncorrelated, with a variance of about 1.

    The covariance of the patches is Σ_d λ_d · v_d v_dᵀ, with λ_d falling. Filter d is v_d / √(λ_d + eps), and filter
    D + d is minus that. x (N, H, W, C), k = (KH, KW) -> (KH, KW, C, 2·D), D = KH·KW·C. The sign of v_d is free.
    """
    # You may call patch_covariance: while this is graded, that is the library's.
    raise NotImplementedError("a6 whitening_filters")  # return filters


def resizing_weights(old: int, new: int, like: Array) -> Array:
    """How much each of `old` pixels in a row counts in each of `new`: w (new, old), of the dtype of `like`.

    With s = old / new, w_ij is in proportion to max(0, 1 - |j + 1/2 - s · (i + 1/2)| / max(s, 1)), and each row sums
    to 1. `like` is an array of images.
    """
    raise NotImplementedError("a6 resizing_weights")  # return w


def resize_forward(x: Array, height: int, width: int) -> tuple[Array, Any]:
    """Images of another size: y_iuc = Σ_jv down_ij · across_uv · x_jvc for each image, with `resizing_weights`.

    x (N, H, W, C) -> y (N, height, width, C).
    """
    # The cache is (down, across): the weights of the height (height, H) and of the width (width, W).
    # You may call resizing_weights: while this is graded, that is the library's.
    raise NotImplementedError("a6 resize_forward")  # return y, cache


def resize_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `resize_forward` with respect to x. dy (N, height, width, C) -> dx (N, H, W, C).

    Formula: dx_jvc = Σ_iu down_ij · across_uv · dy_iuc.
    """
    # The cache is (down, across): the weights of the height (height, H) and of the width (width, W).
    down, across = cache
    raise NotImplementedError("a6 resize_backward")  # return dx


def alternating_flip(x: Array, u: Array, epoch: int) -> Array:
    """Mirror left and right the images with u < 1/2 in epochs 0, 2, 4, …, and all others in epochs 1, 3, 5, ….

    x (N, H, W, C), u (N,) a number from 0 to 1 for each image, the same in every epoch -> like x. An image with u of
    exactly 1/2 is one of the others.
    """
    raise NotImplementedError("a6 alternating_flip")  # return images


def newton_schulz_step(x: Array) -> Array:
    """a·x + (b·G + c·G²) @ x with G = x @ xᵀ and a, b, c = 3.4445, -4.7750, 2.0315. x (R, K) -> like x."""
    raise NotImplementedError("a6 newton_schulz_step")  # return y


def orthogonalised(m: Array, steps: int) -> Array:
    """Nearly U Vᵀ, where m = U S Vᵀ: so many `newton_schulz_step` from m / ‖m‖, the root of the sum of all squares.

    m (R, K) -> like m. ‖m‖ has a floor, max(‖m‖, 1e-7) (any up to 1e-6 will do), so that a matrix of zeros stays one.
    """
    # You may call newton_schulz_step: while this is graded, that is the library's.
    raise NotImplementedError("a6 orthogonalised")  # return o


def muon_step(w: Array, g: Array, b: Array, lr: float, momentum: float, steps: int) -> tuple[Array, Array]:
    """One step of Muon for filters w with the gradient g and the buffer b: the new w and the new b.

    new b = momentum · b + g; m is g + momentum · (new b), as a matrix (KH·KW·C, F) with a column for each filter;
    new w = w - lr · √max(1, F / (KH·KW·C)) · orthogonalised(m, steps). w, g, b (KH, KW, C, F).
    """
    # You may call orthogonalised: while this is graded, that is the library's.
    raise NotImplementedError("a6 muon_step")  # return new_w, new_b
