"""Images in folders, a folder for each class: found, read by Pillow, cut to squares, and kept for the next time.

Design: decoding ten thousand photographs takes minutes and loading the pixels of their squares no second, so these are
kept in the user's cache, and read again as long as no file's name, size or time has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from npsoftmax.data.dataset import Dataset, with_drawn_test
from npsoftmax.data.editions import user_cache
from npsoftmax.data.pictures import ENDINGS, read_picture
from npsoftmax.errors import InputError
from npsoftmax.files import WriteError, replacing

TRAIN, VALIDATION, TEST = ("train", "training"), ("val", "valid", "validation"), ("test", "testing")
MOST_SIZE = 1024
EXPECTED = "a folder for each class, with its images inside, was expected (docs/your-own-data.md)"


@dataclass(frozen=True)
class Found:
    """Image files, their labels, and how many other files were left out."""

    files: tuple[Path, ...]
    labels: tuple[int, ...]
    others: int = 0


def read_folder(name: str, folder: Path, size: int, seed: int) -> Dataset:
    """The images under `folder` as uint8 (N, size, size, 3); classes are its folders, in the order of their names.

    It holds a folder for each class, or train, test and perhaps val with these inside. Without test, val is the test
    set; without either, a fifth of each class is, drawn by `seed`. Of an image that is not square the middle is taken.
    Raises InputError where there is nothing of the kind, and for files that cannot be read.
    """
    places, classes = _places_and_classes(folder, size)
    parts = {part: _images(place, classes, part == "train") for part, place in places.items()}
    arrays = {part: _pixels(folder, part, found, size) for part, found in parts.items()}
    labels = {part: np.array(found.labels, dtype=np.int64) for part, found in parts.items()}
    others = sum(found.others for found in parts.values())
    note = f"{sum(map(len, labels.values())):,} images of {len(classes)} classes in {folder}, cut to {size} x {size}"
    note += f"; {others:,} files that are no images are left out" if others else ""
    x, y, held_out = arrays["train"], labels["train"], None
    if "val" in parts and "test" in parts:
        x, y = np.concatenate([x, arrays["val"]]), np.concatenate([y, labels["val"]])
        held_out = np.arange(len(y)) >= len(labels["train"])
        note += f"; {places['val'].name}/ is the validation set, whatever --val-split is"
    elif "val" in parts:
        arrays["test"], labels["test"] = arrays["val"], labels["val"]
        note += f"; {places['val'].name}/ is the test set"
    if "test" not in arrays:
        return with_drawn_test(name, x, y, classes, note, seed)
    return Dataset(name, x, y, arrays["test"], labels["test"], classes, note=note, held_out=held_out)


# ---------------------------------------------------------------- what is there
def shape_of_folder(folder: Path, size: int) -> tuple[int, tuple[int, int, int]]:
    """How many classes `read_folder` will find under `folder`, and the shape of an image; no image is read for it."""
    return len(_places_and_classes(folder, size)[1]), (size, size, 3)


def _places_and_classes(folder: Path, size: int) -> tuple[dict[str, Path], tuple[str, ...]]:
    if not 1 <= size <= MOST_SIZE:
        raise InputError(f"--image-size is {size}, but a whole number from 1 to {MOST_SIZE} was expected.")
    places = _places(folder)
    return places, _class_names(places["train"])


def _places(folder: Path) -> dict[str, Path]:
    """The folders of classes: of "train", and where they are there of "val" and "test"."""
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {what}, but {EXPECTED}.")
    inside = {child.name.lower(): child for child in _folders(folder)}
    if not inside:
        raise InputError(f"{folder} has no folders inside, but {EXPECTED}.")
    found = {
        part: inside[name]
        for part, names in (("train", TRAIN), ("val", VALIDATION), ("test", TEST))
        for name in names
        if name in inside
    }
    if "train" not in found:
        return {"train": folder}
    if more := [child.name for child in inside.values() if child not in found.values()]:
        raise InputError(
            f"{folder} has folders {found['train'].name} and {more[0]}: beside train only val and test were expected. "
            f"Move {more[0]} away, or into {found['train'].name} if it is a class."
        )
    return found


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(child.name for child in _folders(folder))
    if len(names) < 2:
        raise InputError(
            f"{folder} has {len(names)} folder{'s' * (len(names) != 1)} inside, but {EXPECTED}: two or more."
        )
    return names


def _images(folder: Path, classes: tuple[str, ...], of_all: bool) -> Found:
    """The images of all classes under `folder`. InputError for a folder of no class, and (of_all) for an empty one."""
    unknown = [child.name for child in _folders(folder) if child.name not in classes]
    if unknown:
        raise InputError(
            f"{folder / unknown[0]} is a class that the training images do not have: {', '.join(classes)}."
        )
    files: list[Path] = []
    labels: list[int] = []
    others = 0
    for label, name in enumerate(classes):
        inside = list(_files(folder / name))
        images = [path for path in inside if path.suffix.lower() in ENDINGS]
        others += len(inside) - len(images)
        files += images
        labels += [label] * len(images)
        if of_all and not images:
            raise InputError(f"{folder / name} has no images ({', '.join(ENDINGS)}). Put some there, or remove it.")
    if not files:
        raise InputError(f"{folder} has no images ({', '.join(ENDINGS)}), but {EXPECTED}.")
    return Found(tuple(files), tuple(labels), others)


def images_in(folder: Path) -> list[Path]:
    """All image files under `folder`, in the order of their names."""
    return [path for path in _files(folder) if path.suffix.lower() in ENDINGS]


def _folders(folder: Path) -> list[Path]:
    return sorted((p for p in _listed(folder) if p.is_dir()), key=lambda path: path.name)


def _files(folder: Path) -> Iterator[Path]:
    """All files under `folder`, in a fixed order, without hidden ones."""
    if folder.is_dir():
        for path in sorted(_listed(folder)):
            if path.is_dir():
                yield from _files(path)
            else:
                yield path


def _listed(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.name.startswith((".", "__"))]
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}.") from error


# ---------------------------------------------------------------- pixels
def _pixels(folder: Path, part: str, found: Found, size: int) -> np.ndarray:
    """The images (N, size, size, 3), from the cache where nothing has changed since they were put there."""
    place = hashlib.sha256(f"{folder.resolve()}\n{part}\n{size}".encode()).hexdigest()[:24]
    kept = user_cache() / "own" / f"{place}.npz"
    state = state_of(folder, found.files)
    x = _from_cache(kept, state, (len(found.files), size, size, 3))
    if x is None:
        x = np.stack([read_picture(path, (size, size, 3)) for path in found.files])
        _keep(kept, state, x)
    return x


def state_of(folder: Path, files: Iterable[Path], *also: str) -> str:
    """SHA-256 of the names, sizes and times of all files, and of what a cache depends on also."""
    lines = [*also]
    for path in files:
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from error
        lines.append(f"{path.relative_to(folder)}\t{status.st_size}\t{status.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def _from_cache(path: Path, state: str, shape: tuple[int, ...]) -> np.ndarray | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            x = file["x"] if str(file["state"]) == state else None
    except Exception:  # none there, or damaged in whatever way: it is made again
        return None
    return x if x is not None and x.shape == shape and x.dtype == np.uint8 else None


def _keep(path: Path, state: str, x: np.ndarray) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside, beside.open("wb") as file:
            np.savez(file, x=x, state=np.array(state))
    except (OSError, WriteError):  # a full disk, or a home that cannot be written: it is only slower next time
        return
