"""The definitions behind a6: number by number, pixel by pixel, and by singular values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npsoftmax.grading.oracles import exact

Outputs = tuple[Any, ...]


def smoothed_targets(q: np.ndarray, label_smoothing: float) -> Outputs:
    """What is left of each target, and an equal part of what was taken from the row."""
    y = np.empty(q.shape)
    for n, row in enumerate(q.tolist()):
        for c, target in enumerate(row):
            y[n, c] = target - label_smoothing * target + label_smoothing * math.fsum(row) / len(row)
    return (y,)


def soft_cross_entropy(z: np.ndarray, q: np.ndarray) -> Outputs:
    """-log p of each class by its target, in exact arithmetic."""
    total = 0.0
    for scores, targets in zip(z.tolist(), q.tolist(), strict=True):
        whole = exact.log_sum_exp(scores)
        total += math.fsum(t * float(whole - exact.Decimal(s)) for s, t in zip(scores, targets, strict=True))
    return (total / len(z),)


def silu(x: np.ndarray) -> Outputs:
    """x / (1 + e^-x)."""
    values = [float(exact.Decimal(v) / (1 + exact.exp(-v))) for v in x.ravel().tolist()]
    return (np.array(values).reshape(x.shape),)


# ---------------------------------------------------------------- whitening
def patches(x: np.ndarray, k: tuple[int, int]) -> np.ndarray:
    """All patches, one a row, one after the other."""
    (n, h, w, _), (kh, kw) = x.shape, k
    places = [(a, i, j) for a in range(n) for i in range(h - kh + 1) for j in range(w - kw + 1)]
    return np.array([x[a, i : i + kh, j : j + kw].ravel() for a, i, j in places])


def patch_covariance(x: np.ndarray, k: tuple[int, int]) -> Outputs:
    """The mean product of the deviations of two numbers."""
    rows = patches(x, k)
    gaps = [[v - math.fsum(column) / len(rows) for v in column] for column in rows.T.tolist()]
    return (np.array([[math.fsum(p * q for p, q in zip(a, b, strict=True)) / len(rows) for b in gaps] for a in gaps]),)


def whitening_filters(x: np.ndarray, k: tuple[int, int], eps: float) -> Outputs:
    """From the singular values of the patches themselves, without a covariance; the largest number of v is positive."""
    rows = patches(x, k)
    _, s, vectors = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    filters = []
    for value, v in zip(s * s / len(rows), vectors, strict=True):
        filters.append(v * np.sign(v[np.abs(v).argmax()]) / math.sqrt(value + eps))
    both = np.array(filters + [-v for v in filters])
    return (both.T.reshape(*k, x.shape[3], -1),)


# ---------------------------------------------------------------- images
def resizing_weights(old: int, new: int, like: np.ndarray) -> Outputs:
    """A triangle above each new pixel."""
    w = np.zeros((new, old))
    reach = old / new if old > new else 1.0
    for i in range(new):
        for j in range(old):
            distance = abs((j + 0.5) - (i + 0.5) * old / new)
            w[i, j] = (reach - distance) / reach if distance < reach else 0.0
        w[i] /= math.fsum(w[i])
    return (w,)


def resize(x: np.ndarray, height: int, width: int) -> Outputs:
    """Each new pixel is a mean of old ones."""
    n, h, w, c = x.shape
    (down,), (across,) = resizing_weights(h, height, x), resizing_weights(w, width, x)
    y = np.empty((n, height, width, c))
    for i in range(height):
        for u in range(width):
            y[:, i, u] = (x * (down[i][:, None] * across[u])[None, :, :, None]).sum(axis=(1, 2))
    return (y,)


def alternating_flip(x: np.ndarray, u: np.ndarray, epoch: int) -> Outputs:
    """Image by image."""
    images = []
    for image, number in zip(x, u.tolist(), strict=True):
        first = number < 0.5
        images.append(image[:, ::-1] if first != bool(epoch % 2) else image)
    return (np.array(images),)


# ---------------------------------------------------------------- Muon
def polynomial(s: float) -> float:
    """What one step makes of a singular value."""
    return 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5


def newton_schulz_step(x: np.ndarray) -> Outputs:
    """The polynomial of each singular value."""
    left, values, right = np.linalg.svd(x, full_matrices=False)
    return ((left * [polynomial(s) for s in values]) @ right,)


def orthogonalised(m: np.ndarray, steps: int) -> Outputs:
    """The same, again and again."""
    if not m.any():
        return (np.zeros(m.shape),)
    left, values, right = np.linalg.svd(m, full_matrices=False)
    values = values / math.sqrt(math.fsum(values**2))
    for _ in range(steps):
        values = np.array([polynomial(s) for s in values])
    return ((left * values) @ right,)


def muon_step(w: np.ndarray, g: np.ndarray, b: np.ndarray, lr: float, momentum: float, steps: int) -> Outputs:
    """Filter by filter."""
    buffer = g + momentum * b
    ahead = g * (1 + momentum) + momentum * momentum * b
    columns = np.array([ahead[..., f].ravel() for f in range(w.shape[3])])  # (F, K)
    (direction,) = orthogonalised(columns, steps)
    ratio = len(columns) / columns.shape[1]
    moved = w.copy()
    for f, row in enumerate(direction):
        moved[..., f] -= lr * (math.sqrt(ratio) if ratio > 1 else 1.0) * row.reshape(w.shape[:3])
    return moved, buffer
