"""How well kernels are fed, counted while they run on the CPU: conflicts in shared memory, sectors of the device's.

    with cuda_feed.counting() as found:
        norm.column_sum(rows)          # an array of strict_cupy
    print(cuda_feed.table(found))

What counts is tests/cuda_feed.cpp. A line of a kernel may do several accesses: each array and width is one of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import cuda_on_cpu

SHARED = "shared"  # the name of shared memory among the arrays
MOST = 4096  # places of a file that access memory


@dataclass
class Access:
    """What all warps did to one array in one line of a kernel, and what it would have taken at the least."""

    kernel: str
    line: str  # of the source
    array: str  # the name of the kernel's parameter, or `SHARED`
    store: bool
    size: int  # bytes of a lane
    accesses: int = 0  # of a warp
    lanes: int = 0
    cycles: int = 0  # shared memory only
    fewest_cycles: int = 0
    sectors: int = 0  # the device's memory only
    fewest_sectors: int = 0

    @property
    def times_the_minimum(self) -> float:
        """Of the cycles of shared memory, or of the sectors."""
        return self.cycles / self.fewest_cycles if self.array == SHARED else self.sectors / self.fewest_sectors

    def add(self, totals: list[int]) -> None:
        for name, number in zip(COUNTED, totals, strict=True):
            setattr(self, name, getattr(self, name) + number)


COUNTED = ("accesses", "lanes", "cycles", "fewest_cycles", "sectors", "fewest_sectors")


@contextlib.contextmanager
def counting() -> Iterator[list[Access]]:
    """The accesses of all kernels that run meanwhile."""
    found: dict[tuple, Access] = {}
    result: list[Access] = []

    def take(library: ctypes.CDLL, code: str, kernel: str, arrays: list[str]) -> None:
        rows = (ctypes.c_longlong * (10 * MOST))()
        count = library.take_totals(rows, MOST)
        assert count <= MOST
        base = base_of(library)
        taken = [rows[10 * i : 10 * i + 10] for i in range(count)]
        lines = lines_of(library._name, tuple(row[0] - base for row in taken))
        for line, (_, place, store, size, *totals) in zip(lines, taken, strict=True):
            if line is None:
                continue
            key = kernel, line, arrays[place] if place >= 0 else SHARED, bool(store), size
            if key not in found:
                found[key] = Access(kernel, code.splitlines()[line - 2].strip(), *key[2:])
                result.append(found[key])
            found[key].add(totals)

    before, cuda_on_cpu.counter = cuda_on_cpu.counter, take
    try:
        yield result
    finally:
        cuda_on_cpu.counter = before


def base_of(library: ctypes.CDLL) -> int:
    """Where a library was loaded to: a known function's address less its offset in the file."""
    return ctypes.cast(library.take_totals, ctypes.c_void_p).value - offset_of(library._name)


@functools.cache
def offset_of(file: str) -> int:
    symbols = subprocess.run(["nm", "-D", file], capture_output=True, text=True, check=True).stdout
    return next(int(line.split()[0], 16) for line in symbols.splitlines() if line.endswith(" take_totals"))


@functools.cache
def lines_of(file: str, offsets: tuple[int, ...]) -> list[int | None]:
    """The lines of the compiled text that end before addresses; None: it is not of the kernels."""
    command = ["addr2line", "-e", file, *(hex(offset - 1) for offset in offsets)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    places = [place.split()[0].rpartition(":") for place in said]
    return [int(line) if name.endswith("kernels.cpp") else None for name, _, line in places]


def table(found: list[Access]) -> str:
    """A line each, for people."""
    rows = [f"{'kernel':18} {'array':10} {'':5} {'bytes':>5} {'accesses':>9} {'cycles':>15} {'sectors':>17}  line"]
    for a in found:
        cycles = f"{a.cycles} of {a.fewest_cycles}" if a.array == SHARED else ""
        sectors = "" if a.array == SHARED else f"{a.sectors} of {a.fewest_sectors}"
        kind = "store" if a.store else "load"
        rows.append(
            f"{a.kernel:18} {a.array:10} {kind:5} {a.size:5} {a.accesses:9} {cycles:>15} {sectors:>17}  {a.line[:70]}"
        )
    return "\n".join(rows)
