"""What the runs of a comparison came to, read from their folders."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from npsoftmax.compare.plan import Comparison, Job, Row
from npsoftmax.compare.runner import finished, last_words, progress_of
from npsoftmax.errors import InputError
from npsoftmax.files import read_json
from npsoftmax.plots.run_files import Run, read_run
from npsoftmax.recipes import Recipe, load_recipe

NEAR = 0.95  # of the best accuracy: how soon a run is nearly done


@dataclass(frozen=True)
class Outcome:
    """A run of a row: its files, or (where it is not finished) why there are none."""

    seed: int
    run: Run | None
    missing: str = ""


@dataclass(frozen=True)
class RowResult:
    """A row with all its runs."""

    row: Row
    recipe: Recipe | None
    outcomes: tuple[Outcome, ...]

    @property
    def runs(self) -> list[Run]:
        """The finished runs."""
        return [outcome.run for outcome in self.outcomes if outcome.run is not None]

    @property
    def shortened(self) -> str | None:
        """How the row differs from its recipe; None where it does not."""
        return self.row.config.shortened

    def values(self, read: Callable[[Run], float | None]) -> list[float]:
        """What `read` finds in each finished run; without those in which it finds nothing."""
        found = (read(run) for run in self.runs)
        return [float(value) for value in found if value is not None]

    @property
    def incomplete(self) -> list[tuple[int, tuple[str, ...]]]:
        """(seed, files that are not there) of the finished runs that lack some."""
        return [(out.seed, out.run.missing) for out in self.outcomes if out.run is not None and out.run.missing]

    def verdict(self) -> str:
        """Whether the published accuracy came out: reproduced, not reproduced, shortened, or nothing to compare."""
        if self.recipe is None or not self.recipe.expected:
            return ""
        accuracies = self.values(test_score("accuracy"))
        if not accuracies:
            return "missing"
        if self.shortened:
            return "shortened"
        low, high = self.recipe.expected["accuracy"]
        return "reproduced" if low <= 100 * statistics.mean(accuracies) <= high else "not reproduced"


def collect(comparison: Comparison) -> list[RowResult]:
    """All rows of a comparison with what is there of them."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in comparison.rows}
    for job in comparison.jobs():
        outcomes[job.row.name].append(_outcome(job))
    return [
        RowResult(row, load_recipe(row.config.recipe) if row.config.recipe else None, tuple(outcomes[name]))
        for name, row in comparison.rows.items()
    ]


def _outcome(job: Job) -> Outcome:
    if finished(job):
        return Outcome(job.seed, read_run(job.folder))
    if not job.folder.is_dir():
        why = f"failed: {last_words(job.log)}" if job.log.is_file() else "not begun"
        return Outcome(job.seed, None, why)
    done = f"{progress_of(job):.1f} of {job.config.epochs} epochs done"
    return Outcome(job.seed, None, f"not finished, {done}; its log ends with: {last_words(job.log)}")


def seeds_of(results: Sequence[RowResult]) -> tuple[str, int]:
    """('2 seeds', 2) or ('1 to 3 seeds', 3): how many finished runs the rows have, in words, and the most."""
    counts = [len(result.runs) for result in results if result.runs]
    low, high = min(counts, default=0), max(counts, default=0)
    return (f"{low} to {high} seeds" if low < high else f"{high} seed{'' if high == 1 else 's'}"), high


# ---------------------------------------------------------------- readers of one number
def test_score(name: str) -> Callable[[Run], float | None]:
    """Reads a score of the test set, such as "accuracy"."""
    return lambda run: run.summary["test"].get(name)


def clean(name: str) -> Callable[[Run], float | None]:
    """Reads a score of the test set without the noise that the head adds in evaluation; None for other heads."""
    return lambda run: (run.summary.get("test_without_noise") or {}).get(name)


def summary_value(name: str) -> Callable[[Run], float | None]:
    """Reads a number of summary.json."""
    return lambda run: run.summary.get(name)


def seconds_to_train(run: Run) -> float | None:
    """Seconds of preparing (reading, normalising, whitening, …) and of all steps; no validation, no test."""
    prepare, train = run.summary.get("prepare_seconds"), run.summary.get("train_seconds")
    return None if prepare is None or train is None else float(prepare + train)


def fastest_epoch(run: Run) -> float | None:
    """Seconds of the fastest epoch, evaluation included: what else the machine did slows single ones down."""
    seconds = run.epochs.get("seconds")
    return None if seconds is None or not len(seconds) else float(np.nanmin(seconds))


def curve(run: Run, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and the validation `what` ("loss", "accuracy"); that of training where nothing was held out."""
    if not run.epochs:  # no metrics.csv
        return np.zeros(0), np.zeros(0)
    values = run.epochs[f"{'val' if held_out(run) else 'train'}_{what}"]
    return run.epochs["epoch"], values


def held_out(run: Run) -> bool:
    """Whether anything was measured on a validation part."""
    return bool(run.epochs) and bool(np.isfinite(run.epochs["val_accuracy"]).any())


def epochs_to_near_best(run: Run) -> float | None:
    """The first epoch whose accuracy is at least NEAR of the run's best."""
    epochs, accuracy = curve(run, "accuracy")
    if not np.isfinite(accuracy).any():
        return None
    return float(epochs[np.nanargmax(accuracy >= NEAR * np.nanmax(accuracy))])


def first_epoch(run: Run) -> float | None:
    """The accuracy in training of the first epoch."""
    return float(run.epochs["train_accuracy"][0]) if run.epochs else None


def gap(run: Run) -> float | None:
    """Accuracy in training less that of validation, in the last epoch; None where one of them was not measured."""
    if not run.epochs:
        return None
    apart = run.epochs["train_accuracy"][-1:] - run.epochs["val_accuracy"][-1:]
    return float(apart[0]) if np.isfinite(apart).any() else None


def relation(run: Run) -> dict[str, float] | None:
    """What a head that normalises twice said of its own loss (see `heads.legacy_flat`); None for other heads."""
    found: Any = run.summary.get("double_normalisation")
    return found


def environment(run_folder: Any) -> dict[str, Any]:
    """env.json of a run; empty where it is not there."""
    try:
        return read_json(run_folder / "env.json")
    except InputError:
        return {}
