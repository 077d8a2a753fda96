"""Chosen rows and tree walks, compiled and in readable NumPy: both agree, on any tree, dtype and number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npsoftmax import host
from npsoftmax.heads import ClassInfo, tree
from npsoftmax.kernels import tree as kernels
from npsoftmax.kernels.tree import reference

needs_extension = pytest.mark.skipif(
    not kernels.has_compiled(np.zeros((1, 1)), np.zeros((1, 1))), reason="compiled tree kernels are not in use"
)
DTYPES = [np.float32, np.float64]
ALL = 10**9  # no limit on the nodes a search may open


@contextmanager
def threads(n):
    host.set_threads(n)
    try:
        yield
    finally:
        host.set_threads(None)


class Case:
    """A tree with weights, features and labels; `rows` are the paths of the labels, of unequal lengths."""

    def __init__(self, classes=23, n=9, d=21, dtype=np.float64, kind="huffman", bias=True, seed=0):
        rng = np.random.default_rng(seed)
        self.children = tree.build(kind, ClassInfo(classes, rng.integers(0, 99, classes) ** 3))
        self.up, self.levels = tree.uplinks(self.children), tree.levels(self.children)
        self.h = rng.standard_normal((n, d)).astype(dtype)
        self.w = rng.standard_normal((classes - 1, d)).astype(dtype)
        self.b = rng.standard_normal(classes - 1).astype(dtype) if bias else None
        self.labels = rng.integers(0, classes, n)
        self.rows, self.signs = kernels.climb(self.up, self.labels, len(self.levels), dtype)
        self.dz = (rng.standard_normal(self.rows.shape) * (self.rows >= 0)).astype(dtype)

    def scores(self):
        return kernels.all_scores(self.h, self.w, self.b)

    def run(self, module):
        """Everything the module does with this case."""
        dw = module.chosen_dw(self.dz, self.h, self.rows)
        z = module.all_scores(self.h, self.w, self.b)
        p = self.w.copy()
        module.subtract_rows(p, dw[0], dw[1], 0.3)
        return {
            "chosen_scores": module.chosen_scores(self.h, self.w, self.b, self.rows),
            "chosen_dh": module.chosen_dh(self.dz, self.w, self.rows),
            "rows": dw[0],
            "dw": dw[1],
            "db": dw[2],
            "subtract_rows": p,
            "all_scores": z,
            "tree_log_prob": module.tree_log_prob(z, self.children, self.levels),
            "best_first": module.best_first(self.h, self.w, self.b, self.children, min(3, len(self.up) // 2), ALL),
        }


def assert_same(found, expected, dtype):
    tolerance = 1e-12 if dtype == np.float64 else 1e-4
    for name, array in expected.items():
        assert found[name].shape == array.shape, name
        assert found[name].dtype == array.dtype, name
        np.testing.assert_allclose(found[name], array, rtol=tolerance, atol=tolerance, err_msg=name)


# ---------------------------------------------------------------- agreement
@needs_extension
@settings(max_examples=40)
@given(
    classes=st.integers(2, 90),
    n=st.integers(1, 40),
    d=st.integers(1, 70),
    dtype=st.sampled_from(DTYPES),
    kind=st.sampled_from(tree.BUILDERS),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_compiled_and_readable_agree(classes, n, d, dtype, kind, bias, seed):
    case = Case(classes, n, d, dtype, kind, bias, seed)
    nodes, signs = reference.climb(case.up, case.labels, len(case.levels))
    np.testing.assert_array_equal(case.rows, nodes)
    np.testing.assert_array_equal(case.signs, signs)
    assert case.signs.dtype == dtype
    assert_same(case.run(kernels), case.run(reference), dtype)


@needs_extension
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_number_of_threads_gives_the_same_bits(dtype):
    case = Case(classes=300, n=70, d=33, dtype=dtype)
    with threads(1):
        alone = case.run(kernels)
    for n in (2, 3, 8):
        with threads(n):
            together = case.run(kernels)
        for name, array in alone.items():
            np.testing.assert_array_equal(together[name], array, err_msg=name)


def test_paths_lead_to_the_root():
    case = Case(classes=60, n=60)
    for label, row, signs in zip(case.labels, case.rows.tolist(), case.signs.tolist(), strict=True):
        place = label + len(case.children)
        for node, sign in zip(row, signs, strict=True):
            if node < 0:
                assert (place, sign) == (0, 0)  # past the root
            else:
                assert case.children[node][int(sign > 0)] == place
                place = node
        assert place == 0


def test_rows_are_summed_by_the_definition():
    case = Case(n=30)
    dw, db = np.zeros_like(case.w), np.zeros_like(case.b)
    for n, row in enumerate(case.rows):
        for place, node in enumerate(row):
            if node >= 0:
                dw[node] += case.dz[n, place] * case.h[n]
                db[node] += case.dz[n, place]
    for module in (kernels, reference):
        rows, values, bias = module.chosen_dw(case.dz, case.h, case.rows)
        assert rows.dtype == np.int64
        np.testing.assert_array_equal(rows, np.unique(case.rows[case.rows >= 0]))
        np.testing.assert_allclose(values, dw[rows], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(bias, db[rows], rtol=1e-12, atol=1e-14)


def test_empty_places_have_no_score_and_no_gradient():
    h, w, rows = np.ones((2, 3)), np.ones((4, 3)), np.array([[1, -1], [-1, -1]])
    for module in (kernels, reference):
        np.testing.assert_array_equal(module.chosen_scores(h, w, np.ones(4), rows), [[4, 0], [0, 0]])
        np.testing.assert_array_equal(module.chosen_dh(np.ones((2, 2)), w, rows), [[1, 1, 1], [0, 0, 0]])
        unique, dw, db = module.chosen_dw(np.ones((2, 2)), h, rows)
        np.testing.assert_array_equal(unique, [1])
        np.testing.assert_array_equal(dw, [[1, 1, 1]])
        np.testing.assert_array_equal(db, [1])


# ---------------------------------------------------------------- search
def by_score(log_p, k):
    return np.argsort(-log_p, axis=1, kind="stable")[:, :k]


@needs_extension
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_search_finds_what_all_log_probabilities_say_to_the_last_bit(dtype, scale):
    for seed in range(10):
        case = Case(classes=500, n=20, d=40, dtype=dtype, seed=seed)
        case.w *= dtype(scale)  # at 1e3 decisions saturate, and many classes have the same log p
        log_p = kernels.tree_log_prob(case.scores(), case.children, case.levels)
        for k in (1, 4):
            found = kernels.best_first(case.h, case.w, case.b, case.children, k, ALL)
            np.testing.assert_array_equal(found, by_score(log_p, k))


@pytest.mark.parametrize("module", [kernels, reference])
@pytest.mark.parametrize("kind", tree.BUILDERS)
def test_of_equal_classes_the_lowest_label_comes_first(module, kind):
    case = Case(classes=21, n=2, kind=kind)
    case.w[:], case.b[:] = 0, 0
    log_p = kernels.tree_log_prob(case.scores(), case.children, case.levels)
    found = module.best_first(case.h, case.w, case.b, case.children, 21, ALL)
    np.testing.assert_array_equal(found, by_score(log_p, 21))


@pytest.mark.parametrize("module", [kernels, reference])
def test_a_search_gives_up_after_its_limit(module):
    case = Case(classes=64, n=3, kind="balanced")
    case.w *= 1e-9  # all classes are nearly equally probable
    assert (module.best_first(case.h, case.w, None, case.children, 2, 5) == -1).all()
    case.w *= 1e12  # now the way is clear: six decisions
    assert (module.best_first(case.h, case.w, None, case.children, 1, 6) >= 0).all()
    assert (module.best_first(case.h, case.w, None, case.children, 1, 5) == -1).all()


@needs_extension
def test_a_damaged_tree_does_not_lead_out_of_the_arrays():
    case = Case(classes=50, n=20)
    for bad in (10**12, -(10**12)):
        children, up = case.children.copy(), case.up.copy()
        children[::2, 0], up[10:] = bad, bad
        nodes, _ = kernels.climb(up, case.labels, 9, np.float64)
        assert nodes.max() < 49
        assert kernels.best_first(case.h, case.w, case.b, children, 3, ALL).shape == (20, 3)
        assert kernels.tree_log_prob(case.scores(), children, case.levels).shape == (20, 50)


# ---------------------------------------------------------------- who does it
def test_weights_in_another_layout_go_to_the_readable_version():
    case = Case()
    expected = case.run(kernels)
    case.w = np.asfortranarray(case.w)
    assert not kernels.has_compiled(case.h, case.w)
    found = case.run(kernels)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-12, atol=1e-13, err_msg=name)


def test_labels_of_a_small_type_do_not_overflow():
    case = Case(classes=200, kind="balanced")
    labels = np.array([0, 127, 199], dtype=np.uint8)
    expected = kernels.climb(case.up, labels.astype(np.int64), 8, np.float32)
    np.testing.assert_array_equal(kernels.climb(case.up, labels, 8, np.float32)[0], expected[0])
    np.testing.assert_array_equal(reference.climb(case.up, labels, 8)[0], expected[0])


def test_the_extension_can_be_switched_off():
    code = (
        "from numpy import ones; from npsoftmax.kernels.tree import *; print(has_compiled(ones((1, 1)), ones((1, 1))))"
    )
    environment = os.environ | {"NPSOFTMAX_COMPILED": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
