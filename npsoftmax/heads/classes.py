"""What a head may want to know of the classes."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np

from npsoftmax.arguments import labels
from npsoftmax.errors import InputError


@dataclass(frozen=True)
class ClassInfo:
    """What a head may want to know of the classes, so that no user sorts or counts by hand.

    n: their number; counts (n,): training samples of each; coarse (n,): the superclass of each, where there are any.
    """

    n: int
    counts: np.ndarray | None = None
    coarse: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.n, Integral) or isinstance(self.n, bool):
            raise InputError(
                f"the number of classes is {self.n!r:.80}, but a whole number of at least 2 was expected, or "
                "ClassInfo(n, counts)."
            )
        object.__setattr__(self, "n", int(self.n))
        if self.n < 2:
            raise InputError(f"a head needs at least 2 classes, not {self.n}.")
        for name in ("counts", "coarse"):
            values = getattr(self, name)
            if values is None:
                continue
            try:
                array = np.asarray(values)
            except ValueError:
                raise InputError(f"class {name} are {values!r:.80}, but one number a class was expected.") from None
            if array.shape != (self.n,):
                raise InputError(
                    f"class {name} have shape {array.shape}, but one number for each of {self.n} classes was expected."
                )
            if array.dtype.kind not in "iu" or array.min() < 0:
                raise InputError(f"class {name} must be whole numbers of at least 0.")
            object.__setattr__(self, name, array)  # of a list as well

    @classmethod
    def from_labels(cls, y: np.ndarray, n: int, coarse: np.ndarray | None = None) -> ClassInfo:
        """Count the classes in training labels (N,), or in sets of labels, uint8 (N, n) of 0 and 1."""
        n = cls(n).n
        if isinstance(y, np.ndarray) and y.dtype == np.uint8 and y.ndim == 2 and y.shape[1] == n:
            return cls(n, y.sum(axis=0, dtype=np.int64), coarse)
        t = labels(y, len(y) if hasattr(y, "__len__") else 0, n, empty=True)
        return cls(n, np.bincount(np.asarray(t), minlength=n), coarse)
