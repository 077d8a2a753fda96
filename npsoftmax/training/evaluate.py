"""A model on a set of images that it does not learn from.

Design: log-probabilities are looked at batch by batch and dropped, so that memory does not grow with images times
classes. With very many classes they are not computed at all: a head knows the mean loss and the best labels for less.
Several processes share the work by whole batches, so that what they find is what one process finds, to the last bit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from npsoftmax.backend import Array, Backend, to_numpy
from npsoftmax.data import Batches
from npsoftmax.metrics import calibration_error, classification_metrics, joined_reliability, reliability
from npsoftmax.models import Model
from npsoftmax.random import Rng
from npsoftmax.training.group import ALONE, Group

TOP = 5

# Above so many classes, the probability of every class is not computed for every image.
MANY_CLASSES = 10_000

# Scores that a head may hold at once: 64 MiB in float32.
SCORES = 2**24


@dataclass
class Predictions:
    """What a model said of N images: labels (N, k), best first; the mean loss; and the targets (N,).

    nll: mean −log p of the target, None where no probabilities were computed; reliability: as `metrics.reliability`.
    """

    targets: np.ndarray
    labels: np.ndarray
    loss: float
    nll: float | None
    reliability: dict[str, np.ndarray] | None

    @property
    def accuracy(self) -> float:
        return float((self.labels[:, 0] == self.targets).mean())


def predict_all(model: Model, batches: Batches, backend: Backend, rng: Rng, group: Group = ALONE) -> Predictions:
    """Run the model over all images, in their order, in evaluation; every process of `group` gets all of what is found.

    `rng` is for the heads that are told to draw noise there; loss, labels and probabilities see the same noise.
    """
    found = itertools.chain(*group.gather(list(_predict(model, batches, backend, rng, group))))
    targets, labels, losses, log_likelihoods, tables = zip(*found, strict=True)
    joined = np.concatenate(targets)
    loss = math.fsum(losses) / len(joined)
    if tables[0] is None:
        return Predictions(joined, np.concatenate(labels), loss, None, None)
    # A plain minus would show a perfect score as -0.0.
    nll = 0.0 - math.fsum(log_likelihoods) / len(joined)
    return Predictions(joined, np.concatenate(labels), loss, nll, joined_reliability(list(tables)))


def _predict(model: Model, batches: Batches, backend: Backend, rng: Rng, group: Group) -> Iterator[tuple[Any, ...]]:
    """Of each part of this process's batches: targets, labels, Σ loss, Σ log p of the target, reliability.

    With more than MANY_CLASSES classes the last two are None.
    """
    head, k = model.head, min(TOP, model.head.classes.n)
    for h, t, samples in _features(model, batches, backend, group):
        noise = rng.child("evaluation").at(0, samples)
        loss, _ = head.loss(h, backend.asarray(t), rng=noise)
        t, total = to_numpy(t), float(loss) * len(t)
        labels = to_numpy(head.predict(h, k, rng=noise))
        log_likelihood, table = None, None
        if head.classes.n <= MANY_CLASSES:
            log_prob = to_numpy(head.log_prob(h, rng=noise))
            log_likelihood = float(log_prob[np.arange(len(t)), t].sum(dtype=np.float64))
            table = reliability(log_prob, t)
        yield t, labels, total, log_likelihood, table


def outputs_of(model: Model, batches: Batches, backend: Backend, rng: Rng) -> Iterator[tuple[Array, float, np.ndarray]]:
    """Outputs p (n, C) of a head that takes a cross entropy of them, its loss, and the targets, batch by batch.

    The noise is that of `predict_all`.
    """
    head = model.head
    for h, t, samples in _features(model, batches, backend):
        noise = rng.child("evaluation").at(0, samples)
        loss, _ = head.loss(h, backend.asarray(t), rng=noise)
        yield head.outputs(head.scores(h)[0], False, noise)[0], float(loss), to_numpy(t)


def _features(
    model: Model, batches: Batches, backend: Backend, group: Group = ALONE
) -> Iterator[tuple[Array, Array, Array]]:
    """Features (n, D) of this process's images, their targets and samples (n,): few enough at a time for the head."""
    rows = max(1, SCORES // model.head.classes.n)
    own, weight = group.share(len(batches))
    count = own.stop - own.start if weight else 0
    for x, t, samples in itertools.islice(batches.epoch(0, own.start), count):
        h = model.features(backend.asarray(x))
        for part in (slice(first, first + rows) for first in range(0, len(t), rows)):
            yield h[part], t[part], samples[part]


def metrics_of(model: Model, predictions: Predictions) -> dict[str, Any]:
    """accuracy, top5, macro precision, recall and F1, nll, ece.

    With more than MANY_CLASSES classes nll is the mean loss, which is the same, and ece is None.
    """
    scores = classification_metrics(
        predictions.targets, predictions.labels, None, model.head.classes.n, likelihood=model.head.likelihood
    )
    if model.head.likelihood:
        scores["nll"] = predictions.loss if predictions.nll is None else predictions.nll
    if predictions.reliability is not None:
        scores["ece"] = calibration_error(predictions.reliability)
    return scores
