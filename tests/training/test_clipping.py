"""Clipping: PyTorch's values, exact on sparse gradients, inputs left as they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npsoftmax.errors import InputError
from npsoftmax.params import SparseRows, leaves, tree_map
from npsoftmax.training.clipping import clip_by_norm, clip_by_value


def some_grads(scale=1.0, dtype=np.float64):
    rng = np.random.default_rng(0)
    return {
        "trunk": {
            "w": (scale * rng.normal(size=(4, 5))).astype(dtype),
            "b": (scale * rng.normal(size=5)).astype(dtype),
        },
        "scale": np.asarray(scale * 0.3, dtype),
    }


def some_sparse_grads():
    rng = np.random.default_rng(1)
    return {"w": SparseRows(np.array([1, 4, 5]), rng.normal(size=(3, 2)), 9), "b": rng.normal(size=9)}


def dense(tree):
    return tree_map(lambda g: g.to_dense() if isinstance(g, SparseRows) else np.copy(g), tree)


def assert_close_trees(a, b, **tolerance):
    a, b = dict(leaves(a)), dict(leaves(b))
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], **tolerance, err_msg=name)


def torch_clipped(function, grads, limit):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.zeros(g.shape, dtype=torch.float64) for name, g in leaves(grads)}
    for name, g in leaves(grads):
        tensors[name].grad = torch.tensor(g)
    result = getattr(torch.nn.utils, function)(list(tensors.values()), limit)
    return {name: t.grad.numpy() for name, t in tensors.items()}, result


@pytest.mark.oracle
@pytest.mark.parametrize("max_norm", [1e-6, 0.5, 3.0, 1e3])
@pytest.mark.parametrize("scale", [0.0, 1e-7, 1.0, 1e4])
def test_norm_as_pytorch(max_norm, scale):
    grads = some_grads(scale)
    expected, expected_norm = torch_clipped("clip_grad_norm_", grads, max_norm)
    clipped, norm = clip_by_norm(grads, max_norm)
    assert norm == pytest.approx(float(expected_norm), rel=1e-12)
    for name, g in leaves(clipped):
        np.testing.assert_allclose(g, expected[name], rtol=1e-12, atol=0, err_msg=name)


@pytest.mark.oracle
def test_value_as_pytorch():
    grads = some_grads()
    expected, _ = torch_clipped("clip_grad_value_", grads, 0.4)
    for name, g in leaves(clip_by_value(grads, 0.4)):
        np.testing.assert_array_equal(g, expected[name], err_msg=name)


def test_by_hand():
    grads = {"a": np.array([3.0, 0.0]), "b": np.array([-4.0])}
    clipped, norm = clip_by_norm(grads, 1.0)
    assert norm == 5.0
    assert_close_trees(clipped, {"a": [0.6, 0.0], "b": [-0.8]}, rtol=1e-6)
    assert_close_trees(clip_by_value(grads, 0.1), {"a": [0.1, 0.0], "b": [-0.1]}, rtol=0)


def test_a_norm_at_the_limit_is_scaled_too():
    clipped, norm = clip_by_norm({"a": np.array([3.0, 4.0])}, 5.0)
    assert norm == 5.0
    np.testing.assert_allclose(clipped["a"], np.array([3.0, 4.0]) * 5.0 / (5.0 + 1e-6), rtol=1e-14)


@settings(deadline=None)
@given(scale=st.floats(1e-3, 1e3), max_norm=st.floats(1e-3, 1e3))
def test_the_norm_afterwards_is_at_most_the_limit_and_the_direction_is_kept(scale, max_norm):
    grads = some_grads(scale)
    clipped, norm = clip_by_norm(grads, max_norm)
    _, after = clip_by_norm(clipped, max_norm)
    assert after <= max_norm
    assert after == pytest.approx(min(norm, max_norm * norm / (norm + 1e-6)), rel=1e-9)
    np.testing.assert_allclose(clipped["trunk"]["w"] * norm, grads["trunk"]["w"] * after, rtol=1e-9)


@pytest.mark.parametrize("clip", [lambda g: clip_by_norm(g, 0.5)[0], lambda g: clip_by_value(g, 0.2)])
def test_sparse_gradients_are_clipped_as_dense_ones(clip):
    sparse = some_sparse_grads()
    clipped = clip(sparse)
    assert isinstance(clipped["w"], SparseRows)
    assert_close_trees(dense(clipped), clip(dense(sparse)), rtol=1e-14)
    assert np.any(clipped["w"].values != sparse["w"].values)


def test_the_norm_of_sparse_gradients_is_that_of_dense_ones():
    sparse = some_sparse_grads()
    assert clip_by_norm(sparse, 1.0)[1] == pytest.approx(clip_by_norm(dense(sparse), 1.0)[1], rel=1e-14)


@pytest.mark.parametrize("make", [some_grads, some_sparse_grads])
def test_inputs_are_left_as_they_are(make):
    grads = make()
    clip_by_value(grads, 0.1)
    clip_by_norm(grads, 0.1)
    assert_close_trees(dense(grads), dense(make()), rtol=0)


@pytest.mark.parametrize("sparse", [False, True])
def test_float32_stays_float32(sparse):
    grads = some_grads(dtype=np.float32)
    if sparse:
        grads["rows"] = SparseRows(np.array([2]), np.ones((1, 3), np.float32), 4)
    for clipped in (clip_by_value(grads, np.float64(0.1)), clip_by_norm(grads, np.float64(0.1))[0]):
        assert all(g.dtype == np.float32 for _, g in leaves(clipped))


def test_the_norm_of_millions_of_float32_is_right_to_six_digits():
    g = np.random.default_rng(0).normal(size=3_000_000).astype(np.float32)
    _, norm = clip_by_norm({"w": g}, 1.0)
    assert norm == pytest.approx(np.linalg.norm(g.astype(np.float64)), rel=1e-6)


def test_nan_is_reported_by_the_norm():
    _, norm = clip_by_norm({"a": np.array([np.nan, 1.0]), "b": np.ones(2)}, 1.0)
    assert np.isnan(norm)


@pytest.mark.parametrize("limit", [0, -1.0, float("nan")])
def test_limits_that_are_none(limit):
    with pytest.raises(InputError, match="limit of gradient clipping"):
        clip_by_value(some_grads(), limit)
    with pytest.raises(InputError, match="max_norm of gradient clipping"):
        clip_by_norm(some_grads(), limit)
