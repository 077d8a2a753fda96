"""The machine that the figures belong to, and who can be measured on it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from npsoftmax._version import __version__
from npsoftmax.host import available_cpus, blas_in_use, processor
from npsoftmax.kernels import compiled_status

OURS, RIVALS = "npsoftmax", ("torch-nchw", "torch-channels-last")
NO_TORCH = "PyTorch is not installed: npsoftmax is measured alone. For the comparison: pip install torch"
BUSY = 0.5  # processes that ran on average in the last minute


def sides() -> tuple[str, ...]:
    """Who can be measured here: npsoftmax, and PyTorch's two layouts where it is installed."""
    return (OURS, *RIVALS) if version("torch") else (OURS,)


def version(package: str) -> str | None:
    """The installed version, found without importing the package; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def machine(threads: int) -> dict[str, Any]:
    """What the figures depend on: processor, threads, versions; and how busy the machine was at the start."""
    cpu, (compiled, kernels) = processor(), compiled_status()
    return {
        "name": f"{cpu}, {available_cpus()} CPUs",
        "cpu": cpu,
        "cpus": available_cpus(),
        "threads": threads,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "npsoftmax": __version__,
        "compiled": compiled,
        "kernels": kernels,
        "blas": blas_in_use(),
        **{package: version(package) for package in ("numpy", "scipy", "torch")},
    }


def describe(machine: dict[str, Any]) -> str:
    """The machine in a few lines, with a warning where the figures will be worth little."""
    versions = [
        f"{name} {machine[name]}" for name in ("npsoftmax", "python", "numpy", "scipy", "torch") if machine[name]
    ]
    lines = [
        f"machine   {machine['name']}; threads: {machine['threads']}",
        f"system    {machine['platform']}",
        f"versions  {', '.join(versions)}",
        f"kernels   {machine['kernels']}",
        f"blas      {machine['blas']}",
    ]
    if not machine["torch"]:
        lines.append(f"note      {NO_TORCH}")
    if not machine["compiled"]:
        lines.append("warning   npsoftmax is measured by its NumPy reference, which is many times slower")
    if machine["threads"] > machine["cpus"]:
        lines.append("warning   more threads than CPUs: the figures mean little")
    if machine["load"] is not None and machine["load"] > BUSY:
        lines.append(f"warning   the machine is or was just busy (load {machine['load']:.1f}): expect noise")
    return "\n".join(lines)


def cache_sizes() -> dict[int, int]:
    """level -> bytes of the data caches of the first CPU; what the system does not tell is guessed."""
    sizes = {1: 32 << 10, 2: 512 << 10, 3: 16 << 20}
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            level, kind, size = ((folder / file).read_text().strip() for file in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction" and size.removesuffix("K").isdigit():
            sizes[int(level)] = int(size.removesuffix("K")) << 10
    return sizes
