"""Another framework beside a comparison's rows: what its own script measured, as a table of the report.

A file rivals.json in the comparison's folder, as benchmarks/speedrun.py writes it, has "machine" and a list "rivals" of
{"row", "train": the settings that were measured, "rival", "threads", "ours": [seconds of each epoch], "theirs": [...]}.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from npsoftmax.compare.plan import Row
from npsoftmax.compare.tables import Table
from npsoftmax.errors import InputError
from npsoftmax.files import read_json

FILE = "rivals.json"


def rival_table(folder: Path, rows: Iterable[Row]) -> Table | None:
    """Seconds of an epoch, ours and the rival's; None without the file.

    InputError where it is no such file, or was measured with other settings of a row.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    content = read_json(path)
    try:
        found = {entry["row"]: (entry["train"], _cells(entry)) for entry in content["rivals"]}
        machine = content["machine"]["name"]
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(
            f"{path} cannot be read as measurements of a rival ({error!r}). {_advice(path, 'RECIPE')}"
        ) from error
    cells = []
    for row in rows:
        if row.name in found:
            settings, line = found[row.name]
            if settings != row.settings():
                raise InputError(
                    f"{path} was measured with other settings of {row.name} than these. {_advice(path, row.name)}"
                )
            cells.append(line)
    about = (
        "An epoch of the same network, images, augmentation and schedule in another framework, one epoch of each side "
        f"after the other, without evaluation; where images grow, the mean over their sizes; {machine}. Median "
        "(fastest to slowest); the ratio says how many times as long the rival takes."
    )
    columns = ("row", "rival", "threads", "epochs of each", "ours, s/epoch", "rival, s/epoch", "ratio")
    return Table("Beside another framework", about, columns, cells, ("rival",)) if cells else None


def _cells(entry: dict[str, Any]) -> tuple[str, ...]:
    ours, theirs = ([float(seconds) for seconds in entry[side]] for side in ("ours", "theirs"))
    ratio = statistics.median(theirs) / statistics.median(ours)
    counts = (str(entry["threads"]), str(len(ours)))
    return (str(entry["row"]), str(entry["rival"]), *counts, _median(ours), _median(theirs), f"x{ratio:.2f}")


def _median(values: Sequence[float]) -> str:
    middle = f"{statistics.median(values):.1f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.1f} to {max(values):.1f})"


def _advice(path: Path, recipe: str) -> str:
    return f"Measure again: python benchmarks/speedrun.py --recipe {recipe} --json {path}, or delete the file."
