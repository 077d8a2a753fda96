"""A run that is looked at: its network in float64, its test images, the names of its classes."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.backend import get_backend, to_numpy
from npsoftmax.data import Normalization
from npsoftmax.errors import InputError
from npsoftmax.heads import FlatHead
from npsoftmax.layers import Layer
from npsoftmax.look.plain import encoded, numbers, plain, shown
from npsoftmax.look.trace import Seen, Trace, sample
from npsoftmax.models import Model
from npsoftmax.random import Rng
from npsoftmax.training.predict import Predictor
from npsoftmax.training.session import load_run

TOP = 5


@dataclass
class Subject:
    """One network and what it was trained on. images (N, H, W, C) bytes, labels: the test set, or None, None.

    labels: (N,), or (N, C) of 0 and 1 where each image has a set of them.

    Everything that runs the network holds `lock`: what layers note is of one pass at a time.
    """

    path: Path
    model: Model
    predictor: Predictor
    images: np.ndarray | None
    labels: np.ndarray | None
    note: str
    trace: Trace = field(default_factory=Trace)
    layers: dict[str, Layer] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    own: list[np.ndarray] = field(default_factory=list)  # images that were dropped on the page

    def __post_init__(self) -> None:
        self.model.to(get_backend(), np.float64)
        self.layers = self.trace.watch(self.model.trunk)

    @classmethod
    def of_run(cls, path: str | Path, **changes: Any) -> Subject:
        """Open the directory of a run. InputError where it cannot be read, and for networks that take no images.

        Where its data is not to be found, there are no test images, and `note` says why.
        """
        predictor = Predictor.of_run(path)
        if predictor.normalization is None:
            raise InputError(f"{path} is a run on words, but look shows networks that take images.")
        try:
            session = load_run(path, **changes)
        except InputError as error:
            note = f"There are no test images: {error}"
            return cls(Path(path), predictor.model, predictor, None, None, note)
        data = session.dataset
        return cls(Path(path), session.model, predictor, data.x_test, data.y_test, "")

    @property
    def names(self) -> tuple[str, ...]:
        return self.predictor.names

    @property
    def normalization(self) -> Normalization:
        assert self.predictor.normalization is not None  # it is a network that takes images
        return self.predictor.normalization

    # ------------------------------------------------------------ images
    def pixels(self, image: int) -> np.ndarray:
        """An image (H, W, C) of bytes: of the test set by its number, or one's own by -1, -2, …"""
        if image < 0:
            if -image > len(self.own):
                raise InputError(f"there is no image {image}; drop one on the page.")
            return self.own[-image - 1]
        if self.images is None or image >= len(self.images):
            count = 0 if self.images is None else len(self.images)
            raise InputError(f"there is no test image {image}; there are {count:,}, from 0.")
        return self.images[image]

    def label(self, image: int) -> int | None:
        """The one class that is right; None of one's own images, and where a set of classes is."""
        return None if image < 0 or self.labels is None or self.labels.ndim == 2 else int(self.labels[image])

    def right(self, image: int) -> list[int]:
        """All classes that are right: none of one's own images."""
        if image >= 0 and self.labels is not None and self.labels.ndim == 2:
            return np.flatnonzero(self.labels[image]).tolist()
        label = self.label(image)
        return [] if label is None else [label]

    def batch(self, image: int) -> np.ndarray:
        """The image as the network takes it: (1, H, W, C) float64."""
        return self.normalization.apply(self.pixels(image)[None]).astype(np.float64)

    # ------------------------------------------------------------ passes
    def run(self, image: int) -> np.ndarray:
        """Forward: layers note what they see. -> features (1, D)."""
        return self.passed(image)[0]

    def passed(self, image: int) -> tuple[np.ndarray, Any]:
        """As `run`, and the cache for the trunk's backward."""
        self.trace.seen.clear()
        h, cache = self.model.trunk.forward(self.batch(image))
        return to_numpy(h), cache

    def noise(self) -> Rng:
        """Of heads that draw noise in evaluation too: always the same."""
        return Rng(0, "look")

    def seen(self, path: str) -> Seen:
        """What a layer noted. InputError for a path that is none, or a layer that another one calls in its own way."""
        if path not in self.layers:
            raise InputError(f"there is no layer {path!r:.60}; there are {', '.join(self.layers)}.")
        if path not in self.trace.seen:
            raise InputError(f"layer {path} is not run alone; look at the one around it.")
        return self.trace.seen[path]

    def has_scores(self) -> bool:
        """Whether the head has a linear map to one score a class."""
        return isinstance(self.model.head, FlatHead) and self.model.head.map is not None

    def described(self) -> dict[str, Any]:
        """What the page shows before anything is asked."""
        return {
            "run": self.path.name,
            "model": self.model.name,
            "head": self.model.head_name,
            "parameters": self.model.parameter_count(),
            "names": list(self.names),
            "images": 0 if self.images is None else len(self.images),
            "shape": list(self.model.input_shape),
            "note": self.note,
            "fitted": self.predictor.fitted.words,
            "scores": self.has_scores(),
            "layers": [
                {"path": path, "what": repr(layer), "kind": type(layer).__name__, "inside": path.count(".")}
                for path, layer in self.layers.items()
            ],
        }

    def forward(self, image: int) -> dict[str, Any]:
        """An image, what every layer makes of it, and the classes."""
        with self.lock:
            h = self.run(image)
            log_p = self.model.head.log_prob(h, rng=self.noise())[0]
            best = self.model.head.predict(h, min(TOP, len(self.names)), rng=self.noise())[0]
            maps = {path: shown(sample(note.y)) for path, note in self.trace.seen.items()}
        pixels = self.pixels(image)
        return plain(
            {
                "image": {"shape": list(pixels.shape), "data": encoded(pixels)},
                "label": self.label(image),
                "right": self.right(image),
                "top": [{"label": int(c), "p": float(np.exp(log_p[c]))} for c in best],
                "set": self.predictor.sets_of(self.pixels(image)[None], log_p[None])[0],
                "log_p": numbers(log_p) if len(log_p) <= 1000 else None,
                "maps": maps,
            }
        )

    def gallery(self, first: int, count: int, only: list[int] | None = None) -> dict[str, Any]:
        """Small images to choose from: `count` from `first` on, or those with the numbers `only`."""
        total = 0 if self.images is None else len(self.images)
        chosen = list(range(max(first, 0), min(first + count, total))) if only is None else only[:count]
        return {
            "total": total,
            "images": [self._small(n) for n in chosen],
        }

    def _small(self, image: int) -> dict[str, Any]:
        pixels = self.pixels(image)
        return {"number": image, "right": self.right(image), "shape": list(pixels.shape), "data": encoded(pixels)}
