"""Small runs that die, and the comparison of two run directories: what the tests of resuming share."""

from __future__ import annotations

import csv

from npsoftmax.training import Progress, RunDirectory, TrainConfig, Trainer, prepare
from npsoftmax.training.checkpoint import load_arrays

# 108 images to train, 12 for validation: four steps an epoch, the last of them a small one.
TINY = {
    "data": "digits",
    "limit_train": 120,
    "limit_test": 50,
    "model": "mlp",
    "model_opts": {"hidden": (10,)},  # ten features, one a class: the legacy adaptive head predicts from them
    "epochs": 4,
    "batch_size": 32,
    "lr": 0.01,
    "log_every": 3,
}
STEPS = 16  # of the whole run


class Dies(Exception):
    """What ends a run in the tests: nothing in the trainer knows it, so nothing is saved for it."""


class DyingAt(Progress):
    """Ends the run after a number of steps, before a checkpoint of the last of them."""

    def __init__(self, steps):
        super().__init__(1, quiet=True)
        self.left, self.seen = steps, 0

    def update(self, seen, loss, accuracy):
        self.left -= seen != self.seen
        self.seen = seen
        if self.left == 0:
            raise Dies


def begin(path, progress=None, stop_after=None, **changes):
    session = prepare(TrainConfig(**{**TINY, **changes}))
    run = RunDirectory.plan(session.config, session.dataset.name, str(path))
    trainer = Trainer(session, run, progress or Progress(4, quiet=True), stop_after=stop_after)
    run.describe(session.config, session.dataset, session.train.normalize, session.backend)
    return trainer


def go_on(path, progress=None, checkpoint="last"):
    run = RunDirectory.existing(path)
    session = prepare(TrainConfig.load(run.config_file))
    trainer = Trainer(session, run, progress or Progress(4, quiet=True))
    trainer.resume(checkpoint)
    return trainer


def table(path):
    with open(path, newline="") as file:
        return [{name: cell for name, cell in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def assert_same_end(one, other):
    """The two run directories hold the same parameters, moments, buffers and tables."""
    for name in ("last", "best"):
        files = [folder / "checkpoints" / f"{name}.safetensors" for folder in (one, other)]
        if name == "best" and not files[0].exists():
            assert not files[1].exists()
            continue
        a, b = (load_arrays(file) for file in files)
        assert a.keys() == b.keys()
        for key in a:
            assert a[key].dtype == b[key].dtype and a[key].tobytes() == b[key].tobytes(), f"{key} of {name}"
    for name in ("metrics.csv", "steps.csv"):
        assert table(one / name) == table(other / name)
