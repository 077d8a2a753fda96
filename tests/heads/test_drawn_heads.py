"""arcface and nce: what they draw, what they expect of the draws, what they evaluate, and mistakes.

What holds of every head is in test_head_properties, their pairs are in tests/functional/test_drawn_classes.py.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from npsoftmax.errors import InputError
from npsoftmax.functional.cosine import cosine_forward
from npsoftmax.functional.softmax import log_softmax_forward
from npsoftmax.gradcheck import check_head
from npsoftmax.heads import HEADS, ClassInfo
from npsoftmax.heads.row_map import SPARSE_FROM
from npsoftmax.params import SparseRows, leaves, replace_leaves
from npsoftmax.random import Rng
from npsoftmax.training.optimizers import SGD

RNG = Rng(7, "noise.head").at(5)
COUNTS = np.array([1, 9, 2, 8, 3, 7, 4, 6, 5, 0, 12, 11])


def build(name, n=12, d=5, counts=None, dtype=np.float64, **options):
    head = HEADS[name](d, ClassInfo(n, counts), rng=Rng(0, "head"), **options)
    for tree in (head.params, head.buffers):
        replace_leaves(tree, lambda _, x: x.astype(dtype) if x.dtype.kind == "f" else x)
    return head


def batch(head, n=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, head.features)), rng.integers(0, head.classes.n, n)


def dense(gradient):
    return gradient.to_dense() if isinstance(gradient, SparseRows) else gradient


# ---------------------------------------------------------------- arcface: draws
@pytest.mark.parametrize(
    ("n", "share", "drawn"), [(12, 0.5, 6), (100, 0.1, 10), (12, 0.001, 2), (12, 1.0, 12), (7, 0.99, 7)]
)
def test_a_share_is_so_many_different_classes(n, share, drawn):
    head = build("arcface", n, share=share)
    assert head.drawn == drawn and head.macs() == head.features * (drawn + (drawn < n))
    for step in range(20):
        found = head.draw(RNG.at(step), np.zeros(1))
        assert len(found) == drawn == len(set(found.tolist())) and 0 <= found.min() <= found.max() < n


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_every_class_and_every_two_are_drawn_as_often_as_others(share):
    head = build("arcface", 10, share=share)
    seen = np.zeros((400, 10))
    for step in range(400):
        seen[step, head.draw(RNG.at(step), np.zeros(1))] = 1
    once, twice = head.drawn / 10, head.drawn * (head.drawn - 1) / 90
    together = seen.T @ seen / 400
    np.testing.assert_allclose(together[np.eye(10, dtype=bool)], once, atol=5 * math.sqrt(once * (1 - once) / 400))
    np.testing.assert_allclose(together[~np.eye(10, dtype=bool)], twice, atol=5 * math.sqrt(twice * (1 - twice) / 400))


@pytest.mark.parametrize(("name", "options"), [("arcface", {"share": 0.2}), ("nce", {"samples": 50})])
def test_a_step_has_one_draw_for_the_whole_batch_and_its_own(name, options):
    head = build(name, 1000, **options)

    def drawn(rng):
        found = head.draw(rng, np.zeros(1))
        return found[0] if isinstance(found, tuple) else found

    here = drawn(RNG.at(5, np.arange(64)))
    np.testing.assert_array_equal(drawn(RNG.at(5, np.arange(64, 70))), here)
    assert not np.array_equal(drawn(RNG.at(6)), here)


@pytest.mark.parametrize(("name", "options"), [("arcface", {"share": 0.2}), ("nce", {})])
def test_training_needs_noise(name, options):
    head = build(name, **options)
    with pytest.raises(InputError, match=r"train=True.*rng=Rng"):
        head.loss(*batch(head), train=True)
    assert np.isfinite(head.loss(*batch(head))[0])


def test_all_centres_need_no_noise():
    head = build("arcface")
    assert np.isfinite(head.loss(*batch(head), train=True)[0])


# ---------------------------------------------------------------- arcface: loss
@pytest.mark.parametrize("form", ["arcface", "cosface"])
def test_evaluation_is_the_softmax_of_cosines_and_a_margin_costs(form):
    head = build("arcface", form=form)
    h, t = batch(head)
    log_p = log_softmax_forward(16.0 * cosine_forward(h, head.params["w"].T)[0])[0]
    np.testing.assert_allclose(head.log_prob(h), log_p, rtol=1e-11)
    np.testing.assert_allclose(head.losses(h, t), -log_p[np.arange(6), t], rtol=1e-11)
    assert (head.losses(h, t, train=True) > head.losses(h, t)).all()
    free = build("arcface", form=form, margin=0.0)
    np.testing.assert_allclose(free.losses(h, t, train=True), head.losses(h, t), rtol=1e-11)


def test_each_form_has_the_margin_of_its_paper():
    assert build("arcface").margin == 0.5 and build("arcface", form="cosface").margin == 0.35


@pytest.mark.parametrize("scale", [16.0, 64.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_samples_on_their_centres_opposite_to_them_and_nowhere(dtype, scale, share):
    head = build("arcface", dtype=dtype, scale=scale, share=share)
    w = head.params["w"]
    h, t = np.stack([w[3], -w[3], 0 * w[3], 1e-30 * w[3], 1e15 * w[3]]).astype(dtype), np.full(5, 3)
    value, cache = head.loss(h, t, train=True, rng=RNG)
    dh, grads = head.backward(cache)
    assert np.isfinite(value) and np.isfinite(dh).all() and np.isfinite(dense(grads["w"])).all()
    if dtype is np.float64 and scale < 64:
        check_head(head, h[1:3], t[1:3], train=True, rng=RNG).assert_ok()


def test_a_sample_beyond_the_margin_is_still_pulled_to_its_centre():
    head = build("arcface", margin=1.0)
    h = -head.params["w"][[3]] + 0.2 * np.random.default_rng(0).standard_normal((1, 5))
    t = np.array([3])
    losses = []
    for _ in range(150):
        losses.append(head.losses(h, t, train=True)[0])
        dh, _ = head.backward(head.loss(h, t, train=True)[1])
        h = h - 0.002 * dh
    assert (np.diff(losses) < 1e-9).all() and losses[-1] < losses[0] / 2


@pytest.mark.slow
def test_training_draws_samples_closer_to_their_centres_than_cosine_does():
    """What the margin is for: smaller angles within a class after the same steps."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((6, 8))
    t = np.arange(120) % 6
    h = centres[t] + 0.8 * rng.standard_normal((120, 8))
    angles = {}
    for margin in (0.0, 0.5):
        head = build("arcface", 6, 8, margin=margin)
        a = np.eye(8)  # a linear layer before the head
        for _ in range(300):
            _, cache = head.loss(h @ a, t, train=True)
            dx, grads = head.backward(cache)
            a -= 0.5 * h.T @ dx
            head.params["w"] = head.params["w"] - 0.5 * grads["w"]
        cosines = cosine_forward(h @ a, head.params["w"].T)[0]
        angles[margin] = np.arccos(cosines[np.arange(120), t].clip(-1, 1)).mean()
    assert angles[0.5] < 0.8 * angles[0.0]


# ---------------------------------------------------------------- nce: noise
def expected_share(head):
    n, counts = head.classes.n, head.classes.counts
    if head.drawn_from == "log_uniform":
        q = np.empty(n)
        q[np.argsort(-(np.zeros(n) if counts is None else counts), kind="stable")] = np.log1p(1 / np.arange(1, n + 1))
        return q / q.sum()
    q = np.ones(n) if counts is None or head.drawn_from == "uniform" else np.maximum(counts, 1.0) ** head.power
    return q / q.sum()


@pytest.mark.parametrize("counts", [None, COUNTS], ids=["no counts", "counts"])
@pytest.mark.parametrize(
    ("distribution", "power"), [("counts", 0.75), ("counts", 1.0), ("log_uniform", 1.0), ("uniform", 1.0)]
)
def test_noise_comes_as_often_as_the_distribution_says(distribution, power, counts):
    k = 100_000
    head = build("nce", counts=counts, samples=k, distribution=distribution, power=power)
    q = expected_share(head)
    np.testing.assert_allclose(np.exp(head.buffers["log_kq"]), k * q, rtol=1e-6)
    drawn, times = head.draw(RNG, np.zeros(1))
    np.testing.assert_array_equal(drawn, np.arange(12))  # each listed once
    assert times.sum() == k
    assert (np.abs(times - k * q) < 5 * np.sqrt(k * q * (1 - q))).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("power", [50.0, 1e6])
@pytest.mark.parametrize("form", ["nce", "negative_sampling"])
def test_noise_of_one_class_alone(form, power):
    head = build("nce", form=form, counts=COUNTS, power=power)
    for train in (True, False):
        value, cache = head.loss(*batch(head), train=train, rng=RNG)
        dh, _ = head.backward(cache)
        assert np.isfinite(value) and np.isfinite(dh).all()
    assert np.isfinite(head.log_prob(batch(head)[0])).all()


@pytest.mark.slow
def test_every_one_of_a_million_classes_can_come_as_noise():
    head = build("nce", 1_000_000, 1, samples=200_000)
    drawn, _ = head.draw(RNG, np.zeros(1))
    high = np.sort(drawn[drawn > 500_000])
    assert abs((high % 2).mean() - 0.5) < 5 * 0.5 / np.sqrt(len(high))
    assert drawn.max() > 999_000


@pytest.mark.parametrize("form", ["nce", "negative_sampling"])
@pytest.mark.parametrize("samples", [1, pytest.param(300, marks=pytest.mark.slow)])
def test_gradients_of_drawn_noise_and_of_evaluation(form, samples):
    head = build("nce", form=form, samples=samples, counts=COUNTS)
    check_head(head, *batch(head), train=True, rng=RNG).assert_ok()
    check_head(head, *batch(head), train=False).assert_ok()


def test_evaluation_of_nce_is_a_softmax_and_a_likelihood():
    head = build("nce", counts=COUNTS)
    h, t = batch(head)
    log_p = log_softmax_forward(h @ head.params["w"].T + head.params["b"])[0]
    np.testing.assert_allclose(head.log_prob(h), log_p, rtol=1e-12)
    np.testing.assert_allclose(head.losses(h, t), -log_p[np.arange(6), t], rtol=1e-12)
    assert head.likelihood and not build("nce", form="negative_sampling").likelihood


def test_evaluation_of_negative_sampling_is_what_training_expects():
    head = build("nce", form="negative_sampling", counts=COUNTS, samples=5)
    h, t = batch(head, 3)
    found = np.array([head.losses(h, t, train=True, rng=RNG.at(step)) for step in range(400)])
    error = found.std(axis=0) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - head.losses(h, t)) < 5 * error).all()


def test_nce_begins_normalised():
    for n in (10, 10_000):
        head = build("nce", n, 16)
        h, _ = batch(head)
        sums = np.exp(h @ head.params["w"].T + head.params["b"]).sum(axis=1)
        assert (sums > 0.3).all() and (sums < 4).all()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["nce", "negative_sampling"])
def test_it_learns_the_shares_of_classes_without_a_sum(form):
    """One feature, always 1: log p is the shares of the classes; NCE's own scores are already normalised."""
    shares = np.array([0.5, 0.25, 0.15, 0.1])
    head = build("nce", 4, 1, form=form, counts=np.array([50, 25, 15, 10]), samples=64)
    t = np.repeat(np.arange(4), [50, 25, 15, 10])
    h = np.ones((100, 1))
    tail = []
    for step in range(1500):
        _, grads = head.backward(head.loss(h, t, train=True, rng=RNG.at(step))[1])
        for name, g in leaves(grads):
            head.params[name] = head.params[name] - 0.3 * dense(g) / (1 + step / 300)
        if step >= 1000:
            tail.append((head.params["w"].ravel() + head.params["b"], head.log_prob(h[:1])[0]))
    z, log_p = (np.mean(values, axis=0) for values in zip(*tail, strict=True))
    np.testing.assert_allclose(np.exp(log_p), shares, rtol=0.1)
    if form == "nce":
        np.testing.assert_allclose(np.exp(z), shares, rtol=0.15)


# ---------------------------------------------------------------- many classes
@pytest.mark.parametrize(("name", "options"), [("arcface", {"share": 0.02}), ("nce", {"samples": 10})])
def test_a_large_head_gives_rows_and_those_are_the_dense_gradient(name, options, monkeypatch):
    head = build(name, 500, **options)
    h, t = batch(head)
    module = {"arcface": "arcface", "nce": "row_map"}[name]
    monkeypatch.setattr(f"npsoftmax.heads.{module}.SPARSE_FROM", 100)
    _, rows = head.backward(head.loss(h, t, train=True, rng=RNG)[1])
    monkeypatch.undo()
    _, full = head.backward(head.loss(h, t, train=True, rng=RNG)[1])
    for leaf, gradient in leaves(rows):
        assert isinstance(gradient, SparseRows) and len(gradient.rows) < 500
        np.testing.assert_array_equal(gradient.to_dense(), full[leaf])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [("arcface", {"share": 5e-5}), ("nce", {"samples": 50})])
def test_a_million_classes_train_and_only_the_rows_used_move(name, options):
    n = 1_000_000
    assert n >= SPARSE_FROM
    head = build(name, n, 4, dtype=np.float32, **options)
    optimiser, before = SGD(head.params), head.params["w"].copy()
    h, t = batch(head)
    h, used = h.astype(np.float32), [t]
    for step in range(2):
        found = head.draw(RNG.at(step), h)
        used.append(found[0] if name == "nce" else found)
        _, grads = head.backward(head.loss(h, t, train=True, rng=RNG.at(step))[1])
        assert all(isinstance(g, SparseRows) for _, g in leaves(grads))
        optimiser.step(head.params, grads, lr=0.5)
    moved = np.flatnonzero((head.params["w"] != before).any(axis=1))
    assert np.isin(moved, np.concatenate(used)).all() and np.isin(t, moved).all()


# ---------------------------------------------------------------- mistakes
@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("arcface", {"form": "sphereface"}, r"unknown form 'sphereface'.*arcface, cosface"),
        ("arcface", {"margin": -0.1}, r"margin is -0\.1, but an angle from 0 to below π/2.*margin=0\.5"),
        ("arcface", {"margin": 30}, "margin is 30, but an angle"),
        ("arcface", {"form": "cosface", "margin": 2.0}, r"margin is 2\.0, but a cosine from 0 to below 2"),
        ("arcface", {"margin": math.nan}, "margin is nan"),
        ("arcface", {"scale": 0}, "scale is 0"),
        ("arcface", {"share": 0}, r"share is 0, but a number above 0 and up to 1.*share=0\.1"),
        ("arcface", {"share": 1.5}, "share is 1.5"),
        ("arcface", {"share": math.nan}, "share is nan"),
        ("nce", {"form": "nec"}, r"unknown form 'nec'. Did you mean 'nce'"),
        ("nce", {"samples": 0}, "option samples is 0.*at least 1"),
        ("nce", {"samples": 2.5}, r"option samples is 2\.5"),
        ("nce", {"distribution": "zipf"}, r"distribution 'zipf'.*counts, log_uniform, uniform"),
        ("nce", {"power": -1}, "power is -1"),
        ("nce", {"power": math.inf}, "power is inf"),
    ],
)
def test_options_that_cannot_be(name, options, words):
    with pytest.raises(InputError, match=words):
        build(name, **options)
