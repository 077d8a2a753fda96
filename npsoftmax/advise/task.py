"""The features and labels that heads are tried on, in three parts: to train, to choose the rate, to be scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.data.split import stratified_subset, train_validation_split
from npsoftmax.errors import InputError
from npsoftmax.heads import ClassInfo
from npsoftmax.random import Rng

LEAST_SAMPLES = 100  # a score on fewer than 20 of them says nothing
MOST_CLASSES = 10_000  # every class is scored for every sample here
SCORED, TUNED = 0.2, 0.1  # shares of the samples, and of the rest of them, where nothing says which are for what
TUNED_OF_HELD_OUT = 1 / 3


@dataclass(frozen=True)
class Part:
    """Features (N, D) float32, standardised, and labels (N,)."""

    h: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Task:
    """Samples to train on, to choose the learning rate by, and to score; what is known of the classes; and whence."""

    train: Part
    tune: Part
    score: Part
    classes: ClassInfo
    source: str

    @property
    def features(self) -> int:
        return self.train.h.shape[1]

    def smaller(self, samples: int) -> Task:
        """The same with so many samples to train on, each class its share."""
        chosen = stratified_subset(self.train.y, samples, Rng(0, "advise").permutation(len(self.train)))
        return replace(self, train=Part(self.train.h[chosen], self.train.y[chosen]))


def of_files(features: Path, labels: Path, seed: int) -> Task:
    """From two .npy files: features (N, D), numbers; labels (N,), whole numbers or words. InputError for anything else.

    A fifth of each class is scored, a tenth of the rest chooses the learning rate; drawn by `seed`.
    """
    h = _features(features, _read(features, "--features"))
    y, names = _labels(labels, _read(labels, "--labels"))
    if len(h) != len(y):
        raise InputError(
            f"{features} has {len(h):,} samples, but {labels} {len(y):,} labels; one a sample was expected."
        )
    if len(y) < LEAST_SAMPLES:
        raise InputError(f"there are {len(y)} samples, but at least {LEAST_SAMPLES} are needed to tell heads apart.")
    rest, score = train_validation_split(y, SCORED, seed)
    kept, tune = train_validation_split(y[rest], TUNED, seed + 1)
    source = f"{len(y):,} samples of {features}, {len(score):,} of them scored"
    return _task([(h[part], y[part]) for part in (rest[kept], rest[tune], score)], names, None, source)


def of_run(path: str | Path, checkpoint: str, seed: int, **changes: Any) -> Task:
    """The features that a run's network makes of its images.

    Heads are trained on those that it was trained on; of those that it held out, a third chooses the learning rate and
    the others are scored: on what it was trained on, its features are better than on anything else. The test images are
    not looked at. InputError where it held none out.
    """
    from npsoftmax.backend import to_numpy
    from npsoftmax.data import Batches
    from npsoftmax.host import single_threaded_blas
    from npsoftmax.training.evaluate import batch_features
    from npsoftmax.training.held_out import HOLD_OUT
    from npsoftmax.training.session import EVALUATION_BATCH, load_run

    session = load_run(path, checkpoint, **changes)
    held_out = [part for part in (session.validation, session.calibration) if part is not None]
    if not held_out:
        raise InputError(f"{path} held out no images to score heads on; {HOLD_OUT}.")
    if session.dataset.y_train.ndim != 1:
        raise _sets_of_labels(str(path))

    def features(batches: Any) -> np.ndarray:
        with single_threaded_blas():
            return np.concatenate([to_numpy(h) for h, _, _ in batch_features(session.model, batches, session.backend)])

    train = session.train
    as_they_are = Batches(train.x, train.y, EVALUATION_BATCH, rng=train.rng, normalize=train.normalize, shuffle=False)
    h, y = np.concatenate([features(part) for part in held_out]), np.concatenate([part.y for part in held_out])
    score, tune = train_validation_split(y, TUNED_OF_HELD_OUT, seed)
    source = (
        f"the features of {path} ({session.chosen}): heads are trained on the {len(train.y):,} samples that it was "
        f"trained on, and scored on {len(score):,} that it held out"
    )
    dataset = session.dataset
    parts = [(features(as_they_are), train.y), (h[tune], y[tune]), (h[score], y[score])]
    return _task(parts, dataset.class_names, dataset.coarse, source)


def _task(
    parts: list[tuple[np.ndarray, np.ndarray]], names: Sequence[str], coarse: np.ndarray | None, source: str
) -> Task:
    """parts: features and labels to train on, to tune by and to score."""
    n, samples = len(names), sum(len(y) for _, y in parts)
    if n > MOST_CLASSES:
        raise InputError(
            f"there are {n:,} classes, but advise scores every class for every sample, up to {MOST_CLASSES:,}. For "
            "more, docs/choosing-a-head.md has what was measured of trees and samplers up to a million."
        )
    if samples < LEAST_SAMPLES:
        raise InputError(f"there are {samples} samples, but at least {LEAST_SAMPLES} are needed to tell heads apart.")
    (h, y), _, _ = parts
    mean, deviation = h.mean(axis=0, dtype=np.float64), h.std(axis=0, dtype=np.float64)
    deviation[deviation < 1e-8] = 1  # a feature that is always the same says nothing, and stays

    def part(rows: np.ndarray, labels: np.ndarray) -> Part:
        return Part(np.ascontiguousarray((rows - mean) / deviation, dtype=np.float32), labels)

    train, tune, score = (part(rows, labels) for rows, labels in parts)
    return Task(train, tune, score, ClassInfo.from_labels(y, n, coarse), source)


# ---------------------------------------------------------------- what is in the files
def _read(path: Path, option: str) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"{option} {path}: there is no such file; it is made by np.save.")
    try:
        found = np.load(path, allow_pickle=False)
    except Exception as error:  # NumPy's reader raises many kinds for files that are damaged
        if "Object arrays" in str(error):
            wanted = "y.astype(str) for words" if option == "--labels" else "h.astype(np.float32)"
            raise InputError(f"{option} {path} holds Python objects (dtype object); save {wanted}.") from error
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{option} {path} is no array that np.save wrote: {reason}.") from error
    if not isinstance(found, np.ndarray):
        raise InputError(
            f"{option} {path} holds several arrays (np.savez), but one was expected: write it with np.save."
        )
    return found


def _features(path: Path, h: np.ndarray) -> np.ndarray:
    if h.ndim != 2 or 0 in h.shape:
        raise InputError(
            f"{path} has the shape {h.shape}, but features (N, D), a row a sample, were expected; of images "
            "(N, H, W, C) type h.reshape(len(h), -1), or better: npsoftmax advise RUN, on what a network makes of them."
        )
    if h.dtype.kind not in "iufb":
        raise InputError(f"{path} holds {h.dtype}, but real numbers were expected.")
    with np.errstate(over="ignore"):
        found = h.astype(np.float32)
    good = np.isfinite(found).all(axis=1)
    if not good.all():
        raise InputError(
            f"{path}: {(~good).sum():,} of {len(h):,} samples, the first is {good.argmin()}, are not finite in "
            "float32; leave them out, with their labels: good = np.isfinite(np.float32(h)).all(axis=1), then h[good] "
            "and y[good]."
        )
    return found


def _labels(path: Path, y: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Labels 0 … C-1, and the name of each: what it was in the file."""
    if y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind in "iufb" and np.isin(y, (0, 1)).all():
        if (y.sum(axis=1) == 1).all():
            raise InputError(f"{path} has one-hot rows {y.shape}; labels (N,) were expected: type y.argmax(axis=1).")
        raise _sets_of_labels(str(path))
    if y.ndim != 1:
        raise InputError(f"{path} has the shape {y.shape}, but labels (N,), one a sample, were expected.")
    if y.dtype.kind not in "iubUS":
        raise InputError(f"{path} holds {y.dtype}, but whole numbers or words were expected; type y.astype(int).")
    names, numbers = np.unique(y, return_inverse=True)
    if len(names) < 2:
        raise InputError(f"{path} has one class alone, {names.tolist()[:1]}, but at least 2 were expected.")
    return numbers.astype(np.int64), [str(name) for name in names.tolist()]


def _sets_of_labels(where: str) -> InputError:
    return InputError(
        f"{where} has sets of labels, and of all heads only sigmoid takes those: there is nothing to compare. Type "
        "npsoftmax train --head sigmoid (docs/multi-label.md)."
    )
