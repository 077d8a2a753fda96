"""Images that grow during a run: small ones for the first steps, which cost less, then the size that they have.

Design: all images are resized once for each size, on the host, in whole numbers, so that host and device train on the
same bytes, and so does a run that goes on anywhere else. The weights of a pixel are whole 256ths: two rounds of
sums below 2**24 are exact in float32, in whatever order they are added up.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from npsoftmax.errors import InputError
from npsoftmax.kernels import matmul

UNIT = 256  # what the weights of a pixel sum up to
AT_ONCE = 500  # images
EXAMPLE = "20:0.15,24:0.5,32"


@dataclass(frozen=True)
class Growth:
    """The heights of the images over a run: `stages` are (height, the step from which on it is larger), rising."""

    stages: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, text: str, height: int, steps: int) -> Growth:
        """That of --image-sizes, for images of `height` and a run of so many steps.

        "20:0.15,24:0.5,32": 20 pixels for the first 15 % of the steps, 24 until half of them are done, then all 32. The
        last may be left out. InputError for sizes that do not grow up to `height`, and for shares that do not grow.
        """
        stages = [_stage(part, text) for part in text.split(",")]
        if stages[-1][1] is None:
            last, _ = stages.pop()
            if last != height:
                raise InputError(f"--image-sizes {text} ends with {last}, but the images have {height} pixels.")
        if (bare := next((size for size, share in stages if share is None), None)) is not None:
            raise InputError(f"--image-sizes {text}: {bare} needs the share of the steps at its end, as in {EXAMPLE}.")
        sizes = [size for size, _ in stages] + [height]
        shares = [0.0, *(share for _, share in stages if share is not None), 1.0]
        if sizes != sorted(set(sizes)) or sizes[0] < 1:
            raise InputError(f"--image-sizes {text}: sizes must rise, up to the {height} pixels that the images have.")
        if not all(a < b for a, b in itertools.pairwise(shares)):
            raise InputError(f"--image-sizes {text}: the shares of the steps must rise, from above 0 to below 1.")
        return cls(tuple((size, round(share * steps)) for size, share in zip(sizes, shares[1:-1], strict=False)))

    def height_at(self, step: int) -> int | None:
        """The height of the images of this step; None for that which they have."""
        return next((height for height, end in self.stages if step < end), None)

    def without_steps(self, height: int, steps: int) -> list[int]:
        """The heights that no step of a run of so many has; height: that which the images have."""
        heights = [*(stage for stage, _ in self.stages), height]
        ends = [0, *(end for _, end in self.stages), steps]
        return [h for h, (first, end) in zip(heights, itertools.pairwise(ends), strict=True) if first == end]


def _stage(part: str, text: str) -> tuple[int, float | None]:
    size, colon, share = part.partition(":")
    try:
        return int(size), float(share) if colon else None
    except ValueError:
        raise InputError(f"--image-sizes is {text!r:.80}, but SIZE:SHARE,…,SIZE was expected: {EXAMPLE}.") from None


def smaller(shape: Sequence[int], height: int) -> tuple[int, ...]:
    """(H, W, C) of an image made `height` pixels high; its width shrinks in proportion."""
    h, w, c = shape
    return height, max(1, round(w * height / h)), c


def shrunk(x: np.ndarray, height: int) -> np.ndarray:
    """Images made smaller, each new pixel the mean of those around it with weights that fall linearly (a triangle).

    x, uint8 (N, H, W, C) -> uint8 (N, height, W·height/H, C). To rounding what other libraries call bilinear with
    antialiasing.
    """
    n, (h, w, c) = len(x), x.shape[1:]
    _, width, _ = shape = smaller(x.shape[1:], height)
    down = weights(h, height)  # (height, H)
    across = np.kron(weights(w, width).T, np.eye(c, dtype=np.float32))  # (W·C, width·C): each channel for itself
    y = np.empty((n, *shape), np.uint8)
    for start in range(0, n, AT_ONCE):
        part = x[start : start + AT_ONCE].reshape(-1, h, w * c).astype(np.float32)
        rows = np.matmul(down, part).reshape(-1, w * c)
        sums = np.asarray(matmul(rows, across))
        y[start : start + AT_ONCE] = (sums / UNIT**2 + 0.5).reshape(-1, *shape)  # all exact: cut off, that is rounded
    return y


def weights(old: int, new: int) -> np.ndarray:
    """How much each of `old` pixels counts in each of `new`, float32 (new, old): whole numbers that sum up to UNIT."""
    scale = old / new
    centres = (np.arange(new) + 0.5) * scale
    share = np.maximum(0, 1 - np.abs(np.arange(old) + 0.5 - centres[:, None]) / max(scale, 1))
    share *= UNIT / share.sum(axis=1, keepdims=True)
    whole = np.floor(share)
    for row, exact in zip(whole, share, strict=True):  # what rounding down left over, where it was most
        missing = math.floor(UNIT - row.sum() + 0.5)
        row[np.argsort(row - exact, kind="stable")[:missing]] += 1
    return whole.astype(np.float32)
