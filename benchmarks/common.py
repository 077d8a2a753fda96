"""What the benchmarks share: a process for every measurement, rounds, medians, tables, the machine.

Design: thread pools of two frameworks in one process slow each other down, and a machine's speed drifts. So
every measurement runs alone in a fresh process with a fixed number of threads, and the sides take turns in
each round.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.backend import available_cpus
from npsoftmax.errors import unknown_name
from npsoftmax.kernels import compiled_status

MODELS = ("mlp", "convnet", "tinyvgg", "resnet9")  # those that have a twin in twins.py
CLASSES, IMAGE = 100, (32, 32, 3)
OURS, RIVALS = "npsoftmax", ("torch-nchw", "torch-channels-last")
LEARNING_RATE, MOMENTUM = 1e-3, 0.9
FIGURES = ("median", "min", "max", "ratio", "per round")  # the last columns of a table
VERSIONS = ("npsoftmax", "python", "numpy", "scipy", "torch")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
NO_TORCH = "PyTorch is not installed: npsoftmax is measured alone. For the comparison: pip install torch"

Job = dict[str, Any]  # what a worker is to do: side, model, batch_size, threads, dropout, task, …
Summary = dict[str, Any]  # median, min, max, rounds


# ---------------------------------------------------------------- the work
def batch(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The same random images (N, H, W, C) and labels (N,) in every process."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((size, *IMAGE), dtype=np.float32), rng.integers(0, CLASSES, size)


def sides() -> tuple[str, ...]:
    """Who can be measured here: npsoftmax, and PyTorch's two layouts where it is installed."""
    return (OURS, *RIVALS) if version("torch") else (OURS,)


# ---------------------------------------------------------------- workers
class BenchmarkError(Exception):
    """The benchmark cannot give a figure; the text says why."""


def run_worker(script: str, job: Job) -> dict[str, Any]:
    """Run `job` in a process of its own with its number of threads; its last line of output is the answer."""
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(job["threads"]))
    command = [sys.executable, script, "--worker", json.dumps(job)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"the worker for {job} failed:\n{done.stderr.strip()[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def entry(main: Callable[[Sequence[str]], int], work: Callable[[Job], dict[str, Any]]) -> int:
    """Start a script: as a worker if it was called as one, else for the user. Returns the exit code."""
    try:
        if sys.argv[1:2] == ["--worker"]:
            print(json.dumps(work(json.loads(sys.argv[2]))))
            return 0
        return main(sys.argv[1:])
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


# ---------------------------------------------------------------- rounds
def take_turns(
    cases: Iterable[tuple[str, ...]], rounds: int, measure: Callable[..., float], unit: str
) -> dict[tuple[str, ...], Summary]:
    """Measure every case once in each round (A B C A B C …), and tell how it goes on standard error."""
    values: dict[tuple[str, ...], list[float]] = {case: [] for case in cases}
    for number in range(1, rounds + 1):
        for case, measured in values.items():
            measured.append(measure(*case))
            print(f"round {number}/{rounds}  {' '.join(case)}  {measured[-1]:.1f} {unit}", file=sys.stderr)
    return {case: summary(measured) for case, measured in values.items()}


def summary(values: Sequence[float]) -> Summary:
    """Median, smallest, largest, and the figure of each round."""
    low, high = min(values), max(values)
    return {"median": statistics.median(values), "min": low, "max": high, "rounds": list(values)}


def ratio_to_better(side: Summary, rivals: Sequence[Summary], better: Callable[..., float]) -> Summary | None:
    """`side` against the better of `rivals`: of the medians, and of each round; None without rivals."""
    if not rivals:
        return None
    per_round = [
        own / better(others)
        for own, *others in zip(side["rounds"], *(rival["rounds"] for rival in rivals), strict=True)
    ]
    median = side["median"] / better(rival["median"] for rival in rivals)
    return {"median": median, "min": min(per_round), "max": max(per_round), "rounds": per_round}


# ---------------------------------------------------------------- what the user types and sees
def option_parser(description: str, *, rounds: int) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument(
        "--models",
        type=lambda text: name_list("model", text, MODELS),
        default=("convnet", "tinyvgg", "resnet9"),
        metavar="NAME,NAME",
        help=f"which of {', '.join(MODELS)} (default: convnet,tinyvgg,resnet9)",
    )
    for name, least, default, what in (
        ("--threads", 1, 2, "threads of every side"),
        ("--batch-size", 2, 128, "images a step"),  # batch norm needs two
        ("--rounds", 1, rounds, "turns of every side"),
    ):
        parser.add_argument(
            name, type=whole_number(least), default=default, metavar="N", help=f"{what} (default: {default})"
        )
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write the figures here as well")
    return parser


def new_file(text: str) -> Path:
    """A path that can be written once the figures are there: its folder must exist now."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is no file in a folder that exists.")
    return path


def name_list(kind: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    """'a,b' -> ('a', 'b'), each once; argparse's error for a name that is not known."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(str(unknown_name(kind, name, known)))
    return names


def whole_number(least: int) -> Callable[[str], int]:
    """What argparse calls to read a whole number of at least `least`."""

    def read(text: str) -> int:
        if not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {least}.")
        return int(text)

    return read


def table(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int) -> str:
    """Columns of fixed width: the first `text_columns` to the left, the others (figures) to the right."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]

    def drawn(line: Sequence[str]) -> str:
        cells = (
            cell.ljust(width) if column < text_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return "\n".join([drawn(header), "  ".join("-" * width for width in widths), *map(drawn, lines[1:])])


def ratio_cells(ratio: Summary | None) -> tuple[str, str]:
    """The two cells "ratio" and "per round" of a table."""
    if ratio is None:
        return "-", "-"
    return f"x{ratio['median']:.2f}", f"{ratio['min']:.2f}-{ratio['max']:.2f}"


def write_json(args: argparse.Namespace, figures: dict[str, Any]) -> None:
    """Save the figures and the options behind them where --json says, if it was given."""
    if args.json is None:
        return
    settings = {name: value for name, value in vars(args).items() if name != "json"}
    try:
        args.json.write_text(json.dumps({**figures, "settings": settings}, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise BenchmarkError(f"cannot write {args.json}: {error.strerror}; choose another --json.") from error


# ---------------------------------------------------------------- the machine
def machine(threads: int) -> dict[str, Any]:
    """What the figures depend on: processor, threads, versions; and how busy the machine was at the start."""
    return {
        "cpu": cpu_model(),
        "cpus": available_cpus(),
        "threads": threads,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "npsoftmax": version("npsoftmax") or importlib.import_module("npsoftmax._version").__version__,
        "kernels": compiled_status()[1],
        "numpy": version("numpy"),
        "scipy": version("scipy"),
        "torch": version("torch"),
    }


def describe(machine: dict[str, Any]) -> str:
    """The machine in a few lines, with a warning where the figures will be worth little."""
    lines = [
        f"machine   {machine['cpu']}, {machine['cpus']} CPUs usable, {machine['threads']} threads",
        f"system    {machine['platform']}",
        "versions  " + ", ".join(f"{name} {machine[name]}" for name in VERSIONS if machine[name]),
        f"kernels   {machine['kernels']}",
    ]
    if not machine["torch"]:
        lines.append(f"note      {NO_TORCH}")
    if machine["threads"] > machine["cpus"]:
        lines.append("warning   more threads than CPUs: the figures say little")
    if machine["load"] is not None and machine["load"] > 0.5:
        lines.append(f"warning   the machine is or was just busy (load {machine['load']:.1f}): expect noise")
    return "\n".join(lines)


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def version(package: str) -> str | None:
    """The installed version, found without importing the package; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
