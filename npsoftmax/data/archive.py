"""Images and labels in a file of NumPy's, as np.savez writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from npsoftmax.data.dataset import Dataset, with_drawn_test
from npsoftmax.data.given import given_images
from npsoftmax.errors import InputError

WHOLE, PARTS = ("x", "y"), ("x_train", "y_train", "x_test", "y_test")
NAMES = "class_names"
EXPECTED = f"arrays {', '.join(PARTS)} were expected, or x and y, and {NAMES} if you like (docs/your-own-data.md)"


def read_arrays(name: str, path: Path, seed: int) -> Dataset:
    """The images and labels of a .npz file; where it has x and y alone, a fifth of each class, drawn by `seed`, is for
    the test.

    Images: bytes (N, H, W, C), or (N, H, W) for grey ones. Labels: whole numbers from 0, or words, which become the
    names of the classes; or label sets (N, C), 1 or true where a label is in the set, 0 or false where it is not.
    Raises InputError for anything else.
    """
    arrays = read_npz(path, EXPECTED)
    parts = PARTS if all(part in arrays for part in PARTS) else WHOLE
    if not all(part in arrays for part in parts):
        raise InputError(f"{path} holds {', '.join(arrays) or 'nothing'}, but {EXPECTED}.")
    unknown = [key for key in arrays if key not in (*parts, NAMES)]
    if unknown:
        raise InputError(f"{path} holds {unknown[0]} too, but {EXPECTED}.")
    images = [_images(path, key, arrays[key]) for key in parts[::2]]
    labels, names = _labels(path, parts[1::2], arrays)
    for key, x, y in zip(parts[::2], images, labels, strict=True):
        if len(x) != len(y):
            raise InputError(f"{path}: {key} has {len(x)} images and {key.replace('x', 'y', 1)} {len(y)} labels.")
    of = f"with sets of {len(names)} labels" if labels[0].ndim == 2 else f"of {len(names)} classes"
    note = f"{sum(map(len, labels)):,} images {of} in {path}"
    if parts is PARTS:
        return Dataset(name, images[0], labels[0], images[1], labels[1], names, note=note)
    (x,), (y,) = images, labels
    return with_drawn_test(name, x, y, names, note, seed)


def read_npz(path: Path, expected: str) -> dict[str, np.ndarray]:
    """The arrays of a file of np.savez by name. InputError, with what was `expected`, where there are none to read."""
    if not path.exists():
        raise InputError(f"there is no file {path}; it is made by np.savez, and {expected}.")
    try:
        with np.load(path, allow_pickle=False) as file:
            if isinstance(file, np.ndarray):
                raise InputError(f"{path} holds one array (np.save), but {expected}: write them with np.savez.")
            return {key: file[key] for key in file.files}
    except InputError:
        raise
    except ValueError as error:
        if "pickle" in str(error).lower():
            raise InputError(
                f"{path} holds Python objects (or is none of np.savez's files), which might run code and are not read: "
                "write arrays of numbers, and words as np.array(words, dtype=str)."
            ) from error
        raise InputError(f"{path} is damaged and cannot be read: {error}.") from error
    except Exception as error:  # NumPy's readers and those of zips raise many kinds for files that are damaged
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{path} cannot be read as a file of np.savez: {reason}.") from error


def _images(path: Path, key: str, x: np.ndarray) -> np.ndarray:
    if x.ndim == 3:
        x = x[..., None]
    if x.dtype.kind == "f":
        factor = " * 255" if x.size and x.max() <= 1 else ""
        raise InputError(
            f"{path}: {key} has floats, but images of a data set are bytes from 0 to 255: "
            f"write ({key}{factor}).round().astype(np.uint8)."
        )
    try:
        return given_images(x)
    except InputError as error:
        raise InputError(f"{path}: in {key}, {str(error).removeprefix('X ').replace('X', key)}") from error


def _labels(
    path: Path, keys: tuple[str, ...], arrays: dict[str, np.ndarray]
) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Labels as int64, or label sets as uint8, of each part, and the names of the classes."""
    given = [arrays[key] for key in keys]
    if any(y.ndim == 2 for y in given):
        return _label_sets(path, keys, arrays)
    for key, y in zip(keys, given, strict=True):
        if y.ndim != 1 or y.dtype.kind not in "iuUS":
            raise InputError(
                f"{path}: {key} is {y.dtype} {y.shape}, but whole numbers (N,) or words were expected, or sets of "
                "labels (N, C) of 0 and 1."
            )
    words = any(y.dtype.kind in "US" for y in given)
    if words:
        if NAMES in arrays or len({y.dtype.kind in "US" for y in given}) > 1:
            raise InputError(
                f"{path}: labels are words, so {NAMES} and labels of numbers were not expected beside them."
            )
        names = np.unique(given[0].astype(str))
        unknown = sorted({str(label) for y in given for label in y} - set(names.tolist()))
        if unknown:
            raise InputError(f"{path}: label {unknown[0]!r} is in {keys[1]}, but not in {keys[0]}.")
        return [np.searchsorted(names, y.astype(str)).astype(np.int64) for y in given], tuple(names.tolist())
    low, high = min(int(y.min(initial=0)) for y in given), max(int(y.max(initial=0)) for y in given)
    if low < 0:
        raise InputError(f"{path}: there is a label {low}, but classes are numbered from 0.")
    names = arrays.get(NAMES, np.arange(high + 1).astype(str))
    if names.ndim != 1 or names.dtype.kind not in "US" or len(names) <= high:
        raise InputError(
            f"{path}: {NAMES} is {names.dtype} {names.shape}, but words, one for each of {high + 1} classes, were "
            "expected."
        )
    return [y.astype(np.int64) for y in given], tuple(map(str, names))


def _label_sets(
    path: Path, keys: tuple[str, ...], arrays: dict[str, np.ndarray]
) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Label sets as uint8 (N, C), of each part, and the names of the labels."""
    given = [arrays[key] for key in keys]
    for key, y in zip(keys, given, strict=True):
        if y.ndim != 2 or y.shape[1] < 2 or y.dtype.kind not in "biu" or y.max(initial=0) > 1 or y.min(initial=0) < 0:
            hint = f" Type {key}.astype(np.uint8)." if y.dtype.kind == "f" and np.isin(y, (0, 1)).all() else ""
            numbers = f" from {y.min()} to {y.max()}" if y.dtype.kind in "iu" and y.size else ""
            raise InputError(
                f"{path}: {key} is {y.dtype} {y.shape}{numbers}, but whole numbers (N,) were expected, or sets of at "
                f"least two labels (N, C): 1 where a label is in the set, 0 where it is not.{hint}"
            )
    c = given[0].shape[1]
    if any(y.shape[1] != c for y in given):
        raise InputError(f"{path}: {keys[0]} has {c} labels and {keys[1]} {given[1].shape[1]}; the same were expected.")
    names = arrays.get(NAMES, np.arange(c).astype(str))
    if names.ndim != 1 or names.dtype.kind not in "US" or len(names) != c:
        raise InputError(
            f"{path}: {NAMES} is {names.dtype} {names.shape}, but words, one for each of {c} labels, were expected."
        )
    return [y.astype(np.uint8) for y in given], tuple(map(str, names))
