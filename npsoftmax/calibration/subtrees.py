"""Sets that are subtrees: "a fish, 95 %" instead of five names.

A tree over the classes is `parent` (M,): of each node the node above it. Node 0 is the root, every parent has a smaller
number than its children, and the last C nodes are the classes 0 … C - 1.

A sample's sets are nested. The first is the root: all classes. Each step gives up some, until one is left:

* a node is replaced by its most probable children, as many as there is room for, and the others are given up; or
* a node is given up, where there are others.

At most `most` nodes are kept at a time, and of all possible steps the one is taken that gives up the least probability
a class. With room for one node this goes down the tree by the more probable child; with room for all, it gives up the
least probable class each time, and its sets are those of APS.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np


class Step(NamedTuple):
    """Nodes that are kept, their probability, and the probability that this step has given up."""

    nodes: tuple[int, ...]
    mass: float
    given_up: float


# Probability a class that is given up, a tie-break, the node, what stands in its place, what is given up, its classes.
Move = tuple[float, int, int, list[int], float, int]


class Subtrees:
    """The sets of a tree's subtrees. parent (M,); classes: C; most: nodes in a set."""

    def __init__(self, parent: Sequence[int] | np.ndarray, classes: int, most: int = 1):
        self.parent = np.asarray(parent, dtype=np.int64)
        self.classes, self.most = classes, most
        self.first_leaf = len(self.parent) - classes
        self.children: list[list[int]] = [[] for _ in self.parent]
        for node in range(1, len(self.parent)):
            self.children[self.parent[node]].append(node)
        self.leaves = [0] * self.first_leaf + [1] * classes  # classes under each node
        for node in range(len(self.parent) - 1, 0, -1):
            self.leaves[self.parent[node]] += self.leaves[node]

    def masses(self, p: np.ndarray) -> np.ndarray:
        """The probability of every node. p (N, C) -> (N, M)."""
        mass = np.zeros((len(p), len(self.parent)))
        mass[:, self.first_leaf :] = p
        for node in range(len(self.parent) - 1, 0, -1):
            mass[:, self.parent[node]] += mass[:, node]
        return mass

    def members(self, node: int) -> list[int]:
        """The classes under a node, from left to right."""
        found, stack = [], [node]
        while stack:
            place = stack.pop()
            if place >= self.first_leaf:
                found.append(place - self.first_leaf)
            stack += reversed(self.children[place])
        return found

    def path(self, label: int) -> set[int]:
        """A class's leaf and all nodes above it."""
        node = self.first_leaf + label
        found = {node}
        while node:
            node = int(self.parent[node])
            found.add(node)
        return found

    def steps(self, mass: np.ndarray) -> Iterator[Step]:
        """The nested sets of a sample, from the root to one class. mass (M,): probabilities of its nodes."""
        p = mass.tolist()
        kept = [0]
        yield Step((0,), p[0], 0.0)
        while len(kept) > 1 or kept[0] < self.first_leaf:
            room = self.most - len(kept) + 1
            moves = [move for node in kept for move in self._moves(node, room, len(kept), p)]
            _, _, node, below, given_up, lost = min(moves)
            kept = [k for k in kept if k != node] + below
            if lost:
                yield Step(tuple(kept), sum(p[k] for k in kept), given_up)

    def _moves(self, node: int, room: int, kept: int, p: list[float]) -> Iterator[Move]:
        """What may stand in the place of a node, in the order of preference; of equal ones, the later class goes."""
        if kept > 1:
            yield p[node] / self.leaves[node], -node, node, [], p[node], self.leaves[node]
        if self.children[node]:
            below = sorted(self.children[node], key=lambda child: (-p[child], child))
            given_up, lost = sum(p[k] for k in below[room:]), sum(self.leaves[k] for k in below[room:])
            yield given_up / lost if lost else -1.0, -node, node, below[:room], given_up, lost

    def target_scores(self, p: np.ndarray, targets: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Of each sample: what is left when its class is given up, and a part u of what is given up with it. -> (N,)"""
        return np.array(
            [self._score(m, self.path(int(t)), float(v)) for m, t, v in zip(self.masses(p), targets, u, strict=True)]
        )

    def _score(self, mass: np.ndarray, path: set[int], u: float) -> float:
        for step in self.steps(mass):
            if path.isdisjoint(step.nodes):
                return step.mass + u * step.given_up
        return 0.0  # the last class of all, which is in every set

    def sets_of(self, p: np.ndarray, u: np.ndarray, limit: float) -> list[tuple[int, ...]]:
        """The nodes of each sample's set: the first ones that leave none out whose score is at most `limit`."""
        return [self._set(m, float(v), limit) for m, v in zip(self.masses(p), u, strict=True)]

    def _set(self, mass: np.ndarray, u: float, limit: float) -> tuple[int, ...]:
        found: tuple[int, ...] = (0,)
        for step in self.steps(mass):
            if step.mass + u * step.given_up <= limit:
                break
            found = step.nodes
        return found
