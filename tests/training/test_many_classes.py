"""A head of a million classes trains and is evaluated without anything that is images times classes."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from npsoftmax.backend import get_backend
from npsoftmax.data import Batches, Dataset, fit_normalization
from npsoftmax.heads import ClassInfo
from npsoftmax.models import build_model
from npsoftmax.random import Rng
from npsoftmax.training import Progress, RunDirectory, TrainConfig, Trainer, finish_run
from npsoftmax.training import evaluate as evaluation
from npsoftmax.training.checkpoint import load_arrays
from npsoftmax.training.evaluate import metrics_of, predict_all
from npsoftmax.training.session import Session

IMAGES = 12


def session(n_classes, **changes):
    """A small network with a tree of `n_classes` leaves, and images whose labels are spread over all of them."""
    config = TrainConfig(
        **{
            "model": "mlp",
            "model_opts": {"hidden": (4,)},
            "head": "hierarchical",
            "optimizer": "sgd",
            "epochs": 2,
            "batch_size": 5,
            "lr": 0.1,
            **changes,
        }
    )
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (IMAGES, 2, 2, 1), dtype=np.uint8)
    y = rng.integers(0, n_classes, IMAGES)
    dataset = Dataset("spread", x, y, x, y, tuple(map(str, range(n_classes))))
    model = build_model(
        config.model, config.head, ClassInfo(n_classes), dataset.input_shape, model_opts=config.model_opts
    )
    normalization = fit_normalization("half", x)

    def batches(size, shuffle):
        return Batches(x, y, size, rng=Rng(0), normalize=normalization, shuffle=shuffle)

    train, still = batches(config.batch_size, True), batches(50, False)
    return Session(config, dataset, model, get_backend(), train, IMAGES, still, still, Rng(0))


def run(session, path):
    directory = RunDirectory.plan(session.config, session.dataset.name, str(path))
    directory.describe(session.config, session.dataset, session.train.normalize, session.backend)
    trainer = Trainer(session, directory, Progress(session.config.epochs, quiet=True))
    return trainer, trainer.fit()


def epochs(path):
    with open(path / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_million_classes_train(tmp_path):
    made = replace(session(1_000_000), validation=None)
    trainer, state = run(made, tmp_path / "run")
    summary = finish_run(made, trainer.run, state)
    table = epochs(tmp_path / "run")
    assert float(table[1]["train_loss"]) < float(table[0]["train_loss"]) < 21  # 20 decisions, at first of 1/2 each
    assert [row["train_accuracy"] for row in table] == ["", ""]
    test = summary["test"]
    assert 0 < test["nll"] < 21 and test["ece"] is None and 0 <= test["accuracy"] <= test["top5"] <= 1
    assert not (tmp_path / "run" / "confusion.csv").exists()


def test_the_parts_make_up_the_whole(monkeypatch):
    made = session(300)
    whole = predict_all(made.model, made.test, made.backend, made.rng)
    monkeypatch.setattr(evaluation, "SCORES", 300 * 5)  # five images at a time
    parts = predict_all(made.model, made.test, made.backend, made.rng)
    np.testing.assert_array_equal(parts.labels, whole.labels)
    np.testing.assert_array_equal(parts.targets, whole.targets)
    for name, score in metrics_of(made.model, whole).items():
        assert metrics_of(made.model, parts)[name] == pytest.approx(score, rel=1e-6), name
    for name, column in whole.reliability.items():
        np.testing.assert_allclose(parts.reliability[name], column, rtol=1e-12)


@pytest.mark.parametrize("head", ["hierarchical", "softmax", "hinge"])
def test_with_many_classes_the_loss_stands_for_the_likelihood(monkeypatch, head):
    made = session(300, head=head)
    few = metrics_of(made.model, predict_all(made.model, made.test, made.backend, made.rng))
    monkeypatch.setattr(evaluation, "MANY_CLASSES", 299)
    many = metrics_of(made.model, predict_all(made.model, made.test, made.backend, made.rng))
    assert many.pop("ece") is None and few.pop("ece") is not None
    assert (many["nll"] is None) == (head == "hinge")
    for name, score in few.items():
        assert many[name] == (score if score is None else pytest.approx(score, rel=1e-6)), name


@pytest.mark.parametrize("optimizer", [pytest.param("sgd", marks=pytest.mark.slow), "adam"])
def test_rows_that_are_updated_now_and_then_resume_to_the_last_bit(tmp_path, optimizer):
    """Sparse rows: momentum and moments of the rows that a step does not touch are in the checkpoint too."""
    options = {"optimizer": optimizer, "epochs": 4, "weight_decay": 1e-2}
    whole, _ = run(session(20_000, **options), tmp_path / "whole")
    directory = RunDirectory(tmp_path / "parts")
    Trainer(session(20_000, **options), directory, Progress(4, quiet=True), stop_after=2).fit()
    second = Trainer(session(20_000, **options), directory, Progress(4, quiet=True))
    second.resume()
    assert second.state.epoch == 2
    second.fit()
    files = [trainer.run.checkpoint_file("last") for trainer in (whole, second)]
    a, b = (load_arrays(file) for file in files)
    assert a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)
