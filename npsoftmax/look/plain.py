"""Arrays as plain values for the page: rounded numbers, or pictures of bytes."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from npsoftmax.errors import InputError

MOST_MAPS = 64  # that a person can look through


def picture(x: np.ndarray) -> dict[str, Any]:
    """An array (H, W, C) or (H, W) as bytes from its smallest number, `low`, to its largest, `high`.

    shape; data: base64 of H·W·C bytes, channel by channel.
    """
    x = x[..., None] if x.ndim == 2 else x
    low, high = (float(x.min()), float(x.max())) if x.size else (0.0, 0.0)
    scaled = np.zeros(x.shape, np.uint8) if high == low else ((x - low) * (255 / (high - low))).round().astype(np.uint8)
    return {"shape": list(x.shape), "low": low, "high": high, "data": encoded(np.moveaxis(scaled, -1, 0))}


def encoded(x: np.ndarray) -> str:
    """Bytes in base64."""
    return base64.b64encode(np.ascontiguousarray(x).tobytes()).decode()


def numbers(x: Any) -> Any:
    """Numbers as nested lists; what JSON has no number for (NaN, infinities) as None."""
    return plain(np.asarray(x, dtype=np.float64).tolist())


def plain(value: Any) -> Any:
    """The same value with None for floats that are not finite."""
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def check_place(place: Sequence[int], shape: Sequence[int], what: str) -> tuple[int, ...]:
    """The place as an index; InputError where it does not lie in `what`, which has this shape."""
    if len(place) != len(shape) or not all(0 <= i < n for i, n in zip(place, shape, strict=True)):
        raise InputError(f"the place is {list(place)}, but {what} has shape {list(shape)}.")
    return tuple(place)


def shown(y: np.ndarray) -> dict[str, Any]:
    """What a layer gave for one sample, as the page draws it.

    (H, W, C): the first MOST_MAPS maps; (T, D): one map, a row a token; (D,): one row.
    """
    if y.ndim == 3:
        return {"kind": "maps", "maps": y.shape[2], **picture(y[:, :, :MOST_MAPS])}
    if y.ndim == 2:
        return {"kind": "tokens", "maps": 1, **picture(y)}
    return {"kind": "vector", "maps": 1, **picture(y[None, :])}
