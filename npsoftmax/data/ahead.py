"""Batches made while the last one is being trained on.

Design: one thread and a bounded queue. What a batch costs is copying bytes, random numbers and arithmetic in NumPy,
which lets other threads run meanwhile, as the compiled kernels do; so neither side has to wait for the interpreter
lock. The order is that of the iterator, and a batch is a function of its number: the thread changes nothing but the
time.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

AHEAD = 2  # items made, or under way, beside the one in use


@contextmanager
def made_ahead(items: Iterable[T], ahead: int = AHEAD) -> Iterator[Iterator[T]]:
    """Within it, the same items in the same order, each made up to `ahead` items early by a thread of its own.

    An exception among the items is raised where its item would have come. Leaving ends the thread, after the item it
    is at; what it had made is dropped.
    """
    made: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    room = threading.Semaphore(ahead)
    leaving = threading.Event()

    def make() -> None:
        try:
            source = iter(items)
            while True:
                room.acquire()
                if leaving.is_set():
                    return
                made.put(("item", next(source)))
        except StopIteration:
            made.put(("end", None))
        except BaseException as error:  # whatever it is, it is the user's to see, and not this thread's
            made.put(("error", error))

    def taken() -> Iterator[T]:
        while True:
            kind, value = made.get()
            room.release()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value

    thread = threading.Thread(target=make, name="npsoftmax batches", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        leaving.set()
        room.release()
        thread.join()
