"""Commands that run on several processes: an error of one of them ends all."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from npsoftmax.errors import InputError

GRACE = 4.0  # seconds in which the first process may tell an error that all have met, and end them
HEARD = 1.5  # seconds for mpiexec to pass on what was told: what it has not read when a process aborts is lost


@contextmanager
def ending_together(group: Any) -> Iterator[None]:
    """Within it, whatever ends this process before its time is told, and ends all others of the group too.

    Otherwise they would wait for it for ever.
    """
    try:
        yield
    except BaseException as error:
        if group.size == 1:
            raise
        expected = isinstance(error, InputError)
        text = f"npsoftmax: error: {error}" if expected else traceback.format_exc()
        if not group.is_first:
            time.sleep(GRACE)
        sys.stdout.flush()
        print(text if group.is_first else f"process {group.rank}: {text}", file=sys.stderr, flush=True)
        time.sleep(HEARD)
        group.end(2 if expected else 1)
