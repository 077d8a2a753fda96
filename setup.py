"""Builds the Cython extensions; everything else about the package is in pyproject.toml.

The extensions are optional: where there is no compiler (or no OpenMP) the install still succeeds, on the NumPy
reference kernels or on one thread, and `npsoftmax info` says so.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup


def compiler_takes(flags: list[str]) -> bool:
    """Whether the C compiler compiles and links an empty program with these flags."""
    compiler = os.environ.get("CC", "cc").split()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("int main(void) { return 0; }\n")
        command = [*compiler, str(source), "-o", str(Path(folder, "probe")), *flags]
        try:
            return subprocess.run(command, capture_output=True).returncode == 0
        except OSError:
            return False


def build_flags() -> tuple[list[str], list[str]]:
    """Compile and link flags that this compiler accepts, none of them bound to this machine's processor."""
    if sys.platform == "win32":
        return ["/O2", "/openmp"], []
    wanted = [["-O3"], ["-fno-math-errno"], ["-fno-trapping-math"], ["-ffp-contract=fast"]]
    compile_flags = [flag for flags in wanted if compiler_takes(flags) for flag in flags]
    openmp = ["-fopenmp"] if compiler_takes(["-fopenmp"]) else []
    return compile_flags + openmp, openmp


def extensions() -> list[Extension]:
    try:
        import numpy
        from Cython.Build import cythonize
    except ImportError:
        return []
    compile_flags, link_flags = build_flags()
    modules = [
        Extension(
            f"npsoftmax.{path.stem}",
            [str(path)],
            include_dirs=[numpy.get_include()],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
            extra_compile_args=compile_flags,
            extra_link_args=link_flags,
        )
        for path in sorted(Path("npsoftmax").glob("_*.pyx"))
    ]
    compiled = cythonize(modules, quiet=True)
    for module in compiled:  # cythonize makes new ones, and forgets this
        module.optional = True
    return compiled


setup(ext_modules=extensions())
