"""The edges: which module an array belongs to, backends and their errors."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from npsoftmax.backend import Array, array_module, device_precision, get_backend, to_numpy
from npsoftmax.errors import InputError

# What the type says of an array.
MEMBERS = [name for name, value in vars(Array).items() if isinstance(value, property | types.FunctionType)]


@pytest.fixture
def fake_cupy(monkeypatch):
    """A module with an array type of its own, as CuPy is."""

    class ndarray:
        def __init__(self, values):
            self.values = values

        def get(self):
            return np.array(self.values)

    module = types.ModuleType("cupy")
    module.ndarray = ndarray
    ndarray.__module__ = "cupy._core.core"
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


# ---------------------------------------------------------------- arrays
def test_the_array_decides(fake_cupy):
    assert array_module(np.zeros(3)) is np
    assert array_module(np.float32(3)) is np
    assert array_module(np.ma.zeros(3)) is np
    assert array_module(fake_cupy.ndarray([1, 2])) is fake_cupy


class Mine(np.ndarray):
    """A subclass from a module that is no array library, though it may well import the name ndarray."""


@pytest.mark.parametrize("x", [3, 2.5, [1, 2], (1,), None, "text", types.SimpleNamespace(), np.zeros(2).view(Mine)])
def test_what_belongs_to_no_array_library_is_numpys(monkeypatch, x):
    monkeypatch.setattr(sys.modules[__name__], "ndarray", np.ndarray, raising=False)
    assert array_module(x) is np


def test_a_type_whose_module_is_not_loaded_is_numpys():
    stray = type("Stray", (), {"__module__": "nowhere.at.all"})
    assert array_module(stray()) is np


def test_to_numpy_fetches_device_arrays_and_passes_the_others(fake_cupy):
    x = np.arange(3)
    assert to_numpy(x) is x
    assert to_numpy(fake_cupy.ndarray([1, 2])).tolist() == [1, 2]
    assert to_numpy(2.5).shape == ()


# ---------------------------------------------------------------- backends
def test_the_numpy_backend_makes_numpy_arrays():
    numpy = get_backend()
    assert (numpy.name, numpy.xp) == ("numpy", np)
    x = np.zeros(3, np.float32)
    assert numpy.asarray(x) is x
    assert numpy.asarray(x, np.float64).dtype == np.float64
    assert numpy.synchronize() is None


def test_an_unknown_backend_gives_the_known_ones():
    with pytest.raises(InputError, match=r"unknown backend 'cuppy'. Did you mean 'cupy'.*Known: cupy, numpy"):
        get_backend("cuppy")


def test_without_cupy_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # importing it now fails
    with pytest.raises(InputError, match=r'CuPy is not installed.*pip install "npsoftmax\[cuda12\]".*--backend numpy'):
        get_backend("cupy")


def runtime(count):
    def devices():
        if isinstance(count, Exception):
            raise count
        return count

    return types.SimpleNamespace(runtime=types.SimpleNamespace(getDeviceCount=devices))


def test_without_a_driver_the_error_says_how_to_look(fake_cupy):
    fake_cupy.cuda, fake_cupy.__version__ = runtime(RuntimeError("cudaErrorInsufficientDriver")), "14.2"
    with pytest.raises(InputError, match=r"CuPy 14.2 finds no NVIDIA driver, or one too old.*nvidia-smi.*numpy"):
        get_backend("cupy")


def test_any_other_error_of_the_driver_is_shown(fake_cupy):
    fake_cupy.cuda = runtime(RuntimeError("cudaErrorSystemNotReady"))
    with pytest.raises(InputError, match=r"no usable CUDA driver or GPU \(cudaErrorSystemNotReady\).*nvidia-smi"):
        get_backend("cupy")


def test_a_driver_without_a_device(fake_cupy):
    fake_cupy.cuda = runtime(0)
    with pytest.raises(InputError, match=r"no GPU that this process may use.*CUDA_VISIBLE_DEVICES"):
        get_backend("cupy")


def test_a_cupy_that_cannot_be_loaded_is_not_called_missing(monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "cupy":
                raise ImportError("CuPy is not correctly installed.\noriginal error: libcublas.so.12: cannot open")

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(InputError, match=r"is installed, but cannot be loaded \(original error: libcublas.*nvidia-smi"):
        get_backend("cupy")


@pytest.mark.parametrize("device", [2, -1])
def test_a_device_that_is_not_there(fake_cupy, device):
    fake_cupy.cuda = runtime(2)
    with pytest.raises(InputError, match=rf"device {device} was asked for, but there are 2 \(0 to 1\)"):
        get_backend("cupy", device)


def test_the_device_asked_for_is_made_current(fake_cupy):
    used = []
    fake_cupy.cuda = runtime(2)
    fake_cupy.cuda.Device = lambda n: types.SimpleNamespace(use=lambda: used.append(n), compute_capability="75")
    told = accepting_precision(fake_cupy)
    cupy = get_backend("cupy", 1)
    assert (cupy.name, cupy.xp, cupy.device, used) == ("cupy", fake_cupy, 1, [1])
    assert (cupy.precision, told) == ("fp32", {"f": "default"})


def accepting_precision(fake_cupy):
    """What the pretended library is told, by type of number."""
    told = {}
    linalg = types.SimpleNamespace(COMPUTE_TYPE_DEFAULT="default", COMPUTE_TYPE_TF32="tf32")
    fake_cupy._core = types.SimpleNamespace(
        _routines_linalg=linalg, set_compute_type=lambda dtype, kind: told.update({np.dtype(dtype).char: kind})
    )
    return told


@pytest.mark.parametrize(
    ("capability", "wanted", "got"),
    [
        ("80", "auto", "tf32"),
        ("120", "auto", "tf32"),
        ("90", "fp32", "fp32"),
        ("86", "tf32", "tf32"),
        ("80", "bf16", "bf16"),
        ("75", "auto", "fp32"),
    ],
)
def test_precision_is_what_the_device_has(fake_cupy, capability, wanted, got):
    fake_cupy.cuda = runtime(1)
    fake_cupy.cuda.Device = lambda n: types.SimpleNamespace(use=lambda: None, compute_capability=capability)
    told = accepting_precision(fake_cupy)
    assert get_backend("cupy", precision=wanted).precision == got
    assert told == {"f": "default" if got == "fp32" else "tf32"}
    assert device_precision() == got


def test_precisions_that_cannot_be(fake_cupy):
    fake_cupy.cuda = runtime(1)
    fake_cupy.cuda.Device = lambda n: types.SimpleNamespace(use=lambda: None, compute_capability="75")
    for precision in ("tf32", "bf16"):
        needs = rf"--precision {precision} needs a GPU of compute capability 8.0 or higher, but device 0 has 7.5"
        with pytest.raises(InputError, match=needs):
            get_backend("cupy", precision=precision)
        with pytest.raises(InputError, match=rf"--precision {precision} is for NVIDIA GPUs; add --backend cupy"):
            get_backend("numpy", precision=precision)
    with pytest.raises(InputError, match=r"unknown --precision 'fp8'.*Known: auto, bf16, fp32, tf32"):
        get_backend("numpy", precision="fp8")


def test_arrays_of_numpy_have_what_the_type_says():
    assert {"shape", "__matmul__", "__eq__"} <= set(MEMBERS)
    assert [name for name in MEMBERS if not hasattr(np.empty((2, 2)), name)] == []


@pytest.mark.gpu
def test_arrays_of_cupy_have_what_the_type_says(cupy):
    assert [name for name in MEMBERS if not hasattr(cupy.xp.empty((2, 2)), name)] == []


@pytest.mark.gpu
def test_a_round_trip_through_a_gpu(cupy):
    x = cupy.asarray(np.arange(6.0), np.float32)
    assert array_module(x) is cupy.xp and x.dtype == np.float32
    cupy.synchronize()
    assert to_numpy(x + 1).tolist() == [1, 2, 3, 4, 5, 6]
