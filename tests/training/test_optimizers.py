"""Optimisers: PyTorch's steps to 1e-12, sparse steps, layouts, saved state and errors."""

from __future__ import annotations

import inspect
import math
import platform

import numpy as np
import pytest

from npsoftmax.errors import InputError
from npsoftmax.kernels import update
from npsoftmax.kernels.extension import load_extension
from npsoftmax.kernels.update import compiled
from npsoftmax.params import SparseRows, leaves, tree_map
from npsoftmax.training.optimizers import OPTIMIZERS, SGD, Adam, AdamW, base

STEPS = 20
VARIANTS = {
    "sgd": (SGD, {}),
    "sgd_decay": (SGD, {"weight_decay": 0.1}),
    "sgd_momentum": (SGD, {"momentum": 0.9}),
    "sgd_momentum_decay": (SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    "sgd_nesterov": (SGD, {"momentum": 0.9, "nesterov": True}),
    "sgd_nesterov_decay": (SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "adam": (Adam, {}),
    "adam_decay": (Adam, {"beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "weight_decay": 0.1}),
    "adamw": (AdamW, {}),
    "adamw_decay": (AdamW, {"beta1": 0.8, "beta2": 0.95, "weight_decay": 0.3}),
}
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def make(variant, params, **more):
    kind, options = VARIANTS[variant]
    return kind(params, **{**options, **more})


def has_momentum(variant):
    return variant not in ("sgd", "sgd_decay")


def some_params(seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return {
        "trunk": {"w": rng.normal(size=(3, 4, 5)).astype(dtype), "b": rng.normal(size=5).astype(dtype)},
        "head": {"w": rng.normal(size=(6, 7)).astype(dtype), "scale": np.asarray(0.5, dtype)},
    }


def some_grads(params, seed):
    rng = np.random.default_rng(seed)
    return tree_map(lambda p: rng.normal(size=p.shape).astype(p.dtype), params)


def copied(tree):
    return tree_map(np.copy, tree)


def assert_equal_trees(a, b):
    a, b = dict(leaves(a)), dict(leaves(b))
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def rates(step):
    """A learning rate and a momentum that change from step to step."""
    return 0.01 * (1 + math.sin(step)), 0.9 + 0.05 * math.cos(step)


# ---------------------------------------------------------------- against PyTorch
def torch_optimizer(torch, variant, tensors):
    kind, options = VARIANTS[variant]
    options = dict(options)
    if kind is not SGD:
        options["betas"] = (options.pop("beta1", 0.9), options.pop("beta2", 0.999))
    return getattr(torch.optim, kind.__name__)(tensors, lr=1.0, **options)


@pytest.mark.oracle
@every_variant
@pytest.mark.parametrize("cycled", [False, True])
def test_same_steps_as_pytorch(variant, cycled):
    torch = pytest.importorskip("torch")
    cycled = cycled and has_momentum(variant)
    params = some_params()
    tensors = {name: torch.tensor(p) for name, p in leaves(params)}
    ours, theirs = make(variant, params), torch_optimizer(torch, variant, list(tensors.values()))
    for step in range(STEPS):
        grads, (lr, momentum) = some_grads(params, step), rates(step)
        group = theirs.param_groups[0]
        group["lr"] = lr
        if cycled and "betas" in group:
            group["betas"] = (momentum, group["betas"][1])
        elif cycled:
            group["momentum"] = momentum
        for name, g in leaves(grads):
            tensors[name].grad = torch.tensor(g)
        theirs.step()
        ours.step(params, grads, lr=lr, momentum=momentum if cycled else None)
        for name, p in leaves(params):
            np.testing.assert_allclose(p, tensors[name].numpy(), rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.oracle
def test_sparse_adam_is_that_of_pytorch_with_eps_where_adam_has_it():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    params, eps = {"w": rng.normal(size=(9, 4))}, 1e-2
    tensor = torch.tensor(params["w"])
    ours, theirs = Adam(params, eps=eps), torch.optim.SparseAdam([tensor], lr=1.0)
    for step in range(STEPS):
        rows = np.flatnonzero(rng.random(9) < 0.4)
        values, (lr, beta1) = rng.normal(size=(len(rows), 4)), rates(step)
        # SparseAdam adds eps to √v, Adam adds it to √(v / (1 - β₂ᵗ)).
        group = theirs.param_groups[0]
        group.update(lr=lr, betas=(beta1, 0.999), eps=eps * math.sqrt(1 - 0.999 ** (step + 1)))
        tensor.grad = torch.sparse_coo_tensor(
            torch.tensor(rows)[None], torch.tensor(values), (9, 4), check_invariants=True
        )
        theirs.step()
        ours.step(params, {"w": SparseRows(rows, values, 9)}, lr=lr, momentum=beta1)
        np.testing.assert_allclose(params["w"], tensor.numpy(), rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- by hand
def test_momentum_by_hand():
    params = {"w": np.array([1.0])}
    sgd = SGD(params, momentum=0.5)
    sgd.step(params, {"w": np.array([2.0])}, lr=0.1)  # b = 2
    np.testing.assert_allclose(params["w"], 0.8)
    sgd.step(params, {"w": np.array([3.0])}, lr=0.2)  # b = 4
    np.testing.assert_allclose(params["w"], 0.0, atol=1e-15)
    np.testing.assert_allclose(sgd.state["momentum"]["w"], 4.0)


def test_nesterov_by_hand():
    params = {"w": np.array([1.0])}
    SGD(params, momentum=0.5, nesterov=True).step(params, {"w": np.array([2.0])}, lr=0.1)  # b = 2, move = 3
    np.testing.assert_allclose(params["w"], 0.7)


def test_first_adam_step_is_the_sign_of_the_gradient():
    params = {"w": np.zeros(3)}
    Adam(params, eps=0.0).step(params, {"w": np.array([1e-6, -5.0, 1e6])}, lr=0.1)
    np.testing.assert_allclose(params["w"], [-0.1, 0.1, -0.1], rtol=1e-12)


def test_decoupled_decay_does_not_pass_through_the_moments():
    params = {"w": np.array([2.0])}
    adamw = AdamW(params, weight_decay=0.5)
    adamw.step(params, {"w": np.zeros(1)}, lr=0.1)
    np.testing.assert_allclose(params["w"], 2.0 * (1 - 0.1 * 0.5))
    assert adamw.state["m"]["w"] == 0


@pytest.mark.parametrize(("kind", "options"), [(SGD, {"momentum": 0.9}), (Adam, {}), (AdamW, {"weight_decay": 0.0})])
def test_converges_on_a_quadratic(kind, options):
    curvature, target = np.array([1.0, 3.0, 10.0]), np.array([1.0, -2.0, 0.5])
    params = {"w": np.zeros(3)}
    optimizer = kind(params, **options)
    for step in range(1500):
        optimizer.step(params, {"w": curvature * (params["w"] - target)}, lr=0.05 * 0.995**step)
    np.testing.assert_allclose(params["w"], target, atol=1e-3)


# ---------------------------------------------------------------- what is written, and what is not
@every_variant
def test_parameters_change_in_place_and_gradients_do_not_change(variant):
    params = some_params()
    arrays, before = dict(leaves(params)), copied(params)
    optimizer = make(variant, params)
    for step in range(3):
        grads = some_grads(params, step)
        given = copied(grads)
        optimizer.step(params, grads, lr=0.1)
        assert_equal_trees(grads, given)
    for name, p in leaves(params):
        assert p is arrays[name]
        assert np.all(p != dict(leaves(before))[name])
    assert optimizer.steps == 3


@every_variant
def test_read_only_gradients_are_enough(variant):
    params = some_params()
    grads = some_grads(params, 0)
    for _, g in leaves(grads):
        g.setflags(write=False)
    optimizer = make(variant, params)
    optimizer.step(params, grads, lr=0.1)
    assert optimizer.steps == 1


@every_variant
def test_any_layout_gives_the_same_bits(variant):
    rng = np.random.default_rng(5)
    plain = {"w": rng.normal(size=(6, 8)), "b": rng.normal(size=4)}
    odd = {"w": np.asfortranarray(plain["w"]), "b": np.repeat(plain["b"], 2)[::2]}
    between = odd["b"].base[1::2].copy()
    one, other = make(variant, plain), make(variant, odd)
    for step in range(3):
        grads = some_grads(plain, step)
        one.step(plain, grads, lr=0.1)
        other.step(odd, {"b": grads["b"], "w": np.asfortranarray(grads["w"])}, lr=0.1)  # the order is free too
    assert not odd["w"].flags.c_contiguous and odd["b"].strides == (16,)
    assert_equal_trees(plain, odd)
    np.testing.assert_array_equal(odd["b"].base[1::2], between)


@every_variant
def test_blocks_leave_no_seam(variant, monkeypatch):
    whole, blocked = {"w": np.random.default_rng(0).normal(size=(5, 7))}, {}
    blocked["w"] = whole["w"].copy()
    one, other = make(variant, whole), make(variant, blocked)
    monkeypatch.setattr(update, "takes", lambda *_: False)
    for step in range(3):
        grads = some_grads(whole, step)
        one.step(whole, grads, lr=0.1)
        with monkeypatch.context() as patch:
            patch.setattr(base, "BLOCK", 8)  # 35 elements: four blocks and a rest
            other.step(blocked, grads, lr=0.1)
    np.testing.assert_array_equal(blocked["w"], whole["w"])


@every_variant
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 35, 40_000])  # less than a vector, less than a chunk, several chunks
def test_the_compiled_rule_is_the_readable_one(variant, dtype, size, monkeypatch):
    start = np.random.default_rng(2).normal(size=size).astype(dtype)
    results = []
    for is_compiled in (True, False):
        if not is_compiled:
            monkeypatch.setattr(update, "takes", lambda *_: False)
        params = {"w": start.copy()}
        optimizer = make(variant, params)
        for step in range(5):
            lr, momentum = rates(step)
            optimizer.step(
                params, some_grads(params, step), lr=lr, momentum=momentum if has_momentum(variant) else None
            )
        results.append([params["w"], *(s for _, s in leaves(optimizer.state))])
    for got, want in zip(*results, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=8 * np.finfo(dtype).eps * max(1, np.abs(want).max()))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="only x86 is slow with subnormal numbers")
@pytest.mark.skipif(load_extension(compiled.MODULE)[0] is None, reason="not built")
@pytest.mark.parametrize("variant", ["sgd_momentum", "sgd_nesterov", "adam", "adamw"])
@pytest.mark.parametrize(("dtype", "small"), [(np.float32, 1e-39), (np.float64, 1e-309)])
def test_state_below_the_normal_numbers_becomes_0(variant, dtype, small):
    """Where the gradient is 0 for good, momentum would stay a subnormal number, with which x86 is slow."""
    params = {"w": np.linspace(-1, 1, 40_000, dtype=dtype)}  # several threads
    before, optimizer = params["w"].copy(), make(variant, params)
    for _, slot in leaves(optimizer.state):
        slot[...] = small
    optimizer.step(params, {"w": np.zeros_like(before)}, lr=1e-3)
    assert not any(slot.any() for _, slot in leaves(optimizer.state))
    np.testing.assert_array_equal(params["w"], before * dtype(1 - 1e-3 * optimizer.weight_decay))
    assert np.full(40_000, small, dtype).all() and (np.full(9, small, dtype) * dtype(2)).all()  # all else keeps them


@pytest.mark.parametrize("eps", [0.0, 1e-30])
def test_adam_divides_by_the_root_of_a_subnormal_number_where_eps_is_smaller(eps):
    params = {"w": np.zeros(50, np.float32)}
    Adam(params, eps=eps).step(params, {"w": np.full(50, 1e-19, np.float32)}, lr=0.5)
    np.testing.assert_allclose(params["w"], -0.5, rtol=1e-2)


@every_variant
def test_float32_stays_float32(variant):
    params = some_params(dtype=np.float32)
    wide = copied(tree_map(lambda p: p.astype(np.float64), params))
    narrow_one, wide_one = make(variant, params), make(variant, wide)
    for step in range(5):
        grads = some_grads(params, step)
        narrow_one.step(params, grads, lr=np.float64(0.01))
        wide_one.step(wide, tree_map(lambda g: g.astype(np.float64), grads), lr=0.01)
    for name, p in leaves(params):
        assert p.dtype == np.float32
        np.testing.assert_allclose(p, dict(leaves(wide))[name], rtol=1e-5, atol=1e-6)
    assert all(s.dtype == np.float32 for _, s in leaves(narrow_one.state))


def test_parameters_of_size_0_are_left_in_peace():
    params = {"w": np.ones((0, 3)), "b": np.ones(2)}
    Adam(params).step(params, {"w": np.ones((0, 3)), "b": np.ones(2)}, lr=0.5)
    np.testing.assert_allclose(params["b"], 0.5)


# ---------------------------------------------------------------- sparse gradients
@every_variant
def test_absent_rows_keep_their_bits_and_their_state(variant):
    params = {"w": np.random.default_rng(0).normal(size=(6, 3))}
    optimizer = make(variant, params)
    optimizer.step(params, some_grads(params, 0), lr=0.1)
    before, state = params["w"].copy(), copied(optimizer.state)
    rows, absent = np.array([1, 4]), [0, 2, 3, 5]
    values = np.random.default_rng(1).normal(size=(2, 3))
    gradient = SparseRows(rows, values, 6)
    optimizer.step(params, {"w": gradient}, lr=0.1)
    np.testing.assert_array_equal(params["w"][absent], before[absent])
    assert np.all(params["w"][rows] != before[rows])
    for slot, tree in optimizer.state.items():
        np.testing.assert_array_equal(tree["w"][absent], state[slot]["w"][absent])
        assert np.all(tree["w"][rows] != state[slot]["w"][rows])
    np.testing.assert_array_equal(gradient.values, np.random.default_rng(1).normal(size=(2, 3)))


@every_variant
def test_visited_rows_are_updated_as_by_a_dense_gradient(variant):
    dense = {"w": np.random.default_rng(0).normal(size=(6, 3))}
    sparse = copied(dense)
    one, other = make(variant, dense), make(variant, sparse)
    rows = np.array([0, 2, 5])
    for step in range(5):
        values, (lr, momentum) = np.random.default_rng(step).normal(size=(3, 3)), rates(step)
        gradient = SparseRows(rows, values, 6)
        momentum = momentum if has_momentum(variant) else None
        one.step(dense, {"w": gradient.to_dense()}, lr=lr, momentum=momentum)
        other.step(sparse, {"w": gradient}, lr=lr, momentum=momentum)
    np.testing.assert_array_equal(sparse["w"][rows], dense["w"][rows])


def test_plain_sgd_makes_no_difference_between_sparse_and_dense():
    dense = {"w": np.random.default_rng(0).normal(size=(8, 3))}
    sparse = copied(dense)
    one, other = SGD(dense), SGD(sparse)
    for step in range(STEPS):
        rng = np.random.default_rng(step)
        gradient = SparseRows.from_indices(rng.integers(0, 8, 5), rng.normal(size=(5, 3)), 8)
        one.step(dense, {"w": gradient.to_dense()}, lr=0.1)
        other.step(sparse, {"w": gradient}, lr=0.1)
    np.testing.assert_array_equal(sparse["w"], dense["w"])


def test_sparse_rows_of_a_parameter_in_another_layout():
    plain = {"w": np.random.default_rng(0).normal(size=(6, 3))}
    odd = {"w": np.asfortranarray(plain["w"])}
    gradient = SparseRows(np.array([1, 3]), np.ones((2, 3)), 6)
    for params in (plain, odd):
        Adam(params).step(params, {"w": gradient}, lr=0.1)
    np.testing.assert_array_equal(odd["w"], plain["w"])


def test_a_sparse_gradient_without_rows_changes_nothing_but_the_count():
    params = {"w": np.ones((6, 3))}
    adam = Adam(params, weight_decay=0.1)
    adam.step(params, {"w": SparseRows(np.empty(0, np.int64), np.empty((0, 3)), 6)}, lr=0.1)
    np.testing.assert_array_equal(params["w"], 1.0)
    assert adam.steps == 1


# ---------------------------------------------------------------- weight decay by name
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_decay_exempts_by_whole_parts_of_the_name(name):
    params = {
        "norm": {"b": np.ones(2), "gamma": np.ones(2)},
        "b": np.ones(2),
        "w": {"gamma": np.ones(2)},
        "emb": np.ones(2),
    }
    optimizer = OPTIMIZERS[name](params, weight_decay=0.1, no_decay=("b", "norm.gamma"))
    optimizer.step(params, tree_map(np.zeros_like, params), lr=0.1)
    decayed = {leaf for leaf, p in leaves(params) if np.all(p < 1)}
    assert decayed == {"w.gamma", "emb"}


def test_no_decay_must_name_a_parameter():
    with pytest.raises(InputError, match=r"'bias'.*head\.scale, head\.w, trunk\.b, trunk\.w"):
        SGD(some_params(), weight_decay=0.1, no_decay=("bias",))


# ---------------------------------------------------------------- saved state
@every_variant
def test_resuming_gives_the_same_bits(variant):
    params = some_params()
    straight = make(variant, params)
    for step in range(3):
        straight.step(params, some_grads(params, step), lr=0.1)
    resumed_params, saved, steps = copied(params), copied(straight.state_tree()), straight.steps
    resumed = make(variant, resumed_params)
    resumed.load_state(saved, steps)
    kept = copied(saved)
    for step in range(3, 6):
        straight.step(params, some_grads(params, step), lr=0.1)
        resumed.step(resumed_params, some_grads(params, step), lr=0.1)
    assert_equal_trees(resumed_params, params)
    assert_equal_trees(saved, kept)  # copied in, not taken over
    assert resumed.steps == straight.steps == 6


def test_state_of_another_optimiser_is_refused_and_nothing_changes():
    params = some_params()
    adam, sgd = Adam(params), SGD(params, momentum=0.9)
    sgd.step(params, some_grads(params, 0), lr=0.1)
    before = copied(sgd.state)
    with pytest.raises(InputError, match=r"SGD: it lacks momentum\.head\.scale.* and has m\.head\.scale"):
        sgd.load_state(adam.state_tree(), 5)
    assert_equal_trees(sgd.state, before)
    assert sgd.steps == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["m"]["head"].update(w=np.zeros((6, 8))), r"'m\.head\.w'.*\(6, 8\).*\(6, 7\)"),
        (lambda s: s["v"]["head"].update(w=np.zeros((6, 7), np.float32)), r"'v\.head\.w'.*float32.*float64"),
        (lambda s: s["v"]["head"].pop("w"), r"lacks v\.head\.w\."),
    ],
)
def test_state_of_another_model_is_refused(change, message):
    params = some_params()
    saved = copied(Adam(params).state)
    change(saved)
    with pytest.raises(InputError, match=message):
        Adam(params).load_state(saved, 1)


def test_a_negative_count_of_steps_is_refused():
    params = some_params()
    with pytest.raises(InputError, match="-1 steps"):
        SGD(params).load_state({}, -1)


# ---------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g["head"].pop("w"), r"do not mirror the parameters: .* lacks head\.w\."),
        (lambda g: g.update(extra=np.ones(2)), r"has extra, which is not expected\."),
        (lambda g: g["trunk"].update(b=np.ones(4)), r"'trunk\.b' has shape \(4,\), the parameter \(5,\)"),
        (
            lambda g: g["head"].update(w=SparseRows(np.array([1]), np.ones((1, 7)), 5)),
            r"'head\.w' has shape \(5, 7\), the parameter \(6, 7\)",
        ),
    ],
)
def test_gradients_that_do_not_fit_change_nothing(change, message):
    params = some_params()
    before, grads, adam = copied(params), some_grads(params, 0), Adam(params)
    change(grads)
    with pytest.raises(InputError, match=message):
        adam.step(params, grads, lr=0.1)
    assert_equal_trees(params, before)
    assert adam.steps == 0


def test_other_parameters_than_at_construction_are_refused():
    params = some_params()
    sgd = SGD({"trunk": params["trunk"]})
    with pytest.raises(InputError, match=r"made for: .* has head\.scale, head\.w, which is not expected\."):
        sgd.step(params, some_grads(params, 0), lr=0.1)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (SGD, {"momentum": 1.0}, "momentum is 1.0"),
        (SGD, {"momentum": -0.1}, "momentum is -0.1"),
        (SGD, {"nesterov": True}, "type momentum=0.9"),
        (SGD, {"weight_decay": -1e-4}, "weight_decay is -0.0001"),
        (Adam, {"beta1": 1.0}, "beta1 is 1.0"),
        (Adam, {"beta2": 1.0}, "beta2 is 1.0"),
        (Adam, {"eps": -1e-8}, "eps is -1e-08"),
        (AdamW, {"weight_decay": float("nan")}, "weight_decay is nan"),
    ],
)
def test_options_out_of_range(kind, options, message):
    with pytest.raises(InputError, match=message):
        kind(some_params(), **options)


@pytest.mark.parametrize("lr", [-0.1, float("nan"), float("inf")])
def test_a_learning_rate_that_is_none(lr):
    params = some_params()
    with pytest.raises(InputError, match="lr is"):
        SGD(params).step(params, some_grads(params, 0), lr=lr)


def test_cycled_momentum_needs_a_buffer():
    params = some_params()
    sgd = SGD(params)
    with pytest.raises(InputError, match="cycle_momentum=false"):
        sgd.step(params, some_grads(params, 0), lr=0.1, momentum=0.95)
    assert sgd.steps == 0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_option_has_a_default_and_a_type(name):
    parameters = inspect.signature(OPTIMIZERS[name]).parameters
    options = [p for p in parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert {"weight_decay", "no_decay"} <= {p.name for p in options}
    assert all(p.default is not p.empty and p.annotation is not p.empty for p in options)
