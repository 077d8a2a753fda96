"""The compiled modules, each loaded at its first use; where one was not built, the readable reference runs instead.

Design: a build leaves every module up to three times: for any processor of the platform beside its source, for x86-64
processors with AVX2 in kernels/_v3 and with AVX-512 in kernels/_v4 (the names are those of the x86-64 levels; the last
part of a module's name is the same in all three). The best one that this processor can run is loaded; if it was not
built, the next lower one. What the processor has NumPy knows, which has asked it already (and the system, which must
save the wider registers).
"""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import sys
import threading
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from npsoftmax.errors import unknown_name
from npsoftmax.host import short_spins

PACKAGE = Path(__file__).parents[1]
LEVEL_FOLDERS = PACKAGE / "kernels"

# level -> what a processor must have for it, in NumPy's names; the best first. setup.py compiles for just these.
LEVELS = {"v4": ("AVX2", "FMA3", "AVX512_SKX"), "v3": ("AVX2", "FMA3"), "baseline": ()}
TITLES = {"v4": "x86-64-v4 (AVX-512)", "v3": "x86-64-v3 (AVX2)", "baseline": "any processor"}


@functools.cache
def cpu_level() -> tuple[str, str]:
    """The best level that this processor can run, and why it is no better one.

    `NPSOFTMAX_CPU=baseline|v3|v4` asks for another (for tests). A level that the processor lacks is not run even then.
    InputError for an unknown level.
    """
    asked = os.environ.get("NPSOFTMAX_CPU", "v4")
    if asked not in LEVELS:
        raise unknown_name("level in NPSOFTMAX_CPU", asked, LEVELS)
    reason = f"NPSOFTMAX_CPU={asked}" if asked != "v4" else ""
    if platform.machine() not in ("x86_64", "AMD64"):
        return "baseline", ""
    features = _cpu_features()
    for level in _from(asked):
        missing = [feature for feature in LEVELS[level] if not features.get(feature)]
        if not missing:
            return level, reason
        reason = f"NumPy finds no {' or '.join(missing)} here"
    raise AssertionError("the last level needs nothing")


def _from(level: str) -> list[str]:
    levels = list(LEVELS)
    return levels[levels.index(level) :]


def _cpu_features() -> dict[str, bool]:
    try:
        from numpy._core._multiarray_umath import __cpu_features__
    except ImportError:  # a NumPy that keeps it elsewhere: nothing is known of the processor
        return {}
    return __cpu_features__


@functools.cache
def extension_names() -> tuple[str, ...]:
    """The names of all compiled modules: one for each _*.pyx of the package."""
    files = (path.relative_to(PACKAGE).with_suffix("") for path in sorted(PACKAGE.rglob("_*.pyx")))
    return tuple(".".join((PACKAGE.name, *file.parts)) for file in files)


_loading = threading.RLock()  # a module that two threads load at once would be half a module to one of them
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_loading.acquire, after_in_parent=_loading.release, after_in_child=_loading.release)


@functools.cache
def load_extension(name: str) -> tuple[Any, str]:
    """The compiled module called `name` or None, and why. `NPSOFTMAX_COMPILED=0` switches all off (for tests)."""
    with _loading:
        return _loaded(name)


@functools.cache
def _loaded(name: str) -> tuple[Any, str]:
    """The same for one thread at a time."""
    if os.environ.get("NPSOFTMAX_COMPILED", "1") == "0":
        return None, "switched off by NPSOFTMAX_COMPILED=0"
    beside_its_source = PACKAGE.joinpath(*name.split(".")[1:-1])
    levels = _from(cpu_level()[0])
    folders = [str(beside_its_source if level == "baseline" else LEVEL_FOLDERS / f"_{level}") for level in levels]
    try:
        spec = PathFinder.find_spec(name, folders)
        if spec is None or spec.loader is None:
            raise ImportError(f"no module {name}")
        with short_spins():
            module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError as error:
        return None, f"not built ({error}); reinstall with a C compiler present to get it"
    sys.modules[name] = module
    return module, ""


def loaded_level(module: Any) -> str:
    """The level that a compiled module was built for."""
    folder = Path(module.__file__).parent.name.removeprefix("_")
    return folder if folder in LEVELS else "baseline"


def compiled_status() -> tuple[bool, str]:
    """Whether all compiled kernels are in use, and one line about them (for `npsoftmax info`)."""
    modules = []
    for name in extension_names():
        module, reason = load_extension(name)
        if module is None:
            return False, reason
        modules.append(module)
    windows, _ = load_extension("npsoftmax._im2col")
    threads = "with OpenMP" if windows.has_openmp() else "without OpenMP (one thread)"
    levels = sorted({loaded_level(module) for module in modules})
    allowed, reason = cpu_level()
    if levels != [allowed]:
        reason = f"not all were built for {TITLES[allowed]}"
    built_for = " and ".join(TITLES[level] for level in levels)
    return True, f"compiled for {built_for}, {threads}" + (f"; no better: {reason}" if reason else "")
