"""State: assigned trees are set or refused, a cache serves one backward, an rng is an Rng, a batch has samples."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest

import npsoftmax.layers as layers
from npsoftmax.data import Batches, augment
from npsoftmax.data.normalize import Normalization
from npsoftmax.errors import InputError
from npsoftmax.heads import HEADS, ClassInfo
from npsoftmax.models import MODELS, OF_TOKENS, build_model
from npsoftmax.params import SparseRows, leaves, tree_map
from npsoftmax.random import Rng
from npsoftmax.training.mixing import mix, mixed_backward, mixed_forward

CLASSES = ClassInfo(6, np.arange(6, 0, -1), np.array([0, 0, 1, 1, 2, 2]))
IMAGES, LABELS = np.random.default_rng(0).random((4, 16, 16, 3)).astype(np.float32), np.array([0, 5, 2, 2])
OPTIONS = {"legacy_adaptive_untrained": {"cutoffs": (2, 4)}}
OF_IMAGES = [name for name in MODELS if name not in OF_TOKENS]
pytestmark = pytest.mark.filterwarnings("ignore::npsoftmax.heads.LegacyWiringWarning", "ignore:adaptive softmax")


SMALL = {
    "mlp": {"hidden": (8,)},
    "convnet": {"widths": (4,), "fc": 8},
    "resnet9": {"widths": (4, 4, 4, 4)},
    "vit": {"dim": 8, "depth": 1, "heads": 2, "mlp": 8},
}


def model(name="mlp", head="softmax", seed=0, model_opts=None, **options):
    return build_model(name, head, CLASSES, (16, 16, 3), seed=seed, model_opts=model_opts or SMALL[name], **options)


def head_of(name, classes=CLASSES, features=6, rng=None):
    return HEADS[name](features, classes, rng=rng or Rng(0), **OPTIONS.get(name, {}))


def dense(gradient):
    return gradient.to_dense() if isinstance(gradient, SparseRows) else gradient


def equal(tree, other):
    pairs = zip(leaves(tree), leaves(other), strict=True)
    return all(name == other_name and np.array_equal(dense(x), dense(y)) for (name, x), (other_name, y) in pairs)


# ---------------------------------------------------------------- trees that are assigned
@pytest.mark.parametrize("name", ["mlp", "convnet", "resnet9", "vit"])
def test_parameters_of_another_model_are_taken_over(name):
    one, other = model(name), model(name, seed=1)
    one.params, one.buffers = other.params, other.buffers
    assert equal(one.params, other.params)
    np.testing.assert_array_equal(one.log_prob(IMAGES), other.log_prob(IMAGES))
    next(leaves(one.params))[1][...] = 0  # a copy
    assert np.any(next(leaves(other.params))[1])


@pytest.mark.parametrize("name", HEADS)
def test_parameters_of_another_head_are_taken_over(name):
    whole = model(head=name, model_opts={"hidden": (4,), "logits": 6}, head_opts=OPTIONS.get(name))
    other = head_of(name, rng=Rng(7))
    h = whole.features(IMAGES)
    whole.head.params, whole.head.buffers = other.params, other.buffers
    assert equal(whole.params["head"], other.params) and equal(whole.head.params, other.params)
    np.testing.assert_array_equal(
        whole.log_prob(IMAGES, rng=Rng(3)), other.log_prob(h, rng=Rng(3).child("head")), strict=True
    )


def test_parameters_of_a_layer_are_those_of_its_model_and_keep_their_dtype():
    whole = model(model_opts={"hidden": (5,)})
    layer = whole.trunk.layers["fc1"]
    layer.params = {"w": np.zeros((768, 5)), "b": np.arange(5)}
    assert whole.params["trunk"]["fc1"]["b"].tolist() == [0, 1, 2, 3, 4]
    assert whole.params["trunk"]["fc1"]["b"].dtype == np.float32
    assert whole.features(IMAGES).tolist() == [[0, 1, 2, 3, 4]] * 4


def test_inner_layers_and_trees_of_heads_are_not_cut_off():
    block = layers.TransformerBlock(4, 2, 8, rng=Rng(0))
    block.mlp.params = tree_map(np.zeros_like, block.mlp.params)
    assert not np.any(block.params["mlp"]["fc1"]["w"])
    head = head_of("hierarchical")
    head.tree.params = tree_map(np.zeros_like, head.params)
    assert not np.any(head.params["w"])
    np.testing.assert_allclose(np.exp(head.log_prob(np.ones((1, 6), "f"))).sum(), 1, rtol=1e-6)


def test_trees_assigned_to_themselves_stay_the_same():
    whole = model()
    before = whole.params
    whole.params = whole.params
    assert whole.params is before and whole.head.params is before["head"]


def test_another_head_in_the_place_of_the_first_is_seen():
    whole = model(model_opts={"hidden": (6,)})
    whole.head = head_of("cosine")
    assert equal(whole.params["head"], whole.head.params) and "head" in whole.backward(whole.loss(IMAGES, LABELS)[1])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda p: 3, "params was given as int, but a dict of arrays was expected"),
        (lambda p: None, "params was given as NoneType"),
        (lambda p: list(p.items()), "given as list"),
        (lambda p: {}, "the new params lack 'trunk.fc1.w', but the same names as now were expected: trunk.fc1.w,"),
        (lambda p: p["head"], "lack 'trunk.fc1.w'"),
        (lambda p: p | {"more": np.ones(3)}, "have 'more'"),
        (lambda p: p | {"head": {"w": p["head"]["w"]}}, "lack 'head.b'"),
        (
            lambda p: p | {"head": {"w": p["head"]["w"].T, "b": p["head"]["b"]}},
            r"'head.w' of the new params is float32",
        ),
        (
            lambda p: p | {"head": {"w": p["head"]["w"], "b": np.float32(1)}},
            r"of shape \(\), but numbers of shape \(6,\)",
        ),
        (lambda p: p | {"head": {"w": p["head"]["w"], "b": ["a"] * 6}}, "'head.b' of the new params is <U1"),
        (lambda p: p | {"head": {"w": p["head"]["w"], "b": None}}, "'head.b' of the new params is object"),
    ],
)
def test_trees_that_do_not_fit_are_refused_and_nothing_is_changed(change, text):
    whole = model()
    before = tree_map(np.copy, whole.params)
    with pytest.raises(InputError, match=text):
        whole.params = change(dict(whole.params))
    assert equal(whole.params, before)


def test_buffers_and_parameters_of_parts_are_refused_alike():
    whole = model("resnet9")
    with pytest.raises(InputError, match="the new buffers lack"):
        whole.buffers = {}
    with pytest.raises(InputError, match="'w' of the new params is float64"):
        whole.head.params = {"w": np.ones((2, 2)), "b": np.ones(6)}
    with pytest.raises(InputError, match="the new params have 'x'"):
        whole.trunk.params = dict(whole.trunk.params) | {"x": np.ones(1)}


def test_models_are_still_copied_and_pickled():
    whole = model("resnet9")
    for other in (copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))):
        assert equal(whole.params, other.params) and other.params["head"] is other.head.params
        other.params = model("resnet9", seed=4).params
        assert not equal(whole.params, other.params)


# ---------------------------------------------------------------- caches
@pytest.mark.parametrize("name", OF_IMAGES)
def test_a_cache_used_twice_says_so(name):
    whole = build_model(name, "softmax", CLASSES)
    _, cache = whole.loss(np.zeros((1, 32, 32, 3), np.float32), np.array([0]), train=True, rng=Rng(0))
    whole.backward(cache)
    with pytest.raises(InputError, match=r"used up by an earlier backward.*call forward"):
        whole.backward(cache)


CONTAINERS = {
    "Sequential": (lambda: layers.Sequential(a=layers.Dense(4, 4, rng=Rng(0)), b=layers.ReLU()), (3, 4)),
    "Residual": (lambda: layers.Residual(layers.Sequential(a=layers.Dense(4, 4, rng=Rng(0)))), (3, 4)),
    "FeedForward": (lambda: layers.FeedForward(4, 8, rng=Rng(0)), (3, 5, 4)),
    "TransformerBlock": (lambda: layers.TransformerBlock(4, 2, 8, rng=Rng(0)), (3, 5, 4)),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_says_so_itself(name):
    make, shape = CONTAINERS[name]
    layer, x = make(), np.ones(shape, np.float32)
    y, cache = layer.forward(x, train=True, rng=Rng(0))
    layer.backward(y, cache)
    with pytest.raises(InputError, match="used up"):
        layer.backward(y, cache)


def test_a_mixed_step_says_so():
    whole = model()
    _, _, cache = mixed_forward(whole, IMAGES, LABELS, LABELS[::-1], 0.4, rng=Rng(0))
    mixed_backward(whole, cache)
    with pytest.raises(InputError, match="used up"):
        mixed_backward(whole, cache)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", HEADS)
def test_a_head_gives_the_same_gradients_from_its_cache_again(name, train):
    head, h = head_of(name), np.random.default_rng(1).standard_normal((4, 6)).astype(np.float32)
    _, cache = head.loss(h, LABELS, train=train, rng=Rng(0))
    (dh, grads), (dh_again, grads_again) = (
        tuple(copy.deepcopy(part) for part in head.backward(cache, 0.7)) for _ in range(2)
    )
    np.testing.assert_array_equal(dh, dh_again)
    assert equal(grads, grads_again)


# ---------------------------------------------------------------- an rng
NO_RNGS = [0, 7, np.int64(3), True, 0.5, "0", np.random.default_rng(0), np.random.RandomState(0)]


def takes_rng(name):
    made = getattr(layers, name)
    return inspect.isclass(made) and "rng" in inspect.signature(made).parameters


ARGUMENTS = {
    "Dense": (2, 3),
    "Conv2d": (2, 3, 3),
    "ConvReLU2d": (2, 3, 3),
    "ClassToken": (4,),
    "Embedding": (6, 4),
    "FeedForward": (4, 8),
    "MultiHeadAttention": (4, 2),
    "PatchEmbed": (2, 3, 4),
    "PositionEmbedding": (3, 4),
    "TransformerBlock": (4, 2, 8),
}

WITH_RNG = {
    **{f"layers.{n}": lambda rng, n=n: getattr(layers, n)(*ARGUMENTS[n], rng=rng) for n in ARGUMENTS},
    **{f"heads.{n}": lambda rng, n=n: HEADS[n](6, CLASSES, rng=rng) for n in HEADS},
    **{f"models.{n}": lambda rng, n=n: MODELS[n]((8,) if n in OF_TOKENS else (32, 32, 3), rng=rng) for n in MODELS},
    "Sequential.forward": lambda rng: CONTAINERS["Sequential"][0]().forward(np.ones((3, 4), "f"), rng=rng),
    "Residual.forward": lambda rng: CONTAINERS["Residual"][0]().forward(np.ones((3, 4), "f"), rng=rng),
    "FeedForward.forward": lambda rng: CONTAINERS["FeedForward"][0]().forward(np.ones((3, 5, 4), "f"), rng=rng),
    "TransformerBlock.forward": lambda rng: CONTAINERS["TransformerBlock"][0]().forward(
        np.ones((3, 5, 4), "f"), rng=rng
    ),
    "Dropout.forward": lambda rng: layers.Dropout(0.5).forward(np.ones((3, 4), "f"), train=True, rng=rng),
    "StochasticDepth.forward": lambda rng: layers.StochasticDepth(0.5).forward(np.ones(3, "f"), train=True, rng=rng),
    "MultiHeadAttention.forward": lambda rng: layers.MultiHeadAttention(4, 2, rng=Rng(0), dropout=0.5).forward(
        np.ones((3, 5, 4), "f"), train=True, rng=rng
    ),
    "sampled.loss": lambda rng: head_of("sampled").loss(np.ones((4, 6), "f"), LABELS, train=True, rng=rng),
    "gumbel_softmax.loss": lambda rng: head_of("gumbel_softmax").loss(
        np.ones((4, 6), "f"), LABELS, train=True, rng=rng
    ),
    **{f"{n}.loss": lambda rng, n=n: head_of(n).loss(np.ones((4, 6), "f"), LABELS, rng=rng) for n in HEADS},
    **{f"{n}.log_prob": lambda rng, n=n: head_of(n).log_prob(np.ones((4, 6), "f"), rng=rng) for n in HEADS},
    **{f"{n}.predict": lambda rng, n=n: head_of(n).predict(np.ones((4, 6), "f"), rng=rng) for n in HEADS},
    "Batches": lambda rng: Batches(
        np.zeros((4, 8, 8, 3), np.uint8), LABELS, 2, rng=rng, normalize=Normalization("none", (0.0,) * 3, (1.0,) * 3)
    ),
    "Model.loss": lambda rng: model().loss(IMAGES, LABELS, train=True, rng=rng),
    "Model.forward": lambda rng: model().forward(IMAGES, LABELS, rng=rng),
    "Model.log_prob": lambda rng: model().log_prob(IMAGES, rng=rng),
    "Model.predict": lambda rng: model().predict(IMAGES, rng=rng),
    "mix": lambda rng: mix(IMAGES, rng, mixup=1.0),
    "mixed_forward": lambda rng: mixed_forward(model(), IMAGES, LABELS, LABELS, 0.5, rng=rng),
    "augment.flip": lambda rng: augment.flip(IMAGES, rng),
    "augment.standard": lambda rng: augment.standard(IMAGES, rng),
    "augment.cutout": lambda rng: augment.cutout(IMAGES, rng),
}


def test_every_layer_that_takes_an_rng_is_tried():
    assert {name for name in layers.__all__ if takes_rng(name)} <= ARGUMENTS.keys()


@pytest.mark.parametrize("name", WITH_RNG)
def test_what_is_no_rng_is_refused_with_what_to_type(name):
    for rng in NO_RNGS:
        seed = int(rng) if isinstance(rng, int | np.integer) and rng is not True else 0
        with pytest.raises(InputError, match=rf"^rng is .*type rng=Rng\({seed}\)\.$"):
            WITH_RNG[name](rng)


# ---------------------------------------------------------------- batches of mixed images
@pytest.mark.parametrize(("head", "n"), [("adaptive", 10_001), ("sampled", 10_001), ("hierarchical", 10_001)])
def test_gradients_of_mixed_labels_add_up_however_sparse_they_are(head, n):
    """One label in the short list, one in a cluster: a gradient of rows and a dense one of the same parameter."""
    classes = ClassInfo(n, np.arange(n, 0, -1))
    whole = build_model("mlp", head, classes, (16, 16, 3), model_opts={"hidden": (4,)})
    for targets, others in (([0, 1], [0, n - 1]), ([n - 1, 2], [0, 1]), ([0, 1], [1, 0]), ([n - 1, 5], [5000, n - 1])):
        t, o, x = np.array(targets), np.array(others), IMAGES[:2]
        _, _, cache = mixed_forward(whole, x, t, o, 0.3, rng=Rng(0))
        grads = mixed_backward(whole, cache)
        h, head_rng = whole.trunk.forward(x, train=True, rng=Rng(0).child("trunk"))[0], Rng(0).child("head")
        parts = []
        for labels, weight in ((t, 0.3), (o, 0.7)):
            parts.append(whole.head.backward(whole.head.loss(h, labels, train=True, rng=head_rng)[1], weight)[1])
        expected = tree_map(lambda a, b: dense(a) + dense(b), *parts)
        for (name, got), (_, right) in zip(leaves(grads["head"]), leaves(expected), strict=True):
            np.testing.assert_allclose(dense(got), right, rtol=1e-6, atol=1e-8, err_msg=name)


# ---------------------------------------------------------------- no samples
@pytest.mark.parametrize("name", HEADS)
def test_a_head_refuses_the_loss_of_no_samples_and_predicts_none(name):
    head, h = head_of(name), np.zeros((0, 6), np.float32)
    for train in (False, True):
        with pytest.raises(InputError, match="a loss is a mean over samples, but this batch has none"):
            head.loss(h, np.zeros(0, int), train=train, rng=Rng(0))
    log_p, best = head.log_prob(h, rng=Rng(0)), head.predict(h, 2, rng=Rng(0))
    assert (log_p.shape, log_p.dtype, best.shape, best.dtype.kind) == ((0, 6), np.float32, (0, 2), "i")


@pytest.mark.parametrize("name", OF_IMAGES)
def test_a_model_refuses_the_loss_of_no_samples_and_predicts_none(name):
    whole, x = build_model(name, "softmax", CLASSES), np.zeros((0, 32, 32, 3), np.float32)
    with pytest.raises(InputError, match="a mean over samples, but this batch has none"):
        whole.loss(x, np.zeros(0, int))
    assert whole.log_prob(x).shape == (0, 6) and whole.predict(x, 3).shape == (0, 3)
