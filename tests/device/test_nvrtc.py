"""Every .cu file by NVIDIA's own compiler, for three generations of devices; it needs no device, only the package
nvidia-cuda-nvrtc-cu12 (or -cu13).
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import parity
import pytest

from npsoftmax import cuda
from npsoftmax.kernels.conv.device import tensor_options

ROOT = Path(__file__).parents[2]
FILES = sorted(cuda.files())
ARCHITECTURES = ("sm_75", "sm_80", "sm_90")
NVRTC = parity.tests_in("../benchmarks/nvrtc.py")


@pytest.fixture(scope="module")
def nvrtc():
    found = NVRTC.compiler()
    if found is None:
        pytest.skip("NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12")
    return found[0]


def compiled(nvrtc, code, options, kind="CUBIN"):
    return NVRTC.compiled(nvrtc, code, options, kind)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in FILES for kind in cuda.kinds(name)])
def test_a_file_compiles(nvrtc, name, kind, architecture):
    log, cubin = compiled(nvrtc, cuda.source(name), (*cuda.options(kind), f"--gpu-architecture={architecture}"))
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


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("gpu_kernels")


def test_the_committed_table_is_true(nvrtc, script):
    """To the number with its compiler; with another one, nothing is spilled and no fewer blocks fit an SM."""
    committed = json.loads((ROOT / "docs/results/gpu-kernels.json").read_text(encoding="utf-8"))
    found = script.uses(nvrtc)
    told = [{**use._asdict(), "blocks": use.blocks} for use in found]
    if committed["compiler"] == f"NVRTC {NVRTC.compiler()[1]}":
        assert told == committed["kernels"], "run benchmarks/gpu_kernels.py"
    identity = ("file", "kernel", "variant", "architecture")
    blocks = {tuple(row[name] for name in identity): row["blocks"] for row in committed["kernels"]}
    assert blocks.keys() == {use[:4] for use in found}
    for use in found:
        assert use.spilled == use.stack == 0
        assert use.blocks >= blocks[use[:4]]


@pytest.mark.parametrize("name", FILES)
def test_doubles_are_not_spilled_either(nvrtc, script, name):
    log, _ = compiled(nvrtc, cuda.source(name), (*cuda.options("d"), "--gpu-architecture=sm_90", "--ptxas-options=-v"))
    said = [(int(match["stores"]), int(match["loads"]), int(match["stack"])) for match in script.SAID.finditer(log)]
    assert said == [(0, 0, 0)] * log.count("entry function") and said


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
