"""What can be known of the CUDA kernels without a device: registers, spills and blocks an SM, and floors of layers.

    pip install nvidia-cuda-nvrtc-cu12
    python benchmarks/gpu_kernels.py --json docs/results/gpu-kernels.json --markdown docs/results/gpu-kernels.md

Every kernel is compiled by NVIDIA's compiler for compute capability 8.0 (A100) and 9.0 (H100). What it says of
registers and shared memory gives, with the threads of a block, how many blocks an SM runs at once. A floor is the time
that products take at the rate that mma.sync is said to reach on an H100, or that arrays need on their way through its
memory, whatever is longer; beside it stand the measured times of docs/results/gpu.json.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import BenchmarkError, new_file, table
from gpu import LAYERS, markdown
from gpu_sides import OURS, OURS_BF16, TORCH, TORCH_BF16
from nvrtc import compiled, compiler

from npsoftmax import cuda
from npsoftmax.kernels.conv import device as conv
from npsoftmax.layers import Flatten, Residual
from npsoftmax.models import Model, build_model
from npsoftmax.models.base import all_layers
from npsoftmax.params import leaves
from npsoftmax.random import Rng

ROOT = Path(__file__).parents[1]
MEASURED = ROOT / "docs/results/gpu.json"
ARCHITECTURES = ("sm_80", "sm_90")
# Of an SM: 64 warps, 32 blocks, 65,536 registers, which a warp takes in runs of 256; shared memory in bytes, of which a
# block takes 1,024 more than it asks for, in runs of 128 (CUDA C++ Programming Guide, "Compute Capabilities").
WARPS, BLOCKS, REGISTERS = 64, 32, 65_536
SHARED = {"sm_80": 164 * 1024, "sm_90": 228 * 1024}
TENSOR = [(factors, result, columns) for factors, result in ((32, 32), (16, 32), (16, 16)) for columns in (128, 64)]

# Of an H100: bytes a second of its memory; FLOP/s that mma.sync is said to reach (63-65 % of the peak).
MEMORY = 3.35e12
RATES = {"tf32": 310e12, "bf16": 620e12}
BYTES = {"tf32": 4, "bf16": 2}  # of a number of an activation
DEEPER = LAYERS[2:]  # the five layers of resnet9
MODELS, BATCHES, CLASSES, IMAGE = ("resnet9", "convnet", "vit_small"), (128, 512), 100, (32, 32, 3)


# ---------------------------------------------------------------- kernels
class Use(NamedTuple):
    """What a kernel takes, and how it is launched."""

    file: str
    kernel: str
    variant: str
    architecture: str
    registers: int
    spilled: int  # bytes, stored or loaded
    stack: int
    shared: int  # bytes a block, with what a launch asks for
    threads: int

    @property
    def blocks(self) -> int:
        return blocks_of_an_sm(self.architecture, self.registers, self.shared, self.threads)


def blocks_of_an_sm(architecture: str, registers: int, shared: int, threads: int) -> int:
    """How many blocks an SM runs at once."""
    warps = -(-threads // 32)
    of_a_warp = -(-registers * 32 // 256) * 256
    of_a_block = -(-(shared + 1024) // 128) * 128
    # A quarter of the registers belongs to each of an SM's four schedulers.
    by_registers = REGISTERS // 4 // of_a_warp * 4 // warps
    return min(BLOCKS, WARPS // warps, by_registers, SHARED[architecture] // of_a_block)


def variants() -> Iterator[tuple[str, str, tuple[str, ...], int, int]]:
    """(file, variant, options, threads of a block, bytes of shared memory that a launch asks for) of each."""
    for file in cuda.files():
        if file != "conv_tensor":
            for kind, variant in (("f", ""), (cuda.BF16, "activations in bfloat16")):
                if kind in cuda.kinds(file):
                    yield file, variant, cuda.options(kind), cuda.BLOCK, 0
    for factors, result, columns in TENSOR:
        slices = conv.STAGES * (conv.ROWS + columns) * conv.LINE
        places = max(conv.ROWS + 9, 2 * conv.LINE * 8 // factors)  # of a 3x3 kernel
        options = *cuda.options("f"), *conv.tensor_options(factors, result, columns)
        name = f"{'tf32' if factors == 32 else 'bf16'}, {result} bits out, {columns} wide"
        yield "conv_tensor", name, options, columns, slices + conv.PLACE * places


SAID = re.compile(
    r"entry function '(?P<kernel>\w+)'.*?(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)


def uses(nvrtc: Any) -> list[Use]:
    """All kernels for floats, for each architecture."""
    found = []
    for file, variant, options, threads, asked in variants():
        for architecture in ARCHITECTURES:
            more = f"--gpu-architecture={architecture}", "--ptxas-options=-v"
            log, cubin = compiled(nvrtc, cuda.source(file), (*options, *more))
            if not cubin:
                raise BenchmarkError(f"{file}.cu does not compile for {architecture}:\n{log}")
            for said in SAID.finditer(log):
                static = re.search(r"(\d+) bytes smem", said["rest"])
                spilled = int(said["stores"]) + int(said["loads"])
                sizes = int(said["registers"]), spilled, int(said["stack"]), asked + int(static[1] if static else 0)
                found.append(Use(file, said["kernel"], variant, architecture, *sizes, threads))
    return sorted(found)


def kernel_rows(found: Sequence[Use]) -> list[list[str]]:
    """A row a kernel, with both architectures."""
    rows: dict[tuple[str, str, str], list[Use]] = {}
    for use in found:
        rows.setdefault((use.file, use.kernel, use.variant), []).append(use)
    return [
        [
            file,
            kernel + (f" ({variant})" if variant else ""),
            each(both, "registers"),
            each(both, "spilled"),
            each(both, "shared"),
            str(both[0].threads),
            each(both, "blocks"),
            " / ".join(f"{use.blocks * use.threads // 32}" for use in both),
        ]
        for (file, kernel, variant), both in rows.items()
    ]


def each(both: Sequence[Use], name: str) -> str:
    """One number where both architectures have the same."""
    return " / ".join(dict.fromkeys(f"{getattr(use, name):,}" for use in both))


# ---------------------------------------------------------------- floors
class Work(NamedTuple):
    """Of one pass over a layer: FLOP, and numbers that have to be read or written."""

    flop: float
    numbers: float


def seconds(work: Work, precision: str) -> float:
    """Whatever is longer."""
    return max(work.flop / RATES[precision], work.numbers * BYTES[precision] / MEMORY)


def convolution(layer: str, images: int) -> list[Work]:
    """Output and both gradients of a 3x3 convolution C>F@SIDE: each reads two of x, w, dy and writes the third."""
    channels, _, rest = layer.partition(">")
    filters, _, side = rest.partition("@")
    c, f, positions = int(channels), int(filters), images * int(side) ** 2
    return 3 * [Work(2 * positions * 9 * c * f, positions * (c + f) + 9 * c * f)]


def passes(model: Model, images: int) -> list[Work]:
    """Those forward and backward through a model; each layer reads and writes its arrays once."""
    seen: list[tuple[Any, int, int, tuple[int, ...]]] = []

    def watched(layer: Any) -> Any:
        forward = layer.forward

        def call(x: Any, **options: Any) -> Any:
            y, cache = forward(x, **options)
            seen.append((layer, x[0].size, y[0].size, x.shape[1:]))
            return y, cache

        return call

    for layer in all_layers(model.trunk):
        if isinstance(layer, Residual) or not (layer.children() or isinstance(layer, Flatten)):
            layer.forward = watched(layer)  # type: ignore[method-assign]
    model.trunk.forward(np.zeros((2, *model.input_shape), np.float32), train=True, rng=Rng(0).at(0))

    result = []
    for layer, read, written, shape in seen:
        flop, weights = 2.0 * images * layer.macs(shape), sum(p.size for _, p in leaves(layer.params))
        if isinstance(layer, Residual):  # its sums, forward and backward
            result += 2 * [Work(0, images * 3 * read)]
        elif flop:
            first = len(shape) == 3 and shape == model.input_shape  # nobody needs the gradient of the images
            result += (2 if first else 3) * [Work(flop, images * (read + written) + weights)]
        else:
            result += [Work(0, images * (read + written)), Work(0, images * (2 * read + written))]
    head = Work(2.0 * images * model.head.macs(), images * (model.head.features + CLASSES))
    return [*result, *3 * [head]]


SIDES = {"tf32": (OURS, TORCH), "bf16": (OURS_BF16, TORCH_BF16)}
FLOOR_COLUMNS = ["floor tf32", "npsoftmax", "torch", "floor bf16", "npsoftmax", "torch"]


def floors() -> dict[str, dict[str, float]]:
    """Seconds by layer or model with its batch, and precision."""
    found = {
        f"convolution {layer} 512": {p: sum(seconds(work, p) for work in convolution(layer, 512)) for p in RATES}
        for layer in DEEPER
    }
    for name in MODELS:
        for images in BATCHES:
            model = build_model(name, "softmax", CLASSES, IMAGE)
            work = passes(model, images)
            update = 5 * 4 * model.parameter_count() / MEMORY  # p, g, momentum in float32: three read, two written
            found[f"train {name} {images}"] = {p: sum(seconds(w, p) for w in work) + update for p in RATES}
    return found


def floor_rows(found: dict[str, dict[str, float]], measured: dict[str, Any], task: str) -> list[list[str]]:
    """Milliseconds; measured ones with how many times the floor they are."""
    rows = []
    for key, of in found.items():
        if not key.startswith(task):
            continue
        row = [" ".join(key.split()[1:])] if task == "train" else [key.split()[1]]
        for precision, sides in SIDES.items():
            row.append(f"{1e3 * of[precision]:.3f}")
            for side in sides:
                taken = measured[f"{side} {key}"]["median"]
                row.append(f"{1e3 * taken:.3f} ({taken / of[precision]:.1f})")
        rows.append(row)
    return rows


# ---------------------------------------------------------------- the page
KERNEL_COLUMNS = [
    "file",
    "kernel",
    "registers",
    "bytes spilled",
    "bytes shared",
    "threads",
    "blocks an SM",
    "warps of 64",
]


def page(version: str, found: Sequence[Use], floor: dict[str, dict[str, float]]) -> str:
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))["steps"]
    shown = kernel_rows(found)
    return f"""# CUDA kernels without a device

Made by `python benchmarks/gpu_kernels.py`, which needs no GPU; what the columns mean: [docs/gpu.md](../gpu.md).

## Registers, spills, shared memory, and how much of a device that leaves

NVRTC {version}, for floats, compute capability 8.0 (A100) / 9.0 (H100); one number where both are the same.

{markdown(KERNEL_COLUMNS, shown)}

## Floors

Milliseconds on an H100. A floor is the longer of two times, summed over the passes: the products at
{RATES["tf32"] / 1e12:.0f} TFLOP/s (TF32) or {RATES["bf16"] / 1e12:.0f} (bf16), which `mma.sync` is said to reach, and
the arrays of a pass, each once, at {MEMORY / 1e12:.2f} TB/s, those of activations in bf16 with half the bytes. In
brackets: how many times the floor was measured.

**What was measured is older than the kernels above**: one round at commit 919cc55 ([the table](gpu.md)), before the
convolutions by tensor cores were written anew.

A 3x3 convolution with both gradients, 512 images:

{markdown(["convolution", *FLOOR_COLUMNS], floor_rows(floor, measured, "convolution"))}

A full training step; layers as the model has them, so that a kernel that does the work of two can be quicker:

{markdown(["model, images", *FLOOR_COLUMNS], floor_rows(floor, measured, "train"))}
"""


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=new_file, metavar="FILE")
    parser.add_argument("--markdown", type=new_file, metavar="FILE")
    args = parser.parse_args(argv)
    known = compiler()
    if known is None:
        raise BenchmarkError("NVRTC is not installed; type pip install nvidia-cuda-nvrtc-cu12.")
    nvrtc, version = known
    found, floor = uses(nvrtc), floors()
    print(table(KERNEL_COLUMNS, kernel_rows(found), 2))
    if args.markdown:
        args.markdown.write_text(page(version, found, floor), encoding="utf-8")
    if args.json:
        kernels = [{**use._asdict(), "blocks": use.blocks} for use in found]
        content = {"compiler": f"NVRTC {version}", "kernels": kernels, "floors": floor}
        args.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BenchmarkError as error:
        sys.exit(f"error: {error}")
