"""A learned tree of classes from an earlier run: of its images, its features or its confusions.

Only the images that the run trained on are looked at, without augmentation. So the validation images, by which trees
are compared, and the test images stay unseen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from npsoftmax.backend import to_numpy
from npsoftmax.data import Batches
from npsoftmax.errors import InputError, unknown_name
from npsoftmax.heads.learned_tree import from_confusions, from_means
from npsoftmax.training.session import EVALUATION_BATCH, Session

SOURCES = {
    "means": "means of the features before the head",
    "confusions": "confusions: the mean probabilities of the head",
    "pixels": "means of the images themselves",
}
MOST_CONFUSED = 2000  # classes: the table has their square


@dataclass(frozen=True)
class LearnedTree:
    """children (C - 1, 2) as in heads/tree.py, made of so many images; absent: classes of which there were none."""

    children: np.ndarray
    images: int
    absent: tuple[int, ...]


def learned_tree(session: Session, source: str = "means") -> LearnedTree:
    """The tree that `source` gives, of the images that the session trains on and the parameters that it has.

    InputError for an unknown source, for confusions of very many classes, and for sets of labels.
    """
    if source not in SOURCES:
        raise unknown_name("source of a tree", source, SOURCES)
    classes, y = session.dataset.n_classes, session.train.y
    if session.dataset.multi_label:
        raise InputError(
            f"a tree is learned of images with one label each, but those of {session.dataset.name} have sets of labels."
        )
    if source == "confusions" and classes > MOST_CONFUSED:
        raise InputError(
            f"there are {classes:,} classes, and a table of confusions has the square of that; the most are "
            f"{MOST_CONFUSED:,}. Take --from means."
        )
    sums: np.ndarray | None = None
    for values, t in _values(session, source):
        if sums is None:
            sums = np.zeros((classes, values.shape[1]))
        np.add.at(sums, t, values)
    assert sums is not None  # a run has images
    counts = np.bincount(y, minlength=classes)
    absent = tuple(np.flatnonzero(counts == 0).tolist())
    if source == "confusions":
        return LearnedTree(from_confusions(sums), len(y), absent)
    with np.errstate(invalid="ignore"):  # 0 / 0: a class that never occurs
        return LearnedTree(from_means(sums / counts[:, None]), len(y), absent)


def _values(session: Session, source: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What is summed a class, (n, …) in float64, and the labels (n,), a batch after the other."""
    own, model = session.train, session.model
    batches = Batches(
        own.x, own.y, EVALUATION_BATCH, rng=session.rng, normalize=own.normalize, shuffle=False, backend=session.backend
    )
    for x, t, samples in batches.epoch(0):
        if source == "pixels":
            yield to_numpy(x).reshape(len(t), -1).astype(np.float64), t
            continue
        values = model.features(session.backend.asarray(x))
        if source == "confusions":
            noise = session.rng.child("evaluation").at(0, samples)
            values = np.exp(to_numpy(model.head.log_prob(values, rng=noise)).astype(np.float64))
        yield to_numpy(values).astype(np.float64), t
