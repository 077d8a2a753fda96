"""Every layer: its gradients, shapes, dtype and purity; then what each one promises, and its errors."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npsoftmax import layers
from npsoftmax.errors import InputError
from npsoftmax.gradcheck import check_layer
from npsoftmax.layers import (
    GELU,
    AvgPool2d,
    BatchNorm,
    BatchNormReLU,
    BatchNormSiLU,
    ClassToken,
    Conv2d,
    ConvReLU2d,
    Dense,
    Dropout,
    FeedForward,
    Flatten,
    GlobalAvgPool,
    GlobalMaxAvgPool,
    GlobalMaxPool,
    Layer,
    LayerNorm,
    MaxPool2d,
    MaxPoolReLU2d,
    MultiHeadAttention,
    PadToOdd,
    PatchEmbed,
    PatchWhitening,
    PositionEmbedding,
    ReLU,
    Residual,
    Sequential,
    SiLU,
    StochasticDepth,
    TokenPool,
    TransformerBlock,
    all_layers,
    leaves,
    replace_leaves,
    tree_map,
)
from npsoftmax.layers.initialisation import INITIALISERS
from npsoftmax.random import Rng

R = Rng(3, "layers")


def block():
    return Sequential(conv=Conv2d(3, 3, 3, pad=1, rng=R.child("conv")), norm=BatchNorm(3), relu=ReLU())


def network():
    return Sequential(
        conv1=Conv2d(2, 3, (3, 2), pad=1, rng=R.child("conv1")),
        relu1=ReLU(),
        residual=Residual(block()),
        pool=MaxPool2d(2),
        flatten=Flatten(),
        drop=Dropout(0.4),
        fc=Dense(18, 4, rng=R.child("fc")),
    )


# name -> (what makes the layer, shape of a sample)
CASES = {
    "Dense": (lambda: Dense(5, 3, rng=R), (5,)),
    "Dense, no bias": (lambda: Dense(5, 3, rng=R, bias=False), (5,)),
    "Conv2d": (lambda: Conv2d(2, 3, (3, 2), pad=1, rng=R), (4, 5, 2)),
    "Conv2d, stride": (lambda: Conv2d(2, 3, 3, stride=(2, 3), pad=(0, 2), rng=R, bias=False), (6, 5, 2)),
    "Conv2d, naive": (lambda: Conv2d(2, 3, 2, stride=2, rng=R, algorithm="naive"), (5, 4, 2)),
    "Conv2d, im2col": (lambda: Conv2d(2, 3, 2, pad=2, rng=R, algorithm="im2col"), (3, 4, 2)),
    "Conv2d, tiled": (lambda: Conv2d(2, 3, 2, pad=2, rng=R, algorithm="tiled"), (3, 4, 2)),
    "Conv2d, winograd": (lambda: Conv2d(2, 3, 3, pad=(1, 2), rng=R, algorithm="winograd"), (3, 5, 2)),
    "Conv2d, direct": (lambda: Conv2d(2, 3, (2, 3), pad=(1, 2), rng=R, algorithm="direct"), (3, 5, 2)),
    "ConvReLU2d, direct": (lambda: ConvReLU2d(2, 3, 3, pad=1, rng=R, algorithm="direct"), (3, 5, 2)),
    "ConvReLU2d": (lambda: ConvReLU2d(2, 3, 2, pad=2, rng=R), (3, 4, 2)),
    "ConvReLU2d, winograd": (lambda: ConvReLU2d(2, 3, 3, pad=1, rng=R, algorithm="winograd"), (3, 5, 2)),
    "ConvReLU2d, im2col": (lambda: ConvReLU2d(2, 3, 3, rng=R, bias=False, algorithm="im2col"), (3, 5, 2)),
    "ConvReLU2d, not fused": (lambda: ConvReLU2d(2, 3, 3, stride=2, rng=R, fused=False), (5, 5, 2)),
    "ReLU": (ReLU, (4, 3)),
    "GELU": (GELU, (4, 3)),
    "SiLU": (SiLU, (4, 3)),
    "SiLU, plain": (lambda: SiLU(fused=False), (4, 3)),
    "Dropout": (lambda: Dropout(0.3), (4, 3)),
    "Dropout 0": (lambda: Dropout(0), (4, 3)),
    "Flatten": (Flatten, (2, 3, 4)),
    "BatchNorm rows": (lambda: BatchNorm(4), (4,)),
    "BatchNorm images": (lambda: BatchNorm(4, eps=1e-3, momentum=0.4), (2, 3, 4)),
    "BatchNorm, not fused": (lambda: BatchNorm(4, fused=False), (2, 3, 4)),
    "BatchNormReLU": (lambda: BatchNormReLU(4), (2, 3, 4)),
    "BatchNormReLU, not fused": (lambda: BatchNormReLU(4, fused=False), (2, 3, 4)),
    "BatchNormSiLU": (lambda: BatchNormSiLU(4), (2, 3, 4)),
    "BatchNormSiLU, not fused": (lambda: BatchNormSiLU(4, fused=False), (2, 3, 4)),
    "LayerNorm": (lambda: LayerNorm(4), (3, 4)),
    "MaxPool2d": (lambda: MaxPool2d(2), (4, 5, 3)),
    "MaxPool2d, overlap": (lambda: MaxPool2d((3, 2), stride=(2, 1), pad=(1, 0)), (5, 4, 3)),
    "MaxPoolReLU2d": (lambda: MaxPoolReLU2d(2), (4, 6, 3)),
    "MaxPoolReLU2d, not fused": (lambda: MaxPoolReLU2d((3, 2), stride=(2, 1), pad=(1, 0), fused=False), (5, 4, 3)),
    "AvgPool2d": (lambda: AvgPool2d((2, 3)), (5, 6, 2)),
    "AvgPool2d, overlap": (lambda: AvgPool2d(3, stride=2, pad=1), (5, 4, 3)),
    "GlobalAvgPool": (GlobalAvgPool, (3, 4, 2)),
    "GlobalMaxPool": (GlobalMaxPool, (3, 4, 2)),
    "GlobalMaxAvgPool": (GlobalMaxAvgPool, (3, 4, 2)),
    "PadToOdd": (PadToOdd, (3, 4, 2)),
    "PatchWhitening": (lambda: PatchWhitening(2), (3, 4, 2)),
    "PatchWhitening, 3x3": (lambda: PatchWhitening(1, 3), (4, 3, 1)),
    "GELU, plain": (lambda: GELU(fused=False), (4, 3)),
    "LayerNorm, plain": (lambda: LayerNorm(4, fused=False), (3, 4)),
    "LayerNorm, no bias": (lambda: LayerNorm(4, bias=False), (3, 4)),
    "PatchEmbed": (lambda: PatchEmbed(2, 3, 5, rng=R), (4, 6, 3)),
    "PatchEmbed, no bias": (lambda: PatchEmbed(3, 1, 4, rng=R, bias=False), (3, 3, 1)),
    "ClassToken": (lambda: ClassToken(5, rng=R), (3, 5)),
    "PositionEmbedding": (lambda: PositionEmbedding(3, 5, rng=R), (3, 5)),
    "PositionEmbedding, sinusoidal": (lambda: PositionEmbedding(3, 5, rng=R, kind="sinusoidal"), (3, 5)),
    **{f"TokenPool, {kind}": (lambda kind=kind: TokenPool(kind), (3, 5)) for kind in ("class", "mean", "sum")},
    "StochasticDepth": (lambda: StochasticDepth(0.5), (3, 4)),
    "FeedForward": (lambda: FeedForward(4, 7, rng=R), (3, 4)),
    "FeedForward, ReLU": (lambda: FeedForward(4, 7, rng=R, activation="relu", bias=False, dropout=0.3), (3, 4)),
    "MultiHeadAttention": (lambda: MultiHeadAttention(6, 2, rng=R), (4, 6)),
    "MultiHeadAttention, no bias": (lambda: MultiHeadAttention(6, 3, rng=R, bias=False, dropout=0.3), (4, 6)),
    **{
        f"MultiHeadAttention, {algorithm}": (
            lambda algorithm=algorithm: MultiHeadAttention(6, 2, rng=R, algorithm=algorithm),
            (4, 6),
        )
        for algorithm in ("plain", "tiled", "fused")
    },
    "MultiHeadAttention, gumbel": (
        lambda: MultiHeadAttention(6, 2, rng=R, mapping="gumbel_softmax", mapping_opts={"tau": 0.5}),
        (4, 6),
    ),
    "MultiHeadAttention, sparsemax": (
        lambda: MultiHeadAttention(6, 2, rng=R, mapping="sparsemax", causal=True),
        (4, 6),
    ),
    "TransformerBlock": (lambda: TransformerBlock(6, 2, 5, rng=R), (4, 6)),
    "TransformerBlock, post": (
        lambda: TransformerBlock(6, 3, 5, rng=R, norm="post", activation="relu", dropout=0.2, drop_path=0.3),
        (4, 6),
    ),
    "TransformerBlock, no bias": (lambda: TransformerBlock(6, 2, 5, rng=R, bias=False, causal=True), (4, 6)),
    **{
        f"TransformerBlock, {norm}, two queries": (
            lambda norm=norm: TransformerBlock(6, 2, 5, rng=R, norm=norm, queries=2, dropout=0.2, drop_path=0.3),
            (4, 6),
        )
        for norm in ("pre", "post")
    },
    "Sequential": (network, (4, 6, 2)),
    "Sequential, empty": (Sequential, (2, 3)),
    "Residual": (lambda: Residual(Dense(4, 4, rng=R)), (4,)),
}
every_case = pytest.mark.parametrize(("make", "shape"), CASES.values(), ids=CASES)


def build(make, dtype=np.float64):
    """The layer in `dtype`, with parameters and statistics that are all different."""
    layer, rng = make(), np.random.default_rng(11)
    replace_leaves(layer.params, lambda _, p: (p + rng.uniform(-0.1, 0.1, p.shape)).astype(dtype))
    replace_leaves(layer.buffers, lambda _, b: (b + rng.uniform(0.1, 0.5, b.shape)).astype(dtype))
    return layer


def batch(shape, n=3, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal((n, *shape)).astype(dtype)


def names(tree):
    return [(name, a.shape, a.dtype) for name, a in leaves(tree)]


# ---------------------------------------------------------------- every layer
def test_every_layer_has_a_case():
    def subclasses(cls):
        for sub in cls.__subclasses__():
            yield sub
            yield from subclasses(sub)

    elsewhere = {"Embedding"}  # it takes words: test_embedding.py
    concrete = {c for c in subclasses(Layer) if c.__module__.startswith("npsoftmax.layers") and c.__name__[0] != "_"}
    tested = {type(layer) for make, _ in CASES.values() for layer in all_layers(make())}
    assert {c for c in concrete if c.__name__ not in elsewhere} <= tested
    assert {c.__name__ for c in concrete} <= set(layers.__all__)


@every_case
@pytest.mark.parametrize("train", [False, True])
def test_gradients(make, shape, train):
    layer = build(make)
    elements = 20 if layer.children() else 150  # its parts have cases of their own; directions are of all elements
    check_layer(layer, batch(shape), train=train, rng=Rng(5), elements=elements).assert_ok()


@every_case
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shapes_dtypes_and_the_arguments_are_kept(make, shape, train, dtype):
    layer, x = build(make, dtype), batch(shape, dtype=dtype)
    x.flags.writeable = False
    params = [(name, p.tobytes()) for name, p in leaves(layer.params)]
    y, cache = layer.forward(x, train=train, rng=Rng(5))
    assert y.shape == (3, *layer.output_shape(shape)) and y.dtype == dtype
    dy = batch(y.shape[1:], dtype=dtype, seed=1)
    dy.flags.writeable = False
    dx, grads = layer.backward(dy, cache)
    assert dx.shape == x.shape and dx.dtype == dtype
    assert names(grads) == names(layer.params)
    assert all(b.dtype == dtype for _, b in leaves(layer.buffers))
    assert [(name, p.tobytes()) for name, p in leaves(layer.params)] == params


@every_case
def test_a_layer_keeps_no_activation(make, shape):
    layer = build(make)
    before = [{name: id(value) for name, value in vars(part).items()} for part in all_layers(layer)]
    y, cache = layer.forward(batch(shape), train=True, rng=Rng(5))
    layer.backward(y, cache)
    assert [{name: id(value) for name, value in vars(part).items()} for part in all_layers(layer)] == before


@every_case
def test_evaluation_needs_no_rng_writes_no_buffer_and_treats_samples_alone(make, shape):
    layer, x = build(make), batch(shape)
    buffers = [b.tobytes() for _, b in leaves(layer.buffers)]
    y, _ = layer.forward(x)
    one_by_one = np.concatenate([layer.forward(x[i : i + 1])[0] for i in range(3)])
    np.testing.assert_allclose(y, one_by_one, rtol=1e-12, atol=1e-13)
    assert [b.tobytes() for _, b in leaves(layer.buffers)] == buffers


@every_case
def test_without_need_dx_the_parameters_gradients_are_the_same(make, shape):
    layer, x = build(make), batch(shape)

    def run(**options):
        y, cache = layer.forward(x, train=True, rng=Rng(5))
        return layer.backward(batch(y.shape[1:], seed=1), cache, **options)

    dx, grads = run()
    maybe, without = run(need_dx=False)
    assert maybe is None or np.array_equal(maybe, dx)
    for (name, a), (other, b) in zip(leaves(grads), leaves(without), strict=True):
        assert name == other
        np.testing.assert_array_equal(a, b)


@every_case
@pytest.mark.parametrize("other", [(), (0,), (7,), (7, 7), (7, 7, 7), (7, 7, 7, 7)], ids=str)
def test_samples_of_another_shape_fit_or_are_refused(make, shape, other):
    layer = make()
    try:
        fits = layer.output_shape(other)
    except InputError:
        with pytest.raises(InputError):
            layer.forward(np.zeros((2, *other), np.float32))
    else:
        assert layer.forward(np.zeros((2, *other), np.float32))[0].shape == (2, *fits)


@every_case
def test_the_name_of_a_layer_fits_a_table(make, shape):
    assert type(make()).__name__ in repr(make()) and "\n" not in repr(make())


@pytest.mark.parametrize("make", [CASES["Dense"][0], CASES["Conv2d"][0]])
def test_dx_of_the_first_layer_is_not_computed(make):
    layer = build(make)
    x = batch(CASES["Dense" if isinstance(layer, Dense) else "Conv2d"][1])
    net = Sequential(first=layer, relu=ReLU())
    y, cache = net.forward(x)
    assert net.backward(y, cache, need_dx=False)[0] is None


# ---------------------------------------------------------------- multiply-adds
@pytest.mark.parametrize(
    ("make", "shape", "macs"),
    [
        (lambda: Dense(5, 3, rng=R), (5,), 15),
        (lambda: Conv2d(2, 3, (3, 2), pad=1, rng=R), (4, 5, 2), (4 * 6) * 3 * (3 * 2 * 2)),
        (lambda: Conv2d(2, 3, 3, stride=(2, 3), pad=(0, 2), rng=R), (6, 5, 2), (2 * 3) * 3 * (9 * 2)),
        (lambda: MaxPool2d(2), (4, 4, 2), 0),
        (lambda: BatchNorm(2), (4, 4, 2), 0),
        (Flatten, (4, 4), 0),
        (lambda: Residual(Dense(4, 4, rng=R)), (4,), 16),
        # conv1 (4, 6, 2) -> (4, 7, 3); the residual keeps it; pool and flatten -> (18,)
        (network, (4, 6, 2), (4 * 7) * 3 * (3 * 2 * 2) + (4 * 7) * 3 * (9 * 3) + 18 * 4),
    ],
)
def test_macs(make, shape, macs):
    assert make().macs(shape) == macs


# ---------------------------------------------------------------- errors
def sequential_twice():
    relu = ReLU()
    return Sequential(a=relu, b=relu)


def shared_deep_inside():
    dense = Dense(4, 4, rng=R)
    return Sequential(a=Residual(Sequential(inner=dense)), b=ReLU(), c=dense)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Conv2d(2, 3, 3, rng=R, stride=0), r"stride is 0, but one or two whole numbers of at least 1"),
        (lambda: Conv2d(2, 3, 3, rng=R, stride=1.5), r"stride is 1.5, but one or two whole numbers"),
        (lambda: Conv2d(2, 3, 3, rng=R, stride=(1, 2, 3)), r"stride is \(1, 2, 3\)"),
        (lambda: Conv2d(2, 3, 3, rng=R, pad=-1), r"pad is -1, but one or two whole numbers of at least 0"),
        (lambda: Conv2d(2, 3, 3, rng=R, pad="same"), r"pad is 'same'"),
        (lambda: Conv2d(2, 3, 0, rng=R), "kernel size is 0"),
        (lambda: Conv2d(2, 3, None, rng=R), "kernel size is None"),
        (lambda: Conv2d(2, 3, (3, 2.0), rng=R), r"kernel size is \(3, 2.0\)"),
        (lambda: Conv2d(2, 0, 3, rng=R), "outputs is 0, but a whole number of at least 1"),
        (lambda: Conv2d(-2, 3, 3, rng=R), "inputs is -2"),
        (lambda: Conv2d(2, 3, 3, rng=R, algorithm="winigrad"), "unknown convolution algorithm 'winigrad'"),
        (lambda: Conv2d(2, 3, 3, rng=R, algorithm="til"), "Did you mean 'tiled'"),
        (lambda: Conv2d(2, 3, 3, rng=R, init="hee"), r"unknown initialisation 'hee'. Did you mean 'he'"),
        (lambda: Dense(2, 3, rng=R, init="xavier"), "unknown initialisation 'xavier'.*Known: default, dirac, he"),
        (lambda: Dense(2, 0, rng=R), "outputs is 0"),
        (lambda: Dense(0, 2, rng=R), "inputs is 0"),
        (lambda: MaxPool2d(2, stride=0), "stride is 0"),
        (lambda: MaxPool2d(0), "window size is 0"),
        (lambda: AvgPool2d(3, pad=2), r"pad \(2, 2\) is more than half of the window \(3, 3\)"),
        (lambda: Dropout(1.0), "dropout is 1.0, but a probability of at least 0 and below 1"),
        (lambda: Dropout(-0.1), "dropout is -0.1"),
        (lambda: Dropout(float("nan")), "dropout is nan"),
        (sequential_twice, r"layer 'b' \(ReLU\(\)\) is already in this network"),
        (shared_deep_inside, r"layer 'c' \(Dense\(4, 4\)\) is already"),
    ],
)
def test_a_layer_that_cannot_be_built_says_why(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (lambda: Dense(5, 3, rng=R), (4,), r"Dense\(5, 3\) takes samples of shape \(5,\), not \(4,\)"),
        (lambda: Dense(5, 3, rng=R), (1, 5), r"not \(1, 5\)"),
        (lambda: Conv2d(3, 8, 3, rng=R), (3, 32, 32), r"\(H, W, 3\), channels last, not \(3, 32, 32\)"),
        (lambda: Conv2d(3, 8, 3, rng=R), (32, 32), r"not \(32, 32\)"),
        (lambda: Conv2d(3, 8, 5, rng=R), (4, 9, 3), "window of 5x5 does not fit an input of 4x9"),
        (lambda: Conv2d(3, 8, (3, 5), rng=R, pad=(0, 1)), (4, 2, 3), "window of 3x5 does not fit an input of 4x2"),
        (lambda: MaxPool2d(4), (4, 3, 2), "window of 4x4 does not fit an input of 4x3"),
        (lambda: MaxPool2d(2), (8,), r"takes images of shape \(H, W, C\), not \(8,\)"),
        (lambda: AvgPool2d(2), (8, 8), r"takes images"),
        (GlobalAvgPool, (8, 8), r"GlobalAvgPool\(\) takes images"),
        (GlobalMaxPool, (8,), r"GlobalMaxPool\(\) takes images"),
        (lambda: BatchNorm(3), (4, 4, 2), r"BatchNorm\(3\) takes samples whose last axis is 3, not \(4, 4, 2\)"),
        (lambda: LayerNorm(3), (4,), r"LayerNorm\(3\)"),
        (lambda: Residual(Dense(4, 1, rng=R)), (4,), r"must keep the shape, but it turns \(4,\) into \(1,\)"),
        (lambda: Sequential(a=ReLU(), b=Dense(3, 2, rng=R)), (4,), r"Dense\(3, 2\)"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_by_shape_and_by_array(make, shape, message):
    layer = make()
    with pytest.raises(InputError, match=message):
        layer.output_shape(shape)
    with pytest.raises(InputError, match=message):
        layer.forward(np.zeros((2, *shape), np.float32))


# ---------------------------------------------------------------- dropout
def test_dropout_zeroes_its_share_and_keeps_the_mean():
    x = np.ones((200, 500), np.float32)
    y, _ = Dropout(0.3).forward(x, train=True, rng=Rng(0))
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.006)  # 4 standard deviations
    np.testing.assert_allclose(y[y != 0], 1 / 0.7, rtol=1e-6)


def test_dropout_is_the_identity_in_evaluation_and_at_0():
    x = batch((4,))
    for layer, train in ((Dropout(0.9), False), (Dropout(0), True)):
        y, cache = layer.forward(x, train=train)
        np.testing.assert_array_equal(y, x)
        np.testing.assert_array_equal(layer.backward(x, cache)[0], x)


def test_dropout_without_an_rng_says_what_to_pass():
    with pytest.raises(InputError, match=r"pass rng=Rng\(seed\)"):
        Dropout(0.5).forward(batch((4,)), train=True)


@given(cut=st.integers(1, 7), step=st.integers(0, 5))
def test_a_batch_cut_in_two_drops_the_same_values(cut, step):
    """What lets ranks share a batch: noise belongs to the global sample, not to its place in the array."""
    x, samples, rng = np.ones((8, 5)), np.arange(100, 108), Rng(1)
    whole, _ = Dropout(0.5).forward(x, train=True, rng=rng.at(step, samples))
    parts = [
        Dropout(0.5).forward(x[part], train=True, rng=rng.at(step, samples[part]))[0]
        for part in (slice(None, cut), slice(cut, None))
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_two_dropouts_in_a_network_draw_different_masks():
    net = Sequential(a=Dropout(0.5), b=Dropout(0.5))
    _, (a, b) = net.forward(np.ones((4, 100)), train=True, rng=Rng(0))
    assert not np.array_equal(a[0], b[0])


# ---------------------------------------------------------------- batch norm
def test_running_statistics_are_exponential_averages_with_the_unbiased_variance():
    layer = BatchNorm(2, momentum=0.25)
    x = batch((3, 4, 2), n=5) * 3 + 1
    rows = x.reshape(-1, 2)
    for _ in range(2):
        layer.forward(x, train=True)
    mean, var = rows.mean(axis=0), rows.var(axis=0, ddof=1)
    np.testing.assert_allclose(layer.buffers["mean"], (1 - 0.75**2) * mean, rtol=1e-6)
    np.testing.assert_allclose(layer.buffers["var"], 0.75**2 + (1 - 0.75**2) * var, rtol=1e-6)


def test_evaluation_uses_the_running_statistics():
    layer = build(lambda: BatchNorm(2))
    mean, var = layer.buffers["mean"], layer.buffers["var"]
    x = batch((2,), n=4)
    expected = (x - mean) / np.sqrt(var + 1e-5) * layer.params["gamma"] + layer.params["beta"]
    np.testing.assert_allclose(layer.forward(x)[0], expected, rtol=1e-12)


def test_training_normalises_the_batch_whatever_the_running_statistics():
    layer = BatchNorm(2)
    layer.buffers["mean"][:] = 1e3
    y, _ = layer.forward(batch((6, 5, 2)), train=True)
    np.testing.assert_allclose(y.reshape(-1, 2).mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(y.reshape(-1, 2).var(axis=0), 1, rtol=1e-4)


def test_batch_norm_writes_into_the_buffers_it_was_given():
    layer = BatchNorm(2)
    mean, var = layer.buffers["mean"], layer.buffers["var"]
    layer.forward(batch((2,)), train=True)
    assert layer.buffers["mean"] is mean and layer.buffers["var"] is var and mean.any()


def test_batch_norm_of_a_single_value_a_channel_is_refused_in_training_only():
    layer = BatchNorm(2)
    with pytest.raises(InputError, match="at least 2 values a channel"):
        layer.forward(batch((2,), n=1), train=True)
    assert layer.forward(batch((2,), n=1))[0].shape == (1, 2)
    assert layer.forward(batch((1, 2, 2), n=1), train=True)[0].shape == (1, 1, 2, 2)


# ---------------------------------------------------------------- containers
class Spy(Layer):
    """The identity, whose cache is an array of its own; `alive` lists, at each backward, who still has a cache."""

    alive: list[list[str]]
    caches: dict[str, weakref.ref]

    def __init__(self, name, caches, alive):
        super().__init__()
        self.name, self.caches, self.alive = name, caches, alive

    def forward(self, x, *, train=False, rng=None):
        cache = x.copy()
        self.caches[self.name] = weakref.ref(cache)
        return x.copy(), cache

    def backward(self, dy, cache, *, need_dx=True):
        self.alive.append([name for name, ref in self.caches.items() if ref() is not None])
        return dy.copy(), {}


def test_each_cache_is_freed_once_it_has_been_used():
    caches, alive = {}, []
    inner = Sequential(b=Spy("b", caches, alive), c=Spy("c", caches, alive))
    net = Sequential(a=Spy("a", caches, alive), inner=inner, d=Spy("d", caches, alive))
    y, cache = net.forward(batch((4,)))
    net.backward(y, cache)
    assert alive == [["a", "b", "c", "d"], ["a", "b", "c"], ["a", "b"], ["a"]]
    assert cache == []


def test_parameters_and_buffers_of_a_sequential_are_those_of_its_layers():
    net = network()
    assert [name for name, _ in leaves(net.params)] == [
        *("conv1.w", "conv1.b", "residual.conv.w", "residual.conv.b", "residual.norm.gamma", "residual.norm.beta"),
        *("fc.w", "fc.b"),
    ]
    assert [name for name, _ in leaves(net.buffers)] == ["residual.norm.mean", "residual.norm.var"]
    replace_leaves(net.params, lambda _, p: np.zeros_like(p))
    assert not net.layers["fc"].params["w"].any()
    assert net.layers["residual"].branch.layers["conv"].params["w"] is net.params["residual"]["conv"]["w"]


def test_a_sequential_is_its_layers_in_order():
    net, x = build(network), batch((4, 6, 2))
    y = x
    for layer in net.layers.values():
        y, _ = layer.forward(y)
    np.testing.assert_array_equal(net.forward(x)[0], y)


def test_a_residual_adds_its_input():
    residual, x = build(CASES["Residual"][0]), batch((4,))
    np.testing.assert_allclose(residual.forward(x)[0], x + residual.branch.forward(x)[0], rtol=1e-15)


def test_flatten_is_in_height_width_channel_order():
    x = np.arange(24).reshape(1, 2, 3, 4)
    assert Flatten().forward(x)[0].tolist() == [list(range(24))]


def test_a_layer_that_is_not_complete_cannot_be_made():
    class Half(Layer):
        def forward(self, x, *, train=False, rng=None):
            return x, None

    with pytest.raises(TypeError, match="backward"):
        Half()


# ---------------------------------------------------------------- algorithms
def test_the_algorithms_of_a_convolution_agree():
    x = batch((5, 6, 2))
    results = []
    for algorithm in ("auto", "naive", "im2col", "tiled", "direct", "winograd"):
        layer = build(lambda a=algorithm: Conv2d(2, 3, (3, 2), stride=(1, 2), pad=1, rng=R, algorithm=a))
        y, cache = layer.forward(x)
        dx, grads = layer.backward(batch(y.shape[1:], seed=1), cache)
        results.append([y, dx, grads["w"], grads["b"]])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("inputs", [2, 20])
def test_a_fused_convolution_is_the_plain_one_and_a_relu(inputs):
    def make(kind, **options):
        return build(lambda: kind(inputs, 17, 3, pad=1, rng=R, **options))

    x, dy = batch((5, 6, inputs)), batch((5, 6, 17), seed=1)
    z, conv_cache = make(Conv2d).forward(x)
    y, relu_cache = ReLU().forward(z)
    dx, grads = make(Conv2d).backward(ReLU().backward(dy, relu_cache)[0], conv_cache)
    for algorithm in ("auto", "im2col", "tiled", "direct", "winograd"):
        for fused in (True, False):
            layer = make(ConvReLU2d, algorithm=algorithm, fused=fused)
            fused_y, cache = layer.forward(x)
            fused_dx, fused_grads = layer.backward(dy, cache)
            pairs = [(fused_y, y), (fused_dx, dx), (fused_grads["w"], grads["w"]), (fused_grads["b"], grads["b"])]
            for a, b in pairs:
                np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)


def run(layer, x, train):
    """y, dx and gradients of a layer, under fixed gradients of y."""
    y, cache = layer.forward(x, train=train)
    dx, grads = layer.backward(batch(y.shape[1:], n=len(y), seed=1), cache)
    return [y, dx, *(g for _, g in leaves(grads))]


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(
    ("fused", "plain", "shape"),
    [
        (lambda: BatchNorm(5), [lambda: BatchNorm(5, fused=False)], (4, 5, 5)),
        (lambda: BatchNormReLU(5), [lambda: BatchNorm(5, fused=False), ReLU], (4, 5, 5)),
        (lambda: BatchNormReLU(300), [lambda: BatchNorm(300, fused=False), ReLU], (2, 3, 300)),
        (lambda: BatchNormReLU(5, fused=False), [lambda: BatchNorm(5), ReLU], (4, 5, 5)),
        (lambda: MaxPoolReLU2d(2), [ReLU, lambda: MaxPool2d(2)], (4, 6, 5)),
        (lambda: MaxPoolReLU2d(3, stride=2, pad=1), [ReLU, lambda: MaxPool2d(3, stride=2, pad=1)], (7, 6, 5)),
        (lambda: MaxPoolReLU2d(2, fused=False), [lambda: MaxPool2d(2), ReLU], (5, 6, 5)),
    ],
)
def test_a_fused_layer_is_the_plain_ones_one_after_another(fused, plain, shape, train):
    x = batch(shape, n=4)
    one, many = build(fused), build(lambda: Sequential(**{f"l{i}": make() for i, make in enumerate(plain)}))
    for got, want in zip(run(one, x, train), run(many, x, train), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)
    for (_, got), (_, want) in zip(leaves(one.buffers), leaves(many.buffers), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("train", [False, True])
def test_batch_norm_with_relu_keeps_x_and_nothing_else_as_large(train):
    x = batch((4, 5, 6))
    cache = BatchNormReLU(6).forward(x, train=train)[1]
    sizes = [a for a in flattened(cache) if isinstance(a, np.ndarray) and a.size > 6]
    assert len(sizes) == 1 and sizes[0] is x


def test_a_pool_with_relu_keeps_a_byte_a_window():
    cache = MaxPoolReLU2d(2).forward(batch((4, 6, 3)))[1]
    (index,) = [a for a in flattened(cache) if isinstance(a, np.ndarray)]
    assert index.dtype == np.uint8 and index.shape == (3, 2, 3, 3)


def flattened(cache):
    return [b for a in cache for b in flattened(a)] if isinstance(cache, tuple | list) else [cache]


def test_a_students_function_can_take_the_place_of_a_pair(monkeypatch):
    """Layers look their pair up in the module at every call."""
    called = []

    def mine(x, w, b=None):
        called.append(x.shape)
        return x @ w + b, (x, w, True)

    monkeypatch.setattr("npsoftmax.functional.dense.dense_forward", mine)
    Dense(4, 2, rng=R, threaded=False).forward(batch((4,)))
    assert called == [(3, 4)]


# ---------------------------------------------------------------- initialisation
@pytest.mark.parametrize("make", [lambda **o: Dense(400, 300, **o), lambda **o: Conv2d(40, 30, (2, 5), **o)])
def test_how_parameters_start(make):
    w, b = make(rng=R).params.values()
    assert np.abs(w).max() <= 1 / 20 and w.std() == pytest.approx(1 / 20 / np.sqrt(3), rel=0.02)
    assert 0 < np.abs(b).max() <= 1 / 20
    he = make(rng=R, init="he").params
    assert he["w"].std() == pytest.approx(np.sqrt(2 / 400), rel=0.02) and not he["b"].any()
    assert make(rng=R, init="normal").params["w"].std() == pytest.approx(1, rel=0.02)
    assert not any(p.any() for p in make(rng=R, init="zeros").params.values())


@pytest.mark.parametrize(("inputs", "outputs", "k"), [(3, 3, 3), (3, 5, 2), (5, 3, 1), (4, 6, (3, 2))])
def test_a_dirac_convolution_copies_as_many_channels_as_there_are(inputs, outputs, k):
    conv = Conv2d(inputs, outputs, k, rng=R, bias=False, init="dirac")
    x, both = batch((6, 6, inputs)), min(inputs, outputs)
    y, _ = conv.forward(x)
    (top, left), (oh, ow) = (side // 2 for side in conv.k), y.shape[1:3]
    np.testing.assert_allclose(y[..., :both], x[:, top : top + oh, left : left + ow, :both], atol=1e-6)
    assert 0 < np.abs(conv.params["w"][..., both:]).max(initial=0.1) <= 1 / np.sqrt(inputs * conv.k[0] * conv.k[1])


@pytest.mark.parametrize("init", INITIALISERS)
def test_parameters_are_float32_and_depend_on_seed_and_path_alone(init):
    def w(seed, path):
        return Dense(5, 7, rng=Rng(seed).child(path), init=init).params["w"]

    assert w(0, "a").dtype == np.float32 and w(0, "a").shape == (5, 7)
    np.testing.assert_array_equal(w(0, "a"), w(0, "a"))
    if init != "zeros":
        assert not np.array_equal(w(0, "a"), w(1, "a")) and not np.array_equal(w(0, "a"), w(0, "b"))


# ---------------------------------------------------------------- trees
def test_leaves_have_dotted_names_in_order():
    tree = {"a": {"w": 1, "b": 2}, "c": 3, "d": {}, "e": {"f": {"g": 4}}}
    assert list(leaves(tree)) == [("a.w", 1), ("a.b", 2), ("c", 3), ("e.f.g", 4)]


def test_tree_map_takes_trees_of_the_same_form():
    a, b = {"x": 1, "y": {"z": 2}}, {"y": {"z": 20}, "x": 10}
    assert tree_map(lambda p, q: p + q, a, b) == {"x": 11, "y": {"z": 22}}
    assert a == {"x": 1, "y": {"z": 2}}
    with pytest.raises(KeyError):
        tree_map(lambda p, q: p + q, a, {"x": 1})


def test_replace_leaves_works_inside_the_same_dicts():
    inner = {"z": 2}
    tree = {"x": 1, "y": inner}
    replace_leaves(tree, lambda name, value: (name, value))
    assert tree == {"x": ("x", 1), "y": {"z": ("y.z", 2)}} and tree["y"] is inner
