"""Rules about shapes, about the places that are wrong, and about exceptions. Each says only what is proved."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from npsoftmax.grading.agreement import Arrays, same
from npsoftmax.grading.trial import Outcome, Trial

NEARLY = 1e-5  # an answer that differs by less than this of its largest number is nearly right


# ---------------------------------------------------------------- shapes
def shapes(name: str, arrays: Arrays) -> Iterator[str]:
    """What makes yours the right one, where the shapes differ. The first trial with another shape is the one told."""
    trial, yours, right = next(a for a in arrays if a[1].shape != a[2].shape)
    if all(y.size == r.size and same(y.reshape(r.shape), r) for _, y, r in arrays):
        squeezed = all(np.squeeze(y).shape == np.squeeze(r).shape for _, y, r in arrays)
        why = " (keepdims=True leaves an axis of length 1)" if squeezed and yours.ndim > right.ndim else ""
        is_to_be = f"{name} is to be {_shape(right)}, not {_shape(yours)}"
        yield f"the numbers are right, only the shape is not: {is_to_be}{why}."
    if all(y.ndim == 2 and same(y.T, r) for _, y, r in arrays):
        yield f"{name} is transposed."
    for axis in range(yours.ndim):
        if all(y.ndim > axis and same(y.sum(axis=axis), r) for _, y, r in arrays):
            what = (
                f"the batch axis: sum over the {yours.shape[0]} rows (axis 0)"
                if not axis
                else f"axis {axis}: sum over it"
            )
            yield f"{name} still has {what}."
    for kept in (False, True):
        for axes in _some_axes(right.ndim):
            for word, reduce in (("summed", np.sum), ("averaged", np.mean)):
                if all(r.ndim > max(axes) and same(y, _reduced(reduce, r, axes, kept)) for _, y, r in arrays):
                    sizes = " and ".join(str(right.shape[a]) for a in axes)
                    yield f"{name} was {word} over too many axes: keep those of size {sizes}."
    for axes in itertools.permutations(range(right.ndim)):
        if right.ndim > 2 and all(y.ndim == right.ndim and same(y.transpose(axes), r) for _, y, r in arrays):
            yield f"the axes of {name} are in another order: .transpose{axes} would bring them in the right one."
    for axis in range(right.ndim):
        if all(y.shape == r.shape[:axis] + r.shape[axis + 1 :] for _, y, r in arrays):
            yield f"{name} lacks axis {axis}, of size {right.shape[axis]}: it is to be {_shape(right)}."
    if all(_cropped_to_nothing(name, *a) for a in arrays):
        yield f"{name} is empty where the padding is 0, since p:-p is 0:0 there: crop with PH : PH + H and PW : PW + W."
    if _is_padded(trial, name, yours, right):
        yield f"{name} has the shape of the padded images: crop the padding off."


def _reduced(reduce: Callable[..., Any], right: np.ndarray, axes: tuple[int, ...], kept: bool) -> np.ndarray:
    return np.asarray(reduce(right, axis=axes, keepdims=kept))


def _some_axes(ndim: int) -> Iterator[tuple[int, ...]]:
    for count in range(1, ndim + 1):
        yield from itertools.combinations(range(ndim), count)


def _cropped_to_nothing(name: str, trial: Trial, yours: np.ndarray, right: np.ndarray) -> bool:
    """Whether yours is right but for the axes of an image that have no padding, which are empty."""
    pad = _pad(trial)
    if pad is None or name not in ("dx", "x") or yours.ndim != 4:
        return False
    empty = tuple(0 if axis in (1, 2) and not pad[axis - 1] else size for axis, size in enumerate(right.shape))
    return yours.shape == empty and (yours.size != right.size or same(yours, right))


def _is_padded(trial: Trial, name: str, yours: np.ndarray, right: np.ndarray) -> bool:
    """Whether an image on its way back has the shape with padding."""
    pad = _pad(trial)
    if pad is None or not any(pad) or name not in ("dx", "x"):
        return False
    return yours.shape == tuple(s + 2 * p for s, p in zip(right.shape, (0, *pad, 0), strict=True))


def _pad(trial: Trial) -> tuple[int, int] | None:
    """The padding of the case, whether it is an argument or in the cache; None where there is none."""
    pad = trial.case.args.get("pad")
    return pad if isinstance(pad, tuple) else None


def _shape(array: np.ndarray) -> str:
    return str(array.shape).replace(" ", "")


# ---------------------------------------------------------------- places
def places(arrays: Arrays) -> Iterator[str]:
    """Errors in one kind of place, on every trial: the targets' columns, one branch, the border of padded images."""
    for kind, sentence in _PLACES.items():
        if _only_there(arrays, kind):
            yield sentence


def _only_there(arrays: Arrays, kind: Callable[[Trial, tuple[int, ...]], np.ndarray | None]) -> bool:
    """Wrong in all of these places, and right in all others, which are not zeros: there a factor would not show."""
    seen = 0
    for trial, yours, right in arrays:
        mask = kind(trial, right.shape)
        if mask is None:
            return False
        wrong = ~np.isclose(yours, right, rtol=1e-6, atol=1e-9, equal_nan=True)
        if (wrong & ~mask).any() or (kind is not _border and (mask & ~wrong & (right != 0)).any()):
            return False
        if not mask.all() and not right[~mask].any():
            return False
        seen += int(wrong.sum())
    return seen > 1


def _targets(trial: Trial, shape: tuple[int, ...]) -> np.ndarray | None:
    labels = trial.case.args.get("t")
    if not isinstance(labels, np.ndarray) or shape != (len(labels), trial.case.sizes.get("C")):
        return None
    mask = np.zeros(shape, dtype=bool)
    mask[np.arange(shape[0]), labels] = True
    return mask


def _all_but_targets(trial: Trial, shape: tuple[int, ...]) -> np.ndarray | None:
    mask = _targets(trial, shape)
    return None if mask is None else ~mask


def _branch(trial: Trial, shape: tuple[int, ...], positive: bool) -> np.ndarray | None:
    """Where x is on one side of 0: for functions that have a kink there, and no others."""
    x = trial.case.args.get("x")
    if not trial.exercise.name.startswith("relu") or x is None or x.shape != shape:
        return None
    return np.asarray(x > 0 if positive else x < 0)


def _border(trial: Trial, shape: tuple[int, ...]) -> np.ndarray | None:
    pad = _pad(trial)
    if pad is None or len(shape) != 4:
        return None
    mask = np.zeros(shape, dtype=bool)
    for axis, width in zip((1, 2), pad, strict=True):
        if width:
            edges: list[Any] = [slice(None)] * 4
            edges[axis] = [0, -1]
            mask[tuple(edges)] = True
    return mask


_PLACES: dict[Callable[[Trial, tuple[int, ...]], np.ndarray | None], str] = {
    _targets: "only the targets' columns are wrong.",
    _all_but_targets: "only the targets' columns are right.",
    lambda trial, shape: _branch(trial, shape, True): "it is wrong only where the input is above 0.",
    lambda trial, shape: _branch(trial, shape, False): "it is wrong only where the input is below 0.",
    _border: "only pixels at the border are wrong, where the images are padded: look at the padding.",
}


# ---------------------------------------------------------------- exceptions
def raised_rule(trial: Trial, outcome: Outcome) -> list[str]:
    """What NumPy's words mean here, and no more."""
    text = str(outcome.raised)
    if "NoneType" in text:
        names = [name for name, value in trial.case.args.items() if value is None]
        return [f"{' and '.join(names)} is None in this case: leave it out there."] if names else []
    found = re.search(r"could not be broadcast together with shapes \(([\d,]*)\) \(([\d,]*)\)", text)
    if found is not None:
        first, second = ([int(n) for n in shape.split(",") if n] for shape in found.groups())
        return _lost_axis(first, second)
    found = re.search(r"mismatch in its core dimension 0.*size (\d+) is different from (\d+)", text)
    if found is not None:
        right, left = (_of_size(trial, int(n)) for n in found.groups())
        return [
            f"in a product A @ B, A has {left} columns and B has {right} rows: is a transpose missing, or too many?"
        ]
    return []


def _of_size(trial: Trial, size: int) -> str:
    name = next((name for name, value in trial.case.sizes.items() if value == size), "")
    return f"{name} = {size}" if name else str(size)


def _lost_axis(first: list[int], second: list[int]) -> list[str]:
    short, long = sorted((first, second), key=len)
    if not short or long[:-1] != short:
        return []
    texts = [f"({','.join(map(str, shape))}{',' if len(shape) == 1 else ''})" for shape in (long, short)]
    return [
        f"{texts[0]} and {texts[1]} do not fit: {texts[1]} lacks a last axis. Is it [..., None], or keepdims=True in "
        "a sum or a maximum, or labels that have to be one-hot?"
    ]


# ---------------------------------------------------------------- digits, cases, rows
def nearly(arrays: Arrays) -> Iterator[str]:
    """Right to many digits, and no further: what a small number does that is added, or single precision."""
    gaps = [_gap(yours, right) for _, yours, right in arrays]
    if max(gaps) < NEARLY:
        yield (
            f"it is nearly right, to within {max(gaps):.0e} of the largest number: is a small number added somewhere "
            "(1e-8), or is something rounded or in float32?"
        )


def _gap(yours: np.ndarray, right: np.ndarray) -> float:
    if yours.dtype.kind == "b" or not (np.isfinite(yours).all() and np.isfinite(right).all()):
        return np.inf
    return float(np.abs(yours - right).max(initial=0.0) / max(np.abs(right).max(initial=0.0), 1e-300))


LARGE = 36.0  # from here on 1 + e^-z is 1, and from 710 on e^z is infinite


def too_large(arrays: Arrays) -> Iterator[str]:
    """Right wherever it is finite, and not finite in some trials, all of which have large scores."""
    lost = [(trial, yours, right) for trial, yours, right in arrays if not np.isfinite(yours[np.isfinite(right)]).all()]
    finite = [(yours[np.isfinite(yours)], right[np.isfinite(yours)]) for _, yours, right in arrays]
    if not lost or len(lost) == len(arrays) or not all(_largest(trial) > LARGE for trial, _, _ in lost):
        return
    if all(np.allclose(yours, right, 1e-6, 1e-9) for yours, right in finite):
        yield (
            "wherever it is finite it is right. Where scores are large e^z overflows, or a probability becomes 0 "
            "before its logarithm is taken or something is divided by it."
        )


def _largest(trial: Trial) -> float:
    """The largest finite number in the arrays that the case has, without its sign."""
    arrays = (a for a in trial.case.args.values() if isinstance(a, np.ndarray) and a.dtype.kind == "f")
    return max((float(np.abs(a[np.isfinite(a)]).max(initial=0.0)) for a in arrays), default=0.0)


def one_case(arrays: Arrays) -> Iterator[str]:
    """Right in the plainest case, the first, and wrong in all of one other kind."""
    if not all(np.isfinite(yours).all() for _, yours, _ in arrays):
        return  # the report says so already, and where
    wrong = [t for t, yours, right in arrays if not np.allclose(yours, right, t.tolerance, 1e-9, equal_nan=True)]
    notes = {trial.case.note for trial in wrong}
    others = {trial.case.note for trial, _, _ in arrays if trial not in wrong}
    if len(notes) == 1 and _plainest(arrays) in others and not notes & (others | {""}):
        yield f"it is right in the other cases, and wrong only here: {notes.pop()}."


def _plainest(arrays: Arrays) -> str:
    """The note of the first case of the exercise."""
    return min((trial for trial, _, _ in arrays), key=lambda trial: trial.number).case.note


def by_row(arrays: Arrays) -> Iterator[str]:
    """One factor, or one number that is added, in each row or in each column, of what normalises these."""
    if not re.search("softmax|norm", arrays[0][0].exercise.name):
        return
    for name, axes in (("row", (-1,)), ("column", None)):
        for what, difference in (("times a factor", np.divide), ("plus a number", np.subtract)):
            if all(_constant(difference, yours, right, axes) for _, yours, right in arrays):
                yield f"each {name} is the right one {what} of its own: what it is divided or reduced by is wrong."


def _constant(difference: np.ufunc, yours: np.ndarray, right: np.ndarray, axes: tuple[int, ...] | None) -> bool:
    """Whether they differ by one number along the axes (None: all but the last), and by several in all."""
    if (
        right.ndim < 2
        or min(right.shape) < 2
        or yours.dtype.kind != "f"
        or not (right != 0).sum(axis=axes_of(right, axes)).min() > 1
    ):
        return False
    with np.errstate(all="ignore"):
        apart = np.where((right == 0) & (yours == 0), np.nan, difference(yours, right))
    if not np.isfinite(apart[~np.isnan(apart)]).all():
        return False
    low, high = (f(apart, axis=axes_of(right, axes)) for f in (np.nanmin, np.nanmax))
    return bool((high - low <= 1e-9 * np.maximum(np.abs(high), 1e-3)).all() and np.ptp(high) > 1e-6)


def axes_of(array: np.ndarray, axes: tuple[int, ...] | None) -> tuple[int, ...]:
    """These axes; all but the last for None."""
    return tuple(range(array.ndim - 1)) if axes is None else axes
