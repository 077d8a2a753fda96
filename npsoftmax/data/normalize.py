"""From bytes to the numbers a network is fed: y = (x / 255 - mean) / std, channel by channel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from npsoftmax.errors import InputError, unknown_name


@dataclass(frozen=True)
class Normalization:
    """y = (x / 255 - mean) / std with one mean and std a channel, in units of the full range [0, 1].

    Kept with a run (`to_dict`, `from_dict`), so that evaluation uses the numbers of the training set.
    Raises InputError when mean and std are not equally long, or a std is not a positive number.
    """

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        numbers = np.array([*self.mean, *self.std], np.float64)
        if len(self.mean) != len(self.std) or not np.isfinite(numbers).all() or min(self.std, default=0) <= 0:
            raise InputError(
                f"normalization {self.name!r} has mean {self.mean} and std {self.std}, "
                "but as many finite means as positive stds were expected, one a channel."
            )

    def apply(self, x: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, C) -> float32 of the same shape."""
        if x.ndim != 4 or x.shape[-1] != len(self.mean):
            raise InputError(f"images of shape {x.shape} do not fit a normalization of {len(self.mean)} channels.")
        # One long row an image: with the channels innermost, NumPy's loops would be three numbers long.
        n, *shape = x.shape
        scale, shift = (np.tile(values, shape[0] * shape[1]) for values in self.factors())
        y = np.multiply(x.reshape(n, -1), scale, dtype=np.float32)
        y -= shift
        return y.reshape(x.shape)

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """scale and shift, float32 (C,), of y = x · scale - shift."""
        mean, std = np.array(self.mean), np.array(self.std)
        return (1 / (255 * std)).astype(np.float32), (mean / std).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Normalization:
        """The inverse of `to_dict`. Raises InputError for anything else."""
        try:
            mean, std = (tuple(float(v) for v in content[key]) for key in ("mean", "std"))
            return cls(str(content["name"]), mean, std)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"a normalization was expected as name, mean and std, but got {content!r}.") from error


def _none(x_train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(x_train.shape[-1]), np.ones(x_train.shape[-1])


def _half(x_train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.full(x_train.shape[-1], 0.5), np.full(x_train.shape[-1], 0.5)


def _standard(x_train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std of each channel over all images and pixels, from exact integer sums."""
    rows = x_train.reshape(len(x_train), -1)  # (N, H*W*C)
    total = rows.sum(axis=0, dtype=np.int64)
    squares = np.zeros_like(total)
    for start in range(0, len(rows), 500):
        chunk = rows[start : start + 500].astype(np.uint16)  # 255² still fits
        squares += (chunk * chunk).sum(axis=0, dtype=np.uint32)
    channels = x_train.shape[-1]
    count = x_train.size // channels
    mean = total.reshape(-1, channels).sum(axis=0) / count
    variance = squares.reshape(-1, channels).sum(axis=0) / count - mean * mean
    # A channel that never changes is divided by one grey level, not by 0.
    return mean / 255, np.sqrt(np.maximum(variance, 1)) / 255


NORMALIZATIONS: dict[str, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "none": _none,
    "half": _half,
    "standard": _standard,
}


def fit_normalization(name: str, x_train: np.ndarray) -> Normalization:
    """The normalization called `name` for training images x_train, uint8 (N, H, W, C).

    none: x / 255; half: mean and std .5, so [-1, 1]; standard: mean and std of x_train. Raises InputError for
    another name.
    """
    if not isinstance(name, str) or name not in NORMALIZATIONS:
        raise unknown_name("normalization", name, NORMALIZATIONS)
    mean, std = NORMALIZATIONS[name](x_train)
    return Normalization(name, tuple(mean.tolist()), tuple(std.tolist()))
