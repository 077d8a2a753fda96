"""How far the runs of a comparison are: one bar on a terminal, a line a run everywhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any


class Display:
    """One bar for all runs on a terminal, a line a run everywhere."""

    def __init__(self, jobs: Sequence[Any]):
        from rich.console import Console

        from npsoftmax.compare.runner import finished

        self.console = Console(highlight=False, soft_wrap=True, file=sys.stderr)
        self.total = sum(job.config.epochs for job in jobs)
        already = [job for job in jobs if finished(job)]
        self.done = float(sum(job.config.epochs for job in already))
        self.count, self.ended, self.failed = len(jobs), len(already), 0
        self._bar: Any = None

    def __enter__(self) -> Display:
        if self.ended:
            self.console.print(f"{self.ended} of {self.count} runs are finished already")
        if self.console.is_terminal:
            from rich import progress

            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(bar_width=None),
                progress.TextColumn("{task.completed:.1f}/{task.total} epochs"),
                progress.TimeRemainingColumn(),
                console=self.console,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=self.total, completed=self.done)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def tell(self, job: Any, what: str) -> None:
        """A job started or ended."""
        from npsoftmax.compare.runner import last_words

        if what == "finished":
            self.ended += 1
            self.done += job.config.epochs
        self.failed += what == "failed"
        why = f": {last_words(job.log)} (the whole log: {job.log})" if what == "failed" else ""
        self.console.print(
            f"{what} {job.row.name}, seed {job.seed} ({self.ended}/{self.count} done){why}", markup=False
        )

    def watch(self, running: Sequence[Any]) -> None:
        """Move the bar."""
        from npsoftmax.compare.runner import progress_of

        if self._bar is not None:
            names = ", ".join(job.row.name for job in running)
            part = sum(progress_of(job) for job in running)
            self._bar.update(self._task, completed=self.done + part, description=names)
