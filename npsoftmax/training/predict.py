"""A run's network on files, images or the beginnings of source files: no training data is read."""

from __future__ import annotations

from dataclasses import dataclass
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
            return cls(session.model, session.train.normalize, session.dataset.class_names, session.chosen, seed)
        names = written.get("names")
        of_images = written["normalization"] is not None
        normalization = Normalization.from_dict(written["normalization"]) if of_images else None
        model, chosen = load_model(path, checkpoint)
        if not isinstance(names, list) or len(names) != model.head.classes.n:
            raise InputError(f"{run.classes_file}: names must be a list of {model.head.classes.n} class names.")
        sets = written.get("label_sets") is True
        return cls(model, normalization, tuple(map(str, names)), chosen, seed, sets)

    def __call__(self, files: list[Path], top: int | None = None) -> list[list[tuple[str, float]]]:
        """Of each file the `top` most probable classes with their probabilities, best first.

        None: with sets of labels those in the set, which may be none; else 3.
        """
        h, rng = self.model.features(self._read(files)), Rng(self.seed, "predict").child("head")
        log_prob = to_numpy(self.model.head.log_prob(h, rng=rng))
        best = np.argsort(-log_prob, axis=1, kind="stable")
        many = np.full(len(files), 3 if top is None else top)
        if top is None and self.label_sets:
            many = to_numpy(self.model.head.predict_sets(h, rng=rng)).sum(axis=1)
        return [
            [(self.names[label], float(np.exp(row[label]))) for label in labels[:n]]
            for row, labels, n in zip(log_prob, best, many.tolist(), strict=True)
        ]

    def _read(self, files: list[Path]) -> np.ndarray:
        """The files as the model takes them."""
        if self.normalization is None:
            (length,) = self.model.input_shape
            return np.stack([window_before_the_end(read_beginning(path), self.names, length) for path in files])
        return self.normalization.apply(np.stack([read_picture(path, self.model.input_shape) for path in files]))
