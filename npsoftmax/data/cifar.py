"""CIFAR-10 and CIFAR-100 from their official files, in the python and the binary edition.

Every image is 3072 bytes: the red plane, then green, then blue, row by row. Binary records carry the labels in front:
one byte (CIFAR-10), or superclass and class (CIFAR-100). Each file is compared with its published md5 before a byte
of it is read as anything.
Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009; www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from npsoftmax.data.dataset import Dataset
from npsoftmax.data.pickles import BadPickle, as_array, as_text, read_pickle
from npsoftmax.errors import InputError, unknown_name

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Edition:
    """The files of one data set in one format. `md5` None: the archive's md5 is all that is published."""

    dataset: str
    title: str
    folder: str
    archive: str
    archive_md5: str
    train: dict[str, str]  # file -> md5
    test: dict[str, str]
    names: dict[str, str | None]
    n_classes: int
    n_coarse: int = 0

    @property
    def binary(self) -> bool:
        return self.archive.endswith("binary.tar.gz")

    @property
    def files(self) -> dict[str, str | None]:
        return {**self.train, **self.test, **self.names}


EDITIONS = (
    Edition(
        dataset="cifar100",
        title="CIFAR-100",
        folder="cifar-100-python",
        archive="cifar-100-python.tar.gz",
        archive_md5="eb9058c3a382ffc7106e4002c42a8d85",
        train={"train": "16019d7e3df5f24257cddd939b257f8d"},
        test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
        names={"meta": "7973b15100ade9c7d40fb424638fde48"},
        n_classes=100,
        n_coarse=20,
    ),
    Edition(
        dataset="cifar100",
        title="CIFAR-100",
        folder="cifar-100-binary",
        archive="cifar-100-binary.tar.gz",
        archive_md5="03b5dce01913d631647c71ecec9e9cb8",
        train={"train.bin": "6172c7755cfe09b2fe270c85cebc1b15"},
        test={"test.bin": "4499cfba6c016c1be1438163640a0898"},
        names={"fine_label_names.txt": None, "coarse_label_names.txt": None},
        n_classes=100,
        n_coarse=20,
    ),
    Edition(
        dataset="cifar10",
        title="CIFAR-10",
        folder="cifar-10-batches-py",
        archive="cifar-10-python.tar.gz",
        archive_md5="c58f30108f718f92721af3b95e74349a",
        train={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
        test={"test_batch": "40351d587109b95175f43aff81a1287e"},
        names={"batches.meta": "5ff9c542aee3614f3951f8cda6e48888"},
        n_classes=10,
    ),
    Edition(
        dataset="cifar10",
        title="CIFAR-10",
        folder="cifar-10-batches-bin",
        archive="cifar-10-binary.tar.gz",
        archive_md5="c32a1d4ab5d03f1284b67883e8d87530",
        train={
            "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
            "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
            "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
            "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
            "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
        },
        test={"test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d"},
        names={"batches.meta.txt": None},
        n_classes=10,
    ),
)
CIFAR_NAMES = tuple(dict.fromkeys(edition.dataset for edition in EDITIONS))


# ---------------------------------------------------------------- finding
def editions_of(name: str) -> tuple[Edition, ...]:
    """The editions of the data set called `name`, the python edition first. Raises InputError for another name."""
    if name not in CIFAR_NAMES:
        raise unknown_name("data set to download", name, CIFAR_NAMES)
    return tuple(edition for edition in EDITIONS if edition.dataset == name)


def find_cifar(name: str, places: Sequence[Path]) -> tuple[Edition, Path] | None:
    """The first folder that holds an edition of `name`: one of `places`, or the edition's own folder in it."""
    for place in places:
        for edition in editions_of(name):
            if (place / edition.folder).is_dir():
                return edition, place / edition.folder
            # A folder of any name will do when every file is there.
            if place.name == edition.folder and place.is_dir() or all((place / f).is_file() for f in edition.files):
                return edition, place
    return None


def default_places() -> list[Path]:
    """Where data sets are looked for when no folder is given: $NPSOFTMAX_DATA, then the user's cache."""
    given = os.environ.get("NPSOFTMAX_DATA", "")
    return [Path(given).expanduser(), user_cache()] if given else [user_cache()]


def user_cache() -> Path:
    """The folder that downloads go to unless another is given."""
    import pooch

    return Path(pooch.os_cache("npsoftmax"))


# ---------------------------------------------------------------- reading
def read_cifar(edition: Edition, folder: Path, *, check_md5: bool = True) -> Dataset:
    """Read an edition from `folder`. `check_md5=False` reads files of the same format but of another content.

    Raises InputError that names the file, what is wrong with it and what to type.
    """
    train = _read_split(edition, folder, edition.train, check_md5)
    test = _read_split(edition, folder, edition.test, check_md5)
    class_names, coarse_names = _read_names(edition, folder, check_md5)
    return Dataset(
        name=edition.dataset,
        x_train=train.x,
        y_train=train.y,
        x_test=test.x,
        y_test=test.y,
        class_names=class_names,
        coarse=_superclasses(edition, folder, train) if edition.n_coarse else None,
        coarse_names=coarse_names,
        note=f"{edition.title} from {folder}",
    )


def file_problems(edition: Edition, folder: Path) -> Iterator[tuple[str, str | None]]:
    """(file, None or what is wrong with it) of every file; those without a published md5 only have to be there."""
    for file, md5 in edition.files.items():
        path = folder / file
        if not path.is_file():
            yield file, "is missing"
            continue
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "md5").hexdigest()
        yield file, _md5_problem(found, md5)


@dataclass(frozen=True, eq=False)
class _Split:
    x: np.ndarray  # uint8 (N, 32, 32, 3)
    y: np.ndarray  # int64 (N,)
    coarse: np.ndarray | None


def _read_split(edition: Edition, folder: Path, files: dict[str, str], check_md5: bool) -> _Split:
    parts = []
    for file, md5 in files.items():
        path = folder / file
        data = _read_file(edition, path, md5 if check_md5 else None)
        try:
            rows, y, coarse = (_binary_records if edition.binary else _python_records)(edition, data)
        except BadPickle as problem:
            raise _error(edition, path, str(problem)) from None
        _check_labels(edition, path, y, edition.n_classes)
        if coarse is not None:
            _check_labels(edition, path, coarse, edition.n_coarse)
        parts.append((rows, y, coarse))
    x = np.empty((sum(len(rows) for rows, _, _ in parts), 32, 32, 3), np.uint8)
    start = 0
    for rows, _, _ in parts:
        x[start : start + len(rows)] = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        start += len(rows)
    y = np.concatenate([y for _, y, _ in parts])
    coarse = np.concatenate([c for _, _, c in parts]) if edition.n_coarse else None
    return _Split(x, y, coarse)


def _binary_records(edition: Edition, data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    labels = 2 if edition.n_coarse else 1
    if not data or len(data) % (labels + PIXELS):
        raise BadPickle(f"is {len(data):,} bytes long, not a whole number of records of {labels + PIXELS} bytes")
    records = np.frombuffer(data, np.uint8).reshape(-1, labels + PIXELS)
    y = records[:, labels - 1].astype(np.int64)
    return records[:, labels:], y, records[:, 0].astype(np.int64) if edition.n_coarse else None


def _python_records(edition: Edition, data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    content = _python_dict(data)
    rows = as_array(_entry(content, "data"))
    if rows.ndim != 2 or rows.shape[1] != PIXELS or len(rows) == 0:
        raise BadPickle(f"holds an array of shape {rows.shape}, but (images, {PIXELS}) was expected")
    y = _label_list(content, "fine_labels" if edition.n_coarse else "labels", len(rows))
    return rows, y, _label_list(content, "coarse_labels", len(rows)) if edition.n_coarse else None


def _python_dict(data: bytes) -> dict[str, object]:
    content = read_pickle(data)
    if not isinstance(content, dict):
        raise BadPickle("does not hold a dict")
    return content


def _entry(content: dict[str, object], key: str) -> object:
    if key not in content:
        raise BadPickle(f"has no entry {key!r}")
    return content[key]


def _label_list(content: dict[str, object], key: str, n: int) -> np.ndarray:
    labels = _entry(content, key)
    if not (isinstance(labels, list) and all(type(label) is int for label in labels)):
        raise BadPickle(f"has an entry {key!r} that is not a list of whole numbers")
    if len(labels) != n:
        raise BadPickle(f"has {n} images but {len(labels)} {key}")
    # Clipped to what a label can be, so that no number is too large for int64; the range is checked next.
    return np.array([min(max(label, -1), 1000) for label in labels], np.int64)


def _check_labels(edition: Edition, path: Path, labels: np.ndarray, n_classes: int) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if len(wrong):
        raise _error(edition, path, f"gives image {wrong[0]} a label outside 0 to {n_classes - 1}")


def _read_names(edition: Edition, folder: Path, check_md5: bool) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    contents = {f: _read_file(edition, folder / f, md5 if check_md5 else None) for f, md5 in edition.names.items()}
    path = folder / next(iter(contents))
    try:
        if edition.binary:
            lists = [data.decode("latin1").split() for data in contents.values()]
        else:
            keys = ["fine_label_names", "coarse_label_names"] if edition.n_coarse else ["label_names"]
            content = _python_dict(contents[path.name])
            lists = [_name_list(content, key) for key in keys]
    except BadPickle as problem:
        raise _error(edition, path, str(problem)) from None
    for names, expected in zip(lists, [edition.n_classes, edition.n_coarse], strict=False):
        if len(set(names)) != expected or len(names) != expected:
            raise _error(edition, path, f"has {len(names)} names ({len(set(names))} different) where {expected} belong")
    return tuple(lists[0]), tuple(lists[1]) if edition.n_coarse else None


def _name_list(content: dict[str, object], key: str) -> list[str]:
    names = _entry(content, key)
    if not isinstance(names, list):
        raise BadPickle(f"has an entry {key!r} that is not a list")
    return [as_text(name) for name in names]


def _superclasses(edition: Edition, folder: Path, train: _Split) -> np.ndarray:
    """The superclass of each class, as the labels of the training images tell."""
    coarse = np.zeros(edition.n_classes, np.int64)
    coarse[train.y] = train.coarse
    path = folder / next(iter(edition.train))
    if not np.array_equal(coarse[train.y], train.coarse):
        raise _error(edition, path, "puts one class into two superclasses")
    missing = np.setdiff1d(np.arange(edition.n_classes), train.y)
    if len(missing):
        raise _error(edition, path, f"has no image of class {missing[0]}")
    return coarse


# ---------------------------------------------------------------- files
def _read_file(edition: Edition, path: Path, md5: str | None) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise _error(edition, path, "is missing") from None
    except OSError as error:
        raise _error(edition, path, f"cannot be read ({error.strerror})") from None
    problem = _md5_problem(hashlib.md5(data).hexdigest(), md5) if md5 else None
    if problem:
        raise _error(edition, path, f"{problem} ({len(data):,} bytes)")
    return data


def _md5_problem(found: str, expected: str | None) -> str | None:
    if expected is None or found == expected:
        return None
    return f"is not the official file: its md5 is {found}, but {expected} was expected"


def _error(edition: Edition, path: Path, problem: str) -> InputError:
    return InputError(
        f"{path} {problem}. To get the official files, type: npsoftmax data download {edition.dataset} "
        f"--data-dir {path.parent.parent if path.parent.name == edition.folder else path.parent}"
    )
