"""ImageClassifier with a model of words: the run of the same settings, and what is no window of words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

import npsoftmax
from npsoftmax import ImageClassifier
from npsoftmax.data import load_dataset
from npsoftmax.errors import InputError
from npsoftmax.params import leaves
from npsoftmax.training import Progress, RunDirectory, TrainConfig, Trainer, prepare

X = np.array([[0, 1, 2], [2, 2, 0], [1, 0, 0], [2, 1, 1]] * 5)
Y = X[:, 0]
SMALL = {"model": "token_mlp", "model_opts": {"words": 3, "embedding": 4, "hidden": (8,)}, "epochs": 20, "lr": 0.05}


def test_words_are_learned_and_predicted():
    classifier = ImageClassifier(**SMALL, batch_size=8, random_state=0).fit(X.astype(np.uint16), Y)
    assert classifier.score(X.tolist(), Y) == 1.0 and clone(classifier).get_params() == classifier.get_params()
    np.testing.assert_allclose(classifier.predict_proba(X).sum(axis=1), 1, rtol=1e-5)
    assert classifier.normalization_ is None and classifier.image_shape_ == (3,)


def test_a_fit_ends_where_the_run_of_its_settings_does(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sources = str(Path(npsoftmax.__file__).parent / "layers")
    small = {"model": "token_mlp", "head": "hierarchical", "epochs": 2, "batch_size": 50, "lr": 0.01}
    config = TrainConfig(
        data="stdlib_tokens", data_dir=sources, vocabulary=15, limit_train=500, limit_test=20, seed=5, **small
    )
    session = prepare(config)
    run = RunDirectory.plan(session.config, "words", str(tmp_path / "run"))
    trainer = Trainer(session, run, Progress(2, quiet=True))
    run.describe(session.config, session.dataset, None, session.backend)
    trainer.fit()
    data = load_dataset("stdlib_tokens", sources, vocabulary=15, limit_train=500, limit_test=20)
    x, y = data.x_train[~data.held_out], data.y_train[~data.held_out]
    assert len(np.unique(y)) == data.n_classes, "else the classes would be others"
    classifier = ImageClassifier(**small, model_opts={"words": data.words}, random_state=5).fit(x, y)
    found, expected = (dict(leaves(model.params)) for model in (classifier.model_, session.model))
    assert all(found[name].tobytes() == expected[name].tobytes() for name in expected)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X / 2, r"X is float64 \(20, 3\), but windows of words, whole numbers \(N, T\), were expected"),
        (X[:, 0], r"X is int64 \(20,\)"),
        (X[:0], r"X is int64 \(0, 3\)"),
        (X - 1, "X has words from -1 to 1, but they are numbered from 0"),
        ([[0, 1], [0]], "all of one length"),
        (X + 1, "x runs from 1 to 3, but 0 … 2 was expected"),
    ],
)
def test_what_is_no_window_of_words_is_refused(x, message):
    with pytest.raises(InputError, match=message):
        ImageClassifier(**SMALL).fit(x, Y[: len(x)])


def test_another_length_than_that_of_training_is_refused():
    classifier = ImageClassifier(**SMALL | {"epochs": 1}).fit(X, Y)
    with pytest.raises(InputError, match=r"was trained on int64 \(3,\)"):
        classifier.predict(X[:, :2])
