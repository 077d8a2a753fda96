"""A stand-in for CuPy in host memory that is as strict at the edges as CuPy, and stricter where that finds mistakes.

Its arrays do not mix with NumPy's, convert to them only by `get` (or `item`, `float` and the like, which wait for a
device), and have the functions that CuPy has and nothing else. Fresh memory holds NaN. It knows how often the device
device would have been waited for, and can refuse that. Kernels run on the CPU (cuda_on_cpu), or there are none of them.
While a stream is captured nothing runs: it is recorded (strict_graph), and runs when the graph is launched.
"""

from __future__ import annotations

import contextlib
import operator
import types
import weakref
from typing import ClassVar

import cuda_on_cpu
import numpy as np
import strict_cublas
import strict_graph

SCALARS = (bool, int, float, np.generic)
words = str.split


class Synchronised(AssertionError):
    """The device was waited for where that is forbidden."""


class Flags:
    def __init__(self, flags):
        self.c_contiguous, self.f_contiguous = flags.c_contiguous, flags.f_contiguous


class ndarray:
    """An array on the pretended device; `_a` is its memory."""

    __module__ = "cupy"
    __array_ufunc__ = None  # np.add(x, 1) and the like raise TypeError
    __hash__ = None
    waits = strict_graph.waited
    forbidden = False

    def __init__(self, a):
        self._a, self._memory = a, strict_graph.Memory.of(a)

    # ------------------------------------------------------------ the way out
    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Use `.get()` instead.")

    def __array_function__(self, function, *_):
        raise TypeError(f"numpy.{function.__name__} was called with an array of the device")

    def _wait(self, what):
        strict_graph.refuse(f"{what} waits for the device")
        if ndarray.forbidden:
            raise Synchronised(f"{what} waits for the device")
        ndarray.waits.append(what)
        strict_graph.counts["waits"] += 1
        strict_graph.counts["copies out"] += 1
        return self._a

    def get(self, stream=None, order="C", out=None, blocking=True):
        if blocking:
            found = self._wait("get").copy()
            if out is None:
                return found
            out[...] = found
            return out
        if (
            not isinstance(out, np.ndarray)
            or id(out) not in PINNED
            or (out.shape, out.dtype) != (self.shape, self.dtype)
        ):
            raise TypeError("a copy that is not waited for goes to pinned memory of the same shape and type")
        strict_graph.refuse("a copy from the device")
        strict_graph.counts["copies out"] += 1
        strict_graph.poison(out)
        strict_graph.pending.append((out, self._a.copy()))
        return out

    def set(self, a):
        strict_graph.refuse("a copy to the device")
        strict_graph.counts["copies in"] += 1
        if not isinstance(a, np.ndarray) or (a.shape, a.dtype) != (self._a.shape, self._a.dtype):
            raise TypeError("only a NumPy array of the same shape and type can be set to an array of the device.")
        self._a[...] = a

    def item(self):
        return self._wait("item").item()

    def tolist(self):
        return self._wait("tolist").tolist()

    def __float__(self):
        return float(self._wait("float"))

    def __int__(self):
        return int(self._wait("int"))

    def __bool__(self):
        return bool(self._wait("bool"))

    def __index__(self):
        return operator.index(self._wait("index").item())

    # ------------------------------------------------------------ what an array knows of itself
    shape = property(lambda self: self._a.shape)
    dtype = property(lambda self: self._a.dtype)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    nbytes = property(lambda self: self._a.nbytes)
    itemsize = property(lambda self: self._a.itemsize)
    strides = property(lambda self: self._a.strides)
    flags = property(lambda self: Flags(self._a.flags))
    data = property(lambda self: types.SimpleNamespace(ptr=self._a.ctypes.data))
    T = property(lambda self: ndarray(self._a.T))

    def __len__(self):
        return len(self._a)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return f"strict_cupy.ndarray{self.shape} of {self.dtype}"

    # ------------------------------------------------------------ elements
    def __getitem__(self, key):
        found = self._key(key)
        parts = found if isinstance(found, tuple) else (found,)
        if not any(isinstance(part, ndarray) for part in (key if isinstance(key, tuple) else (key,))):
            whole = () if any(part is Ellipsis for part in parts) else (Ellipsis,)  # a single number is a view too
            return ndarray(self._a[(*parts, *whole)])
        return wrapped(strict_graph.compute(lambda a, *parts: a[parts], (self._a, *parts), {}, "take"))

    def __setitem__(self, key, value):
        found, value, a = self._key(key, isinstance(value, ndarray) and value.ndim), inside(value), self._a
        parts = [*(found if isinstance(found, tuple) else (found,)), value, a]
        memories = [strict_graph.Memory.of(part) for part in parts if isinstance(part, np.ndarray)]
        strict_graph.run(lambda: operator.setitem(a, found, value), "set", memories)

    def _key(self, key, waits=True):
        parts = key if isinstance(key, tuple) else (key,)
        for part in parts:
            allowed = part is None or part is Ellipsis or isinstance(part, slice | int | np.integer | ndarray)
            if not allowed or isinstance(part, bool):
                raise TypeError(f"{type(part).__name__} is no index of an array on a device")
            if isinstance(part, ndarray) and part.dtype == bool and waits:
                self._wait("a boolean index")
        found = tuple(part._a if isinstance(part, ndarray) else part for part in parts)
        return found if isinstance(key, tuple) else found[0]

    def astype(self, dtype, copy=True):
        if not copy and self._a.dtype == dtype:
            return ndarray(self._a)
        return wrapped(strict_graph.compute(lambda a: a.astype(dtype), (self._a,), {}, "astype"))

    def copy(self):
        return wrapped(strict_graph.compute(np.copy, (self._a,), {}, "copy"))

    def reshape(self, *shape):
        return viewed(self._a.reshape(*shape), self._a, lambda a: a.reshape(*shape))

    def transpose(self, *axes):
        return ndarray(self._a.transpose(*axes))

    def view(self, dtype):
        return ndarray(self._a.view(dtype))

    def swapaxes(self, a, b):
        return ndarray(self._a.swapaxes(a, b))

    def ravel(self):
        return viewed(self._a.ravel(), self._a, np.ravel)


def inside(x):
    """The memory of an operand; TypeError for what CuPy takes none of."""
    if isinstance(x, ndarray):
        return x._a
    if isinstance(x, SCALARS):
        return x
    raise TypeError(f"Unsupported type {type(x)}")


def wrapped(x):
    return ndarray(x if isinstance(x, np.ndarray) else np.asarray(x))


def viewed(found, a, again):
    """What shows memory of `a`, which nobody has to compute; or, where it is a copy, that by `again`."""
    if not found.size or np.may_share_memory(found, a):
        return ndarray(found)
    return wrapped(strict_graph.compute(again, (a,), {}, "copy"))


def _unwrapped(x):
    """An argument of a function: an operand, or lists and tuples of them, or what is no array at all."""
    if isinstance(x, ndarray):
        return x._a
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}")
    return type(x)(map(_unwrapped, x)) if type(x) in (list, tuple) else x


def _given_back(result, out):
    if out is not None:
        return out
    if isinstance(result, np.ndarray | np.generic):
        return wrapped(result)
    return tuple(map(wrapped, result)) if isinstance(result, list | tuple) else result


def function_of(name, waits=False):
    real = getattr(np, name)

    def function(*args, **options):
        if waits:
            ndarray._wait(next(a for a in args if isinstance(a, ndarray)), name)
        if name in NOT_CAPTURED:
            strict_graph.refuse(f"{name}, {NOT_CAPTURED[name]},")
        if name in ("sort", "argsort") and options.get("kind") not in (None, "stable"):
            raise ValueError(f"{name}: CuPy sorts stably and in no other way")
        out = options.get("out")
        plain, named = tuple(map(_unwrapped, args)), {key: _unwrapped(value) for key, value in options.items()}
        if name in VIEWS:
            seen = real(*plain, **named)
            if not isinstance(seen, np.ndarray) or np.may_share_memory(seen, plain[0]):
                return _given_back(seen, out)
        return _given_back(strict_graph.compute(real, plain, named, name), out)

    function.__name__ = name
    return function


def add_at(a, indices, values):
    """`cupy.add.at`: a[indices] += values, repeated indices counted each time."""
    strict_graph.refuse("add.at")
    np.add.at(inside(a), inside(indices), inside(values))


def _operator(name):
    real = getattr(operator, name)
    in_place = name.startswith("i") and name not in ("invert",)

    def apply(self, *others):
        if name in NOT_CAPTURED:
            strict_graph.refuse(f"@, {NOT_CAPTURED[name]},")
        args = self._a, *map(inside, others)
        if in_place:
            memories = [strict_graph.Memory.of(a) for a in args if isinstance(a, np.ndarray)]
            strict_graph.run(lambda: real(*args), name, memories)
            return self
        return wrapped(strict_graph.compute(real, args, {}, name))

    return apply


def _reflected(name):
    real = getattr(operator, name)
    return lambda self, other: wrapped(strict_graph.compute(real, (inside(other), self._a), {}, name))


# What no graph can hold, and why.
CUBLAS, PLACES, SORTS = "CuPy's own way to cuBLAS", "which copies addresses to the device", "which waits for the device"
NOT_CAPTURED = {
    **dict.fromkeys(("matmul", "imatmul", "einsum", "tensordot", "vdot"), CUBLAS),
    **dict.fromkeys(("concatenate", "stack", "append"), PLACES),
    **dict.fromkeys(("sort", "argsort", "partition"), SORTS),
}
VIEWS = words("transpose swapaxes reshape squeeze broadcast_to broadcast_arrays expand_dims flip")
PINNED = weakref.WeakValueDictionary()  # arrays of host memory that a device copies to by itself
BINARY = words("add sub mul truediv floordiv mod pow matmul and_ or_ xor lshift rshift")
for _name in BINARY:
    _dunder = _name.rstrip("_")
    setattr(ndarray, f"__{_dunder}__", _operator(_name))
    setattr(ndarray, f"__r{_dunder}__", _reflected(_name))
    setattr(ndarray, f"__i{_dunder}__", _operator(f"i{_dunder}"))
for _name in words("neg pos invert abs eq ne lt le gt ge"):
    setattr(ndarray, f"__{_name}__", _operator(_name))


def _method(name, waits=False):
    free = function_of(name, waits)
    return lambda self, *args, **options: free(self, *args, **options)


METHODS = words("sum mean max min prod any all argmax argmin argsort cumsum clip round squeeze repeat take var std")
for _name in METHODS:
    setattr(ndarray, _name, _method(_name))

ELEMENTWISE = words(
    "add subtract multiply divide maximum minimum exp log log1p expm1 sqrt square abs sign negative isnan isfinite "
    "isinf logical_and logical_or logical_not logaddexp sin cos tanh power floor ceil rint equal not_equal "
    "greater less where"
)
WHOLE = words(
    "sum mean max min prod any all argmax argmin cumsum concatenate stack append broadcast_to broadcast_arrays "
    "take_along_axis put_along_axis sort argsort partition searchsorted pad tile repeat einsum matmul tensordot vdot "
    "clip flip expand_dims transpose swapaxes reshape zeros_like ones_like full_like may_share_memory shares_memory"
)
WAITING = words("nonzero flatnonzero argwhere unique")
CREATION = words("zeros ones full arange eye")
NAMES = words(
    "float32 float64 int32 int64 intp uint8 uint16 uint32 uint64 bool_ generic floating integer dtype finfo iinfo inf "
    "nan pi newaxis"
)


def empty(shape, dtype=float):
    """Fresh memory, which holds NaN."""
    capture = strict_graph.Capture.now
    return ndarray(strict_graph.poison(np.empty(shape, dtype)) if capture is None else capture.room(shape, dtype))


def empty_like(x, dtype=None):
    return empty(x.shape, dtype or x.dtype)


def asarray(x, dtype=None):
    """From the host, which is the one way in, or as it is."""
    if isinstance(x, ndarray):
        return x.astype(x.dtype if dtype is None else dtype, copy=False)
    strict_graph.refuse("a copy to the device")
    strict_graph.counts["copies in"] += 1
    return ndarray(np.array(x, dtype))


def ascontiguousarray(x, dtype=None):
    a = inside(x)
    if a.flags.c_contiguous and dtype in (None, a.dtype) and a.ndim:
        return ndarray(a)
    return wrapped(strict_graph.compute(lambda a: np.ascontiguousarray(a, dtype), (a,), {}, "copy"))


# ---------------------------------------------------------------- kernels
class RawModule:
    """Kernels that run on the CPU, every other launch with the threads of a block in falling order."""

    launches = 0

    def __init__(self, *, code, options=()):
        self.code, self.options = code, tuple(options)

    def compile(self):
        cuda_on_cpu.build(self.code, self.options)

    def get_function(self, name):
        return RawKernel(self.code, self.options, name)


class RawKernel:
    """A kernel of a module. More than 48 KiB of dynamic shared memory must be allowed before, on each device."""

    def __init__(self, code, options, name):
        self._given, self._most, self._carveout = (code, options, name), {}, {}

    @property
    def max_dynamic_shared_size_bytes(self):
        return self._most.get(Device().id, 49152)

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size):
        self._most[Device().id] = size

    @property
    def preferred_shared_memory_carveout(self):
        return self._carveout.get(Device().id, -1)

    @preferred_shared_memory_carveout.setter
    def preferred_shared_memory_carveout(self, share):
        if not isinstance(share, int) or not -1 <= share <= 100:
            raise RuntimeError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        self._carveout[Device().id] = share

    def __call__(self, grid, block, args, *, shared_mem=0):
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise RuntimeError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        arrays = [a._a if isinstance(a, ndarray) else a for a in args]

        def work():
            RawModule.launches += 1
            falling = RawModule.launches % 2 == 0
            cuda_on_cpu.run(*self._given, grid, block, arrays, shared=shared_mem, falling=falling)

        strict_graph.run(work, self._given[-1], [a._memory for a in args if isinstance(a, ndarray)])


# ---------------------------------------------------------------- the module
def module(kernels: bool = True) -> types.ModuleType:
    """A fresh "cupy"."""
    cupy = types.ModuleType("cupy")
    cupy.__version__ = "14.0 (pretended)"
    for name in (*ELEMENTWISE, *WHOLE, *CREATION):
        setattr(cupy, name, function_of(name))
    cupy.add.at = add_at
    for name in WAITING:
        setattr(cupy, name, function_of(name, waits=True))
    for name in NAMES:
        setattr(cupy, name, getattr(np, name))
    for thing in (ndarray, empty, empty_like, asarray, ascontiguousarray):
        setattr(cupy, thing.__name__, thing)
    cupy.array = asarray
    if kernels:
        cupy.RawModule = RawModule
    cupy.cuda = _cuda()
    cupy._core = types.SimpleNamespace(
        set_compute_type=lambda dtype, kind: cupy.compute_types.__setitem__(np.dtype(dtype).char, kind),
        _routines_linalg=types.SimpleNamespace(COMPUTE_TYPE_DEFAULT=1, COMPUTE_TYPE_TF32=7),
    )
    cupy.compute_types = {}
    cupy.get_default_memory_pool = lambda: strict_graph.MemoryPool()
    return cupy


class OutOfMemoryError(MemoryError):
    """As CuPy's."""


class Device:
    """One of two devices; without a number, the one that is current."""

    used: ClassVar[list[int]] = []
    current = 0
    attributes: ClassVar[dict[str, int]] = {"MaxSharedMemoryPerMultiprocessor": 228 << 10}

    def __init__(self, number=None):
        self.id = Device.current if number is None else number
        self.mem_info, self.compute_capability = (6 << 30, 8 << 30), "90"

    def use(self):
        Device.used.append(self.id)

    def synchronize(self):
        strict_graph.wait("synchronize")


def _cuda():
    runtime = types.SimpleNamespace(
        getDeviceCount=lambda: 2,
        getDeviceProperties=lambda n: {"name": f"Pretended GPU {n}".encode(), "totalGlobalMem": 8 << 30},
        driverGetVersion=lambda: 12080,
        runtimeGetVersion=lambda: 12090,
    )
    memory = types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
    return types.SimpleNamespace(
        runtime=runtime,
        Device=Device,
        memory=memory,
        Stream=strict_graph.Stream,
        Event=strict_graph.Event,
        MemoryPool=strict_graph.MemoryPool,
        using_allocator=strict_graph.using_allocator,
        get_current_stream=lambda: strict_graph.Stream.current,
        get_cublas_handle=lambda: strict_cublas.HANDLE,
    )


def empty_pinned(shape, dtype=float):
    """`cupyx.empty_pinned`."""
    fresh = Pinned(shape, dtype)
    PINNED[id(fresh)] = fresh
    return fresh


class Pinned(np.ndarray):
    """Of its own type, so that it can be known again."""


def library(xp):
    """In the place of `cublas.library`."""
    return strict_cublas.Library(strict_graph.Recorder)


def ndtr(x):
    from scipy.special import ndtr

    return wrapped(ndtr(inside(x)))


def modules(kernels: bool = True) -> dict[str, types.ModuleType]:
    """What `import cupy` and `import cupyx.scipy.special` shall find, by name in sys.modules."""
    names = ("cupyx", "cupyx.scipy", "cupyx.scipy.special")
    found = {name: types.ModuleType(name) for name in names}
    found["cupyx.scipy.special"].ndtr = ndtr
    found["cupyx"].empty_pinned = empty_pinned
    return {"cupy": module(kernels), **found}


@contextlib.contextmanager
def no_waiting():
    """Within it, whatever would wait for a device raises."""
    ndarray.forbidden = True
    try:
        yield
    finally:
        ndarray.forbidden = False
