"""Images that grow: when, from which pixels, and that batches of every size are the same wherever they are made."""

from __future__ import annotations

import numpy as np
import pytest

from npsoftmax.data import Batches, fit_normalization
from npsoftmax.data.augment import alternating, alternating_flip
from npsoftmax.data.sizes import Growth, shrunk, weights
from npsoftmax.errors import InputError
from npsoftmax.functional.resize import resize_forward
from npsoftmax.host import set_threads
from npsoftmax.random import Rng
from npsoftmax.training import TrainConfig, prepare
from npsoftmax.training.checks import check_settings

IMAGES = np.random.default_rng(0).integers(0, 256, (23, 32, 32, 3), dtype=np.uint8)
LABELS = np.arange(23)


# ---------------------------------------------------------------- when
def test_shares_are_of_all_steps():
    growth = Growth.of("20:0.15,24:0.5,32", 32, 40)
    assert [growth.height_at(step) for step in range(40)] == [20] * 6 + [24] * 14 + [None] * 20
    assert growth == Growth.of("20:0.15,24:0.5", 32, 40)
    assert Growth.of("32", 32, 40).height_at(0) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "SIZE:SHARE"),
        ("20:", "SIZE:SHARE"),
        ("20:half,32", "SIZE:SHARE"),
        ("2e1:0.5", "SIZE:SHARE"),
        ("20:0.1,28", "ends with 28, but the images have 32"),
        ("24:0.2,20:0.5", "sizes must rise"),
        ("32:0.5,32", "sizes must rise"),
        ("40:0.5", "sizes must rise"),
        ("0:0.5", "sizes must rise"),
        ("20:0.5,24:0.5", "shares of the steps must rise"),
        ("20,24:0.5,32", "20 needs the share of the steps at its end, as in 20:0.15"),
        ("20:1", "shares of the steps must rise"),
        ("20:nan", "shares of the steps must rise"),
        ("20:-0.1", "shares of the steps must rise"),
    ],
)
def test_what_is_no_growth(text, message):
    with pytest.raises(InputError, match=message):
        Growth.of(text, 32, 100)


# ---------------------------------------------------------------- resizing
@pytest.mark.parametrize(("old", "new"), [(32, 20), (32, 24), (32, 31), (32, 1), (7, 3), (5, 5), (1, 1)])
def test_weights_are_a_triangle_in_whole_256ths(old, new):
    found = weights(old, new)
    scale, want = old / new, np.zeros((new, old))
    for i in range(new):
        for j in range(old):
            want[i, j] = max(0.0, 1 - abs(j + 0.5 - (i + 0.5) * scale) / scale)
    want /= want.sum(axis=1, keepdims=True)
    assert (found == np.round(found)).all() and (found.sum(axis=1) == 256).all() and found.min() >= 0
    np.testing.assert_allclose(found / 256, want, atol=1 / 256)
    np.testing.assert_array_equal(found, found[::-1, ::-1] if old == 32 and new in (20, 24) else found)


@pytest.mark.parametrize(("shape", "height"), [((7, 32, 32, 3), 20), ((5, 8, 24, 1), 6), ((3, 9, 7, 2), 9)])
def test_sums_are_exact_on_any_number_of_threads(shape, height):
    x = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    x[0], x[1] = 255, 0
    width = round(shape[2] * height / shape[1])
    down, across = (weights(*pair).astype(np.int64) for pair in ((shape[1], height), (shape[2], width)))
    sums = np.einsum("ij,njkc,lk->nilc", down, x.astype(np.int64), across)
    for threads in (1, 3):
        set_threads(threads)
        found = shrunk(x, height)
        np.testing.assert_array_equal(found, (sums + 2**15) // 2**16)
    set_threads(None)
    assert found.dtype == np.uint8 and (found[0] == 255).all() and not found[1].any()


def test_the_readable_pair_resizes_to_the_same_pixels():
    x = np.random.default_rng(2).integers(0, 256, (3, 32, 24, 3), dtype=np.uint8)
    want, (down, across) = resize_forward(x.astype(float), 20, 15)
    np.testing.assert_allclose(down, weights(32, 20) / 256, atol=1 / 256)
    assert across.shape == (15, 24) and np.abs(shrunk(x, 20) - want).max() < 2.5


@pytest.mark.oracle
@pytest.mark.parametrize("height", [20, 24, 31, 5])
def test_antialiased_bilinear_as_in_pytorch(height):
    torch = pytest.importorskip("torch")
    smooth = np.cumsum(np.cumsum(IMAGES.astype(np.float64), 1), 2)
    x = (smooth / smooth.max() * 255).astype(np.uint8)
    for images in (x, IMAGES):
        planes = torch.tensor(images.transpose(0, 3, 1, 2)).double()
        want = torch.nn.functional.interpolate(planes, (height, height), mode="bilinear", antialias=True)
        gap = shrunk(images, height) - want.numpy().transpose(0, 2, 3, 1)
        assert np.abs(gap).max() < 2.5 and np.abs(gap).mean() < 0.5  # a half is rounding


# ---------------------------------------------------------------- batches
def batches(**more):
    options = {"batch_size": 5, "rng": Rng(3), "normalize": fit_normalization("standard", IMAGES)} | more
    return Batches(IMAGES, LABELS, **options)


GROWTH = Growth.of("20:0.3,24:0.6", 32, 15)  # 5 steps an epoch: 20 up to step 4, 24 up to step 9


def test_a_batch_is_that_of_the_images_resized():
    grown = batches(growth=GROWTH, augment="standard")
    sizes = []
    for epoch in range(3):
        for number, (x, y, samples) in enumerate(grown.epoch(epoch)):
            height = GROWTH.height_at(5 * epoch + number)
            images = IMAGES if height is None else shrunk(IMAGES, height)
            plain = Batches(images, LABELS, 5, rng=Rng(3), normalize=grown.normalize, augment="standard")
            want = next(iter(plain.epoch(epoch, number)))
            for got, expected in zip((x, y, samples), want, strict=True):
                np.testing.assert_array_equal(got, expected)
            sizes.append(x.shape[1])
    assert sizes == [20] * 4 + [24] * 5 + [32] * 6


def test_an_epoch_begun_in_the_middle_is_the_same():
    whole = [x for epoch in range(3) for x, _, _ in batches(growth=GROWTH).epoch(epoch)]
    for epoch, first in ((2, 3), (0, 4), (1, 0), (0, 2)):
        x, _, _ = next(batches(growth=GROWTH).epoch(epoch, first))
        np.testing.assert_array_equal(x, whole[5 * epoch + first])
    again = batches(growth=GROWTH)
    for epoch in (2, 0):  # back from large to small
        for number, (x, _, _) in enumerate(again.epoch(epoch)):
            np.testing.assert_array_equal(x, whole[5 * epoch + number])


def test_a_shift_shrinks_with_the_images():
    bright = np.full((400, 32, 32, 1), 255, np.uint8)
    options = {"rng": Rng(0), "normalize": fit_normalization("none", bright), "augment": "standard"}
    for shift, border in ((2, 1), (4, 2), (None, 2), (0, 0)):
        made = Batches(bright, np.arange(400), 400, shift=shift, growth=Growth.of("16:0.5", 32, 2), **options)
        x, _, _ = next(made.epoch(0))
        black = (x == 0).all(axis=(2, 3)).sum(axis=1)  # rows of each image
        assert x.shape[1] == 16 and set(black.tolist()) == set(range(border + 1))


# ---------------------------------------------------------------- alternating flips, and shifts
def test_the_readable_flip_mirrors_the_same_images():
    rng, numbers = Rng(3), np.arange(9)
    u = rng.at(0, numbers).uniform((9, 1), np.float32)[:, 0]
    x = np.random.default_rng(2).integers(0, 256, (9, 5, 6, 3), dtype=np.uint8)
    for epoch in range(3):
        found = alternating(x, rng.at(epoch, numbers), 0)
        np.testing.assert_array_equal(alternating_flip(x, u, epoch), found)


def test_two_epochs_show_each_image_both_ways():
    made = batches(augment="alternating", shift=0, shuffle=False, normalize=fit_normalization("none", IMAGES))
    epochs = [np.concatenate([x for x, _, _ in made.epoch(number)]) for number in range(4)]
    plain = made.normalize.apply(IMAGES)
    as_it_is = [(epoch == plain).all(axis=(1, 2, 3)) for epoch in epochs]
    mirrored = [(epoch == plain[:, :, ::-1]).all(axis=(1, 2, 3)) for epoch in epochs]
    np.testing.assert_array_equal(as_it_is[0], ~as_it_is[1])
    np.testing.assert_array_equal(mirrored[0], ~as_it_is[0])
    for later in (0, 1):
        np.testing.assert_array_equal(as_it_is[later], as_it_is[later + 2])
    assert 5 <= as_it_is[0].sum() <= 18  # of 23


@pytest.mark.parametrize("shift", [-1, 32])
def test_a_shift_out_of_range(shift):
    with pytest.raises(InputError, match=f"--shift is {shift}"):
        batches(augment="standard", shift=shift)


def test_every_shift_of_two_pixels_occurs_and_no_larger_one():
    x = np.zeros((2000, 32, 32, 1), np.uint8)
    x[:, 16, 16] = 255
    made = Batches(x, np.arange(2000), 2000, rng=Rng(0), normalize=fit_normalization("none", x), shift=2,
                   augment="alternating")  # fmt: skip
    moved, _, _ = next(made.epoch(0))
    _, rows, columns, _ = np.nonzero(moved)
    assert set(rows) == {14, 15, 16, 17, 18} and set(columns) == {13, 14, 15, 16, 17, 18}


# ---------------------------------------------------------------- models
WHITENED = {"model": "whitened_resnet", "model_opts": {"widths": (4,), "inner": (3,), "kernels": (2, 1, 3)}}


def settings(**more):
    return TrainConfig(**{"data": "digits", "val_split": 0, "epochs": 4, "batch_size": 500} | more)


def test_a_run_has_the_sizes_of_its_steps_and_is_tested_at_the_whole_one():
    session = prepare(settings(image_sizes="5:0.25,6:0.75", **WHITENED))  # 1,437 images: 3 steps an epoch
    sizes = [x.shape[1] for epoch in range(4) for x, _, _ in session.train.epoch(epoch)]
    assert sizes == [5] * 3 + [6] * 6 + [8] * 3
    assert next(session.test.epoch(0))[0].shape[1] == 8


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"model": "mlp"}, "--model mlp does not take images of .6, 6, 1.: Dense"),
        ({"model": "convnet"}, "--model convnet does not take images of .6, 6, 1.: MaxPool"),
        ({"model": "vit", "model_opts": {"patch": 2}}, "--model vit does not take images of .6, 6, 1.: Position"),
        ({"image_sizes": "2:0.5", **WHITENED}, "--model whitened_resnet does not take images of .2, 2, 1."),
        ({"image_sizes": "9:0.5", **WHITENED}, "sizes must rise, up to the 8 pixels"),
    ],
)
def test_models_that_do_not_take_any_size_are_refused_before_a_run(more, message):
    config = settings(**{"image_sizes": "6:0.5"} | more)
    for ask in (lambda: check_settings(config, "settings"), lambda: prepare(config)):
        with pytest.raises(InputError, match=message):
            ask()


def test_words_have_no_size():
    with pytest.raises(InputError, match="--image-sizes is for images"):
        check_settings(TrainConfig(data="stdlib_tokens", model="token_mlp", image_sizes="6:0.5"), "settings")
