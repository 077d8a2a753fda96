"""CUDA kernels for the arrays of a device: found, compiled at their first use, and launched.

Design: a file <name>.cu, beside the module that calls it, is plain CUDA C in which `real` stands for float or double;
it is compiled once for each, by NVRTC through CuPy, which keeps the result on disk; and once more where `stored`, the
type of activations, is bfloat16 and what is computed from them float. A kernel takes pointers to
contiguous arrays, whole numbers as `int` and others as `real`: `Kernels` converts them, so a wrong type cannot pass
unnoticed. No kernel adds with atomics: every output has one thread, or one block, that sums in a fixed order, so
two runs agree bit for bit. The same files run on the CPU in the tests.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.backend import Array, array_module
from npsoftmax.bfloat16 import BFloat16
from npsoftmax.errors import InputError

PACKAGE = Path(__file__).parent
REALS = {"f": "float", "d": "double"}
BF16 = "bf16"  # beside these: activations in bfloat16, everything else float
BLOCK = 256  # threads of a block; `block_sum` in common.cuh counts on it
FREE_SHARED = 48 * 1024  # bytes of shared memory that a kernel may have without being asked for
RESERVED_SHARED = 1024  # bytes that a block takes besides
MOST_ITEMS = 2**30  # elements of an array, so that an index of any kernel fits an int


class Kernels:
    """The kernels of one file, compiled for one type of number; `pack` activations are 16 bytes."""

    def __init__(self, xp: Any, raw: Any, kind: str):
        self._xp, self._raw, self._real = xp, raw, np.dtype("f" if kind == BF16 else kind).type
        self.pack = 16 // (2 if kind == BF16 else np.dtype(kind).itemsize)
        self._functions: dict[str, Any] = {}
        # (name, device) -> the bytes of dynamic shared memory that a kernel may have there
        self._shared: dict[tuple[str, int], int] = {}

    def each(self, name: str, items: int, *args: Any) -> None:
        """Run a kernel with one thread for each item; its last parameter is the number of items."""
        if items:
            self.blocks(name, (-(-items // BLOCK),), *args, items)

    def packs(self, name: str, items: int, *args: Any) -> None:
        """Run a kernel with one thread for every `pack` items, the last for what is left of them."""
        if items:
            self.blocks(name, (-(-items // (BLOCK * self.pack)),), *args, items)

    def blocks(self, name: str, blocks: tuple[int, ...], *args: Any, threads: int = BLOCK, shared: int = 0) -> None:
        """Run a kernel in so many blocks of `threads`, along up to two axes.

        shared: bytes of dynamic shared memory of a block; a device must be asked before for more than 48 KiB.
        """
        if name not in self._functions:
            self._functions[name] = self._raw.get_function(name)
        function = self._functions[name]
        if shared > FREE_SHARED:
            self._ask_for(function, name, shared, BLOCK // threads)  # the registers of such kernels allow no more
        function(blocks, (threads,), tuple(map(self._argument, args)), shared_mem=shared)

    def _ask_for(self, function: Any, name: str, shared: int, together: int) -> None:
        """Let a kernel have so many bytes a block, and room for as many blocks `together`, on this device.

        One memory is both that and the first-level cache: by itself a device may leave room for a block less.
        """
        device = self._xp.cuda.Device()
        if shared > self._shared.get((name, device.id), FREE_SHARED):
            there = device.attributes["MaxSharedMemoryPerMultiprocessor"]
            function.max_dynamic_shared_size_bytes = self._shared[name, device.id] = shared
            wanted = together * (shared + RESERVED_SHARED)
            function.preferred_shared_memory_carveout = min(100, -(-100 * wanted // there))  # per cent

    def _argument(self, value: Any) -> Any:
        if value is None:
            return np.intp(0)  # a null pointer
        if isinstance(value, bool | int):
            return np.int32(value)
        if isinstance(value, BFloat16):
            return value.bits
        return self._real(value) if isinstance(value, float) else value


def on_device(*arrays: Array | None) -> bool:
    """Whether CUDA kernels take these: all (but None) on a device, of one type, float32 or float64, none too large.

    bfloat16 goes with float32; InputError where it is too large, since nothing else computes with it.
    """
    first = arrays[0]
    if isinstance(first, np.ndarray) or first is None or not hasattr(first, "dtype"):
        return False
    xp, char = array_module(first), first.dtype.char
    if not hasattr(xp, "RawModule") or char not in REALS:
        return False
    given = [array for array in arrays if array is not None]
    if all(isinstance(a, xp.ndarray | BFloat16) and a.dtype.char == char and a.size <= MOST_ITEMS for a in given):
        return True
    if too_large := next((a for a in given if isinstance(a, BFloat16) and a.size > MOST_ITEMS), None):
        raise InputError(
            f"an activation in bfloat16 has shape {too_large.shape}, but kernels take {MOST_ITEMS} numbers at most. "
            "Choose a smaller --batch-size, or --precision tf32."
        )
    return False


def cuda(name: str, array: Array) -> Kernels:
    """The kernels of <name>.cu for numbers of the type of `array`, which is on a device."""
    kind = BF16 if isinstance(array, BFloat16) else array.dtype.char
    return compiled_for(array_module(array), name, kind)


@functools.cache
def compiled_for(xp: Any, name: str, kind: str, *defines: str) -> Kernels:
    """The kernels of one file for numbers of a kind ("f", "d" or BF16), whatever arrays they are for.

    defines: further options, "-DNAME=VALUE", for a file that is compiled in several ways.
    """
    return Kernels(xp, xp.RawModule(code=source(name), options=(*options(kind), *defines)), kind)


@functools.cache
def files() -> dict[str, Path]:
    """name -> file of all CUDA kernels of the package; no two files have one name."""
    return {path.stem: path for path in sorted(PACKAGE.rglob("*.cu"))}


def source(name: str) -> str:
    """The text that is compiled: what all files share, then the file."""
    shared = PACKAGE / "kernels" / "common.cuh"
    return "".join(file.read_text(encoding="utf-8") for file in (shared, files()[name]))


def kinds(name: str) -> tuple[str, ...]:
    """The kinds of numbers that a file is compiled for."""
    text = files()[name].read_text(encoding="utf-8")
    return (*REALS, BF16) if "stored" in text else tuple(REALS)


def options(kind: str) -> tuple[str, ...]:
    """The options of the compiler."""
    real = ("-DREAL=float", "-DBF16") if kind == BF16 else (f"-DREAL={REALS[kind]}",)
    return *real, f"-DBLOCK={BLOCK}", "-std=c++14"


# ---------------------------------------------------------------- what a captured step cannot do in CuPy's way
class Constant:
    """Numbers that never change, where they are needed: they are copied to a device once, and not in each step."""

    def __init__(self, values: Any):
        self.values = np.asarray(values)
        self._there: dict[Any, Array] = {}

    def like(self, x: Array) -> Array:
        """In the type of x, and where x is."""
        xp = array_module(x)
        key = xp, x.dtype.char, getattr(x, "device", None)
        if key not in self._there:
            self._there[key] = xp.asarray(self.values, dtype=x.dtype)
        return self._there[key]

    def __reduce__(self) -> Any:
        return Constant, (self.values,)


def joined(arrays: Sequence[Array], axis: int = 0) -> Array:
    """The arrays, of one type, behind each other along an axis: `concatenate`, in which CuPy copies to the device."""
    first, xp = arrays[0], array_module(arrays[0])
    if xp is np:
        return np.concatenate(list[Any](arrays), axis)
    ends = np.cumsum([a.shape[axis] for a in arrays]).tolist()
    y = xp.empty((*first.shape[:axis], ends[-1], *first.shape[axis + 1 :]), dtype=first.dtype)
    for a, end in zip(arrays, ends, strict=True):
        y[(*[slice(None)] * axis, slice(end - a.shape[axis], end))] = a
    return y
