"""`npsoftmax conform RUN --coverage 0.95`: sets that hold the right class so often; conformal.json beside the run.

The threshold is a quantile of scores of images that the run was not trained on (calibration/sets.py); the test set
shows what comes of it, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.calibration import Subtrees, class_scores, regularisation, threshold
from npsoftmax.calibration.sets import check_coverage
from npsoftmax.data.split import choosing_calibration_split
from npsoftmax.errors import InputError, unknown_name
from npsoftmax.heads import Head
from npsoftmax.training.checkpoint import write_json
from npsoftmax.training.held_out import Answers, answers, fingerprint, held_out_images
from npsoftmax.training.run_directory import RunDirectory
from npsoftmax.training.session import load_run

FILE = "conformal.json"
METHODS = ("aps", "raps", "subtrees")
TUNING = 0.2  # the share of images that choose RAPS's regularisation, and no threshold
NAMED = 5  # classes of a subtree that are all named
SIZES = (1, 2, 5, 10, 20, 50)  # sets of up to so many classes are counted together


Groups = Mapping[frozenset[int], str]


@dataclass(frozen=True)
class Sets:
    """How sets are made: of classes by APS or RAPS, or of at most `subtrees` subtrees of a tree."""

    method: str
    limit: float
    penalty: float = 0.0
    free: int = 0
    subtrees: int = 1

    def of(self, head: Head, p: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, list[tuple[int, ...]] | None]:
        """Which classes are in each set, and of subtrees its nodes. p (N, C), u (N,) -> bool (N, C)."""
        if self.method != "subtrees":
            return class_scores(p, u, self.penalty, self.free) <= self.limit, None
        tree = tree_of(head, self.subtrees)
        nodes = tree.sets_of(p, u, self.limit)
        inside = np.zeros(p.shape, dtype=bool)
        for row, kept in zip(inside, nodes, strict=True):
            for node in kept:
                row[tree.members(node)] = True
        return inside, nodes

    def in_words(
        self, head: Head, p: np.ndarray, u: np.ndarray, names: Sequence[str], groups: Groups
    ) -> list[list[str]]:
        """The sets in words: classes, best first; or subtrees, by the superclass that they are or by their classes."""
        inside, nodes = self.of(head, p, u)
        order = np.argsort(-p, axis=1, kind="stable")
        if nodes is None:
            return [[names[c] for c in row if held[c]] for row, held in zip(order.tolist(), inside, strict=True)]
        tree = tree_of(head, self.subtrees)
        return [[subtree_name(tree.members(node), names, groups) for node in kept] for kept in nodes]


def superclasses(coarse: Sequence[int] | np.ndarray | None, coarse_names: Sequence[str] | None) -> Groups:
    """The name of each superclass, by its classes. coarse (C,): the superclass of each class."""
    if coarse is None or coarse_names is None:
        return {}
    return {frozenset(np.flatnonzero(np.equal(coarse, g)).tolist()): name for g, name in enumerate(coarse_names)}


def subtree_name(members: list[int], names: Sequence[str], groups: Groups) -> str:
    """A subtree in words: its superclass, its classes if they are few, or the first, the last and how many."""
    if len(members) == len(names):
        return f"any of the {len(names)} classes"
    if len(members) > 1 and frozenset(members) in groups:
        return groups[frozenset(members)]
    if len(members) <= NAMED:
        return " | ".join(names[c] for c in members)
    return f"{names[members[0]]} … {names[members[-1]]} ({len(members)} classes)"


def tree_of(head: Head, most: int) -> Subtrees:
    """The subtrees of a head. InputError where it has no tree."""
    parents = head.parents()
    if parents is None:
        raise InputError(f"{type(head).__name__} has no tree; sets of subtrees are for --head hierarchical.")
    return Subtrees(parents, head.classes.n, most)


def conform(
    path: str | Path,
    coverage: float = 0.95,
    method: str | None = None,
    checkpoint: str = "best",
    subtrees: int = 1,
    **changes: Any,
) -> dict[str, Any]:
    """Find the threshold of a run's sets, save and return it with what it does on the test set.

    method: "aps", "raps", or "subtrees" (at most `subtrees` nodes a set) for a head with a tree; None: "subtrees" where
    there is a tree, else "aps". `changes`: as for `load_run`. InputError where the run held nothing out or too little.
    """
    check_coverage(coverage)
    if method is not None and method not in METHODS:
        raise unknown_name("--method", method, METHODS)
    run = RunDirectory.existing(path)
    session = load_run(path, checkpoint, **changes)
    assert session.chosen is not None
    head = session.model.head
    method = method or ("aps" if head.parents() is None else "subtrees")
    if method == "subtrees":
        tree_of(head, subtrees)
        if not 1 <= subtrees <= head.classes.n:
            raise InputError(f"--subtrees is {subtrees}, but a whole number from 1 to {head.classes.n} was expected.")
    images, basis = held_out_images(session, run)
    threshold(np.zeros(len(images.y)), coverage)  # too few are told before anything is computed
    sets, fitted_on = fit_sets(method, head, answers(session, images), coverage, subtrees, session.config.seed)
    test = answers(session, session.test)
    inside, _ = sets.of(head, np.exp(test.log_prob), test.u)
    found = {
        "coverage": coverage,
        "method": method,
        "threshold": sets.limit,
        "penalty": sets.penalty,
        "free_ranks": sets.free,
        "subtrees": sets.subtrees if method == "subtrees" else None,
        "checkpoint": session.chosen.name,
        "epoch": session.chosen.epoch,
        "parameters": fingerprint(session.model),
        "fitted_on": basis.describe() | fitted_on,
        "test": summary(inside, test),
    }
    write_json(run.path / FILE, found)
    return found | {"basis": basis}


def fit_sets(
    method: str, head: Head, found: Answers, coverage: float, subtrees: int, seed: int
) -> tuple[Sets, dict[str, int]]:
    """The sets with their threshold, and how many images chose what."""
    p, rows = np.exp(found.log_prob), np.arange(len(found))
    if method == "subtrees":
        scores = tree_of(head, subtrees).target_scores(p, found.targets, found.u)
        return Sets(method, threshold(scores, coverage), subtrees=subtrees), {"for_the_threshold": len(scores)}
    penalty, free, rest = 0.0, 0, rows
    if method == "raps":
        rest, tuning = choosing_calibration_split(found.targets, rows, TUNING, seed)
        penalty, free = regularisation(p[tuning], found.targets[tuning], found.u[tuning], coverage)
    scores = class_scores(p[rest], found.u[rest], penalty, free)[np.arange(len(rest)), found.targets[rest]]
    counted = {"for_the_threshold": len(rest), "for_the_regularisation": len(rows) - len(rest)}
    return Sets(method, threshold(scores, coverage), penalty, free), counted


def summary(inside: np.ndarray, found: Answers) -> dict[str, Any]:
    """Coverage and sizes of sets. inside: bool (N, C)."""
    held, sizes = inside[np.arange(len(found)), found.targets], inside.sum(axis=1)
    bounds = [0, *(size for size in SIZES if size < inside.shape[1]), inside.shape[1]]
    groups = []
    for above, most in pairwise(bounds):
        here = (sizes > above) & (sizes <= most)
        share = float(held[here].mean()) if here.any() else None
        groups.append({"least": above + 1, "most": most, "images": int(here.sum()), "coverage": share})
    return {
        "images": len(found),
        "coverage": float(held.mean()),
        "accuracy": float((found.log_prob.argmax(axis=1) == found.targets).mean()),
        "mean_size": float(sizes.mean()),
        "median_size": float(np.median(sizes)),
        "sizes": np.bincount(sizes, minlength=inside.shape[1] + 1).tolist(),
        "by_size": groups,
    }
