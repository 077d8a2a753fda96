"""The edges: which module an array belongs to, backends and their errors, threads."""

from __future__ import annotations

import os
import subprocess
import sys
import types

import numpy as np
import pytest

from npsoftmax import backend
from npsoftmax.backend import array_module, available_cpus, get_backend, get_threads, set_threads, to_numpy
from npsoftmax.errors import InputError


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
    fake_cupy.cuda = runtime(RuntimeError("cudaErrorInsufficientDriver"))
    with pytest.raises(InputError, match=r"no usable CUDA driver or GPU \(cudaErrorInsufficientDriver\).*nvidia-smi"):
        get_backend("cupy")


@pytest.mark.parametrize("device", [2, -1])
def test_a_device_that_is_not_there(fake_cupy, device):
    fake_cupy.cuda = runtime(2)
    with pytest.raises(InputError, match=rf"device {device} was asked for, but there are 2 \(0 to 1\)"):
        get_backend("cupy", device)


def test_the_device_asked_for_is_made_current(fake_cupy):
    used = []
    fake_cupy.cuda = runtime(2)
    fake_cupy.cuda.Device = lambda n: types.SimpleNamespace(use=lambda: used.append(n))
    cupy = get_backend("cupy", 1)
    assert (cupy.name, cupy.xp, used) == ("cupy", fake_cupy, [1])


@pytest.mark.gpu
def test_a_round_trip_through_a_gpu(cupy):
    x = cupy.asarray(np.arange(6.0), np.float32)
    assert array_module(x) is cupy.xp and x.dtype == np.float32
    cupy.synchronize()
    assert to_numpy(x + 1).tolist() == [1, 2, 3, 4, 5, 6]


# ---------------------------------------------------------------- threads
@pytest.fixture
def default_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    yield
    set_threads(None)


def test_threads_are_the_cpus_unless_set(default_threads, monkeypatch):
    assert get_threads() == available_cpus() >= 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert get_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert get_threads() == 3
    set_threads(7)
    assert get_threads() == 7
    set_threads(None)
    assert get_threads() == 3


@pytest.mark.parametrize("text", ["", "0", "-2", "many", ",2", "²"])
def test_an_environment_that_makes_no_sense_is_ignored(default_threads, monkeypatch, text):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert get_threads() == available_cpus()


@pytest.mark.parametrize("n", [0, -1])
def test_fewer_than_one_thread_is_refused_and_changes_nothing(default_threads, n):
    set_threads(2)
    with pytest.raises(InputError, match=f"--threads is {n}, but at least 1 is needed"):
        set_threads(n)
    assert get_threads() == 2


@pytest.mark.parametrize(
    ("text", "cpus"), [("150000 100000", 2), ("50000 100000", 1), ("6400000 100000", 64), ("max 100000", 64), ("", 64)]
)
def test_cpus_are_those_of_the_affinity_mask_and_the_containers_quota(monkeypatch, tmp_path, text, cpus):
    quota = tmp_path / "cpu.max"
    quota.write_text(text)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr("builtins.open", lambda path, real=open: real(quota if "cgroup" in str(path) else path))
    assert available_cpus() == cpus


def blas_threads():
    import threadpoolctl

    return [library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]


@pytest.fixture
def blas_on_two_threads():
    import threadpoolctl

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        if 2 not in blas_threads():
            pytest.skip("this BLAS does not take two threads")
        yield


def test_blas_is_single_threaded_within_and_as_before_after(blas_on_two_threads):
    before = blas_threads()
    with backend.single_threaded_blas():
        assert set(blas_threads()) == {1}
        with backend.single_threaded_blas():
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {1}
    assert blas_threads() == before


def test_blas_is_as_before_after_an_error(blas_on_two_threads):
    before = blas_threads()
    with pytest.raises(RuntimeError, match="boom"), backend.single_threaded_blas():
        raise RuntimeError("boom")
    assert blas_threads() == before


def test_importing_the_backend_loads_no_threadpoolctl():
    code = "import sys, npsoftmax.backend; sys.exit('threadpoolctl' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
