"""Builds the Cython extensions; everything else about the package is in pyproject.toml.

The extensions are optional: where there is no compiler (or no OpenMP) the install still succeeds, on the NumPy
reference kernels or on one thread, and `npsoftmax info` says so.

Design: every _*.pyx, in whatever folder of the package, becomes one C file, and that is compiled once for any processor
of the platform, beside its source, and once more for each level of LEVELS that the compiler knows, into
npsoftmax/kernels/_v3 and _v4. All are the same module; kernels/extension.py loads the best one that the processor can
run. What Cython needs to take arrays, some 30,000 lines of C, is in a module of its own, _memoryviews: with it in every
module, the build would take three times as long. A second editable install (`pip install -e`, with other extras) takes
over what the first one compiled, where sources and flags are the same.
"""

import copy
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# Compiler flags of each level, and the macro which shows that they did something. They name the very features that
# kernels/extension.py asks the processor for; -march=x86-64-v3 would add some that nobody asks for.
AVX2 = ["-mavx2", "-mfma"]
LEVELS = {
    "v3": (AVX2, "__FMA__"),
    "v4": ([*AVX2, *(f"-mavx512{part}" for part in ("f", "cd", "vl", "bw", "dq"))], "__AVX512VL__"),
}
KERNELS = "npsoftmax.kernels"
SHARED = f"{KERNELS}._memoryviews"
NO_GIL = "freethreading_compatible"  # no kernel keeps anything from call to call, so Python may run without its lock
BUILT_WITH = Path("npsoftmax.egg-info", "compiler_flags.txt")  # of the modules that lie in the source tree


def compiler_takes(flags: list[str], macro: str = "__STDC__") -> bool:
    """Whether the C compiler compiles and links a nearly empty program with these flags, which define `macro`."""
    compiler = os.environ.get("CC", "cc").split()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text(f"#ifndef {macro}\n#error\n#endif\nint main(void) {{ return 0; }}\n")
        command = [*compiler, str(source), "-o", str(Path(folder, "probe")), *flags]
        try:
            return subprocess.run(command, capture_output=True).returncode == 0
        except OSError:
            return False


def build_flags() -> tuple[list[str], list[str]]:
    """Compile and link flags that this compiler accepts, none of them bound to this machine's processor."""
    if sys.platform == "win32":
        return ["/O2", "/openmp"], []
    wanted = [["-O3"], ["-g0"], ["-fno-math-errno"], ["-fno-trapping-math"], ["-ffp-contract=fast"]]
    compile_flags = [flag for flags in wanted if compiler_takes(flags) for flag in flags]
    openmp = ["-fopenmp"] if compiler_takes(["-fopenmp"]) else []
    return compile_flags + openmp, openmp


def up_to_date(built: Path, ext: Extension) -> bool:
    """Whether a compiled module is there, and newer than all that we wrote for it.

    Not the C file: Cython makes it anew for each environment that pip builds in, whose packages are always newer.
    """
    written = [path for source in ext.sources if (path := Path(source).with_suffix(".pyx")).exists()] or ext.sources
    return built.exists() and all(
        os.stat(path).st_mtime < built.stat().st_mtime for path in [*written, *ext.depends, __file__]
    )


def generate_shared(source: Path) -> Path:
    """Write the C file of SHARED, unless there is one by this Cython; `source`."""
    from Cython import __version__

    if not source.exists() or f"Cython {__version__} " not in source.read_text(encoding="utf-8")[:100]:
        subprocess.run(
            [sys.executable, "-m", "cython", "-X", f"{NO_GIL}=True", f"--generate-shared={source}"], check=True
        )
    return source


def at_level(module: Extension, level: str) -> Extension:
    """The same module for the processors of one level."""
    other = copy.copy(module)
    other.name = f"{KERNELS}._{level}.{module.name.rpartition('.')[2]}"
    other.extra_compile_args = module.extra_compile_args + LEVELS[level][0]
    return other


def extensions() -> list[Extension]:
    try:
        import numpy
        from Cython.Build import cythonize
    except ImportError:
        return []
    compile_flags, link_flags = build_flags()
    options = {
        "include_dirs": [numpy.get_include(), str(Path(*KERNELS.split(".")))],
        "define_macros": [("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        "extra_compile_args": compile_flags,
        "extra_link_args": link_flags,
        "depends": [str(path) for suffix in ("h", "pxd") for path in Path("npsoftmax").rglob(f"_*.{suffix}")],
    }
    sources = sorted(Path("npsoftmax").rglob("_*.pyx"))
    modules = [Extension(".".join(path.with_suffix("").parts), [str(path)], **options) for path in sources]
    modules = cythonize(modules, quiet=True, shared_utility_qualified_name=SHARED, compiler_directives={NO_GIL: True})
    shared = generate_shared(Path(*SHARED.split(".")).with_suffix(".c"))
    levels = [level for level, (flags, macro) in LEVELS.items() if compiler_takes(flags, macro)]
    everything = [*modules, *(at_level(module, level) for module in modules for level in levels)]
    everything.append(Extension(SHARED, [str(shared)], **options))
    for module in everything:  # cythonize makes new ones, and forgets this
        module.optional = True
    return everything


class BuildLevels(build_ext):
    """Compiles on all processors at once, and keeps the objects apart: those of two levels have the same source."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self) -> None:
        made = [f"{ext.name} {ext.extra_compile_args} {ext.extra_link_args}" for ext in self.extensions or []]
        flags = "\n".join(made)
        self.same_flags = BUILT_WITH.exists() and BUILT_WITH.read_text(encoding="utf-8") == flags
        super().run()
        if self.editable_mode or self.inplace:
            BUILT_WITH.parent.mkdir(exist_ok=True)
            BUILT_WITH.write_text(flags, encoding="utf-8")

    def build_extension(self, ext: Extension) -> None:
        place, file = Path(self.get_ext_fullpath(ext.name)), self.get_ext_filename(ext.name)
        built = Path(*ext.name.split(".")[:-1], os.path.basename(file))
        if self.editable_mode and self.same_flags and up_to_date(built, ext):
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(built, place)
            return
        own = copy.copy(self)  # a folder for this extension alone, while others are built in other threads
        own.build_temp = os.path.join(self.build_temp, ext.name)
        build_ext.build_extension(own, ext)

    def copy_extensions_to_source(self) -> None:
        for ext in self.extensions:
            Path(*ext.name.split(".")[:-1]).mkdir(exist_ok=True)
        super().copy_extensions_to_source()


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildLevels})
