"""Small trainings in doubles, by one process or (this file as a program) by those of mpiexec: the end of each."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

import npsoftmax
from npsoftmax.backend import get_backend
from npsoftmax.data import Batches, Dataset, fit_normalization
from npsoftmax.heads import ClassInfo
from npsoftmax.models import build_model
from npsoftmax.params import leaves
from npsoftmax.random import Rng
from npsoftmax.training import Progress, RunDirectory, TrainConfig, Trainer, finish_run, prepare
from npsoftmax.training.session import Session

# 108 images to train and 12 for validation: six steps an epoch, the last of 8 images.
COMMON = {
    "data": "digits", "limit_train": 120, "limit_test": 50, "model": "mlp", "model_opts": {"hidden": (12,)},
    "optimizer": "sgd", "lr": 0.1, "epochs": 2, "batch_size": 20, "log_every": 2,
}  # fmt: skip
CONV = {"model": "convnet", "model_opts": {"widths": (4, 6), "fc": 10, "dropout": 0.3}}
# Small steps: at a rate of 0.1, batch norms of two values a channel came to variances so small that the last bit of a
# parameter moved the end as far as the tests allow.
RESNET = {
    "model": "resnet9", "model_opts": {"widths": (4, 4, 6, 6), "dropout": 0.2}, "sync_batch_norm": True, "lr": 1e-3,
}  # fmt: skip
VIT = {
    "model": "vit",
    "model_opts": {
        "patch": 2, "dim": 12, "depth": 2, "heads": 2, "mlp": 16,
        "dropout": 0.1, "attention_dropout": 0.2, "drop_path": 0.3,
    },
}  # fmt: skip
WORDS = {
    "data": "stdlib_tokens", "data_dir": str(Path(npsoftmax.__file__).parent / "layers"), "vocabulary": 300,
    "model": "token_mlp", "model_opts": {"embedding": 6, "hidden": (12,)}, "head": "hierarchical",
}  # fmt: skip
CASES = {
    "mlp": {},
    "adam, an odd batch": {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.1, "batch_size": 7},
    "muon": CONV | {"optimizer": "muon", "lr": 0.05, "muon_matrices": True, "weight_decay": 0.1},
    "one sample is left": {"batch_size": 107},  # and rank 1 has none
    "one sample each, synchronised": RESNET | {"batch_size": 106},
    "one sample is left, synchronised": RESNET | {"data": "synthetic100", "limit_train": 100, "batch_size": 89},
    "augmented, with dropout": CONV | {"augment": "cutout"},
    "images that grow": RESNET
    | {"model": "whitened_resnet", "model_opts": {"widths": (4,), "inner": (3,), "kernels": (2, 1, 3)}}
    | {"image_sizes": "5:0.2,6:0.6", "augment": "alternating", "shift": 1},
    "clipped by norm": {"clip_norm": 0.3},
    "clipped by value": {"clip_value": 0.01},
    "mixup": CONV | {"mixup": 0.4},
    "mixup and cutmix": CONV | {"mixup": 0.4, "cutmix": 1.0, "augment": "standard", "batch_size": 17},
    "synchronised batch norm": RESNET | {"augment": "flip", "weight_decay": 1e-3},
    "synchronised, mixed": RESNET | {"mixup": 0.3, "epochs": 1},
    "vit, stochastic depth": VIT,
    "gumbel": {"head": "gumbel_softmax"},
    "sampled": {"head": "sampled", "head_opts": {"samples": 4}},
    "adaptive": {"head": "adaptive"},
    "tree": {"head": "hierarchical"},
    "sparse rows": {"head": "hierarchical", "weight_decay": 0.01},
    "sparse rows, mixed": {"head": "hierarchical", "mixup": 0.5},
    "sparse rows, sampled": {"head": "sampled"},
    "words": WORDS,
    "early stopping": {"early_stop": 1, "lr": 1e-9, "epochs": 5},
}
# Where shares of three are of another kind than shares of two: one of them empty, weights that differ, sums of rows.
OF_THREE = (
    "mlp", "adam, an odd batch", "one sample is left", "one sample each, synchronised", "augmented, with dropout",
    "clipped by norm", "mixup and cutmix", "sparse rows", "sparse rows, sampled",
)  # fmt: skip
MANY = 20_000  # classes: enough for gradients of a few rows


class Doubles:
    """A normalisation in double precision."""

    def __init__(self, normalize):
        self.normalize = normalize

    def apply(self, images):
        return self.normalize.apply(images).astype(np.float64)

    def to_dict(self):
        return self.normalize.to_dict()


def session_of(name, group):
    config = TrainConfig(**COMMON | CASES[name])
    session = many_classes(config, group) if name.startswith("sparse") else prepare(config, group)
    session.model.to(session.backend, np.float64)
    for batches in (session.train, session.validation, session.test):
        if batches.normalize is not None:  # words are no numbers to be made doubles
            batches.normalize = Doubles(batches.normalize)
    return session


def many_classes(config, group):
    """Eleven images of as many classes: a rank has no sample in the last step."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (11, 2, 2, 1), dtype=np.uint8), rng.integers(0, MANY, 11)
    config = replace(config, batch_size=5)
    dataset = Dataset("spread", x, y, x, y, tuple(map(str, range(MANY))))
    model = build_model(config.model, config.head, ClassInfo(MANY), (2, 2, 1), model_opts=config.model_opts)

    def batches(size, shuffle):
        return Batches(x, y, size, rng=Rng(0), normalize=fit_normalization("half", x), shuffle=shuffle)

    still = batches(4, False)
    return Session(config, dataset, model, get_backend(), batches(5, True), len(x), still, still, Rng(0), group)


def end_of(name, group, folder, change=None):
    """Train; the parameters, moments and buffers (by name), and what was measured, as arrays.

    change: what is done to the parameters first, in place.
    """
    session = session_of(name, group)
    if change:
        change(session.model.params)
    run = RunDirectory(folder)
    if group.is_first:
        run.describe(session.config, session.dataset, session.train.normalize, session.backend)
    trainer = Trainer(session, run, Progress(9, quiet=True))
    state = trainer.fit()
    model = session.model
    end = {
        **dict(leaves(model.params)),
        **dict(leaves(model.buffers)),
        **{f"optimizer.{key}": value for key, value in leaves(trainer.optimizer.state_tree())},
    }
    end = {key: value.copy() for key, value in end.items()}  # the best epoch's come in their place now
    summary = finish_run(session, run, state)
    figures = [summary["test"]["accuracy"], summary["validation"]["accuracy"], state.step, state.epoch, state.images]
    return end | {"figures": np.array(figures), "last loss": np.array(state.last_loss)}


def main(folder, names):
    from mpi4py import MPI

    from npsoftmax.distributed import MpiGroup

    group = MpiGroup(MPI.COMM_WORLD)
    for name in names:
        number = list(CASES).index(name)
        end = end_of(name, group, folder / f"run-{number}")
        np.savez(folder / f"{number}-{group.rank}.npz", **end)


if __name__ == "__main__":
    warnings.simplefilter("error", RuntimeWarning)
    main(Path(sys.argv[1]), sys.argv[2:])
