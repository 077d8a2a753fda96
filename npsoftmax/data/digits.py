"""scikit-learn's handwritten digits: 1,797 grey images of 8 x 8, ten classes, no download."""

from __future__ import annotations

import numpy as np

from npsoftmax.data.dataset import Dataset
from npsoftmax.data.split import train_validation_split

N_TEST = 360


def load_digits() -> Dataset:
    """The digits as uint8 (N, 8, 8, 1), 17 levels of grey over 0 … 255; the same 360 are always the test set.

    Source: E. Alpaydin and C. Kaynak, "Optical recognition of handwritten digits", UCI repository, 1998.
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    x = ((digits.images.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)[..., None]
    y = digits.target.astype(np.int64)
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
