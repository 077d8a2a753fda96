"""Images as a user has them, whole numbers, floats, true and false, or a list of images; and windows of words."""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.errors import InputError

EXPECTED = "images of shape (N, H, W, C) were expected, channels last"


def given_images(X: Any) -> np.ndarray:
    """Images (N, H, W, C) as uint8, if they are whole numbers or true and false (255 and 0), else as float32.

    X: an array, or a list of images of one shape. InputError for whole numbers outside 0 … 255, for what is not finite,
    for channels first, and for anything that is no batch of images.
    """
    x = _array(X)
    _check_shape(x, X)
    if x.dtype.kind == "b":
        return x * np.uint8(255)
    if x.dtype.kind in "iu":
        low, high = x.min(), x.max()
        if low < 0 or high > 255:
            raise InputError(
                f"X has whole numbers from {low} to {high}, but bytes lie from 0 to 255: scale them to that, or "
                f"pass floats, such as X / {max(abs(int(low)), int(high))}, which are taken as they are."
            )
        return x.astype(np.uint8, copy=False)
    with np.errstate(over="ignore"):
        floats = x.astype(np.float32, copy=False)
    finite = np.isfinite(floats).reshape(len(x), -1).all(axis=1)
    if not finite.all():
        raise InputError(
            f"{(~finite).sum()} of {len(x)} images hold NaN or infinity, or more than float32 can (the first is "
            f"X[{finite.argmin()}]), but finite numbers are needed: leave these images out, or fill them."
        )
    return floats


def given_words(X: Any) -> np.ndarray:
    """Windows of words (N, T) as int64. InputError for what is no batch of whole numbers from 0 on."""
    try:
        x = np.asarray(X)
    except (TypeError, ValueError) as error:  # windows of different lengths
        raise InputError(
            f"X is no array ({error}), but windows of words (N, T), all of one length, were expected."
        ) from error
    if x.ndim != 2 or x.dtype.kind not in "iu" or not x.size:
        raise InputError(f"X is {x.dtype} {x.shape}, but windows of words, whole numbers (N, T), were expected.")
    if x.min() < 0 or x.max() >= 2**31:
        raise InputError(f"X has words from {x.min()} to {x.max()}, but they are numbered from 0.")
    return x.astype(np.int64)


def _array(X: Any) -> np.ndarray:
    """X as an array of numbers."""
    if isinstance(X, np.ma.MaskedArray):
        raise InputError(
            "X is a masked array, and its mask would be lost; type X.filled(0), or leave these images out."
        )
    try:
        x = np.asarray(X)
        if x.dtype.kind == "O" and x.ndim:
            x = np.array(x.tolist())  # numbers in an array of objects
    except (TypeError, ValueError):
        shapes = _shapes(X)
        found = f"images of shapes {', '.join(map(str, shapes[:3]))}" if len(shapes) > 1 else "what is no array"
        raise InputError(f"X holds {found}, but {EXPECTED} and all of one size.") from None
    if isinstance(X, list | tuple) and len({np.asarray(image).dtype.kind == "f" for image in X}) > 1:
        raise InputError("X mixes images of whole numbers and of floats: make all of one kind, such as X[0] / 255.")
    if x.dtype.kind not in "biuf":
        what = type(X).__name__ if not x.ndim else f"an array of {x.dtype}"
        raise InputError(f"X is {what}, but {EXPECTED}, of whole numbers or floats.")
    return x


def _shapes(X: Any) -> list[Any]:
    """The shapes of all images, each once; none where one is no image."""
    try:
        shapes = {np.asarray(image).shape for image in X}
    except (TypeError, ValueError):
        return []
    return sorted(shapes) if all(len(shape) > 1 for shape in shapes) else []


def _check_shape(x: np.ndarray, X: Any) -> None:
    said = f"{EXPECTED}, but X has shape {x.shape}"
    if x.ndim == 3 and isinstance(X, list | tuple):
        if hasattr(X[0], "convert"):
            raise InputError(f"{said}: of PIL's images type [image.convert('RGB') for image in X].")
        raise InputError(f"{said}: for grey images type np.stack(X)[..., None], for a single one [X].")
    if x.ndim == 3:
        raise InputError(f"{said}: for grey images type X[..., None], for a single one X[None].")
    if x.ndim != 4:
        reshape = ": type X.reshape(N, H, W, C)" if x.ndim == 2 else ""
        raise InputError(f"{said}{reshape}.")
    if not x.size:
        raise InputError(f"{said}: there is {'no image' if not len(x) else 'nothing in these images'}.")
    if x.shape[1] in (1, 3) and x.shape[3] > 4:
        raise InputError(f"{said}, which looks like channels first: type X.transpose(0, 2, 3, 1).")
