"""What somebody brings, as arrays: outputs, labels or soft targets, losses; of PyTorch's tensors too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from npsoftmax.arguments import labels as checked_labels
from npsoftmax.errors import InputError

ROUNDING = 2e-6  # of a loss with all the digits of float32; one with fewer decimals is known to half of the last
MOST_DECIMALS = 5
LEAST_DIGITS = 1e-4  # a number known no better than that proves nothing
BFLOAT16, FLOAT16 = 2.0**-7, 2.0**-10  # the relative distance of neighbouring numbers
MOST_OFF = 0.02  # that a sum of 16-bit probabilities may be off 1
LEAST_SAMPLES = 4  # whose single losses prove what their mean only suggests


def as_array(x: Any, name: str) -> np.ndarray:
    """An array, a list, or a tensor of PyTorch (from any device, with or without a gradient) as a NumPy array."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = x.float() if "bfloat16" in str(x.dtype) else x
    try:
        array = np.asarray(x)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} ({type(x).__name__}) is no array: {error}; type np.asarray({name}).") from error
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} holds {array.dtype}, but numbers were expected.")
    return array


def coarseness(o: np.ndarray) -> float:
    """The relative distance of neighbouring numbers of 16 bits, if these are such numbers in a wider type; else 0.

    Their last bits are 0, and of the bit before those about every second is 1 (of zeros, ones and small whole numbers,
    which any type holds, it is not).
    """
    narrow = o[np.isfinite(o) & (o != 0)].astype(np.float32)
    if not len(narrow) or not np.array_equal(narrow, o[np.isfinite(o) & (o != 0)]):
        return 0.0
    bits = narrow.view(np.uint32)
    for empty, distance in ((16, BFLOAT16), (13, FLOAT16)):
        if not (bits & ((1 << empty) - 1)).any() and ((bits >> empty) & 1).mean() > 0.25:
            return distance
    return 0.0


@dataclass(frozen=True)
class Batch:
    """One batch as it was given to a loss.

    o (N, C): the outputs in float64. q: labels (N,), or soft targets (N, C). loss: their mean (), each one's (N,), or
    None. tolerance: how far two losses may be apart and still be the same; sums: how far a sum from 1.
    """

    o: np.ndarray
    q: np.ndarray
    loss: np.ndarray | None
    tolerance: float
    sums: float

    @classmethod
    def of(cls, outputs: Any, labels: Any, loss: Any) -> Batch:
        """The batch. InputError for shapes that do not fit, for NaN and for labels that are none."""
        o = as_array(outputs, "outputs")
        if o.ndim != 2 or o.shape[1] < 2 or not len(o):
            raise InputError(f"outputs have shape {o.shape}, but (N, C) was expected, a row a sample.{_hint(o)}")
        digits = float(np.finfo(o.dtype).eps) if o.dtype.kind == "f" else 0.0
        digits = BFLOAT16 if "bfloat16" in str(getattr(outputs, "dtype", "")) else digits
        o = o.astype(np.float64)
        lost = np.isnan(o).any(axis=1) | (o == np.inf).any(axis=1) | (o == -np.inf).all(axis=1)
        if lost.any():
            raise InputError(
                f"{lost.sum()} rows of outputs hold NaN, or infinity, so nothing can be said of "
                "them; bring a batch from before that."
            )
        if loss is not None:
            loss = as_array(loss, "loss").astype(np.float64)
            loss = loss.reshape(()) if loss.size == 1 and len(o) > 1 else loss
            if loss.shape not in ((), (len(o),)):
                raise InputError(
                    f"loss has shape {loss.shape}, but one number was expected, the mean, or one for each of the "
                    f"{len(o)} samples (reduction='none')."
                )
            if not np.isfinite(loss).all():
                raise InputError("loss is not finite, so nothing can be said of it; bring a batch from before that.")
        largest = float(np.abs(o[np.isfinite(o)]).max(initial=0))
        height = 1.0 if loss is None else max(1.0, float(np.abs(loss).max()))
        tolerance = max(_rounding(loss), 8 * digits * height) + 4 * max(digits, 6e-8) * largest
        return cls(o, _targets(labels, o), loss, tolerance, min(max(1e-4, 8 * digits), MOST_OFF))

    @property
    def single(self) -> bool:
        """Whether the losses of enough single samples are known, and not only their mean."""
        return self.loss is not None and self.loss.ndim == 1 and len(self.loss) >= LEAST_SAMPLES

    @property
    def soft(self) -> bool:
        """Whether the targets are distributions."""
        return self.q.ndim == 2

    def picked(self, v: np.ndarray) -> np.ndarray:
        """v of the target: v[n, y_n], or Σ_c q_nc · v_nc, where q = 0 counts 0 even beside infinity. (N, C) -> (N,)."""
        if not self.soft:
            return v[np.arange(len(v)), self.q]
        return np.where(self.q > 0, self.q * np.where(self.q > 0, v, 0), 0).sum(axis=1)

    @property
    def weight(self) -> np.ndarray:
        """Σ_c q_c of each sample; 1 for labels."""
        return self.q.sum(axis=1) if self.soft else np.ones(len(self.o))

    def is_loss(self, losses: np.ndarray, least: float = 0.0) -> bool:
        """Whether the loss that was given is this one (N,), within the tolerance, or within `least` if that is more."""
        if self.loss is None:
            return False
        gap = losses.mean() - self.loss if self.loss.ndim == 0 else losses - self.loss
        return bool(np.isfinite(gap).all() and np.abs(gap).max() <= max(self.tolerance, least))


def _rounding(loss: np.ndarray | None) -> float:
    """How far a loss may be from what was computed: half of its last decimal, where it was written with a few."""
    if loss is None:
        return 0.0
    for decimals in range(MOST_DECIMALS):
        if np.abs(loss - np.round(loss, decimals)).max() < 1e-9 and loss.any():
            return 0.51 * 10.0**-decimals
    return ROUNDING * max(1.0, float(np.abs(loss).max()))


def _targets(labels: Any, o: np.ndarray) -> np.ndarray:
    y = as_array(labels, "labels")
    if y.shape == o.shape:
        q = y.astype(np.float64)
        if not np.isfinite(q).all() or q.min() < 0:
            raise InputError("soft targets must be finite and at least 0.")
        return q
    if y.shape == (len(o),) and y.dtype.kind == "i" and y.min() < 0:
        raise InputError(
            f"{(y < 0).sum()} of {len(y)} labels are below 0, as those that a loss ignores; leave their rows out: type "
            "outputs[labels >= 0], labels[labels >= 0], and the losses of those."
        )
    return checked_labels(y, len(o), o.shape[1]).astype(np.int64)


def _hint(o: np.ndarray) -> str:
    if o.ndim > 2:
        return f" Of {o.shape[1]} classes in axis 1, type np.moveaxis(outputs, 1, -1).reshape(-1, {o.shape[1]})."
    if o.ndim == 1 or (o.ndim == 2 and o.shape[1] == 1):
        return " For one score of two classes, type np.stack([0 * s, s], axis=1) with the scores s."
    return ""
