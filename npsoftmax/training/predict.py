"""A run's network on files, images or the beginnings of source files: no training data is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from npsoftmax.backend import to_numpy
from npsoftmax.data.normalize import Normalization
from npsoftmax.data.pictures import read_picture
from npsoftmax.data.source import read_beginning
from npsoftmax.data.stdlib_tokens import window_before_the_end
from npsoftmax.errors import InputError
from npsoftmax.files import read_json
from npsoftmax.models import Model
from npsoftmax.random import Rng
from npsoftmax.training.config import TrainConfig
from npsoftmax.training.conform import Groups, superclasses
from npsoftmax.training.fitted import Fitted
from npsoftmax.training.held_out import chances
from npsoftmax.training.run_directory import RunDirectory
from npsoftmax.training.session import Chosen, load_model, load_run


@dataclass(frozen=True)
class Predictor:
    """The classes of files, by a model of a run: what is on an image, or the next word of a source file.

    normalization: None where the model takes words. seed: of the noise of heads that draw it in evaluation. label_sets:
    whether the run's images had sets of labels.
    """

    model: Model
    normalization: Normalization | None
    names: tuple[str, ...]
    chosen: Chosen
    seed: int
    label_sets: bool = False
    fitted: Fitted = field(default_factory=Fitted)
    groups: Groups = field(default_factory=dict)

    @classmethod
    def of_run(cls, path: str | Path, checkpoint: str = "best") -> Predictor:
        """As in the directory of a run. InputError where it cannot be read.

        A run of an older version does not say how its images were normalised: there its data is read after all.
        """
        run = RunDirectory.existing(path)
        written = read_json(run.classes_file) if run.classes_file.is_file() else {}
        seed = TrainConfig.load(run.config_file).seed
        if "normalization" not in written:
            session = load_run(path, checkpoint)
            assert session.chosen is not None
            fitted = Fitted.of(run.path, session.model, session.chosen)
            dataset, normalize = session.dataset, session.train.normalize
            return cls(session.model, normalize, dataset.class_names, session.chosen, seed, fitted=fitted)
        names = written.get("names")
        of_images = written["normalization"] is not None
        normalization = Normalization.from_dict(written["normalization"]) if of_images else None
        model, chosen = load_model(path, checkpoint)
        if not isinstance(names, list) or len(names) != model.head.classes.n:
            raise InputError(f"{run.classes_file}: names must be a list of {model.head.classes.n} class names.")
        sets = written.get("label_sets") is True
        fitted = Fitted.of(run.path, model, chosen)
        groups = superclasses(written.get("coarse"), written.get("coarse_names"))
        return cls(model, normalization, tuple(map(str, names)), chosen, seed, sets, fitted, groups)

    def __call__(self, files: list[Path], top: int | None = None) -> list[list[tuple[str, float]]]:
        """Of each file the `top` most probable classes with their probabilities, best first: see `predict`."""
        return [guesses for guesses, _ in self.predict(files, top)]

    def predict(
        self, files: list[Path], top: int | None = None
    ) -> list[tuple[list[tuple[str, float]], list[str] | None]]:
        """Of each file the `top` most probable classes with their probabilities, best first; and its set, if any.

        top None: with sets of labels those in the set, which may be none; else 3. The probabilities are calibrated
        where the run is (npsoftmax calibrate); the set (npsoftmax conform) is made of the head's own: names of classes,
        best first, or of subtrees.
        """
        read = self._read(files)
        x = read if self.normalization is None else self.normalization.apply(read)
        h, rng = self.model.features(x), Rng(self.seed, "predict").child("head")
        own = to_numpy(self.model.head.log_prob(h, rng=rng))
        log_prob = own if self.fitted.scaling is None else self.fitted.scaling(own)
        best = np.argsort(-log_prob, axis=1, kind="stable")
        many = np.full(len(files), 3 if top is None else top)
        if top is None and self.label_sets:
            many = to_numpy(self.model.head.predict_sets(h, rng=rng)).sum(axis=1)
        guesses = [
            [(self.names[label], float(np.exp(row[label]))) for label in labels[:n]]
            for row, labels, n in zip(log_prob, best, many.tolist(), strict=True)
        ]
        return list(zip(guesses, self.sets_of(read, own), strict=True))

    def _read(self, files: list[Path]) -> np.ndarray:
        """What is in the files: bytes of images (N, H, W, C), or windows of words (N, L)."""
        if self.normalization is None:
            (length,) = self.model.input_shape
            return np.stack([window_before_the_end(read_beginning(path), self.names, length) for path in files])
        return np.stack([read_picture(path, self.model.input_shape) for path in files])

    def sets_of(self, images: np.ndarray, log_prob: np.ndarray) -> list[list[str]] | list[None]:
        """The set of each image in words. images: what was read, (N, …); log_prob (N, C): the head's own."""
        if self.fitted.sets is None:
            return [None] * len(images)
        return self.fitted.sets.in_words(
            self.model.head, np.exp(log_prob), chances(images, self.seed), self.names, self.groups
        )
