"""The hierarchical head on every tree, by each of its ways through it; and its two published miswirings.

What holds of every head is in test_head_properties; here is what a tree adds to it.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from everyday import slow
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from npsoftmax.errors import InputError
from npsoftmax.gradcheck import check_head
from npsoftmax.heads import HEADS, ClassInfo, LegacyWiringWarning, tree
from npsoftmax.heads.hierarchical import HierarchicalHead
from npsoftmax.heads.row_map import SPARSE_FROM
from npsoftmax.kernels import tree as kernels
from npsoftmax.options import check_options, parse_pairs
from npsoftmax.params import SparseRows, leaves, replace_leaves
from npsoftmax.random import Rng
from npsoftmax.training.checkpoint import load_arrays, restore, save_arrays
from npsoftmax.training.optimizers import SGD

TREES = ("balanced", "halving", "huffman", "superclass")
every_tree = pytest.mark.parametrize("kind", TREES)


@pytest.fixture(params=["all nodes", "chosen rows", "sparse gradients"])
def sparse(request, monkeypatch):
    """The three ways through a tree: without compiled kernels, with them, and as for very many classes."""
    if request.param == "all nodes":
        monkeypatch.setattr(kernels, "has_compiled", lambda *_: False)
    return request.param == "sparse gradients"


def classes_of(n, seed=0):
    rng = np.random.default_rng(seed)
    return ClassInfo(n, counts=rng.integers(0, 99, n), coarse=rng.permutation(np.arange(n) % max(2, n // 5)))


def build(tree="balanced", n=11, d=6, sparse=False, dtype=np.float64, name="hierarchical", classes=None, **options):
    options = {"tree": tree, **options} if name == "hierarchical" else options
    head = HEADS[name](d, classes or classes_of(n), rng=Rng(0, "head"), **options)
    replace_leaves(head.params, lambda _, x: x.astype(dtype))
    if name == "hierarchical":
        row_map = head.tree.classes if tree == "superclass" else head.tree.map
        row_map.sparse = sparse  # as from SPARSE_FROM classes on
    return head


def batch(head, n=5, seed=0, scale=2.0):
    rng = np.random.default_rng(seed)
    h = scale * rng.standard_normal((n, head.features))
    return h.astype(next(p.dtype for _, p in leaves(head.params))), rng.integers(0, head.classes.n, n)


def gradients(head, h, t):
    dh, grads = head.backward(head.loss(h, t, train=True)[1])
    return {"h": dh} | {k: g.to_dense() if isinstance(g, SparseRows) else g for k, g in leaves(grads)}


def by_score(log_p, k):
    return np.argsort(-log_p, axis=1, kind="stable")[:, :k]


# ---------------------------------------------------------------- every tree, every way
@every_tree
@pytest.mark.parametrize("n", [2, 11, *slow((3, 100))])
def test_gradients(kind, sparse, n):
    head = build(kind, n, sparse=sparse)
    check_head(head, *batch(head), train=True, elements=150).assert_ok()
    check_head(head, *batch(head, 1), train=True, elements=50).assert_ok()


def test_gradients_of_a_thousand_classes_in_a_chain_and_a_heap(sparse):
    chain = 0
    for c in range(1, 1000):
        chain = (chain, c)
    for kind in (chain, "balanced"):
        head = build(kind, 1000, sparse=sparse)
        check_head(head, *batch(head, 2), elements=50, directions=1).assert_ok()


@every_tree
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n=st.integers(2, 60), seed=st.integers(0, 99), bias=st.booleans(), scale=st.sampled_from([1e-3, 3.0, 1e4]))
def test_probabilities_loss_and_predictions_agree(kind, sparse, n, seed, bias, scale):
    head = build(kind, n, sparse=sparse, bias=bias, classes=classes_of(n, seed))
    h, t = batch(head, seed=seed, scale=scale)
    log_p = head.log_prob(h)
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1, rtol=0, atol=1e-12)
    np.testing.assert_allclose(head.loss(h, t)[0], -log_p[np.arange(5), t].mean(), rtol=1e-12, atol=1e-13)
    for k in {1, min(4, n)}:
        np.testing.assert_array_equal(head.predict(h, k), by_score(log_p, k))


def with_ties(rng, kind, superclasses, sparse):
    """A head with scores of few whole numbers, so that classes tie within subtrees and between them."""
    coarse = rng.permutation(np.arange(8) % superclasses)
    head = build(kind, sparse=sparse, classes=ClassInfo(8, rng.integers(0, 3, 8), coarse))
    replace_leaves(head.params, lambda _, p: rng.integers(-1, 2, p.shape).astype(p.dtype))
    return head, rng.integers(0, 2, (4, 6)).astype(float)


@every_tree
@pytest.mark.parametrize("superclasses", [1, 3, 8])
def test_of_equal_classes_the_lowest_labels_win_wherever_in_the_tree(kind, superclasses, sparse):
    for seed in range(20):
        head, h = with_ties(np.random.default_rng(seed), kind, superclasses, sparse)
        log_p = head.log_prob(h)
        assert any(len(set(row)) < len(row) for row in log_p.tolist())
        np.testing.assert_array_equal(head.predict(h)[:, 0], log_p.argmax(axis=1))
        for k in range(1, 9):
            np.testing.assert_array_equal(head.predict(h, k), by_score(log_p, k))


@every_tree
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_ways_give_the_same(kind, dtype, monkeypatch):
    tolerance = {"rtol": 1e-10, "atol": 1e-12} if dtype is np.float64 else {"rtol": 1e-3, "atol": 1e-6}
    results = []
    for way in ("chosen rows", "sparse gradients", "all nodes"):
        head = build(kind, 40, 9, way == "sparse gradients", dtype)
        if way == "all nodes":
            monkeypatch.setattr(kernels, "has_compiled", lambda *_: False)
        h, t = batch(head, 20)
        results.append({"loss": head.loss(h, t)[0], **gradients(head, h, t)})
    for found in results[:2]:
        for name, expected in results[2].items():
            assert found[name].dtype == dtype
            np.testing.assert_allclose(found[name], expected, **tolerance, err_msg=name)


@pytest.mark.parametrize("kind", ["balanced", "halving", "huffman"])
def test_a_node_off_the_path_gets_exactly_nothing_and_each_node_is_on_some_path(kind, sparse):
    head = build(kind, 30, sparse=sparse)
    h, _ = batch(head, 1)
    reached = np.zeros(29, dtype=bool)
    for label in range(30):
        nodes, _ = kernels.climb(head.buffers["up"], np.array([label]), 30, np.float64)
        on_path = np.isin(np.arange(29), nodes)
        grads = gradients(head, h, np.array([label]))
        np.testing.assert_array_equal(grads["w"].any(axis=1), on_path)
        np.testing.assert_array_equal(grads["b"] != 0, on_path)
        reached |= on_path
    assert reached.all()


def test_only_the_classes_of_the_superclass_get_a_gradient(sparse):
    head = build("superclass", 30, sparse=sparse)
    h, _ = batch(head, 1)
    for label in (0, 13, 29):
        grads = gradients(head, h, np.array([label]))
        same = head.classes.coarse == head.classes.coarse[label]
        np.testing.assert_array_equal(grads["class.w"].any(axis=1), same)
        assert grads["group.w"].any(axis=0).all()


@every_tree
def test_features_decide_where_weights_are_large(kind):
    """A head whose weights are the ways themselves finds each class, whatever the tree."""
    head = build(kind, 16, d=16)
    optimiser = SGD(head.params)
    h, t = np.eye(16), np.arange(16)
    for _ in range(300):
        optimiser.step(head.params, head.backward(head.loss(h, t, train=True)[1])[1], lr=60.0)
    np.testing.assert_array_equal(head.predict(h)[:, 0], t)
    assert head.loss(h, t)[0] < 0.01


def test_the_superclass_tree_is_two_softmaxes():
    head = build("superclass", 20, classes=ClassInfo(20, coarse=np.arange(20) // 5))
    h, _ = batch(head)
    log_p = head.log_prob(h)
    by_group = np.exp(log_p).reshape(5, 4, 5)
    z_group = h @ head.params["group"]["w"] + head.params["group"]["b"]
    z_class = (h @ head.params["class"]["w"].T + head.params["class"]["b"]).reshape(5, 4, 5)
    p_group = np.exp(z_group) / np.exp(z_group).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(by_group.sum(axis=2), p_group, rtol=1e-12)
    within = np.exp(z_class) / np.exp(z_class).sum(axis=2, keepdims=True)
    np.testing.assert_allclose(by_group, within * p_group[:, :, None], rtol=1e-12)


# ---------------------------------------------------------------- very many classes
@pytest.mark.parametrize("kind", ["balanced", "huffman"])
def test_a_million_classes_train_and_only_rows_on_the_paths_move(kind):
    n, d = 1_000_000, 4
    counts = (1e9 / np.arange(1, n + 1)).astype(np.int64)
    head = HierarchicalHead(d, ClassInfo(n, counts), rng=Rng(0), tree=kind)
    optimiser, rng = SGD(head.params), np.random.default_rng(0)
    h, t = rng.standard_normal((64, d)).astype(np.float32), rng.integers(0, n, 64)
    before, losses, touched = head.params["w"].copy(), [], 0
    for _ in range(5):
        value, cache = head.loss(h, t, train=True)
        _, grads = head.backward(cache)
        assert all(isinstance(g, SparseRows) for g in grads.values())
        touched = len(grads["w"].rows)
        optimiser.step(head.params, grads, lr=5.0)
        losses.append(float(value))
    depths = tree.depths(head.buffers["children"])[t]
    assert touched <= depths.sum() < 64 * 25
    moved = np.flatnonzero((head.params["w"] != before).any(axis=1))
    np.testing.assert_array_equal(moved, grads["w"].rows)
    assert (np.diff(losses) < 0).all()
    assert head.macs() <= d * 25


def test_a_search_among_a_million_classes_finds_the_largest_log_probability():
    n, d = 1_000_000, 4
    head = HierarchicalHead(d, ClassInfo(n), rng=Rng(0), init="normal")
    h = np.random.default_rng(0).standard_normal((2, d)).astype(np.float32)
    log_p = head.log_prob(h)
    np.testing.assert_array_equal(head.predict(h, 3), by_score(log_p, 3))
    np.testing.assert_allclose(np.exp(log_p.astype(np.float64)).sum(axis=1), 1, rtol=1e-4)


def test_where_a_search_would_open_too_much_all_classes_are_scored():
    head = HierarchicalHead(3, ClassInfo(SPARSE_FROM), rng=Rng(0), init="zeros")
    h = np.ones((2, 3), dtype=np.float32)
    np.testing.assert_array_equal(head.predict(h, 2), by_score(head.log_prob(h), 2))


@pytest.mark.parametrize(("n", "kind"), [(SPARSE_FROM - 1, np.ndarray), (SPARSE_FROM, SparseRows)])
def test_gradients_are_rows_from_ten_thousand_classes_on(n, kind):
    for options in ({}, {"tree": "superclass"}):
        head = HierarchicalHead(2, ClassInfo(n, coarse=np.arange(n) // 100), rng=Rng(0), **options)
        h, t = batch(head, 3)
        _, grads = head.backward(head.loss(h, t)[1])
        assert {type(g) for g in grads.get("class", grads).values()} == {kind}


def test_a_list_of_groups_is_the_tree_of_those_superclasses():
    given = HierarchicalHead(6, ClassInfo(5), rng=Rng(0), tree=((2, 0, 1), (3, 4)))
    same = HierarchicalHead(6, ClassInfo(5, coarse=np.array([0, 0, 0, 1, 1])), rng=Rng(0), tree="superclass")
    h, _ = batch(given)
    np.testing.assert_array_equal(given.log_prob(h), same.log_prob(h))


def test_a_large_superclass_tree_predicts_what_its_log_probabilities_say():
    n = SPARSE_FROM
    head = HierarchicalHead(5, ClassInfo(n, coarse=np.arange(n) % 90), rng=Rng(0), tree="superclass", init="normal")
    replace_leaves(head.params, lambda _, x: x.astype(float))
    h, _ = batch(head, 6)
    for k in (1, 5):
        np.testing.assert_array_equal(head.predict(h, k), by_score(head.log_prob(h), k))


# ---------------------------------------------------------------- what is saved
def test_a_checkpoint_brings_its_tree_along(tmp_path):
    """Also where the head it is read into was built on other counts, so with another tree, even of another depth."""
    for kind in ("huffman", "superclass"):
        counts = 2 ** np.arange(12)
        saved = build(kind, classes=ClassInfo(12, counts, np.arange(12) % 3))
        other = build(kind, classes=ClassInfo(12, counts[::-1].copy() + 900, np.arange(12) // 4))
        h, t = batch(saved)
        path = tmp_path / "head.safetensors"
        save_arrays(path, {"params": saved.params, "buffers": saved.buffers})
        assert not np.allclose(other.log_prob(h), saved.log_prob(h))
        restore({"params": other.params, "buffers": other.buffers}, load_arrays(path), path)
        np.testing.assert_array_equal(other.log_prob(h), saved.log_prob(h))
        assert other.loss(h, t)[0] == saved.loss(h, t)[0]
        assert other.tree_text() == saved.tree_text()
        for name, gradient in gradients(saved, h, t).items():
            np.testing.assert_array_equal(gradients(other, h, t)[name], gradient)


def test_a_tree_from_the_command_line(tmp_path):
    path = tmp_path / "tree.json"
    path.write_text(json.dumps([[0, 1], [2, 3]]))
    for pair in ("tree=[[0, 1], [2, 3]]", f"tree={path}", "tree=balanced"):
        options = check_options("head 'hierarchical'", HierarchicalHead, parse_pairs([pair]))
        head = HierarchicalHead(3, ClassInfo(4), rng=Rng(0), **options)
        np.testing.assert_array_equal(head.buffers["children"], [[1, 2], [3, 4], [5, 6]])


def test_the_text_of_a_tree_names_the_classes():
    head = build("superclass", 4, classes=ClassInfo(4, coarse=np.array([0, 0, 5, 5])))
    assert head.tree_text(["cat", "dog", "bus", "car"]) == "group 0\n├─ cat\n└─ dog\ngroup 1\n├─ bus\n└─ car"
    assert head.tree_text(["cat", "dog", "bus", "car"], ["animals", "vehicles"]).startswith("animals\n├─ cat")
    assert build("halving", 2, classes=ClassInfo(2)).tree_text(["no", "yes"]) == "0\n├─ no\n└─ yes"


def test_leaves_in_label_order_are_those_of_the_published_trees():
    """So that a right tree and a wrong one differ in what is wrong and in nothing else."""
    right = build("halving", 100, order="label").buffers["children"]
    wrong = build(n=100, name="legacy_hierarchical_missing_step").buffers["children"]
    np.testing.assert_array_equal(right, wrong)
    assert not np.array_equal(build("halving", 100).buffers["children"], right)
    heap = build("balanced", 100, order="label").buffers["children"]
    np.testing.assert_array_equal(heap.ravel(), np.arange(1, 199))


def test_huffman_by_label_forgets_the_superclasses_and_keeps_the_counts():
    classes = classes_of(30)
    given = build("huffman", 30, classes=classes, order="label").buffers["children"]
    only_counts = build("huffman", 30, classes=ClassInfo(30, classes.counts)).buffers["children"]
    np.testing.assert_array_equal(given, only_counts)
    assert not np.array_equal(given, build("huffman", 30, classes=classes).buffers["children"])


def test_options_that_do_not_fit():
    with pytest.raises(InputError, match=r"unknown order of the leaves 'labels'.*label"):
        build(order="labels")
    for kind in ("superclass", [[0, 1], 2]):
        with pytest.raises(InputError, match=r"order=label is for tree=balanced, halving, huffman"):
            build(kind, 3, order="label")
    with pytest.raises(InputError, match=r"tree=superclass.*superclass of each class.*balanced"):
        build("superclass", classes=ClassInfo(4))
    with pytest.raises(InputError, match="option tree has class 3 0 times"):
        build([[0, 1], 2], classes=ClassInfo(4))
    with pytest.raises(InputError, match=r"option tree has the node \(3,\)"):
        build(**check_options("head 'hierarchical'", HierarchicalHead, {"tree": 3}), classes=ClassInfo(4))


# ---------------------------------------------------------------- legacy: 128 leaves for 100 classes
pytestmark = pytest.mark.filterwarnings("ignore::npsoftmax.heads.LegacyWiringWarning")


def test_the_tree_of_128_leaves_leaks_mass():
    head = build(n=100, name="legacy_heap128", init="zeros")
    h, t = batch(head)
    assert np.exp(head.log_prob(h)).sum(axis=1) == pytest.approx(1 - 28 / 128)  # 21.9 % are missing
    assert head.loss(h, t)[0] == pytest.approx(np.log(128))
    assert build(n=100, init="zeros").loss(h, t)[0] < np.log(128)  # the heap of 99 nodes
    assert not head.likelihood
    with pytest.warns(LegacyWiringWarning, match="no class"):
        build(n=100, name="legacy_heap128")


def test_the_tree_of_128_leaves_is_wired_as_published():
    head = build(n=100, name="legacy_heap128", init="normal")
    h, t = batch(head)
    assert head.params["w"].shape == (127, 6)
    assert "b" not in head.params
    for row, label in zip(h, t, strict=True):
        place, log_p = label + 127, 0.0
        while place > 0:
            parent = (place - 1) // 2
            right = place == 2 * parent + 2
            log_p -= np.logaddexp(0, -(1 if right else -1) * (head.params["w"][parent] @ row))
            place = parent
        np.testing.assert_allclose(head.log_prob(row[None])[0, label], log_p, rtol=1e-12)
    assert head.loss(h, t)[0] == pytest.approx(-head.log_prob(h)[np.arange(5), t].mean())


def test_nodes_above_leaves_of_no_class_never_train():
    head = build(n=100, name="legacy_heap128", init="normal")
    h, _ = batch(head, 100)
    trained = gradients(head, h, np.arange(100))["w"].any(axis=1)
    assert (~trained).sum() == 25


def test_renormalised_it_is_a_likelihood():
    head = build(n=100, name="legacy_heap128", init="normal", renormalise=True)
    h, t = batch(head)
    assert head.likelihood
    np.testing.assert_allclose(np.exp(head.log_prob(h)).sum(axis=1), 1, rtol=0, atol=1e-12)
    np.testing.assert_allclose(head.loss(h, t)[0], -head.log_prob(h)[np.arange(5), t].mean(), rtol=1e-12)
    check_head(head, h, t).assert_ok()
    leaking = build(n=100, name="legacy_heap128", init="normal")
    np.testing.assert_array_equal(head.predict(h, 5), leaking.predict(h, 5))


# ---------------------------------------------------------------- legacy: the last decision is missing
def last_decisions(children):
    """For each inner node, how many of its children are leaves."""
    return (children >= len(children)).sum(axis=1)


def test_without_the_last_decision_36_of_99_nodes_never_train():
    head = build(n=100, name="legacy_hierarchical_missing_step")
    h, _ = batch(head, 100)
    trained = gradients(head, h, np.arange(100))["w"].any(axis=1)
    assert (~trained).sum() == 36
    np.testing.assert_array_equal(~trained, last_decisions(head.buffers["children"]) == 2)


def test_without_the_last_decision_28_of_100_classes_are_never_predicted():
    """Features are at least 0, as published, so that nodes above one leaf go one way, from the first step on."""
    head = build(n=100, d=50, name="legacy_hierarchical_missing_step", init="zeros")
    h, t = abs(batch(head, 300)[0]), np.arange(300) % 100
    grads = gradients(head, h, t)
    children = head.buffers["children"]
    alone = last_decisions(children) == 1
    assert (grads["w"][alone] < 0).all()  # a step down the gradient turns to the right, and the leaf is on the left
    lost = np.sort(children[alone, 0] - 99)
    assert len(lost) == 28
    SGD(head.params).step(head.params, {"w": grads["w"]}, lr=1.0)
    assert not np.isin(head.predict(h), lost).any()


def test_the_loss_without_the_last_decision_is_no_likelihood():
    head = build(n=100, name="legacy_hierarchical_missing_step")
    h, t = batch(head, 20)
    log_p = head.log_prob(h)
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1, rtol=0, atol=1e-12)
    assert not head.likelihood
    assert head.loss(h, t)[0] < -log_p[np.arange(20), t].mean()
    check_head(head, h, t).assert_ok()


def test_greedy_descent_follows_the_scores():
    head = build(n=10, name="legacy_hierarchical_missing_step")
    h, _ = batch(head, 30)
    children, best = head.buffers["children"], head.predict(h, 10)
    for row, labels in zip(h, best, strict=True):
        place = 0
        while place < 9:
            place = children[place][int(head.params["w"][place] @ row > 0)]
        assert labels[0] == place - 9
        assert sorted(labels) == list(range(10))
    np.testing.assert_array_equal(head.predict(h)[:, 0], best[:, 0])


@pytest.mark.filterwarnings("ignore::npsoftmax.heads.base.LegacyWiringWarning")
@pytest.mark.parametrize(("n", "renormalise", "expected"), [(5, False, False), (8, False, True), (5, True, True)])
def test_a_heap_with_spare_leaves_says_that_it_is_no_distribution(n, renormalise, expected):
    head = HEADS["legacy_heap128"](4, ClassInfo(n), rng=Rng(0, "head"), renormalise=renormalise)
    total = np.exp(head.log_prob(np.ones((2, 4)))).sum(axis=1)
    assert head.distribution is expected and np.allclose(total, 1, atol=1e-6) is expected
