"""NumPy or CuPy, at the edges: what an array is, where it lives, and how precisely a device multiplies.

Design: the array decides. Code below the edges starts with `xp = array_module(x)` and never asks for a backend;
`get_backend` is called once, where parameters and batches are made. There is no global switch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from npsoftmax.bfloat16 import BFloat16
from npsoftmax.errors import InputError, unknown_name


class Array(Protocol):
    """What a pass asks of an array. numpy.ndarray and cupy.ndarray have all of it; a list, a number and None do not.

    Methods stand here by name alone: their arguments are those that NumPy and CuPy share.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    @property
    def ndim(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def itemsize(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def strides(self) -> tuple[int, ...]: ...
    @property
    def flags(self) -> Any: ...
    @property
    def data(self) -> Any: ...
    @property
    def T(self) -> Any: ...
    @property
    def reshape(self) -> Callable[..., Any]: ...
    @property
    def ravel(self) -> Callable[..., Any]: ...
    @property
    def transpose(self) -> Callable[..., Any]: ...
    @property
    def swapaxes(self) -> Callable[..., Any]: ...
    @property
    def astype(self) -> Callable[..., Any]: ...
    @property
    def copy(self) -> Callable[..., Any]: ...
    @property
    def sum(self) -> Callable[..., Any]: ...
    @property
    def mean(self) -> Callable[..., Any]: ...
    @property
    def max(self) -> Callable[..., Any]: ...
    @property
    def min(self) -> Callable[..., Any]: ...
    @property
    def argmax(self) -> Callable[..., Any]: ...
    @property
    def argmin(self) -> Callable[..., Any]: ...
    @property
    def any(self) -> Callable[..., Any]: ...
    @property
    def all(self) -> Callable[..., Any]: ...
    @property
    def item(self) -> Callable[..., Any]: ...
    @property
    def tolist(self) -> Callable[..., Any]: ...

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __getitem__(self, key: Any, /) -> Any: ...
    def __setitem__(self, key: Any, value: Any, /) -> None: ...
    def __float__(self) -> float: ...
    def __int__(self) -> int: ...
    def __neg__(self) -> Any: ...
    def __invert__(self) -> Any: ...
    def __eq__(self, other: object, /) -> Any: ...
    def __ne__(self, other: object, /) -> Any: ...
    def __add__(self, other: Any, /) -> Any: ...
    def __radd__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __rsub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __rmul__(self, other: Any, /) -> Any: ...
    def __truediv__(self, other: Any, /) -> Any: ...
    def __rtruediv__(self, other: Any, /) -> Any: ...
    def __floordiv__(self, other: Any, /) -> Any: ...
    def __mod__(self, other: Any, /) -> Any: ...
    def __pow__(self, other: Any, /) -> Any: ...
    def __matmul__(self, other: Any, /) -> Any: ...
    def __and__(self, other: Any, /) -> Any: ...
    def __or__(self, other: Any, /) -> Any: ...
    def __lt__(self, other: Any, /) -> Any: ...
    def __le__(self, other: Any, /) -> Any: ...
    def __gt__(self, other: Any, /) -> Any: ...
    def __ge__(self, other: Any, /) -> Any: ...


BACKENDS = ("numpy", "cupy")
PRECISIONS = ("auto", "fp32", "tf32", "bf16")
TENSOR_CORES_SINCE = 80  # compute capability 8.0: the first whose tensor cores take tf32 and bf16


def array_module(x: object) -> Any:
    """The module (numpy or cupy) that array `x` belongs to; whatever is no array (a number, a list) is NumPy's.

    Of another library's array, which `any_array` handed in, its own functions under NumPy's names.
    """
    if isinstance(x, np.ndarray):
        return np
    if isinstance(x, BFloat16):
        x = x.bits
    module = sys.modules.get(type(x).__module__.partition(".")[0])
    return module if isinstance(x, getattr(module, "ndarray", ())) else getattr(x, "numpy_words", np)


def at_hand(x: object) -> bool:
    """Whether the numbers of array `x` lie in host memory, so that looking at them makes no step wait for a device."""
    return isinstance(x, np.ndarray) or getattr(x, "on_host", False)


def to_numpy(x: Array | float) -> np.ndarray:
    """A NumPy copy of a device array; NumPy arrays and scalars pass through. InputError for what is no array."""
    try:
        return x.get() if hasattr(x, "get") and not isinstance(x, dict) else np.asarray(x)
    except ValueError as error:  # rows of different lengths
        raise InputError(f"a {type(x).__name__} was given that is no array: {error}") from error


@dataclass(frozen=True)
class Backend:
    """Where arrays live: `xp` creates them, `asarray` moves them there, `synchronize` waits for the device.

    device: its number; precision: that of products of float32 matrices there, "fp32", "tf32" or "bf16".
    """

    name: str
    xp: Any
    device: int = 0
    precision: str = "fp32"

    @property
    def on_host(self) -> bool:
        return self.name == "numpy"

    def asarray(self, x: Array, dtype: Any = None) -> Array:
        return self.xp.asarray(x, dtype=dtype)

    def synchronize(self) -> None:
        if not self.on_host:
            self.xp.cuda.Device().synchronize()

    @property
    def out_of_memory(self) -> tuple[type[BaseException], ...]:
        """What is raised where an array does not fit the device; nothing on the host."""
        return () if self.on_host else (self.xp.cuda.memory.OutOfMemoryError,)

    def free_memory(self) -> None:
        """Give what no array holds back to the device."""
        if not self.on_host:
            self.xp.get_default_memory_pool().free_all_blocks()

    def memory(self) -> dict[str, int]:
        """Bytes that arrays hold on the device now, and that CuPy took for them: about the most they ever held."""
        if self.on_host:
            return {}
        pool = self.xp.get_default_memory_pool()
        return {"device_bytes_used": pool.used_bytes(), "device_bytes_held": pool.total_bytes()}

    def describe(self) -> dict[str, Any]:
        """The device and its software, for env.json; nothing on the host."""
        if self.on_host:
            return {}
        runtime = self.xp.cuda.runtime
        properties = runtime.getDeviceProperties(self.device)
        return {
            "device": properties["name"].decode(),
            "device_number": self.device,
            "device_memory": properties["totalGlobalMem"],
            "driver": _cuda_version(runtime.driverGetVersion()),
            "cuda": _cuda_version(runtime.runtimeGetVersion()),
            "cupy": self.xp.__version__,
            "precision": self.precision,
        }


def _cuda_version(number: int) -> str:
    """12080 -> "12.8": the CUDA version of a library, or the newest that a driver can run."""
    return f"{number // 1000}.{number % 1000 // 10}"


def get_backend(name: str = "numpy", device: int = 0, precision: str = "auto") -> Backend:
    """The backend called `name`; for "cupy", device number `device` is made current.

    precision: of products of float32 matrices on a device, for the whole process. "fp32": in full. "tf32": by tensor
    cores, whose factors have 10 bits after the point and not 23; about ten times as fast. "bf16": by tensor cores, with
    factors of 7 bits, as many as a network's activations then have (`npsoftmax.autocast`); sums and parameters stay
    float32. "auto": tf32 where there is such hardware. NumPy always computes in full. Raises InputError that says what
    is missing (CuPy, a driver, a device, the hardware) and what to do.
    """
    if precision not in PRECISIONS:
        raise unknown_name("--precision", precision, PRECISIONS)
    if name == "numpy":
        if precision in ("tf32", "bf16"):
            raise InputError(f"--precision {precision} is for NVIDIA GPUs; add --backend cupy, or leave it out.")
        return Backend("numpy", np)
    if name != "cupy":
        raise unknown_name("backend", name, BACKENDS)
    cupy = _import_cupy()
    count = _count_devices(cupy)
    if not 0 <= device < count:
        raise InputError(f"--backend cupy: device {device} was asked for, but there are {count} (0 to {count - 1}).")
    cupy.cuda.Device(device).use()
    return Backend("cupy", cupy, device, _set_precision(cupy, device, precision))


def device_count() -> int:
    """NVIDIA GPUs that this process may use. InputError where there is no CuPy, no driver or none of them."""
    return _count_devices(_import_cupy())


def _import_cupy() -> Any:
    try:
        import cupy
    except ModuleNotFoundError as error:
        raise InputError(
            "CuPy is not installed, so --backend cupy cannot run. With an NVIDIA GPU, type "
            'pip install "npsoftmax[cuda12]" '
            "(CUDA 12) or [cuda13]; without one, use --backend numpy."
        ) from error
    except ImportError as error:
        raise InputError(
            f"--backend cupy: CuPy is installed, but cannot be loaded ({str(error).strip().splitlines()[-1]}). "
            "Have only one of its packages, for the CUDA version that nvidia-smi shows: cupy-cuda12x or cupy-cuda13x."
        ) from error
    return cupy


def _count_devices(cupy: Any) -> int:
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        if "InsufficientDriver" in str(error):
            raise InputError(
                f"--backend cupy: CuPy {cupy.__version__} finds no NVIDIA driver, or one too old for its CUDA version "
                f"({error}). Run nvidia-smi: it shows the newest CUDA that the driver can run; install the CuPy for "
                "it, or a newer driver, or use --backend numpy."
            ) from error
        raise InputError(
            f"--backend cupy: CuPy is installed but found no usable CUDA driver or GPU ({error}). "
            "Run nvidia-smi to see the driver; use --backend numpy on this machine."
        ) from error
    if count == 0:
        raise InputError(
            "--backend cupy: there is a CUDA driver, but no GPU that this process may use. Run nvidia-smi, and see "
            "whether CUDA_VISIBLE_DEVICES hides it; use --backend numpy on this machine."
        )
    return count


_device_precision = "fp32"


def device_precision() -> str:
    """That of products of float32 matrices on the device: "fp32", "tf32" or "bf16"."""
    return _device_precision


def _set_precision(cupy: Any, device: int, wanted: str) -> str:
    """Tell CuPy and the kernels, and return what it is to be."""
    global _device_precision
    capability = cupy.cuda.Device(device).compute_capability  # "80" is 8.0, "120" is 12.0
    able = int(capability) >= TENSOR_CORES_SINCE
    if wanted in ("tf32", "bf16") and not able:
        raise InputError(
            f"--precision {wanted} needs a GPU of compute capability 8.0 or higher, but device {device} has "
            f"{capability[:-1]}.{capability[-1]}; use --precision fp32."
        )
    chosen = wanted if wanted != "auto" else "tf32" if able else "fp32"
    # CuPy knows of no bf16 products of float32 matrices: those are the kernels' own, and what is left is tf32.
    kinds = cupy._core._routines_linalg
    kind = kinds.COMPUTE_TYPE_DEFAULT if chosen == "fp32" else kinds.COMPUTE_TYPE_TF32
    cupy._core.set_compute_type(np.float32, kind)
    _device_precision = chosen
    return chosen
