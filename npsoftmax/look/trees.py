"""The way of one image through a tree of classes: the probability of each turn, and where it went wrong."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from npsoftmax.heads import tree as trees
from npsoftmax.heads.hierarchical import HierarchicalHead
from npsoftmax.look.subject import Subject

SHOWN = 4  # classes below a node that are named


def ways(subject: Subject, image: int) -> dict[str, Any] | None:
    """The turns to the predicted class and to the right one; None where the head is no tree."""
    head = subject.model.head
    if not isinstance(head, HierarchicalHead):
        return None
    with subject.lock:
        h = subject.run(image)
        log_p = head.log_prob(h)[0]
        said = int(head.predict(h)[0, 0])
    p, right = np.exp(log_p), subject.label(image)
    if "children" in head.buffers:
        children = np.asarray(head.buffers["children"])
        mass = _mass(children, p)
        way = partial(_turns, children, mass, names=subject.names)
    else:
        way = partial(_two_turns, np.asarray(head.buffers["group"]), p, names=subject.names)
    return {
        "said": {"label": said, "turns": way(said)},
        "right": None if right is None else {"label": right, "turns": way(right)},
    }


def _two_turns(group: np.ndarray, p: np.ndarray, label: int, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """To the group of a class, and in it to the class."""
    inside = group == group[label]
    mass = float(p[inside].sum())
    alone, outside = np.arange(len(p)) == label, ~inside
    return [
        {"turn": "group", "p": mass, "here": _named(inside, names), "there": _named(outside, names)},
        {
            "turn": "class",
            "p": float(p[label] / mass) if mass else None,
            "here": _named(alone, names),
            "there": _named(inside & ~alone, names),
        },
    ]


def _named(chosen: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    found = np.flatnonzero(chosen)
    return {"count": len(found), "names": [names[c] for c in found[:SHOWN]]}


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
                "turn": f"node {parent}, {'right' if side else 'left'}",
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
    return _named(np.isin(np.arange(inner + 1), found), names)
