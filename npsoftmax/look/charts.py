"""The curves of a run while it trains and after, its confusions with the images behind them, and its calibration."""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.host import single_threaded_blas
from npsoftmax.look.plain import numbers
from npsoftmax.look.subject import Subject
from npsoftmax.plots import read_run

MOST_STEPS = 600  # points of a curve that a screen can show
BATCH = 250


def curves(subject: Subject) -> dict[str, Any]:
    """What the tables of the run hold now."""
    run = read_run(subject.path)
    steps = {name: column[_thinned(len(column))] for name, column in run.steps.items()}
    return {
        "title": run.title,
        "finished": bool(run.summary),
        "epochs": {name: numbers(column) for name, column in run.epochs.items()},
        "steps": {name: numbers(column) for name, column in steps.items()},
        "test": run.summary.get("test") if run.summary else None,
    }


def confusion(subject: Subject) -> dict[str, Any]:
    """The table of right and predicted classes on the test set, and its reliability."""
    run = read_run(subject.path)
    return {
        "names": list(run.names),
        "counts": run.confusion.tolist(),
        "coarse": None if run.coarse is None else run.coarse.tolist(),
        "reliability": {name: numbers(column) for name, column in run.reliability.items()},
    }


def cell(subject: Subject, right: int, said: int) -> list[int]:
    """The numbers of the test images of class `right` that the network takes for `said`."""
    if subject.images is None or subject.labels is None or subject.labels.ndim == 2:
        return []
    candidates = np.flatnonzero(subject.labels == right)
    found: list[int] = []
    for start in range(0, len(candidates), BATCH):
        part = candidates[start : start + BATCH]
        with subject.lock, single_threaded_blas():
            x = subject.normalization.apply(subject.images[part]).astype(np.float64)
            h = subject.model.trunk.forward(x)[0]
            labels = subject.model.head.predict(h, rng=subject.noise())[:, 0]
        found += part[labels == said].tolist()
    return found


def _thinned(n: int) -> np.ndarray:
    return np.unique(np.linspace(0, n - 1, min(n, MOST_STEPS)).round().astype(int)) if n else np.zeros(0, int)
