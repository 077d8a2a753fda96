"""The way of one image through a tree of classes: the probability of each turn, and where it went wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.heads import tree as trees
from npsoftmax.heads.hierarchical import HierarchicalHead
from npsoftmax.look.subject import Subject

SHOWN = 4  # classes below a node that are named


def ways(subject: Subject, image: int) -> dict[str, Any] | None:
    """The turns to the predicted class and to the right one; None where the head is no binary tree."""
    head = subject.model.head
    if not isinstance(head, HierarchicalHead) or "children" not in head.buffers:
        return None
    with subject.lock:
        h = subject.run(image)
        log_p = head.log_prob(h)[0]
        said = int(head.predict(h)[0, 0])
    children = np.asarray(head.buffers["children"])
    mass = _mass(children, np.exp(log_p))
    right = subject.label(image)
    return {
        "said": {"label": said, "turns": _turns(children, mass, said, subject.names)},
        "right": None if right is None else {"label": right, "turns": _turns(children, mass, right, subject.names)},
    }


def _mass(children: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The probability below every place (2n - 1,): nodes, then leaves."""
    inner = len(children)
    mass = np.concatenate([np.zeros(inner), p])
    for node in range(inner - 1, -1, -1):  # children come after their parents
        mass[node] = mass[children[node]].sum()
    return mass


def _turns(children: np.ndarray, mass: np.ndarray, label: int, names: tuple[str, ...]) -> list[dict[str, Any]]:
    inner, up = len(children), trees.uplinks(children)
    turns, place = [], inner + label
    while up[place] >= 0:
        parent, side = divmod(int(up[place]), 2)
        other = int(children[parent, 1 - side])
        turns.append(
            {
                "node": parent,
                "side": side,
                "p": float(mass[place] / mass[parent]) if mass[parent] else None,
                "here": _below(children, place, names),
                "there": _below(children, other, names),
            }
        )
        place = parent
    return turns[::-1]


def _below(children: np.ndarray, place: int, names: tuple[str, ...]) -> dict[str, Any]:
    """The number of classes below a place, and the names of the first."""
    inner, waiting, found = len(children), [place], []
    while waiting:
        here = waiting.pop()
        if here >= inner:
            found.append(here - inner)
        else:
            waiting += children[here].tolist()[::-1]
    return {"count": len(found), "names": [names[c] for c in found[:SHOWN]]}
