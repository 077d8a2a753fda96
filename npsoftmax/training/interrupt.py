"""Ctrl-C and its likes: the first one ends a run after the step under way, a second one the program at once.

SIGTERM is what kill and batch systems send, SIGHUP comes where the terminal is closed or the connection breaks.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))  # Windows has no SIGHUP

HANG_UP = getattr(signal, "SIGHUP", None)


class Interrupt:
    """Which signal asked for the end within `caught()`; None for none."""

    def __init__(self) -> None:
        self.signal: int | None = None

    @property
    def pressed(self) -> bool:
        """Whether one of them came."""
        return self.signal is not None

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Within it, the first signal is noted and nothing else. Outside the main thread, nothing is caught.

        A closed terminal may send its signal twice: a second one of that kind ends nothing. What nohup makes this
        program ignore stays ignored, but for Ctrl-C, which shells ignore for all that they start in the background:
        npsoftmax compare ends its runs by it.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}
        caught = [n for n in SIGNALS if n == signal.SIGINT or before[n] is not signal.SIG_IGN]

        def put_back() -> None:
            for number in caught:
                signal.signal(number, before[number])

        def note(number: int, _: Any) -> None:
            self.signal = self.signal or number
            if number != HANG_UP:
                put_back()

        for number in caught:
            signal.signal(number, note)
        try:
            yield
        finally:
            put_back()
