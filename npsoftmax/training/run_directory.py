"""The run directory: what a run leaves behind, and the only thing that plots and later commands read.

config.toml   env.json   classes.json          what was run, where, on which classes
metrics.csv   steps.csv                        a row per epoch; a row every few steps
summary.json  confusion.csv  reliability.csv   the test set
checkpoints/  last.safetensors  previous.safetensors  best.safetensors  state.json
plots/         lock                           the figures; the process that trains here
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.backend import Backend
from npsoftmax.data import Dataset, Normalization, training_split
from npsoftmax.data.own import short_name
from npsoftmax.errors import InputError
from npsoftmax.files import WriteError, append, read_json, remove_parts, sync, write_errors, write_replacing
from npsoftmax.heads import ClassInfo
from npsoftmax.training.checkpoint import write_json
from npsoftmax.training.config import TrainConfig
from npsoftmax.training.environment import environment

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
        self.classes_file = path / "classes.json"

    # ------------------------------------------------------------ creation
    @classmethod
    def plan(cls, config: TrainConfig, data_name: str, out: str | None) -> RunDirectory:
        """A directory to be made: `out`, or `runs/<date>_<data>_<model>_<head>`. InputError if it is in use."""
        if out == "":
            raise InputError("--out is empty, but the name of a folder was expected; leave it out for one in runs/.")
        path = Path(out) if out else _free_name(Path("runs"), f"{short_name(data_name)}_{config.model}_{config.head}")
        if path.exists() and (not path.is_dir() or any(path.iterdir())) and not _was_never_a_run(path):
            what = "exists and is not empty" if path.is_dir() else "is a file"
            is_run = (path / "config.toml").is_file()
            resume = f", or --resume {path} to continue that run" if is_run else ""
            raise InputError(f"--out {path} {what}. Choose another name{resume}.")
        return cls(path)

    def make(self) -> None:
        """Make the folders. InputError where that is not allowed."""
        try:
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot write to --out {self.path}: {error.strerror}. Choose a folder you may write to."
            ) from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training here too. InputError where one does.

        The lock ends with the process, however that ends. Where the system has no such locks, nothing is kept.
        """
        try:
            import fcntl
        except ImportError:  # not a Unix
            yield
            return
        lock = self.path / "lock"
        with write_errors(lock):
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                who = os.read(descriptor, 20).decode(errors="replace").strip() or "?"
                raise InputError(f"process {who} is training in {self.path} now; wait until it has ended.") from error
            with contextlib.suppress(OSError):  # on a full disk the lock holds all the same
                os.ftruncate(descriptor, 0)
                os.write(descriptor, str(os.getpid()).encode())
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def explaining_failures(self) -> Iterator[None]:
        """Within it, a full disk, lost rights and a lack of memory say that nothing is lost and what to type."""
        try:
            yield
        except WriteError as error:
            raise InputError(
                f"cannot write {error.path} ({error.reason}); what was written before is kept, and when this is "
                f"mended the run goes on with: npsoftmax train --resume {self.path}"
            ) from error
        except MemoryError as error:
            traceback.clear_frames(error.__traceback__)  # they hold the arrays of the step that failed
            raise InputError(
                f"there is not enough memory: {error or 'something is too large'}. What was saved before is kept; when "
                f"more is free, the run goes on with: npsoftmax train --resume {self.path}"
            ) from error

    @classmethod
    def existing(cls, path: str | Path) -> RunDirectory:
        """The directory of a run that was made before. InputError where there is none."""
        run = cls(Path(path))
        if run.path.is_file():
            inside = run.path.parent
            hint = f"give its folder, {inside}" if (inside / "config.toml").is_file() else "give the folder of a run"
            raise InputError(f"{path} is a file; {hint}.")
        if not run.path.is_dir():
            raise InputError(f"there is no folder {path}. Give the directory of a run, such as runs/2026-01-31_….")
        if not run.config_file.is_file():
            raise InputError(
                f"{path} is not a run: it has no config.toml. Runs are made by npsoftmax train; one that was killed "
                "before it began is begun by the same command again."
            )
        return run

    def describe(
        self,
        config: TrainConfig,
        dataset: Dataset,
        normalization: Normalization | None,
        backend: Backend,
        machine: dict[str, Any] | None = None,
    ) -> None:
        """Make the directory and write what does not change during the run; last config.toml, which makes it a run.

        machine: what else env.json is to say of it.
        """
        self.make()
        if self.config_file.exists():  # another process was faster
            raise InputError(f"--out {self.path} has become a run meanwhile. Choose another name.")
        self.remove_parts()
        write_json(self.path / "env.json", environment(backend) | (machine or {}))
        coarse = None if dataset.coarse is None else [int(c) for c in dataset.coarse]
        kept, _ = training_split(dataset, config.val_split, config.seed)
        counts = ClassInfo.from_labels(dataset.y_train[kept], dataset.n_classes).counts
        assert counts is not None  # they were counted
        classes = {
            "names": list(dataset.class_names),
            "coarse": coarse,
            "coarse_names": dataset.coarse_names,
            "counts": counts.tolist(),
            "label_sets": dataset.multi_label,
            "input_shape": list(dataset.input_shape),
            "normalization": None if normalization is None else normalization.to_dict(),
            "words": dataset.words,
            "data_sha256": dataset.fingerprint,
        }
        write_json(self.classes_file, classes)
        config.save(self.config_file)

    def classes(self) -> tuple[ClassInfo | None, tuple[int, ...]]:
        """The classes of the run and the shape of a sample; (None, ()) where an older version did not write them.

        InputError where what is written cannot be.
        """
        if not self.classes_file.is_file():
            return None, ()
        found = read_json(self.classes_file)
        counts, coarse, shape = found.get("counts"), found.get("coarse"), found.get("input_shape")
        if counts is None or shape is None:
            return None, ()
        if not all(_are_counts(values) for values in (counts, shape, [] if coarse is None else coarse)):
            raise InputError(f"{self.classes_file}: counts, coarse and input_shape must be lists of whole numbers.")
        return ClassInfo(len(counts), np.array(counts), None if coarse is None else np.array(coarse)), tuple(shape)

    def words(self) -> int | None:
        """How many words the run's windows are of; None for images. InputError for what is no number."""
        words = read_json(self.classes_file).get("words") if self.classes_file.is_file() else None
        if words is not None and not _are_counts([words]):
            raise InputError(f"{self.classes_file}: words must be a whole number, or null.")
        return words

    def check_data(self, dataset: Dataset) -> None:
        """InputError where `dataset` is one that may change, and no more what this run was trained on."""
        before = read_json(self.classes_file).get("data_sha256") if self.classes_file.is_file() else None
        if before and before != dataset.fingerprint and dataset.words is not None:
            raise InputError(
                f"the source files of {dataset.name} are not those that {self.path} was trained on (content "
                f"{before[:12]}): {dataset.note}. Use the Python that {self.path / 'env.json'} names, or say with "
                "--data-dir where its standard library is."
            )
        if before and before != dataset.fingerprint:
            raise InputError(
                f"the images of {dataset.name} are no more those that {self.path} was trained on: {dataset.note}. "
                "Put them back as they were, or say with --data-dir where they are now; for the probabilities of other "
                f"images, type: npsoftmax predict {self.path} IMAGES"
            )

    # ------------------------------------------------------------ tables
    def append(self, path: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
        """Add rows to a CSV table, all of them or (WriteError) none; None is an empty cell."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        if not path.exists() or path.stat().st_size == 0:
            writer.writerow(columns)
        writer.writerows([_cell(row[name]) for name in columns] for row in rows)
        append(path, text.getvalue().encode())

    def cut_tables(self, epoch: int, step: int) -> None:
        """Forget rows that were written after the checkpoint of `epoch` and `step`: they will be written again."""
        for path, columns, end in ((self.metrics_file, METRICS, epoch), (self.steps_file, STEPS, step)):
            rows = [row for row in _rows(path, columns) if int(row.partition(",")[0]) <= end]
            last = int(rows[-1].partition(",")[0]) if rows else 0
            if path == self.metrics_file and path.exists() and last != end:
                raise _edited(path, f"does not end with the row of epoch {end}, the last one saved")
            if rows:
                write_replacing(path, "".join([",".join(columns) + "\r\n", *rows]).encode())
            else:
                with write_errors(path):
                    path.unlink(missing_ok=True)

    def sync_tables(self) -> None:
        """Wait until the tables are on the disk."""
        for path in (self.metrics_file, self.steps_file):
            if path.exists():
                sync(path)

    # ------------------------------------------------------------ checkpoints
    def checkpoint_file(self, name: str) -> Path:
        return self.path / "checkpoints" / f"{name}.safetensors"

    def is_unbegun(self) -> bool:
        """Whether nothing was trained and saved here yet."""
        checkpoints = any(self.checkpoint_file(name).exists() for name in ("last", "previous"))
        return not checkpoints and not _rows(self.metrics_file, METRICS) and not _rows(self.steps_file, STEPS)

    def remove_parts(self) -> None:
        """Remove what killed processes left half written."""
        for folder in (self.path, self.path / "checkpoints"):
            remove_parts(folder)


def _was_never_a_run(path: Path) -> bool:
    """Whether a folder holds only what a run leaves that is killed before it has begun."""
    begun = {"lock", "env.json", "classes.json", "checkpoints"}
    return (
        path.is_dir()
        and all(child.name in begun or child.name.endswith(".part") for child in path.iterdir())
        and not any((path / "checkpoints").glob("*.safetensors"))
    )


def _rows(path: Path, columns: tuple[str, ...]) -> list[str]:
    """The whole rows of a table, without its header; none where there is no such table.

    A row that a power cut left unfinished at its end is ignored. InputError for other columns, or where a row before
    the last whole one is none: it was edited elsewhere, and would be lost when the table is written again.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    header, *lines = text.splitlines(keepends=True) or [""]
    if not header.endswith("\n"):
        return []
    if tuple(header.strip().split(",")) != columns:
        raise _edited(path, f"has the columns {header.strip():.120}, not {','.join(columns)}")
    whole = [i for i, line in enumerate(lines) if _is_row(line, columns)]
    if whole and whole[-1] + 1 != len(whole):
        broken = next(i for i, number in enumerate(whole) if i != number)
        raise _edited(path, f"has no row of {len(columns)} cells in line {broken + 2}, but rows after it")
    return [lines[i] for i in whole]


def _edited(path: Path, what: str) -> InputError:
    return InputError(
        f"{path} {what}: it was edited elsewhere. Put it back as it was; or move it away, and the run goes on without "
        "its rows."
    )


def _is_row(line: str, columns: tuple[str, ...]) -> bool:
    return line.endswith("\n") and line.count(",") == len(columns) - 1 and _is_count(line.partition(",")[0])


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**53 for value in values)


def _is_count(cell: str) -> bool:
    return cell.isascii() and cell.isdecimal() and len(cell) < 16


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
