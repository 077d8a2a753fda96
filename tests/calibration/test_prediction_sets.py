"""Sets of classes for scikit-learn's classifiers and ours; calibration by scikit-learn's own."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression

from npsoftmax.errors import InputError
from npsoftmax.estimators import PredictionSets, SoftmaxClassifier


def drawn(n, seed):
    rng = np.random.default_rng(seed)
    t = rng.integers(0, 4, n)
    return np.eye(4)[t] * 2 + rng.normal(size=(n, 4)), np.array(["a", "b", "c", "d"])[t]


@pytest.mark.parametrize(
    "model", [LogisticRegression(), SoftmaxClassifier(hidden=(), epochs=5, random_state=0)], ids=["theirs", "ours"]
)
def test_sets_hold_the_right_class_as_often_as_they_promise(model):
    """The deviation to be expected of 600 and 2,000 samples is 1.2 points."""
    sets = PredictionSets(model.fit(*drawn(300, 0)), coverage=0.9, random_state=0).fit(*drawn(600, 1))
    X, y = drawn(2000, 2)
    inside = sets.predict_set(X)
    assert abs(inside[np.arange(2000), np.searchsorted(sets.classes_, y)].mean() - 0.9) < 0.05
    assert inside.any(axis=1).all() and 1 < inside.sum(axis=1).mean() < 4
    assert (sets.predict_set(X) == inside).all()  # the same seed
    assert clone(sets).get_params()["coverage"] == 0.9


def test_what_cannot_be_is_refused():
    model = LogisticRegression().fit(*drawn(100, 0))
    X, y = drawn(50, 1)
    with pytest.raises(InputError, match=r"\['e'\], but the classes"):
        PredictionSets(model).fit(X, ["e"] * 50)
    with pytest.raises(InputError, match="10 images are too few"):
        PredictionSets(model).fit(X[:10], y[:10])
    with pytest.raises(InputError, match="expected one label a sample"):
        PredictionSets(model).fit(X, y[:20])
    with pytest.raises(ValueError, match="not fitted"):
        PredictionSets(LogisticRegression()).fit(X, y)
    with pytest.raises(ValueError, match="not fitted"):
        PredictionSets(model).predict_set(X)


def test_scikit_learns_calibration_takes_our_classifier():
    X, y = drawn(300, 0)
    model = CalibratedClassifierCV(SoftmaxClassifier(hidden=(), epochs=15, random_state=0), cv=2).fit(X, y)
    assert model.predict_proba(X).sum(axis=1) == pytest.approx(1)
    assert model.score(X, y) > 0.6
