"""What is to be run: rows (a head, a recipe, a value of what varies), each with several seeds, in one folder.

Design: the plan stands in comparison.json beside the runs, so that a report needs nothing but the folder, and the same
command typed again finds what is finished. More rows may be added later; a row that is there keeps its settings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax import html
from npsoftmax.errors import InputError
from npsoftmax.files import read_json
from npsoftmax.training.checkpoint import write_json
from npsoftmax.training.config import TrainConfig

# Settings that say where a run happens and not what it computes.
ELSEWHERE = ("data_dir", "threads", "device", "log_every", "checkpoint_every", "seed")

MOST_NAME = 200  # bytes: file systems take names of 255


@dataclass(frozen=True)
class Row:
    """One line of the report: settings, and the seeds to run them with. varied: what a sweep changed, by name."""

    name: str
    config: TrainConfig
    seeds: tuple[int, ...]
    varied: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The name as one that every file system takes, inside the folder of the comparison."""
        return re.sub(r"^\.|[^\w.=+-]+", "-", self.name) or "-"

    def settings(self) -> dict[str, Any]:
        """What must not change between two visits, as plain values."""
        values = {name: value for name, value in asdict(self.config).items() if name not in ELSEWHERE}
        return json.loads(json.dumps(values))


@dataclass(frozen=True, eq=False)
class Job:
    """One run of a row; two are the same only if they are one object."""

    row: Row
    seed: int
    folder: Path

    @property
    def config(self) -> TrainConfig:
        return replace(self.row.config, seed=self.seed)

    @property
    def log(self) -> Path:
        return self.folder.with_suffix(".log")


class Comparison:
    """The rows of a folder."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.file = self.path / "comparison.json"
        self.rows: dict[str, Row] = {}
        self.commands: list[str] = []
        self.title = ""  # of the report, as it was last given
        if self.file.is_file():
            self._load()

    @classmethod
    def existing(cls, path: str | Path) -> Comparison:
        """That of a folder that `compare` wrote; InputError if it is none."""
        found = cls(path)
        if not found.rows:
            raise InputError(
                f"{path} is no comparison: it has no comparison.json. Give the --out of npsoftmax compare."
            )
        return found

    def add(self, rows: Iterable[Row], command: str = "") -> None:
        """Add rows, or seeds to rows, and what was typed for it. InputError where a row is here with other settings."""
        for row in rows:
            known = self.rows.get(row.name)
            if known is None:
                self.rows[row.name] = row
                continue
            before, now = known.settings(), row.settings()
            changed = [name for name in now if before.get(name) != now[name]]
            if changed:
                raise InputError(
                    f"{self.path} has a row {row.name!r} with {changed[0]} = {before.get(changed[0])!r}, not "
                    f"{now[changed[0]]!r}. Give another --out, or leave the setting as it was."
                )
            seeds = tuple(sorted({*known.seeds, *row.seeds}))
            self.rows[row.name] = replace(row, seeds=seeds)
        if command and command not in self.commands:
            self.commands.append(command)

    def check_alike(self, rows: Iterable[Row]) -> None:
        """InputError where a new row of heads has a setting that those here have not, and no name of a row says so.

        A table would set side by side what does not compare. Recipes are experiments of their own, and may differ.
        """
        for new in rows:
            for old in self.rows.values():
                if new.name in self.rows or new.config.recipe or old.config.recipe:
                    continue
                name = _differs(old, new)
                if name is not None:
                    before, now = (_setting(row, name) for row in (old, new))
                    raise InputError(
                        f"{self.path} has rows with {name} = {before!r}, and {new.name!r} would have {now!r}: the "
                        f"table would set side by side what does not compare. Give another --out, or the same {name}."
                    )

    def save(self) -> None:
        """Write comparison.json."""
        if (self.path / "config.toml").is_file() and not self.file.exists():
            raise InputError(f"--out {self.path} is the folder of a run, but a comparison has its own. Choose another.")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write to --out {self.path}: {error.strerror}. Choose another folder.") from error
        rows = [
            {"name": row.name, "seeds": row.seeds, "varied": row.varied, "train": _plain(row.config)}
            for row in self.rows.values()
        ]
        write_json(self.file, {"title": self.title, "commands": self.commands, "rows": rows})

    def _repr_html_(self) -> str:
        found: dict[str, list[float]] = {name: [] for name in self.rows}
        for job in self.jobs():
            file = job.folder / "summary.json"
            test = (read_json(file).get("test") or {}) if file.is_file() else {}
            found[job.row.name] += [test["accuracy"]] if isinstance(test.get("accuracy"), float) else []
        rows = [
            (name, f"{len(found[name])} of {len(row.seeds)}", f"{np.mean(found[name]):.2%}" if found[name] else "–")
            for name, row in self.rows.items()
        ]
        if not rows:
            return html.titled(f"{self.path}: no comparison yet")
        return html.titled(self.title or str(self.path), html.table(("row", "seeds done", "test accuracy"), rows))

    def jobs(self) -> Iterator[Job]:
        """All runs: every row with its first seed, then with its second, so that a first table is there early."""
        most = max((len(row.seeds) for row in self.rows.values()), default=0)
        for number in range(most):
            for row in self.rows.values():
                if number < len(row.seeds):
                    seed = row.seeds[number]
                    yield Job(row, seed, self.path / row.folder / f"seed-{seed}")

    def _load(self) -> None:
        content = read_json(self.file)
        rows, commands, title = content.get("rows"), content.get("commands", []), content.get("title", "")
        if not isinstance(rows, list):
            raise InputError(f"{self.file} cannot be read as a comparison: it has no list of rows.")
        if not isinstance(commands, list) or not all(isinstance(command, str) for command in commands):
            raise InputError(f"{self.file} cannot be read as a comparison: its commands are no list of texts.")
        if not isinstance(title, str):
            raise InputError(f"{self.file} cannot be read as a comparison: its title is no text.")
        self.commands, self.title = commands, title
        for number, row in enumerate(rows):
            if not _is_row(row):
                raise InputError(f"{self.file} cannot be read as a comparison: its row {number} is no row.")
            config = TrainConfig.of(row["train"], str(self.file))
            read = Row(row["name"], config, tuple(row["seeds"]), row["varied"])
            if len(read.folder.encode()) > MOST_NAME:
                raise InputError(f"{self.file} cannot be read as a comparison: the name of row {number} is too long.")
            self.rows[read.name] = read


def _differs(old: Row, new: Row) -> str | None:
    """The first setting in which two rows of heads differ and which neither name tells."""
    told = {*old.varied, *new.varied}
    for name in new.settings():
        values = [row.settings()[name] for row in (old, new)]
        if name in ("head", "head_opts") or name in told or values[0] == values[1]:
            continue
        if not isinstance(values[0], dict):
            return name
        for option in {**values[0], **values[1]}:
            if option not in told and values[0].get(option) != values[1].get(option):
                return f"{name}.{option}"
    return None


def _setting(row: Row, name: str) -> Any:
    table, _, option = name.partition(".")
    return row.settings()[table].get(option) if option else row.settings()[name]


def _is_row(row: Any) -> bool:
    """Whether a plain value has what `save` writes of a row."""
    if not isinstance(row, dict):
        return False
    name, seeds = row.get("name"), row.get("seeds")
    numbers = isinstance(seeds, list) and all(type(seed) is int and 0 <= seed < 2**63 for seed in seeds)
    tables = all(isinstance(row.get(key), dict) for key in ("varied", "train"))
    return isinstance(name, str) and numbers and tables


def _plain(config: TrainConfig) -> dict[str, Any]:
    return {name: value for name, value in asdict(config).items() if value is not None}
