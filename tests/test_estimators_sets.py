"""The estimators on sets of labels: an indicator matrix in, one out; what does not fit is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone

from npsoftmax import ImageClassifier, SoftmaxClassifier, load_dataset
from npsoftmax.errors import InputError


def sets_of_labels(n=120, c=3):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 5))
    return X, (X @ rng.normal(size=(5, c)) > 0.3).astype(int)


@pytest.mark.parametrize("kind", [int, bool, float, np.uint8, csr_matrix, list])
def test_an_indicator_matrix_is_learned_and_predicted(kind):
    X, y = sets_of_labels()
    given = y.tolist() if kind is list else csr_matrix(y) if kind is csr_matrix else y.astype(kind)
    model = SoftmaxClassifier(head="sigmoid", hidden=(), epochs=30, lr=0.1, random_state=0).fit(X, given)
    found = model.predict(X)
    assert found.shape == y.shape and found.dtype == np.int64 and model.predicts_sets_
    assert model.score(X, y) > 0.85
    p = model.predict_proba(X)
    np.testing.assert_array_equal(found, p >= 0.5)
    assert model.classes_.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(model.model_.head.classes.counts, y.sum(axis=0))


def test_sets_with_weights_a_threshold_and_a_clone():
    X, y = sets_of_labels()
    options = {"class_weight": "balanced", "threshold": 0.9}
    model = SoftmaxClassifier(head="sigmoid", hidden=(4,), head_opts=options, epochs=2, random_state=0)
    few = clone(model).fit(X, y, sample_weight=np.arange(len(X))).predict(X)
    more = clone(model).set_params(head_opts={"threshold": 0.1}).fit(X, y).predict(X)
    assert few.sum() < more.sum()
    assert model.__sklearn_tags__().classifier_tags.multi_label
    assert not SoftmaxClassifier().__sklearn_tags__().classifier_tags.multi_label


def test_sigmoid_takes_single_labels_as_well():
    X, y = sets_of_labels()
    words = np.array(["no", "yes"])[y[:, 0]]
    model = SoftmaxClassifier(head="sigmoid", hidden=(), epochs=30, lr=0.1, random_state=0).fit(X, words)
    assert model.score(X, words) > 0.9 and not model.predicts_sets_
    assert model.partial_fit(X, words).predict(X).dtype == words.dtype


@pytest.mark.parametrize(
    ("settings", "y", "words"),
    [
        ({"head": "softmax"}, sets_of_labels()[1], r"y should be a 1d array.*for sets of labels take head='sigmoid'"),
        ({"head": "sigmoid"}, 2 * sets_of_labels()[1], "sets of labels are rows of 0 and 1"),
        ({"head": "sigmoid"}, sets_of_labels()[1] - 0.5, "rows of 0 and 1"),
        ({"head": "sigmoid"}, sets_of_labels(60)[1], "inconsistent numbers of samples"),
        (
            {"head": "sigmoid", "class_weight": "balanced"},
            sets_of_labels()[1],
            "head_opts={'class_weight': 'balanced'}",
        ),
    ],
)
def test_sets_that_are_refused(settings, y, words):
    with pytest.raises(InputError, match=words):
        SoftmaxClassifier(**settings, epochs=1).fit(sets_of_labels()[0], y)


def test_partial_fit_takes_no_sets():
    X, y = sets_of_labels()
    model = SoftmaxClassifier(head="sigmoid", hidden=(), epochs=1).fit(X, y)
    with pytest.raises(InputError, match="fit was given sets of labels"):
        model.partial_fit(X, y[:, 0])
    with pytest.raises(InputError, match="y should be a 1d array"):
        SoftmaxClassifier(head="sigmoid").partial_fit(X, y, classes=[0, 1, 2])


def test_images_with_sets_of_labels():
    data = load_dataset("digit_sets", limit_train=60, limit_test=20)
    model = ImageClassifier(model="mlp", head="sigmoid", epochs=1, random_state=0).fit(data.x_train, data.y_train)
    assert model.predict(data.x_test).shape == (20, 10)
