"""Binary trees over classes, as arrays: built, checked, measured and printed.

Design: n classes need exactly n - 1 inner nodes, so a tree is two integer arrays of fixed shape, saved with the head.
Places are numbered 0 … 2n - 2: place p < n - 1 is an inner node, place n - 1 + c is the leaf of class c.

    children (n - 1, 2)   the left and right place below each inner node
    up (2n - 1,)          2 · parent + side of each place (side 1 is right), -1 at the root

Inner nodes are numbered breadth first: the root is 0, every parent comes before its children, and each level is one
run of numbers, so that a level is a slice. A path is read upwards from its leaf: no step costs O(n).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from npsoftmax.backend import to_numpy
from npsoftmax.errors import InputError, unknown_name
from npsoftmax.heads.base import ClassInfo
from npsoftmax.heads.tree_file import opened

Nested = Sequence[Any]  # [[0, 1], [2, [3, 4]]]: a class number, or a pair of Nested

BUILDERS = ("balanced", "halving", "huffman")


def build(tree: str | Nested, classes: ClassInfo) -> np.ndarray:
    """The children (n - 1, 2) of a tree by name, as nested pairs or their text, or from a JSON file of such pairs.

    Raises InputError for an unknown name, a file that cannot be read and a tree that does not hold every class once.
    """
    tree = opened(tree)
    if not isinstance(tree, str):
        return from_nested(tree, classes.n)
    if tree == "balanced":
        return balanced(leaf_order(classes))
    if tree == "halving":
        return halving(leaf_order(classes))
    if tree == "huffman":
        return huffman(leaf_order(classes), _counts(classes))
    raise unknown_name("tree (or path of a .json file of nested lists)", tree, (*BUILDERS, "superclass"))


def leaf_order(classes: ClassInfo) -> np.ndarray:
    """Classes (n,) from left to right: by superclass where there are any, so that a decision near the root separates
    kinds of things; the labels of CIFAR-100 are alphabetical."""
    return np.arange(classes.n) if classes.coarse is None else np.argsort(classes.coarse, kind="stable")


# ---------------------------------------------------------------- builders
def balanced(order: np.ndarray) -> np.ndarray:
    """A heap: node i has the children 2i + 1 and 2i + 2, and order[j] is the leaf at heap position n - 1 + j.

    All 2n - 1 positions are used, so no mass goes to classes that don't exist; depths are ⌊log₂ n⌋ and ⌈log₂ n⌉.
    order (n,) classes -> children (n - 1, 2).
    """
    n = len(order)
    place = np.concatenate([np.arange(n - 1), n - 1 + order])
    return place[1:].reshape(n - 1, 2)


def halving(order: np.ndarray) -> np.ndarray:
    """Cut the classes in two halves (the left one the smaller), and each half again.

    order (n,) classes -> children (n - 1, 2), depths ⌊log₂ n⌋ and ⌈log₂ n⌉.
    """
    n = len(order)
    children = np.empty((n - 1, 2), dtype=np.int64)
    start, size, first = np.zeros(1, dtype=np.int64), np.full(1, n), 0
    while first < n - 1:  # a whole level at a time
        left = size // 2
        starts, sizes = np.stack([start, start + left], axis=1), np.stack([left, size - left], axis=1)  # (M, 2)
        inner, last = sizes > 1, first + len(start)
        children[first:last] = np.where(inner, _numbered(inner, last), n - 1 + order[starts])
        start, size, first = starts[inner], sizes[inner], last
    return children


def huffman(order: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Join the two rarest subtrees until one is left: the least Σ counts · depth (Huffman 1952).

    With leaves sorted by count, the joined ones come out sorted as well, so that the rarest is always at the front of
    one of two queues. Ties go to single classes before joined ones, and to the front of `order`.
    order (n,) classes, counts (n,) of each class -> children (n - 1, 2).
    """
    n = len(order)
    by_count = order[np.argsort(counts[order], kind="stable")]
    weight = [*counts[by_count].tolist(), *[0] * (n - 1)]  # n leaves, then the joined ones in the order of joining
    pairs = np.empty((n - 1, 2), dtype=np.int64)
    leaf, joined = 0, n  # fronts of the queues
    for new in range(n, 2 * n - 1):
        picked = []
        for _ in range(2):
            if leaf < n and (joined == new or weight[leaf] <= weight[joined]):
                picked.append(leaf)
                leaf += 1
            else:
                picked.append(joined)
                joined += 1
        weight[new] = weight[picked[0]] + weight[picked[1]]
        pairs[new - n] = picked
    # The last pair joined is the root, node 0.
    place = np.concatenate([n - 1 + by_count, np.arange(n - 2, -1, -1)])
    return breadth_first(place[pairs[::-1]])


def from_nested(nested: Nested, n: int) -> np.ndarray:
    """A tree given as pairs of pairs of class numbers, [[0, 1], [2, [3, 4]]].

    Returns children (n - 1, 2). Raises InputError unless every node has two children and every class occurs once.
    """
    level, seen = [nested], np.zeros(n, dtype=np.int64)
    children: list[list[int]] = []
    _pair(nested)
    while level:
        below: list[Any] = []
        last = len(children) + len(level)
        for node in level:
            row = []
            for child in _pair(node):
                if isinstance(child, list | tuple):
                    row.append(last + len(below))
                    below.append(child)
                else:
                    seen[_class(child, n)] += 1
                    row.append(n - 1 + child)
            children.append(row)
        level = below
    _each_once(seen)
    return np.array(children, dtype=np.int64)


def groups_of(nested: Any, n: int) -> np.ndarray | None:
    """Of a list of lists of class numbers that is no tree of pairs, [[0, 1, 2], [3, 4]], the group of each class (n,).

    None for anything else. Raises InputError unless every class occurs once.
    """
    if not isinstance(nested, list | tuple) or not all(isinstance(group, list | tuple) and group for group in nested):
        return None
    if any(isinstance(c, list | tuple) for group in nested for c in group) or len(nested) < 2:
        return None
    if len(nested) == 2 and all(len(group) == 2 for group in nested):
        return None
    seen, found = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    for number, group in enumerate(nested):
        for c in group:
            seen[_class(c, n)] += 1
            found[c] = number
    _each_once(seen)
    return found


def _each_once(seen: np.ndarray) -> None:
    if (seen != 1).any():
        wrong = int(np.flatnonzero(seen != 1)[0])
        raise InputError(
            f"option tree has class {wrong} {seen[wrong]} times, but each class from 0 to {len(seen) - 1} exactly once "
            "was expected."
        )


def _pair(node: Any) -> Sequence[Any]:
    if not isinstance(node, list | tuple) or len(node) != 2:
        raise InputError(
            f"option tree has the node {_short(node)}, but two children a node were expected, as in [[0, 1], 2]."
        )
    return node


def _class(child: Any, n: int) -> int:
    if isinstance(child, bool) or not isinstance(child, int | np.integer) or not 0 <= child < n:
        raise InputError(
            f"option tree has the class {_short(child)}, but a whole number from 0 to {n - 1} was expected."
        )
    return int(child)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…"


def _counts(classes: ClassInfo) -> np.ndarray:
    if classes.counts is None:
        raise InputError(
            "tree=huffman needs the number of training samples of each class, but these classes have no counts; "
            "use tree=balanced."
        )
    return np.asarray(classes.counts)


# ---------------------------------------------------------------- shape of a tree
def breadth_first(children: np.ndarray) -> np.ndarray:
    """The same tree with its inner nodes renumbered breadth first; node 0 is the root. (n - 1, 2) -> (n - 1, 2)."""
    n = len(children) + 1
    numbered = np.empty_like(children)
    nodes, first = np.zeros(1, dtype=np.int64), 0
    while len(nodes):
        below, last = children[nodes], first + len(nodes)  # (M, 2)
        inner = below < n - 1
        numbered[first:last] = np.where(inner, _numbered(inner, last), below)
        nodes, first = below[inner], last
    return numbered


def _numbered(inner: np.ndarray, first: int) -> np.ndarray:
    """Numbers first, first + 1, … for the places marked, from left to right. (M, 2) -> (M, 2)."""
    return first - 1 + np.cumsum(inner).reshape(inner.shape)


def uplinks(children: np.ndarray) -> np.ndarray:
    """2 · parent + side of every place, -1 at the root. children (n - 1, 2) -> up (2n - 1,)."""
    up = np.full(2 * len(children) + 1, -1, dtype=np.int64)
    up[children.reshape(-1)] = np.arange(2 * len(children))
    return up


def even_levels(n: int) -> list[tuple[int, int]]:
    """First, and one past the last, node of each level of a `balanced` or `halving` tree; all but the last are full."""
    return [(2**level - 1, min(2 ** (level + 1) - 1, n - 1)) for level in range((n - 1).bit_length())]


def levels(children: np.ndarray) -> list[tuple[int, int]]:
    """First and one past the last inner node of each level of any tree numbered breadth first."""
    found, first, last = [], 0, 1
    while first < last:
        found.append((first, last))
        first, last = last, last + int((children[first:last] < len(children)).sum())
    return found


def depths(children: np.ndarray) -> np.ndarray:
    """Decisions on the way to each class: for `huffman`, its code lengths. children (n - 1, 2) -> (n,)."""
    depth = np.zeros(2 * len(children) + 1, dtype=np.int64)
    for first, last in levels(children):
        depth[children[first:last]] = depth[first:last, None] + 1
    return depth[len(children) :]


def parts(children: np.ndarray, count: int) -> np.ndarray:
    """The tree cut into `count` parts, the largest in two again and again: which one each class is in.

    children (n - 1, 2), 1 <= count <= n -> (n,): parts are numbered from left to right.
    """
    inner = len(children)
    size = np.ones(2 * inner + 1, dtype=np.int64)
    for node in range(inner - 1, -1, -1):
        size[node] = size[children[node]].sum()
    tops = {0}
    for _ in range(count - 1):
        largest = max(tops, key=lambda place: (size[place], -place))
        tops.remove(largest)
        tops.update(children[largest].tolist())
    found, number, stack = np.empty(inner + 1, dtype=np.int64), -1, [0]
    while stack:
        place = stack.pop()
        number += place in tops
        if place < inner:
            stack.extend(children[place, ::-1].tolist())
        else:
            found[place - inner] = number
    return found


# ---------------------------------------------------------------- text
def to_json(children: np.ndarray) -> str:
    """The tree as nested pairs of class numbers, [[0, 1], 2], which `tree=` takes. children (n - 1, 2)."""
    children = to_numpy(children)
    inner = len(children)
    below: dict[int, str] = {}  # the texts of nodes whose parent has none yet
    for node in range(inner - 1, -1, -1):
        pair = (str(c - inner) if c >= inner else below.pop(c) for c in children[node].tolist())
        below[node] = f"[{', '.join(pair)}]"
    return below[0]


def groups_to_json(group: np.ndarray) -> str:
    """The classes of each group, [[0, 1, 2], [3, 4]], which `tree=` takes. group (n,)."""
    group = to_numpy(group)
    return json.dumps([np.flatnonzero(group == g).tolist() for g in range(int(group.max()) + 1)])


def to_text(children: np.ndarray, names: Sequence[str] | None = None) -> str:
    """The tree with one line a place, left above right; classes by name where there are names.

    0
    ├─ 1
    │  ├─ cat
    │  └─ dog
    └─ ship
    """
    children = to_numpy(children)
    inner = len(children)
    lines: list[str] = []
    stack = [(0, "", "")]  # place, what stands before it, what stands before the lines below it
    while stack:
        place, before, below = stack.pop()
        if place < inner:
            lines.append(f"{before}{place}")
            left, right = children[place].tolist()
            stack.append((right, f"{below}└─ ", f"{below}   "))
            stack.append((left, f"{below}├─ ", f"{below}│  "))
        else:
            lines.append(f"{before}{_name(place - inner, names)}")
    return "\n".join(lines)


def groups_to_text(
    group: np.ndarray, names: Sequence[str] | None = None, group_names: Sequence[str] | None = None
) -> str:
    """Classes under their groups, one line each. group (n,): the group of each class."""
    group = to_numpy(group)
    lines: list[str] = []
    for g in range(int(group.max()) + 1):
        lines.append(f"group {g}" if group_names is None else group_names[g])
        members = [_name(c, names) for c in np.flatnonzero(group == g).tolist()]
        lines += [f"├─ {name}" for name in members[:-1]] + [f"└─ {members[-1]}"]
    return "\n".join(lines)


def _name(label: int, names: Sequence[str] | None) -> str:
    return f"class {label}" if names is None else names[label]
