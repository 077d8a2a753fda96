"""The data sets that need no files, the checks of Dataset, and the door to them all."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest

from npsoftmax.data import DATASETS, Dataset, load_dataset, make_synthetic100
from npsoftmax.data import editions as editions_module
from npsoftmax.errors import InputError


@pytest.fixture(scope="module")
def synthetic() -> Dataset:
    return make_synthetic100(3000, 1000)


@pytest.fixture
def no_cifar(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Neither $NPSOFTMAX_DATA nor anything in the user's cache."""
    monkeypatch.delenv("NPSOFTMAX_DATA", raising=False)
    monkeypatch.setattr(editions_module, "user_cache", lambda: tmp_path)
    return tmp_path


# ---------------------------------------------------------------- synthetic100
def test_synthetic100_has_a_hundred_classes_in_twenty_superclasses(synthetic: Dataset) -> None:
    assert synthetic.x_train.shape == (3000, 32, 32, 3) and synthetic.x_test.shape == (1000, 32, 32, 3)
    assert np.bincount(synthetic.y_train).tolist() == [30] * 100
    assert np.bincount(synthetic.y_test).tolist() == [10] * 100
    assert np.bincount(synthetic.coarse).tolist() == [5] * 20
    assert len(set(synthetic.class_names)) == 100 and "striped circle" in synthetic.class_names
    for name, coarse in zip(synthetic.class_names, synthetic.coarse, strict=True):
        assert name.endswith(synthetic.coarse_names[coarse])


def test_synthetic100_is_the_same_everywhere() -> None:
    # Drawn with exactly rounded operations only, so these hold on every machine; a new md5 is a new data set.
    dataset = make_synthetic100(200, 100)
    assert hashlib.md5(dataset.x_train.tobytes()).hexdigest() == "c465a5adcdd2dd6a77a8015e99a3e7bb"
    assert hashlib.md5(dataset.x_test.tobytes()).hexdigest() == "5bff2aea38a5aebea29ebd8bdad2b98c"


def test_a_smaller_synthetic100_is_the_beginning_of_a_larger_one(synthetic: Dataset) -> None:
    small = make_synthetic100(150, 7)
    np.testing.assert_array_equal(small.x_train, synthetic.x_train[:150])
    np.testing.assert_array_equal(small.y_test, synthetic.y_test[:7])
    np.testing.assert_array_equal(small.x_test, synthetic.x_test[:7])


def test_seeds_splits_and_images_differ(synthetic: Dataset) -> None:
    other = make_synthetic100(100, 100, seed=1)
    assert not (other.x_train == synthetic.x_train[:100]).all(axis=(1, 2, 3)).any()
    assert not (synthetic.x_train[:1000] == synthetic.x_test).all(axis=(1, 2, 3)).any()
    assert len({image.tobytes() for image in synthetic.x_train}) == len(synthetic.x_train)


def test_images_use_the_whole_range_and_every_channel(synthetic: Dataset) -> None:
    x = synthetic.x_train
    assert x.min() == 0 and x.max() == 255
    assert ((x.mean(axis=(0, 1, 2)) > 100) & (x.mean(axis=(0, 1, 2)) < 155)).all()
    assert (x.std(axis=(1, 2)) > 3).all()  # no image without a picture
    assert np.abs(x[..., 0].astype(int) - x[..., 1]).mean() > 10  # colours, not greys


def test_a_linear_model_fails(synthetic: Dataset) -> None:
    from sklearn.linear_model import RidgeClassifier

    def features(x: np.ndarray) -> np.ndarray:  # 16 x 16: quicker to fit, and easier for it than all pixels
        return x.reshape(len(x), 16, 2, 16, 2, 3).mean(axis=(2, 4)).reshape(len(x), -1) / 255 - 0.5

    model = RidgeClassifier(100.0).fit(features(synthetic.x_train), synthetic.y_train)
    assert 0.01 < model.score(features(synthetic.x_test), synthetic.y_test) < 0.4


@pytest.mark.slow
@pytest.mark.oracle
def test_a_small_network_learns_it() -> None:
    torch = pytest.importorskip("torch")
    dataset = make_synthetic100()
    torch.manual_seed(0)
    layers: list = []
    for inputs, outputs in ((3, 32), (32, 64), (64, 128)):
        layers += [torch.nn.Conv2d(inputs, outputs, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
    layers += [torch.nn.Flatten(), torch.nn.Linear(2048, 256), torch.nn.ReLU(), torch.nn.Linear(256, 100)]
    net = torch.nn.Sequential(*layers)

    def images(x: np.ndarray) -> object:
        return torch.tensor(x).permute(0, 3, 1, 2).float() / 127.5 - 1

    x, y, epochs, size = images(dataset.x_train), torch.tensor(dataset.y_train), 4, 128
    optimizer = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * -(-len(x) // size))
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(size):
            loss = torch.nn.functional.cross_entropy(net(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        accuracy = (net(images(dataset.x_test)).argmax(1).numpy() == dataset.y_test).mean()
    assert 0.6 < accuracy < 0.97


@pytest.mark.parametrize("sizes", [(0, 10), (10, 0), (-1, 10)])
def test_synthetic100_needs_images(sizes: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="at least 1 is needed"):
        make_synthetic100(*sizes)


# ---------------------------------------------------------------- digits
def test_digits() -> None:
    from sklearn.datasets import load_digits

    dataset = load_dataset("digits")
    assert dataset.x_train.shape == (1437, 8, 8, 1) and dataset.x_test.shape == (360, 8, 8, 1)
    assert dataset.class_names == tuple("0123456789") and dataset.input_shape == (8, 8, 1)
    for y in (dataset.y_train, dataset.y_test):  # the same share of every digit in both
        assert np.ptp(np.bincount(y) / len(y) - np.bincount(load_digits().target) / 1797) < 0.005
    # Every image is there once, its 0 ... 16 spread over 0 ... 255.
    both = np.concatenate([dataset.x_train, dataset.x_test])[..., 0]
    assert set(np.unique(both)) <= {round(level * 255 / 16 + 1e-9) for level in range(17)} and both.max() == 255
    restored = np.round(both.astype(int) * 16 / 255).astype(int).reshape(1797, -1)
    assert sorted(map(tuple, restored)) == sorted(map(tuple, load_digits().data.astype(int)))
    again = load_dataset("digits", seed=5)
    np.testing.assert_array_equal(again.x_test, dataset.x_test)  # the test set does not depend on a seed


def test_digits_are_the_same_where_scikit_learn_keeps_them_elsewhere(monkeypatch) -> None:
    expected = load_dataset("digits")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for part in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(load_dataset("digits"), part), getattr(expected, part))


# ---------------------------------------------------------------- load_dataset
def test_auto_without_cifar_is_synthetic100_and_says_so_in_one_line(no_cifar: Path) -> None:
    dataset = load_dataset(limit_train=100, limit_test=100)
    assert dataset.name == "synthetic100"
    assert "\n" not in dataset.note and "--data cifar100" in dataset.note and str(no_cifar) in dataset.note
    assert "cifar100" not in load_dataset("synthetic100", limit_train=100, limit_test=100).note


def test_auto_names_the_folder_of_the_environment_that_has_no_cifar(no_cifar: Path, monkeypatch) -> None:
    monkeypatch.setenv("NPSOFTMAX_DATA", str(no_cifar / "elsewhere"))
    assert str(no_cifar / "elsewhere") in load_dataset(limit_train=1, limit_test=1).note


def test_cifar_that_is_not_there_is_an_error_with_the_command_to_type(no_cifar: Path) -> None:
    with pytest.raises(InputError, match="npsoftmax data download cifar10,") as error:
        load_dataset("cifar10")
    assert str(no_cifar) in str(error.value)


@pytest.mark.parametrize("name", ["synthetic100", "digits"])
def test_limits(name: str) -> None:
    dataset = load_dataset(name, limit_train=200, limit_test=100)
    assert len(dataset.x_train) == len(dataset.y_train) == 200 and len(dataset.x_test) == 100
    assert np.ptp(np.bincount(dataset.y_train, minlength=dataset.n_classes)) <= 1
    again = load_dataset(name, limit_train=200, limit_test=100)
    np.testing.assert_array_equal(dataset.x_train, again.x_train)
    for limits in ({"limit_train": 0}, {"limit_train": 10**6}, {"limit_test": -5}, {"limit_test": 10**6}):
        option = "--" + next(iter(limits)).replace("_", "-")
        with pytest.raises(InputError, match=rf"{option} is .* from 1 to \d+ was expected"):
            load_dataset(name, **limits)


def test_unknown_data_set() -> None:
    with pytest.raises(InputError, match=r"unknown data set 'cifar-100'\. Did you mean 'cifar10") as error:
        load_dataset("cifar-100")
    assert all(name in str(error.value) for name in DATASETS)


# ---------------------------------------------------------------- Dataset
GOOD = Dataset(
    name="tiny",
    x_train=np.zeros((4, 2, 2, 1), np.uint8),
    y_train=np.array([0, 1, 0, 1]),
    x_test=np.zeros((2, 2, 2, 1), np.uint8),
    y_test=np.array([1, 0]),
    class_names=("a", "b"),
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": np.zeros((4, 2, 2, 1), np.float32)}, "training images must be uint8"),
        ({"x_test": np.zeros((2, 2, 2), np.uint8)}, r"test images must be uint8 \(N, H, W, C\)"),
        ({"x_test": np.zeros((2, 2, 3, 1), np.uint8)}, "training images are"),
        ({"x_test": np.zeros((0, 2, 2, 1), np.uint8), "y_test": np.zeros(0, np.int64)}, "there are no test images"),
        ({"y_train": np.array([0, 1, 0])}, r"training labels must be int64 \(4,\)"),
        ({"y_train": np.array([0.0, 1, 0, 1])}, "training labels must be int64"),
        ({"y_train": np.array([0, 1, 0, 2])}, "training labels must be 0 to 1, but are 0 to 2"),
        ({"y_test": np.array([-1, 0])}, "test labels must be 0 to 1, but are -1 to 0"),
        ({"class_names": ("a", "a")}, "same name"),
        ({"coarse": np.array([0, 0])}, "must be given together"),
        ({"coarse": np.array([0]), "coarse_names": ("g",)}, r"superclasses must be int64 \(2,\)"),
        ({"coarse": np.array([0, 1]), "coarse_names": ("g",)}, "superclasses must be 0 to 0"),
    ],
)
def test_a_data_set_checks_itself(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        dataclasses.replace(GOOD, **change)
    assert "'tiny'" in str(error.value)
