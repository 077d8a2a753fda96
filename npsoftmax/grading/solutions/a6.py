"""What lets a network learn in a few epochs: targets, activation, first filters, images and direction of a step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npsoftmax.backend import Array


# ---------------------------------------------------------------- step 1
def smoothed_targets(q: Array, label_smoothing: float) -> Array:
    """A share ε = label_smoothing of each row is taken from where it was and given to all C classes alike.

    q (N, C) targets of at least 0, one-hot rows or others -> (N, C). The sum of a row stays what it is.
    """
    total = q.sum(axis=1, keepdims=True)
    return (1 - label_smoothing) * q + label_smoothing / q.shape[1] * total


def soft_cross_entropy_forward(z: Array, q: Array) -> tuple[Array, Any]:
    """The mean over the N rows of -Σ_c q_c · log softmax(z)_c. z (N, C) logits, q (N, C) targets -> loss ().

    Rows of q need not sum to 1.
    """
    s = z - z.max(axis=1, keepdims=True)
    log_p = s - np.log(np.exp(s).sum(axis=1, keepdims=True))
    return -(q * log_p).sum() / len(z), (np.exp(log_p), q)


def soft_cross_entropy_backward(dloss: Array | float, cache: Any) -> Array:
    """Gradient of `soft_cross_entropy_forward` with respect to z. dloss () -> dz (N, C).

    Formula: dz = (p · Σ_c q_c - q) · dloss / N.
    """
    p, q = cache
    return (p * q.sum(axis=1, keepdims=True) - q) * (dloss / len(q))


# ---------------------------------------------------------------- step 2
def silu_forward(x: Array) -> tuple[Array, Any]:
    """y = x · σ(x), number by number, with σ(x) = 1 / (1 + e^{-x}). x of any shape -> y like x."""
    s = 1 / (1 + np.exp(-x))
    return x * s, (x, s)


def silu_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `silu_forward` with respect to x. dy like x -> dx like x.

    Formula: dx = dy · σ(x) · (1 + x · (1 - σ(x))).
    """
    x, s = cache
    return dy * s * (1 + x * (1 - s))


# ---------------------------------------------------------------- step 3
def patch_covariance(x: Array, k: tuple[int, int]) -> Array:
    """Covariance of the patches of k = (KH, KW) pixels, at every place of every image: the mean of (a - ā)(a - ā)ᵀ.

    x (N, H, W, C) -> (D, D), D = KH·KW·C. The numbers of a patch are in the order (KH, KW, C), as they lie in x.
    """
    kh, kw = k
    oh, ow = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    pixels = [x[:, i : i + oh, j : j + ow] for i in range(kh) for j in range(kw)]  # each (N, OH, OW, C)
    a = np.concatenate(pixels, axis=-1).reshape(-1, kh * kw * x.shape[3])
    a = a - a.mean(axis=0)
    return a.T @ a / len(a)


def whitening_filters(x: Array, k: tuple[int, int], eps: float) -> Array:
    """Filters that make patches like those of x uncorrelated, with a variance of about 1.

    The covariance of the patches is Σ_d λ_d · v_d v_dᵀ, with λ_d falling. Filter d is v_d / √(λ_d + eps), and filter
    D + d is minus that. x (N, H, W, C), k = (KH, KW) -> (KH, KW, C, 2·D), D = KH·KW·C. The sign of v_d is free.
    """
    values, vectors = np.linalg.eigh(patch_covariance(x, k))  # values rise; the vectors are columns
    filters = vectors[:, ::-1] / np.sqrt(np.maximum(values[::-1], 0) + eps)
    both = np.concatenate([filters, -filters], axis=1)
    return both.reshape(*k, x.shape[3], -1).astype(x.dtype)


# ---------------------------------------------------------------- step 4
def resizing_weights(old: int, new: int, like: Array) -> Array:
    """How much each of `old` pixels in a row counts in each of `new`: w (new, old), of the dtype of `like`.

    With s = old / new, w_ij is in proportion to max(0, 1 - |j + 1/2 - s · (i + 1/2)| / max(s, 1)), and each row sums
    to 1. `like` is an array of images.
    """
    s = old / new
    middle = s * (np.arange(new)[:, None] + 0.5)  # of each new pixel, in old ones
    w = np.maximum(0, 1 - np.abs(np.arange(old) + 0.5 - middle) / max(s, 1))
    return (w / w.sum(axis=1, keepdims=True)).astype(like.dtype)


def resize_forward(x: Array, height: int, width: int) -> tuple[Array, Any]:
    """Images of another size: y_iuc = Σ_jv down_ij · across_uv · x_jvc for each image, with `resizing_weights`.

    x (N, H, W, C) -> y (N, height, width, C).
    """
    down, across = resizing_weights(x.shape[1], height, x), resizing_weights(x.shape[2], width, x)
    rows = np.einsum("ij,njvc->nivc", down, x)
    return np.einsum("uv,nivc->niuc", across, rows), (down, across)


def resize_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `resize_forward` with respect to x. dy (N, height, width, C) -> dx (N, H, W, C).

    Formula: dx_jvc = Σ_iu down_ij · across_uv · dy_iuc.
    """
    down, across = cache
    rows = np.einsum("uv,niuc->nivc", across, dy)
    return np.einsum("ij,nivc->njvc", down, rows)


# ---------------------------------------------------------------- step 5
def alternating_flip(x: Array, u: Array, epoch: int) -> Array:
    """Mirror left and right the images with u < 1/2 in epochs 0, 2, 4, …, and all others in epochs 1, 3, 5, ….

    x (N, H, W, C), u (N,) a number from 0 to 1 for each image, the same in every epoch -> like x. An image with u of
    exactly 1/2 is one of the others.
    """
    mirrored = (u < 0.5) == (epoch % 2 == 0)
    return np.where(mirrored[:, None, None, None], x[:, :, ::-1], x)


# ---------------------------------------------------------------- step 6
def newton_schulz_step(x: Array) -> Array:
    """a·x + (b·G + c·G²) @ x with G = x @ xᵀ and a, b, c = 3.4445, -4.7750, 2.0315. x (R, K) -> like x."""
    a, b, c = 3.4445, -4.7750, 2.0315
    gram = x @ x.T
    return a * x + (b * gram + c * gram @ gram) @ x


def orthogonalised(m: Array, steps: int) -> Array:
    """Nearly U Vᵀ, where m = U S Vᵀ: so many `newton_schulz_step` from m / ‖m‖, the root of the sum of all squares.

    m (R, K) -> like m. ‖m‖ has a floor, max(‖m‖, 1e-7) (any up to 1e-6 will do), so that a matrix of zeros stays one.
    """
    x = m / max(np.sqrt((m * m).sum()), 1e-7)
    tall = len(m) > m.shape[1]
    x = x.T if tall else x  # x @ xᵀ is then the smaller one; the result is the same
    for _ in range(steps):
        x = newton_schulz_step(x)
    return x.T if tall else x


def muon_step(w: Array, g: Array, b: Array, lr: float, momentum: float, steps: int) -> tuple[Array, Array]:
    """One step of Muon for filters w with the gradient g and the buffer b: the new w and the new b.

    new b = momentum · b + g; m is g + momentum · (new b), as a matrix (KH·KW·C, F) with a column for each filter;
    new w = w - lr · √max(1, F / (KH·KW·C)) · orthogonalised(m, steps). w, g, b (KH, KW, C, F).
    """
    b = momentum * b + g
    m = (g + momentum * b).reshape(-1, w.shape[3])
    far = lr * math.sqrt(max(1.0, m.shape[1] / m.shape[0]))
    return w - far * orthogonalised(m, steps).reshape(w.shape), b
