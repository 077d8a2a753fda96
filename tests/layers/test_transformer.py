"""The layers of a transformer: what each one promises beyond what every layer does, and its errors."""

from __future__ import annotations

import numpy as np
import pytest

from npsoftmax.errors import InputError
from npsoftmax.functional import attention
from npsoftmax.functional.mappings import MAPPINGS
from npsoftmax.gradcheck import check_layer, check_pair
from npsoftmax.layers import (
    ClassToken,
    Conv2d,
    FeedForward,
    LayerNorm,
    MultiHeadAttention,
    PatchEmbed,
    PositionEmbedding,
    StochasticDepth,
    TokenPool,
    TransformerBlock,
    leaves,
    replace_leaves,
)
from npsoftmax.layers.tokens import sinusoidal_positions
from npsoftmax.random import Rng

R = Rng(3, "transformer")
NAMES = [name for name, mapping in MAPPINGS.items() if mapping.kind == "probability"]


def double(layer, seed=11):
    rng = np.random.default_rng(seed)
    replace_leaves(layer.params, lambda _, p: p + rng.uniform(-0.3, 0.3, p.shape))
    return layer


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def results(layer, x, **options):
    y, cache = layer.forward(x, **options)
    dx, grads = layer.backward(normal(*y.shape, seed=1), cache)
    return [y, dx, *(g for _, g in leaves(grads))]


def agree(got, want, tolerance=1e-12):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------- tokens
def test_patches_are_a_convolution_whose_stride_is_its_kernel():
    embed, conv = PatchEmbed(2, 3, 5, rng=R), Conv2d(3, 5, 2, stride=2, rng=R, algorithm="naive")
    conv.params["w"], conv.params["b"] = embed.params["w"].reshape(2, 2, 3, 5), embed.params["b"]
    x = normal(2, 4, 6, 3)
    np.testing.assert_allclose(embed.forward(x)[0], conv.forward(x)[0].reshape(2, 6, 5), rtol=1e-5, atol=1e-6)


def test_the_class_token_comes_first_and_is_every_samples():
    layer, x = ClassToken(3, rng=R), normal(2, 4, 3)
    y, _ = layer.forward(x)
    assert np.allclose(y[:, 0], layer.params["token"]) and np.array_equal(y[:, 1:], x)


def test_sinusoidal_positions_by_hand():
    p = sinusoidal_positions(4, 6)
    assert p[0].tolist() == [0, 1, 0, 1, 0, 1]
    assert p[3, 0] == pytest.approx(np.sin(3)) and p[3, 1] == pytest.approx(np.cos(3))
    assert p[3, 2] == pytest.approx(np.sin(3 / 10000 ** (2 / 6))) and p[3, 5] == pytest.approx(
        np.cos(3 / 10000 ** (4 / 6))
    )


def test_learned_positions_are_parameters_and_sinusoidal_ones_are_not():
    learned, fixed = (PositionEmbedding(4, 6, rng=R, kind=kind) for kind in ("learned", "sinusoidal"))
    assert list(learned.params) == list(fixed.buffers) == ["position"]
    assert fixed.params == learned.buffers == {}
    assert PositionEmbedding(400, 60, rng=R, std=0.5).params["position"].std() == pytest.approx(0.5, rel=0.02)


def test_pools():
    x = normal(2, 4, 3)
    for kind, expected in (("class", x[:, 0]), ("mean", x.mean(axis=1)), ("sum", x.sum(axis=1))):
        np.testing.assert_allclose(TokenPool(kind).forward(x)[0], expected)


# ---------------------------------------------------------------- stochastic depth
def test_stochastic_depth_keeps_or_drops_whole_samples_and_keeps_the_mean():
    y, _ = StochasticDepth(0.25).forward(np.ones((4000, 2, 3)), train=True, rng=Rng(0))
    samples = y.reshape(4000, 6)
    assert set(np.unique(samples)) == {0.0, 1 / 0.75}
    assert (samples == samples[:, :1]).all()
    assert (samples[:, 0] == 0).mean() == pytest.approx(0.25, abs=0.03)  # 4 standard deviations


def test_stochastic_depth_belongs_to_the_sample_not_to_its_place():
    x, rng = np.ones((6, 2)), Rng(0)
    whole, _ = StochasticDepth(0.5).forward(x, train=True, rng=rng.at(3, np.arange(6)))
    part, _ = StochasticDepth(0.5).forward(x[4:], train=True, rng=rng.at(3, np.arange(4, 6)))
    np.testing.assert_array_equal(part, whole[4:])


# ---------------------------------------------------------------- attention
@pytest.mark.parametrize("name", [n for n in NAMES if not MAPPINGS[n].biased])
@pytest.mark.parametrize("train", [False, True])
def test_gradients_with_every_mapping(name, train):
    layer = double(MultiHeadAttention(6, 2, rng=R, mapping=name))
    check_layer(layer, normal(2, 4, 6), train=train, rng=Rng(5), elements=60).assert_ok()


def test_the_biased_mapping_runs_and_uses_the_gradient_of_the_soft_one():
    hard = results(MultiHeadAttention(6, 2, rng=R, mapping="gumbel_softmax_hard"), normal(2, 4, 6), train=True, rng=R)
    assert all(np.isfinite(a).all() for a in hard) and hard[1].any()


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_it_shows_are_those_it_uses(name):
    layer, x = double(MultiHeadAttention(6, 2, rng=R, mapping=name)), normal(3, 4, 6)
    p = layer.weights(x)
    assert p.shape == (3, 2, 4, 4)
    if MAPPINGS[name].sums_to_one:
        np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-12)
    v = (x @ layer.params["qkv"]["w"] + layer.params["qkv"]["b"])[..., 12:].reshape(3, 4, 2, 3).transpose(0, 2, 1, 3)
    merged = (p @ v).transpose(0, 2, 1, 3).reshape(3, 4, 6)
    expected = merged @ layer.params["out"]["w"] + layer.params["out"]["b"]
    np.testing.assert_allclose(layer.forward(x)[0], expected, rtol=1e-11, atol=1e-12)


def test_the_algorithms_agree():
    x = normal(2, 5, 6)
    plain, *others = (
        results(double(MultiHeadAttention(6, 3, rng=R, algorithm=a)), x) for a in ("plain", "tiled", "fused", "auto")
    )
    for other in others:
        agree(other, plain, 1e-11)


def test_noise_and_dropout_of_attention_are_drawn_in_training_alone():
    x = normal(2, 4, 6)
    for options in ({"mapping": "gumbel_softmax"}, {"dropout": 0.5}):
        layer = double(MultiHeadAttention(6, 2, rng=R, **options))
        ys = [layer.forward(x, train=True, rng=rng)[0] for rng in (Rng(0), Rng(0), Rng(1), Rng(0).at(1))]
        np.testing.assert_array_equal(ys[0], ys[1])
        assert not np.allclose(ys[0], ys[2]) and not np.allclose(ys[0], ys[3])
        np.testing.assert_array_equal(layer.forward(x)[0], layer.forward(x, rng=Rng(9))[0])
        with pytest.raises(InputError, match=r"pass rng=Rng\(seed\)"):
            layer.forward(x, train=True)


def test_cross_attention_has_the_gradients_of_both_its_inputs():
    layer, x, context = double(MultiHeadAttention(6, 2, rng=R)), normal(2, 3, 6), normal(2, 5, 6, seed=2)

    def backward(dy, cache):
        dx, dcontext, _ = layer.cross_backward(dy, cache)
        return dx, dcontext

    check_pair(layer.cross_forward, backward, (x, context)).assert_ok()


def test_a_mask_hides_keys():
    layer, x = double(MultiHeadAttention(6, 2, rng=R)), normal(2, 4, 6)
    real = np.array([[True, True, False, False], [True] * 4])
    y, _ = layer.forward(x, mask=attention.padding_mask(real))
    np.testing.assert_allclose(y[:1, :2], layer.forward(x[:1, :2])[0], rtol=1e-11)
    np.testing.assert_allclose(y[1:], layer.forward(x[1:])[0], rtol=1e-11)


def test_multiply_adds():
    layer = MultiHeadAttention(6, 2, rng=R)
    assert layer.macs((4, 6)) == 4 * (6 * 18 + 6 * 6) + 2 * 4 * 4 * 6
    block = TransformerBlock(6, 2, 5, rng=R)
    assert block.macs((4, 6)) == layer.macs((4, 6)) + 2 * 4 * 6 * 5
    one = TransformerBlock(6, 2, 5, rng=R, queries=1)
    assert one.macs((4, 6)) == 4 * 6 * 12 + 2 * 6 * 6 + 2 * 4 * 6 + 2 * 6 * 5


# ---------------------------------------------------------------- blocks
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_block_is_its_parts(norm):
    block, x = double(TransformerBlock(6, 2, 5, rng=R, norm=norm)), normal(2, 4, 6)

    def run(name, z):
        return getattr(block, name).forward(z)[0]

    if norm == "pre":
        h = x + run("attention", run("norm1", x))
        expected = h + run("mlp", run("norm2", h))
    else:
        h = run("norm1", x + run("attention", x))
        expected = run("norm2", h + run("mlp", h))
    np.testing.assert_allclose(block.forward(x)[0], expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("queries", [1, 3, 4])
@pytest.mark.parametrize("train", [False, True])
def test_a_block_for_a_few_tokens_gives_what_the_whole_block_gives_them(norm, queries, train):
    """In training too: dropout and depth belong to a sample's elements, and the first tokens come first."""
    options = {"norm": norm, "dropout": 0.3, "attention_dropout": 0.0, "drop_path": 0.3}
    whole, part = (double(TransformerBlock(6, 2, 5, rng=R, queries=n, **options)) for n in (None, queries))
    x, rng = normal(3, 4, 6), Rng(2).at(1)
    y, cache = whole.forward(x, train=train, rng=rng)
    y_part, cache_part = part.forward(x, train=train, rng=rng)
    np.testing.assert_allclose(y_part, y[:, :queries], rtol=1e-11, atol=1e-12)
    dy = normal(3, 4, 6, seed=1)
    dy[:, queries:] = 0  # nobody reads the others
    dx, grads = whole.backward(dy, cache)
    dx_part, grads_part = part.backward(dy[:, :queries], cache_part)
    agree([dx_part, *(g for _, g in leaves(grads_part))], [dx, *(g for _, g in leaves(grads))], 1e-11)


def test_a_block_frees_its_caches_as_it_goes_back():
    block = TransformerBlock(6, 2, 5, rng=R)
    y, cache = block.forward(normal(2, 4, 6))
    block.backward(y, cache)
    assert cache == []


def test_bias_false_leaves_no_bias_anywhere():
    names = [name.rpartition(".")[2] for name, _ in leaves(TransformerBlock(6, 2, 5, rng=R, bias=False).params)]
    assert set(names) == {"w", "gamma"}


def test_dropout_of_a_block_is_drawn_in_training_alone():
    block, x = double(TransformerBlock(6, 2, 5, rng=R, dropout=0.5, drop_path=0.5)), normal(4, 3, 6)
    one, again, other = (block.forward(x, train=True, rng=rng)[0] for rng in (Rng(0), Rng(0), Rng(1)))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    np.testing.assert_array_equal(block.forward(x)[0], block.forward(x, rng=Rng(0))[0])


# ---------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MultiHeadAttention(6, 4, rng=R), "6 features do not divide into 4 heads"),
        (lambda: MultiHeadAttention(6, 0, rng=R), "heads is 0"),
        (lambda: MultiHeadAttention(6, 2, rng=R, mapping="sparsmax"), "Did you mean 'sparsemax'"),
        (lambda: MultiHeadAttention(6, 2, rng=R, mapping="log_softmax"), "gives a log-probability"),
        (lambda: MultiHeadAttention(6, 2, rng=R, mapping_opts={"tau": 2.0}), "takes no options, but tau=2.0"),
        (lambda: MultiHeadAttention(6, 2, rng=R, mapping="taylor_softmax", mapping_opts={"order": 3}), "order is 3"),
        (lambda: MultiHeadAttention(6, 2, rng=R, algorithm="fussed"), "Did you mean 'fused'"),
        (lambda: MultiHeadAttention(6, 2, rng=R, mapping="entmax15", algorithm="tiled"), "take algorithm='plain'"),
        (lambda: MultiHeadAttention(6, 2, rng=R, dropout=1.0), "dropout is 1.0"),
        (lambda: FeedForward(6, 5, rng=R, activation="gellu"), "Did you mean 'gelu'"),
        (lambda: FeedForward(6, 0, rng=R), "outputs is 0"),
        (lambda: StochasticDepth(1.0), "stochastic depth is 1.0"),
        (lambda: TransformerBlock(6, 2, 5, rng=R, norm="per"), "Did you mean 'pre'"),
        (lambda: TransformerBlock(6, 2, 5, rng=R, queries=0), "queries is 0"),
        (lambda: PatchEmbed(0, 3, 5, rng=R), "size is 0"),
        (lambda: PositionEmbedding(3, 5, rng=R, kind="learnt"), "Did you mean 'learned'"),
        (lambda: TokenPool("max"), "unknown pool of tokens 'max'"),
    ],
)
def test_a_layer_that_cannot_be_built_says_why(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (lambda: PatchEmbed(4, 3, 5, rng=R), (8, 6, 3), "8x6 does not divide into patches of 4x4"),
        (lambda: PatchEmbed(4, 3, 5, rng=R), (3, 8, 8), r"\(H, W, 3\), channels last"),
        (lambda: ClassToken(5, rng=R), (3, 4), r"\(T, 5\), not \(3, 4\)"),
        (lambda: PositionEmbedding(3, 5, rng=R), (4, 5), r"\(3, 5\), not \(4, 5\)"),
        (lambda: TokenPool(), (5,), r"\(T, D\), not \(5,\)"),
        (lambda: MultiHeadAttention(6, 2, rng=R), (6,), r"\(T, 6\), not \(6,\)"),
        (lambda: FeedForward(6, 5, rng=R), (4, 5), r"\(T, 6\), not \(4, 5\)"),
        (lambda: TransformerBlock(6, 2, 5, rng=R), (4, 4), r"\(T, 6\), not \(4, 4\)"),
        (lambda: TransformerBlock(6, 2, 5, rng=R, queries=4), (3, 6), "passes 4 tokens on, but there are only 3"),
        (lambda: LayerNorm(3, bias=False), (4,), r"LayerNorm\(3\)"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(make, shape, message):
    layer = make()
    with pytest.raises(InputError, match=message):
        layer.output_shape(shape)
    with pytest.raises(InputError, match=message):
        layer.forward(np.zeros((2, *shape), np.float32))


def test_stochastic_depth_without_an_rng_says_what_to_pass():
    with pytest.raises(InputError, match=r"pass rng=Rng\(seed\)"):
        StochasticDepth(0.5).forward(normal(2, 3), train=True)
