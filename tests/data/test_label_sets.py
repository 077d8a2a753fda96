"""Data sets whose images have sets of labels: what is in them, how they are divided, and arrays of a user's own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from npsoftmax.cli.main import main
from npsoftmax.data import Batches, fit_normalization, load_dataset, train_validation_split
from npsoftmax.data.dataset import Dataset
from npsoftmax.data.label_sets import under_both_levels
from npsoftmax.data.synthetic import make_synthetic100
from npsoftmax.errors import InputError
from npsoftmax.random import Rng

RNG = np.random.default_rng(1)
X = RNG.integers(0, 256, (30, 6, 5, 3), dtype=np.uint8)
SETS = RNG.integers(0, 2, (30, 4))


@pytest.fixture(scope="module")
def digit_sets() -> Dataset:
    return load_dataset("digit_sets")


def test_rows_of_digits_say_which_digits_are_in_them(digit_sets):
    digits = load_dataset("digits")
    assert digit_sets.multi_label and not digits.multi_label
    for x, y, source, labels in (
        (digit_sets.x_train, digit_sets.y_train, digits.x_train, digits.y_train),
        (digit_sets.x_test, digit_sets.y_test, digits.x_test, digits.y_test),
    ):
        label_of = {image.tobytes(): label for image, label in zip(source, labels, strict=True)}
        for image, labels_there in zip(x[:200], y[:200], strict=True):
            places = [image[:, i : i + 8] for i in (0, 8, 16)]
            seen = {label_of[place.tobytes()] for place in places if place.any()}
            assert seen == set(np.flatnonzero(labels_there))
    how_many = np.bincount(digit_sets.y_train.sum(axis=1))
    assert how_many[0] == 0 and (how_many[1:] > 900).all()
    assert digit_sets.class_names == tuple("0123456789") and digit_sets.input_shape == (8, 24, 1)
    again = load_dataset("digit_sets")
    assert (again.x_train == digit_sets.x_train).all() and (again.y_test == digit_sets.y_test).all()


def test_class_and_superclass_are_two_labels_of_120():
    fine = make_synthetic100(300, 100)
    both = under_both_levels(fine)
    assert both.y_train.shape == (300, 120) and (both.y_train.sum(axis=1) == 2).all()
    assert (both.y_train[:, :100].argmax(axis=1) == fine.y_train).all()
    assert (both.y_test[:, 100:].argmax(axis=1) == fine.coarse[fine.y_test]).all()
    assert both.class_names == (*fine.class_names, *fine.coarse_names) and both.coarse is None


def test_they_are_divided_by_chance_and_limited(digit_sets):
    y = digit_sets.y_train
    kept, held = train_validation_split(y, 0.25, seed=3)
    assert len(held) == 1000 and sorted([*kept, *held]) == list(range(4000))
    assert not np.array_equal(held, train_validation_split(y, 0.25, seed=4)[1])
    np.testing.assert_allclose(y[held].mean(axis=0), y.mean(axis=0), atol=0.05)
    few = load_dataset("digit_sets", limit_train=100, limit_test=50)
    assert few.y_train.shape == (100, 10) and few.y_test.shape == (50, 10)
    np.testing.assert_array_equal(few.x_train, load_dataset("digit_sets", limit_train=100).x_train)


def test_batches_give_them_as_numbers_a_head_takes(digit_sets):
    x, y = digit_sets.x_train[:10], digit_sets.y_train[:10]
    batches = Batches(x, y, 4, rng=Rng(0), normalize=fit_normalization("none", x))
    seen = list(batches.epoch(0))
    assert [t.shape for _, t, _ in seen] == [(4, 10), (4, 10), (2, 10)]
    for _, t, samples in seen:
        assert t.dtype == np.float32
        np.testing.assert_array_equal(t, y[samples])


# ---------------------------------------------------------------- arrays of a user's own
def write(path, **arrays):
    np.savez(path, **arrays)
    return f"arrays:{path}"


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_arrays_with_sets_of_labels(tmp_path, dtype):
    found = load_dataset(write(tmp_path / "own.npz", x=X, y=SETS.astype(dtype)))
    assert found.multi_label and found.y_train.dtype == np.uint8 and found.y_train.shape == (24, 4)
    assert found.class_names == ("0", "1", "2", "3") and "30 images with sets of 4 labels" in found.note
    named = load_dataset(
        write(
            tmp_path / "p.npz", x_train=X, y_train=SETS, x_test=X[:4], y_test=SETS[:4], class_names=["a", "b", "c", "d"]
        )
    )
    assert (named.y_train == SETS).all() and named.class_names == ("a", "b", "c", "d")
    assert named.fingerprint != found.fingerprint


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": X, "y": SETS * 2}, "y is int64 .30, 4. from 0 to 2"),
        ({"x": X, "y": -SETS}, "from -1 to 0"),
        ({"x": X, "y": SETS[:, :1]}, "at least two labels"),
        ({"x": X, "y": SETS[:7]}, "30 images and y 7 labels"),
        ({"x": X, "y": SETS * 1.0}, r"whole numbers .*Type y\.astype\(np\.uint8\)"),
        ({"x": X, "y": SETS * 0.5}, r"y is float64 .*where it is not\.$"),
        ({"x": X, "y": SETS, "class_names": ["a"]}, "one for each of 4 labels"),
        ({"x": X, "y": SETS, "class_names": ["a", "a", "b", "c"]}, "same name"),
        ({"x_train": X, "y_train": SETS, "x_test": X, "y_test": SETS[:, :3]}, "y_train has 4 labels and y_test 3"),
        ({"x_train": X, "y_train": SETS, "x_test": X, "y_test": SETS[:, 0]}, "y_test is int64"),
        ({"x": X, "y": SETS[..., None]}, r"y is int64 \(30, 4, 1\)"),
    ],
)
def test_arrays_that_are_no_sets(tmp_path, arrays, words):
    with pytest.raises(InputError, match=words):
        load_dataset(write(tmp_path / "own.npz", **arrays))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_train": SETS}, r"training labels must be uint8 \(30, 4\) of 0 and 1, but are int64"),
        ({"y_train": 2 * SETS.astype(np.uint8)}, "of 0 and 1"),
        ({"y_test": np.zeros(30, np.int64)}, r"training labels are \(30, 4\) and test labels \(30,\)"),
        ({"class_names": ("a", "b", "c")}, r"must be uint8 \(30, 3\)"),
    ],
)
def test_a_data_set_checks_its_sets(change, message):
    sets = SETS.astype(np.uint8)
    good = Dataset("tiny", X, sets, X, sets, ("a", "b", "c", "d"))
    with pytest.raises(InputError, match=message):
        dataclasses.replace(good, **change)


def test_they_are_listed(capsys, tmp_path):
    assert main(["data", "list", "--data-dir", str(tmp_path)]) == 0
    assert "digit_sets" in capsys.readouterr().out
