"""Numeric gradient checks in float64 with every array on a device: a few elements on the stand-in, many on a GPU."""

from __future__ import annotations

import numpy as np
import pytest
from parity import move_tree, moved, table

from npsoftmax.gradcheck import check_head, check_layer, check_model
from npsoftmax.heads import ClassInfo
from npsoftmax.layers import ConvReLU2d
from npsoftmax.models import MODELS, build_model
from npsoftmax.params import replace_leaves
from npsoftmax.random import Rng

pytestmark = [
    pytest.mark.filterwarnings("ignore::npsoftmax.heads.LegacyWiringWarning"),
    pytest.mark.filterwarnings("ignore:adaptive softmax"),
]
LAYERS, built = table("layers/test_layers.py", "CASES"), table("layers/test_layers.py", "build")
HEADS, head_label = (table("heads/test_head_properties.py", name) for name in ("CASES", "label"))
built_head = table("heads/test_head_properties.py", "build")
TINY, samples = table("models/test_models.py", "TINY"), table("models/test_models.py", "samples")
# On the stand-in, those that reach every kernel; the whole table is compared with NumPy in test_parity.py.
FEW_LAYERS = ("Dense", "ConvReLU2d", "MaxPoolReLU2d", "BatchNormReLU", "LayerNorm", "GELU", "MultiHeadAttention")
FEW_MODELS = ("mlp", "convnet")
FEW_HEADS = ("softmax", "hierarchical", "adaptive", "sampled", "cosine")


def on(device, thing):
    for tree in (thing.params, thing.buffers):
        move_tree(tree, device)
    return thing


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("train", [False, True])
def test_layer(name, train, device, request):
    many = is_gpu(request)
    if not many and name not in FEW_LAYERS:
        pytest.skip("of layers, a few are checked on the stand-in")
    make, shape = LAYERS[name]
    x = moved(np.random.default_rng(0).standard_normal((3, *shape)), device)
    effort = {"elements": 150} if many else {"elements": 4, "directions": 1}
    check_layer(on(device, built(make)), x, train=train, rng=Rng(5), **effort).assert_ok()


@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_of_many_channels(stride, device, request):
    """Which goes without columns."""
    layer = ConvReLU2d(16, 18, 3, pad=1, stride=stride, rng=Rng(0))
    replace_leaves(layer.params, lambda _, p: p.astype(np.float64))
    x = moved(np.random.default_rng(0).standard_normal((2, 5, 4, 16)), device)
    effort = {"elements": 150} if is_gpu(request) else {"elements": 4, "directions": 1}
    check_layer(on(device, layer), x, train=True, rng=Rng(5), **effort).assert_ok()


@pytest.mark.parametrize("case", HEADS, ids=head_label)
def test_head(case, device, request):
    many = is_gpu(request)
    if not many and (case[0] not in FEW_HEADS or case[1]):
        pytest.skip("of heads, a few are checked on the stand-in")
    rng = np.random.default_rng(0)
    h, t = moved((rng.standard_normal((4, 5)), rng.integers(0, 7, 4)), device)
    effort = {"elements": 100} if many else {"elements": 4, "directions": 1}
    check_head(on(device, built_head(case)), h, t, train=True, rng=Rng(5).at(3), **effort).assert_ok()


@pytest.mark.parametrize("name", MODELS)
def test_model(name, device, request):
    options, shape = TINY[name]
    model = build_model(name, "softmax", ClassInfo(7), shape, model_opts=options).to(device, np.float64)
    rng = np.random.default_rng(0)
    x, t = moved((samples(name, 4), rng.integers(0, 7, 4)), device)
    if not is_gpu(request) and name not in FEW_MODELS:
        pytest.skip("of models, a few are checked on the stand-in")
    effort = {"elements": 10} if is_gpu(request) else {"elements": 0, "directions": 1}
    check_model(model, x, t, train=True, rng=Rng(1), **effort).assert_ok()


def is_gpu(request):
    return "gpu" in request.node.callspec.id.split("-")
