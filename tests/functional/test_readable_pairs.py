"""The readable pairs whose training twin has another signature, or is spread over a head, give the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from npsoftmax.functional import adaptive, attention, loss, sampled, smoothing, softmax_attention, two_level
from npsoftmax.functional.multi_head import multi_head_attention_backward, multi_head_attention_forward
from npsoftmax.heads import ClassInfo, head_class
from npsoftmax.params import replace_leaves
from npsoftmax.random import Rng

N, D = 5, 6


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def same(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


def test_smoothed_targets(rng):
    z, t = rng.standard_normal((N, D)), rng.integers(0, D, N)
    q = smoothing.smoothed_targets(np.eye(D)[t], 0.3)
    value, cache = smoothing.soft_cross_entropy_forward(z, q)
    other, other_cache = loss.softmax_cross_entropy_forward(z, t, 0.3)
    same(value, other)
    same(smoothing.soft_cross_entropy_backward(0.7, cache), loss.softmax_cross_entropy_backward(0.7, other_cache))


def test_attention(rng):
    q, k, v = rng.standard_normal((N, 3, D)), rng.standard_normal((N, 4, D)), rng.standard_normal((N, 4, 2))
    mask = rng.random((N, 3, 4)) < 0.6
    mask[0, 0] = False
    y, cache = softmax_attention.scaled_dot_product_attention_forward(q, k, v, mask)
    right, right_cache = attention.attention_forward(q, k, v, mask)
    same(y, right)
    dy = rng.standard_normal(y.shape)
    gradients = softmax_attention.scaled_dot_product_attention_backward(dy, cache)
    for got, want in zip(gradients, attention.attention_backward(dy, right_cache), strict=True):
        same(got, want)


def test_multi_head_attention(rng):
    x, w_qkv, w_out = rng.standard_normal((2, 4, D)), rng.standard_normal((D, 3 * D)), rng.standard_normal((D, D))
    mask = np.broadcast_to(np.tri(4, dtype=bool), (2, 3, 4, 4)).copy()
    y, cache = softmax_attention.multi_head_attention_forward(x, w_qkv, w_out, 3, mask)
    right, right_cache = multi_head_attention_forward(x, w_qkv, None, w_out, None, heads=3, causal=True)
    same(y, right)
    dy = rng.standard_normal(y.shape)
    dx, dw_qkv, _, dw_out, _, _ = multi_head_attention_backward(dy, right_cache)
    for got, want in zip(softmax_attention.multi_head_attention_backward(dy, cache), (dx, dw_qkv, dw_out), strict=True):
        same(got, want)


def head_in_float64(name, classes, **options):
    head = head_class(name)(D, classes, rng=Rng(0), **options)
    replace_leaves(head.params, lambda _, p: p.astype(np.float64))
    return head


def test_two_levels(rng):
    group = np.array([0, 1, 2, 1, 0, 2, 2, 1])
    head = head_in_float64("hierarchical", ClassInfo(8, coarse=group), tree="superclass")
    h, t = rng.standard_normal((N, D)), np.array([7, 0, 3, 3, 5])
    right, right_cache = head.loss(h, t)
    group_map, class_map = head.params["group"], head.params["class"]
    z_group, z_class = h @ group_map["w"] + group_map["b"], h @ class_map["w"].T + class_map["b"]
    value, cache = two_level.two_level_loss_forward(z_group, z_class, t, group)
    same(value, right)
    dz_group, dz_class = two_level.two_level_loss_backward(0.7, cache)
    dh, grads = head.backward(right_cache, 0.7)
    same(dz_group @ group_map["w"].T + dz_class @ class_map["w"], dh)
    same(dz_class.T @ h, grads["class"]["w"])
    same(h.T @ dz_group, grads["group"]["w"])


def test_clusters(rng):
    counts = np.arange(9, 0, -1)  # by falling frequency already
    head = head_in_float64("adaptive", ClassInfo(9, counts=counts), cutoffs=(3,), div_value=2.0)
    h, t = rng.standard_normal((N, D)), np.array([0, 3, 8, 2, 5])
    right, right_cache = head.loss(h, t)
    w_head, tail = head.params["head"]["w"], head.params["tail1"]
    value, cache = adaptive.adaptive_loss_forward(h, w_head, tail["proj"], tail["w"], t, 3)
    same(value, right)
    dh, grads = head.backward(right_cache, 0.7)
    wanted = (dh, grads["head"]["w"], grads["tail1"]["proj"], grads["tail1"]["w"])
    for got, want in zip(adaptive.adaptive_loss_backward(0.7, cache), wanted, strict=True):
        same(got, want)


def test_samples(rng):
    h, w, b = rng.standard_normal((N, D)), rng.standard_normal((9, D)), rng.standard_normal(9)
    t, drawn, log_expected = np.array([1, 4, 4, 0, 8]), np.array([0, 2, 4]), rng.standard_normal(3)
    value, cache = sampled.sampled_loss_forward(h, w, b, t, drawn, log_expected)
    right, right_cache = sampled.sampled_softmax_forward(h, w, b, t, drawn, log_expected)
    same(value, right.mean())
    dh, rows, dw_rows, db_rows = sampled.sampled_softmax_backward(np.full(N, 0.7 / N), right_cache)
    dw, db = np.zeros_like(w), np.zeros_like(b)
    np.add.at(dw, rows, dw_rows)
    np.add.at(db, rows, db_rows)
    for got, want in zip(sampled.sampled_loss_backward(0.7, cache), (dh, dw, db), strict=True):
        same(got, want)
