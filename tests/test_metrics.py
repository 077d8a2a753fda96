"""Metrics against loops and numbers worked out by hand; their files there and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npsoftmax.errors import InputError
from npsoftmax.metrics import (
    calibration_error,
    classification_metrics,
    confusion_matrix,
    read_columns,
    read_confusion,
    read_reliability,
    reliability,
    write_confusion,
    write_reliability,
)

CONFIDENT = np.log([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.25, 0.25, 0.5], [0.9, 0.05, 0.05]])


def log_softmax(z):
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def scores(targets, best, n_classes):
    """Macro precision, recall and F1 by counting, one class after the other."""
    precision = recall = f1 = 0.0
    for c in range(n_classes):
        hit = sum(t == c and b == c for t, b in zip(targets, best, strict=True))
        guessed, true = sum(b == c for b in best), sum(t == c for t in targets)
        p, r = (hit / guessed if guessed else 0.0), (hit / true if true else 0.0)
        precision, recall = precision + p, recall + r
        f1 += 2 * p * r / (p + r) if p + r else 0.0
    return precision / n_classes, recall / n_classes, f1 / n_classes


@st.composite
def predictions(draw):
    """(targets (N,), log_prob (N, C)) where confidences spread over the bins; classes may be absent."""
    n, c = draw(st.integers(1, 40)), draw(st.integers(2, 8))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = random.normal(size=(n, c)) * draw(st.sampled_from([0.1, 1.0, 5.0, 50.0]))
    return random.integers(0, c, n), log_softmax(logits)


# ---------------------------------------------------------------- scores
def test_scores_worked_out_by_hand():
    targets, best = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 0])
    result = classification_metrics(targets, best[:, None], None, 3, likelihood=True)
    assert result["accuracy"] == 3 / 5
    assert result["precision_macro"] == pytest.approx((1 / 2 + 2 / 3 + 0) / 3, rel=1e-15)
    assert result["recall_macro"] == pytest.approx((1 / 2 + 1 + 0) / 3, rel=1e-15)
    assert result["f1_macro"] == pytest.approx((1 / 2 + 4 / 5 + 0) / 3, rel=1e-15)
    assert result["top5"] is None and result["nll"] is None and result["ece"] is None


def test_a_class_that_is_absent_counts_as_zero_in_the_means():
    targets = np.array([0, 1, 0, 1])
    result = classification_metrics(targets, targets[:, None], None, 4, likelihood=False)
    assert result["accuracy"] == 1.0
    assert result["precision_macro"] == result["recall_macro"] == result["f1_macro"] == 0.5


@given(predictions())
@settings(max_examples=40, deadline=None)
def test_scores_agree_with_loops(case):
    targets, log_prob = case
    n, c = log_prob.shape
    ranked = np.argsort(-log_prob, axis=1, kind="stable")
    result = classification_metrics(targets, ranked, log_prob, c, likelihood=True)
    expected = scores(targets, ranked[:, 0], c)
    found = [result[f"{name}_macro"] for name in ("precision", "recall", "f1")]
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)
    assert result["accuracy"] == sum(ranked[i, 0] == targets[i] for i in range(n)) / n
    assert result["top5"] == sum(targets[i] in ranked[i, :5] for i in range(n)) / n
    assert result["nll"] == pytest.approx(-sum(log_prob[i, targets[i]] for i in range(n)) / n, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint64])
def test_counts_are_those_of_scikit_learn(dtype):
    from sklearn import metrics

    targets, best = np.random.default_rng(0).integers(0, 9, (2, 50)).astype(dtype)
    best[best == 3] = 2  # a class that is never predicted, and two that are not there at all
    found = classification_metrics(targets, best[:, None], None, 11, likelihood=False)
    expected = metrics.precision_recall_fscore_support(
        targets, best, labels=np.arange(11), average="macro", zero_division=0
    )
    assert [found[f"{name}_macro"] for name in ("precision", "recall", "f1")] == [float(x) for x in expected[:3]]
    counts = confusion_matrix(targets, best, 11)
    np.testing.assert_array_equal(counts, metrics.confusion_matrix(targets, best, labels=np.arange(11)))
    assert counts.dtype == np.int64


@pytest.mark.parametrize(
    ("k", "n_classes", "expected"), [(5, 10, 0.5), (7, 10, 0.5), (4, 10, None), (4, 4, 1.0), (1, 2, None)]
)
def test_top5_needs_five_labels_or_all_of_them(k, n_classes, expected):
    ranked = np.tile(np.arange(n_classes)[:k], (2, 1))
    targets = np.array([min(4, k - 1), min(5, n_classes - 1)])  # ranked fifth, and sixth
    assert classification_metrics(targets, ranked, None, n_classes, likelihood=True)["top5"] == expected


def test_nll_is_reported_for_likelihoods_only():
    targets, best = np.array([0, 1, 2, 1]), np.array([[0], [1], [2], [0]])
    with_likelihood = classification_metrics(targets, best, CONFIDENT, 3, likelihood=True)
    without = classification_metrics(targets, best, CONFIDENT, 3, likelihood=False)
    assert with_likelihood["nll"] == pytest.approx(-math.log(0.7 * 0.6 * 0.5 * 0.05) / 4, rel=1e-14)
    assert without["nll"] is None
    assert with_likelihood["ece"] == without["ece"] == calibration_error(reliability(CONFIDENT, targets))


def test_a_perfect_prediction_scores_plus_zero():
    log_prob = np.array([[0.0, -np.inf], [-np.inf, 0.0]])
    result = classification_metrics(np.array([0, 1]), np.array([[0], [1]]), log_prob, 2, likelihood=True)
    assert result["nll"] == 0.0 and math.copysign(1, result["nll"]) == 1 and result["ece"] == 0.0


def test_results_are_plain_numbers_for_json():
    result = classification_metrics(np.array([0, 1, 2, 1]), np.zeros((4, 1), int), CONFIDENT, 3, likelihood=True)
    assert {type(value) for value in result.values()} == {float, type(None)}


def test_arrays_of_a_device_are_moved_to_numpy():
    class OnDevice:
        def __init__(self, array):
            self.array = array

        def get(self):
            return self.array

    targets, best = np.array([0, 1, 2, 1]), np.array([[0], [1], [2], [0]])
    moved = classification_metrics(OnDevice(targets), OnDevice(best), OnDevice(CONFIDENT), 3, likelihood=True)
    assert moved == classification_metrics(targets, best, CONFIDENT, 3, likelihood=True)
    counts = confusion_matrix(OnDevice(targets), OnDevice(best), 3)
    np.testing.assert_array_equal(counts, confusion_matrix(targets, best, 3))


@pytest.mark.parametrize(
    ("targets", "predicted", "message"),
    [
        ([0, 3], [[0], [1]], r"targets has labels 0 to 3; 3 classes are 0 to 2"),
        ([0, 1], [[0], [-1]], r"predicted has labels -1 to 0"),
        ([0.0, 1.0], [[0], [1]], r"targets is of type float64; expected whole numbers"),
        ([0, 1], [0, 1], r"expected \(N, k\) and \(N,\)"),
        ([0, 1, 2], [[0], [1]], r"predicted has shape \(2, 1\), targets \(3,\)"),
        (np.zeros(0, int), np.zeros((0, 1), int), r"at least one sample"),
    ],
)
def test_wrong_labels_are_refused(targets, predicted, message):
    with pytest.raises(InputError, match=message):
        classification_metrics(np.array(targets), np.array(predicted), None, 3, likelihood=True)


# ---------------------------------------------------------------- confusion
@given(predictions())
@settings(max_examples=30, deadline=None)
def test_confusion_matrix_counts_pairs(case):
    targets, log_prob = case
    best, c = log_prob.argmax(axis=1), log_prob.shape[1]
    expected = np.zeros((c, c), np.int64)
    for t, b in zip(targets, best, strict=True):
        expected[t, b] += 1
    counts = confusion_matrix(targets, best, c)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(confusion_matrix(targets, np.stack([best, best * 0], 1), c), expected)


def test_confusion_matrix_refuses_another_number_of_predictions():
    with pytest.raises(InputError, match=r"predicted has shape \(2,\), but targets has shape \(3,\)"):
        confusion_matrix(np.array([0, 1, 2]), np.array([0, 1]), 3)


# ---------------------------------------------------------------- calibration
def test_reliability_worked_out_by_hand():
    table = reliability(CONFIDENT, np.array([0, 2, 2, 0]), bins=4)
    np.testing.assert_array_equal(table["low"], [0, 0.25, 0.5, 0.75])
    np.testing.assert_array_equal(table["high"], [0.25, 0.5, 0.75, 1])
    np.testing.assert_array_equal(table["count"], [0, 0, 3, 1])
    np.testing.assert_allclose(table["confidence"], [np.nan, np.nan, 0.6, 0.9], rtol=1e-14)
    np.testing.assert_allclose(table["accuracy"], [np.nan, np.nan, 2 / 3, 1], rtol=1e-14)
    assert calibration_error(table) == pytest.approx(3 / 4 * (2 / 3 - 0.6) + 1 / 4 * 0.1, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_confidence_of_one_is_in_the_last_bin(dtype):
    log_prob = np.array([[0.0, -np.inf], [1e-7, -40.0]], dtype)  # the second: 1 and a rounding error
    table = reliability(log_prob, np.array([0, 1]))
    assert table["count"].tolist() == [0] * 14 + [2]
    assert table["confidence"][-1] == 1.0 and calibration_error(table) == 0.5


def test_a_confidence_on_an_edge_belongs_to_the_bin_above():
    log_prob = np.array([[np.log(0.5), np.log(0.5)]])
    assert reliability(log_prob, np.array([0]), bins=2)["count"].tolist() == [0, 1]


@given(predictions(), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_calibration_error_is_a_mean_of_gaps(case, bins):
    targets, log_prob = case
    table = reliability(log_prob, targets, bins)
    error = calibration_error(table)
    assert 0 <= error <= 1
    assert table["count"].sum() == len(targets)
    gaps = [[] for _ in range(bins)]
    for row, target in zip(log_prob, targets, strict=True):
        confidence = min(math.exp(row.max()), 1.0)
        place = max(b for b in range(bins) if table["low"][b] <= confidence)
        gaps[place].append((row.argmax() == target) - confidence)
    assert error == pytest.approx(sum(abs(sum(g)) for g in gaps) / len(targets), rel=1e-9, abs=1e-12)


@given(predictions(), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_the_order_of_samples_does_not_matter(case, random):
    targets, log_prob = case
    order = list(range(len(targets)))
    random.shuffle(order)
    ranked, c = np.argsort(-log_prob, axis=1), log_prob.shape[1]
    one = classification_metrics(targets, ranked, log_prob, c, likelihood=True)
    other = classification_metrics(targets[order], ranked[order], log_prob[order], c, likelihood=True)
    for name, value in one.items():
        assert other[name] == pytest.approx(value, rel=1e-12, abs=1e-14), name


@given(st.lists(st.integers(2, 40).flatmap(lambda m: st.tuples(st.integers((m + 1) // 2, m), st.just(m)))
                , min_size=1, max_size=6))  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_perfect_calibration_has_no_error(groups):
    """Of m samples with confidence a / m, a are right."""
    log_prob, targets = [], []
    for a, m in groups:
        with np.errstate(divide="ignore"):
            log_prob += [np.log([a / m, 1 - a / m])] * m
        targets += [0] * a + [1] * (m - a)
    assert calibration_error(reliability(np.array(log_prob), np.array(targets))) < 1e-14


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([np.nan, -1.0], "sample 1 is not a number"),
        ([-np.inf, -np.inf], "gives no class a positive probability"),
        ([np.inf, -1.0], "sample 1 is not a number"),
        ([2.5, -1.0], r"sample 1 reaches 2\.5, a probability above 1.*not logits"),
    ],
)
def test_what_is_no_log_probability_is_refused(row, message):
    log_prob = np.array([[-0.5, -1.0], row])
    with pytest.raises(InputError, match=message):
        reliability(log_prob, np.array([0, 1]))
    with pytest.raises(InputError, match=message):
        classification_metrics(np.array([0, 1]), np.array([[0], [1]]), log_prob, 2, likelihood=True)


def test_reliability_refuses_other_shapes_and_no_bins():
    with pytest.raises(InputError, match=r"expected \(N, C\) = \(3, 3\)"):
        reliability(CONFIDENT, np.array([0, 1, 2]))
    with pytest.raises(InputError, match="bins is 0"):
        reliability(CONFIDENT, np.array([0, 1, 2, 0]), bins=0)


# ---------------------------------------------------------------- files
NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)  # commas and quotes included


@given(st.lists(NAMES, min_size=1, max_size=5), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_confusion_there_and_back(tmp_path_factory, names, seed):
    path = tmp_path_factory.mktemp("confusion") / "confusion.csv"
    matrix = np.random.default_rng(seed).integers(1, 10**9, (len(names), len(names)))
    write_confusion(path, matrix, names)
    counts, found = read_confusion(path)
    np.testing.assert_array_equal(counts, matrix)
    assert counts.dtype == np.int64 and found == names


def test_confusion_file_is_readable_by_people(tmp_path):
    write_confusion(tmp_path / "c.csv", np.array([[3, 1], [0, 4]]), ["cat", "dog, big"])
    assert (tmp_path / "c.csv").read_text() == 'true/predicted,cat,"dog, big"\ncat,3,1\n"dog, big",0,4\n'


@given(predictions())
@settings(max_examples=30, deadline=None)
def test_reliability_there_and_back(tmp_path_factory, case):
    targets, log_prob = case
    path = tmp_path_factory.mktemp("reliability") / "reliability.csv"
    table = reliability(log_prob, targets)
    write_reliability(path, table)
    found = read_reliability(path)
    assert list(found) == list(table)
    for name, column in table.items():
        np.testing.assert_array_equal(found[name], column)
        assert found[name].dtype == column.dtype
    assert calibration_error(found) == calibration_error(table)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected the header true/predicted"),
        ("true/predicted\n", "line 1: expected the header true/predicted"),
        ("class,a,b\na,1,2\nb,3,4\n", "line 1: expected the header true/predicted"),
        ("true/predicted,a,b\na,1,2\nb,3\n", "line 3: expected class 'b' and 2 counts"),
        ("true/predicted,a,b\nb,1,2\na,3,4\n", "line 2: expected class 'a'"),
        ("true/predicted,a,b\na,1,2\nb,3,-4\n", "line 3: '-4' is not a count"),
        ("true/predicted,a,b\na,1,2.5\nb,3,4\n", "line 2: '2.5' is not a count"),
        ("true/predicted,a,b\na,1,2\n", "line 2: expected one row for each of the 2 classes"),
        ("true/predicted,a,b\na,1,2\nb,3,4", "line 2: expected one row for each of the 2 classes"),
        ("true/predicted,a\na,1\na,1\n", "expected one row for each of the 1 classes"),
        ("true/predicted,a\na,0\n", "every count is 0"),
        ('true/predicted,"a\n', "line 1: unexpected end of data"),
    ],
)
def test_a_malformed_confusion_file_is_named_with_its_line(tmp_path, text, message):
    path = tmp_path / "confusion.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_confusion(path)
    assert str(path) in str(error.value)


HEADER = "low,high,count,confidence,accuracy\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("low,high,count\n0,1,5\n", "line 1: no column confidence, accuracy"),
        (HEADER, "must follow each other from 0 to 1"),
        (HEADER + "0,0.5,1,0.3,0\n", "must follow each other from 0 to 1"),
        (HEADER + "0,0.5,1,0.3,0\n0.6,1,1,0.7,1\n", "must follow each other from 0 to 1"),
        (HEADER + "0,1,x,0.3,0\n", "line 2: 'x' is not a number"),
        (HEADER + "0,1,2,0.3\n", "line 2: 4 cells under 5 columns"),
        (HEADER + "0,1,1.5,0.3,0\n", "counts must be whole numbers"),
        (HEADER + "0,1,inf,0.3,0\n", "counts must be whole numbers"),
        (HEADER + "0,1,0,,\n", "not all of them 0"),
        (HEADER + "0,1,3,,1\n", "confidence of a bin that has samples must be between 0 and 1"),
        (HEADER + "0,1,3,0.5,1.5\n", "accuracy of a bin that has samples must be between 0 and 1"),
    ],
)
def test_a_malformed_reliability_file_is_named(tmp_path, text, message):
    path = tmp_path / "reliability.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_reliability(path)
    assert str(path) in str(error.value)


def test_columns_of_numbers_with_blank_cells(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,loss,note\n1,0.5,\n\n2,nan,3\n3,inf,4")
    table = read_columns(path, ("epoch", "loss"))
    np.testing.assert_array_equal(table["epoch"], [1, 2])  # the last line was still being written
    np.testing.assert_array_equal(table["loss"], [0.5, np.nan])
    np.testing.assert_array_equal(table["note"], [np.nan, 3])


def test_a_file_with_a_header_only_has_empty_columns(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,loss\n")
    assert {name: column.shape for name, column in read_columns(tmp_path / "metrics.csv", ()).items()} == {
        "epoch": (0,),
        "loss": (0,),
    }


def test_a_missing_or_binary_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.csv cannot be read"):
        read_columns(tmp_path / "nothing.csv", ())
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.csv cannot be read"):
        read_confusion(tmp_path / "binary.csv")
