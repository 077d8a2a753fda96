"""CIFAR-10 and CIFAR-100 from their official files, in the python and the binary edition.

Every image is 3072 bytes: the red plane, then green, then blue, row by row. Binary records carry the labels
in front: one byte (CIFAR-10), or superclass and class (CIFAR-100). Each file is compared with its published
md5 before a byte of it is read as anything.
Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009;
www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import codecs
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from npsoftmax.data.dataset import Dataset
from npsoftmax.data.editions import Edition, file_error, md5_problem
from npsoftmax.data.pickles import BadData, as_array, as_text, read_pickle
from npsoftmax.files import read_up_to

PIXELS = 3 * 32 * 32
MOST_BYTES = 2**28  # of a file; the largest official one has 155 million
MOST_NAMES = 1000  # of classes
MOST_TEXT = 2**16  # bytes of a file of names


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
        coarse=None if train.coarse is None else _superclasses(edition, folder, train.y, train.coarse),
        coarse_names=coarse_names,
        note=f"{edition.title} from {folder}",
    )


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
        except BadData as problem:
            raise file_error(edition, path, str(problem)) from None
        _check_labels(edition, path, y, edition.n_classes)
        if coarse is not None:
            _check_labels(edition, path, coarse, edition.n_coarse)
        parts.append((rows, y, coarse))
    x = _images([rows for rows, _, _ in parts])
    y = np.concatenate([y for _, y, _ in parts])
    coarse = np.concatenate([c for _, _, c in parts]) if edition.n_coarse else None
    return _Split(x, y, coarse)


def _images(parts: list[np.ndarray]) -> np.ndarray:
    """Rows of three colour planes (N, 3072) -> (N, 32, 32, 3).

    A plane and a few images at a time, to stay in the cache: four times as fast as one transpose.
    """
    x = np.empty((sum(map(len, parts)), 32, 32, 3), np.uint8)
    filled = 0
    for rows in parts:
        planes = rows.reshape(-1, 3, 32, 32)
        for start in range(0, len(planes), 500):
            some = planes[start : start + 500]
            for channel in range(3):
                x[filled + start : filled + start + len(some), ..., channel] = some[:, channel]
        filled += len(rows)
    return x


def _binary_records(edition: Edition, data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    labels = 2 if edition.n_coarse else 1
    if not data or len(data) % (labels + PIXELS):
        raise BadData(f"is {len(data):,} bytes long, not a whole number of records of {labels + PIXELS} bytes")
    records = np.frombuffer(data, np.uint8).reshape(-1, labels + PIXELS)
    y = records[:, labels - 1].astype(np.int64)
    return records[:, labels:], y, records[:, 0].astype(np.int64) if edition.n_coarse else None


def _python_records(edition: Edition, data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    content = _python_dict(data)
    rows = as_array(_entry(content, "data"))
    if rows.ndim != 2 or rows.shape[1] != PIXELS or len(rows) == 0:
        raise BadData(f"holds an array of shape {rows.shape}, but (images, {PIXELS}) was expected")
    y = _label_list(content, "fine_labels" if edition.n_coarse else "labels", len(rows))
    return rows, y, _label_list(content, "coarse_labels", len(rows)) if edition.n_coarse else None


def _python_dict(data: bytes) -> dict[str, object]:
    content = read_pickle(data)
    if not isinstance(content, dict):
        raise BadData("does not hold a dict")
    return content


def _entry(content: dict[str, object], key: str) -> object:
    if key not in content:
        raise BadData(f"has no entry {key!r}")
    return content[key]


def _label_list(content: dict[str, object], key: str, n: int) -> np.ndarray:
    labels = _entry(content, key)
    if not (isinstance(labels, list) and all(type(label) is int for label in labels)):
        raise BadData(f"has an entry {key!r} that is not a list of whole numbers")
    if len(labels) != n:
        raise BadData(f"has {n} images but {len(labels)} {key}")
    # Clipped to what a label can be, so that no number is too large for int64; the range is checked next.
    return np.array([min(max(label, -1), 1000) for label in labels], np.int64)


def _check_labels(edition: Edition, path: Path, labels: np.ndarray, n_classes: int) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if len(wrong):
        raise file_error(edition, path, f"gives image {wrong[0]} a label outside 0 to {n_classes - 1}")


def _read_names(edition: Edition, folder: Path, check_md5: bool) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    contents = {f: _read_file(edition, folder / f, md5 if check_md5 else None) for f, md5 in edition.names.items()}
    paths = [folder / file for file in contents] * 2  # the python edition has all names in one file
    try:
        if edition.binary:
            lists = [_words(data) for data in contents.values()]
        else:
            keys = ["fine_label_names", "coarse_label_names"] if edition.n_coarse else ["label_names"]
            content = _python_dict(contents[paths[0].name])
            lists = [_name_list(content, key) for key in keys]
    except BadData as problem:
        raise file_error(edition, paths[0], str(problem)) from None
    for path, names, expected in zip(paths, lists, [edition.n_classes, edition.n_coarse], strict=False):
        different = len(set(names))
        if len(names) != expected or different != expected:
            raise file_error(edition, path, f"has {len(names)} names ({different} different), not {expected}")
    return tuple(lists[0]), tuple(lists[1]) if edition.n_coarse else None


def _words(data: bytes) -> list[str]:
    if len(data) > MOST_TEXT:
        raise BadData(f"is {len(data):,} bytes long, too long for names")
    return data.removeprefix(codecs.BOM_UTF8).decode("latin1").split()


def _name_list(content: dict[str, object], key: str) -> list[str]:
    names = _entry(content, key)
    if not isinstance(names, list):
        raise BadData(f"has an entry {key!r} that is not a list")
    if len(names) > MOST_NAMES:
        raise BadData(f"has {len(names):,} names")
    return [as_text(name) for name in names]


def _superclasses(edition: Edition, folder: Path, y: np.ndarray, coarse_y: np.ndarray) -> np.ndarray:
    """The superclass of each class, found from the labels of the training images."""
    coarse = np.zeros(edition.n_classes, np.int64)
    coarse[y] = coarse_y
    path = folder / next(iter(edition.train))
    if not np.array_equal(coarse[y], coarse_y):
        raise file_error(edition, path, "puts one class into two superclasses")
    missing = np.setdiff1d(np.arange(edition.n_classes), y)
    if len(missing):
        raise file_error(edition, path, f"has no image of class {missing[0]}")
    return coarse


# ---------------------------------------------------------------- files
def _read_file(edition: Edition, path: Path, md5: str | None) -> bytes:
    try:
        data = read_up_to(path, MOST_BYTES + 1)
    except FileNotFoundError:
        raise file_error(edition, path, "is missing") from None
    except OSError as error:
        raise file_error(edition, path, f"cannot be read ({error.strerror})") from None
    if len(data) > MOST_BYTES:
        raise file_error(edition, path, f"is longer than {MOST_BYTES:,} bytes")
    problem = md5_problem(hashlib.md5(data).hexdigest(), md5) if md5 else None
    if problem:
        raise file_error(edition, path, f"{problem} ({len(data):,} bytes)")
    return data
