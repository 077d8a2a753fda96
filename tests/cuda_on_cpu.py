"""CUDA kernels compiled as C++ for the CPU and run there, with cuda_on_cpu.h in the place of a device.

Arrays are copied between guards: a kernel that writes beside one is found out, and one that reads there reads NaN (or
a number no index can be). Scalars must have just the type of the parameter, as on a device, where nobody converts them.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

COMPILER = shutil.which("g++") or shutil.which("clang++")
HEADER = Path(__file__).with_name("cuda_on_cpu.h")
FEED = Path(__file__).with_name("cuda_feed.cpp")
FLAGS = ("-std=c++14", "-O1", "-fPIC", "-ffp-contract=off", "-Wall", "-Wextra", "-Wconversion", "-Werror")
# What the header and kernels that use some of it may do.
FLAGS += ("-Wno-unused-function", "-Wno-unused-variable", "-Wno-unknown-pragmas", "-Wno-float-conversion")
# As a device's compiler does it: one instruction, and one rounding, for a product and a sum.
CONTRACTED = ("-O2", "-ffp-contract=fast", *["-mfma"] * (platform.machine().lower() in ("x86_64", "amd64")))
# Every load and store is announced to cuda_feed.cpp, which says what it was for a warp.
COUNTED = ("-Og", "-gdwarf-4", "-DCOUNTED", "-fsanitize=thread", "--param", "tsan-instrument-func-entry-exit=0")
FOLDER = Path(tempfile.gettempdir()) / "npsoftmax-kernels-on-cpu"

SIGNATURE = re.compile(r"KERNEL\s+(\w+)\s*\(([^)]*)\)\s*\{")
HELPER = re.compile(r"__device__ inline \w+ (\w+)\s*\([^)]*\)\s*\{")
SCALARS = {"int": np.int32, "unsigned": np.uint32, "long long": np.int64, "unsigned long long": np.uint64}
SCALARS |= {"unsigned char": np.uint8, "unsigned short": np.uint16, "float": np.float32, "double": np.float64}
GUARD = 64  # bytes on either side of an array
MOST_SHARED = 101376  # bytes of shared memory that every device from compute capability 8.0 on gives to a block
ALIGNED = 256  # a device's arrays begin at multiples of it

# (library, code, kernel, names of its arrays): who takes what was counted (cuda_feed.py), if it is to be counted.
counter: Callable[[ctypes.CDLL, str, str, list[str]], None] | None = None


class KernelError(AssertionError):
    """A kernel was called wrongly, or did what no kernel may."""


@functools.cache
def parameters(code: str) -> dict[str, list[tuple[str, bool, bool, str]]]:
    """name of a kernel -> (type, whether it is a pointer, whether it may not be written to, name) of each parameter."""
    found = {}
    for name, text in SIGNATURE.findall(code):
        fields = [" ".join(field.split()) for field in text.split(",")]
        found[name] = []
        for field in fields:
            kind, _, label = field.replace("*", "* ").rpartition(" ")
            found[name].append(
                (kind.replace("const", "").replace("*", "").strip(), "*" in field, "const" in field, label)
            )
    return found


@functools.cache
def with_barriers(code: str) -> frozenset[str]:
    """The kernels of a file that come to a barrier, in a function that they call or themselves."""
    bodies = {match[1]: body_at(code, match.end()) for match in SIGNATURE.finditer(code)}
    helpers = {match[1]: body_at(code, match.end()) for match in HELPER.finditer(code)}
    waiting = {"__syncthreads", "mma_tf32", "mma_bf16"}  # products of a warp wait for its lanes
    while more := {name for name, body in helpers.items() if any(w in body for w in waiting)} - waiting:
        waiting |= more
    return frozenset(name for name, body in bodies.items() if any(w in body for w in waiting))


def body_at(code: str, start: int) -> str:
    """What stands between the brace before `start` and the one that closes it."""
    depth, end = 1, start
    while depth:
        depth += {"{": 1, "}": -1}.get(code[end], 0)
        end += 1
    return code[start:end]


def as_cpp(code: str) -> str:
    """The file with a function for each kernel that takes its arguments from an array of addresses."""
    parts = [f'#include "{HEADER}"\n', code, "\n"]
    for name, fields in parameters(code).items():
        places = [f"*({kind}{'*' if pointer else ''}*)given[{i}]" for i, (kind, pointer, _, _) in enumerate(fields)]
        parts.append(
            f"static void** given_{name};\nstatic void thread_of_{name}() {{ void** given = given_{name}; "
            f"{name}({', '.join(places)}); }}\n"
            f'extern "C" int run_{name}(void** given, const unsigned* grid, unsigned block, unsigned shared, '
            f"int barriers, int falling) {{ given_{name} = given; "
            f"return launch(thread_of_{name}, grid, block, shared, barriers != 0, falling != 0); }}\n"
        )
    return "".join(parts)


@functools.cache
def build(code: str, options: tuple[str, ...], counted: bool = False) -> ctypes.CDLL:
    """The compiled file, perhaps one that counts. KernelError with the compiler's words where it is none."""
    defines = tuple(option for option in options if option.startswith(("-D", *CONTRACTED)))
    if not counted:
        return ctypes.CDLL(compiled("so", as_cpp(code), "-shared", *defines))
    kernels = compiled("o", as_cpp(code), *COUNTED, *defines, "-c")
    return ctypes.CDLL(compiled("so", "", "-shared", compiled("o", FEED.read_text(), "-c"), kernels))


def compiled(kind: str, text: str, *options: str) -> str:
    """What the compiler makes of a text: a file of that kind, which is kept."""
    key = hashlib.sha256(repr((text, HEADER.read_text(), FLAGS, options)).encode()).hexdigest()[:20]
    result = FOLDER / f"{key}.{kind}"
    if not result.exists():
        FOLDER.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            source, made = Path(folder) / "kernels.cpp", Path(folder) / f"kernels.{kind}"
            source.write_text(text)
            done = subprocess.run([COMPILER, *FLAGS, *options, source, "-o", made], capture_output=True, text=True)
            if done.returncode:
                raise KernelError(f"the kernels do not compile:\n{done.stderr}")
            made.rename(result)
    return str(result)


def named_types(options: tuple[str, ...]) -> dict[str, type[np.generic]]:
    """The types that files name themselves, as the compiler's options have them; the last two are conv_tensor.cu's."""
    real = np.float32 if "-DREAL=float" in options else np.float64
    return {
        "real": real,
        "stored": np.uint16 if "-DBF16" in options else real,
        "number": np.uint16 if "-DFACTORS=16" in options else np.float32,
        "result": np.uint16 if "-DRESULT=16" in options else np.float32,
    }


class Guarded:
    """A copy of an array between guards."""

    def __init__(self, array: np.ndarray, where: str):
        if not array.flags.c_contiguous:
            raise KernelError(f"{where} is not contiguous")
        self.array, self.where, self.written = array, where, False
        room = np.full(array.nbytes + 2 * GUARD + ALIGNED, 0xFF, np.uint8)
        self.room = room[-(room.ctypes.data + GUARD) % ALIGNED :]
        self.room[GUARD : GUARD + array.nbytes] = array.reshape(-1).view(np.uint8)
        self.address = self.room.ctypes.data + GUARD

    def give_back(self) -> None:
        inside = self.room[GUARD : GUARD + self.array.nbytes]
        if (self.room[:GUARD] != 0xFF).any() or (self.room[GUARD + self.array.nbytes :] != 0xFF).any():
            raise KernelError(f"{self.where} was written to outside of it")
        if self.written:
            self.array.reshape(-1).view(np.uint8)[...] = inside


def run(code: str, options: tuple[str, ...], name: str, grid, block, args, *, shared=0, falling=False) -> None:
    """Run a kernel. args: NumPy arrays, NumPy scalars of the parameters' very types, and intp(0) for a null pointer.

    shared: bytes of dynamic shared memory. falling: the threads of a block run the last one first.
    """
    fields = parameters(code).get(name)
    if fields is None:
        raise KernelError(f"there is no kernel {name}")
    if len(args) != len(fields):
        raise KernelError(f"{name} takes {len(fields)} arguments, not {len(args)}")
    types = SCALARS | named_types(options)
    kept: list = []
    addresses = (ctypes.c_void_p * len(args))()
    same: dict[int, Guarded] = {}
    for i, ((kind, pointer, constant, label), value) in enumerate(zip(fields, args, strict=True)):
        wanted, where = np.dtype(types[kind]), f"{label} of {name}"
        if pointer and isinstance(value, np.ndarray):
            if value.dtype != wanted:
                raise KernelError(f"{where} points to {wanted}, but was given {value.dtype}")
            key = value.__array_interface__["data"][0]
            guarded = same.setdefault(key, Guarded(value, where)) if value.size else Guarded(value, where)
            guarded.written |= not constant
            kept += [guarded, held := ctypes.c_void_p(guarded.address)]
        elif pointer:
            if not isinstance(value, np.intp) or value != 0:
                raise KernelError(f"{where} is a pointer, but was given {value!r}")
            kept.append(held := ctypes.c_void_p(0))
        else:
            if not isinstance(value, np.generic) or value.dtype != wanted:
                raise KernelError(f"{where} is a {wanted}, but was given {type(value).__name__} {value!r}")
            kept.append(held := np.array(value))
            addresses[i] = held.ctypes.data
            continue
        addresses[i] = ctypes.addressof(held)
    sizes = (ctypes.c_uint * 2)(*(*grid, 1)[:2])
    if min(sizes) < 1 or sizes[1] > 65535 or len(grid) > 2 or block[1:] not in ((), (1,), (1, 1)):
        raise KernelError(f"{name} cannot be launched on a grid of {grid} blocks of {block}")
    if not 0 <= shared <= MOST_SHARED:
        raise KernelError(f"{name} asks for {shared} bytes of shared memory, but a block has {MOST_SHARED} at most")
    library = build(code, options, counter is not None)
    library.know_array(None, None)
    arrays = [thing for thing in kept if isinstance(thing, Guarded)]
    for guarded in arrays:
        address = guarded.address
        library.know_array(ctypes.c_void_p(address), ctypes.c_void_p(address + guarded.array.nbytes))
    function, numbers = getattr(library, f"run_{name}"), (ctypes.c_uint(block[0]), ctypes.c_uint(shared))
    failed = function(addresses, sizes, *numbers, name in with_barriers(code), falling)
    if failed == 1:
        raise KernelError(f"{name} has a barrier that some threads of a block do not come to")
    if failed:
        raise KernelError(f"{name} writes beyond the {shared} bytes of shared memory that it was given")
    if library.has_strayed():
        raise KernelError(f"{name} fetches from outside of its arrays, or not from a multiple of 16 bytes")
    for guarded in arrays:
        guarded.give_back()
    if counter is not None:
        counter(library, code, name, [guarded.where.split()[0] for guarded in arrays])
