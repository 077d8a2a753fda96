"""A model on a set of images that it does not learn from.

Design: log-probabilities are looked at batch by batch and dropped, so that memory does not grow with images times
classes. With very many classes they are not computed at all: a head knows the mean loss and the best labels for less.
Several processes share the work by whole batches, so that what they find is what one process finds, to the last bit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from npsoftmax.backend import Array, Backend, to_numpy
from npsoftmax.data import Batches
from npsoftmax.heads import top_k
from npsoftmax.metrics import (
    calibration_error,
    classification_metrics,
    joined_reliability,
    ordinal_metrics,
    reliability,
)
from npsoftmax.models import Model
from npsoftmax.random import Rng, check_rng
from npsoftmax.set_metrics import label_table, overlap, set_metrics
from npsoftmax.training.group import ALONE, Group

TOP = 5

# Above so many classes, the probability of every class is not computed for every image.
MANY_CLASSES = 10_000

# Scores that a head may hold at once: 64 MiB in float32.
SCORES = 2**24


@dataclass
class Predictions:
    """What a model said of N images: labels (N, k), best first; the mean loss; and the targets (N,).

    nll: mean -log p of the target, None where no probabilities were computed; reliability: as `metrics.reliability`.
    closer: what else the head said, by name (see `Head.closer_look`): other predictions, or means of figures.
    """

    targets: np.ndarray
    labels: np.ndarray
    loss: float
    nll: float | None
    reliability: dict[str, np.ndarray] | None
    closer: dict[str, Predictions | dict[str, float]]

    @property
    def accuracy(self) -> float:
        return float((self.labels[:, 0] == self.targets).mean())


@dataclass
class SetPredictions:
    """What a model said of N images that have sets of labels: targets, sets (N, C), scores (N, C), the mean loss.

    Scores are log-probabilities, kept for all images, since a label's precision is one over all of them.
    """

    targets: np.ndarray
    sets: np.ndarray
    scores: np.ndarray
    loss: float

    @property
    def accuracy(self) -> float:
        """|true ∩ predicted| / |true ∪ predicted|, on average."""
        return float(overlap(self.targets, self.sets).mean())

    def label_table(self) -> dict[str, np.ndarray]:
        """As `set_metrics.label_table`."""
        return label_table(self.targets, self.sets, self.scores)


class _Part(NamedTuple):
    """Of some images: targets, labels, Σ loss, Σ log p of the target, reliability, and what the closer look found.

    With more than MANY_CLASSES classes, log p of all of them and what is made of it are None.
    """

    targets: np.ndarray
    labels: np.ndarray
    loss: float
    log_likelihood: float | None
    reliability: dict[str, np.ndarray] | None
    closer: dict[str, _Part | dict[str, float]]


def predict_all(
    model: Model, batches: Batches, backend: Backend, rng: Rng, group: Group = ALONE, *, closely: bool = False
) -> Predictions | SetPredictions:
    """Run the model over all images, in their order, in evaluation; every process of `group` gets all of what is found.

    `rng` is for the heads that are told to draw noise there; loss, labels and probabilities see the same noise.
    closely: ask the head for its `closer_look`, too. Of images with sets of labels, SetPredictions.
    """
    check_rng(rng)
    if batches.y.ndim == 2:
        sets = group.gather(list(_predict_sets(model, batches, backend, rng, group)))
        targets, said, scores, losses = zip(*itertools.chain(*sets), strict=True)
        mean = math.fsum(losses) / len(batches.y)
        return SetPredictions(np.concatenate(targets), np.concatenate(said), np.concatenate(scores), mean)
    parts = group.gather(list(_predict(model, batches, backend, rng, group, closely)))
    return _joined(list(itertools.chain(*parts)))


def _predict(
    model: Model, batches: Batches, backend: Backend, rng: Rng, group: Group, closely: bool
) -> Iterator[_Part]:
    """What the head says of each part of this process's batches."""
    head, k = model.head, min(TOP, model.head.classes.n)
    for h, t, samples in batch_features(model, batches, backend, group):
        noise, targets = rng.child("evaluation").at(0, samples), backend.asarray(t)
        t = to_numpy(t)
        loss, _ = head.loss(h, targets, rng=noise)
        labels = to_numpy(head.predict(h, k, rng=noise))
        log_likelihood, table = None, None
        if head.classes.n <= MANY_CLASSES:
            log_likelihood, table = _measured(to_numpy(head.log_prob(h, rng=noise)), t)
        closer = head.closer_look(h, targets, noise) if closely else {}
        looks = {name: look if isinstance(look, dict) else _other(look, t, k) for name, look in closer.items()}
        yield _Part(t, labels, float(loss) * len(t), log_likelihood, table, looks)


def _predict_sets(
    model: Model, batches: Batches, backend: Backend, rng: Rng, group: Group
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, float]]:
    """Targets, sets, scores (n, C) and Σ loss of each part of this process's batches."""
    head = model.head
    for h, t, samples in batch_features(model, batches, backend, group):
        noise = rng.child("evaluation").at(0, samples)
        loss, _ = head.loss(h, backend.asarray(t), rng=noise)
        said = to_numpy(head.predict_sets(h, rng=noise))
        yield t.astype(bool), said, to_numpy(head.log_prob(h, rng=noise)), float(loss) * len(t)


def _other(log_prob: Array, targets: np.ndarray, k: int) -> _Part:
    """The part that a head's other log-probabilities (n, C) make; their loss is that of a likelihood."""
    labels, log_prob = to_numpy(top_k(log_prob, k)), to_numpy(log_prob)
    log_likelihood, table = _measured(log_prob, targets)
    few = log_prob.shape[1] <= MANY_CLASSES
    return _Part(targets, labels, -log_likelihood, log_likelihood if few else None, table if few else None, {})


def _measured(log_prob: np.ndarray, targets: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
    """Σ log p of the target, and reliability. (n, C), (n,)"""
    log_likelihood = float(log_prob[np.arange(len(targets)), targets].sum(dtype=np.float64))
    return log_likelihood, reliability(log_prob, targets)


def _joined(parts: Sequence[_Part]) -> Predictions:
    """What was said of all images, from what was said of parts of them."""
    targets, labels, losses, log_likelihoods, tables, looks = zip(*parts, strict=True)
    joined = np.concatenate(targets)
    n = len(joined)
    nll, table = None, None
    if tables[0] is not None:
        # A plain minus would show a perfect score as -0.0.
        nll, table = 0.0 - math.fsum(log_likelihoods) / n, joined_reliability(list(tables))
    closer = {name: _joined_looks([look[name] for look in looks], n) for name in looks[0]}
    return Predictions(joined, np.concatenate(labels), math.fsum(losses) / n, nll, table, closer)


def _joined_looks(looks: Sequence[Any], n: int) -> Predictions | dict[str, float]:
    if isinstance(looks[0], _Part):
        return _joined(looks)
    return {name: sum(float(look[name]) for look in looks) / n for name in looks[0]}


def batch_features(
    model: Model, batches: Batches, backend: Backend, group: Group = ALONE
) -> Iterator[tuple[Array, np.ndarray, Array]]:
    """Features (n, D) of this process's images, their targets and samples (n,): few enough at a time for the head."""
    rows = max(1, SCORES // model.head.classes.n)
    own, weight = group.share(len(batches))
    count = own.stop - own.start if weight else 0
    for x, t, samples in itertools.islice(batches.epoch(0, own.start), count):
        h = model.features(backend.asarray(x))
        for part in (slice(first, first + rows) for first in range(0, len(t), rows)):
            yield h[part], t[part], samples[part]


def metrics_of(model: Model, predictions: Predictions | SetPredictions) -> dict[str, Any]:
    """accuracy, top5, macro precision, recall and F1, nll, ece; of ranks also those of `ordinal_metrics`.

    Of sets of labels those of `set_metrics`. With more than MANY_CLASSES classes nll is the mean loss, which is the
    same, and ece is None.
    """
    if isinstance(predictions, SetPredictions):
        return set_metrics(predictions.targets, predictions.sets, predictions.scores)
    scores = classification_metrics(
        predictions.targets, predictions.labels, None, model.head.classes.n, likelihood=model.head.likelihood
    )
    if model.head.likelihood:
        scores["nll"] = predictions.loss if predictions.nll is None else predictions.nll
    if predictions.reliability is not None:
        scores["ece"] = calibration_error(predictions.reliability)
    if model.head.ordered:
        scores |= ordinal_metrics(predictions.targets, predictions.labels[:, 0])
    return scores
