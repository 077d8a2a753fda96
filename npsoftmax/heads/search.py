"""The most probable of classes that come in groups, without scoring all: log p(c) = log p(group) + log p(c | group)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from npsoftmax.backend import Array, array_module
from npsoftmax.heads.base import top_k

Candidates = Callable[[Array, int], tuple[Array, Array]]

# Scores held at once: 64 MiB in float32.
SCORES = 2**24


def best_in_groups(bounds: Array, sizes: Sequence[int], k: int, candidates: Candidates) -> Array:
    """The k classes of largest log p, best first, ties to the lowest label.

    Each sample opens its groups from the highest bound down, and stops at one whose bound is below the k-th best class
    found: no class of it, or of any later group, can win. At an equal bound it goes on: a class of it may tie, and have
    a lower label.

    bounds (N, G): no class of group g has a larger log p than bounds[n, g]; sizes (G,): classes in each group;
    candidates(samples (M,), g) -> log p (M, sizes[g]) and labels (sizes[g],), rising -> labels (N, k).
    """
    xp = array_module(bounds)
    every = xp.arange(len(bounds))
    scores, labels = xp.full((len(bounds), k), -xp.inf, dtype=bounds.dtype), xp.zeros((len(bounds), k), dtype=xp.int64)
    order = xp.argsort(-bounds, axis=1, kind="stable")
    for group in order.T:
        open_ = ~(bounds[every, group] < scores[:, -1])
        if not open_.any():
            break
        for g in xp.unique(group[open_]).tolist():
            samples, step = xp.flatnonzero(open_ & (group == g)), max(1, SCORES // sizes[g])
            for part in (samples[i : i + step] for i in range(0, len(samples), step)):
                log_p, found = candidates(part, g)
                best = top_k(log_p, min(k, sizes[g]))
                log_p = xp.take_along_axis(log_p, best, axis=1)
                scores[part], labels[part] = _merge(scores[part], labels[part], log_p, found[best], k)
    return labels


def _merge(scores: Array, labels: Array, more_scores: Array, more_labels: Array, k: int) -> tuple[Array, Array]:
    """The k best of two lists. (N, k), (N, B) -> scores and labels (N, k)."""
    xp = array_module(scores)
    scores, labels = xp.concatenate([scores, more_scores], axis=1), xp.concatenate([labels, more_labels], axis=1)
    by_label = xp.argsort(labels, axis=1, kind="stable")
    scores, labels = xp.take_along_axis(scores, by_label, axis=1), xp.take_along_axis(labels, by_label, axis=1)
    best = xp.argsort(-scores, axis=1, kind="stable")[:, :k]  # of equal scores, the lowest label stays first
    return xp.take_along_axis(scores, best, axis=1), xp.take_along_axis(labels, best, axis=1)
