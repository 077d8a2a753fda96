"""NVIDIA's run-time compiler by itself: it needs no device, only pip install nvidia-cuda-nvrtc-cu12 (or -cu13)."""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

DISTRIBUTIONS = {
    "nvidia.cuda_nvrtc": "nvidia-cuda-nvrtc-cu12",
    "nvidia.cu13": "nvidia-cuda-nvrtc",
}  # package -> on PyPI
BY_CUPY = "-ftz=true"  # which CuPy adds to the options of every kernel: numbers below 1e-38 are 0


def libraries() -> Iterator[tuple[Path, str]]:
    """libnvrtc and its version, of CUDA 12 and 13, where they are installed."""
    for package, distribution in DISTRIBUTIONS.items():
        try:
            spec = importlib.util.find_spec(package)
            version = importlib.metadata.version(distribution)
        except (ModuleNotFoundError, importlib.metadata.PackageNotFoundError):
            continue
        for folder in (spec and spec.submodule_search_locations) or ():
            yield from ((file, version) for file in sorted(Path(folder).glob("**/libnvrtc.so.*")))


@functools.cache
def compiler() -> tuple[ctypes.CDLL, str] | None:
    """The library and its version; None: it is not installed."""
    for file, version in libraries():
        for builtins in file.parent.glob("libnvrtc-builtins.so.*"):
            ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
        return ctypes.CDLL(str(file)), version
    return None


def compiled(nvrtc: ctypes.CDLL, code: str, options: Sequence[str], kind: str = "CUBIN") -> tuple[str, bytes]:
    """What the compiler said, and machine code (or PTX); none where the code is wrong."""
    program = ctypes.c_void_p()
    checked(nvrtc.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernels.cu", 0, None, None))
    options = *options, BY_CUPY
    array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    failed = nvrtc.nvrtcCompileProgram(program, len(options), array)
    texts = {what: b"" for what in ("ProgramLog", kind)}
    for what in texts if not failed else ("ProgramLog",):
        size = ctypes.c_size_t()
        checked(getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
        text = ctypes.create_string_buffer(size.value)
        checked(getattr(nvrtc, f"nvrtcGet{what}")(program, text))
        texts[what] = text.raw
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return texts["ProgramLog"].rstrip(b"\0").decode(), texts[kind]


def checked(result: int) -> None:
    if result:
        raise RuntimeError(f"NVRTC answers with error {result}.")
