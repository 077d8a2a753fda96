"""The CIFAR readers: both editions of both sets, written here in small; damage of every kind; the real files."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npsoftmax.data import Dataset, load_dataset
from npsoftmax.data.cifar import read_cifar
from npsoftmax.data.editions import EDITIONS, Edition, find_cifar
from npsoftmax.errors import InputError

PER_CLASS = 2
BY_FOLDER = {edition.folder: edition for edition in EDITIONS}


def content(edition: Edition, file_number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images (N, 32, 32, 3), labels and superclasses of one small file, every class PER_CLASS times."""
    rng = np.random.default_rng(file_number)
    y = rng.permutation(np.repeat(np.arange(edition.n_classes), PER_CLASS))
    return rng.integers(0, 256, (len(y), 32, 32, 3), dtype=np.uint8), y, y * 7 % (edition.n_coarse or 1)


def write_edition(edition: Edition, folder: Path, protocol: int = 2) -> Path:
    """Write the files of `edition` in its format but with small content."""
    folder.mkdir(parents=True)
    for number, file in enumerate([*edition.train, *edition.test]):
        x, y, coarse = content(edition, number)
        rows = np.concatenate([x[..., channel].reshape(len(x), -1) for channel in range(3)], axis=1)  # planes
        if edition.binary:
            labels = [coarse, y] if edition.n_coarse else [y]
            records = np.concatenate([np.stack(labels, axis=1).astype(np.uint8), rows], axis=1)
            (folder / file).write_bytes(records.tobytes())
        else:
            keys = {"fine_labels": y, "coarse_labels": coarse} if edition.n_coarse else {"labels": y}
            value = {key: labels.tolist() for key, labels in keys.items()} | {
                "data": rows,
                "filenames": ["a"],
            }
            (folder / file).write_bytes(pickle.dumps(value, protocol=protocol))
    fine = [f"class_{i}" for i in range(edition.n_classes)]
    coarse_names = [f"group_{i}" for i in range(edition.n_coarse)]
    if edition.binary:
        for file, names in zip(edition.names, [fine, coarse_names], strict=False):
            (folder / file).write_text("\n".join(names) + "\n\n")
    else:
        value = {"fine_label_names": fine, "coarse_label_names": coarse_names, "label_names": fine}
        (folder / next(iter(edition.names))).write_bytes(pickle.dumps(value, protocol=protocol))
    return folder


@pytest.fixture(params=EDITIONS, ids=lambda edition: edition.folder)
def edition(request: pytest.FixtureRequest) -> Edition:
    return request.param


@pytest.fixture
def folder(edition: Edition, tmp_path: Path) -> Path:
    return write_edition(edition, tmp_path / edition.folder)


def test_reads_back_what_was_written(edition: Edition, folder: Path) -> None:
    dataset = read_cifar(edition, folder, check_md5=False)
    train = [content(edition, i) for i in range(len(edition.train))]
    x_test, y_test, _ = content(edition, len(edition.train))
    np.testing.assert_array_equal(dataset.x_train, np.concatenate([x for x, _, _ in train]))
    np.testing.assert_array_equal(dataset.y_train, np.concatenate([y for _, y, _ in train]))
    np.testing.assert_array_equal(dataset.x_test, x_test)
    np.testing.assert_array_equal(dataset.y_test, y_test)
    assert dataset.n_classes == edition.n_classes and dataset.class_names[3] == "class_3"
    assert dataset.input_shape == (32, 32, 3) and str(folder) in dataset.note
    if edition.n_coarse:
        np.testing.assert_array_equal(dataset.coarse, np.arange(100) * 7 % 20)
        assert dataset.coarse_names[19] == "group_19"
    else:
        assert dataset.coarse is None and dataset.coarse_names is None


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_every_binary_pickle_protocol(tmp_path: Path, protocol: int) -> None:
    edition = BY_FOLDER["cifar-100-python"]
    dataset = read_cifar(edition, write_edition(edition, tmp_path / "x", protocol), check_md5=False)
    np.testing.assert_array_equal(dataset.x_train, content(edition, 0)[0])


def test_finds_the_folder_itself_or_the_one_around_it(edition: Edition, folder: Path) -> None:
    for given_folder in (folder, folder.parent):
        dataset = load_dataset(edition.dataset, given_folder, check_md5=False)
        assert dataset.name == edition.dataset and dataset.note == f"{edition.title} from {folder}"
    renamed = folder.rename(folder.parent / "my data")
    assert find_cifar(edition.dataset, [folder.parent]) is None
    assert find_cifar(edition.dataset, [folder.parent, renamed]) == (edition, renamed)


def test_the_md5_is_checked_unless_told_otherwise(edition: Edition, folder: Path) -> None:
    first = folder / next(iter(edition.train))
    with pytest.raises(InputError, match=r"not the official file: its md5 is [0-9a-f]{32}") as error:
        load_dataset(edition.dataset, folder)
    assert str(first) in str(error.value) and next(iter(edition.train.values())) in str(error.value)
    assert f"npsoftmax data download {edition.dataset} --data-dir {folder.parent}" in str(error.value)


def test_the_md5_is_checked_before_anything_is_parsed(edition: Edition, folder: Path) -> None:
    path = folder / next(iter(edition.train))
    path.write_bytes(b"cos\nsystem\n.")
    with pytest.raises(InputError, match="not the official file"):
        read_cifar(edition, folder)
    if not edition.binary:
        with pytest.raises(InputError, match=r"'os\.system'.*nothing of it was run"):
            read_cifar(edition, folder, check_md5=False)


def test_each_missing_file_is_named(edition: Edition, folder: Path) -> None:
    for file in edition.files:
        whole = (folder / file).read_bytes()
        (folder / file).unlink()
        with pytest.raises(InputError, match="is missing") as error:
            load_dataset(edition.dataset, folder, check_md5=False)
        assert str(folder / file) in str(error.value) and "npsoftmax data download" in str(error.value)
        (folder / file).write_bytes(whole)


def test_truncation_anywhere_is_an_InputError_that_names_the_file(edition: Edition, folder: Path) -> None:
    path = folder / next(iter(edition.train))
    whole = path.read_bytes()
    for length in np.linspace(0, len(whole) - 1, 50).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError) as error:
            read_cifar(edition, folder, check_md5=False)
        assert str(path) in str(error.value)


Change = Callable[[dict], None]
WRONG_CONTENT: dict[str, tuple[Change, str]] = {
    "label too large": (lambda d: d["fine_labels"].__setitem__(5, 100), "image 5 a label outside 0 to 99"),
    "negative label": (lambda d: d["fine_labels"].__setitem__(7, -1), "image 7 a label outside 0 to 99"),
    "label beyond int64": (lambda d: d["fine_labels"].__setitem__(0, 2**90), "image 0 a label outside"),
    "label of another type": (lambda d: d["fine_labels"].__setitem__(0, "3"), "not a list of whole numbers"),
    "superclass too large": (
        lambda d: d["coarse_labels"].__setitem__(2, 20),
        "image 2 a label outside 0 to 19",
    ),
    "two superclasses": (
        lambda d: d["coarse_labels"].__setitem__(0, (d["coarse_labels"][0] + 1) % 20),
        "two super",
    ),
    "too few labels": (lambda d: d["fine_labels"].pop(), "200 images but 199 fine_labels"),
    "no labels": (lambda d: d.pop("fine_labels"), "no entry 'fine_labels'"),
    "labels of another type": (lambda d: d.update(fine_labels={}), "not a list of whole numbers"),
    "no images": (lambda d: d.update(data=d["data"][:0]), "array of shape"),
    "short rows": (lambda d: d.update(data=np.ascontiguousarray(d["data"][:, :3000])), "array of shape"),
    "another dtype": (lambda d: d.update(data=d["data"].astype(np.uint16)), "another type than uint8"),
    "no array": (lambda d: d.update(data=[1, 2]), "where an array belongs"),
    "a class without images": (
        lambda d: d.update(fine_labels=[min(y, 98) for y in d["fine_labels"]], coarse_labels=[0] * 200),
        "no image of class 99",
    ),
}


@pytest.mark.parametrize("name", WRONG_CONTENT)
def test_wrong_content_is_an_InputError_that_says_what(name: str, tmp_path: Path) -> None:
    change, message = WRONG_CONTENT[name]
    edition = BY_FOLDER["cifar-100-python"]
    folder = write_edition(edition, tmp_path / edition.folder)
    value = pickle.loads((folder / "train").read_bytes())
    change(value)
    (folder / "train").write_bytes(pickle.dumps(value, protocol=4))
    with pytest.raises(InputError, match=message) as error:
        read_cifar(edition, folder, check_md5=False)
    assert str(folder / "train") in str(error.value)


def test_binary_files_with_wrong_size_or_labels(tmp_path: Path) -> None:
    for name, label in (("cifar-100-binary", 100), ("cifar-10-batches-bin", 10)):
        edition = BY_FOLDER[name]
        folder = write_edition(edition, tmp_path / name)
        path = folder / next(iter(edition.test))
        data = bytearray(path.read_bytes())
        path.write_bytes(data + b"\0")
        with pytest.raises(InputError, match="whole number of records"):
            read_cifar(edition, folder, check_md5=False)
        data[1 if edition.n_coarse else 0] = label
        path.write_bytes(data)
        with pytest.raises(InputError, match=f"image 0 a label outside 0 to {label - 1}"):
            read_cifar(edition, folder, check_md5=False)


def test_names_must_be_as_many_as_classes(edition: Edition, folder: Path) -> None:
    path = folder / next(iter(edition.names))
    names = ["same"] * edition.n_classes
    names_file = pickle.dumps({"fine_label_names": names, "coarse_label_names": [], "label_names": names}, 2)
    good = path.read_bytes()
    path.write_bytes("\n".join(names).encode() if edition.binary else names_file)
    with pytest.raises(InputError, match=rf"{edition.n_classes} names \(1 different\)"):
        read_cifar(edition, folder, check_md5=False)
    if len(edition.names) == 2:
        path.write_bytes(good)
        (folder / "coarse_label_names.txt").write_text("one two")
        with pytest.raises(InputError, match=r"coarse_label_names\.txt has 2 names \(2 different\), not 20"):
            read_cifar(edition, folder, check_md5=False)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_edition(BY_FOLDER["cifar-100-python"], tmp_path_factory.mktemp("fuzz") / "cifar-100-python")


@given(
    file=st.sampled_from(["train", "test", "meta"]),
    damage=st.lists(st.tuples(st.integers(-1500, 1500), st.integers(0, 255)), min_size=1, max_size=5),
)
def test_damaged_bytes_give_a_data_set_or_an_InputError(small: Path, file: str, damage: list[tuple[int, int]]) -> None:
    path = small / file
    whole = path.read_bytes()
    data = bytearray(whole)
    for place, value in damage:
        data[place % len(data)] = value
    path.write_bytes(data)
    try:
        assert isinstance(load_dataset("cifar100", small, check_md5=False), Dataset)
    except InputError as error:
        assert str(small) in str(error)
    finally:
        path.write_bytes(whole)


def test_a_folder_without_cifar_is_an_error_even_for_auto(tmp_path: Path) -> None:
    for name in ("auto", "cifar100"):
        with pytest.raises(InputError, match="looked for a folder cifar-100-python or cifar-100-binary") as error:
            load_dataset(name, tmp_path)
        assert str(tmp_path) in str(error.value) and "npsoftmax data download cifar100" in str(error.value)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file, but the folder"):
        load_dataset("auto", tmp_path / "file")


def test_auto_takes_cifar_from_the_environment(monkeypatch: pytest.MonkeyPatch, small: Path) -> None:
    monkeypatch.setenv("NPSOFTMAX_DATA", str(small.parent))
    assert load_dataset(check_md5=False).name == "cifar100"


def test_limits_take_an_equal_share_of_every_class(small: Path) -> None:
    whole = load_dataset("cifar100", small, check_md5=False)
    part = load_dataset("cifar100", small, limit_train=100, limit_test=150, check_md5=False)
    assert np.bincount(part.y_train).tolist() == [1] * 100
    assert sorted(np.bincount(part.y_test)) == [1] * 50 + [2] * 50
    for label in range(100):
        first = np.flatnonzero(whole.y_train == label)[0]
        np.testing.assert_array_equal(part.x_train[part.y_train == label][0], whole.x_train[first])
    for limits in ({"limit_train": 201}, {"limit_train": 0}, {"limit_test": -1}):
        with pytest.raises(InputError, match="whole number from 1 to 200 was expected"):
            load_dataset("cifar100", small, check_md5=False, **limits)


def test_editions_are_complete() -> None:
    md5s = [md5 for edition in EDITIONS for md5 in [edition.archive_md5, *edition.files.values()] if md5]
    assert all(len(md5) == 32 and set(md5) <= set("0123456789abcdef") for md5 in md5s)
    assert len(set(md5s)) == len(md5s) == 4 + 3 + 2 + 7 + 6
    assert dataclasses.is_dataclass(EDITIONS[0]) and {edition.dataset for edition in EDITIONS} == {
        "cifar10",
        "cifar100",
    }


def test_superclasses_are_labels_of_the_same_images(small: Path) -> None:
    fine = load_dataset("cifar100", small, check_md5=False)
    coarse = load_dataset("cifar100-superclasses", small, check_md5=False)
    assert coarse.class_names == fine.coarse_names and coarse.n_classes == 20 and coarse.coarse is None
    assert np.array_equal(coarse.x_test, fine.x_test)
    assert np.array_equal(coarse.y_train, fine.coarse[fine.y_train])


@pytest.mark.cifar
def test_the_real_cifar100(cifar: Path) -> None:
    dataset = load_dataset("cifar100", cifar)
    assert dataset.x_train.shape == (50_000, 32, 32, 3) and dataset.x_test.shape == (10_000, 32, 32, 3)
    assert np.bincount(dataset.y_train).tolist() == [500] * 100
    assert np.bincount(dataset.y_test).tolist() == [100] * 100
    assert np.bincount(dataset.coarse).tolist() == [5] * 20
    assert dataset.y_test[0] == 49 and dataset.class_names[49] == "mountain"
    assert dataset.coarse_names[dataset.coarse[49]] == "large_natural_outdoor_scenes"
    # The first test image, top left: (R, G, B) = (199, 215, 249); its red plane is what comes first in the file.
    assert dataset.x_test[0, 0, 0].tolist() == [199, 215, 249]
    for fine, coarse in (("baby", "people"), ("oak_tree", "trees"), ("tank", "vehicles_2"), ("ray", "fish")):
        assert dataset.coarse_names[dataset.coarse[dataset.class_names.index(fine)]] == coarse
    limited = load_dataset("cifar100", cifar, limit_train=1000)
    assert np.bincount(limited.y_train).tolist() == [10] * 100
