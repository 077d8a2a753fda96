"""The vision transformer beyond what every model does: its options, its presets, what it looks at."""

from __future__ import annotations

import numpy as np
import pytest
from everyday import slow

from npsoftmax.backend import get_backend
from npsoftmax.errors import InputError
from npsoftmax.functional.mappings import MAPPINGS
from npsoftmax.gradcheck import check_model
from npsoftmax.layers import PositionEmbedding, TokenPool, TransformerBlock
from npsoftmax.models import build_model
from npsoftmax.models.vit import vit, vit_e4, vit_small
from npsoftmax.options import option_defaults
from npsoftmax.params import leaves
from npsoftmax.random import Rng

TINY = {"patch": 2, "dim": 6, "depth": 2, "heads": 2, "mlp": 5}
SHAPE = (4, 6, 2)
NAMES = [name for name, mapping in MAPPINGS.items() if mapping.kind == "probability"]


def tiny(**options):
    return build_model("vit", classes=5, input_shape=SHAPE, model_opts=TINY | options).to(get_backend(), np.float64)


def batch(n=3):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, *SHAPE)), rng.integers(0, 5, n)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in NAMES if not MAPPINGS[n].biased])
def test_gradients_with_every_mapping_in_training(name):
    check_model(tiny(attention=name), *batch(), train=True, rng=Rng(1), elements=5).assert_ok()


@pytest.mark.parametrize("name", NAMES)
def test_the_mapping_is_in_every_block(name):
    blocks = [layer for layer in tiny(attention=name).trunk.layers.values() if isinstance(layer, TransformerBlock)]
    assert [block.attention.mapping for block in blocks] == [name, name]


@pytest.mark.parametrize(
    "options",
    [
        {"pool": "sum"},
        {"position": "sinusoidal", "depth": 1},
        *slow(
            (
                {"pool": "mean", "norm": "post", "activation": "relu"},
                {"dropout": 0.2, "attention_dropout": 0.0, "drop_path": 0.4},
                {"attention": "gumbel_softmax", "attention_opts": {"tau": 0.5}, "logits": 3, "relu_logits": True},
            )
        ),
    ],
)
def test_gradients_with_options(options):
    check_model(tiny(**options), *batch(), train=True, rng=Rng(1), elements=5).assert_ok()


def test_the_last_block_computes_the_class_token_alone_where_that_is_all_that_is_read():
    model, x = tiny(), batch()[0]
    blocks = [layer for layer in model.trunk.layers.values() if isinstance(layer, TransformerBlock)]
    assert [block.queries for block in blocks] == [None, 1]
    features = model.features(x)
    blocks[-1].queries = None
    np.testing.assert_allclose(model.features(x), features, rtol=1e-12)
    assert all(
        layer.queries is None
        for layer in tiny(pool="mean").trunk.layers.values()
        if isinstance(layer, TransformerBlock)
    )


def test_stochastic_depth_grows_with_depth():
    model = tiny(depth=3, drop_path=0.4)
    assert [model.trunk.layers[f"block{i}"].drop1.layers["depth"].p for i in (1, 2, 3)] == [0, 0.2, 0.4]
    assert tiny(depth=1, drop_path=0.4).trunk.layers["block1"].drop1.layers["depth"].p == 0.4


# ---------------------------------------------------------------- presets
def test_presets_have_the_options_of_vit_with_other_defaults():
    assert option_defaults(vit_small) == option_defaults(vit)
    changed = {n: v for n, v in option_defaults(vit_e4).items() if option_defaults(vit)[n] != v}
    assert changed == {
        **{"patch": 8, "dim": 512, "depth": 1, "heads": 4, "mlp": 2048},
        **{"activation": "relu", "pool": "sum", "embed_std": 1.0, "dropout": 0.1},
    }


def test_the_e4_transformer_is_the_published_one():
    model = build_model("vit_e4")
    assert model.parameter_count() == 3_312_740
    block, positions = model.trunk.layers["block1"], model.trunk.layers["positions"]
    assert (block.pre, block.attention.heads, block.attention.dim, block.mlp.fc1.outputs) == (True, 4, 512, 2048)
    assert type(block.mlp.act).__name__ == "ReLU" and block.attention.dropout == 0.1
    assert isinstance(positions, PositionEmbedding) and positions.tokens == 17
    assert positions.params["position"].std() == pytest.approx(1, rel=0.03)
    assert list(model.trunk.layers)[-2:] == ["pool", "norm"] and isinstance(model.trunk.layers["pool"], TokenPool)
    assert model.trunk.layers["pool"].kind == "sum"


# ---------------------------------------------------------------- what it looks at
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_attention_maps_are_shares_of_the_class_tokens_look(name, norm):
    model, x = tiny(attention=name, norm=norm), batch()[0]
    maps = model.trunk.attention_maps(x)
    assert maps.shape == (3, 2, 2, 3)
    total = maps.sum(axis=(2, 3))
    assert (maps >= 0).all() and (total <= 1 + 1e-12).all()


def test_attention_maps_show_where_a_class_token_was_told_to_look():
    model, x = tiny(depth=1, position="sinusoidal"), batch()[0]
    block = model.trunk.layers["block1"]
    for _, p in leaves(block.params):
        p[...] = 0
    block.params["norm1"]["gamma"][...] = 1
    np.testing.assert_allclose(model.trunk.attention_maps(x), 1 / 7, rtol=1e-12)  # equal scores: six patches and itself
    tokens = model.trunk.layers["positions"].forward(
        model.trunk.layers["class_token"].forward(model.trunk.layers["patches"].forward(x)[0])[0]
    )[0]
    normal = block.norm1.forward(tokens)[0]
    # Keys are the tokens themselves; every query, by the bias, is twenty times patch 4 (row 1, column 1).
    w, b = block.params["attention"]["qkv"]["w"], block.params["attention"]["qkv"]["b"]
    w[:, 6:12] = np.eye(6)
    b[:6] = 20 * normal[0, 5]
    maps = model.trunk.attention_maps(x[:1])[0]
    assert maps.mean(axis=0).argmax() == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 3}, "4x6 does not divide into patches of 3x3"),
        ({"heads": 4}, "6 features do not divide into 4 heads"),
        ({"depth": 0}, "depth is 0"),
        ({"attention": "sparsmax"}, "Did you mean 'sparsemax'"),
        ({"attention": "log_softmax"}, "gives a log-probability"),
        ({"attention_opts": {"tau": 2.0}}, "takes no options, but tau"),
        ({"pool": "last"}, "unknown pool of tokens 'last'"),
        ({"position": "none"}, "unknown position embedding 'none'"),
        ({"drop_path": 1.0}, "stochastic depth is 1.0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(InputError, match=message):
        tiny(**options)
