"""NumPy's functions by those of the Python array API, for arrays in a `Translated`."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from string import ascii_uppercase
from types import SimpleNamespace
from typing import Any

import numpy as np

from npsoftmax.any_array.translated import Translated

# What the standard has under NumPy's names: functions of elements, of matrices, and those that make arrays of a shape.
ELEMENTWISE = {
    *("abs", "exp", "expm1", "isfinite", "isnan", "log", "log1p", "logaddexp", "matmul", "maximum"),
    *("minimum", "sqrt", "square", "subtract", "tanh"),
}
NEW = {"empty", "eye", "ones", "zeros"}


class Words:
    """NumPy's functions by those of `library`, which has the Python array API; new arrays lie on `device`."""

    inf, finfo = math.inf, staticmethod(np.finfo)
    float32, float64, int32, int64, uint8 = np.float32, np.float64, np.int32, np.int64, np.uint8

    def __init__(self, library: Any, device: Any):
        self.library, self.device = library, device
        self.__name__ = library.__name__
        self.add = SimpleNamespace(at=_add_at)

    def translated(self, x: Any) -> Translated:
        """x as it is, or an array of the library or of NumPy translated."""
        if isinstance(x, Translated):
            return x
        if isinstance(x, np.ndarray | np.generic):
            x = self.library.asarray(np.asarray(x), device=self.device)
        return Translated(x, self)

    def type_of(self, dtype: Any) -> Any:
        """The library's own name of a type of NumPy's."""
        return getattr(self.library, np.dtype(dtype).name)

    def alike(self, *values: Any) -> list[Translated]:
        """Arrays and numbers as arrays of one type, that which NumPy would compute in."""
        dtype = np.result_type(*(v.dtype if isinstance(v, Translated | np.ndarray) else v for v in values))
        return [self.asarray(v, dtype) for v in values]

    def __getattr__(self, name: str) -> Any:
        if name not in ELEMENTWISE | NEW:
            raise AttributeError(f"NumPy's {name} has no translation for arrays of {self.__name__}")
        return functools.partial(self._elementwise if name in ELEMENTWISE else self._new, getattr(self.library, name))

    def _elementwise(self, function: Any, *arrays: Any, out: Translated | None = None) -> Translated:
        result = Translated(function(*(a.native for a in self.alike(*arrays))), self)
        if out is None:
            return result
        out[...] = result
        return out

    def _new(self, function: Any, shape: Any, dtype: Any = np.float64) -> Translated:
        return Translated(function(shape, dtype=self.type_of(dtype), device=self.device), self)

    def where(self, condition: Any, x: Any, y: Any) -> Translated:
        a, b = self.alike(x, y)
        return Translated(self.library.where(condition.native, a.native, b.native), self)

    # ------------------------------------------------------------ new arrays
    def asarray(self, x: Any, dtype: Any = None) -> Translated:
        if not isinstance(x, Translated):
            return self.translated(np.asarray(x, dtype))
        return x if dtype is None or x.dtype == dtype else x.astype(dtype)

    def ascontiguousarray(self, x: Any, dtype: Any = None) -> Translated:
        return self.asarray(x, dtype)

    def array(self, x: Any, dtype: Any = None) -> Translated:
        return self.asarray(x, dtype).copy()

    def full(self, shape: Any, value: Any, dtype: Any = None) -> Translated:
        dtype = self.type_of(np.result_type(value) if dtype is None else dtype)
        value = value.item() if isinstance(value, np.generic) else value  # the standard's is a number of Python's
        return Translated(self.library.full(shape, value, dtype=dtype, device=self.device), self)

    def arange(self, *limits: int, dtype: Any = np.int64) -> Translated:
        return Translated(self.library.arange(*limits, dtype=self.type_of(dtype), device=self.device), self)

    def zeros_like(self, x: Translated) -> Translated:
        return self.zeros(x.shape, x.dtype)

    def empty_like(self, x: Translated) -> Translated:
        return self.empty(x.shape, x.dtype)

    def ones_like(self, x: Translated) -> Translated:
        return self.ones(x.shape, x.dtype)

    def full_like(self, x: Translated, value: Any) -> Translated:
        return self.full(x.shape, value, x.dtype)

    # ------------------------------------------------------------ whole arrays
    def concatenate(self, arrays: Sequence[Any], axis: int = 0) -> Translated:
        return Translated(self.library.concat([a.native for a in self.alike(*arrays)], axis=axis), self)

    def stack(self, arrays: Sequence[Any], axis: int = 0) -> Translated:
        return Translated(self.library.stack([a.native for a in self.alike(*arrays)], axis=axis), self)

    def broadcast_to(self, x: Translated, shape: Any) -> Translated:
        return Translated(self.library.broadcast_to(x.native, tuple(shape)), self)

    def pad(self, x: Translated, widths: Sequence[tuple[int, int]], constant_values: float = 0.0) -> Translated:
        shape = [before + size + after for size, (before, after) in zip(x.shape, widths, strict=True)]
        padded = self.full(tuple(shape), constant_values, x.dtype)
        padded[tuple(slice(before, before + size) for size, (before, _) in zip(x.shape, widths, strict=True))] = x
        return padded

    def cumsum(self, x: Translated, axis: int | None = None) -> Translated:
        return Translated(self.library.cumulative_sum(x.native, axis=axis), self)

    def sort(self, x: Translated, axis: int = -1) -> Translated:
        return Translated(self.library.sort(x.native, axis=axis), self)

    def nonzero(self, x: Translated) -> tuple[Translated, ...]:
        return tuple(Translated(places, self) for places in self.library.nonzero(x.native))

    def flatnonzero(self, x: Translated) -> Translated:
        return self.nonzero(x.reshape(-1))[0]

    def unique(self, x: Translated, return_inverse: bool) -> tuple[Translated, Translated]:
        values, inverse = self.library.unique_inverse(x.native)
        return Translated(values, self), Translated(inverse, self)

    def take_along_axis(self, x: Translated, places: Any, axis: int) -> Translated:
        places = self.where(places < 0, places + x.shape[axis], places)
        return Translated(self.library.take_along_axis(x.native, places.native, axis=axis), self)

    def put_along_axis(self, x: Translated, places: Any, values: Any, axis: int) -> None:
        """For one place along the axis."""
        size = [1] * x.ndim
        size[axis] = x.shape[axis]
        x[...] = self.where(self.arange(x.shape[axis]).reshape(*size) == places, values, x)

    def tensordot(self, a: Translated, b: Translated, axes: Any) -> Translated:
        axes = axes if isinstance(axes, int) else tuple((i,) if isinstance(i, int) else tuple(i) for i in axes)
        return Translated(self.library.tensordot(a.native, b.native, axes=axes), self)

    def einsum(self, formula: str, *arrays: Translated, optimize: bool = True) -> Translated:
        """The product of the arrays, each with all axes of the formula, and its sum over those that do not come out."""
        *given, out = formula.replace("->", ",").split(",")
        hidden = max(a.ndim - len(axes.replace("...", "")) for a, axes in zip(arrays, given, strict=True))
        more = ascii_uppercase[:hidden]  # a letter for each axis that "..." stands for
        given, out = [axes.replace("...", more) for axes in given], out.replace("...", more)
        every = "".join(dict.fromkeys("".join(given)))
        product: Any = 1
        for a, axes in zip(arrays, given, strict=True):
            order = [axes.index(letter) for letter in every if letter in axes]
            sizes = [a.shape[axes.index(letter)] if letter in axes else 1 for letter in every]
            product = product * a.transpose(order).reshape(sizes)
        summed = product.sum(axis=tuple(i for i, letter in enumerate(every) if letter not in out))
        left = [letter for letter in every if letter in out]
        return summed.transpose([left.index(letter) for letter in out])


def _add_at(x: Any, places: Translated, values: Translated) -> None:
    """x[place] += value, place by place, so that one that occurs twice gets both."""
    rows = values.reshape(places.size, *x.shape[1:])
    for number, place in enumerate(places.ravel().get()):
        x[int(place)] += rows[number]
