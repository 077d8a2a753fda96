"""What a call may be given: types of numbers, shapes that fit each other, labels and settings. The one place for it.

Types. Whatever NumPy takes for an array is taken where an array is: lists, `np.matrix`, a Series of pandas, arrays that
are read-only, mapped from a file, strided or byte-swapped. What is computed with is real numbers. float32 and float64
stay what they are; whole numbers, booleans and longer floats become float64; float16 becomes float32, and the result is
float32 too. Complex numbers, text, objects and masked arrays are refused. NumPy's own whole numbers are taken where an
`int` is. Labels are whole numbers; floats and booleans are refused there.

Shapes. They are written as in the docstrings, "x (N, D), w (D, M), b (M)", and compared in the face of a kernel
(kernels/<subject>/__init__.py), where the compiled, the device's and the readable version pass, and in the pairs that
call none. The pairs are where types are made right, since a cache keeps what backward will read.

Empty batches. A function of an empty batch is empty; a mean over no samples is none, so a loss refuses it.

Design: a step asks the same questions thousands of times. Shapes are asked of `fit`, which remembers what was right:
a look-up costs a fifth of a microsecond. Words are put together only where a call is wrong, names of functions too.
"""

from __future__ import annotations

import functools
import itertools
import re
import sys
from numbers import Integral, Real
from types import FrameType
from typing import Any

import numpy as np

from npsoftmax.backend import Array, array_module, at_hand
from npsoftmax.errors import InputError

REAL = (np.dtype(np.float32), np.dtype(np.float64))

INSIDE = (__name__, "npsoftmax.autocast", "npsoftmax.kernels", "npsoftmax.functional")  # named in an error, …
ASKED = (*INSIDE[:2], "npsoftmax.functional.targets")  # … but for these: what they are asked for, others were given
MAY_BE_EMPTY = ("…", "N", "M", "L", "K")  # axes of samples, rows and places; a size of 0 means nothing elsewhere

Pair = tuple[int, int]
Shape = tuple[int, ...]


def refuse(message: str) -> InputError:
    """The error, with the name of the function that was called wrongly in front: a pair, or a kernel's face."""
    name = ""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith(INSIDE):
        public = frame.f_globals["__name__"] not in ASKED and not frame.f_code.co_name.startswith(("_", "<"))
        name, frame = frame.f_code.co_name if public else name, frame.f_back
    return InputError(f"{name}: {message}" if name else message)


# ---------------------------------------------------------------- types
def real(x: Any, name: str = "x") -> Array:
    """x as an array of real numbers, itself where it is one; InputError for what holds others."""
    if type(x) is np.ndarray and x.dtype in REAL:
        return x
    x = array(x, name)
    kind = x.dtype.kind
    if kind in "iub":
        return x.astype(np.float64)
    if kind != "f":
        hint = f"type {name}.astype(float)" if type(x) is np.ndarray else "make it float64"
        raise refuse(f"{name} holds {x.dtype}, but real numbers were expected; {hint}.")
    return x.astype(np.float32 if x.dtype.itemsize < 8 else np.float64, copy=False)


def reals(*arrays: Any) -> list[Any]:
    """`real` of each; None stays."""
    return [a if a is None or (type(a) is np.ndarray and a.dtype in REAL) else real(a, "an array") for a in arrays]


def array(x: Any, name: str) -> Any:
    """x as an array, of the library that it is of; InputError for what is none, or would lose its mask."""
    if array_module(x) is not np:
        return x
    if isinstance(x, np.ma.MaskedArray):
        raise refuse(f"{name} is a masked array, and a mask would be lost; type {name}.filled(0), or drop the rows.")
    if x is None or isinstance(x, str | bytes | dict | set):
        raise refuse(f"{name} is {type(x).__name__}, but an array was expected; type np.asarray(…).")
    try:
        return np.asarray(x)
    except Exception as error:  # rows of different lengths, a tensor that needs its gradient, …
        how = "call any_array(function)" if hasattr(x, "requires_grad") else f"type np.asarray({name})"
        raise refuse(f"{name} ({type(x).__name__}) is no array: {error}; {how}.") from error


def operands(x: Any, w: Any, b: Any) -> tuple[Any, Any, Any]:
    """x, w and b as real numbers; b may be None. For the pairs that train: one call, and shapes are the kernel's."""
    both = type(x) is np.ndarray and type(w) is np.ndarray and x.dtype in REAL and w.dtype in REAL
    if both and (b is None or (type(b) is np.ndarray and b.dtype in REAL)):
        return x, w, b
    return real(x), real(w, "w"), None if b is None else real(b, "b")


def taken(spec: str, *arrays: Any) -> Any:
    """The arrays as real numbers, with shapes that are as `spec` says; None stays where that says so."""
    for a in arrays:
        if type(a) is not np.ndarray or a.dtype not in REAL:
            arrays = tuple(reals(*arrays))
            break
    fit(spec, *[None if a is None else a.shape for a in arrays])
    return arrays


def gradient_like(dy: Any, shape: Shape, name: str = "dy") -> Array:
    """dy as real numbers of `shape`, which is that of what forward returned."""
    if type(dy) is np.ndarray and dy.shape == shape and dy.dtype in REAL:
        return dy
    dy = real(dy, name)
    if dy.shape != shape:
        raise refuse(f"{name} has shape {dy.shape}, but {tuple(shape)} was expected, the shape of what forward gave.")
    return dy


def number(value: Any, name: str = "dloss") -> Any:
    """A number as it is, or an array () of one: the gradient of a loss."""
    if type(value) is float:
        return value
    if isinstance(value, Real) and not isinstance(value, np.generic):
        return float(value)
    value = real(value, name)
    if value.shape != ():
        raise refuse(f"{name} has shape {value.shape}, but one number was expected, the gradient of a mean.")
    return value[()]


def samples(n: int) -> None:
    """InputError for a loss of no samples."""
    if not n:
        raise refuse("a loss is a mean over samples, but this batch has none: give it at least one sample.")


def labels(t: Any, n: int, classes: int, *, empty: bool = False) -> Array:
    """t as whole numbers, one for each of n samples; on the host also in 0 … classes - 1. n >= 1 unless `empty`.

    The labels of a device are not looked at: each step would wait for it.
    """
    if type(t) is not np.ndarray:
        t = array(t, "t")
    if t.dtype.kind not in "iu" and (n or t.size):
        raise refuse(f"labels are {t.dtype}, but whole numbers are needed; type t.astype(int).")
    if t.shape != (n,):
        hints = {
            (n, 1): "; for this column of labels type t[:, 0]",
            (n, classes): "; for one-hot rows type t.argmax(axis=1)",
        }
        raise refuse(
            f"labels have shape {t.shape}, but one for each of the {n} rows is needed{hints.get(t.shape, '')}."
        )
    if not empty:
        samples(n)
    if n and at_hand(t) and not 0 <= t.min() <= t.max() < classes:
        raise refuse(f"labels run from {t.min()} to {t.max()}, but {classes} classes are numbered from 0.")
    return t if t.dtype.kind in "iu" and t.dtype != np.uint64 else t.astype(np.int64)  # uint64 beside int64 is a float


def indices(rows: Any, name: str) -> Array:
    """`rows` as whole numbers of 64 bits, in row order."""
    if type(rows) is not np.ndarray:
        rows = array(rows, name)
    if rows.dtype.kind not in "iu" and rows.size:
        raise refuse(f"{name} holds {rows.dtype}, but whole numbers were expected; type {name}.astype(int).")
    if rows.dtype != np.int64 or not rows.flags.c_contiguous:
        return array_module(rows).ascontiguousarray(rows, dtype=np.int64)
    return rows


def places(rows: Any, name: str, low: int, high: int) -> Array:
    """`indices`, on the host also in low … high - 1: what an array is then read at."""
    rows = indices(rows, name)
    if rows.size and at_hand(rows) and not low <= rows.min() <= rows.max() < high:
        raise refuse(f"{name} runs from {rows.min()} to {rows.max()}, but {low} … {high - 1} was expected.")
    return rows


def each_once(rows: Any, name: str) -> Array:
    """`indices` of any shape that hold 1, 2, … each once, which is asked of the host's only: a tree's places."""
    rows = indices(rows, name)
    places(rows, name, 0, rows.size + 1)
    if isinstance(rows, np.ndarray):
        seen = np.zeros(rows.size + 1, dtype=bool)
        seen[rows] = True
        if not seen[1:].all():
            raise refuse(f"{name} lacks {seen[1:].argmin() + 1}, but each of 1 … {rows.size} once was expected.")
    return rows


def booleans(mask: Any, shape: Shape, name: str = "mask") -> Any:
    """`mask` as booleans that broadcast to `shape`; None stays."""
    if mask is None:
        return None
    mask = array(mask, name)
    if mask.dtype != bool:
        raise refuse(f"{name} holds {mask.dtype}, but booleans are needed: True where something is allowed.")
    if mask.ndim > len(shape) or any(m not in (1, n) for m, n in zip(mask.shape[::-1], shape[::-1], strict=False)):
        raise refuse(f"{name} of shape {mask.shape} does not broadcast to {shape}.")
    return mask


def bounded(z: Array, power: int, what: str) -> Array:
    """z, where a sum of z**power is finite in its type; else InputError, on the host: no step waits for a device."""
    if z.size and at_hand(z):
        most = float(np.finfo(z.dtype).max / (4 * z.shape[-1])) ** (1 / power)
        if not -most <= z.min() <= z.max() <= most:
            raise refuse(
                f"scores reach {max(-z.min(), z.max()):.3g}, but a {what} softmax in {z.dtype} takes them up to "
                f"{most:.2g}."
            )
    return z


# ---------------------------------------------------------------- settings
def pair(name: str, value: Any, least: int) -> Pair:
    """`value` as two whole numbers of at least `least`."""
    if type(value) is tuple and len(value) == 2:
        a, b = value
        if type(a) is int and type(b) is int and a >= least and b >= least:
            return value
    two = tuple(value) if isinstance(value, tuple | list | np.ndarray) and np.ndim(value) == 1 else ()
    if len(two) == 2 and all(isinstance(v, Integral) and int(v) >= least for v in two):
        return int(two[0]), int(two[1])
    raise refuse(
        f"{name} is {value!r}, but two whole numbers of at least {least} were expected; "
        f"type for example {name}=({max(least, 1)}, {max(least, 1)})."
    )


def whole(name: str, value: Any, least: int = 1) -> int:
    """`value` as a whole number of at least `least`."""
    if type(value) is int and value >= least:
        return value
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < least:
        raise refuse(f"{name} is {value!r}, but a whole number of at least {least} was expected.")
    return int(value)


# ---------------------------------------------------------------- shapes
@functools.lru_cache(maxsize=4096)
def fit(spec: str, *shapes: Shape | None) -> None:
    """InputError unless the shapes are as "x (N, D), w (D, M), b (M)?" says: a letter is one size everywhere.

    "?": may be None. "…": any axes, the same wherever they stand; "3D": three times the size D; a number: itself.
    Only axes of samples and rows may be empty.
    """
    known: dict[str, Any] = {}
    said_by: dict[str, int] = {}
    arrays = parsed(spec)
    for i, ((name, axes, optional), shape) in enumerate(zip(arrays, shapes, strict=True)):
        if shape is None:
            if not optional:
                raise refuse(f"{name} is None, but an array {written(axes)} was expected.")
            continue
        wrong = _unfit(axes, shape, known)
        if wrong is None:
            raise refuse(f"{name} has shape {shape}, but {written(axes)} was expected.")
        if wrong:
            given = ", ".join(f"{a} = {known[a]}" for a in dict.fromkeys(map(_letter, axes)) if a in known)
            where = f" with {given}" if given else ""
            by = next((said_by[_letter(a)] for a in wrong if _letter(a) in said_by), None)
            said = f", as {arrays[by][0]} {shapes[by]} says" if by is not None else ""
            hint = _turned(name, axes, shape, known)
            raise refuse(f"{name} has shape {shape}, but {written(axes)}{where} was expected{said}.{hint}")
        for letter, size in _sizes(axes, shape):
            if size == 0 and letter not in MAY_BE_EMPTY:
                raise refuse(f"{name} has shape {shape}, but {written(axes)} with {letter} of at least 1 was expected.")
            if letter not in known:
                known[letter], said_by[letter] = size, i


@functools.cache
def parsed(spec: str) -> list[tuple[str, tuple[str, ...], bool]]:
    """What `fit` is told: of each array the name, the axes, and whether it may be None."""
    return [
        (name, tuple(a.strip() for a in axes.split(",") if a.strip()), bool(optional))
        for name, axes, optional in re.findall(r"(\w+) \(([^)]*)\)(\??)", spec)
    ]


def written(axes: tuple[str, ...]) -> str:
    """As a docstring has it: (N, D), and (M,)."""
    return f"({', '.join(axes)}{',' if len(axes) == 1 and axes != ('…',) else ''})"


def _letter(axis: str) -> str:
    return axis.lstrip("0123456789") or axis


def _sizes(axes: tuple[str, ...], shape: Shape) -> list[tuple[str, Any]]:
    """The letters of the axes and the sizes that they have in `shape`; -1 where a multiple is none."""
    sizes: list[Any] = list(shape)
    if "…" in axes:
        at, rest = axes.index("…"), len(shape) - len(axes) + 1
        sizes[at : at + rest] = [shape[at : at + rest]]
    found = []
    for axis, size in zip(axes, sizes, strict=True):
        letter = _letter(axis)
        times = int(axis.removesuffix(letter) or 1) if letter != axis else 1
        found.append((letter, size if times == 1 else size // times if size % times == 0 else -1))
    return found


def _unfit(axes: tuple[str, ...], shape: Shape, known: dict[str, Any]) -> list[str] | None:
    """The axes whose size is another than what is known; None where there are more or fewer of them."""
    if len(shape) < len(axes) - ("…" in axes) or (len(shape) > len(axes) and "…" not in axes):
        return None
    wrong, seen = [], dict(known)
    for axis, (letter, size) in zip(axes, _sizes(axes, shape), strict=True):
        expected = int(axis) if axis.isdigit() else seen.setdefault(letter, size)
        if size != expected or size == -1:
            wrong.append(axis)
    return wrong


def _turned(name: str, axes: tuple[str, ...], shape: Shape, known: dict[str, Any]) -> str:
    """What to type where the same array with its axes in another order would fit."""
    if len(shape) not in (2, 3, 4) or "…" in axes:
        return ""
    orders = [(0, 2, 3, 1)] if len(shape) == 4 else []
    for order in [*orders, *itertools.permutations(range(len(shape)))]:
        if _unfit(axes, tuple(shape[i] for i in order), known) == []:
            return f" Type {name}.transpose({', '.join(map(str, order))})."
    return ""


# ---------------------------------------------------------------- windows over images
@functools.lru_cache(maxsize=4096)
def fit_windows(shape: Shape, k: Pair, stride: Pair, pad: Pair) -> Shape:
    """(N, OH, OW, C) of windows of k over images of `shape` (N, H, W, C); InputError where one does not fit."""
    fit("x (N, H, W, C)", shape)
    pair("size", k, 1), pair("stride", stride, 1), pair("pad", pad, 0)
    oh, ow = ((shape[i + 1] + 2 * pad[i] - k[i]) // stride[i] + 1 for i in (0, 1))
    if oh < 1 or ow < 1:
        raise refuse(
            f"a window of {k[0]}x{k[1]} does not fit an input of {shape[1]}x{shape[2]} with padding {pad}. "
            "Use a larger image, more padding or fewer pooling steps."
        )
    return shape[0], oh, ow, shape[3]


@functools.lru_cache(maxsize=4096)
def fit_convolution(x: Shape, w: Shape, b: Shape | None, stride: Pair, pad: Pair, dy: Shape | None = None) -> Shape:
    """(N, OH, OW, F); InputError unless x (N, H, W, C), w (KH, KW, C, F), b (F,) or None, and dy, if given, fit."""
    fit("w (KH, KW, C, F), x (N, H, W, C), b (F)?", w, x, b)
    shape = (*fit_windows(x, w[:2], stride, pad)[:3], w[3])
    if dy not in (None, shape):
        raise refuse(f"dy has shape {dy}, but {shape} was expected, the shape of what forward gave.")
    return shape
