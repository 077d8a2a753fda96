"""Patch whitening: what its filters make of training images, and that nothing but `prepare` changes them."""

from __future__ import annotations

import numpy as np
import pytest

from npsoftmax import build_model
from npsoftmax.backend import get_backend
from npsoftmax.errors import InputError
from npsoftmax.functional.whitening import patch_covariance, whitening_filters
from npsoftmax.gradcheck import check_model
from npsoftmax.kernels import im2col
from npsoftmax.layers import Conv2d, PatchWhitening, ReLU, Sequential, leaves
from npsoftmax.layers.initialisation import shapes_only
from npsoftmax.random import Rng
from npsoftmax.training import Progress, RunDirectory, TrainConfig, Trainer, load_run, prepare


def smooth(n=700, side=6, channels=2):
    """Images whose neighbours are alike."""
    x = np.random.default_rng(0).standard_normal((n, side + 2, side + 2, channels))
    return (x[:, 1:-1, 1:-1] + x[:, :-2, 1:-1] + x[:, 1:-1, 2:] + 0.3 * x[:, 1:-1, 1:-1, :1]).astype(np.float32)


def test_the_covariance_is_that_of_all_patches():
    x = smooth()
    np.testing.assert_allclose(
        patch_covariance(x, (2, 3)), np.cov(im2col(x, (2, 3), (1, 1), (0, 0)).T, bias=True), 1e-6
    )


def test_whitened_values_are_uncorrelated_and_come_with_both_signs():
    x, layer = smooth(), PatchWhitening(2, eps=1e-9)
    layer.prepare(x)
    y = layer.forward(x)[0].reshape(-1, 16)
    np.testing.assert_allclose(np.cov(y[:, :8].T, bias=True), np.eye(8), atol=2e-4)
    np.testing.assert_allclose(y[:, 8:], -y[:, :8], atol=1e-5)


def test_a_patch_that_never_changes_is_held_down_by_eps():
    filters = whitening_filters(np.ones((3, 4, 4, 1), np.float32), (2, 2), 0.25)
    assert filters.dtype == np.float32 and filters.shape == (2, 2, 1, 8)
    np.testing.assert_allclose(np.square(filters).sum(axis=(0, 1, 2)), 4)


def test_until_it_is_prepared_it_copies_patches():
    x = smooth(2)
    patches = im2col(x, (2, 2), (1, 1), (0, 0)).reshape(2, 5, 5, 8)
    np.testing.assert_array_equal(PatchWhitening(2).forward(x)[0], np.concatenate([patches, -patches], axis=3))


def test_neither_images_nor_filters_get_a_gradient_below_the_first_layer_that_learns():
    net = Sequential(whiten=PatchWhitening(2), act=ReLU(), conv=Conv2d(16, 3, 3, rng=Rng(0)))
    y, cache = net.forward(smooth(4))
    dx, grads = net.backward(y, cache, need_dx=False)
    assert dx is None and list(grads) == ["conv"] and cache == []


@pytest.mark.parametrize(
    ("images", "message"), [(smooth(0), "but 0 were given;"), (smooth(3) * np.nan, "but 3 were given, not all finite")]
)
def test_images_that_have_no_covariance_are_refused(images, message):
    layer = PatchWhitening(2)
    before = layer.buffers["w"].copy()
    with pytest.raises(InputError, match=message):
        layer.prepare(images)
    np.testing.assert_array_equal(layer.buffers["w"], before)


def test_a_patch_of_no_pixel_is_refused():
    with pytest.raises(InputError, match="patch is 0, but a whole number of at least 1"):
        PatchWhitening(3, 0)


# ---------------------------------------------------------------- in a model, and in a run
OPTIONS = {"widths": (6,), "inner": (4,), "kernels": (3, 1, 3)}


def test_one_set_of_parameters_takes_images_of_all_sizes():
    model = build_model("whitened_resnet", model_opts={"widths": (4, 4, 4), "inner": (4, 4, 4)})
    for side in (16, 20, 24, 31, 32, 47):
        assert model.features(np.zeros((2, side, side, 3), np.float32)).shape == (2, 4)


def test_the_network_has_the_published_number_of_multiply_adds():
    """Those of the published one, 175 M, less the row and column of the third group that its pool drops."""
    macs = 31**2 * (12 * 24 + 24 * 64 * 9) + 15**2 * (2 * 64 * 64 + 64 * 256 * 9)
    macs += 7**2 * (256 * 192 * 9 + 192 * 256) + 6**2 * 256 * 768 * 4 + 3**2 * 2 * 768 * 512 * 9 + 768 * 100
    with shapes_only():
        assert build_model("whitened_resnet").macs() == macs
    assert macs + (7**2 - 6**2) * 256 * 768 * 4 == pytest.approx(175e6, rel=0.001)


@pytest.mark.parametrize("options", [{"whiten": False, "init": "he"}, {"activation": "relu", "pool": "mean"}])
def test_gradients_of_a_network_without_an_ingredient(options):
    sizes = {"widths": (2,), "inner": (3,), "kernels": (2, 1, 3), "init": "default"}
    model = build_model("whitened_resnet", "softmax", 5, (5, 4, 1), model_opts=sizes | options)
    model = model.to(get_backend("numpy"), np.float64)
    rng = np.random.default_rng(0)
    batch = rng.standard_normal((5, 5, 4, 1)), rng.integers(0, 5, 5)
    check_model(model, *batch, train=True, rng=Rng(1), elements=5).assert_ok()


def test_a_first_layer_that_learns_is_set_from_no_images():
    model = build_model("whitened_resnet", model_opts={**OPTIONS, "whiten": False})
    assert model.params["trunk"]["stem"]["conv"]["w"].shape == (2, 2, 3, 24) and not model.prepares_from


@pytest.mark.parametrize(
    ("option", "message"), [("activation", "unknown activation 'max_men'"), ("pool", "'max_mean'")]
)
def test_an_unknown_part_is_named(option, message):
    with pytest.raises(InputError, match=message):
        build_model("whitened_resnet", model_opts={option: "max_men"})


def test_a_run_whitens_its_training_images_and_leaves_them_so(tmp_path):
    config = TrainConfig(data="digits", limit_train=200, limit_test=50, model="whitened_resnet", model_opts=OPTIONS)
    config.epochs, config.schedule = 2, "constant"
    session, again = prepare(config), prepare(config)
    filters = session.model.buffers["trunk"]["stem"]["whiten"]["w"].copy()
    np.testing.assert_array_equal(filters, again.model.buffers["trunk"]["stem"]["whiten"]["w"])
    assert not np.isin(filters, (-1, 0, 1)).any()
    assert not any("whiten" in name for name, _ in leaves(session.model.params))
    run = RunDirectory.plan(session.config, session.dataset.name, str(tmp_path / "run"))
    run.make()
    run.describe(session.config, session.dataset, session.train.normalize, session.backend, {})
    Trainer(session, run, Progress(2, quiet=True)).fit()
    loaded = load_run(run.path)
    for model in (session.model, loaded.model):
        np.testing.assert_array_equal(model.buffers["trunk"]["stem"]["whiten"]["w"], filters)
