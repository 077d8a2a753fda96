"""Where device tests run: on the strict stand-in, with its kernels and without, and on a GPU where there is one."""

from __future__ import annotations

import functools
import sys

import cuda_on_cpu
import pytest
import strict_cupy

from npsoftmax import cublas
from npsoftmax.backend import get_backend

PRETENDED = functools.cache(strict_cupy.modules)
needs_compiler = pytest.mark.skipif(cuda_on_cpu.COMPILER is None, reason="there is no C++ compiler to run kernels with")


def pretend(monkeypatch, kernels):
    for name, module in PRETENDED(kernels).items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(cublas, "library", strict_cupy.library)
    return get_backend("cupy")


@pytest.fixture(
    params=[
        pytest.param("kernels", marks=needs_compiler),
        "no kernels",
        pytest.param("gpu", marks=pytest.mark.gpu),
    ]
)
def device(request, monkeypatch):
    """A backend whose arrays are not NumPy's."""
    if request.param == "gpu":
        return request.getfixturevalue("cupy")
    return pretend(monkeypatch, request.param == "kernels")


@pytest.fixture
def strict(monkeypatch):
    """The strict stand-in, with kernels."""
    if cuda_on_cpu.COMPILER is None:
        pytest.skip("there is no C++ compiler to run kernels with")
    return pretend(monkeypatch, True)


@pytest.fixture(scope="session")
def cpu():
    return get_backend("numpy")
