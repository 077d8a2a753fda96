"""Another framework beside a comparison's rows: what its own script measured, as a table of the report.

A file rivals.json in the comparison's folder, as benchmarks/speedrun.py writes it, has a list "rivals" of
{"row", "rival", "threads", "ours": [seconds of each epoch], "theirs": [...]}, measured in turns.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from npsoftmax.compare.tables import Table, spread
from npsoftmax.errors import InputError
from npsoftmax.files import read_json

FILE = "rivals.json"


def rival_table(folder: Path, rows: Iterable[str]) -> Table | None:
    """Seconds of an epoch, ours and the rival's; None without the file. InputError where it is no such file."""
    path = folder / FILE
    if not path.is_file():
        return None
    known = set(rows)
    try:
        cells = [_cells(entry) for entry in read_json(path)["rivals"] if entry["row"] in known]
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(
            f"{path} cannot be read as measurements of a rival ({error!r}); write it by benchmarks/speedrun.py, or "
            "take it away."
        ) from error
    about = (
        "An epoch of the same network, images, augmentation and schedule in another framework, on the same machine, "
        "one epoch of each side after the other. Ratio: how many times as long the rival takes."
    )
    columns = ("row", "rival", "threads", "epochs of each", "ours, s/epoch", "rival, s/epoch", "ratio")
    return Table("Beside another framework", about, columns, cells, ("rival",)) if cells else None


def _cells(entry: dict[str, Any]) -> tuple[str, ...]:
    ours, theirs = ([float(seconds) for seconds in entry[side]] for side in ("ours", "theirs"))
    ratio = statistics.median(theirs) / statistics.median(ours)
    return (
        str(entry["row"]),
        str(entry["rival"]),
        str(entry["threads"]),
        str(len(ours)),
        spread(ours, "{:.1f}"),
        spread(theirs, "{:.1f}"),
        f"x{ratio:.2f}",
    )
