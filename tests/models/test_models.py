"""Every model with every head: gradients, counts, seeds, batches cut in two, errors of options and shapes."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from npsoftmax import layers
from npsoftmax.backend import get_backend
from npsoftmax.errors import InputError
from npsoftmax.gradcheck import check_model
from npsoftmax.heads import HEADS, ClassInfo
from npsoftmax.layers import Conv2d, all_layers
from npsoftmax.models import MODELS, OF_TOKENS, build_model, model_builder
from npsoftmax.models.trunks import features_of
from npsoftmax.params import SparseRows, leaves
from npsoftmax.random import Rng

CLASSES = ClassInfo(7, counts=np.array([3, 9, 1, 4, 1, 5, 9]), coarse=np.array([0, 1, 0, 2, 1, 2, 0]))

# The smallest of each kind: options, shape of a sample.
TINY = {
    "mlp": ({"hidden": (5, 4)}, (2, 3)),
    "convnet": ({"widths": (2, 3), "fc": 5, "dropout": 0.2}, (5, 4, 2)),
    "tinyvgg": ({"width": 2}, (4, 5, 3)),
    "resnet9": ({"widths": (2, 3, 4, 5)}, (8, 9, 2)),
    "speednet": ({"widths": (2, 3)}, (8, 5, 2)),
    "whitened_resnet": ({"widths": (2,), "inner": (3,), "kernels": (2, 1, 3), "init": "default"}, (5, 4, 1)),
    "vit": ({"patch": 2, "dim": 6, "depth": 2, "heads": 2, "mlp": 5, "dropout": 0.1, "drop_path": 0.1}, (4, 6, 2)),
    "vit_small": ({"dim": 4, "depth": 1, "heads": 2, "mlp": 3}, (4, 8, 1)),
    "vit_e4": ({"patch": 3, "dim": 4, "heads": 2, "mlp": 6}, (6, 3, 2)),
    "token_mlp": ({"words": 6, "embedding": 3, "hidden": (5, 4), "dropout": 0.1}, (2,)),
}
every_model = pytest.mark.parametrize("name", MODELS)
LONG = ("vit", "resnet9")  # layers and blocks alone are checked every day
CORRECT = [head for head in HEADS if not HEADS[head].legacy]
every_head = pytest.mark.parametrize("head", CORRECT)


def every_pair(heads):
    """Every head on an mlp and every model under the first head each day, all pairs in the long tests."""
    pairs = [(name, head, name == "mlp" or head == heads[0]) for name in MODELS for head in heads]
    return pytest.mark.parametrize(
        ("name", "head"), [pytest.param(*pair, marks=() if daily else pytest.mark.slow) for *pair, daily in pairs]
    )


# Legacy wirings promise neither a probability nor a gradient worth following; they say so when they are built.
pytestmark = pytest.mark.filterwarnings("ignore:Legacy")


def tiny(name, head="softmax", dtype=np.float64, **options):
    model_opts, shape = TINY[name]
    if head == "legacy_adaptive_untrained":  # it predicts from the features, one a class
        model_opts, options = {**model_opts, "logits": CLASSES.n}, {"head_opts": {"cutoffs": (3, 5)}, **options}
    if head == "ldam":  # one feature is alive in the tiny tinyvgg, so cosines hardly move; a large loss would hide that
        options = {"head_opts": {"margin": 0.1}, **options}
    return build_model(name, head, CLASSES, shape, model_opts=model_opts, **options).to(get_backend("numpy"), dtype)


def samples(name, n, dtype=np.float64, seed=0):
    """Of the tiny version of a model: n images, or n windows of words."""
    (options, shape), rng = TINY[name], np.random.default_rng(seed)
    if name in OF_TOKENS:
        return rng.integers(0, options["words"], (n, *shape))
    return rng.standard_normal((n, *shape)).astype(dtype)


def batch(model, n=5, seed=0):
    dtype = next(p.dtype for _, p in leaves(model.params))
    return samples(model.name, n, dtype, seed), np.random.default_rng(seed + 1).integers(0, CLASSES.n, n)


# ---------------------------------------------------------------- every model, every head
def test_every_model_has_a_tiny_version():
    assert set(TINY) == set(MODELS)


def check_gradients(name, head, train, elements=3):
    model = tiny(name, head, seed=1 if head == "arcface" else 0)  # as for ldam: with these, more features are alive
    check_model(model, *batch(model), train=train, rng=Rng(1) if train else None, elements=elements).assert_ok()


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in MODELS])
def test_gradients_of_every_model(name, train):
    check_gradients(name, "softmax", train)


@every_head
@pytest.mark.parametrize("train", [False, True])
def test_gradients_of_every_head_on_a_trunk(head, train):
    check_gradients("mlp", head, train)


@pytest.mark.slow
@every_model
@every_head
def test_gradients_of_every_model_with_every_head(name, head):
    check_gradients(name, head, train=True, elements=10)


@every_pair([head for head in HEADS if HEADS[head].legacy])
def test_a_legacy_wiring_takes_a_step(name, head):
    model = tiny(name, head, np.float32)
    value, cache = model.loss(*batch(model), train=True, rng=Rng(1))
    grads = model.backward(cache)
    assert np.isfinite(value)
    assert all(np.isfinite(g.to_dense() if isinstance(g, SparseRows) else g).all() for _, g in leaves(grads))
    assert [n for n, _ in leaves(grads["trunk"])] == [n for n, _ in leaves(model.params["trunk"])]


@every_pair(CORRECT)
def test_a_step_and_a_prediction(name, head):
    model = tiny(name, head, np.float32)
    x, t = batch(model)
    value, cache = model.loss(x, t, train=True, rng=Rng(1))
    grads = model.backward(cache)
    assert np.isfinite(value) and value.dtype == np.float32
    assert [n for n, _ in leaves(grads)] == [n for n, _ in leaves(model.params)]
    assert all(g.dtype == np.float32 for _, g in leaves(grads))
    log_p = model.log_prob(x)
    if model.head.distribution:
        np.testing.assert_allclose(np.exp(log_p.astype(np.float64)).sum(axis=1), 1, rtol=1e-5)
    labels = model.predict(x, k=3)
    assert labels.shape == (5, 3) and all(len(set(row)) == 3 for row in labels.tolist())
    np.testing.assert_array_equal(model.predict(x), labels[:, :1])


@every_pair([head for head in CORRECT if HEADS[head].likelihood])
def test_the_loss_in_evaluation_is_minus_the_mean_log_probability(name, head):
    model = tiny(name, head)
    x, t = batch(model)
    value, _ = model.loss(x, t)
    assert value == pytest.approx(-model.log_prob(x)[np.arange(5), t].mean(), rel=1e-9)


def test_a_head_with_noise_in_evaluation_takes_it_from_the_rng():
    model = tiny("mlp", "gumbel_softmax", head_opts={"eval_noise": True})
    x, _ = batch(model)
    first, again, other = (model.log_prob(x, rng=Rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(model.predict(x, rng=Rng(0))[:, 0], first.argmax(axis=1))


@every_model
def test_features_are_what_the_head_gets(name):
    model = tiny(name)
    x, t = batch(model)
    h, value, _ = model.forward(x, t)
    np.testing.assert_array_equal(model.features(x), h)
    assert h.shape == (5, model.head.features)
    assert value == model.loss(x, t)[0] == model.head.loss(h, t)[0]


@every_model
def test_nothing_passed_in_is_changed(name):
    model = tiny(name)
    x, t = batch(model)
    x.flags.writeable = t.flags.writeable = False
    before = [p.tobytes() for _, p in leaves(model.params)]
    _, cache = model.loss(x, t, train=True, rng=Rng(0))
    model.backward(cache)
    assert [p.tobytes() for _, p in leaves(model.params)] == before


@every_model
def test_a_factor_on_the_loss_is_a_factor_on_every_gradient(name):
    model = tiny(name)
    x, t = batch(model)
    grads = [dict(leaves(model.backward(model.loss(x, t)[1], dloss))) for dloss in (1.0, -2.5)]
    for key, g in grads[0].items():
        np.testing.assert_allclose(grads[1][key], -2.5 * g, rtol=1e-12, atol=1e-15)


# ---------------------------------------------------------------- counts
@functools.cache
def resnet9():
    return build_model("resnet9")


def e4():
    options = {"widths": (6, 8, 10), "fc": 200, "logits": 100, "relu_logits": True}
    return build_model("convnet", model_opts=options, head_opts={"linear": False})


# Patches, class token, 65 positions; six blocks of two norms, four projections and the feed-forward part; norm, head.
VIT_SMALL = (
    (48 * 192 + 192)
    + 192
    + 65 * 192
    + 6 * (4 * 192 + 4 * (192 * 192 + 192) + (192 * 384 + 384) + (384 * 192 + 192))
    + 2 * 192
    + (192 * 100 + 100)
)


# Three convolutions without bias with their norms, two with bias and norm in each residual; the head.
SPEEDNET = (
    sum(9 * c * f + 2 * f for c, f in ((3, 64), (64, 128), (128, 256)))
    + sum(2 * (9 * f * f + 3 * f) for f in (64, 128, 256))
    + (256 * 100 + 100)
)


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (resnet9, 6_621_540),
        (e4, 53_638),
        (lambda: build_model("speednet"), SPEEDNET),
        (lambda: build_model("mlp"), 3072 * 256 + 256 + 256 * 128 + 128 + 128 * 100 + 100),
        (lambda: build_model("tinyvgg"), (27 * 10 + 10) + 3 * (90 * 10 + 10) + 640 * 100 + 100),
        (lambda: build_model("convnet"), 896 + 18_496 + 73_856 + 2048 * 256 + 256 + 256 * 100 + 100),
        (lambda: build_model("vit_e4"), 3_312_740),
        (lambda: build_model("vit_small"), VIT_SMALL),
        (lambda: build_model("mlp", classes=10, input_shape=(5,), model_opts={"hidden": ()}), 60),
    ],
)
def test_parameter_counts(make, parameters):
    model = make()
    assert model.parameter_count() == parameters
    assert f"{parameters:,} parameters" in repr(model)


def test_the_e4_network_is_the_published_one():
    assert list(e4().trunk.layers) == [
        *(f"{kind}{i}" for i in (1, 2, 3) for kind in ("conv", "pool")),  # the ReLU stands inside the pool
        *("flatten", "fc", "relu_fc", "logits", "relu_logits"),
    ]
    assert e4().head.params == {}


def convolution(pixels, c, f, k=9):
    return pixels * c * f * k


RESNET9 = (
    convolution(1024, 3, 64)
    + convolution(1024, 64, 128)
    + 2 * convolution(256, 128, 128)
    + convolution(256, 128, 256)
    + convolution(64, 256, 512)
    + 2 * convolution(16, 512, 512)
    + 512 * 100
)
E4 = convolution(1024, 3, 6) + convolution(256, 6, 8) + convolution(64, 8, 10) + 160 * 200 + 200 * 100
# 16 patches; 17 tokens in one block: projections, scores and means of values, the feed-forward part; the head.
VIT_E4 = 16 * 192 * 512 + 17 * (4 * 512 * 512 + 2 * 17 * 512 + 2 * 512 * 2048) + 512 * 100
VGG = convolution(1024, 3, 10) + convolution(1024, 10, 10) + 2 * convolution(256, 10, 10) + 640 * 100


@pytest.mark.parametrize(
    ("make", "macs", "published"),
    [
        (resnet9, RESNET9, 379e6),
        (e4, E4, 0.37e6),
        (lambda: build_model("tinyvgg"), VGG, 1.7e6),
        (lambda: build_model("vit_e4"), VIT_E4, 55e6),
    ],
)
def test_multiply_adds(make, macs, published):
    assert make().macs() == macs == pytest.approx(published, rel=0.03)


# ---------------------------------------------------------------- seeds and noise
def values(model):
    return {name: p.tobytes() for name, p in leaves(model.params)}


@every_pair(CORRECT)
def test_the_seed_decides_all_parameters(name, head):
    assert values(tiny(name, head, seed=3)) == values(tiny(name, head, seed=3))
    first, other = values(tiny(name, head, seed=3)), values(tiny(name, head, seed=4))
    assert [n for n in first if n.endswith(".w") and first[n] == other[n]] == []


@every_pair(CORRECT)
def test_heads_are_compared_on_the_same_trunk(name, head):
    ours, softmax = tiny(name, head), tiny(name, "softmax")
    assert values(ours.trunk) == values(softmax.trunk)


@every_model
def test_no_two_layers_start_with_the_same_values(name):
    starts = [p.ravel()[:4].tobytes() for n, p in leaves(tiny(name).params) if n.endswith(".w")]
    assert len(set(starts)) == len(starts)


@pytest.mark.parametrize("name", ["convnet", "resnet9"])
def test_dropout_draws_from_the_rng_in_training_alone(name):
    model = tiny(name)
    x, t = batch(model)
    losses = [model.loss(x, t, train=True, rng=rng)[0] for rng in (Rng(0), Rng(0), Rng(1), Rng(0).at(1))]
    assert losses[0] == losses[1] and len(set(losses)) == 3
    with pytest.raises(InputError, match=r"dropout in training draws a mask: pass rng=Rng\(seed\)"):
        model.loss(x, t, train=True)
    assert model.loss(x, t)[0] == model.loss(x, t, rng=Rng(9))[0]


@pytest.mark.parametrize("name", ["mlp", "convnet", "tinyvgg"])
def test_gradients_of_the_parts_of_a_batch_average_to_those_of_the_batch(name):
    """Without batch norm, what a rank needs to know of the others is only how many samples they have."""
    model = tiny(name)
    x, t = batch(model, n=6)
    samples = np.arange(40, 46)

    def grads(part):
        _, cache = model.loss(x[part], t[part], train=True, rng=Rng(0).at(2, samples[part]))
        return dict(leaves(model.backward(cache)))

    whole, two, four = grads(slice(None)), grads(slice(0, 2)), grads(slice(2, 6))
    for key, g in whole.items():
        np.testing.assert_allclose((2 * two[key] + 4 * four[key]) / 6, g, rtol=1e-10, atol=1e-14)


def test_running_statistics_are_written_in_training_alone():
    model = tiny("resnet9")
    x, t = batch(model)
    before = {name: b.tobytes() for name, b in leaves(model.buffers["trunk"])}
    model.loss(x, t)
    model.predict(x)
    assert {name: b.tobytes() for name, b in leaves(model.buffers["trunk"])} == before
    model.loss(x, t, train=True, rng=Rng(0))
    after = {name: b.tobytes() for name, b in leaves(model.buffers["trunk"])}
    assert len(before) == 16 and all(after[name] != before[name] for name in before)


@every_model
def test_plain_gradient_descent_learns_five_samples_by_heart(name):
    model = tiny(name)
    x, t = batch(model)
    first = model.loss(x, t, train=True, rng=Rng(0))[0]
    for step in range(60):
        _, cache = model.loss(x, t, train=True, rng=Rng(0).at(step))
        grads = dict(leaves(model.backward(cache)))
        for key, p in leaves(model.params):
            p -= 0.3 * grads[key]
    assert model.loss(x, t, train=True, rng=Rng(0))[0] < 0.7 * first


# ---------------------------------------------------------------- moving
def test_to_converts_what_floats_and_keeps_the_rest():
    model = build_model("resnet9", "hierarchical", CLASSES, (8, 8, 3), model_opts={"widths": (2, 3, 4, 5)})
    kinds = {name: b.dtype.kind for name, b in leaves(model.buffers)}
    assert {p.dtype for _, p in leaves(model.params)} == {np.dtype(np.float32)}
    assert model.to(get_backend("numpy"), np.float64) is model
    assert {p.dtype for _, p in leaves(model.params)} == {np.dtype(np.float64)}
    assert {name: b.dtype.kind for name, b in leaves(model.buffers)} == kinds and set(kinds.values()) == {"f", "i"}
    convolutions = [layer for layer in all_layers(model.trunk) if isinstance(layer, Conv2d)]
    assert len(convolutions) == 8 and all(c.params["w"].dtype == np.float64 for c in convolutions)
    assert model.features(np.zeros((2, 8, 8, 3))).dtype == np.float64


# ---------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet",), r"unknown model 'resnet'\. Did you mean 'resnet9'"),
        (("mlp", "sofmax"), r"unknown head 'sofmax'\. Did you mean 'softmax'"),
        (("mlp", "softmax", 1), "at least 2 classes, not 1"),
    ],
)
def test_names_and_classes(arguments, message):
    with pytest.raises(InputError, match=message):
        build_model(*arguments)
    with pytest.raises(InputError, match="unknown model"):
        model_builder("nothing")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mlp", {"widths": (3,)}, r"unknown option of model 'mlp' 'widths'.*Known: hidden, init, logits, relu_logits"),
        ("mlp", {"hidden": (4, 0)}, "outputs is 0, but a whole number of at least 1"),
        ("mlp", {"hidden": (2.5,)}, "option 'hidden' of model 'mlp' is 2.5, but a whole number"),
        ("mlp", {"init": "xavier"}, "unknown initialisation 'xavier'"),
        ("mlp", {"logits": 0}, "logits is 0, but at least 1"),
        ("mlp", {"relu_logits": True}, "relu_logits=true needs logits=N"),
        ("convnet", {"widths": (4, -8)}, "outputs is -8"),
        ("convnet", {"fc": 0}, "outputs is 0"),
        ("convnet", {"dropout": 1.0}, "dropout is 1.0"),
        ("convnet", {"dropout": -0.5}, "dropout is -0.5"),
        ("tinyvgg", {"pad": -1}, "pad is -1"),
        ("tinyvgg", {"width": 0}, "outputs is 0"),
        ("resnet9", {"widths": (4, 8)}, "resnet9 has four widths, such as widths=64,128,256,512; 2 were given"),
        ("resnet9", {"dropout": "half"}, "option 'dropout' of model 'resnet9' is 'half', but a number"),
    ],
)
def test_options_of_a_model(name, options, message):
    with pytest.raises(InputError, match=message):
        build_model(name, model_opts=options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temprature": 2}, r"unknown option of head 'softmax' 'temprature'\. Did you mean 'temperature'"),
        ({"temperature": 0.0}, "temperature is 0"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
        ({"linear": False}, r"128 of them.*--model-opt logits=100"),
    ],
)
def test_options_of_a_head(options, message):
    with pytest.raises(InputError, match=message):
        build_model("mlp", head_opts=options)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        (
            "convnet",
            (3, 32, 32),
            r"convnet takes images of at least 8x8 pixels, not samples of shape \(3, 32, 32\).*mlp",
        ),
        ("convnet", (64,), "convnet takes images"),
        ("tinyvgg", (3, 8, 1), "at least 4x4"),
        ("resnet9", (7, 8, 3), "at least 8x8"),
        ("resnet9", (1, 8, 8, 3), "takes images"),
    ],
)
def test_input_shapes(name, shape, message):
    with pytest.raises(InputError, match=message):
        build_model(name, input_shape=shape)


def test_tinyvgg_without_padding_needs_16_pixels():
    with pytest.raises(InputError, match="at least 16x16"):
        build_model("tinyvgg", input_shape=(15, 16, 3), model_opts={"pad": 0})
    model = build_model("tinyvgg", input_shape=(16, 16, 3), model_opts={"pad": 0})
    assert model.features(np.zeros((2, 16, 16, 3), np.float32)).shape == (2, 10)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3, 4), (2, 2, 2, 2)])
def test_an_mlp_takes_samples_of_any_shape(shape):
    model = build_model("mlp", classes=3, input_shape=shape)
    assert model.log_prob(np.zeros((5, *shape), np.float32)).shape == (5, 3)


@pytest.mark.parametrize("shape", [(8, 8, 3), (9, 15, 1), (36, 33, 3), (64, 64, 3)])
def test_resnet9_takes_images_of_any_size(shape):
    model = build_model("resnet9", input_shape=shape, model_opts={"widths": (2, 2, 3, 4)})
    assert model.features(np.zeros((2, *shape), np.float32)).shape == (2, 4)


def test_a_batch_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"Conv2d\(2, 2.*takes images of shape \(H, W, 2\)"):
        tiny("convnet").predict(np.zeros((2, 5, 4, 3)))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.array([0, 1, 7]), "labels run from 0 to 7, but 7 classes are numbered from 0"),
        (np.array([0, -1, 2]), "labels run from -1 to 2"),
        (np.array([0.0, 1.0, 2.0]), "labels are float64"),
        (np.array([0, 1]), "one for each of the 3 rows is needed"),
    ],
)
def test_targets_that_do_not_fit(targets, message):
    model = tiny("mlp")
    with pytest.raises(InputError, match=message):
        model.loss(batch(model, n=3)[0], targets)


@pytest.mark.parametrize("k", [0, 8])
def test_k_is_from_1_to_the_number_of_classes(k):
    model = tiny("mlp")
    with pytest.raises(InputError, match=f"k is {k}, but a number from 1 to 7"):
        model.predict(batch(model)[0], k=k)


def test_a_trunk_must_end_in_a_vector():
    trunk = layers.Sequential(conv=Conv2d(3, 4, 3, rng=Rng(0)))
    with pytest.raises(InputError, match=r"must end in a vector of features, but it ends in shape \(6, 6, 4\)"):
        features_of(trunk, (8, 8, 3))
