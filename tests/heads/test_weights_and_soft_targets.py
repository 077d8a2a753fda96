"""What people bring beside labels, in every head: weights of samples and classes, labels to ignore, soft targets."""

from __future__ import annotations

import numpy as np
import pytest
from test_head_properties import CASES, NAMES, RNG, batch, build, dense, label

from npsoftmax.errors import InputError
from npsoftmax.gradcheck import check_head
from npsoftmax.heads import HEADS
from npsoftmax.params import leaves

pytestmark = [
    pytest.mark.filterwarnings("error::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::npsoftmax.heads.LegacyWiringWarning"),
]


def of_cases(cases):
    """Each head with its defaults every day; the others on request."""
    return [pytest.param(case, id=label(case), marks=[pytest.mark.slow] if case[1] else []) for case in cases]


every_head = pytest.mark.parametrize("case", of_cases(CASES))
every_soft_head = pytest.mark.parametrize("case", of_cases([case for case in CASES if HEADS[case[0]].soft_targets]))
WEIGHTS = np.array([0.5, 0.0, 3.0, 1.0])


def with_options(case, **more):
    return case[0], {**case[1], **more}


def soft_rows(n=4, classes=7, seed=1):
    """Rows of any sum, with zeros in them."""
    rng = np.random.default_rng(seed)
    q = rng.random((n, classes)) * (rng.random((n, classes)) < 0.6)
    return q * rng.uniform(0.2, 3.0, (n, 1))


class Fixed:
    """A head whose loss is called with weights, for the gradient check, which knows none."""

    def __init__(self, head, weights):
        self.head, self.weights, self.params = head, weights, head.params

    def loss(self, h, targets, *, train=False, rng=None):
        return self.head.loss(h, targets, weights=self.weights, train=train, rng=rng)

    def backward(self, cache, dloss):
        return self.head.backward(cache, dloss)


def evaluated(head, h, targets, weights=None, train=True, rng=RNG, dloss=1.0):
    """The loss and all gradients, by name."""
    value, cache = head.loss(h, targets, weights=weights, train=train, rng=rng)
    dh, grads = head.backward(cache, dloss)
    return {"loss": value, "h": dh} | {name: dense(g) for name, g in leaves(grads)}


def assert_same(found, expected, rtol=1e-10, atol=1e-13):
    assert set(found) == set(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=rtol, atol=atol, err_msg=name)


# ---------------------------------------------------------------- weights of samples
@every_head
def test_gradients_with_weights(case):
    h, t = batch()
    check_head(Fixed(build(case), WEIGHTS), h, t, train=True, rng=RNG, elements=20, directions=1).assert_ok()


@every_head
def test_the_loss_is_the_mean_of_weights_times_losses(case):
    head, (h, t) = build(case), batch()
    for train in (True, False):
        losses = head.losses(h, t, train=train, rng=RNG)
        assert losses.shape == (4,)
        np.testing.assert_allclose(head.loss(h, t, train=train, rng=RNG)[0], losses.mean(), rtol=1e-13)
        value, _ = head.loss(h, t, weights=WEIGHTS, train=train, rng=RNG)
        np.testing.assert_allclose(value, (WEIGHTS * losses).sum() / 4, rtol=1e-13)


@every_head
def test_weights_of_one_change_nothing_and_others_are_a_scale(case):
    head, (h, t) = build(case), batch()
    plain = evaluated(head, h, t)
    assert_same(evaluated(head, h, t, np.ones(4)), plain, rtol=1e-14, atol=0)
    assert_same(evaluated(head, h, t, np.full(4, 2.5)), {k: 2.5 * v for k, v in plain.items()})


@every_head
def test_a_weight_of_zero_leaves_a_sample_out(case):
    """... of the sum: it is divided by N nevertheless, so that a batch can be shared."""
    head, (h, t) = build(case), batch()
    if head.mixes_samples:
        pytest.skip("each sample is part of all others here")
    kept = np.array([0, 2, 3])
    found = evaluated(head, h, t, np.array([1.0, 0, 1, 1]))
    rest = evaluated(head, h[kept], t[kept], rng=RNG.at(RNG.step, kept))
    assert not found["h"][1].any()
    found["h"] = found["h"][kept]
    assert_same(found, {k: v * 3 / 4 for k, v in rest.items()})


@every_head
def test_parts_with_their_shares_make_the_weighted_whole(case):
    head, (h, t) = build(with_options(case, class_weight=(1, 2, 0, 3, 0.5, 1, 1), ignore_label=4)), batch(7)
    if head.mixes_samples:
        pytest.skip("its batches cannot be shared")
    w, samples = np.arange(7) / 3, np.array([31, 4, 15, 92, 6, 53, 58])
    parts = []
    for part in (slice(0, 3), slice(3, 7)):
        rng, share = RNG.at(RNG.step, samples[part]), len(t[part]) / 7
        found = evaluated(head, h[part], t[part], w[part], rng=rng, dloss=share)
        parts.append(found | {"loss": share * found["loss"]})
    whole = evaluated(head, h, t, w, rng=RNG.at(RNG.step, samples))
    a, b = parts
    joined = {k: np.concatenate([a[k], b[k]]) if k == "h" else a[k] + b[k] for k in whole}
    assert_same(joined, whole, rtol=1e-9)


@every_head
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_all_weights_are_zero_so_is_everything(case, dtype):
    head, (h, t) = build(case, dtype=dtype), batch(dtype=dtype)
    for n in (4, 1):
        found = evaluated(head, h[:n], t[:n], np.zeros(n))
        assert {k: np.abs(v).max() for k, v in found.items()} == dict.fromkeys(found, 0)
        assert {v.dtype for v in found.values()} == {np.dtype(dtype)}


# ---------------------------------------------------------------- weights of classes
CLASS_WEIGHT = (1.0, 0.0, 2.0, 0.5, 3.0, 1.0, 0.25)


@every_head
def test_class_weights_are_weights_by_the_label_in_training(case):
    plain, weighted, (h, t) = build(case), build(with_options(case, class_weight=CLASS_WEIGHT)), batch(6)
    of_labels = np.array(CLASS_WEIGHT)[t]
    assert_same(evaluated(weighted, h, t), evaluated(plain, h, t, of_labels), rtol=1e-13)
    both = np.arange(6.0)
    assert_same(evaluated(weighted, h, t, both), evaluated(plain, h, t, both * of_labels), rtol=1e-12)
    assert_same(evaluated(weighted, h, t, train=False), evaluated(plain, h, t, train=False), rtol=0, atol=0)
    np.testing.assert_array_equal(weighted.losses(h, t, train=True, rng=RNG), plain.losses(h, t, train=True, rng=RNG))


@pytest.mark.parametrize("name", NAMES)
def test_balanced_class_weights_are_those_of_the_counts(name):
    counts = 1 + np.arange(7) ** 2
    head = build((name, {"class_weight": "balanced"}))
    np.testing.assert_allclose(head.class_weight, counts.sum() / (7 * counts), rtol=1e-15)
    np.testing.assert_allclose((head.class_weight * counts).sum(), counts.sum())


# ---------------------------------------------------------------- labels to ignore
@every_head
@pytest.mark.parametrize("ignored", [-100, 255, 3])
def test_a_label_to_ignore_weighs_nothing(case, ignored):
    plain, head, (h, t) = build(case), build(with_options(case, ignore_label=ignored)), batch(6)
    t[t == 3] = 2
    given = np.where([0, 1, 0, 0, 1, 0], ignored, t)
    kept = (given != ignored).astype(float)
    t0 = np.where(kept, t, 0)  # some class: where samples mix it is seen, elsewhere not
    for train in (True, False):
        assert_same(evaluated(head, h, given, train=train), evaluated(plain, h, t0, kept, train=train), rtol=1e-13)
    losses = head.losses(h, given, rng=RNG)
    np.testing.assert_array_equal(losses, kept * plain.losses(h, t0, rng=RNG))
    found = evaluated(head, h, np.full(6, ignored))
    assert not any(np.any(v) for v in found.values())


# ---------------------------------------------------------------- soft targets
def mixture(head, h, q, train=True):
    """Σ_c q_c · (loss and gradients of class c), by the weights of samples."""
    total = {}
    for c in range(q.shape[1]):
        for name, value in evaluated(head, h, np.full(len(h), c), q[:, c], train).items():
            total[name] = total.get(name, 0) + value
    return total


@every_soft_head
@pytest.mark.parametrize("train", [True, False])
def test_a_soft_target_is_its_classes_by_their_weight(case, train):
    """ℓ = Σ_c q_c · (ℓ of class c), also where q does not sum to 1, loss and gradients."""
    head, (h, _), q = build(case), batch(), soft_rows()
    assert_same(evaluated(head, h, q, train=train), mixture(head, h, q, train))
    weighted = build(with_options(case, class_weight=CLASS_WEIGHT))
    expected = mixture(head, h, q * np.array(CLASS_WEIGHT) if train else q, train)
    assert_same(evaluated(weighted, h, q, train=train), expected)


@every_soft_head
def test_gradients_with_soft_targets(case):
    head = Fixed(build(with_options(case, class_weight=CLASS_WEIGHT)), WEIGHTS)
    check_head(head, batch()[0], soft_rows(), train=True, rng=RNG, elements=20, directions=1).assert_ok()
    head = build(case, n=100)
    check_head(head, batch(1)[0], soft_rows(1, 100), train=True, rng=RNG, elements=10, directions=1).assert_ok()


@every_soft_head
@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float32, np.float64, list])
def test_one_hot_rows_are_labels(case, kind):
    head, (h, t) = build(case), batch()
    one_hot = np.eye(7)[t].tolist() if kind is list else np.eye(7)[t].astype(kind)
    assert_same(evaluated(head, h, one_hot), evaluated(head, h, t), rtol=1e-11)


@every_soft_head
def test_a_likelihood_of_soft_targets_is_a_mean_of_log_probabilities(case):
    head, (h, _), q = build(case), batch(), soft_rows()
    if not head.likelihood:
        pytest.skip("no likelihood")
    expected = -(q * head.log_prob(h, rng=RNG)).sum(axis=1)
    np.testing.assert_allclose(head.losses(h, q, rng=RNG), expected, rtol=1e-11, atol=1e-13)


@every_soft_head
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_soft_targets_of_scores_of_ten_thousand(case, dtype):
    head, (h, _), q = build(case, dtype=dtype), batch(dtype=dtype), soft_rows().astype(np.float64)
    q[0] = 0
    found = evaluated(head, (h * 3e4).astype(dtype), q)
    assert all(np.isfinite(v).all() and v.dtype == dtype for v in found.values())
    assert not found["h"][0].any() and head.losses(h, q, train=True, rng=RNG)[0] == 0


# ---------------------------------------------------------------- what is refused
@pytest.mark.parametrize("name", NAMES)
def test_numbers_beyond_float32_are_refused_and_not_made_infinite(name):
    head, (h, t) = build((name, {}), dtype=np.float32), batch(dtype=np.float32)
    with pytest.raises(InputError, match=r"weights hold 1e\+300, but finite"):
        head.loss(h, t, weights=[1, 1e300, 1, 1], train=True, rng=RNG)
    if head.soft_targets:
        with pytest.raises(InputError, match=r"soft targets hold 1e\+300, but finite"):
            head.loss(h, np.full((4, 7), 1e300), train=True, rng=RNG)


@every_head
@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.ones(3), r"weights have shape \(3,\), but one for each of the 4 samples"),
        (np.ones((4, 1)), r"weights have shape \(4, 1\)"),
        (2.0, r"weights have shape \(\)"),
        (np.array([1, 1, np.nan, 1]), "weights hold nan, but finite numbers of at least 0"),
        (np.array([1, np.inf, 1, 1]), "weights hold inf"),
        (np.array([1, 1, 1, -2]), "weights hold -2.0"),
        (np.array([1, 1, 1, 2e308]), "weights hold inf"),
        (["a", "b", "c", "d"], "weights holds <U1, but real numbers"),
    ],
    ids=str,
)
def test_weights_that_are_none(case, weights, words):
    with pytest.raises(InputError, match=words):
        build(case).loss(*batch(), weights=weights, train=True, rng=RNG)


@pytest.mark.parametrize("name", NAMES)
def test_a_head_without_soft_targets_says_so_and_who_takes_them(name):
    head, (h, t) = build((name, {})), batch()
    if head.soft_targets:
        for q in (soft_rows(5), soft_rows(4, 6), soft_rows()[None], -soft_rows()):
            with pytest.raises(InputError, match=r"labels are float64|soft targets have shape|soft targets hold -"):
                head.loss(h, q, train=True, rng=RNG)
        return
    if head.multi_label:  # sets of labels, which are no soft targets
        with pytest.raises(InputError, match=r"each lies from 0 \(no\) to 1 \(yes\)"):
            head.loss(h, 2 * np.eye(7)[t], train=True, rng=RNG)
        return
    for q in (soft_rows(), np.eye(7)[t]):
        with pytest.raises(InputError, match=r"takes no soft targets.*Soft targets are taken by .*SoftmaxHead"):
            head.loss(h, q, train=True, rng=RNG)
