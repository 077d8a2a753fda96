"""What a user sees of a run: one bar per epoch on a terminal, one table row per epoch everywhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

COLUMNS = {
    "epoch": 7,
    "train loss": 11,
    "train acc": 10,
    "val loss": 9,
    "val acc": 8,
    "lr": 9,
    "samples/s": 9,
    "time": 7,
}


class Progress:
    """Prints to a rich console; the bar appears on a terminal only. note: hears what is said instead of the console."""

    def __init__(self, epochs: int, quiet: bool = False, note: Callable[[str], None] | None = None):
        from rich.console import Console

        # In a notebook rich would show every line as a block of its own: plain text keeps the table together.
        self.console = Console(quiet=quiet or note is not None, highlight=False, soft_wrap=True, force_jupyter=False)
        self._note = note
        self.epochs = epochs
        self._bar: Any = None
        self._task: Any = None

    def say(self, text: str = "") -> None:
        if self._note is not None:
            self._note(text)
        self.console.print(text, markup=False)

    def hush(self) -> None:
        """Print nothing more on a terminal: it may have been closed, and printing there is an error."""
        self.console.quiet = self.console.quiet or self.console.is_terminal

    def start_table(self) -> None:
        self.console.print(" ".join(f"{name:>{width}}" for name, width in COLUMNS.items()), markup=False)

    def start_epoch(self, epoch: int, images: int, done: int) -> None:
        """Epoch `epoch` (from 1) of `images` images, `done` of which a resumed run has seen."""
        self._started, self._seen_before = time.perf_counter(), done
        if not self.console.is_terminal:
            return
        from rich import progress

        self._bar = progress.Progress(
            progress.TextColumn(f"epoch {epoch}/{self.epochs}"),
            progress.BarColumn(bar_width=None),
            progress.TextColumn("{task.fields[loss]}"),
            progress.TextColumn("{task.fields[speed]}"),
            progress.TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task("", total=images, completed=done, loss="", speed="")

    def update(self, seen: int, loss: float, accuracy: float | None) -> None:
        """So many images seen, with this mean loss and (where it is measured) accuracy."""
        if self._bar is None:
            return
        speed = (seen - self._seen_before) / max(time.perf_counter() - self._started, 1e-9)
        shown = f"loss {loss:.3f}" + ("" if accuracy is None else f"  acc {accuracy:.1%}")
        self._bar.update(self._task, completed=seen, loss=shown, speed=f"{speed:,.0f} samples/s")

    def end_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def end_epoch(self, row: dict[str, Any], images_per_second: float) -> None:
        """Replace the bar by a row of the table."""
        self.end_bar()
        cells = [
            f"{row['epoch']:>3}/{self.epochs:<3}",
            f"{row['train_loss']:>11.4f}",
            f"{'–':>10}" if row["train_accuracy"] is None else f"{row['train_accuracy']:>10.2%}",
            f"{'–':>9}" if row["val_loss"] is None else f"{row['val_loss']:>9.4f}",
            f"{'–':>8}" if row["val_accuracy"] is None else f"{row['val_accuracy']:>8.2%}",
            f"{row['learning_rate']:>9.2e}",
            f"{images_per_second:>9,.0f}",
            f"{row['seconds']:>6.1f}s",
        ]
        self.console.print(" ".join(cells), markup=False)
