"""Filters that whiten small patches of images: what a stem can be without having learned anything."""

from __future__ import annotations

from npsoftmax import kernels
from npsoftmax.arguments import fit_windows
from npsoftmax.backend import Array, array_module

CHUNK = 500  # images whose patches are in memory together


def patch_covariance(x: Array, k: tuple[int, int]) -> Array:
    """Covariance of all patches of k pixels. x (N, H, W, C) -> float64 (KH·KW·C, KH·KW·C)."""
    xp = array_module(x)
    n, oh, ow, _ = fit_windows(x.shape, k, (1, 1), (0, 0))
    d = k[0] * k[1] * x.shape[3]
    total, square = xp.zeros(d), xp.zeros((d, d))
    for start in range(0, n, CHUNK):
        patches = kernels.im2col(x[start : start + CHUNK], k, (1, 1), (0, 0)).astype(xp.float64)  # (M, D)
        total += patches.sum(axis=0)
        square += patches.T @ patches
    mean = total / (n * oh * ow)
    return square / (n * oh * ow) - xp.outer(mean, mean)


def whitening_filters(x: Array, k: tuple[int, int], eps: float) -> Array:
    """Filters that give patches like those of x uncorrelated values of variance about 1, each with both signs.

    With the covariance Σ_d λ_d · v_d v_dᵀ of the patches, filter d is v_d / √(λ_d + eps), and filter D + d is minus
    that; λ falls, and of the numbers of v_d the largest in magnitude is positive.

    x (N, H, W, C) -> (KH, KW, C, 2·D), D = KH·KW·C, like x
    """
    xp = array_module(x)
    values, vectors = xp.linalg.eigh(patch_covariance(x, k))  # ascending; one eigenvector a column
    values, vectors = values[::-1], vectors[:, ::-1]
    largest = xp.take_along_axis(vectors, abs(vectors).argmax(axis=0)[None], axis=0)
    filters = vectors * (xp.sign(largest) / xp.sqrt(xp.maximum(values, 0) + eps))
    return xp.concatenate([filters, -filters], axis=1).reshape(*k, x.shape[3], -1).astype(x.dtype)
