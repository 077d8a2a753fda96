"""benchmarks/products.py: what it times is the product, on both sides."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from npsoftmax.bench.workers import BenchmarkError
from npsoftmax.host import set_threads


@pytest.fixture
def script(monkeypatch):
    """The script as a module, on few rows."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    monkeypatch.setattr("npsoftmax.host.keep_freed_memory", lambda: True)
    module = importlib.import_module("products")
    monkeypatch.setattr(module, "ROWS", 130)
    yield module
    set_threads(None)


@pytest.mark.parametrize("side", ["npsoftmax", "numpy"])
def test_both_sides_give_a_rate(script, side):
    for form in script.FORMS:
        job = {"form": form, "width": (192, 576), "side": side, "threads": 1, "seconds": 0}
        assert script.work(job)["gflops"] > 0


def test_the_factors_are_those_of_a_training_step(script):
    shapes = {form: [f.shape for f in script.factors(form, (192, 576))] for form in script.FORMS}
    assert list(shapes.values()) == [[(130, 192), (192, 576)], [(130, 576), (576, 192)], [(192, 130), (130, 576)]]


def test_a_wrong_product_is_refused(script, monkeypatch):
    kernels = importlib.import_module("npsoftmax.kernels.matmul")
    monkeypatch.setattr(kernels, "matmul", lambda a, b: np.float32(1.001) * (a @ b))
    with pytest.raises(BenchmarkError, match="apart"):
        script.work({"form": script.FORMS[0], "width": (192, 192), "side": "numpy", "threads": 1, "seconds": 0})
