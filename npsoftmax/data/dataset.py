"""What every data set is, once loaded: images or windows of words, labels and names, checked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from npsoftmax.data.split import train_validation_split
from npsoftmax.errors import InputError

DRAWN_FOR_TEST = 0.2  # the share of images that is put aside where nothing says which are for the test


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples and labels of a training and a test set, with the names of the classes.

    x_train, x_test: images, uint8 (N, H, W, C); or, where `words` is given, windows of words, uint16 (N, T), each word
    a number below `words`. y_train, y_test: int64 (N,), below the number of class names; or, where an image has a set
    of labels, uint8 (N, class names) of 0 and 1.
    held_out: None, or which training samples are for validation, bool (N,), where the data set itself says so.
    coarse: None, or the superclass of each class, int64 (n_classes,), into coarse_names.
    note: one line for the user, where the data came from. fingerprint: of data that may change, the SHA-256 of it all.
    Raises InputError when these do not fit together.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]
    coarse: np.ndarray | None = None
    coarse_names: tuple[str, ...] | None = None
    note: str = ""
    held_out: np.ndarray | None = None
    fingerprint: str = ""
    words: int | None = None

    def __post_init__(self) -> None:
        self._check_samples("training", self.x_train, self.y_train)
        self._check_samples("test", self.x_test, self.y_test)
        if self.y_train.ndim != self.y_test.ndim:
            raise self._error(f"training labels are {self.y_train.shape} and test labels {self.y_test.shape}")
        if self.x_train.shape[1:] != self.x_test.shape[1:]:
            raise self._error(
                f"training {self.samples} are {self.x_train.shape[1:]} and test {self.samples} {self.x_test.shape[1:]}"
            )
        if len(set(self.class_names)) != len(self.class_names):
            raise self._error("two classes have the same name")
        if (self.coarse is None) != (self.coarse_names is None):
            raise self._error("coarse and coarse_names must be given together")
        if self.coarse is not None and self.coarse_names is not None:
            self._check_labels("superclasses", self.coarse, self.n_classes, len(self.coarse_names))

    @property
    def n_classes(self) -> int:
        return len(self.class_names)

    @property
    def multi_label(self) -> bool:
        """Whether an image has a set of labels instead of one."""
        return self.y_train.ndim == 2

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(H, W, C) of one image, (T,) of a window of words."""
        return self.x_train.shape[1:]

    @property
    def samples(self) -> str:
        """What samples are called in sentences."""
        return "images" if self.words is None else "windows"

    def _check_samples(self, split: str, x: np.ndarray, y: np.ndarray) -> None:
        ndim, dtype, form = (4, np.uint8, "(N, H, W, C)") if self.words is None else (2, np.uint16, "(N, T)")
        if x.ndim != ndim or x.dtype != dtype:
            expected = f"{np.dtype(dtype)} {form}"
            raise self._error(f"{split} {self.samples} must be {expected}, but are {x.dtype} {x.shape}")
        if len(x) == 0:
            raise self._error(f"there are no {split} {self.samples}")
        if self.words is not None and x.max() >= self.words:
            raise self._error(f"{split} words must be 0 to {self.words - 1}, but reach {x.max()}")
        self._check_labels(f"{split} labels", y, len(x), self.n_classes)

    def _check_labels(self, what: str, y: np.ndarray, length: int, n_classes: int) -> None:
        if y.ndim == 2:
            if y.dtype != np.uint8 or y.shape != (length, n_classes) or y.max(initial=0) > 1:
                raise self._error(
                    f"{what} must be uint8 ({length}, {n_classes}) of 0 and 1, but are {y.dtype} {y.shape}"
                )
            return
        if y.dtype != np.int64 or y.shape != (length,):
            raise self._error(f"{what} must be int64 ({length},), but are {y.dtype} {y.shape}")
        if length and not (y.min() >= 0 and y.max() < n_classes):
            raise self._error(f"{what} must be 0 to {n_classes - 1}, but are {y.min()} to {y.max()}")

    def _error(self, problem: str) -> InputError:
        return InputError(f"data set {self.name!r}: {problem}.")


def with_drawn_test(
    name: str, x: np.ndarray, y: np.ndarray, class_names: tuple[str, ...], note: str, seed: int
) -> Dataset:
    """A data set of images that nobody has divided: a fifth of each class, drawn by `seed`, is the test set.

    (Of images with label sets a fifth of all.)

    InputError where that leaves no image for the test.
    """
    train, test = train_validation_split(y, DRAWN_FOR_TEST, seed)
    if not len(test):
        raise InputError(f"{name} has {len(y)} images: too few to put a fifth aside for the test.")
    note += f"; {len(test):,} of them, drawn by chance, are the test set"
    return Dataset(name, x[train], y[train], x[test], y[test], class_names, note=note)


def training_split(dataset: Dataset, size: int | float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the images to train on and of those to validate with.

    Where the data set says which are for validation, those; else as `train_validation_split` draws them.
    """
    if dataset.held_out is None:
        return train_validation_split(dataset.y_train, size, seed)
    return np.flatnonzero(~dataset.held_out), np.flatnonzero(dataset.held_out)
