"""Products of matrices by cuBLAS, as it is asked for them: addresses, strides, kinds, stream and workspace."""

from __future__ import annotations

import numpy as np
import pytest
import strict_graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from npsoftmax import cublas
from npsoftmax.backend import get_backend
from npsoftmax.kernels.matmul import products

SHAPES = st.tuples(st.lists(st.integers(1, 3), max_size=2), *[st.integers(1, 5)] * 3)
LAYOUTS = st.sampled_from(["rows", "columns", "gaps", "turned outside", "repeated", "backwards"])


def laid_out(strict, x, layout):
    """x on the device with such strides."""
    there = strict.asarray
    if layout == "columns":
        return there(np.ascontiguousarray(x.swapaxes(-1, -2))).swapaxes(-1, -2)
    if layout == "gaps":
        wide = np.full((*x.shape[:-1], 2 * x.shape[-1] + 1), np.nan, x.dtype)
        wide[..., : x.shape[-1]] = x
        return there(wide)[..., : x.shape[-1]]
    if layout == "turned outside" and x.ndim == 4:
        return there(np.ascontiguousarray(x.transpose(1, 2, 0, 3))).transpose(2, 0, 1, 3)
    if layout == "repeated":
        return strict.xp.broadcast_to(there(x[:1] * 0 + x[:1]), x.shape) if (x == x[:1]).all() else there(x)
    return there(np.ascontiguousarray(x[..., ::-1]))[..., ::-1] if layout == "backwards" else there(x)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=SHAPES, layouts=st.tuples(LAYOUTS, LAYOUTS), dtype=st.sampled_from(["f", "d"]), seed=st.integers(0, 99))
def test_products_of_matrices_and_stacks_of_any_layout(strict, shape, layouts, dtype, seed):
    outside, m, k, n = shape
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal((*outside, *sizes)).astype(dtype) for sizes in ((m, k), (k, n)))
    if layouts[0] == "repeated":
        a = np.broadcast_to(a[:1], a.shape)
    there = [laid_out(strict, x, layout) for x, layout in zip((a, b), layouts, strict=True)]
    assert cublas.takes(*there)
    tolerance = 1e-5 if dtype == "f" else 1e-13
    np.testing.assert_allclose(products(*there).get(), a @ b, rtol=tolerance, atol=tolerance)


def test_what_cublas_is_not_asked_for(strict):
    one, half = strict.xp.ones((2, 3, 4)), strict.xp.ones((4, 5))
    assert not cublas.takes(one, half) and products(one, half).shape == (2, 3, 5), "another number of matrices"
    assert not cublas.takes(strict.xp.ones((0, 4)), half) and products(strict.xp.ones((0, 4)), half).shape == (0, 5)
    assert not cublas.takes(half.astype(np.float32).T, half) and not cublas.takes(np.ones((3, 4)), half)


@pytest.mark.parametrize(("precision", "sums"), [("fp32", 68), ("tf32", 77), ("bf16", 77)])
def test_the_precision_is_that_of_the_process(precision, sums, strict, monkeypatch):
    get_backend("cupy", precision=precision)
    asked = []
    gemm = cublas.handle(strict.xp.ones((2, 2)))
    monkeypatch.setattr(gemm, "multiply", lambda name, *args: asked.append(args[-2]))
    for dtype in (np.float32, np.float64):
        products(strict.xp.ones((2, 2), dtype=dtype), strict.xp.ones((2, 2), dtype=dtype))
    assert asked == [sums, 70]


def test_another_stream_gets_the_workspace_again(strict):
    """What the stand-in asserts at each product: setting a stream takes the workspace away."""
    x = strict.xp.ones((3, 3))
    for stream in (strict_graph.Stream(non_blocking=True), strict_graph.Stream(non_blocking=True)):
        with stream:
            products(x, x)
        products(x, x)


def test_an_error_of_the_library_is_said(strict, monkeypatch):
    gemm = cublas.handle(strict.xp.ones((2, 2)))
    monkeypatch.setattr(gemm._functions, "cublasGemmEx", lambda *_: 13)
    with pytest.raises(cublas.CublasError, match="cublasGemmEx of cuBLAS gives the status 13"):
        products(strict.xp.ones((2, 2)), strict.xp.ones((2, 2)))


def test_without_the_library_products_are_those_of_cupy(strict, monkeypatch):
    monkeypatch.setattr(cublas, "handle_of", lambda *_: None)
    assert (products(strict.xp.ones((2, 3)), strict.xp.ones((3, 2))).get() == 3).all()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5, 7, 3), (128, 256, 512), (4, 3, 65, 32, 65)], ids=str)
def test_on_a_gpu(shape, dtype, cupy):
    get_backend("cupy", precision="fp32")
    *outside, m, k, n = shape
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((*outside, *sizes)).astype(dtype) for sizes in ((m, k), (k, n)))
    x, y = cupy.asarray(a), cupy.asarray(np.ascontiguousarray(b.swapaxes(-1, -2))).swapaxes(-1, -2)
    assert cublas.takes(x, y), "cuBLAS is found by name"
    found = products(x, y)
    np.testing.assert_allclose(found.get(), a @ b, rtol=1e-4, atol=1e-3 if dtype == np.float32 else 1e-10)
    assert (products(x, y) == found).all()
