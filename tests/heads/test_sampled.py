"""Sampled softmax: what it draws, what it expects of the draws, and full softmax in evaluation.

What holds of every head is in test_head_properties.
"""

from __future__ import annotations

import numpy as np
import pytest

from npsoftmax.errors import InputError
from npsoftmax.functional import loss as losses
from npsoftmax.functional.sampled import sampled_softmax_backward, sampled_softmax_forward
from npsoftmax.gradcheck import check_head
from npsoftmax.heads import HEADS, ClassInfo
from npsoftmax.heads.row_map import SPARSE_FROM
from npsoftmax.params import SparseRows, leaves, replace_leaves
from npsoftmax.random import Rng
from npsoftmax.training.optimizers import SGD

RNG = Rng(7, "noise.head").at(5)
DISTRIBUTIONS = ("log_uniform", "uniform")
both = pytest.mark.parametrize("distribution", DISTRIBUTIONS)


def build(n=12, d=5, counts=None, dtype=np.float64, **options):
    head = HEADS["sampled"](d, ClassInfo(n, counts), rng=Rng(0, "head"), **options)
    replace_leaves(head.params, lambda _, x: x.astype(dtype))
    return head


def batch(head, n=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, head.features)), rng.integers(0, head.classes.n, n)


def full_loss(head, h, t):
    z = h @ head.params["w"].T + head.params["b"]
    return losses.softmax_cross_entropy_forward(z, t)


def expected_share(head):
    """q of every class."""
    n = head.classes.n
    q = np.full(n, 1 / n)
    if head.drawn_from == "log_uniform":
        q[head.buffers["order"]] = np.log1p(1 / np.arange(1, n + 1)) / np.log(n + 1)
    return q


# ---------------------------------------------------------------- draws
@both
def test_classes_are_drawn_as_often_as_the_distribution_says(distribution):
    head = build(
        12, counts=np.array([1, 9, 2, 8, 3, 7, 4, 6, 5, 0, 12, 11]), samples=200_000, distribution=distribution
    )
    drawn, log_expected = head.draw(RNG, np.zeros(1))
    q = expected_share(head)
    assert q.sum() == pytest.approx(1)
    np.testing.assert_array_equal(np.sort(drawn), np.arange(12))  # each listed once
    times = 200_000 * q[drawn] / np.exp(log_expected)
    np.testing.assert_allclose(times.sum(), 200_000, rtol=1e-9)
    error = np.sqrt(200_000 * q[drawn] * (1 - q[drawn]))
    assert (np.abs(times - 200_000 * q[drawn]) < 5 * error).all()


def test_the_most_frequent_class_is_drawn_most():
    head = build(12, counts=np.arange(12), samples=2000)
    drawn, log_expected = head.draw(RNG, np.zeros(1))
    assert drawn[np.argmax(2000 * expected_share(head)[drawn] / np.exp(log_expected))] == 11


@both
def test_every_one_of_a_million_classes_can_come(distribution):
    """Also the last ones, which a number of 23 bits would skip."""
    head = build(1_000_000, 1, samples=200_000, distribution=distribution)
    drawn, _ = head.draw(RNG, np.zeros(1))
    assert drawn.min() >= 0
    assert drawn.max() < 1_000_000
    high = np.sort(drawn[drawn > 500_000])
    odd = high % 2 == 1
    assert abs(odd.mean() - 0.5) < 5 * 0.5 / np.sqrt(len(high))
    assert drawn.max() > 999_000


def test_a_step_has_one_draw_for_the_whole_batch_and_its_own():
    head = build(1000)
    here = head.draw(RNG.at(5, np.arange(64)), np.zeros(1))[0]
    np.testing.assert_array_equal(head.draw(RNG.at(5, np.arange(64, 70)), np.zeros(1))[0], here)
    assert not np.array_equal(head.draw(RNG.at(6), np.zeros(1))[0], here)


def test_training_needs_noise():
    head = build()
    with pytest.raises(InputError, match=r"train=True.*rng=Rng"):
        head.loss(*batch(head), train=True)
    assert np.isfinite(head.loss(*batch(head))[0])


# ---------------------------------------------------------------- loss and gradients
@both
@pytest.mark.parametrize("samples", [1, 4, 300])
def test_gradients(distribution, samples):
    head = build(samples=samples, distribution=distribution)
    check_head(head, *batch(head), train=True, rng=RNG).assert_ok()
    check_head(head, *batch(head), train=False).assert_ok()


def test_every_class_once_without_correction_is_the_full_softmax():
    head = build()
    h, t = batch(head)
    value, cache = sampled_softmax_forward(h, *head.params.values(), t, np.arange(12), np.zeros(12))
    expected, full_cache = full_loss(head, h, t)
    assert value.mean() == pytest.approx(expected, rel=1e-13)
    dz = losses.softmax_cross_entropy_backward(1.0, full_cache)
    dh, rows, dw, _ = sampled_softmax_backward(np.full(6, 1 / 6), cache)
    np.testing.assert_allclose(dh, dz @ head.params["w"], rtol=1e-11)
    np.testing.assert_allclose(SparseRows.from_indices(rows, dw, 12).to_dense(), dz.T @ h, rtol=1e-11, atol=1e-15)


def test_a_draw_that_is_the_target_is_left_out():
    head = build()
    h, _ = batch(head, 1)
    w, b = head.params.values()
    t = np.array([3])
    alone, _ = sampled_softmax_forward(h, w, b, t, np.array([3]), np.zeros(1))
    assert alone == 0
    with_hit, _ = sampled_softmax_forward(h, w, b, t, np.array([3, 8]), np.zeros(2))
    without, _ = sampled_softmax_forward(h, w, b, t, np.array([8]), np.zeros(1))
    assert with_hit == without


@both
def test_the_sum_expects_that_of_the_full_softmax(distribution):
    """exp(loss) - 1 is the sum over the other classes, relative to the target: no bias for any number of samples."""
    head = build(samples=3, distribution=distribution)
    h, t = batch(head, 1)
    truth = np.exp(full_loss(head, h, t)[0]) - 1
    found = np.array([np.exp(head.loss(h, t, train=True, rng=RNG.at(step))[0]) - 1 for step in range(1500)])
    assert abs(found.mean() - truth) < 4 * found.std() / np.sqrt(len(found))


@both
def test_with_more_samples_loss_and_gradient_approach_the_full_ones(distribution):
    head = build()
    h, t = batch(head)
    truth, cache = full_loss(head, h, t)
    dh = losses.softmax_cross_entropy_backward(1.0, cache) @ head.params["w"]
    errors = []
    for samples in (100, 10_000):
        head = build(samples=samples, distribution=distribution)
        steps = [head.loss(h, t, train=True, rng=RNG.at(step)) for step in range(30)]
        errors.append([value - truth for value, _ in steps] + [head.backward(cache)[0] - dh for _, cache in steps])
    few, more = ([np.sqrt(np.mean(np.square(e[i]))) for i in (slice(30), slice(30, 60))] for e in errors)
    for quantity in range(2):  # ten times less, give or take the chance of thirty draws
        assert more[quantity] < few[quantity] / 6
        assert more[quantity] < 0.02


def test_evaluation_is_the_full_softmax():
    head = build()
    h, t = batch(head)
    assert head.loss(h, t)[0] == pytest.approx(full_loss(head, h, t)[0], rel=1e-13)
    log_p = head.log_prob(h)
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(head.predict(h, 3), np.argsort(-log_p, axis=1, kind="stable")[:, :3])


def test_only_drawn_classes_and_targets_get_a_gradient():
    head = build(500, samples=10)
    h, t = batch(head)
    drawn, _ = head.draw(RNG, h)
    _, grads = head.backward(head.loss(h, t, train=True, rng=RNG)[1])
    np.testing.assert_array_equal(np.flatnonzero(grads["w"].any(axis=1)), np.union1d(drawn, t))
    np.testing.assert_array_equal(np.flatnonzero(grads["b"]), np.union1d(drawn, t))


def test_a_large_head_gives_rows_and_those_are_the_dense_gradient(monkeypatch):
    h, t = batch(build(500, samples=10))
    large = build(500, samples=10)
    monkeypatch.setattr("npsoftmax.heads.row_map.SPARSE_FROM", 100)
    _, rows = large.backward(large.loss(h, t, train=True, rng=RNG)[1])
    monkeypatch.undo()
    _, full = large.backward(large.loss(h, t, train=True, rng=RNG)[1])
    for name, gradient in leaves(rows):
        assert isinstance(gradient, SparseRows)
        np.testing.assert_array_equal(gradient.to_dense(), full[name])


def test_a_million_classes_train_and_only_the_rows_used_move():
    n = 1_000_000
    assert n >= SPARSE_FROM
    head = build(n, 4, dtype=np.float32, samples=50)
    optimiser, before = SGD(head.params), head.params["w"].copy()
    h, t = batch(head)
    h, used = h.astype(np.float32), [t]
    for step in range(3):
        used.append(head.draw(RNG.at(step), h)[0])
        _, grads = head.backward(head.loss(h, t, train=True, rng=RNG.at(step))[1])
        assert all(isinstance(g, SparseRows) for _, g in leaves(grads))
        optimiser.step(head.params, grads, lr=0.5)
    moved = np.flatnonzero((head.params["w"] != before).any(axis=1))
    assert np.isin(moved, np.concatenate(used)).all()
    assert np.isin(t, moved).all()


@pytest.mark.parametrize("samples", [0, -3])
def test_numbers_of_samples_that_are_none(samples):
    with pytest.raises(InputError, match=rf"option samples is {samples}.*at least 1"):
        build(samples=samples)


def test_an_unknown_distribution():
    with pytest.raises(InputError, match=r"distribution 'zipf'.*log_uniform, uniform"):
        build(distribution="zipf")
