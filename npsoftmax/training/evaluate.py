"""A model on a set of images that it does not learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from npsoftmax.backend import Backend, to_numpy
from npsoftmax.data import Batches
from npsoftmax.metrics import classification_metrics
from npsoftmax.models import Model
from npsoftmax.random import Rng

TOP = 5


@dataclass
class Predictions:
    """What a model said of N images: labels (N, k) best first, log_prob (N, C), the mean loss; and the targets (N,)."""

    targets: np.ndarray
    labels: np.ndarray
    log_prob: np.ndarray
    loss: float

    @property
    def accuracy(self) -> float:
        return float((self.labels[:, 0] == self.targets).mean())


def predict_all(model: Model, batches: Batches, backend: Backend, rng: Rng) -> Predictions:
    """Run the model over all images, in their order, in evaluation.

    `rng` is for the heads that are told to draw noise there; loss, labels and log_prob see the same noise.
    """
    k = min(TOP, model.head.classes.n)
    targets, labels, log_prob, total = [], [], [], 0.0
    for x, t, samples in batches.epoch(0):
        h = model.features(backend.asarray(x))
        noise = rng.child("evaluation").at(0, samples)
        loss, _ = model.head.loss(h, backend.asarray(t), rng=noise)
        total += float(loss) * len(t)
        targets.append(t)
        labels.append(to_numpy(model.head.predict(h, k, rng=noise)))
        log_prob.append(to_numpy(model.head.log_prob(h, rng=noise)))
    joined = np.concatenate(targets)
    return Predictions(joined, np.concatenate(labels), np.concatenate(log_prob), total / len(joined))


def metrics_of(model: Model, predictions: Predictions) -> dict[str, Any]:
    """accuracy, top5, macro precision, recall and F1, nll, ece."""
    return classification_metrics(
        predictions.targets,
        predictions.labels,
        predictions.log_prob,
        model.head.classes.n,
        likelihood=model.head.likelihood,
    )
