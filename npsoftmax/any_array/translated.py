"""An array of another library that has the methods of NumPy's arrays."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from npsoftmax.errors import InputError

if TYPE_CHECKING:
    from npsoftmax.any_array.words import Words


class Translated:
    """An array `native` of another library, with those methods of NumPy's arrays that pairs use."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, native: Any, words: Words):
        self.native, self.numpy_words = native, words

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """A function that the standard lacks, of NumPy or SciPy: the library's own if it has one, else on the host."""
        special = getattr(getattr(self.numpy_words.library, "special", None), ufunc.__name__, None)
        if special is not None:
            return self._like(special(self.native))
        return self._like(ufunc(*(x.get() if isinstance(x, Translated) else x for x in inputs), **options))

    # ------------------------------------------------------------ what it knows of itself
    shape = property(lambda self: tuple(self.native.shape))
    ndim = property(lambda self: len(self.native.shape))
    size = property(lambda self: math.prod(self.native.shape))
    itemsize = property(lambda self: self.dtype.itemsize)
    nbytes = property(lambda self: self.size * self.dtype.itemsize)
    flags = property(lambda self: SimpleNamespace(c_contiguous=True, f_contiguous=False, writeable=True))

    on_host = property(lambda self: "cpu" in str(self.numpy_words.device).lower())

    @property
    def dtype(self) -> np.dtype:
        name = str(self.native.dtype).rpartition(".")[2]
        try:
            return np.dtype(name)
        except TypeError as error:
            raise InputError(f"an array of {name} was given, a type that NumPy has not; make it float32.") from error

    def __len__(self) -> int:
        return int(self.native.shape[0])

    def __iter__(self) -> Iterator[Translated]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.native)

    def __int__(self) -> int:
        return int(self.native)

    def __float__(self) -> float:
        return float(self.native)

    def __format__(self, spec: str) -> str:
        return format(self.get()[()], spec)

    def get(self) -> np.ndarray:
        """The numbers in NumPy."""
        x = self.native
        return np.asarray(x.detach().cpu().resolve_neg() if hasattr(x, "detach") else x)

    # ------------------------------------------------------------ elements
    def __getitem__(self, key: Any) -> Translated:
        try:
            return self._like(self.native[self._key(key)])
        except (IndexError, TypeError, ValueError):  # arrays beside slices, backwards, …: each element by its number
            places = self._places(key)
            elements = self.numpy_words.library.take(self.reshape(-1).native, self._like(places.ravel()).native, axis=0)
            return self._like(elements).reshape(places.shape)

    def __setitem__(self, key: Any, value: Any) -> None:
        values = self.numpy_words.asarray(value, self.dtype)
        try:
            self.native[self._key(key)] = values.native
        except (IndexError, TypeError, ValueError):
            places = self._places(key)
            values = self.numpy_words.broadcast_to(values, places.shape).reshape(-1)
            for number, place in enumerate(places.ravel()):
                at = tuple(int(i) for i in np.unravel_index(place, self.shape))
                self.native[at] = values.native[number]

    def _key(self, key: Any) -> tuple[Any, ...]:
        """`key` for the library: its own arrays, slices that end where the axis ends, and every axis spoken of."""
        parts = key if isinstance(key, tuple) else (key,)
        if any(hasattr(part, "dtype") for part in parts):  # to PyTorch a byte is no number of a place, but yes or no
            places = (self._like(part) if hasattr(part, "dtype") else part for part in parts)
            return tuple(
                (p if p.dtype == bool else p.astype(np.int64)).native if isinstance(p, Translated) else p
                for p in places
            )
        if Ellipsis not in parts:
            parts = (*parts, Ellipsis)
        before = parts.index(Ellipsis)
        axes = self.ndim - sum(part is not None and part is not Ellipsis for part in parts)
        found, axis = [], 0
        for number, part in enumerate(parts):
            if isinstance(part, slice) and (part.step or 1) > 0:
                part = slice(*part.indices(self.shape[axis]))
            found.append(part)
            axis += axes if number == before else part is not None
        return tuple(found)

    def _places(self, key: Any) -> np.ndarray:
        parts = key if isinstance(key, tuple) else (key,)
        found = tuple(part.get() if isinstance(part, Translated) else part for part in parts)
        return np.arange(self.size).reshape(self.shape)[found]

    def _like(self, native: Any) -> Translated:
        return self.numpy_words.translated(native)

    # ------------------------------------------------------------ form and type
    def astype(self, dtype: Any, copy: bool = True) -> Translated:
        words = self.numpy_words
        return self._like(words.library.astype(self.native, words.type_of(dtype), copy=copy))

    def copy(self) -> Translated:
        return self.astype(self.dtype)

    def reshape(self, *shape: Any) -> Translated:
        sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], Sequence) else shape
        return self._like(self.numpy_words.library.reshape(self.native, tuple(sizes)))

    def ravel(self) -> Translated:
        return self.reshape(-1)

    def transpose(self, *axes: Any) -> Translated:
        order = axes[0] if len(axes) == 1 and isinstance(axes[0], Sequence) else axes
        order = tuple(order) or tuple(range(self.ndim))[::-1]
        return self._like(self.numpy_words.library.permute_dims(self.native, order))

    T = property(lambda self: self.transpose())

    def swapaxes(self, a: int, b: int) -> Translated:
        order = list(range(self.ndim))
        order[a], order[b] = order[b], order[a]
        return self.transpose(order)

    # ------------------------------------------------------------ over an axis
    def _reduced(self, name: str, axis: Any = None, keepdims: bool = False) -> Translated:
        x = self.astype(np.int64) if name == "sum" and self.dtype == bool else self
        return self._like(getattr(x.numpy_words.library, name)(x.native, axis=axis, keepdims=keepdims))

    sum = functools.partialmethod(_reduced, "sum")
    mean = functools.partialmethod(_reduced, "mean")
    max = functools.partialmethod(_reduced, "max")
    min = functools.partialmethod(_reduced, "min")
    any = functools.partialmethod(_reduced, "any")
    all = functools.partialmethod(_reduced, "all")
    argmax = functools.partialmethod(_reduced, "argmax")
    argmin = functools.partialmethod(_reduced, "argmin")


def _operator(name: str, turned: bool = False) -> Callable[[Any, Any], Any]:
    real = getattr(operator, name)

    def apply(self: Translated, other: Any) -> Translated:
        a, b = self.numpy_words.alike(*((other, self) if turned else (self, other)))
        if name == "truediv" and a.dtype.kind in "iub":
            a, b = a.astype(np.float64), b.astype(np.float64)
        return self._like(real(a.native, b.native))

    return apply


def _in_place(name: str) -> Callable[[Any, Any], Any]:
    def apply(self: Translated, other: Any) -> Translated:
        self[...] = getattr(operator, name)(self, other)
        return self

    return apply


def _of_one(name: str) -> Callable[[Any], Any]:
    return lambda self: self._like(getattr(operator, name)(self.native))


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "rshift"):
    setattr(Translated, f"__{_name.rstrip('_')}__", _operator(_name))
    setattr(Translated, f"__r{_name.rstrip('_')}__", _operator(_name, turned=True))
    setattr(Translated, f"__i{_name.rstrip('_')}__", _in_place(_name))
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Translated, f"__{_name}__", _operator(_name))
for _name in ("neg", "invert", "abs"):
    setattr(Translated, f"__{_name}__", _of_one(_name))
