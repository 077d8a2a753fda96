"""Runs the jobs of a comparison, each as `npsoftmax train` in a process of its own.

Design: a job that fails, or is killed, takes nothing with it but itself; a finished one is never run again; one that
was begun goes on from its checkpoint. How far each is, is read from the tables that it writes anyway.
"""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from npsoftmax.compare.plan import Job
from npsoftmax.errors import InputError
from npsoftmax.files import read_json
from npsoftmax.training.run_directory import RunDirectory
from npsoftmax.training.state import State

TRAIN = (sys.executable, "-m", "npsoftmax.cli.main", "train")
POLL = 0.5  # seconds between two looks at the running jobs

Tell = Callable[[Job, str], None]  # a job and what became of it: "started", "finished", "failed", "stopped"


def finished(job: Job) -> bool:
    """Whether the job's run has come to its end."""
    try:
        summary = read_json(job.folder / "summary.json")
        ended = summary["epochs"] >= summary["planned_epochs"] or job.config.early_stop is not None
        return ended and not summary["interrupted"]
    except (InputError, KeyError, TypeError):
        return False


def progress_of(job: Job) -> float:
    """Epochs done, and the part of the one under way; 0 before the first rows are written."""
    try:
        with open(job.folder / "metrics.csv", encoding="utf-8-sig") as file:
            epochs = sum(1 for _ in csv.DictReader(file))
        if not epochs:
            return 0.0
        with open(job.folder / "steps.csv", encoding="utf-8-sig") as file:
            step = max((int(row["step"]) for row in csv.DictReader(file)), default=0)
        state_file = job.folder / "checkpoints" / "state.json"
        state = State.of(read_json(state_file), state_file)
        a_epoch = state.step / max(state.epoch, 1)
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError, csv.Error):
        return 0.0
    return epochs + min(max(step - state.step, 0) / max(a_epoch, 1), 0.99)


def run_all(jobs: Iterable[Job], at_once: int, tell: Tell, watch: Callable[[list[Job]], None]) -> bool:
    """Run what is not finished, `at_once` jobs at a time. False if Ctrl-C ended it.

    `tell` hears of every job that starts and ends; `watch` gets the running ones, twice a second.
    """
    waiting = [job for job in jobs if not finished(job)]
    running: dict[Job, subprocess.Popen] = {}
    go_on = True
    while waiting or running:
        try:
            while go_on and waiting and len(running) < at_once:
                job = waiting.pop(0)
                running[job] = start(job, _threads_of_each(at_once))
                tell(job, "started")
            for job, process in list(running.items()):
                if process.poll() is not None:
                    del running[job]
                    tell(job, outcome(job, go_on))
            watch(list(running))
            if not go_on and not running:
                break
            time.sleep(POLL)
        except KeyboardInterrupt:
            go_on = False
            waiting.clear()
            for process in running.values():  # each saves after its step; typed on a terminal, they have it already
                process.send_signal(signal.SIGINT)
    return go_on


def outcome(job: Job, go_on: bool) -> str:
    """What became of a job that has ended; go_on: nobody has told it to stop."""
    return "finished" if finished(job) else "failed" if go_on else "stopped"


def _threads_of_each(at_once: int) -> int | None:
    return max(1, len(os.sched_getaffinity(0)) // at_once) if at_once > 1 else None


def start(job: Job, threads: int | None) -> subprocess.Popen:
    """Begin the job, or continue it, on so many threads where it does not say how many. Its output goes to its log."""
    config = job.config
    if config.threads is None:
        config = replace(config, threads=threads)
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    if RunDirectory(job.folder).checkpoint_file("last").is_file():
        words = ["--resume", str(job.folder)]
        words += [] if config.threads is None else ["--threads", str(config.threads)]
        words += [] if config.data_dir is None else ["--data-dir", config.data_dir]
    else:
        if job.folder.exists():
            shutil.rmtree(job.folder)  # ended before its first checkpoint: there is nothing to go on from
        settings = job.folder.with_suffix(".toml")
        config.save(settings)
        words = ["--config", str(settings), "--out", str(job.folder)]
    with open(job.log, "a", encoding="utf-8") as log:
        # A session of its own: Ctrl-C reaches it once, from run_all.
        return subprocess.Popen([*TRAIN, *words], stdout=log, stderr=subprocess.STDOUT, start_new_session=True)


def last_words(log: Path) -> str:
    """The last line of a log: why a job failed."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return "it has no log"
    return lines[-1].removeprefix("npsoftmax: error: ") if lines else "it printed nothing"
