"""Muon: Newton and Schulz by their definition, filters as rows, everything else as Nesterov's SGD, PyTorch's steps."""

from __future__ import annotations

import numpy as np
import pytest

from npsoftmax.errors import InputError
from npsoftmax.functional.newton_schulz import muon_step
from npsoftmax.kernels import update
from npsoftmax.models import build_model
from npsoftmax.params import SparseRows, leaves, tree_map
from npsoftmax.training.config import TrainConfig
from npsoftmax.training.optimizers import SGD, Muon
from npsoftmax.training.optimizers.muon import newton_schulz
from npsoftmax.training.session import make_optimizer

DECAY, LR, RATIO = 0.1, 0.2, 0.25
OPTIONS = {"ratio": RATIO, "momentum": 0.9, "filter_momentum": 0.6, "weight_decay": DECAY, "steps": 3}


def normal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def some_params(dtype=np.float64):
    return {
        "trunk": {
            "conv": {"w": normal(3, 2, 4, 5, seed=1, dtype=dtype), "b": normal(5, seed=2, dtype=dtype)},
            "wide": {"w": normal(1, 1, 3, 8, seed=3, dtype=dtype)},
            "fc": {"w": normal(6, 7, seed=4, dtype=dtype), "position": normal(6, 7, seed=5, dtype=dtype)},
        },
        "head": {"w": normal(7, 10, seed=6, dtype=dtype)},
    }


def grads_of(params, seed):
    return tree_map(lambda p: normal(*p.shape, seed=seed + p.size, dtype=p.dtype), params)


def iterated(x, steps):
    """The definition, on a matrix of which the rows are filters."""
    flat = x.shape[0] > x.shape[1]
    x = (x.T if flat else x) / np.linalg.norm(x)
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if flat else x


# ---------------------------------------------------------------- Newton and Schulz
@pytest.mark.parametrize("shape", [(40, 7), (7, 40), (9, 9), (5, 1), (1, 5), (1, 1)])
@pytest.mark.parametrize("steps", [1, 3, 5])
def test_products_of_the_small_matrix_alone_are_the_definition(shape, steps):
    m = normal(*shape)
    np.testing.assert_allclose(newton_schulz(m, steps, -2.5), -2.5 * iterated(m, steps), rtol=1e-9, atol=1e-11)


def test_singular_values_come_near_1_and_directions_stay():
    u, s, v = np.linalg.svd(normal(60, 20, seed=3), full_matrices=False)
    left, found, right = np.linalg.svd(newton_schulz((u * s) @ v, 5), full_matrices=False)
    assert found.min() > 0.65 and found.max() < 1.25
    assert s.max() / s.min() > 3  # they were not before
    np.testing.assert_allclose(left @ right, u @ v, atol=0.5)
    assert np.trace((u @ v).T @ newton_schulz((u * s) @ v, 5)) > 0.7 * 20


def test_single_precision_is_enough_for_a_matrix_with_small_and_large_singular_values():
    u, _, v = np.linalg.svd(normal(300, 64, seed=4), full_matrices=False)
    m = (u * np.logspace(0, -6, 64)) @ v
    found = newton_schulz(m.astype(np.float32), 5)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, iterated(m, 5), atol=2e-4)


@pytest.mark.parametrize("steps", [4, 6, 8, 12, 20])
def test_many_steps_lose_no_small_singular_values(steps):
    u, _, v = np.linalg.svd(normal(300, 64, seed=4), full_matrices=False)
    m = (u * np.logspace(0, -6, 64)) @ v
    exact = iterated(m, steps)
    np.testing.assert_allclose(newton_schulz(m, steps), exact, atol=1e-9)
    found, usual = newton_schulz(m.astype(np.float32), steps), iterated(m.astype(np.float32), steps)
    assert np.linalg.norm(found - exact) <= 10 * np.linalg.norm(usual - exact) + 1e-5 * np.linalg.norm(exact)


def test_nothing_stays_nothing():
    assert not newton_schulz(np.zeros((6, 3)), 5).any()


# ---------------------------------------------------------------- the step
@pytest.mark.parametrize("compiled", [True, False])
def test_filters_are_the_rows_and_all_else_is_nesterov(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(update, "takes", lambda *_: False)
    params, plain = some_params(), some_params()
    filters = {name: p.reshape(-1, p.shape[-1]).T.copy() for name, p in leaves(params) if p.ndim == 4}
    buffers = dict.fromkeys(filters, 0.0)
    muon = Muon(params, **OPTIONS)
    sgd = SGD(plain, momentum=0.9, nesterov=True, weight_decay=DECAY)
    for step in range(4):
        grads = grads_of(params, step)
        muon.step(params, grads, lr=LR)
        sgd.step(plain, grads, lr=LR)
        for name, p in filters.items():
            g = dict(leaves(grads))[name].reshape(-1, len(p)).T  # (F, KH·KW·C)
            buffers[name] = 0.6 * buffers[name] + g
            p *= 1 - LR * RATIO * DECAY
            scale = max(1.0, p.shape[0] / p.shape[1]) ** 0.5
            p -= LR * RATIO * scale * iterated(g + 0.6 * buffers[name], 3)
    for name, p in leaves(params):
        if name in filters:
            np.testing.assert_allclose(p.reshape(-1, p.shape[-1]).T, filters[name], rtol=1e-9, atol=1e-11)
        else:
            np.testing.assert_array_equal(p, dict(leaves(plain))[name], err_msg=name)


def test_a_step_is_that_of_the_readable_function():
    params = some_params()
    muon = Muon(params, ratio=RATIO, filter_momentum=0.6, steps=3)
    w, b = params["trunk"]["wide"]["w"].copy(), 0.0
    for step in range(3):
        grads = grads_of(params, step)
        muon.step(params, grads, lr=LR)
        g = grads["trunk"]["wide"]["w"]
        w, b = muon_step(w, g, b + np.zeros_like(g), LR * RATIO, 0.6, 3)
    np.testing.assert_allclose(params["trunk"]["wide"]["w"], w, rtol=1e-9, atol=1e-11)


def test_a_momentum_of_the_schedule_is_not_that_of_the_filters():
    one, other = some_params(), some_params()
    cycled, fixed = Muon(one, **OPTIONS), Muon(other, **OPTIONS | {"momentum": 0.7})
    for step in range(3):
        cycled.step(one, grads_of(one, step), lr=LR, momentum=0.7)
        fixed.step(other, grads_of(other, step), lr=LR)
    for name, p in leaves(one):
        np.testing.assert_array_equal(p, dict(leaves(other))[name])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unit_filters_have_length_1_in_the_mean_before_each_step(dtype):
    params = some_params(dtype)
    muon = Muon(params, unit_filters=True, ratio=0.1, steps=3)
    p = params["trunk"]["conv"]["w"]
    for step in range(2):
        before, grads = p.copy(), grads_of(params, step)
        b, g = muon.state["momentum"]["trunk"]["conv"]["w"].copy(), grads["trunk"]["conv"]["w"]
        muon.step(params, grads, lr=LR)
        move = iterated((g + 0.95 * (0.95 * b + g)).reshape(-1, 5).T, 3).T.reshape(p.shape)
        want = before * np.sqrt(5) / np.linalg.norm(before) - 0.1 * LR * move
        np.testing.assert_allclose(p, want, rtol=1e-5 if dtype == np.float32 else 1e-9, atol=1e-6)
        assert p.dtype == dtype


def test_weight_matrices_only_if_asked_and_never_the_head():
    assert Muon(some_params()).filters == {"trunk.conv.w", "trunk.wide.w"}
    assert Muon(some_params(), matrices=True).filters == {"trunk.conv.w", "trunk.wide.w", "trunk.fc.w"}


def test_rows_of_a_sparse_gradient_count_as_the_whole():
    one, other = ({"w": normal(6, 3)} for _ in range(2))
    rows = SparseRows(np.array([1, 4]), normal(2, 3, seed=8), 6)
    Muon(one, matrices=True).step(one, {"w": rows}, lr=0.1)
    Muon(other, matrices=True).step(other, {"w": rows.to_dense()}, lr=0.1)
    np.testing.assert_array_equal(one["w"], other["w"])


def test_any_layout_and_an_empty_filter():
    one = {"w": normal(2, 3, 4, 5), "none": np.ones((3, 3, 0, 5))}
    other = {"w": np.asfortranarray(one["w"]), "none": np.ones((3, 3, 0, 5))}
    for params in (one, other):
        muon = Muon(params, unit_filters=True)
        for step in range(2):
            muon.step(params, grads_of(one, step), lr=0.1)
    np.testing.assert_allclose(other["w"], one["w"], rtol=1e-12)


def test_a_filter_without_gradient_stays():
    params = {"w": normal(3, 3, 2, 4)}
    Muon(params).step(params, {"w": np.zeros((3, 3, 2, 4))}, lr=0.1)
    np.testing.assert_array_equal(params["w"], normal(3, 3, 2, 4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "muon's steps is 0, but a whole number from 1 to 50"),
        ({"filter_momentum": 1.0}, "filter_momentum is 1.0"),
        ({"ratio": -1.0}, "ratio is -1.0"),
        ({"momentum": 0.0}, "momentum: give one above 0"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        Muon(some_params(), **options)


def test_settings_reach_it():
    model = build_model("convnet", "softmax", 10, (8, 8, 1), model_opts={"widths": (4, 6), "fc": 10})
    config = TrainConfig(optimizer="muon", lr=0.5, muon_lr=0.1, muon_steps=3, muon_momentum=0.7, muon_matrices=True)
    muon = make_optimizer(config, model)
    assert (muon.ratio, muon.newton_schulz_steps, muon.filter_momentum) == (0.2, 3, 0.7)
    assert len(muon.filters) == 3 and "head.w" not in muon.filters
    with pytest.raises(InputError, match="--muon-momentum is 1"):
        make_optimizer(TrainConfig(optimizer="muon", muon_momentum=1.0), model)
    with pytest.raises(InputError, match="--muon-lr is -1"):
        make_optimizer(TrainConfig(optimizer="muon", muon_lr=-1.0), model)


# ---------------------------------------------------------------- against PyTorch
@pytest.mark.oracle
@pytest.mark.parametrize("shape", [(12, 5), (5, 12), (6, 6)])
def test_same_steps_as_pytorch(shape, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor)  # its products are in half precision
    params = {"w": normal(1, 1, *shape)}
    tensor = torch.tensor(params["w"][0, 0].T)
    theirs = torch.optim.Muon([tensor], lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1, ns_steps=3)
    ours = Muon(params, filter_momentum=0.9, weight_decay=0.1, steps=3)
    for step in range(10):
        g = normal(1, 1, *shape, seed=step)
        tensor.grad = torch.tensor(g[0, 0].T)
        theirs.step()
        ours.step(params, {"w": g}, lr=0.1)
        np.testing.assert_allclose(params["w"][0, 0].T, tensor.numpy(), rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------- the command
def config_of(model, **changes):
    return TrainConfig(data="digits", model=model, optimizer="muon", **changes)


def test_muon_without_filters_to_move_is_refused():
    model = build_model("mlp", "softmax", 10, (8, 8, 1))
    with pytest.raises(InputError, match=r"--model mlp has none. Add --muon-matrices"):
        make_optimizer(config_of("mlp"), model)
    assert make_optimizer(config_of("mlp", muon_matrices=True), model).filters


@pytest.mark.parametrize("steps", [0, 51, 10**20])
def test_no_or_endless_steps_are_told_with_their_option(steps):
    model = build_model("convnet", "softmax", 10, (8, 8, 1))
    with pytest.raises(InputError, match=f"--muon-steps is {steps}, but a whole number from 1 to 50 was expected"):
        make_optimizer(config_of("convnet", muon_steps=steps), model)
