"""Every pair, mapping, layer, head, model and optimiser gives on a device what it gives in NumPy, to 1e-10 in float64.

On the strict stand-in this is the discipline of the code: a NumPy call or a stray host array in a pass raises. On a GPU
(`pytest -m gpu`) the same tests are those of the device.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
from parity import assert_same, move_tree, moved, table

from npsoftmax.functional import linear_softmax
from npsoftmax.functional.mappings import MAPPINGS
from npsoftmax.heads import ClassInfo
from npsoftmax.heads.row_map import SPARSE_FROM
from npsoftmax.kernels.linear_softmax import reference as linear_softmax_kernels
from npsoftmax.layers import Conv2d, ConvReLU2d
from npsoftmax.models import MODELS, build_model
from npsoftmax.params import leaves, replace_leaves
from npsoftmax.random import Rng
from npsoftmax.training.clipping import clip_by_norm, clip_by_value
from npsoftmax.training.mixing import mix, mixed_backward, mixed_forward
from npsoftmax.training.optimizers import OPTIMIZERS

pytestmark = [
    pytest.mark.filterwarnings("ignore::npsoftmax.heads.LegacyWiringWarning"),
    pytest.mark.filterwarnings("ignore:adaptive softmax"),
]

PAIRS = table("functional/test_pairs.py", "CASES")
LAYERS, built = table("layers/test_layers.py", "CASES"), table("layers/test_layers.py", "build")
HEAD_CASES, everyday = (table("heads/test_head_properties.py", name) for name in ("CASES", "everyday"))
built_head = table("heads/test_head_properties.py", "build")
TINY, samples = table("models/test_models.py", "TINY"), table("models/test_models.py", "samples")
MAPPING_CASES = table("functional/test_softmax_mappings.py", "CASES")


def normal(shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# ---------------------------------------------------------------- functional
@pytest.mark.parametrize("case", PAIRS.values(), ids=PAIRS)
def test_pair(case, device):
    arrays = case.arrays()
    y, dy, grads = case.run(arrays)
    *outputs, cache = case.forward(*moved(arrays, device), *moved(case.rest, device), **case.kwargs)
    assert_same(outputs[0], y, device, "y")
    found = case.backward(moved(dy, device), cache)
    assert_same(found if isinstance(found, tuple) else (found,), grads, device, "gradient")


@pytest.mark.parametrize(("block", "kept"), [(5 * 6, False), (5 * 13, False), (5 * 6, True)])
def test_a_softmax_in_blocks_of_classes(block, kept, monkeypatch, device):
    """A device has blocks of its own size, and nothing is computed twice where all of it is kept."""
    monkeypatch.setattr(linear_softmax_kernels, "DEVICE_BLOCK", block)
    monkeypatch.setattr(linear_softmax, "DEVICE_KEPT", 5 * 13 if kept else 0)
    h, w, b, dnll = normal((5, 3)), normal((13, 3), 1), normal(13, 2), normal(5, 3)
    t, options = np.array([0, 12, 5, 5, 7]), {"scale": 0.7, "lead": 0.3, "label_smoothing": 0.1, "z_loss": 0.01}
    gain = np.abs(normal(13, 4))
    nll, cache = linear_softmax.linear_softmax_nll_forward(h, w, b, t, gain=gain, **options)
    grads = linear_softmax.linear_softmax_nll_backward(dnll, cache)
    there, cache = linear_softmax.linear_softmax_nll_forward(
        *moved((h, w, b, t), device), gain=device.asarray(gain), **options
    )
    assert (cache[5][0] is not None) == kept
    found = linear_softmax.linear_softmax_nll_backward(device.asarray(dnll), cache)
    assert_same((there, *found), (nll, *grads), device, "loss or gradient")


@pytest.mark.parametrize(("name", "options"), MAPPING_CASES, ids=str)
def test_mapping(name, options, device):
    mapping, z = MAPPINGS[name], normal((3, 4, 5))
    args = (z, np.random.default_rng(7).gumbel(size=z.shape)) if mapping.needs_noise else (z,)
    masks = [{}, {"mask": np.random.default_rng(3).random(z.shape) < 0.7}] if mapping.kind == "probability" else [{}]
    for mask in masks:
        y, cache = mapping.forward(*args, **options, **mask)
        dy = normal(y.shape, 1)
        found, device_cache = mapping.forward(*moved(args, device), **options, **moved(mask, device))
        assert_same(found, y, device, "y")
        assert_same(mapping.backward(moved(dy, device), device_cache), mapping.backward(dy, cache), device, "dz")


# ---------------------------------------------------------------- layers
@pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("train", [False, True])
def test_layer(make, shape, train, device):
    x, rng = normal((3, *shape)), Rng(5).at(2, np.array([7, 1, 4]))
    on_host, on_device = built(make), built(make)
    move_tree(on_device.params, device)
    move_tree(on_device.buffers, device)
    y, cache = on_host.forward(x, train=train, rng=rng)
    found, device_cache = on_device.forward(moved(x, device), train=train, rng=rng)
    assert_same(found, y, device, "y")
    dy = normal(y.shape, 1)
    assert_same(on_device.backward(moved(dy, device), device_cache), on_host.backward(dy, cache), device, "gradient")
    assert_same(on_device.buffers, on_host.buffers, device, "buffers")


@pytest.mark.parametrize(
    ("k", "options"), [(3, {"pad": 1}), (3, {"pad": 1, "stride": 2}), ((3, 2), {"bias": False}), (1, {"stride": 2})]
)
@pytest.mark.parametrize("cls", [Conv2d, ConvReLU2d])
def test_convolution_of_many_channels(cls, k, options, device):
    """Those of the layers above have few, and go by columns."""
    x, layers = normal((2, 7, 6, 18)), [cls(18, 34, k, rng=Rng(0), **options) for _ in range(2)]
    for layer, backend in zip(layers, (None, device), strict=True):
        replace_leaves(layer.params, lambda _, p, to=backend: (to.asarray if to else np.asarray)(p, dtype=np.float64))
    y, cache = layers[0].forward(x, train=True)
    found, device_cache = layers[1].forward(moved(x, device), train=True)
    assert_same(found, y, device, "y")
    dy = normal(y.shape, 1)
    assert_same(layers[1].backward(moved(dy, device), device_cache), layers[0].backward(dy, cache), device, "gradient")


# ---------------------------------------------------------------- heads
def check_what_people_bring(on_host, on_device, h, t, device):
    """Weights of both kinds, a label to ignore, and soft targets, wherever these are."""
    n, classes = len(h), on_host.classes.n
    weights, rng = np.linspace(0, 2, n), Rng(5, "noise.head").at(3)
    q = np.abs(normal((n, classes), 7)) if on_host.soft_targets else None
    changed = {"class_weight": np.linspace(0.5, 2, classes), "ignore_label": -1}
    for head in (on_host, on_device):
        vars(head).update(changed)
    t = np.where(np.arange(n) == 0, -1, t)
    for targets in (t, q):
        if targets is None:
            continue
        value, cache = on_host.loss(h, targets, weights=weights, train=True, rng=rng)
        losses, gradients = on_host.losses(h, targets, rng=rng), on_host.backward(cache, 0.7)
        there = moved((h, targets, weights), device)
        ways = [there, (there[0], targets, weights)] if on_host.reads_labels or targets is q else [there]
        for x, given, w in ways:
            found, device_cache = on_device.loss(x, given, weights=w, train=True, rng=rng)
            assert_same(found, value, device, "weighted loss")
            assert_same(on_device.backward(device_cache, 0.7), gradients, device, "weighted gradient")
            assert_same(on_device.losses(x, given, rng=rng), losses, device, "losses")
    for head in (on_host, on_device):
        vars(head).update(dict.fromkeys(changed))


def check_head(on_host, on_device, h, t, device):
    for tree in (on_device.params, on_device.buffers):
        move_tree(tree, device)
    rng, there = Rng(5, "noise.head").at(3), moved((h, t), device)
    for train in (True, False):
        value, cache = on_host.loss(h, t, train=train, rng=rng)
        found, device_cache = on_device.loss(*there, train=train, rng=rng)
        assert_same(found, value, device, "loss")
        assert_same(on_device.backward(device_cache, 0.7), on_host.backward(cache, 0.7), device, "gradient")
    check_what_people_bring(on_host, on_device, h, t, device)
    assert_same(on_device.log_prob(there[0], rng=rng), on_host.log_prob(h, rng=rng), device, "log_prob")
    for k in (1, 3):
        assert_same(on_device.predict(there[0], k, rng=rng), on_host.predict(h, k, rng=rng), device, "predict")


@pytest.mark.parametrize("case", everyday(HEAD_CASES))
def test_head(case, device):
    check_head(built_head(case), built_head(case), normal((4, 5)), np.array([1, 6, 0, 1]), device)


def test_legacy_adaptive_untrained(device):
    case = ("legacy_adaptive_untrained", {"cutoffs": (3, 5)})
    check_head(
        built_head(case, features=7), built_head(case, features=7), normal((4, 7)), np.array([1, 6, 0, 5]), device
    )


@pytest.mark.parametrize("name", ["hierarchical", "adaptive", "sampled", "superclass", "nce", "arcface"])
def test_head_of_many_classes(name, device):
    """Where gradients are rows."""
    options = {"superclass": {"tree": "superclass"}, "arcface": {"share": 0.01}}.get(name, {})
    case = ("hierarchical" if name == "superclass" else name, options)
    heads = [built_head(case, n=SPARSE_FROM) for _ in range(2)]
    # Sure of themselves: a search then opens few classes.
    check_head(*heads, 40 * normal((4, 5)), np.array([1, SPARSE_FROM - 1, 77, 1]), device)


# ---------------------------------------------------------------- models
CLASSES = ClassInfo(7, counts=np.arange(1, 8), coarse=np.arange(7) % 2)


def model_of(name, head="softmax", backend=None, dtype=np.float64):
    options, shape = TINY[name]
    model = build_model(name, head, CLASSES, shape, model_opts=options)
    return model.to(backend, dtype) if backend else model


@pytest.mark.parametrize("name", MODELS)
def test_model(name, device, cpu):
    on_host, on_device = (model_of(name, backend=backend) for backend in (cpu, device))
    x, t, rng = samples(name, 5), np.array([1, 6, 0, 1, 2]), Rng(1).at(4)
    value, cache = on_host.loss(x, t, train=True, rng=rng)
    found, device_cache = on_device.loss(*moved((x, t), device), train=True, rng=rng)
    assert_same(found, value, device, "loss")
    assert_same(on_device.backward(device_cache), on_host.backward(cache), device, "gradient")
    assert_same(on_device.buffers, on_host.buffers, device, "buffers")
    assert_same(on_device.log_prob(moved(x, device)), on_host.log_prob(x), device, "log_prob")


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("head", ["softmax", "hierarchical", "adaptive"])
def test_mixed_batch(mixup, cutmix, head, device, cpu):
    on_host, on_device = (model_of("convnet", head, backend) for backend in (cpu, device))
    x, t, rng = normal((5, *on_host.input_shape)), np.array([1, 6, 0, 1, 2]), Rng(1).at(4)
    mixed, there = mix(x, rng, mixup=mixup, cutmix=cutmix), mix(moved(x, device), rng, mixup=mixup, cutmix=cutmix)
    assert there.weight == mixed.weight
    assert_same(there.images, mixed.images, device, "mixed")
    assert (there.partners == mixed.partners).all()
    _, value, cache = mixed_forward(on_host, mixed.images, t, t[mixed.partners], mixed.weight, rng=rng)
    labels = (t, t[there.partners]) if head == "adaptive" else moved((t, t[there.partners]), device)
    _, found, device_cache = mixed_forward(on_device, there.images, *labels, there.weight, rng=rng)
    assert_same(found, value, device, "loss")
    assert_same(mixed_backward(on_device, device_cache), mixed_backward(on_host, cache), device, "gradient")


# ---------------------------------------------------------------- after backward
def gradients_of(head, cpu):
    """A model and gradients for it: with some of them rows, under a head of many classes."""
    n = SPARSE_FROM if head == "rows" else 7
    options, shape = TINY["mlp"]
    classes = ClassInfo(n, counts=np.arange(1, n + 1))
    model = build_model("mlp", "hierarchical" if head == "rows" else head, classes, shape, model_opts=options)
    model.to(cpu, np.float64)
    x, t = normal((5, *shape)), np.array([1, 6, 0, 1, n - 1])
    _, cache = model.loss(x, t, train=True, rng=Rng(1))
    return model, x, t, model.backward(cache)


@pytest.mark.parametrize("head", ["softmax", "rows"])
def test_clipping(head, device, cpu):
    model, x, t, grads = gradients_of(head, cpu)
    model.to(device, np.float64)
    _, cache = model.loss(*moved((x, t), device), train=True, rng=Rng(1))
    there = model.backward(cache)
    assert_same(clip_by_value(there, 0.01), clip_by_value(grads, 0.01), device, "by value")
    for limit in (0.01, 1e6):
        expected, norm = clip_by_norm(grads, limit)
        found, device_norm = clip_by_norm(there, limit)
        assert_same(found, expected, device, f"norm {limit}")
        assert float(device_norm) == pytest.approx(norm, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sgd", {}),
        ("sgd", {"momentum": 0.9, "weight_decay": 0.1}),
        ("sgd", {"momentum": 0.9, "nesterov": True}),
        ("adam", {"weight_decay": 0.1}),
        ("adamw", {"weight_decay": 0.1, "no_decay": ("b",)}),
        ("muon", {"matrices": True, "weight_decay": 0.1, "steps": 3}),
        ("muon", {"matrices": True, "unit_filters": True}),
    ],
)
@pytest.mark.parametrize("head", ["softmax", "rows"])
def test_optimizer(name, options, head, device, cpu):
    model, x, t, grads = gradients_of(head, cpu)
    params = copy.deepcopy(model.params)
    model.to(device, np.float64)
    _, cache = model.loss(*moved((x, t), device), train=True, rng=Rng(1))
    there, model_params = model.backward(cache), model.params
    optimizers = [OPTIMIZERS[name](p, **options) for p in (params, model_params)]
    for _ in range(3):
        optimizers[0].step(params, grads, lr=0.1)
        optimizers[1].step(model_params, there, lr=0.1)
    assert_same(model_params, params, device, "parameters")
    assert_same(optimizers[1].state_tree(), optimizers[0].state_tree(), device, "state")


def test_state_of_an_optimizer_comes_back(device, cpu):
    model, _, _, _ = gradients_of("softmax", cpu)
    model.to(device, np.float64)
    first, second = (OPTIMIZERS["adam"](model.params) for _ in range(2))
    for _, array in leaves(first.state):
        array += 0.5
    second.load_state(first.state_tree(), 3)
    assert all(float(array.min()) == 0.5 for _, array in leaves(second.state))


# ---------------------------------------------------------------- noise
@pytest.mark.parametrize("draw", ["uniform", "normal", "gumbel"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noise(draw, dtype, device):
    rng = Rng(3, "a.layer").at(11, np.array([5, 2**33 + 1, 0]))
    found = getattr(rng, draw)((3, 5, 2), dtype, device.xp)
    expected = getattr(rng, draw)((3, 5, 2), dtype)
    assert_same(found, expected, device, draw, rtol=1e-10 if dtype is np.float64 else 1e-5, atol=1e-6)


def test_noise_of_whole_numbers_is_the_same_to_the_bit(device):
    rng = Rng(3, "a.layer").at(11, np.array([5, 2**33 + 1, 0]))
    for shape in ((3,), (3, 1), (3, 4), (3, 2, 5)):
        assert (rng.bits(shape, device.xp).get() == rng.bits(shape)).all()
        assert (rng.integers(-3, 900, shape, device.xp).get() == rng.integers(-3, 900, shape)).all()
        assert (rng.keep_mask(shape, 0.4, device.xp).get() == rng.keep_mask(shape, 0.4)).all()
