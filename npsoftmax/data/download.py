"""Downloads CIFAR: from the first address that answers, checked by md5, put in place only when complete."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from npsoftmax.data.editions import Edition, editions_of, file_problems, user_cache
from npsoftmax.errors import InputError

# The authors' own address, then the copy that Paddle's data sets come from (same bytes, same md5).
MIRRORS = ("https://www.cs.toronto.edu/~kriz/", "https://dataset.bj.bcebos.com/cifar/")
ROUNDS = 2  # times that each address is tried
TIMEOUT = 30.0  # seconds without an answer


def download_cifar(
    name: str, data_dir: str | Path | None = None, *, mirrors: Sequence[str] | None = None, progress: bool = True
) -> Path:
    """Have the python edition of `name` in `data_dir` (None: the user's cache), and return its folder.

    mirrors: addresses of the folder that holds the archive, or of the archive itself, tried in turn (None: MIRRORS).
    Nothing is downloaded when every file is there with the right md5.
    Raises InputError that gives the reason for each address when none works, or when the folder cannot be written.
    """
    edition = editions_of(name)[0]
    root = user_cache() if data_dir is None else Path(data_dir).expanduser()
    folder = root if root.name == edition.folder else root / edition.folder
    if all(problem is None for _, problem in file_problems(edition, folder)):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside the final place, so that moving is a rename; whatever happens, nothing of it stays behind.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".download-") as work:
            archive = _fetch(edition, Path(work), MIRRORS if mirrors is None else mirrors, progress)
            _extract(edition, archive, Path(work))
            folder.mkdir(exist_ok=True)
            for file in edition.files:
                os.replace(Path(work) / file, folder / file)
    except OSError as error:
        raise InputError(f"cannot write to {folder} ({error}). Give another folder with --data-dir.") from error
    return folder


def _fetch(edition: Edition, work: Path, mirrors: Sequence[str], progress: bool) -> Path:
    import pooch

    pooch.get_logger().setLevel("ERROR")  # what went wrong is in our own message
    failures = []
    for address in [*mirrors] * ROUNDS:
        url = address if address.endswith(".tar.gz") else f"{address.rstrip('/')}/{edition.archive}"
        bar = _Bar(f"{edition.title} from {url.split('/')[2] if '//' in url else url}") if progress else None
        try:
            fetched = pooch.retrieve(
                url,
                known_hash=f"md5:{edition.archive_md5}",
                fname=edition.archive,
                path=work,
                downloader=pooch.HTTPDownloader(progressbar=bar or False, timeout=TIMEOUT),
            )
            return Path(fetched)
        except (OSError, ValueError) as error:  # no connection, cut off, HTTP; a wrong address or md5
            failures.append(f"  {url}: {_reason(error)}")
        finally:
            if bar is not None:
                bar.close()
    raise InputError(
        f"{edition.title} could not be downloaded:\n" + "\n".join(dict.fromkeys(failures)) + "\n"
        f"Check the connection, name another address with --mirror, or download {edition.archive} elsewhere, "
        "unpack it and give the folder with --data-dir."
    )


def _reason(error: Exception) -> str:
    """The cause inside requests' and urllib3's wrappers, on one line."""
    inner = error.args[0] if error.args else error
    return " ".join(str(getattr(inner, "reason", None) or error).split())


def _extract(edition: Edition, archive: Path, work: Path) -> None:
    """Copy the files out of the archive, under our names: no path in the archive is ever used."""
    wanted = {f"{edition.folder}/{file}": file for file in edition.files}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                source = tar.extractfile(member) if member.name in wanted and member.isreg() else None
                if source is not None:
                    with source, (work / wanted[member.name]).open("wb") as target:
                        shutil.copyfileobj(source, target)
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{edition.archive} is not an archive that can be unpacked ({error}).") from error
    problems = [f"{file} {problem}" for file, problem in file_problems(edition, work) if problem]
    if problems:
        raise InputError(f"{edition.archive} does not hold what it should: {'; '.join(problems)}.")


class _Bar:
    """A progress bar of rich's, in the form that pooch drives: `total`, `update`, `reset`, `close`."""

    def __init__(self, title: str):
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns: list[Any] = ["{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn()]
        self._progress = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task(title, total=None)
        self._progress.start()

    @property
    def total(self) -> float | None:
        return self._progress.tasks[0].total

    @total.setter
    def total(self, size: int) -> None:
        self._progress.update(self._task, total=size or None)

    def update(self, size: int) -> None:
        self._progress.advance(self._task, size)

    def reset(self) -> None:
        self._progress.reset(self._task)

    def close(self) -> None:
        self._progress.stop()
