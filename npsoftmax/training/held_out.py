"""What a run's network says of images that it was not trained on, and what those images have chosen."""

from __future__ import annotations

import hashlib
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from npsoftmax.backend import to_numpy
from npsoftmax.data import Batches
from npsoftmax.errors import InputError
from npsoftmax.host import single_threaded_blas
from npsoftmax.metrics import read_columns
from npsoftmax.models import Model
from npsoftmax.params import leaves
from npsoftmax.random import Rng
from npsoftmax.training.evaluate import MANY_CLASSES, batch_features
from npsoftmax.training.run_directory import RunDirectory
from npsoftmax.training.session import Session

MOST = 2**28  # log-probabilities that are kept: 1 GiB
NOTHING = "nothing to calibrate and no set of a given probability; npsoftmax heads lists those that have them"
ROUNDING = 1e-3  # that the probabilities of an image may be off 1
HOLD_OUT = "train with --val-split 0.1 --calibration-split 0.5, which puts half of the validation images aside"


@dataclass(frozen=True)
class Answers:
    """log p (N, C) of every class for N images, the right ones (N,), and a number in (0, 1) an image (N,)."""

    log_prob: np.ndarray
    targets: np.ndarray
    u: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class Basis:
    """The images that something was fitted on: `part` of the training images held out, and what else they chose.

    epochs: of how many the best was chosen by these same images; 1 where they chose nothing.
    """

    part: str
    images: int
    epochs: int = 1
    stopped: bool = False

    @property
    def words(self) -> str:
        """What they chose."""
        if self.epochs > 1:
            return f"the best of {self.epochs} epochs"
        return "when to stop" if self.stopped else "nothing"

    def describe(self) -> dict[str, Any]:
        return {"part": self.part, "images": self.images, "chose": self.words}


def held_out_images(session: Session, run: RunDirectory) -> tuple[Batches, Basis]:
    """The images to fit on: those put aside by --calibration-split, else all of validation. InputError without any."""
    if session.calibration is not None:
        return session.calibration, Basis("calibration", len(session.calibration.y))
    if session.validation is None:
        raise InputError(f"{run.path} held out no images, and what it was trained on flatters it; {HOLD_OUT}.")
    assert session.chosen is not None
    epochs = 1
    if session.chosen.name == "best":
        accuracies = read_columns(run.metrics_file, ("val_accuracy",))["val_accuracy"]
        epochs = max(1, int(np.isfinite(accuracies).sum()))
    stopped = epochs == 1 and session.config.early_stop is not None
    return session.validation, Basis("validation", len(session.validation.y), epochs, stopped)


def remark(basis: Basis, coverage: float | None = None) -> str:
    """A sentence where the images have chosen something already; else nothing.

    The best of E figures with the deviation σ is above their mean by at most about σ·√(2 ln E).
    """
    if basis.words == "nothing":
        return ""
    effect = ""
    if basis.epochs > 1 and coverage is not None:
        sigma = math.sqrt(coverage * (1 - coverage) / basis.images)
        most = 100 * sigma * math.sqrt(2 * math.log(basis.epochs))
        effect = f": the coverage of new images may be up to some {most:.1f} points lower"
    return (
        f"these {basis.images:,} validation images also chose {basis.words}{effect}. Images that chose nothing: those "
        f"of --checkpoint last without --early-stop, or {HOLD_OUT}"
    )


def answers(session: Session, batches: Batches) -> Answers:
    """What the network says of images, in their order. InputError where its head gives no probabilities."""
    head, parts = session.model.head, []
    name = session.config.head
    if not getattr(head, "distribution", True):
        raise InputError(f"head {name!r} gives no probabilities that sum to 1 over the classes, so there is {NOTHING}.")
    if head.classes.n > MANY_CLASSES or len(batches.y) * head.classes.n > MOST:
        raise InputError(
            f"{len(batches.y):,} images with {head.classes.n:,} classes are more probabilities than are computed here "
            f"(classes: at most {MANY_CLASSES:,}, numbers: {MOST:,})."
        )
    with single_threaded_blas():
        for h, _, samples in batch_features(session.model, batches, session.backend):
            noise = session.rng.child("evaluation").at(0, samples)
            parts.append(to_numpy(head.log_prob(h, rng=noise)))
    log_prob = np.concatenate(parts)
    total = np.exp(log_prob.astype(np.float64)).sum(axis=1)
    if not np.isfinite(total).all():
        raise InputError(f"log p of {int((~np.isfinite(total)).sum())} images is not a number: the run did not train.")
    if np.abs(total - 1).max() > ROUNDING:
        raise InputError(
            f"the probabilities of head {name!r} sum to {total.min():.4g} … {total.max():.4g}, not to 1, so there is "
            f"{NOTHING}."
        )
    return Answers(log_prob, np.asarray(batches.y, dtype=np.int64), chances(batches.x, session.config.seed))


def chances(x: np.ndarray, seed: int) -> np.ndarray:
    """A number in (0, 1) for each image, drawn by its content: the same image gets the same set, wherever it stands."""
    content = np.array([zlib.crc32(np.ascontiguousarray(image).data) for image in x], dtype=np.int64)
    return to_numpy(Rng(seed, "conform").at(0, content).uniform((len(x),), np.float64))


def fingerprint(model: Model) -> str:
    """SHA-256 of the parameters and buffers: what was fitted for them is good for no others."""
    found = hashlib.sha256()
    for tree in (model.params, model.buffers):
        for name, array in leaves(tree):
            found.update(f"{name} {array.shape}\n".encode())
            found.update(np.ascontiguousarray(to_numpy(array), dtype=np.float64).data)
    return found.hexdigest()
