"""The adaptive head: clusters by frequency, work for clusters that occur only; and its untrained miswiring.

What holds of every head is in test_head_properties; the same mathematics in PyTorch in oracles/test_torch_heads_tree.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npsoftmax.errors import InputError
from npsoftmax.gradcheck import check_head
from npsoftmax.heads import HEADS, ClassInfo, LegacyWiringWarning
from npsoftmax.heads.adaptive import default_cutoffs
from npsoftmax.heads.row_map import SPARSE_FROM
from npsoftmax.options import check_options, parse_pairs
from npsoftmax.params import SparseRows, leaves, replace_leaves
from npsoftmax.random import Rng
from npsoftmax.training.optimizers import OPTIMIZERS

COUNTS = np.array([3, 50, 7, 7, 900, 1, 20, 0, 41, 5])  # by rank: 4 1 8 6 2 3 9 0 5 7


def build(n=10, d=16, dtype=np.float64, name="adaptive", counts=COUNTS, **options):
    head = HEADS[name](d, ClassInfo(n, counts), rng=Rng(0, "head"), **options)
    replace_leaves(head.params, lambda _, x: x.astype(dtype))
    return head


def batch(head, n=8, seed=0):
    rng = np.random.default_rng(seed)
    return 2 * rng.standard_normal((n, head.features)), rng.integers(0, head.classes.n, n)


def by_score(log_p, k):
    return np.argsort(-log_p, axis=1, kind="stable")[:, :k]


# ---------------------------------------------------------------- clusters
def test_frequent_classes_come_first():
    head = build(cutoffs=(2, 5))
    np.testing.assert_array_equal(head.buffers["order"], [1, 4, 2, 6, 8, 0, 3, 5, 7, 9])  # by label in each cluster
    np.testing.assert_array_equal(head.buffers["order"][head.buffers["rank"]], np.arange(10))
    shapes = {name: p.shape for name, p in leaves(head.params)}
    assert shapes == {
        "head.w": (4, 16),
        "tail1.proj": (4, 16),
        "tail1.w": (3, 4),
        "tail2.proj": (1, 16),
        "tail2.w": (5, 1),
    }


def test_the_probability_of_a_class_is_that_of_its_cluster_and_of_it_in_there():
    head = build(cutoffs=(2, 5), head_bias=True)
    h, _ = batch(head)
    p = np.exp(head.log_prob(h))
    z = h @ head.params["head"]["w"].T + head.params["head"]["b"]
    p_head = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(p[:, [1, 4]], p_head[:, :2], rtol=1e-12)
    np.testing.assert_allclose(p[:, [2, 6, 8]].sum(axis=1), p_head[:, 2], rtol=1e-12)
    np.testing.assert_allclose(p[:, [0, 3, 5, 7, 9]].sum(axis=1), p_head[:, 3], rtol=1e-12)


def test_balanced_classes_keep_their_order_and_warn():
    for counts in (None, np.full(10, 500)):
        with pytest.warns(UserWarning, match=r"equal or unknown.*lower rank and another cost"):
            head = build(counts=counts)
        np.testing.assert_array_equal(head.buffers["order"], np.arange(10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build()


@pytest.mark.parametrize("n", [2, 3, 10, 100, 1000, 20_000, 100_000, 1_000_000])
def test_default_cutoffs_are_valid(n):
    cutoffs = default_cutoffs(n)
    assert all(a < b for a, b in zip((0, *cutoffs), (*cutoffs, n), strict=True))


@pytest.mark.parametrize("cutoffs", [(1,), (9,), (3, 6), (1, 2, 3, 4)])
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("elements", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_gradients(cutoffs, train, elements):
    head = build(cutoffs=cutoffs, head_bias=train)
    check_head(head, *batch(head), train=train, elements=elements).assert_ok()
    check_head(head, *batch(head, 1), train=train, elements=elements // 4).assert_ok()


@settings(max_examples=25)
@given(
    counts=st.lists(st.integers(0, 20), min_size=2, max_size=40).filter(lambda c: len(set(c)) > 1).map(np.array),
    seed=st.integers(0, 99),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    data=st.data(),
)
def test_probabilities_loss_and_predictions_agree(counts, seed, scale, data):
    n = len(counts)
    cutoffs = sorted(data.draw(st.sets(st.integers(1, n - 1), min_size=1, max_size=4)))
    head = build(n, counts=counts, cutoffs=tuple(cutoffs), div_value=data.draw(st.sampled_from([1.0, 2.0, 4.0])))
    h, t = batch(head, seed=seed)
    log_p = head.log_prob(h * scale)
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1, rtol=0, atol=1e-12)
    np.testing.assert_allclose(head.loss(h * scale, t)[0], -log_p[np.arange(8), t].mean(), rtol=1e-12, atol=1e-13)
    for k in {1, min(3, n), n}:
        np.testing.assert_array_equal(head.predict(h * scale, k), by_score(log_p, k))


def test_ties_between_clusters_go_to_the_lowest_label():
    head = build(n=4, counts=np.array([1, 9, 1, 9]), cutoffs=(2,))
    replace_leaves(head.params, lambda _, p: np.zeros_like(p))
    # log p: 1 and 3 have -ln 3; 0 and 2 -ln 3 - ln 2
    np.testing.assert_array_equal(head.predict(np.ones((1, 16)), 4), [[1, 3, 0, 2]])


def test_a_cluster_that_ties_with_the_shortlist_is_opened_since_its_label_may_be_lower():
    head = build(n=5, counts=np.array([5, 4, 9, 9, 1]), cutoffs=(2, 3, 4))  # shortlist 2 and 3, clusters of one class
    replace_leaves(head.params, lambda _, p: np.zeros_like(p))
    for k in range(1, 6):
        np.testing.assert_array_equal(head.predict(np.ones((3, 16)), k), [range(k)] * 3)


def with_ties(rng, cutoffs):
    """A head with scores of few whole numbers, so that classes tie within clusters and between them."""
    head = build(counts=rng.permutation(COUNTS), cutoffs=cutoffs)
    replace_leaves(head.params, lambda _, p: rng.integers(0, 2, (len(p), 1)) * np.eye(1, p.shape[1]))
    return head, rng.integers(0, 3, (4, 1)) * np.ones(head.features)


@pytest.mark.parametrize("cutoffs", [(1,), (2, 3, 4), (1, 2, 3, 4, 5, 6), (3, 4, 7), tuple(range(1, 10))])
def test_of_equal_classes_the_lowest_labels_win_whatever_their_clusters(cutoffs):
    for seed in range(40):
        head, h = with_ties(np.random.default_rng(seed), cutoffs)
        log_p = head.log_prob(h)
        assert any(len(set(row)) < len(row) for row in log_p.tolist())
        np.testing.assert_array_equal(head.predict(h)[:, 0], log_p.argmax(axis=1))
        for k in range(1, 11):
            np.testing.assert_array_equal(head.predict(h, k), by_score(log_p, k))


# ---------------------------------------------------------------- clusters that do not occur
def test_a_cluster_that_does_not_occur_is_not_evaluated_and_gets_exactly_nothing():
    head = build(cutoffs=(2, 5))
    h, _ = batch(head, 3)
    head.params["tail1"]["w"][:] = np.nan  # whoever evaluates it shows it
    value, cache = head.loss(h, np.array([1, 4, 9]))
    dh, grads = head.backward(cache)
    assert np.isfinite(value)
    assert np.isfinite(dh).all()
    assert not grads["tail1"]["proj"].any()
    assert not grads["tail1"]["w"].any()
    assert grads["tail2"]["w"].all()
    _, grads = head.backward(head.loss(h, np.array([1, 4, 4]))[1])
    assert not grads["tail2"]["w"].any()
    assert grads["head"]["w"].all()  # the logits of both clusters are in the softmax of the head


def test_in_a_large_head_such_a_cluster_has_no_rows():
    n = SPARSE_FROM
    head = build(n, 8, np.float32, counts=np.arange(n), cutoffs=(10, 100))
    h, t = batch(head, 4)
    t[:] = n - 1
    _, grads = head.backward(head.loss(h.astype(np.float32), t)[1])
    empty = [name for name, g in leaves(grads) if isinstance(g, SparseRows)]
    assert empty == ["tail1.proj", "tail1.w", "tail2.proj", "tail2.w"]
    assert all(len(g.rows) == 0 for _, g in leaves(grads) if isinstance(g, SparseRows))
    before = {name: p.copy() for name, p in leaves(head.params)}
    OPTIMIZERS["adamw"](head.params, weight_decay=0.1).step(head.params, grads, lr=0.1)
    moved = {name for name, p in leaves(head.params) if (p != before[name]).any()}
    assert moved == {"head.w"}


def test_prediction_opens_a_cluster_only_where_it_can_win():
    head = build(cutoffs=(2, 5))
    h, _ = batch(head)
    head.params["head"]["w"][:] = 0
    head.params["head"]["w"][0] = 10 * h[0]  # sample 0 is sure of class 1
    expected = head.predict(h[:1])
    head.params["tail1"]["w"][:], head.params["tail2"]["w"][:] = np.nan, np.nan
    np.testing.assert_array_equal(head.predict(h[:1]), expected)
    np.testing.assert_array_equal(expected, [[1]])


# ---------------------------------------------------------------- options
@pytest.mark.parametrize("cutoffs", [(), (0,), (10,), (5, 5), (6, 3), (-1, 4), (3, 12)])
def test_cutoffs_that_are_none(cutoffs):
    with pytest.raises(InputError, match=r"option cutoffs is .*from 1 to 9.*cutoffs=2"):
        build(cutoffs=cutoffs)


@pytest.mark.parametrize("value", [0.0, 0.5, -4.0, np.nan, np.inf])
def test_div_values_that_are_none(value):
    with pytest.raises(InputError, match=r"option div_value is .*at least 1"):
        build(div_value=value)


def test_cutoffs_from_the_command_line():
    options = check_options("head 'adaptive'", HEADS["adaptive"], parse_pairs(["cutoffs=2,5", "head-bias=true"]))
    assert build(**options).cutoffs == (2, 5)
    with pytest.raises(InputError, match=r"'cutoffs' of head 'adaptive' is 'few'.*whole number"):
        check_options("head 'adaptive'", HEADS["adaptive"], parse_pairs(["cutoffs=few"]))


def test_macs_count_a_cluster_as_often_as_it_occurs():
    rare, often = (build(counts=np.array(c), cutoffs=(2,)) for c in ([99, 99] + [0] * 7 + [1], [2, 2] + [1] * 8))
    assert rare.macs() < often.macs() < sum(p.size for _, p in leaves(often.params))


# ---------------------------------------------------------------- legacy: never given to the optimiser
def untrained(**options):
    with pytest.warns(LegacyWiringWarning, match="never reach the optimiser"):
        return build(100, 100, name="legacy_adaptive_untrained", counts=np.arange(100), **options)


def test_the_parameters_of_the_untrained_head_never_move():
    head = untrained()
    assert head.cutoffs == (10, 90)
    np.testing.assert_array_equal(head.buffers["order"], np.arange(100))  # not sorted either
    h, t = batch(head, 50)
    before = {name: p.copy() for name, p in leaves(head.params)}
    for make in OPTIMIZERS.values():
        optimiser = make(head.params, weight_decay=0.1)
        dh, grads = head.backward(head.loss(h, t, train=True)[1])
        assert all(not g.to_dense().any() for _, g in leaves(grads))
        optimiser.step(head.params, grads, lr=0.1)
    for name, p in leaves(head.params):
        np.testing.assert_array_equal(p, before[name])
    assert np.abs(dh).min() > 0  # while the model below learns to please it


def test_the_untrained_head_has_the_loss_and_feature_gradient_of_the_right_one():
    head = untrained()
    with pytest.warns(UserWarning, match="equal or unknown"):
        right = build(100, 100, counts=None, cutoffs=(10, 90))
    h, t = batch(head, 20)
    assert head.loss(h, t)[0] == right.loss(h, t)[0]
    found, expected = (x.backward(x.loss(h, t)[1])[0] for x in (head, right))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(head.log_prob(h), right.log_prob(h))


def test_the_untrained_head_predicts_the_largest_feature():
    head = untrained()
    h, _ = batch(head, 20)
    np.testing.assert_array_equal(head.predict(h, 3), by_score(h, 3))
    assert (head.predict(h)[:, 0] != by_score(head.log_prob(h), 1)[:, 0]).any()
    with pytest.raises(InputError, match=r"takes 100 of them, not 99.*logits=100"):
        build(100, 99, name="legacy_adaptive_untrained", counts=np.arange(100))
