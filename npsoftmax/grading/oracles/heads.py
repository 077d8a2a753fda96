"""The definitions behind a5, leaf by leaf and sample by sample."""

from __future__ import annotations

import heapq
import math
from typing import Any

import numpy as np

from npsoftmax.grading.oracles import exact

Outputs = tuple[Any, ...]


def balanced(order: np.ndarray) -> Outputs:
    """A heap: position p has the children 2p + 1 and 2p + 2, and the positions from n - 1 on are the leaves."""
    n = len(order)

    def place(position: int) -> int:
        return position if position < n - 1 else n - 1 + int(order[position - (n - 1)])

    return (np.array([[place(2 * p + 1), place(2 * p + 2)] for p in range(n - 1)]),)


def huffman(order: np.ndarray, counts: np.ndarray) -> Outputs:
    """The code length of every class, by joining the two rarest subtrees again and again."""
    queue = [(int(counts[c]), [int(c)]) for c in order]
    heapq.heapify(queue)
    depth = np.zeros(len(order), dtype=int)
    while len(queue) > 1:
        (a, left), (b, right) = heapq.heappop(queue), heapq.heappop(queue)
        depth[left + right] += 1
        heapq.heappush(queue, (a + b, left + right))
    return (depth,)


def way_up(up: np.ndarray, label: int) -> list[tuple[int, int]]:
    """(node, sign) from the leaf's own parent to the root."""
    place, found = len(up) // 2 + label, []
    while up[place] >= 0:
        found.append((int(up[place]) // 2, 1 if up[place] % 2 else -1))
        place = int(up[place]) // 2
    return found


def climb(up: np.ndarray, labels: np.ndarray, levels: int) -> Outputs:
    """The paths, padded with (-1, 0)."""
    ways = [way_up(up, int(label)) for label in labels]
    full = np.array([way + [(-1, 0)] * (levels - len(way)) for way in ways])
    return full[..., 0], full[..., 1]


def log_sigmoid(value: float) -> float:
    """log σ(value) in exact arithmetic."""
    return -float(exact.log(1 + exact.exp(-value)))


def path_loss(z: np.ndarray, signs: np.ndarray) -> Outputs:
    """Minus the sum of log σ(s · z) over the nodes of each path, averaged over the samples."""
    total = [log_sigmoid(s * v) for v, s in zip(z.ravel().tolist(), signs.ravel().tolist(), strict=True) if s]
    return (-math.fsum(total) / len(z),)


def tree_log_prob(z: np.ndarray, children: np.ndarray, levels: list[tuple[int, int]]) -> Outputs:
    """log p of every leaf, by walking down to it from the root."""
    inner = len(children)
    log_p = np.empty((len(z), inner + 1))

    def walk(n: int, place: int, so_far: float) -> None:
        if place >= inner:
            log_p[n, place - inner] = so_far
            return
        left, right = children[place].tolist()
        walk(n, left, so_far + log_sigmoid(-z[n, place]))
        walk(n, right, so_far + log_sigmoid(z[n, place]))

    for n in range(len(z)):
        walk(n, 0, 0.0)
    return (log_p,)


def nll(row: list[float], place: int) -> float:
    """-log softmax(row)[place] in exact arithmetic."""
    return float(exact.log_sum_exp(row)) - row[place]


def two_level_loss(z_group: np.ndarray, z_class: np.ndarray, t: np.ndarray, group: np.ndarray) -> Outputs:
    """Two decisions a sample: its group, then its class among those of the group."""
    losses = []
    for n, label in enumerate(t.tolist()):
        members = np.flatnonzero(group == group[label]).tolist()
        inside = [float(z_class[n, c]) for c in members]
        losses.append(nll(z_group[n].tolist(), int(group[label])) + nll(inside, members.index(label)))
    return (math.fsum(losses) / len(losses),)


def adaptive_loss(
    h: np.ndarray, w_head: np.ndarray, proj: np.ndarray, w_tail: np.ndarray, t: np.ndarray, cutoff: int
) -> Outputs:
    """One decision for a frequent class, two for a rare one."""
    losses = []
    for features, label in zip(h, t.tolist(), strict=True):
        loss = nll((w_head @ features).tolist(), min(label, cutoff))
        if label >= cutoff:
            loss += nll((w_tail @ (proj @ features)).tolist(), label - cutoff)
        losses.append(loss)
    return (math.fsum(losses) / len(losses),)


def sampled_loss(
    h: np.ndarray, w: np.ndarray, b: np.ndarray, t: np.ndarray, drawn: np.ndarray, log_expected: np.ndarray
) -> Outputs:
    """The target's score first, then those of the drawn classes that are not the target."""
    losses = []
    for features, label in zip(h, t.tolist(), strict=True):
        row = [float(features @ w[label] + b[label])]
        for c, correction in zip(drawn.tolist(), log_expected.tolist(), strict=True):
            if c != label:
                row.append(float(features @ w[c] + b[c]) - correction)
        losses.append(nll(row, 0))
    return (math.fsum(losses) / len(losses),)
