"""Runs the jobs of a comparison on the processes of MPI: `mpiexec -n 5 npsoftmax compare … --engine mpi`.

Design: mpi4py.futures. The first process hands the jobs out and writes the report; each other one runs a job at a time,
as `npsoftmax train` in a process of its own, so that here too a job that fails takes nothing with it. What they have in
common is the folder of the comparison, which every machine has to see.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from typing import Any

from npsoftmax.compare.plan import Job
from npsoftmax.compare.runner import POLL, Tell, finished, outcome, start
from npsoftmax.distributed import MpiGroup


def hand_out(group: MpiGroup, jobs: Iterable[Job], tell: Tell, watch: Callable[[list[Job]], None]) -> bool:
    """In the first process: run what is not finished. False if Ctrl-C ended it. See `runner.run_all`."""
    with _pool(group) as pool:
        waiting = {pool.submit(run_job, job): job for job in jobs if not finished(job)}
        running: dict[Any, Job] = {}
        go_on = True
        while waiting or running:
            try:
                for future in [future for future in waiting if future.running() or future.done()]:
                    running[future] = waiting.pop(future)
                    tell(running[future], "started")
                for future in [future for future in running if future.done()]:
                    job = running.pop(future)
                    tell(job, outcome(job, go_on))
                watch(list(running.values()))
                time.sleep(POLL)
            except KeyboardInterrupt:  # mpiexec tells all processes of it, and a worker ends the job that it is at
                go_on = False
                waiting = {future: job for future, job in waiting.items() if not future.cancel()}
    return go_on


def work(group: MpiGroup) -> None:
    """In every other process: run the jobs that come, until there are no more."""
    worker.threads = group.split(1).threads()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, worker.stop)
    with _pool(group):
        pass  # it works until the first process leaves


def run_job(job: Job) -> None:
    """What a worker is sent."""
    worker.run(job)


class Worker:
    """The job that this process is at."""

    def __init__(self) -> None:
        self.threads: int | None = None
        self.process: subprocess.Popen | None = None
        self.stopped = False

    def run(self, job: Job) -> None:
        if not self.stopped:
            self.process = start(job, self.threads)
            self.process.wait()

    def stop(self, *_: Any) -> None:
        """The job saves after its step, as after Ctrl-C; and no other begins."""
        self.stopped = True
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)


worker = Worker()


def _pool(group: MpiGroup) -> Any:
    from mpi4py.futures import MPICommExecutor

    return MPICommExecutor(group.comm, root=0)
