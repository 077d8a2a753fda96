"""Values on their way between the grader and the process that runs student code: JSON and raw bytes, nothing that runs.

Design: nothing that comes back is executed, as a pickle would be. A value is a tree of JSON, in which an array stands
for itself by dtype, shape and the number of its bytes' blob. Plain numbers, strings, None, tuples, lists, dicts and
dataclasses come back as what they were; of anything else only the name of its type does.
"""

from __future__ import annotations

import dataclasses
import json
import keyword
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

MOST = 2**28  # bytes of a result: more is no answer to an exercise
PART = 64  # bytes that a part of a list counts
BITS = 10_000  # of a whole number, as its digits are read again
DEPTH = 32  # of values inside values
KINDS = "biufcSUmM"  # of arrays that are bytes and nothing else

Tree = Any
Blobs = list[bytes]


class TooLarge(MemoryError):
    """A result of more bytes than any exercise returns."""


class Foreign:
    """A value of a type that does not travel; `type(value).__name__` is the name of its type."""


class Packer:
    """Turns values into trees. blobs: the bytes of the arrays, in order; arrays: these themselves.

    layout: whether an array that is not contiguous is unpacked with the same strides.
    """

    def __init__(self, layout: bool = False):
        self.layout = layout
        self.blobs: Blobs = []
        self.arrays: list[np.ndarray] = []
        self.left = MOST
        self.around: set[int] = set()  # the containers that hold what is being packed

    def pack(self, value: Any, depth: int = 0) -> Tree:
        """The tree of a value. Raises TooLarge."""
        self._spend(PART)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, np.ndarray):
            return self._array(value, depth)
        if isinstance(value, np.generic):
            return self._scalar(value)
        if isinstance(value, int):
            return int(value) if value.bit_length() < BITS else ["foreign", "int"]
        if isinstance(value, float):
            return float(value)
        if isinstance(value, str):
            self._spend(len(value))
            return str(value)
        if depth >= DEPTH or id(value) in self.around:
            return ["foreign", type(value).__name__]
        self.around.add(id(value))
        tree = self._nested(value, depth)
        self.around.discard(id(value))
        return tree

    def _nested(self, value: Any, depth: int) -> Tree:
        if isinstance(value, tuple | list | range):
            return ["tuple" if isinstance(value, tuple) else "list", *(self.pack(v, depth + 1) for v in value)]
        if isinstance(value, dict):
            return ["dict", *([self.pack(k, depth + 1), self.pack(v, depth + 1)] for k, v in value.items())]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value) if _is_name(field.name)]
            parts = [[name, self.pack(getattr(value, name, None), depth + 1)] for name in names]
            return ["dataclass", type(value).__name__, *parts]
        return self._other(value, depth)

    def _spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise TooLarge(f"it returned more than {MOST // 2**20} MB")

    def _array(self, value: np.ndarray, depth: int) -> Tree:
        if isinstance(value, np.ma.MaskedArray):  # what it hides counts as 0, as in its sums
            value = np.ma.filled(value, 0)
        array = np.asarray(value)  # without the ways of a subclass
        if array.dtype.hasobject:
            return ["objects", list(array.shape), *(self.pack(v, depth + 1) for v in array.ravel())]
        if array.dtype.kind not in KINDS:
            return ["foreign", type(value).__name__]
        self._spend(array.nbytes)
        tree = ["array", array.dtype.str, list(array.shape), len(self.blobs)]
        if self.layout and not array.flags.c_contiguous:
            offset, memory = _memory(array)
            tree += [offset, list(array.strides)]
            self.blobs.append(memory)
        else:
            self.blobs.append(array.tobytes())
        self.arrays.append(array)
        return tree

    def _scalar(self, value: np.generic) -> Tree:
        array = np.asarray(value)
        if array.dtype.kind not in KINDS:
            return ["foreign", type(value).__name__]
        self.blobs.append(array.tobytes())
        self.arrays.append(array)
        return ["scalar", array.dtype.str, len(self.blobs) - 1]

    def _other(self, value: Any, depth: int) -> Tree:
        """What calls itself an array, such as a tensor of another library, as one; else the name of its type."""
        if isinstance(value, complex):
            return self._scalar(np.complex128(value))
        if isinstance(value, Fraction | Decimal):
            return float(value)
        if hasattr(type(value), "__array__") or isinstance(value, memoryview):
            try:
                array = np.asarray(value)
            except Exception:
                return ["foreign", type(value).__name__]
            if array.dtype.kind in KINDS:
                return self._array(array, depth)
        return ["foreign", type(value).__name__]


def _memory(array: np.ndarray) -> tuple[int, bytes]:
    """Where element 0 lies in the stretch of memory that an array spans, and that stretch, with zeros in its gaps."""
    reach = [(size - 1) * stride for size, stride in zip(array.shape, array.strides, strict=True)] if array.size else []
    offset = -sum(r for r in reach if r < 0)
    length = offset + sum(r for r in reach if r > 0) + array.itemsize
    buffer = np.zeros(length, np.uint8)
    np.ndarray(array.shape, array.dtype, buffer, offset, array.strides)[...] = array
    return offset, buffer.tobytes()


# ---------------------------------------------------------------- back
class Unpacker:
    """Turns trees into values again; any of Python's errors is raised by what is no tree.

    layout: whether arrays may have strides, which a student's may not: they could be larger than any memory.
    arrays: those that were made, by the number of their blob.
    """

    def __init__(self, blobs: Blobs, layout: bool = False):
        self.blobs, self.layout = blobs, layout
        self.arrays: dict[int, np.ndarray] = {}

    def unpack(self, tree: Tree) -> Any:
        """The value of a tree."""
        if not isinstance(tree, list):
            if tree is None or isinstance(tree, bool | int | float | str):
                return tree
            raise TypeError(f"{type(tree).__name__} is no part of a tree")
        kind, *rest = tree
        if kind in ("tuple", "list"):
            parts = [self.unpack(part) for part in rest]
            return tuple(parts) if kind == "tuple" else parts
        if kind == "dict":
            return {self.unpack(key): self.unpack(value) for key, value in rest}
        made: dict[Any, Any] = {
            "array": self._array,
            "scalar": self._scalar,
            "objects": self._objects,
            "dataclass": self._dataclass,
            "foreign": lambda name: type(str(name), (Foreign,), {})(),
        }
        return made[kind](*rest)

    def _array(self, dtype: str, shape: list[int], number: int, offset: int = 0, strides: Any = None) -> np.ndarray:
        kind, memory = _dtype(dtype), self.blobs[number]
        if strides is not None and self.layout:
            array = np.ndarray(tuple(shape), kind, np.frombuffer(memory, np.uint8).copy(), offset, tuple(strides))
        elif math.prod(shape) * kind.itemsize != len(memory) or any(size < 0 for size in shape):
            raise ValueError("a shape and its bytes do not fit")
        else:
            array = np.empty(shape, kind)
            array.reshape(-1).view(np.uint8)[...] = np.frombuffer(memory, np.uint8)
            if kind.kind == "b":  # no other bytes than 0 and 1
                array = array.view(np.uint8) != 0
        self.arrays[number] = array
        return array

    def _scalar(self, dtype: str, number: int) -> Any:
        return self._array(dtype, [], number)[()]

    def _objects(self, shape: list[int], *parts: Tree) -> np.ndarray:
        flat = np.empty(len(parts), object)
        for index, part in enumerate(parts):
            flat[index] = self.unpack(part)
        return flat.reshape(shape)

    def _dataclass(self, name: str, *parts: Tree) -> Any:
        names = [_name(part[0]) for part in parts]
        made = dataclasses.make_dataclass(_name(name), names, init=False, repr=False, eq=False)()
        for field, (_, tree) in zip(names, parts, strict=True):
            setattr(made, field, self.unpack(tree))
        return made


def _is_name(text: Any) -> bool:
    """Whether a field or a class may be called so."""
    return isinstance(text, str) and text.isidentifier() and not keyword.iskeyword(text) and text[:2] != "__"


def _name(text: Any) -> str:
    if not _is_name(text):
        raise ValueError(f"{text!r} is no name")
    return text


def _dtype(text: Any) -> np.dtype[Any]:
    kind = np.dtype(str(text))
    if kind.kind not in KINDS or kind.hasobject or not kind.itemsize:
        raise ValueError(f"{text} is no dtype of bytes")
    return kind


# ---------------------------------------------------------------- a message: a line of JSON, then the blobs
def framed(message: dict[str, Any], blobs: Blobs) -> bytes:
    """The bytes of a message."""
    head = json.dumps({**message, "blobs": [len(b) for b in blobs]})
    return b"".join([head.encode(), b"\n", *blobs])
