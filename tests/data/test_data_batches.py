"""Batches, augmentation, normalisation and splits."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npsoftmax import Rng
from npsoftmax.data import (
    AUGMENTATIONS,
    NORMALIZATIONS,
    Batches,
    Normalization,
    fit_normalization,
    get_augmentation,
    stratified_subset,
    train_validation_split,
)
from npsoftmax.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (53, 16, 12, 3), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 7, 53)
PLAIN = fit_normalization("none", IMAGES)


def batches(**changes: object) -> Batches:
    options = {"rng": Rng(3), "normalize": PLAIN, **changes}
    return Batches(IMAGES, LABELS, options.pop("batch_size", 8), **options)


# ---------------------------------------------------------------- batches
@given(n=st.integers(1, 40), size=st.integers(1, 50), shuffle=st.booleans(), epoch=st.integers(0, 9))
def test_an_epoch_visits_every_image_once(n: int, size: int, shuffle: bool, epoch: int) -> None:
    made = Batches(IMAGES[:n], LABELS[:n], size, rng=Rng(3), normalize=PLAIN, shuffle=shuffle)
    seen = []
    for x, y, samples in made.epoch(epoch):
        assert x.dtype == np.float32 and x.shape == (len(samples), 16, 12, 3) and y.dtype == np.int64
        np.testing.assert_array_equal(y, LABELS[samples])
        np.testing.assert_allclose(x, IMAGES[samples] / 255.0, atol=1e-6)
        seen.append(samples)
    assert len(seen) == len(made) == -(-n // size)
    assert sorted(np.concatenate(seen).tolist()) == list(range(n))
    if not shuffle:
        np.testing.assert_array_equal(np.concatenate(seen), np.arange(n))


def test_the_last_batch_can_be_left_out() -> None:
    assert [len(y) for _, y, _ in batches().epoch(0)] == [8] * 6 + [5]
    assert [len(y) for _, y, _ in batches(drop_last=True).epoch(0)] == [8] * 6
    assert len(batches(drop_last=True)) == 6


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_an_epoch_is_a_function_of_seed_and_number(augment: str) -> None:
    def epoch(number: int, **changes: object) -> tuple[np.ndarray, np.ndarray]:
        parts = list(batches(augment=augment, **changes).epoch(number))
        return np.concatenate([x for x, _, _ in parts]), np.concatenate([samples for _, _, samples in parts])

    x, samples = epoch(5)
    for same in (epoch(5), epoch(5)):
        np.testing.assert_array_equal(same[0], x)
        np.testing.assert_array_equal(same[1], samples)
    for other in (epoch(6), epoch(5, rng=Rng(4))):
        assert not np.array_equal(other[1], samples)
    # What happens to an image depends neither on the size of its batch nor on the order.
    order = np.argsort(samples)
    np.testing.assert_array_equal(epoch(5, batch_size=53)[0], x)
    np.testing.assert_array_equal(epoch(5, shuffle=False)[0], x[order])


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_batches_leave_the_images_alone(augment: str) -> None:
    before = IMAGES.copy()
    for x, _, _ in batches(augment=augment).epoch(0):
        x *= 0
    np.testing.assert_array_equal(IMAGES, before)


def test_orders_of_epochs_are_unrelated() -> None:
    made = batches()
    orders = np.array([made.order(epoch) for epoch in range(200)])
    assert len({tuple(order) for order in orders}) == 200
    # Each sample is equally often in the first half: 200 draws of about 1/2 stay within 5 standard deviations.
    assert np.abs((orders < 26).mean(axis=0) - 26 / 53).max() < 5 * 0.5 / 200**0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"batch_size": 54, "drop_last": True}, "no batch is full"),
        ({"augment": "flipp"}, "Did you mean 'flip'"),
    ],
)
def test_options_that_do_not_fit(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        batches(**changes)


def test_images_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="53 images but 52 labels"):
        Batches(IMAGES, LABELS[:-1], 8, rng=Rng(0), normalize=PLAIN)
    with pytest.raises(InputError, match=r"must be uint8 \(N, H, W, C\), but are float64"):
        Batches(IMAGES / 255, LABELS, 8, rng=Rng(0), normalize=PLAIN)


# ---------------------------------------------------------------- augmentation
def naive(name: str, x: np.ndarray, rng: Rng) -> np.ndarray:
    """The augmentations again, one image, one row and one pixel at a time."""
    n, height, width, channels = x.shape
    u = rng.uniform((n, 5))
    y = x.copy()
    for i in range(n):
        mirror = u[i, 0] < 0.5
        if name == "alternating":
            mirror = (rng.at(0, rng.samples).uniform((n, 1))[i, 0] < 0.5) != bool(rng.step % 2)
        if mirror:
            y[i] = np.array([[x[i, r, width - 1 - c] for c in range(width)] for r in range(height)])
        if name in ("standard", "alternating", "cutout"):
            border = height // 8
            down, across = (int(v * (2 * border + 1)) - border for v in u[i, 1:3])
            moved = np.zeros_like(y[i])
            for r in range(height):
                for c in range(width):
                    if 0 <= r + down < height and 0 <= c + across < width:
                        moved[r, c] = y[i, r + down, c + across]
            y[i] = moved
        if name == "cutout":
            side = height // 4
            top, left = int(u[i, 3] * height) - side // 2, int(u[i, 4] * width) - side // 2
            colour = [round(float(np.mean(y[i, :, :, c], dtype=np.float64))) for c in range(channels)]
            for r in range(max(top, 0), min(top + side, height)):
                for c in range(max(left, 0), min(left + side, width)):
                    y[i, r, c] = colour
    return y


@pytest.mark.parametrize("name", ["flip", "standard", "alternating", "cutout"])
@pytest.mark.parametrize("shape", [(40, 32, 32, 3), (30, 16, 24, 3), (30, 8, 8, 1)])
def test_augmentations_equal_the_naive_ones(name: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    for step in range(3):
        rng = Rng(9).at(step, np.arange(100, 100 + len(x)))
        y = get_augmentation(name)(x, rng)
        assert y.dtype == np.uint8 and y.shape == x.shape
        np.testing.assert_array_equal(y, naive(name, x, rng))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations_are_pure(name: str) -> None:
    augment, rng = get_augmentation(name), Rng(1).at(0, np.arange(53))
    x = IMAGES.copy()
    first = augment(x, rng)
    np.testing.assert_array_equal(x, IMAGES)
    np.testing.assert_array_equal(augment(x, rng), first)
    np.testing.assert_array_equal(augment(np.asfortranarray(x), rng), first)  # any memory layout
    alone = np.concatenate([augment(x[i : i + 1], rng.at(0, np.array([i]))) for i in range(53)])
    np.testing.assert_array_equal(alone, first)  # the other images of a batch play no part


def test_about_half_is_flipped_and_every_shift_occurs() -> None:
    x = np.zeros((4000, 32, 32, 1), np.uint8)
    x[:, 16, 10] = 255  # mirrored it is column 21
    flipped = get_augmentation("flip")(x, Rng(0))
    assert 0.45 < (flipped[:, 16, 21] == 255).mean() < 0.55
    moved = get_augmentation("standard")(x, Rng(0))
    _, rows, columns, _ = np.nonzero(moved)
    assert set(rows - 16) == set(range(-4, 5)) and set(columns) == set(range(6, 15)) | set(range(17, 26))
    counts = np.bincount(rows - 12, minlength=9)
    assert counts.min() > 0.7 * 4000 / 9 and counts.max() < 1.3 * 4000 / 9


# ---------------------------------------------------------------- normalisation
def test_normalizations_against_their_formula() -> None:
    expected = {
        "none": IMAGES / 255,
        "half": (IMAGES / 255 - 0.5) / 0.5,
        "standard": (IMAGES / 255 - IMAGES.mean(axis=(0, 1, 2)) / 255) / (IMAGES.std(axis=(0, 1, 2)) / 255),
    }
    assert set(expected) == set(NORMALIZATIONS)
    for name, y in expected.items():
        normalization = fit_normalization(name, IMAGES)
        result = normalization.apply(IMAGES)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, y, atol=2e-6)
    np.testing.assert_allclose(result.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(result.std(axis=(0, 1, 2)), 1, atol=1e-5)


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_a_normalization_survives_json(name: str) -> None:
    normalization = fit_normalization(name, IMAGES)
    restored = Normalization.from_dict(json.loads(json.dumps(normalization.to_dict())))
    assert restored == normalization and restored.name == name


def test_many_and_constant_images() -> None:
    many = np.concatenate([np.full((700, 2, 2, 1), 255, np.uint8), np.zeros((700, 2, 2, 1), np.uint8)])
    normalization = fit_normalization("standard", many)  # more images than one chunk of the sums
    assert normalization.mean == (0.5,) and normalization.std == (0.5,)
    constant = fit_normalization("standard", np.full((3, 2, 2, 2), 7, np.uint8))
    np.testing.assert_allclose(constant.apply(np.full((3, 2, 2, 2), 7, np.uint8)), 0, atol=1e-6)


def test_normalization_errors() -> None:
    with pytest.raises(InputError, match=r"unknown normalization 'standart'\. Did you mean 'standard'"):
        fit_normalization("standart", IMAGES)
    with pytest.raises(InputError, match="3 channels"):
        PLAIN.apply(IMAGES[..., :1])
    for mean, std in (((0.5,), (0.5, 0.5)), ((0.5,), (0.0,)), ((float("nan"),), (1.0,)), ((), ())):
        with pytest.raises(InputError, match="one a channel"):
            Normalization("x", mean, std)
    for wrong in ({}, {"name": "x", "mean": 3, "std": [1]}, {"name": "x", "mean": ["a"], "std": [1]}, None):
        with pytest.raises(InputError, match="expected as name, mean and std"):
            Normalization.from_dict(wrong)


# ---------------------------------------------------------------- splits
@given(
    n=st.integers(1, 300), share=st.floats(0, 1, exclude_max=True), seed=st.integers(0, 99), classes=st.integers(1, 9)
)
def test_a_split_is_disjoint_complete_and_stratified(n: int, share: float, seed: int, classes: int) -> None:
    y = np.random.default_rng(seed).integers(0, classes, n)
    count = round(share * n)
    if count == n:
        with pytest.raises(InputError, match="--val-split"):
            train_validation_split(y, share, seed)
        return
    train, validation = train_validation_split(y, share, seed)
    assert len(validation) == count
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), np.arange(n))
    assert (np.diff(train) > 0).all() and (np.diff(validation) > 0).all()
    taken, sizes = np.bincount(y[validation], minlength=classes), np.bincount(y, minlength=classes)
    assert np.abs(taken - sizes * count / n).max() <= 1
    again = train_validation_split(y, count, seed)
    np.testing.assert_array_equal(again[1], validation)


def test_splits_differ_by_seed_and_take_all_kinds_of_samples() -> None:
    y = np.repeat(np.arange(10), 50)
    chosen = np.array([np.isin(np.arange(500), train_validation_split(y, 0.2, seed)[1]) for seed in range(100)])
    assert len({tuple(row) for row in chosen}) == 100
    assert (chosen.reshape(100, 10, 50).sum(axis=2) == 10).all()
    assert np.abs(chosen.mean(axis=0) - 0.2).max() < 5 * 0.4 / 10  # every sample has its chance


def test_no_validation_set() -> None:
    for nothing in (0, 0.0):
        train, validation = train_validation_split(LABELS, nothing, 0)
        assert len(validation) == 0 and train.tolist() == list(range(53))


@pytest.mark.parametrize("size", [53, 100, -1, 1.0, -0.1, 2.5, float("nan"), 0.999])
def test_sizes_that_leave_nothing_to_train_on(size: float) -> None:
    with pytest.raises(InputError, match=r"--val-split is .* a whole number below 53"):
        train_validation_split(LABELS, size, 0)


def test_stratified_subset() -> None:
    y = np.array([2, 2, 0, 0, 0, 0, 2, 2])
    assert stratified_subset(y, 4).tolist() == [0, 1, 2, 3]
    assert stratified_subset(y, 4, np.arange(8)[::-1]).tolist() == [4, 5, 6, 7]
    assert stratified_subset(y, 0).tolist() == [] and stratified_subset(y, 8).tolist() == list(range(8))
    for count in (-1, 9):
        with pytest.raises(InputError, match="there are 8"):
            stratified_subset(y, count)
