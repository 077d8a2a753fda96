"""scikit-learn's handwritten digits: 1,797 grey images of 8 x 8, ten classes, no download."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from npsoftmax.data.dataset import Dataset
from npsoftmax.data.split import train_validation_split

N_TEST = 360


def load_digits() -> Dataset:
    """The digits as uint8 (N, 8, 8, 1), 17 levels of grey over 0 … 255; the same 360 are always the test set.

    Source: E. Alpaydin and C. Kaynak, "Optical recognition of handwritten digits", UCI repository, 1998.
    """
    table = _table()
    x = ((table[:, :-1].reshape(-1, 8, 8, 1) * 255 + 8) // 16).astype(np.uint8)
    y = table[:, -1]
    train, test = train_validation_split(y, N_TEST, seed=0)
    return Dataset(
        name="digits",
        x_train=x[train],
        y_train=y[train],
        x_test=x[test],
        y_test=y[test],
        class_names=tuple("0123456789"),
        note="scikit-learn's handwritten digits, 8 x 8",
    )


def _table() -> np.ndarray:
    """scikit-learn's file, (N, 65) int64: 64 levels and the digit. Importing scikit-learn would take a second."""
    package = importlib.util.find_spec("sklearn")
    for folder in (package and package.submodule_search_locations) or ():
        file = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            return np.loadtxt(file, delimiter=",", dtype=np.int64)
    from sklearn import datasets  # an edition that keeps them elsewhere

    x, y = datasets.load_digits(return_X_y=True)
    return np.column_stack([x, y]).astype(np.int64)
