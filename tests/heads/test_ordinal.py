"""The ordinal head: thresholds that rise, both forms by their definitions, far-away scores, what is measured."""

from __future__ import annotations

import numpy as np
import pytest

from npsoftmax.errors import InputError
from npsoftmax.heads import HEADS, ClassInfo
from npsoftmax.heads.ordinal import equal_shares
from npsoftmax.metrics import ordinal_metrics
from npsoftmax.params import leaves, replace_leaves
from npsoftmax.random import Rng

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
FORMS = pytest.mark.parametrize("form", ["cumulative", "corn"])


def build(form, n=5, features=3, **options):
    head = HEADS["ordinal"](features, ClassInfo(n), rng=Rng(0, "head"), form=form, **options)
    replace_leaves(head.params, lambda _, x: x.astype(float))
    return head


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("n", [2, 3, 100, 1000])
def test_at_the_start_a_score_of_zero_makes_all_classes_equally_likely(n):
    head = build("cumulative", n, init="zeros")
    np.testing.assert_allclose(head.log_prob(np.ones((1, 3))), -np.log(n), rtol=1e-4)
    assert equal_shares(n - 1).shape == (n - 1,)
    assert {name: p.shape for name, p in leaves(head.params)} == {"w": (3, 1), "theta": (n - 1,)}
    assert head.macs() == 3 and build("corn", n).macs() == 3 * (n - 1)


@FORMS
def test_log_probabilities_are_those_of_the_definition(form):
    head, h = build(form), np.random.default_rng(0).standard_normal((6, 3))
    w = head.params["w"]
    if form == "corn":
        go = sigmoid(h @ w + head.params["b"])
        reached = np.cumprod(np.concatenate([np.ones((6, 1)), go], axis=1), axis=1)
        p = reached * np.concatenate([1 - go, np.ones((6, 1))], axis=1)
    else:
        theta = head.params["theta"]
        b = np.cumsum(np.concatenate([theta[:1], np.log1p(np.exp(theta[1:]))]))
        below = np.concatenate([np.zeros((6, 1)), sigmoid(b - h @ w), np.ones((6, 1))], axis=1)
        p = np.diff(below, axis=1)
    np.testing.assert_allclose(np.exp(head.log_prob(h)), p, rtol=1e-12)


@FORMS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_away_scores_have_finite_losses_and_gradients_that_point_back(form, dtype):
    head = build(form, features=1, init="zeros")
    replace_leaves(head.params, lambda name, p: (np.ones_like(p) if name == "w" else p).astype(dtype))
    h, t = np.array([[-1e4], [1e4], [-1e4], [1e4]], dtype), np.array([4, 0, 2, 2])
    value, cache = head.loss(h, t)
    dh, grads = head.backward(cache)
    assert 5e3 < value < 5e4 and all(np.isfinite(g).all() for _, g in leaves(grads))
    assert (np.sign(dh[:, 0]) == [-1, 1, -1, 1]).all()
    np.testing.assert_allclose(np.exp(head.log_prob(h)).sum(axis=1), 1, rtol=1e-6)


def test_thresholds_rise_whatever_is_learned():
    head, rng = build("cumulative"), np.random.default_rng(0)
    replace_leaves(head.params, lambda _, p: 100 * rng.standard_normal(p.shape))
    h = rng.standard_normal((50, 3))
    np.testing.assert_allclose(np.exp(head.log_prob(h)).sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [-1e4, -100.0, -80.0, 80.0, 1e4])
def test_thresholds_that_are_all_but_one_have_finite_losses(value, dtype):
    head, rng = build("cumulative", n=7), np.random.default_rng(0)
    replace_leaves(head.params, lambda name, p: (np.full_like(p, value) if name == "theta" else p).astype(dtype))
    loss, cache = head.loss(rng.standard_normal((7, 3)).astype(dtype), np.arange(7))
    _, grads = head.backward(cache)
    assert np.isfinite(loss) and np.isfinite(grads["theta"]).all()


@FORMS
def test_it_learns_an_order_with_few_samples(form):
    """Ranks of one hidden number, seen through noise: the error in ranks falls to what the noise leaves."""
    rng = np.random.default_rng(0)
    h = rng.standard_normal((200, 3))
    t = np.digitize(h @ [1.0, -2.0, 0.5] + 0.3 * rng.logistic(size=200), [-2.0, -0.5, 0.5, 2.0])
    head = build(form)
    for _ in range(400):
        grads = dict(leaves(head.backward(head.loss(h, t, train=True)[1])[1]))
        replace_leaves(head.params, lambda name, p, grads=grads: p - 0.5 * grads[name])
    found = ordinal_metrics(t, head.predict(h)[:, 0])
    assert found["mean_absolute_error"] < 0.3 and found["quadratic_kappa"] > 0.9


def test_how_far_off_predictions_are():
    assert ordinal_metrics(np.array([0, 1, 2]), np.array([0, 1, 2])) == {
        "mean_absolute_error": 0.0,
        "quadratic_kappa": 1.0,
    }
    found = ordinal_metrics(np.array([0, 1, 2, 3]), np.array([1, 1, 2, 0]))
    assert found["mean_absolute_error"] == 1.0
    assert ordinal_metrics(np.array([2, 2]), np.array([2, 2]))["quadratic_kappa"] is None


@pytest.mark.oracle
def test_scikit_learn_agrees_about_kappa():
    from sklearn.metrics import cohen_kappa_score, mean_absolute_error

    t, y = np.random.default_rng(0).integers(0, 7, (2, 200))
    found = ordinal_metrics(t, y)
    assert found["quadratic_kappa"] == pytest.approx(cohen_kappa_score(t, y, weights="quadratic"), rel=1e-12)
    assert found["mean_absolute_error"] == pytest.approx(mean_absolute_error(t, y), rel=1e-12)


def test_an_unknown_form_is_refused():
    with pytest.raises(InputError, match="form 'linear'"):
        build("linear")
