"""Every .cu file by NVIDIA's own compiler, for three generations of devices; it needs no device, only the package
nvidia-cuda-nvrtc-cu12 (or -cu13).
"""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

import pytest

from npsoftmax import cuda
from npsoftmax.kernels.conv.device import tensor_options

FILES = sorted(cuda.files())
ARCHITECTURES = ("sm_75", "sm_80", "sm_90")


def libraries():
    """Candidates for libnvrtc: in the packages nvidia.cuda_nvrtc (CUDA 12) and nvidia.cu13."""
    for package in ("nvidia.cuda_nvrtc", "nvidia.cu13"):
        try:
            spec = importlib.util.find_spec(package)
        except ModuleNotFoundError:
            continue
        for folder in spec.submodule_search_locations if spec else ():
            yield from sorted(Path(folder).glob("**/libnvrtc.so.*"))


@pytest.fixture(scope="module")
def nvrtc():
    found = next(libraries(), None)
    if found is None:
        pytest.skip("NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12")
    for builtins in found.parent.glob("libnvrtc-builtins.so.*"):
        ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(found))


def compiled(nvrtc, code, options, kind="CUBIN"):
    """Machine code (or PTX), or the compiler's complaints."""
    program = ctypes.c_void_p()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernels.cu", 0, None, None) == 0
    array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    failed = nvrtc.nvrtcCompileProgram(program, len(options), array)
    size = ctypes.c_size_t()
    get_size, get = (
        (nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog)
        if failed
        else (getattr(nvrtc, f"nvrtcGet{kind}Size"), getattr(nvrtc, f"nvrtcGet{kind}"))
    )
    assert get_size(program, ctypes.byref(size)) == 0
    text = ctypes.create_string_buffer(size.value)
    assert get(program, text) == 0
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return (text.value.decode(), b"") if failed else ("", text.raw)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("char", cuda.REALS)
@pytest.mark.parametrize("name", FILES)
def test_a_file_compiles(nvrtc, name, char, architecture):
    log, cubin = compiled(nvrtc, cuda.source(name), (*cuda.options(char), f"--gpu-architecture={architecture}"))
    assert log == ""
    assert cubin.startswith(b"\x7fELF")


TENSORS = [(factors, result, columns) for factors, result in ((32, 32), (16, 32), (16, 16)) for columns in (128, 64)]


@pytest.mark.parametrize("architecture", ["compute_75", "compute_80", "compute_90"])
@pytest.mark.parametrize("tensors", TENSORS, ids=str)
def test_tensor_cores_and_copies_beside_the_program_are_used_where_they_are(nvrtc, tensors, architecture):
    options = (*cuda.options("f"), *tensor_options(*tensors), f"--gpu-architecture={architecture}")
    log, ptx = compiled(nvrtc, cuda.source("conv_tensor"), options, "PTX")
    assert log == ""
    shape = b"m16n8k8.row.col.f32.tf32" if tensors[0] == 32 else b"m16n8k16.row.col.f32.bf16"
    for instruction in (b"mma.sync.aligned." + shape, b"cp.async.cg", b"ldmatrix.sync.aligned.m8n8.x4"):
        assert (instruction in ptx) == (architecture != "compute_75")


def test_what_does_not_compile_is_found(nvrtc):
    """A CPU compiler takes a host function called from a kernel; a device's does not."""
    wrong = cuda.source("philox").replace(
        "unsigned c0 = (unsigned)block", "unsigned c0 = (unsigned)malloc_on_host(block)"
    )
    log, _ = compiled(nvrtc, wrong, (*cuda.options("f"), "--gpu-architecture=sm_80"))
    assert "malloc_on_host" in log


def test_no_kernel_adds_with_atomics_and_all_name_their_types():
    """Sums by atomics come in any order; a parameter of a type that `cuda.Kernels` never passes would be misread."""
    from cuda_on_cpu import SCALARS, parameters

    for name in FILES:
        code = cuda.source(name)
        assert "atomic" not in code.replace("uses no atomics", "")
        assert parameters(code)
        for fields in parameters(code).values():
            assert {kind for kind, pointer, *_ in fields if not pointer} <= {"int", "real", *SCALARS} - {
                "double",
                "float",
            }
