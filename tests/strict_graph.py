"""Streams, events, graphs and memory of the stand-in: a capture records what a device would do, and does none of it.

As strict as CUDA and CuPy, and stricter: while a stream is captured nothing may wait for the device, be copied to it or
be multiplied by CuPy's cuBLAS; memory has to come from a pool of its own; what a recorded step reads must still be
there when it is replayed, and fresh memory holds NaN in every replay. Copies from a device that are not waited for
arrive with their event and no earlier.
"""

from __future__ import annotations

import collections
import contextlib
import weakref
from typing import ClassVar

import numpy as np

counts: collections.Counter[str] = collections.Counter()  # launches, copies to the device, copies from it, waits

waited: list[str] = []  # what waited for the device


class CaptureError(RuntimeError):
    """What CUDA or CuPy refuses while a stream is captured, or of a graph."""


# ---------------------------------------------------------------- memory
class Memory:
    """Stands for the memory of an array: arrays of the stand-in that share it hold the same one."""

    known: ClassVar[weakref.WeakValueDictionary[int, Memory]] = weakref.WeakValueDictionary()

    def __init__(self, root):
        self.root = root

    @classmethod
    def of(cls, a):
        root = a
        while isinstance(root.base, np.ndarray):
            root = root.base
        found = cls.known.get(id(root))
        if found is None:
            found = cls.known[id(root)] = cls(root)
            if Capture.now is not None:
                Capture.now.take(found)
        return found

    @classmethod
    def at(cls, address):
        """That which an address lies in."""
        for memory in list(cls.known.values()):
            start = memory.root.__array_interface__["data"][0]
            if start <= address < start + memory.root.nbytes:
                return memory
        raise AssertionError(f"there is no array at {address}")


class MemoryPool:
    """Memory that is given back to this pool and to nobody else."""

    now: MemoryPool | None = None  # whose `malloc` is the allocator

    def malloc(self, size):
        raise AssertionError("the stand-in asks NumPy for memory")

    def free_all_blocks(self):
        pass

    def used_bytes(self):
        return 3 << 20

    def total_bytes(self):
        return 5 << 20


@contextlib.contextmanager
def using_allocator(allocator):
    before, MemoryPool.now = MemoryPool.now, allocator.__self__
    try:
        yield
    finally:
        MemoryPool.now = before


# ---------------------------------------------------------------- capture
class Capture:
    """What is recorded of a stream: the work in its order, the memory that is its own, and that of others."""

    now: Capture | None = None

    def __init__(self):
        self.work, self.own, self.others, self.pool = [], [], {}, None

    def take(self, memory):
        """Memory that is asked for during the capture."""
        if MemoryPool.now is None:
            raise CaptureError("memory of a graph has to come from a pool of its own")
        if self.pool not in (None, MemoryPool.now):
            raise CaptureError("memory of a graph comes from two pools")
        self.pool = MemoryPool.now
        self.own.append(memory)

    def room(self, shape, dtype):
        """Fresh memory, which holds NaN whenever the graph comes to it."""
        room = np.empty(shape, dtype)
        self.own.append(Memory.of(room))
        self.work.append(("empty", lambda: poison(room)))
        poison(room)
        return room

    def record(self, what, work, memories):
        self.work.append((what, work))
        own = {id(memory) for memory in self.own}
        self.others |= {id(memory): weakref.ref(memory) for memory in memories if id(memory) not in own}


def poison(room):
    """NaN, or -1."""
    room.reshape(-1).view(np.uint8)[...] = 0xFF
    return room


def refuse(what):
    """Raises while a stream is captured: `what` is nothing that a graph can hold."""
    if Capture.now is not None:
        raise CaptureError(f"{what} while a stream is captured")


def run(work, what, memories):
    """Do it now, or record it."""
    if Capture.now is None:
        counts["launches"] += 1
        return work()
    Capture.now.record(what, work, memories)
    return None


def arrays_in(values):
    for value in values:
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, list | tuple):
            yield from arrays_in(value)
        elif isinstance(value, dict):
            yield from arrays_in(value.values())


def compute(real, args, options, what):
    """real(*args), or room for it and a record: from zeros of the same shapes, so that no value decides anything."""
    if Capture.now is None:
        counts["launches"] += 1
        return real(*args, **options)
    memories = [Memory.of(a) for a in arrays_in([*args, options])]
    if isinstance(out := options.get("out"), np.ndarray):
        Capture.now.record(what, lambda: real(*args, **options), memories)
        return out
    with np.errstate(all="ignore"):
        blank = real(*map(_blank, args), **{key: _blank(value) for key, value in options.items()})
    several = isinstance(blank, list | tuple)
    rooms = [Capture.now.room(np.shape(b), np.asarray(b).dtype) for b in (blank if several else (blank,))]

    def work():
        found = real(*args, **options)
        for room, value in zip(rooms, found if several else (found,), strict=True):
            room[...] = value

    Capture.now.record(what, work, memories)
    return rooms if several else rooms[0]


def _blank(value):
    if isinstance(value, np.ndarray):
        return np.zeros_like(value)
    return type(value)(map(_blank, value)) if type(value) in (list, tuple) else value


class Graph:
    """What a capture recorded."""

    def __init__(self, capture):
        self._capture, self._pool = capture, capture.pool and weakref.ref(capture.pool)
        capture.pool = None

    def upload(self, stream=None):
        pass

    def launch(self, stream=None):
        if Capture.now is not None:
            raise CaptureError("a graph is launched while a stream is captured")
        if self._pool is not None and self._pool() is None:
            raise CaptureError("the pool that the memory of a graph is from was given back")
        if any(memory() is None for memory in self._capture.others.values()):
            raise CaptureError("a graph reads or writes memory that was given back")
        counts["graphs"] += 1
        counts["launches"] += 1
        for _, work in self._capture.work:
            work()

    def names(self):
        """What it does, in order."""
        return [what for what, _ in self._capture.work if what != "empty"]


# ---------------------------------------------------------------- streams and events
class Stream:
    """A stream; what is put into it happens at once, unless it is captured."""

    current: Stream

    def __init__(self, null=False, non_blocking=False):
        self.ptr = 0 if null else id(self)
        self.non_blocking = non_blocking

    def __enter__(self):
        self._before, Stream.current = Stream.current, self
        return self

    def __exit__(self, *_):
        Stream.current = self._before

    def begin_capture(self, mode=None):
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if Capture.now is not None:
            raise CaptureError("two streams are captured at once")
        Capture.now = Capture()
        self._captures = True

    def end_capture(self):
        if Capture.now is None:
            raise CaptureError("no stream is captured")
        found, Capture.now = Capture.now, None
        return Graph(found)

    def is_capturing(self):
        return Capture.now is not None

    def synchronize(self):
        wait("stream")

    def record(self, event=None):
        event = event or Event()
        event.record(self)
        return event


Stream.current = Stream(null=True)
pending: list[tuple[np.ndarray, np.ndarray]] = []  # copies from the device: where to, what


def wait(what):
    """For all that was launched."""
    refuse(f"{what} is waited for")
    waited.append(what)
    counts["waits"] += 1
    deliver(pending)


def deliver(copies):
    for where, what in copies:
        where[...] = what
    copies.clear()


class Event:
    """Knows what was on its way when it was recorded."""

    def __init__(self, block=False, disable_timing=False):
        self._copies, self._launches = [], 0

    def record(self, stream=None):
        refuse("an event is recorded")
        self._copies = pending.copy()
        pending.clear()
        self._launches = counts["launches"]

    def synchronize(self):
        """To wait for an event with nothing launched behind it leaves the device without work."""
        refuse("an event is waited for")
        counts["waits" if self._launches == counts["launches"] else "events"] += 1
        deliver(self._copies)


class Recorder:
    """What strict_cublas asks."""

    @staticmethod
    def current_stream():
        return Stream.current.ptr

    @staticmethod
    def run(work, what, reads, writes):
        run(work, what, [Memory.at(address) for address in (*reads, *writes)])
