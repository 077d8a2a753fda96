"""Outputs and gradients of every layer against PyTorch, in float64 to 1e-10, over random geometry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402
from torch_twins import agree, array, make_twin, tensor  # noqa: E402

from npsoftmax.heads import ClassInfo  # noqa: E402
from npsoftmax.heads.flat import SoftmaxHead  # noqa: E402
from npsoftmax.layers import (  # noqa: E402
    GELU,
    AvgPool2d,
    BatchNorm,
    BatchNormReLU,
    BatchNormSiLU,
    Conv2d,
    ConvReLU2d,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GlobalMaxAvgPool,
    GlobalMaxPool,
    LayerNorm,
    MaxPool2d,
    MaxPoolReLU2d,
    PadToOdd,
    ReLU,
    Residual,
    Sequential,
    SiLU,
    replace_leaves,
)
from npsoftmax.random import Rng  # noqa: E402

pytestmark = pytest.mark.oracle
torch.set_num_threads(1)

seeds = st.integers(0, 2**16)
few = st.integers(1, 4)


def pairs(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


def compare(layer, x, *, train=False, steps=1):
    """Forward and backward of both, `steps` times (batch norm then averages twice)."""
    rng = np.random.default_rng(1)
    replace_leaves(layer.params, lambda _, p: p + 0.1 * rng.standard_normal(p.shape))
    replace_leaves(layer.buffers, lambda _, b: b + rng.uniform(0.1, 1, b.shape))
    twin = make_twin(layer, x.shape[1:])
    twin.module.train(train)
    for _ in range(steps):
        y, cache = layer.forward(x, train=train, rng=Rng(0))
        their_x = tensor(x).requires_grad_()
        their_y = twin.module(their_x)
        agree(y, their_y)
    dy = rng.standard_normal(y.shape)
    their_y.backward(tensor(dy))
    dx, grads = layer.backward(dy, cache)
    agree(dx, their_x.grad)
    twin.check_gradients(grads)
    twin.check_buffers(layer.buffers)


def normal(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape)


# ---------------------------------------------------------------- layers
@pytest.mark.parametrize("algorithm", ["naive", "im2col", "tiled"])
@given(few, pairs(1, 9), few, few, pairs(1, 4), pairs(1, 4), pairs(0, 4), st.booleans(), seeds)
def test_conv2d(algorithm, n, hw, c, f, k, stride, pad, bias, seed):
    assume(hw[0] + 2 * pad[0] >= k[0] and hw[1] + 2 * pad[1] >= k[1])
    layer = Conv2d(c, f, k, rng=Rng(seed), stride=stride, pad=pad, bias=bias, algorithm=algorithm)
    compare(layer, normal((n, *hw, c), seed))


@pytest.mark.parametrize("kind", [Conv2d, ConvReLU2d])
@pytest.mark.parametrize("algorithm", ["tiled", "direct", "winograd", "auto"])
@given(few, pairs(1, 11), st.sampled_from([1, 3, 17]), st.sampled_from([2, 16]), pairs(0, 3), st.booleans(), seeds)
def test_conv2d_of_three(kind, algorithm, n, hw, c, f, pad, bias, seed):
    assume(hw[0] + 2 * pad[0] >= 3 and hw[1] + 2 * pad[1] >= 3)
    compare(kind(c, f, 3, rng=Rng(seed), pad=pad, bias=bias, algorithm=algorithm), normal((n, *hw, c), seed))


@pytest.mark.parametrize("kind", [MaxPool2d, MaxPoolReLU2d, AvgPool2d])
@given(few, pairs(1, 9), few, pairs(1, 4), pairs(1, 4), pairs(0, 2), seeds)
def test_pools(kind, n, hw, c, size, stride, pad, seed):
    assume(all(2 * p <= k <= s + 2 * p for p, k, s in zip(pad, size, hw, strict=True)))
    compare(kind(size, stride=stride, pad=pad), normal((n, *hw, c), seed))


@pytest.mark.parametrize("kind", [MaxPool2d, MaxPoolReLU2d, AvgPool2d])
@given(seeds)
def test_pools_of_small_whole_numbers_tie_alike(kind, seed):
    x = np.random.default_rng(seed).integers(-1, 2, (2, 6, 5, 3)).astype(float)
    compare(kind((3, 2), stride=(2, 1), pad=1), x)


@given(few, few, few, st.booleans(), seeds)
def test_dense(n, inputs, outputs, bias, seed):
    compare(Dense(inputs, outputs, rng=Rng(seed), bias=bias), normal((n, inputs), seed))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", [BatchNorm, BatchNormReLU, BatchNormSiLU])
@pytest.mark.parametrize("train", [False, True])
@given(st.integers(2, 5), st.one_of(st.just(()), pairs(1, 5)), few, st.floats(0.01, 1), st.floats(1e-5, 1), seeds)
def test_batch_norm(train, kind, fused, n, hw, c, momentum, eps, seed):
    layer = kind(c, momentum=momentum, eps=eps, fused=fused)
    compare(layer, 2 + 3 * normal((n, *hw, c), seed), train=train, steps=2)


@given(few, st.lists(few, max_size=1), st.integers(2, 6), st.floats(1e-5, 1), seeds)
def test_layer_norm(n, tokens, features, eps, seed):
    compare(LayerNorm(features, eps=eps), 2 + 3 * normal((n, *tokens, features), seed))


@pytest.mark.parametrize("kind", [ReLU, GELU, SiLU, PadToOdd, GlobalAvgPool, GlobalMaxPool, GlobalMaxAvgPool])
@given(few, pairs(1, 5), few, seeds)
def test_layers_without_parameters(kind, n, hw, c, seed):
    compare(kind(), 3 * normal((n, *hw, c), seed))


def test_gelu_far_out():
    compare(GELU(), np.linspace(-30, 30, 121)[None])


@given(pairs(1, 4), few, seeds)
def test_a_dense_layer_after_a_flatten(hw, c, seed):
    fc1, fc2 = Dense(hw[0] * hw[1] * c, 3, rng=Rng(seed)), Dense(3, 2, rng=Rng(seed + 1))
    net = Sequential(flatten=Flatten(), drop=Dropout(0), relu=ReLU(), fc1=fc1, fc2=fc2)
    compare(net, normal((3, *hw, c), seed))


@pytest.mark.parametrize("train", [False, True])
@given(pairs(4, 7), few, seeds)
def test_a_small_residual_network(train, hw, c, seed):
    rng = Rng(seed)
    block = Sequential(conv=Conv2d(c, c, 3, pad=1, rng=rng.child("a")), norm=BatchNorm(c), relu=ReLU())
    net = Sequential(
        stem=Conv2d(2, c, (3, 2), stride=(1, 2), pad=1, rng=rng.child("b")),
        residual=Residual(block),
        pool=AvgPool2d(3, stride=2, pad=1),
        norm=BatchNorm(c),
        mean=GlobalAvgPool(),
        fc=Dense(c, 5, rng=rng.child("c")),
    )
    compare(net, normal((4, *hw, 2), seed), train=train)


# ---------------------------------------------------------------- the softmax head
@given(
    n=few,
    features=few,
    classes=st.integers(2, 9),
    smoothing=st.floats(0, 0.9),
    temperature=st.floats(0.2, 5),
    bias=st.booleans(),
    seed=seeds,
)
def test_softmax_head(n, features, classes, smoothing, temperature, bias, seed):
    options = {"label_smoothing": smoothing, "temperature": temperature, "bias": bias}
    head = SoftmaxHead(features, ClassInfo(classes), rng=Rng(seed), **options)
    replace_leaves(head.params, lambda _, p: p.astype(np.float64))
    h = 3 * normal((n, features), seed)
    targets = np.random.default_rng(seed).integers(0, classes, n)
    their_h, w = tensor(h).requires_grad_(), tensor(head.params["w"]).requires_grad_()
    b = tensor(head.params["b"]).requires_grad_() if bias else torch.zeros(classes, dtype=torch.float64)
    z = (their_h @ w + b) / temperature
    loss = F.cross_entropy(z, torch.tensor(targets), label_smoothing=smoothing)
    (1.7 * loss).backward()
    value, cache = head.loss(h, targets, train=True)
    dh, grads = head.backward(cache, 1.7)
    agree(value, loss)
    agree(dh, their_h.grad)
    agree(grads["w"], w.grad)
    if bias:
        agree(grads["b"], b.grad)
    agree(head.log_prob(h), F.log_softmax(z, dim=1))
    agree(head.loss(h, targets)[0], F.cross_entropy(z, torch.tensor(targets)))
    np.testing.assert_array_equal(head.predict(h)[:, 0], array(z.argmax(dim=1)))
