"""Calls of _linear_softmax.pyx: NumPy arrays, all float32 or all float64."""

from __future__ import annotations

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.kernels.dispatch import as_stored, threads_for_products
from npsoftmax.kernels.extension import load_extension
from npsoftmax.kernels.linear_softmax import reference

MODULE = f"{__package__}._linear_softmax"

FEW = 12  # samples, below which most of a panel would be empty
PANEL = 32  # what the widest panel is a divisor of

# Numbers of w in a block, 192 KiB in float32, and the classes that it may have.
BLOCK, FEWEST, MOST = 3 * 2**14, 32, 192

# Groups of classes that threads share out. Each has a dh of its own: together at most a 16th of N·C numbers.
GROUPS, SHARE = 16, 16


def class_sums(
    h: np.ndarray, w: np.ndarray, b: np.ndarray | None, gain: np.ndarray | None, t: np.ndarray, lead: np.ndarray
) -> tuple[Array, Array, Array]:
    """See `reference.class_sums`."""
    if len(h) < FEW or not w.size:
        return reference.class_sums(h, w, b, gain, t, lead)
    n, (classes, groups) = len(h), _cut(w)
    found, target = np.empty((groups, 2, n + -n % PANEL), dtype=h.dtype), np.empty(n, dtype=h.dtype)
    fast = load_extension(MODULE)[0]
    fast.sums(*_as_taken(h, w, b, gain, t), np.ascontiguousarray(lead), found, target, classes, _threads(h, w))
    tops, totals = found[:, 0, :n], found[:, 1, :n]
    top = tops.max(axis=0)
    base = np.maximum(top, np.finfo(h.dtype).min)  # -inf where all logits are NaN, and so are the totals
    return top, (totals * np.exp(tops - base)).sum(axis=0), target


def class_gradients(
    h: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    gain: np.ndarray | None,
    t: np.ndarray,
    samples: tuple[np.ndarray, ...],
) -> tuple[Array, Array, Array | None]:
    """See `reference.class_gradients`."""
    if len(h) < FEW or not w.size:
        return reference.class_gradients(h, w, b, gain, t, samples)
    n, (classes, groups) = len(h), _cut(w)
    room = np.zeros((len(samples), n + -n % PANEL), dtype=h.dtype)
    room[:, :n] = samples
    room[1, n:] = np.inf  # tops of samples that are not there: e^(z - inf) = 0, whatever z is
    dw, db = np.empty_like(w), np.empty(len(w), dtype=w.dtype)
    parts = np.empty((groups, *h.shape), dtype=h.dtype)
    into = as_stored(dw)[0], None if b is gain is None else db
    load_extension(MODULE)[0].gradients(*_as_taken(h, w, b, gain, t), room, *into, parts, classes, _threads(h, w))
    return parts.sum(axis=0), dw, None if b is None else db


def _as_taken(
    h: np.ndarray, w: np.ndarray, b: np.ndarray | None, gain: np.ndarray | None, t: np.ndarray
) -> tuple[np.ndarray, np.ndarray, bool, np.ndarray | None, np.ndarray]:
    stored, turned = as_stored(w)
    lines = None
    if b is not None or gain is not None:
        lines = np.empty((len(w), 2), dtype=w.dtype)
        lines[:, 0], lines[:, 1] = 1 if gain is None else gain, 0 if b is None else b
    return np.ascontiguousarray(h), np.ascontiguousarray(stored), turned, lines, np.ascontiguousarray(t)


def _cut(w: np.ndarray) -> tuple[int, int]:
    """Classes in a block, and groups of blocks: by shapes alone, so that threads change no bit."""
    c, d = w.shape
    classes = min(MOST, max(FEWEST, BLOCK // d))
    return classes, min(GROUPS, max(2, c // (SHARE * d)), -(-c // classes))


def _threads(h: np.ndarray, w: np.ndarray) -> int:
    return threads_for_products(len(h) * w.size)
