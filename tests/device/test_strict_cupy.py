"""The stand-in is as strict as it says, and has nothing that CuPy has not."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import strict_cupy

HOST = np.arange(6.0).reshape(2, 3)


@pytest.fixture
def cupy():
    return strict_cupy.module()


@pytest.fixture
def x(cupy):
    return cupy.asarray(HOST)


MIXTURES = {
    "operator": lambda x, h: x + h,
    "reflected operator": lambda x, h: h + x,
    "in place": lambda x, h: x.__iadd__(h),
    "in place, on the host": lambda x, h: h.__iadd__(x),
    "comparison": lambda x, h: x > h,
    "product": lambda x, h: x @ h.T,
    "ufunc of NumPy": lambda x, h: np.add(x, 1),
    "function of NumPy": lambda x, h: np.concatenate([x, x]),
    "conversion": lambda x, h: np.asarray(x),
    "stored on the host": lambda x, h: h.__setitem__(0, x[0]),
    "stored on the device": lambda x, h: x.__setitem__(0, h[0]),
    "index": lambda x, h: x[np.array([0, 1])],
    "index that is a list": lambda x, h: x[[0, 1]],
    "index of the host": lambda x, h: h[x],
    "zero axes": lambda x, h: x * np.array(2.0),
}


@pytest.mark.parametrize("mixture", MIXTURES.values(), ids=MIXTURES)
def test_arrays_of_host_and_device_do_not_mix(x, mixture):
    with pytest.raises(TypeError):
        mixture(x, HOST.copy())


@pytest.mark.parametrize("call", ["maximum", "concatenate", "where", "matmul"])
def test_functions_of_the_device_take_no_host_arrays(cupy, x, call):
    args = {
        "maximum": (x, HOST),
        "concatenate": ([x, HOST],),
        "where": (x > 0, HOST, x),
        "matmul": (x, HOST.T),
    }[call]
    with pytest.raises(TypeError, match="Unsupported type"):
        getattr(cupy, call)(*args)


def test_numbers_of_the_host_are_welcome(x):
    for number in (2, 2.0, np.float64(2)):
        assert ((number * x) / number).get().tolist() == HOST.tolist()
    narrow = x.astype(np.float32)
    assert (narrow * 2.0).dtype == np.float32


WAITS = {
    "float": lambda x: float(x[0, 0]),
    "int": lambda x: int(x[0, 0]),
    "bool": lambda x: bool(x[0, 0] > 0),
    "condition": lambda x: 1 if x.max() > 3 else 0,
    "get": lambda x: x.get(),
    "item": lambda x: x[0, 0].item(),
    "tolist": lambda x: x.tolist(),
    "mask": lambda x: x[x > 2],
    "several values by mask": lambda x: x.__setitem__(x > 2, x[1]),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_what_waits_is_known(x, wait):
    before = len(strict_cupy.ndarray.waits)
    wait(x)
    assert len(strict_cupy.ndarray.waits) > before
    with strict_cupy.no_waiting(), pytest.raises(strict_cupy.Synchronised):
        wait(x)


@pytest.mark.parametrize("name", strict_cupy.WAITING)
def test_shapes_that_depend_on_values_wait(cupy, x, name):
    with strict_cupy.no_waiting(), pytest.raises(strict_cupy.Synchronised):
        getattr(cupy, name)(x)


def test_what_does_not_wait_is_let_through(cupy, x):
    with strict_cupy.no_waiting():
        y = cupy.maximum(x, 1).sum(axis=1)
        y[cupy.asarray([1])] = 0
        x[x > 2] = 0
        assert y.shape == (2,) and len(x) == 2


def test_fresh_memory_is_not_zero(cupy):
    assert np.isnan(cupy.empty(5).get()).all()
    assert (cupy.empty(5, dtype=np.int64).get() == -1).all()


def test_adding_at_repeated_indices_counts_each(cupy, x):
    cupy.add.at(x, cupy.asarray([0, 0]), x[1:] * 0 + 1.0)
    np.testing.assert_array_equal(x.get(), HOST + np.array([[2], [0]]))
    with pytest.raises(TypeError):
        cupy.add.at(x, np.array([0]), x[1:])


def test_sorting_is_stable_or_refused(cupy, x):
    cupy.argsort(x, kind="stable")
    with pytest.raises(ValueError, match="stably"):
        cupy.argsort(x, kind="quicksort")


def test_everything_here_is_also_in_cupy():
    """Where CuPy is installed; it can be looked at without a device."""
    real = pytest.importorskip("cupy")
    pretended = strict_cupy.module()
    for name in (*strict_cupy.ELEMENTWISE, *strict_cupy.WHOLE, *strict_cupy.WAITING, *strict_cupy.CREATION):
        assert callable(getattr(real, name))
    assert callable(real.add.at)
    for name in strict_cupy.NAMES:
        assert getattr(real, name) == getattr(np, name) or name == "nan"
    attributes = {name for name in vars(strict_cupy.ndarray) if not name.startswith("_")}
    ours = {"waits", "forbidden"}
    assert attributes - ours <= set(dir(real.ndarray))
    assert set(inspect.signature(pretended.RawModule).parameters) <= {"code", "options"}
    kinds = real._core._routines_linalg
    assert (kinds.COMPUTE_TYPE_DEFAULT, kinds.COMPUTE_TYPE_TF32) == (1, 7)
    assert callable(real._core.set_compute_type)
    assert issubclass(real.cuda.memory.OutOfMemoryError, MemoryError)
    for name in ("getDeviceCount", "getDeviceProperties", "driverGetVersion", "runtimeGetVersion"):
        assert callable(getattr(real.cuda.runtime, name))
    pool = real.get_default_memory_pool()
    assert all(callable(getattr(pool, name)) for name in ("used_bytes", "total_bytes", "free_all_blocks"))
    assert callable(real.RawModule(code="", options=()).get_function)
