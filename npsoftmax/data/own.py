"""A user's own images as a data set: `folder:PATH`, a folder for each class, and `arrays:FILE.npz`."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from npsoftmax.data.archive import read_arrays
from npsoftmax.data.dataset import Dataset
from npsoftmax.data.folder import read_folder, shape_of_folder
from npsoftmax.errors import InputError

FOLDER, ARRAYS = "folder:", "arrays:"
IMAGE_SIZE = 32


def is_own(name: str) -> bool:
    """Whether `name` is that of a user's own data set."""
    return name.startswith((FOLDER, ARRAYS))


def whole_name(name: str) -> str:
    """The name with the whole path in it, so that a run finds its data from any folder. Other names as they are.

    InputError where no path follows.
    """
    if not is_own(name):
        return name
    kind, _, path = name.partition(":")
    if not path:
        example = f"{FOLDER}flowers" if f"{kind}:" == FOLDER else f"{ARRAYS}flowers.npz"
        raise InputError(f"--data {name} names no place; write it behind the colon: --data {example}.")
    return f"{kind}:{Path(path).expanduser().absolute()}"


def short_name(name: str) -> str:
    """What a run's folder is called after: `flowers` of `folder:/home/ada/flowers`; other names as they are."""
    return Path(name.partition(":")[2]).stem or "images" if is_own(name) else name


def load_own(name: str, now_in: str | Path | None, image_size: int | None, seed: int) -> Dataset:
    """The data set called `name`, with its fingerprint.

    now_in: where it lies now, if no more at the path in its name. image_size: see `read_folder` (None: 32). seed:
    draws the test images where the data set says of none that they are.
    Raises InputError for what is not there or cannot be read.
    """
    name = whole_name(name)
    place = _place(name, now_in)
    if name.startswith(ARRAYS):
        if image_size is not None:
            raise InputError(f"--image-size is for {FOLDER}PATH, but {name} has images of one size. Leave it out.")
        dataset = read_arrays(name, place, seed)
    else:
        dataset = read_folder(name, place, _size(image_size), seed)
    return dataclasses.replace(dataset, fingerprint=fingerprint(dataset))


def shape_of_images(name: str, now_in: str | Path | None, image_size: int | None) -> tuple[int, tuple[int, ...]]:
    """How many classes the folder of images called `name` has, and their shape. Arguments as of `load_own`.

    InputError for a folder that is not there.
    """
    return shape_of_folder(_place(whole_name(name), now_in), _size(image_size))


def _place(name: str, now_in: str | Path | None) -> Path:
    return Path(name.partition(":")[2] if now_in is None else now_in).expanduser()


def _size(image_size: int | None) -> int:
    return IMAGE_SIZE if image_size is None else image_size


def fingerprint(dataset: Dataset) -> str:
    """SHA-256 of all images, labels and class names: the same for the same data, wherever it lies."""
    found = hashlib.sha256("\n".join(dataset.class_names).encode())
    for array in (dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test):
        found.update(f"\n{array.shape}\n".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
