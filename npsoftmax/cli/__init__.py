"""The command line: one module a command; what several of them share begins with an underscore."""

from __future__ import annotations

import os
import sys
from types import TracebackType


def _end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What ends the program, on standard error: one line for Ctrl-C."""
    if issubclass(kind, KeyboardInterrupt):
        os.write(2, b"npsoftmax: interrupted\n")
    else:
        sys.__excepthook__(kind, error, trace)


# This program is starting, and no handler of signals stands yet: Ctrl-C would show where the imports are.
if os.path.basename(sys.argv[0] if sys.argv else "") in ("-m", "npsoftmax"):
    sys.excepthook = _end
