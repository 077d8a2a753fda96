"""One against the rest: sets of labels, thresholds, weights of labels, and mistakes.

What holds of every head is in test_head_properties.
"""

from __future__ import annotations

import numpy as np
import pytest

from npsoftmax.errors import InputError
from npsoftmax.functional.path import sigmoid
from npsoftmax.gradcheck import check_head
from npsoftmax.heads import HEADS, ClassInfo
from npsoftmax.params import leaves, replace_leaves
from npsoftmax.random import Rng

RNG = Rng(5, "noise.head").at(3)


def build(n=7, dtype=np.float64, **options):
    head = HEADS["sigmoid"](5, ClassInfo(n, np.arange(1, n + 1)), rng=Rng(0, "head"), **options)
    replace_leaves(head.params, lambda _, x: x.astype(dtype))
    return head


def batch(n=6, classes=7, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 5)), rng.integers(0, 2, (n, classes))


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("options", [{}, {"class_weight": "balanced"}, {"bias": False}], ids=str)
@pytest.mark.parametrize("classes", [2, 7, 100])
def test_gradients_with_sets_of_labels(options, train, classes):
    h, sets = batch(3, classes)
    check_head(build(classes, **options), h, sets, train=train, rng=RNG, elements=60, directions=1).assert_ok()


def test_the_loss_is_minus_log_of_the_probability_of_the_set():
    head, (h, sets) = build(), batch()
    p = np.exp(head.log_prob(h))
    np.testing.assert_allclose(p, sigmoid(head.scores(h)[0]), rtol=1e-12)
    expected = -np.log(np.where(sets, p, 1 - p)).sum(axis=1)
    np.testing.assert_allclose(head.losses(h, sets), expected, rtol=1e-12)
    value, _ = head.loss(h, sets, weights=np.arange(6.0))
    np.testing.assert_allclose(value, (np.arange(6) * expected).mean(), rtol=1e-12)


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float32, np.float64, list])
def test_sets_of_any_type_and_labels_as_sets_of_one(kind):
    head, (h, sets) = build(), batch()
    given = sets.tolist() if kind is list else sets.astype(kind)
    np.testing.assert_allclose(head.losses(h, given), head.losses(h, sets), rtol=1e-14)
    t = np.arange(6)
    np.testing.assert_allclose(head.losses(h, np.eye(7, dtype=int)[t]), head.losses(h, t), rtol=1e-12)


def test_no_distribution_and_no_likelihood():
    head, (h, _) = build(), batch()
    assert (head.distribution, head.likelihood, head.multi_label, head.soft_targets) == (False, False, True, False)
    sums = np.exp(head.log_prob(h)).sum(axis=1)
    assert np.abs(sums - 1).max() > 0.05 and np.abs(np.exp(head.log_prob(9 * h)).sum(axis=1) - 1).max() > 0.5
    assert 0.5 < sums.mean() < 2, "it begins near one label a sample"


def test_predicted_sets_are_those_above_the_threshold():
    head, (h, _) = build(), batch()
    p = np.exp(head.log_prob(h))
    np.testing.assert_array_equal(head.predict_sets(h), p >= 0.5)
    for threshold in (0.1, 0.73):
        np.testing.assert_array_equal(head.predict_sets(h, threshold=threshold), p >= threshold)
        np.testing.assert_array_equal(build(threshold=threshold).predict_sets(h), p >= threshold)
    assert head.predict_sets(h, threshold=0).all() and not head.predict_sets(h, threshold=1).any()
    assert head.predict_sets(h).dtype == bool
    assert head.predict_sets(h[:0]).shape == (0, 7)


def test_the_highest_scores_come_first_even_where_probabilities_are_all_1():
    head = build(dtype=np.float32)
    h = (1e4 * batch()[0]).astype(np.float32)
    order = np.argsort(-head.scores(h)[0], axis=1, kind="stable")
    np.testing.assert_array_equal(head.predict(h, 7), order)
    log_p = head.log_prob(h)
    assert (log_p <= 0).all() and np.isfinite(log_p).all()
    assert min(len(np.unique(row)) for row in log_p) < 7, "log p does not tell them all apart"


def test_class_weights_weigh_the_yes_of_each_label_in_training():
    w = np.array([1.0, 0, 2, 0.5, 3, 1, 0.25])
    head, plain, (h, sets) = build(class_weight=tuple(w)), build(), batch()
    p = np.exp(head.log_prob(h))
    expected = -(w * sets * np.log(p) + (1 - sets) * np.log(1 - p)).sum(axis=1).mean()
    np.testing.assert_allclose(head.loss(h, sets, train=True)[0], expected, rtol=1e-12)
    np.testing.assert_allclose(head.loss(h, sets)[0], plain.loss(h, sets)[0], rtol=1e-14)


def test_the_best_probability_under_a_weight_is_the_one_the_page_says():
    """w·π / (w·π + 1 - π): where it is, the gradient vanishes."""
    share, w = 0.2, 4.0
    head = HEADS["sigmoid"](1, ClassInfo(2), rng=Rng(0), class_weight=(w, 1.0))
    best = w * share / (w * share + 1 - share)
    replace_leaves(head.params, lambda _, x: np.zeros(x.shape))
    head.params["b"] = np.array([np.log(best / (1 - best)), np.log(share / (1 - share))])
    sets = np.repeat(np.arange(10)[:, None] < 2, 2, axis=1).astype(int)
    _, grads = head.backward(head.loss(np.ones((10, 1)), sets, train=True)[1])
    assert all(np.abs(g).max() < 1e-12 for _, g in leaves(grads))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_of_ten_thousand_with_sets(dtype):
    head, (h, sets) = build(dtype=dtype), batch()
    value, cache = head.loss((3e4 * h).astype(dtype), sets, train=True)
    dh, grads = head.backward(cache)
    assert np.isfinite(value) and value.dtype == dh.dtype == dtype
    assert np.isfinite(dh).all() and all(np.isfinite(g).all() for _, g in leaves(grads))


# ---------------------------------------------------------------- mistakes
@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (np.full((6, 7), 2), r"targets run from 2.0 to 2.0, but each lies from 0 \(no\) to 1 \(yes\)"),
        (np.full((6, 7), -1), "hold -1"),
        (np.full((6, 7), np.nan), "hold nan"),
        (np.zeros((6, 6)), r"sets of labels have shape \(6, 6\), but \(6, 7\) was expected"),
        (np.zeros((6, 6), int), r"labels have shape \(6, 6\)"),
        (np.zeros((5, 7), int), r"labels have shape \(5, 7\)"),
        (np.full((6, 7), "yes"), "real numbers"),
        (np.full(6, 7), "labels run from 7 to 7, but 7 classes"),
        (None, "None"),
    ],
)
def test_targets_that_are_none(targets, words):
    with pytest.raises(InputError, match=words):
        build().loss(batch()[0], targets, train=True)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, np.nan, "half"])
def test_thresholds_that_are_none(threshold):
    with pytest.raises(InputError, match=r"threshold is .*from 0 to 1.*threshold=0\.5"):
        build(threshold=threshold)
    with pytest.raises(InputError, match="threshold is"):
        build().predict_sets(batch()[0], threshold=threshold)


@pytest.mark.parametrize("name", ["softmax", "hierarchical", "sampled", "sparsemax", "hinge"])
def test_other_heads_have_no_sets_and_say_who_has(name):
    head = HEADS[name](5, ClassInfo(7), rng=Rng(0))
    assert not head.multi_label
    with pytest.raises(InputError, match="gives one label a sample; for sets of labels take the head sigmoid"):
        head.predict_sets(batch()[0])


def test_no_label_of_a_set_can_be_ignored():
    head, (h, sets) = build(ignore_label=2), batch()
    with pytest.raises(InputError, match=r"ignore_label=2 is for single labels.*weights=w"):
        head.loss(h, sets, train=True)
    assert head.losses(h, np.full(6, 2)).max() == 0


def test_sets_of_another_shape_are_refused_as_sets():
    for shape in ((3, 6), (2, 7)):
        with pytest.raises(InputError, match="sets of labels have shape"):
            build().loss(np.zeros((3, 5)), np.zeros(shape))
