"""Ctrl-C: the first one ends a run after the step under way, a second one ends the program at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Interrupt:
    """Whether Ctrl-C was pressed within `caught()`."""

    def __init__(self) -> None:
        self.pressed = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Within it, the first Ctrl-C is noted and nothing else. Outside the main thread, nothing is caught."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def note(_: int, __: Any) -> None:
            self.pressed = True
            signal.signal(signal.SIGINT, before)

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
