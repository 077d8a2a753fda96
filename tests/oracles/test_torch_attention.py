"""Attention and transformer blocks against PyTorch, in float64 to 1e-10: outputs, weights, gradients, masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402
from torch_transformer import BLOCK, attention_module, attention_names, block_module, tie  # noqa: E402
from torch_twins import Twin, agree, tensor  # noqa: E402

from npsoftmax.functional import attention, tiled_attention  # noqa: E402
from npsoftmax.layers import MultiHeadAttention, TransformerBlock  # noqa: E402
from npsoftmax.params import replace_leaves  # noqa: E402
from npsoftmax.random import Rng  # noqa: E402

pytestmark = pytest.mark.oracle
torch.set_num_threads(1)

seeds = st.integers(0, 2**16)
few = st.integers(1, 5)


def normal(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).standard_normal(shape)


def seen(*shape, seed=0):
    """A mask in which every query sees something: PyTorch answers NaN where one sees nothing."""
    mask = np.random.default_rng(seed).random(shape) < 0.6
    mask[..., 0] = True
    return mask


def randomised(layer, seed):
    rng = np.random.default_rng(seed)
    replace_leaves(layer.params, lambda _, p: p + 0.2 * rng.standard_normal(p.shape))
    return layer


# ---------------------------------------------------------------- scaled dot-product attention
@pytest.mark.parametrize("path", ["plain", "tiled"])
@pytest.mark.parametrize("masks", ["none", "mask", "causal"])
@given(n=few, heads=few, t=few, s=few, d=few, e=few, scale=st.one_of(st.none(), st.floats(0.1, 3)), seed=seeds)
def test_scaled_dot_product_attention(path, masks, n, heads, t, s, d, e, scale, seed):
    q, k, v = normal(n, heads, t, d, seed=seed), normal(n, heads, s, d, seed=seed + 1), normal(n, heads, s, e)
    mask = seen(n, 1, t, s, seed=seed) if masks == "mask" else None
    causal = masks == "causal"
    # Not `tensor`, which takes four axes for an image.
    theirs = [torch.tensor(a, requires_grad=True) for a in (q, k, v)]
    their_mask = None if mask is None else torch.tensor(mask)
    expected = F.scaled_dot_product_attention(*theirs, attn_mask=their_mask, is_causal=causal, scale=scale)
    module, name = (attention, "attention") if path == "plain" else (tiled_attention, "attention_tiled")
    options = {"causal": causal, "scale": scale} | ({"tile": 2} if path == "tiled" else {})
    y, cache = getattr(module, f"{name}_forward")(q, k, v, mask, **options)
    dy = normal(*y.shape, seed=2)
    expected.backward(torch.tensor(dy))
    agree(y, expected.detach().numpy())
    for ours, their in zip(getattr(module, f"{name}_backward")(dy, cache), theirs, strict=True):
        agree(ours, their.grad.numpy())


# ---------------------------------------------------------------- nn.MultiheadAttention
def mha_twin(layer):
    return tie(Twin(attention_module(layer)), layer, attention_names())


@pytest.mark.parametrize("algorithm", ["plain", "tiled", "auto"])
@pytest.mark.parametrize("masks", ["none", "padding", "attention", "both", "causal"])
@given(n=few, t=few, heads=few, d=few, bias=st.booleans(), seed=seeds)
def test_self_attention(algorithm, masks, n, t, heads, d, bias, seed):
    options = {"bias": bias, "causal": masks == "causal", "algorithm": algorithm}
    layer = randomised(MultiHeadAttention(heads * d, heads, rng=Rng(seed), **options), seed)
    twin, x = mha_twin(layer), normal(n, t, heads * d, seed=seed)
    real, allowed = seen(n, t, seed=seed), seen(t, t, seed=seed + 1)
    parts, theirs = [], {}
    if masks in ("padding", "both"):
        parts.append(attention.padding_mask(real))
        theirs["key_padding_mask"] = torch.tensor(~real)
    if masks in ("attention", "both"):
        parts.append(allowed)
        theirs["attn_mask"] = torch.tensor(~allowed)
    if masks == "causal":
        theirs["attn_mask"] = torch.tensor(~np.tril(np.ones((t, t), bool)))
    mask = None if not parts else np.logical_and(*parts) if len(parts) == 2 else parts[0]
    their_x = tensor(x).requires_grad_()
    expected, weights = twin.module(their_x, their_x, their_x, average_attn_weights=False, **theirs)
    y, cache = layer.forward(x, mask=mask)
    agree(y, expected)
    agree(layer.weights(x, mask), weights.detach().numpy())
    dy = normal(*y.shape, seed=3)
    expected.backward(tensor(dy))
    dx, grads = layer.backward(dy, cache)
    agree(dx, their_x.grad)
    twin.check_gradients(grads)


@given(n=few, t=few, s=few, heads=few, d=few, bias=st.booleans(), seed=seeds)
def test_cross_attention(n, t, s, heads, d, bias, seed):
    layer = randomised(MultiHeadAttention(heads * d, heads, rng=Rng(seed), bias=bias), seed)
    twin, x, context = mha_twin(layer), normal(n, t, heads * d, seed=seed), normal(n, s, heads * d, seed=seed + 1)
    their_x, their_context = tensor(x).requires_grad_(), tensor(context).requires_grad_()
    expected, _ = twin.module(their_x, their_context, their_context)
    y, cache = layer.cross_forward(x, context)
    agree(y, expected)
    dy = normal(*y.shape, seed=3)
    expected.backward(tensor(dy))
    dx, dcontext, grads = layer.cross_backward(dy, cache)
    agree(dx, their_x.grad)
    agree(dcontext, their_context.grad)
    twin.check_gradients(grads)


# ---------------------------------------------------------------- nn.TransformerEncoderLayer
@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("algorithm", ["plain", "auto"])
@given(
    n=few,
    t=few,
    heads=few,
    d=st.integers(2, 4),
    hidden=few,
    bias=st.booleans(),
    masked=st.booleans(),
    eps=st.sampled_from([1e-5, 0.1]),
    seed=seeds,
)
def test_transformer_encoder_layer(norm, activation, algorithm, n, t, heads, d, hidden, bias, masked, eps, seed):
    options = {"norm": norm, "activation": activation, "bias": bias, "algorithm": algorithm, "eps": eps}
    layer = randomised(TransformerBlock(heads * d, heads, hidden, rng=Rng(seed), **options), seed)
    twin, x = tie(Twin(block_module(layer)), layer, BLOCK), normal(n, t, heads * d, seed=seed)
    real = seen(n, t, seed=seed)
    padding = torch.tensor(~real) if masked else None
    their_x = tensor(x).requires_grad_()
    expected = twin.module(their_x, src_key_padding_mask=padding)
    y, cache = layer.forward(x, mask=attention.padding_mask(real) if masked else None)
    agree(y, expected)
    dy = normal(*y.shape, seed=3)
    expected.backward(tensor(dy))
    dx, grads = layer.backward(dy, cache)
    agree(dx, their_x.grad)
    twin.check_gradients(grads)
