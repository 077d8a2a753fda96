"""Reads a pickle as data: nothing in it is ever imported, called or built.

Design: a pickle is a program for a small stack machine, and `pickle.load` runs it, with whatever calls it
holds. The CIFAR files need a few instructions that build dicts, lists and strings, and one kind of call: "make a
NumPy array". This reader knows those instructions alone. A call becomes an inert `Call` record, which `as_array`
reads; any other instruction and any name outside `ALLOWED` is refused. Memory is bounded by the size of the file: no
instruction makes more than a small object and the bytes that follow it, there are at most MOST_INSTRUCTIONS, and what
is copied when it is read, though a file may refer to it many times, is short (MOST_TEXT).
Source: CPython's pickletools documents every instruction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

# The names under which NumPy 1 and 2 (and Python 2 and 3) write a uint8 array and its bytes.
RECONSTRUCT = {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")}
FROM_BUFFER = {("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer")}
DTYPE, NDARRAY, ENCODE = ("numpy", "dtype"), ("numpy", "ndarray"), ("_codecs", "encode")
ALLOWED = {*RECONSTRUCT, *FROM_BUFFER, DTYPE, NDARRAY, ENCODE}

MOST_INSTRUCTIONS = 2**20  # the largest official file has 250,000
MOST_TEXT = 256  # characters of a key or a name
MOST_AXES = 4


class BadData(ValueError):
    """What is wrong with the pickle, worded to follow the name of its file."""


@dataclass(frozen=True)
class Name:
    """A global that the pickle names, not looked up."""

    module: str
    name: str

    @property
    def key(self) -> tuple[str, str]:
        return self.module, self.name


@dataclass(eq=False)
class Call:
    """A call that the pickle asks for, not made; `state` is what it would have been given afterwards."""

    function: Name
    args: tuple[Any, ...]
    state: Any = None


def read_pickle(data: bytes) -> Any:
    """The dicts, lists, tuples, numbers, str, bytes and `Call`s in `data`.

    Keys of dicts are returned as str; a Python 2 string as bytes. Raises BadData for anything else.
    """
    return _Machine(data).run()


def as_bytes(value: Any) -> bytes:
    """A byte string, also in the form of Python 3's protocol 2, encode(text, "latin1")."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, Call) and value.function.key == ENCODE and len(value.args) == 2:
        text, codec = value.args
        if isinstance(text, str) and codec == "latin1":
            try:
                return text.encode("latin1")
            except UnicodeEncodeError:
                pass
    raise BadData("holds something else where bytes belong")


def as_text(value: Any) -> str:
    """A str, or the str in the bytes that Python 2 wrote; of MOST_TEXT characters at most."""
    found = value.args[0] if isinstance(value, Call) and value.args else value
    if isinstance(found, str | bytes) and len(found) > MOST_TEXT:
        raise BadData(f"holds a name of {len(found)} characters, more than {MOST_TEXT}")
    return value if isinstance(value, str) else as_bytes(value).decode("latin1")


def as_array(value: Any) -> np.ndarray:
    """The uint8 array that a `Call` describes (a read-only view of its bytes)."""
    if not isinstance(value, Call):
        raise BadData("holds something else where an array belongs")
    if value.function.key in RECONSTRUCT and isinstance(value.state, tuple) and len(value.state) == 5:
        _, shape, dtype, fortran, content = value.state
        order = "F" if fortran is True else "C"
    elif value.function.key in FROM_BUFFER and len(value.args) == 4:
        content, dtype, shape, order = value.args
    else:
        raise BadData("holds an array in a form that is not NumPy's")
    if not (isinstance(dtype, Call) and dtype.function.key == DTYPE and dtype.args and _is_uint8(dtype.args[0])):
        raise BadData("holds an array of another type than uint8")
    content = as_bytes(content)
    if not (isinstance(shape, tuple) and 1 <= len(shape) <= MOST_AXES):
        raise BadData("holds an array without a valid shape")
    if not all(type(n) is int and 0 <= n <= max(len(content), 2**15) for n in shape):
        raise BadData(f"holds an array whose {len(content)} bytes do not fit its shape")
    if math.prod(shape) != len(content):
        raise BadData(f"holds an array whose {len(content)} bytes do not fit its shape")
    return np.frombuffer(content, np.uint8).reshape(shape, order="F" if order == "F" else "C")


def _is_uint8(code: Any) -> bool:
    return isinstance(code, str | bytes) and code in ("u1", b"u1", "|u1", b"|u1")


class _Machine:
    """A stack, the places of the open marks in it, and a memo of values to refer to again."""

    def __init__(self, data: bytes):
        self.data, self.position = data, 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        try:
            done = 0
            while (code := self.number(1)) != STOP:
                INSTRUCTIONS[code](self)
                done += 1
                if done > MOST_INSTRUCTIONS:
                    raise BadData(f"has more than {MOST_INSTRUCTIONS:,} instructions")
            if self.marks or len(self.stack) != 1:
                raise BadData(f"is damaged: it ends at byte {self.position} with its values unfinished")
            return self.stack[0]
        except KeyError as error:
            code, place = error.args[0], self.position - 1
            raise BadData(f"holds instruction {code:#04x} at byte {place}, which no data file needs") from None
        except IndexError:
            raise BadData(f"is damaged at byte {self.position}: a value is missing") from None

    # -- reading
    def take(self, n: int) -> bytes:
        start, self.position = self.position, self.position + n
        if n < 0 or self.position > len(self.data):
            raise BadData(f"ends too early: {n} more bytes were expected at byte {start} of {len(self.data)}")
        return self.data[start : self.position]

    def skip(self, n: int) -> None:
        self.take(n)

    def number(self, n: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(n), "little", signed=signed)

    def counted(self, n: int) -> bytes:
        """A string with its length, of n bytes, before it."""
        return self.take(self.number(n))

    def text(self, n: int) -> str:
        return self.decode(self.counted(n))

    def line(self) -> str:
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise BadData("ends too early: in the middle of a name")
        return self.decode(self.take(end + 1 - self.position)[:-1])

    def decode(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise BadData(f"is damaged near byte {self.position}: a text is not UTF-8") from None

    # -- the stack
    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise IndexError
        return self.stack.pop()

    def pop_many(self, n: int) -> tuple[Any, ...]:
        return tuple(reversed([self.pop() for _ in range(n)]))

    def pop_mark(self) -> list[Any]:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise BadData(f"is damaged at byte {self.position}: {kind.__name__} expected")
        return self.stack[-1]

    # -- instructions that do more than push
    def remember(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def recall(self, place: int) -> None:
        if place not in self.memo:
            raise BadData(f"is damaged at byte {self.position}: it refers to a value that is not there")
        self.push(self.memo[place])

    def append(self, values: list[Any]) -> None:
        self.top(list).extend(values)

    def set_items(self, values: list[Any] | tuple[Any, ...]) -> None:
        if len(values) % 2:
            raise IndexError
        keys = [as_text(key) for key in values[::2]]
        self.top(dict).update(zip(keys, values[1::2], strict=True))

    def name(self, module: Any, name: Any) -> None:
        key = (as_text(module), as_text(name))
        if key not in ALLOWED:
            raise BadData(f"asks for {'.'.join(key)!r}, which no data file needs; nothing of it was run")
        self.push(Name(*key))

    def call(self) -> None:
        function, args = self.pop_many(2)
        if not (isinstance(function, Name) and isinstance(args, tuple)):
            raise BadData("calls something that is not a name; nothing of it was run")
        self.push(Call(function, args))

    def build(self) -> None:
        state = self.pop()
        self.top(Call).state = state


STOP = ord(".")
INSTRUCTIONS: dict[int, Callable[[_Machine], None]] = {
    0x80: lambda m: m.skip(1),  # PROTO
    0x95: lambda m: m.skip(8),  # FRAME
    ord("("): lambda m: m.marks.append(len(m.stack)),  # MARK
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("K"): lambda m: m.push(m.number(1)),  # BININT1
    ord("M"): lambda m: m.push(m.number(2)),  # BININT2
    ord("J"): lambda m: m.push(m.number(4, signed=True)),  # BININT
    0x8A: lambda m: m.push(int.from_bytes(m.counted(1), "little", signed=True)),  # LONG1
    ord("U"): lambda m: m.push(m.counted(1)),  # SHORT_BINSTRING, Python 2
    ord("T"): lambda m: m.push(m.counted(4)),  # BINSTRING, Python 2
    0x8C: lambda m: m.push(m.text(1)),  # SHORT_BINUNICODE
    ord("X"): lambda m: m.push(m.text(4)),  # BINUNICODE
    ord("C"): lambda m: m.push(m.counted(1)),  # SHORT_BINBYTES
    ord("B"): lambda m: m.push(m.counted(4)),  # BINBYTES
    0x8E: lambda m: m.push(m.counted(8)),  # BINBYTES8
    0x96: lambda m: m.push(m.counted(8)),  # BYTEARRAY8
    ord("]"): lambda m: m.push([]),
    ord("}"): lambda m: m.push({}),
    ord(")"): lambda m: m.push(()),
    0x85: lambda m: m.push(m.pop_many(1)),  # TUPLE1
    0x86: lambda m: m.push(m.pop_many(2)),  # TUPLE2
    0x87: lambda m: m.push(m.pop_many(3)),  # TUPLE3
    ord("t"): lambda m: m.push(tuple(m.pop_mark())),
    ord("a"): lambda m: m.append([m.pop()]),
    ord("e"): lambda m: m.append(m.pop_mark()),
    ord("s"): lambda m: m.set_items(m.pop_many(2)),
    ord("u"): lambda m: m.set_items(m.pop_mark()),
    ord("q"): lambda m: m.remember(m.number(1)),  # BINPUT
    ord("r"): lambda m: m.remember(m.number(4)),  # LONG_BINPUT
    0x94: lambda m: m.remember(len(m.memo)),  # MEMOIZE
    ord("h"): lambda m: m.recall(m.number(1)),  # BINGET
    ord("j"): lambda m: m.recall(m.number(4)),  # LONG_BINGET
    ord("c"): lambda m: m.name(m.line(), m.line()),  # GLOBAL
    0x93: lambda m: m.name(*m.pop_many(2)),  # STACK_GLOBAL
    ord("R"): lambda m: m.call(),  # REDUCE
    ord("b"): lambda m: m.build(),  # BUILD
}
