"""Scores of sets of labels against loops and numbers worked out by hand; their file there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npsoftmax.errors import InputError
from npsoftmax.metrics import classification_metrics
from npsoftmax.set_metrics import label_table, overlap, read_labels, set_metrics, write_labels

TRUE = np.array([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]])
SAID = np.array([[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 0]])
SCORES = np.array([[3.0, -1, -2, -3], [-1, 2, -2, 1], [-1, -2, -3, -4], [4, 3, 2, -1]])


def draw(n, c, seed):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, c))
    return rng.random((n, c)) < 0.3, scores > 0.2, scores


def average_precision(hit, score):
    """Σ over the true ones, in the order of the scores, of the precision there, over their number."""
    order = np.argsort(-score, kind="stable")
    precision = np.cumsum(hit[order]) / np.arange(1, len(hit) + 1)
    return precision[hit[order]].mean()


def test_scores_worked_out_by_hand():
    found = set_metrics(TRUE, SAID, SCORES)
    assert found["accuracy"] == pytest.approx((1 / 2 + 1 / 2 + 1 + 1) / 4)
    assert found["subset_accuracy"] == 2 / 4
    assert found["f1_micro"] == pytest.approx(2 * 5 / (2 * 5 + 1 + 1))
    assert found["precision_macro"] == pytest.approx((1 + 1 + 1 + 0) / 4)
    assert found["recall_macro"] == pytest.approx((1 + 2 / 3 + 1 + 0) / 4)
    assert found["f1_macro"] == pytest.approx((1 + 4 / 5 + 1 + 0) / 4)
    assert found["mean_average_precision"] == pytest.approx((1 + 1 + 1) / 3)  # label 3 never occurs
    assert found["ranking"] == pytest.approx(1.0)


@settings(max_examples=10, deadline=None)
@given(n=st.integers(1, 30), c=st.integers(2, 7), seed=st.integers(0, 999))
def test_the_orders_against_loops(n, c, seed):
    true, said, scores = draw(n, c, seed)
    found, table = set_metrics(true, said, scores), label_table(true, said, scores)
    by_label = [average_precision(true[:, k], scores[:, k]) if true[:, k].any() else np.nan for k in range(c)]
    np.testing.assert_allclose(table["average_precision"], by_label, rtol=1e-12)
    by_image = [average_precision(t, s) if t.any() else 1.0 for t, s in zip(true, scores, strict=True)]
    assert found["ranking"] == pytest.approx(np.mean(by_image), rel=1e-12)
    assert table["images"].tolist() == true.sum(axis=0).tolist()
    assert table["predicted"].tolist() == said.sum(axis=0).tolist()
    sets = [(set(np.flatnonzero(t)), set(np.flatnonzero(s))) for t, s in zip(true, said, strict=True)]
    shares = [len(a & b) / len(a | b) if a | b else 1.0 for a, b in sets]
    assert found["accuracy"] == pytest.approx(np.mean(shares), rel=1e-12)
    assert found["subset_accuracy"] == pytest.approx(np.mean([a == b for a, b in sets]))


@settings(max_examples=8, deadline=None)
@given(n=st.integers(1, 30), c=st.integers(2, 7), seed=st.integers(0, 999))
def test_with_one_label_each_they_are_the_scores_of_single_labels(n, c, seed):
    rng = np.random.default_rng(seed)
    t, best = rng.integers(0, c, n), rng.integers(0, c, n)
    found = set_metrics(np.eye(c)[t], np.eye(c)[best], rng.normal(size=(n, c)))
    expected = classification_metrics(t, best[:, None], None, c, likelihood=False)
    for name in ("precision_macro", "recall_macro", "f1_macro"):
        assert found[name] == pytest.approx(expected[name], rel=1e-12), name
    assert found["subset_accuracy"] == found["accuracy"] == found["f1_micro"] == pytest.approx(expected["accuracy"])


def test_images_without_labels_and_labels_without_images():
    nothing = np.zeros((3, 4), bool)
    found = set_metrics(nothing, nothing, np.zeros((3, 4)))
    assert found["accuracy"] == found["subset_accuracy"] == 1
    assert found["mean_average_precision"] is None and found["f1_micro"] == 0
    np.testing.assert_array_equal(overlap(nothing, ~nothing), 0)
    assert all(v is None or type(v) is float for v in found.values())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((TRUE, SAID[:3], SCORES), r"sets \(3, 4\)"),
        ((TRUE[0], SAID[0], SCORES[0]), r"expected \(N, C\)"),
        ((TRUE[:0], SAID[:0], SCORES[:0]), "at least one sample"),
        ((TRUE * 2, SAID, SCORES), "targets hold other numbers"),
        ((TRUE, SAID * 0.5, SCORES), "sets hold other numbers"),
        ((TRUE, SAID, np.where(SCORES == 4, np.nan, SCORES)), "scores of sample 3 are not all finite"),
    ],
)
def test_what_is_no_set_of_labels(arguments, words):
    with pytest.raises(InputError, match=words):
        set_metrics(*arguments)


def test_the_file_there_and_back(tmp_path):
    table = label_table(TRUE, SAID, SCORES)
    names = ["a", "b, quoted", 'c "', "never"]
    write_labels(tmp_path / "labels.csv", table, names)
    found, found_names = read_labels(tmp_path / "labels.csv")
    assert found_names == names
    for name, column in table.items():
        np.testing.assert_array_equal(found[name], column)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n", "line 1: expected the header label,images"),
        ("label,images,predicted,precision,recall,f1,average_precision\n", "no label in it"),
        ("label,images,predicted,precision,recall,f1,average_precision\ncat,1,1\n", "line 2: 3 cells under 7"),
        ("label,images,predicted,precision,recall,f1,average_precision\ncat,1,1,x,0,0,0\n", "'x' is not a number"),
        ("label,images,predicted,precision,recall,f1,average_precision\ncat,1,1,2,0,0,0\n", "shares from 0 to 1"),
    ],
)
def test_files_that_are_none(tmp_path, text, words):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        read_labels(tmp_path / "labels.csv")
