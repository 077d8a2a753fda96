"""A plugin of pytest for tests on a GPU: each result is a line of a file at once, and errors that last end a process.

    python -m pytest -m gpu -n 4 -p gpu_tests --lines FILE        # with benchmarks/ in PYTHONPATH

After an illegal address every call to the device fails in that process: so the process of xdist is ended with its test,
and xdist starts another one for the rest (and says of the test once more that a process ended).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

LASTING = ("CUDARuntimeError", "CUDADriverError")  # as in gpu_worker.py
lost: list[str] = []  # the tests that had one


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--lines", type=Path, required=True, metavar="FILE", help="outcome, seconds and name of each test, as it ends"
    )


def pytest_configure(config: pytest.Config) -> None:
    in_process_of_xdist = hasattr(config, "workerinput")
    config.pluginmanager.register(Ending() if in_process_of_xdist else Lines(config.option.lines))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    if call.excinfo is not None and call.excinfo.typename in LASTING:
        lost.append(item.nodeid)


class Ending:
    """What ends a process of xdist, once the results of its test are told."""

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown" and lost:
            os._exit(1)


class Lines:
    """The file of results."""

    def __init__(self, file: Path):
        self.file = file
        file.write_text("", encoding="utf-8")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            why = "" if report.outcome != "failed" else f"\n{report.longreprtext}".replace("\n", "\n    ")
            with self.file.open("a", encoding="utf-8") as lines:
                lines.write(f"{report.outcome} {report.duration:.2f} {report.nodeid}{why}\n")
