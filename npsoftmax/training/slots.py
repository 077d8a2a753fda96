"""What steps found on a device, kept there and read later, so that no step waits for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.cuda import compiled_for


class Slots:
    """Loss and number of right predictions of the last n steps, one slot after the other, on a device.

    `send` copies them to the host without waiting; `arrived` gives what was sent, and waits for that alone: not for the
    steps behind it, which have their work by then.
    """

    def __init__(self, xp: Any, n: int):
        import cupyx

        self.xp, self.n = xp, n
        self.kept = 0  # on the host as on the device, where a captured step counts
        self._slots, self._next = xp.zeros((n, 2), dtype=xp.float64), xp.zeros(1, dtype=xp.uint64)
        self._here = cupyx.empty_pinned((n, 2), np.float64)  # memory that the device can write to by itself
        self._event = xp.cuda.Event(disable_timing=True)

    def keep(self, loss: Array, right: Array | None) -> None:
        """Into the next slot; both () on the device. A captured step does this each time it runs."""
        right = None if right is None else right.astype(self.xp.float64)
        compiled_for(self.xp, "graph", loss.dtype.char).each("keep", 1, loss, right, self._slots, self._next, self.n)

    def send(self) -> None:
        """Begin to copy all slots to the host."""
        self._slots.get(out=self._here, blocking=False)
        self._event.record()

    def arrived(self) -> np.ndarray:
        """What was sent last, (n, 2)."""
        self._event.synchronize()
        return self._here
