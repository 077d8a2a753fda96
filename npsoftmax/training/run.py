"""The run directory: what a run leaves behind, and the only thing that plots and later commands read.

config.toml   env.json   classes.json          what was run, where, on which classes
metrics.csv   steps.csv                        a row per epoch; a row every few steps
summary.json  confusion.csv  reliability.csv   the test set
checkpoints/  last.safetensors  best.safetensors  state.json
plots/         lock                           the figures; the process that trains here
"""

from __future__ import annotations

import csv
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from npsoftmax._version import __version__
from npsoftmax.backend import Backend, get_threads
from npsoftmax.data import Dataset
from npsoftmax.errors import InputError
from npsoftmax.kernels import compiled_status
from npsoftmax.training.checkpoint import write_json, write_replacing
from npsoftmax.training.config import TrainConfig

METRICS = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds")
STEPS = ("step", "loss", "learning_rate", "momentum")


class RunDirectory:
    """Paths, writers and readers of one run."""

    def __init__(self, path: Path):
        self.path = path
        self.config_file = path / "config.toml"
        self.metrics_file = path / "metrics.csv"
        self.steps_file = path / "steps.csv"
        self.summary_file = path / "summary.json"
        self.state_file = path / "checkpoints" / "state.json"

    # ------------------------------------------------------------ creation
    @classmethod
    def plan(cls, config: TrainConfig, data_name: str, out: str | None) -> RunDirectory:
        """A directory to be made: `out`, or runs/<date>_<data>_<model>_<head>. InputError if it is in use."""
        path = Path(out) if out else _free_name(Path("runs"), f"{data_name}_{config.model}_{config.head}")
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(
                f"--out {path} exists and is not empty. Choose another name, or --resume {path} to continue that run."
            )
        return cls(path)

    def make(self) -> None:
        """Make the folders. InputError where that is not allowed."""
        try:
            (self.path / "checkpoints").mkdir(parents=True)
        except OSError as error:
            raise InputError(
                f"cannot write to --out {self.path}: {error.strerror}. Choose a folder you may write to."
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training here too. InputError where one does.

        The lock ends with the process, however that ends. Where the system has no such locks, nothing is kept.
        """
        try:
            import fcntl
        except ImportError:  # not a Unix
            yield
            return
        with open(self.path / "lock", "a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                raise InputError(
                    f"process {file.read().strip() or '?'} is training in {self.path} now; wait until it has ended."
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    @classmethod
    def existing(cls, path: str | Path) -> RunDirectory:
        """The directory of a run that was made before. InputError if it is none."""
        run = cls(Path(path))
        if not run.path.is_dir():
            raise InputError(f"there is no folder {path}. Give the directory of a run, such as runs/2026-01-31_….")
        if not run.config_file.is_file():
            raise InputError(f"{path} is not a run: it has no config.toml. Runs are made by npsoftmax train.")
        return run

    def describe(self, config: TrainConfig, dataset: Dataset, backend: Backend) -> None:
        """Make the directory and write what does not change during the run."""
        self.make()
        config.save(self.config_file)
        write_json(self.path / "env.json", environment(backend))
        coarse = None if dataset.coarse is None else [int(c) for c in dataset.coarse]
        names = {"names": list(dataset.class_names), "coarse": coarse, "coarse_names": dataset.coarse_names}
        write_json(self.path / "classes.json", names)

    # ------------------------------------------------------------ tables
    def append(self, path: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
        """Add rows to a CSV table; None is an empty cell."""
        new = not path.exists()
        with open(path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            if new:
                writer.writeheader()
            writer.writerows({name: _cell(row[name]) for name in columns} for row in rows)

    def cut_tables(self, epoch: int, step: int) -> None:
        """Forget rows that were written after the checkpoint of `epoch` and `step`: they will be written again."""
        self._keep(self.metrics_file, "epoch", epoch)
        self._keep(self.steps_file, "step", step)

    def _keep(self, path: Path, column: str, last: int) -> None:
        if not path.is_file():
            return
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        place = lines[0].strip().split(",").index(column)
        kept = [line for line in lines[1:] if line.endswith("\n") and int(line.split(",")[place]) <= last]
        write_replacing(path, "".join([lines[0], *kept]).encode())

    # ------------------------------------------------------------ checkpoints
    def checkpoint_file(self, name: str) -> Path:
        return self.path / "checkpoints" / f"{name}.safetensors"


def environment(backend: Backend) -> dict[str, Any]:
    """Versions and machine, for env.json."""
    import numpy
    import scipy

    versions = {"npsoftmax": __version__, "python": platform.python_version(), "numpy": numpy.__version__}
    machine = {
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "threads": get_threads(),
    }
    return {
        **versions,
        "scipy": scipy.__version__,
        **machine,
        "backend": backend.name,
        "kernels": compiled_status()[1],
        **backend.describe(),
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%d %H:%M:%S%z"),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _free_name(folder: Path, what: str) -> Path:
    name = f"{time.strftime('%Y-%m-%d_%H%M%S')}_{what}"
    path, number = folder / name, 2
    while path.exists():
        path, number = folder / f"{name}_{number}", number + 1
    return path


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value
