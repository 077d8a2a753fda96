"""What all tests share: how long hypothesis looks, which tests are left out, where data and devices come from."""

from __future__ import annotations

import os
import random
from pathlib import Path

# Before NumPy is loaded: on arrays this small, waking threads costs more than all the work.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# pytest loads readline, which sets it for the processes of xdist: tables would be as narrow as some terminal.
os.environ.pop("COLUMNS", None)

import pytest
from hypothesis import settings

from npsoftmax.backend import Backend, get_backend
from npsoftmax.errors import InputError

# To wait for the disk is what a power cut asks for, and no test can cut the power; it took a third of the time.
os.fsync = lambda descriptor: None

# `pytest --hypothesis-profile=thorough` looks ten times as long.
settings.register_profile("everyday", deadline=None, max_examples=30, print_blob=True)
settings.register_profile("thorough", deadline=None, max_examples=300, print_blob=True)
settings.load_profile("everyday")

# Left out unless the expression given to -m names the mark. (To skip each of some thousand would take ten seconds.)
ON_REQUEST = ("slow", "gpu")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shuffle", type=int, metavar="SEED", help="the files and the tests of each in a drawn order")


def left_out(config: pytest.Config) -> list[str]:
    """The marks of ON_REQUEST that nobody asked for."""
    return [mark for mark in ON_REQUEST if mark not in config.option.markexpr]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    marks, kept, others = left_out(config), [], []
    for item in items:
        long = any(item.get_closest_marker(mark) for mark in marks)
        on_gpu = "gpu" not in marks and item.get_closest_marker("gpu")  # there, what is long here is short
        (others if long and not on_gpu else kept).append(item)
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = kept
    if config.option.shuffle is not None:
        items[:] = shuffled(items, random.Random(config.option.shuffle))


def shuffled(items: list[pytest.Item], rng: random.Random) -> list[pytest.Item]:
    """The tests of a file stay neighbours, so that what they share is made once."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    return [
        item for path in rng.sample(sorted(files), len(files)) for item in rng.sample(files[path], len(files[path]))
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if marks := left_out(config):
        asked = " and ".join(f"pytest -m {mark}" for mark in marks)
        terminalreporter.write_line(f"tests marked {' or '.join(marks)} were left out; they are for {asked}")


@pytest.fixture(scope="session")
def cifar() -> Path:
    """The folder of the real CIFAR-100."""
    folder = os.environ.get("NPSOFTMAX_DATA")
    if not folder:
        pytest.skip("needs the real CIFAR-100: set NPSOFTMAX_DATA to its folder")
    if not Path(folder).is_dir():
        pytest.skip(f"NPSOFTMAX_DATA is {folder}, which is no folder")
    return Path(folder)


@pytest.fixture(scope="session")
def cupy() -> Backend:
    """The CuPy backend, for tests marked gpu."""
    try:
        return get_backend("cupy")
    except InputError as error:
        pytest.skip(str(error))
