"""Attention: every mapping in its middle, what masks promise; the tiled and the fused path against the plain one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npsoftmax.errors import InputError
from npsoftmax.functional import attention, fused_attention, multi_head, softmax_attention, tiled_attention
from npsoftmax.functional.mappings import MAPPINGS
from npsoftmax.gradcheck import check_pair

OPTIONS = {"gumbel_softmax": {"tau": 0.5}, "taylor_softmax": {"order": 4}, "spherical_softmax": {"eps": 0.2}}
NAMES = [name for name, mapping in MAPPINGS.items() if mapping.kind == "probability"]
WHOLE = [name for name in NAMES if MAPPINGS[name].sums_to_one]
every_mapping = pytest.mark.parametrize("name", NAMES)


def arrays(t=4, s=6, d=5, e=7, lead=(2, 3), seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((*lead, *shape)).astype(dtype) for shape in ((t, d), (s, d), (s, e))]


def noise(t=4, s=6, lead=(2, 3)):
    return np.random.default_rng(5).gumbel(size=(*lead, t, s))


def both(forward, backward, *args, **kwargs):
    y, cache = forward(*args, **kwargs)
    return y, *backward(np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype), cache)


def plain(*args, **kwargs):
    return both(attention.attention_forward, attention.attention_backward, *args, **kwargs)


def tiled(*args, **kwargs):
    return both(tiled_attention.attention_tiled_forward, tiled_attention.attention_tiled_backward, *args, **kwargs)


def agree(got, want, **tolerance):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, **{"rtol": 1e-11, "atol": 1e-12, **tolerance})


# ---------------------------------------------------------------- every mapping
@every_mapping
@pytest.mark.parametrize("masked", [pytest.param(False, marks=pytest.mark.slow), True])
def test_gradients_with_every_mapping_in_the_middle(name, masked):
    if MAPPINGS[name].biased:
        pytest.skip("its backward is not the derivative of its forward, and says so")
    mask = np.random.default_rng(3).random((2, 1, 4, 6)) < 0.6 if masked else None
    args = (*arrays(), mask, noise())
    kwargs = {"mapping": name, **OPTIONS.get(name, {})}
    check_pair(
        attention.attention_forward, attention.attention_backward, args, wrt=("q", "k", "v"), kwargs=kwargs
    ).assert_ok()


@pytest.mark.parametrize("name", WHOLE)
def test_weights_sum_to_one_over_the_keys_that_may_be_seen(name):
    q, k, _ = arrays()
    mask = np.random.default_rng(3).random((2, 3, 4, 6)) < 0.5
    mask[..., 0] = True
    mask[1, 2, 3] = False
    p, _ = attention.attention_weights_forward(q, k, mask, noise(), mapping=name, **OPTIONS.get(name, {}))
    assert (p >= 0).all() and not p[~mask].any()
    np.testing.assert_allclose(p.sum(axis=-1), mask.any(axis=-1), rtol=1e-12)


@every_mapping
def test_a_query_that_may_look_at_nothing_gets_zeros_and_has_no_gradient(name):
    mask = np.ones((4, 6), bool)
    mask[1] = False
    mask[:, 2] = False
    y, dq, dk, dv = plain(*arrays(), mask, noise(), mapping=name, **OPTIONS.get(name, {}))
    assert np.isfinite(y).all() and not y[..., 1, :].any() and not dq[..., 1, :].any()
    assert not dk[..., 2, :].any() and not dv[..., 2, :].any()


@pytest.mark.parametrize("name", WHOLE)
def test_one_key_is_always_the_answer(name):
    q, k, v = arrays(t=1, s=1, lead=(1,))
    y, *_ = plain(q, k, v, mapping=name, **OPTIONS.get(name, {}))
    np.testing.assert_allclose(y, v, rtol=1e-12)


@every_mapping
def test_float32_stays_float32(name):
    q, k, v = arrays(dtype=np.float32)
    results = plain(q, k, v, None, noise(), mapping=name, **OPTIONS.get(name, {}))
    assert {a.dtype for a in results} == {np.dtype(np.float32)}


def test_without_noise_the_gumbel_mapping_is_a_tempered_softmax():
    q, k, v = arrays()
    agree(plain(q, k, v, mapping="gumbel_softmax", tau=2.0), plain(q, k, v, scale=0.5 / np.sqrt(5)))


def test_attention_by_hand():
    q, k, v = np.array([[2.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[10.0], [20.0]])
    p = np.exp(np.sqrt(2)) / (np.exp(np.sqrt(2)) + 1)  # the scores are 2/√2 and 0
    assert attention.attention_forward(q, k, v)[0].item() == pytest.approx(10 * p + 20 * (1 - p), rel=1e-14)


def test_the_order_of_the_keys_does_not_matter():
    q, k, v = arrays()
    order = np.random.default_rng(0).permutation(6)
    agree(
        [attention.attention_forward(q, k[..., order, :], v[..., order, :])[0]],
        [attention.attention_forward(q, k, v)[0]],
    )


# ---------------------------------------------------------------- masks
def test_a_causal_query_does_not_feel_what_comes_after_it():
    q, k, v = arrays(t=5, s=5)
    y, _ = attention.attention_forward(q, k, v, causal=True)
    k[..., 3:, :], v[..., 3:, :] = 99, -99
    changed, _ = attention.attention_forward(q, k, v, causal=True)
    np.testing.assert_array_equal(changed[..., :3, :], y[..., :3, :])
    assert not np.allclose(changed[..., 3:, :], y[..., 3:, :])


def test_padding_is_as_if_it_were_not_there():
    q, k, v = arrays()
    real = np.array([[True] * 4 + [False] * 2, [True] * 6])
    y, _ = attention.attention_forward(q, k, v, attention.padding_mask(real))
    np.testing.assert_allclose(y[0], attention.attention_forward(q[0], k[0, :, :4], v[0, :, :4])[0], rtol=1e-12)
    np.testing.assert_allclose(y[1], attention.attention_forward(q[1], k[1], v[1])[0], rtol=1e-12)


def test_causal_and_padding_masks_join():
    q, k, v = arrays(t=6, s=6)
    real = np.random.default_rng(2).random((2, 6)) < 0.7
    past = attention.causal_mask(6, 6, q)
    assert past.tolist() == np.tril(np.ones((6, 6), bool)).tolist()
    both_masks = past & attention.padding_mask(real)
    agree(plain(q, k, v, attention.padding_mask(real), causal=True), plain(q, k, v, both_masks))


def test_dropout_of_weights_drops_and_scales_them():
    q, k, v = arrays()
    p, _ = attention.attention_weights_forward(q, k)
    drop = np.random.default_rng(2).random(p.shape) < 0.5
    y, _ = attention.attention_forward(q, k, v, drop=drop, keep=0.5)
    np.testing.assert_allclose(y, (2 * p * drop) @ v, rtol=1e-12)


# ---------------------------------------------------------------- the same numbers by other ways
@given(
    t=st.integers(1, 9),
    s=st.integers(1, 9),
    tile=st.integers(1, 10),
    lead=st.sampled_from([(), (1,), (2, 3)]),
    masked=st.booleans(),
    dropped=st.booleans(),
    causal=st.booleans(),
    size=st.sampled_from([1.0, 30.0]),
    seed=st.integers(0, 999),
)
def test_tiles_change_nothing(t, s, tile, lead, masked, dropped, causal, size, seed):
    q, k, v = arrays(t, s, lead=lead, seed=seed)
    q *= size  # large scores: a later tile then often has the larger maximum
    rng = np.random.default_rng(seed)
    mask = rng.random((*lead[:1], *(1,) * len(lead[1:]), t, s)) < 0.6 if masked else None
    drop = rng.random((*lead, t, s)) < 0.5 if dropped else None
    expected = plain(q, k, v, mask, None, drop, 0.5, causal=causal)
    agree(tiled(q, k, v, mask, drop, 0.5, causal=causal, tile=tile), expected, atol=1e-11 * size)


def test_a_mask_of_whole_rows_needs_no_tiles():
    mask = np.array([[True], [False], [True], [True]])
    agree(tiled(*arrays(), mask, tile=2), plain(*arrays(), mask))


def test_a_hidden_score_far_above_the_others_counts_in_no_tile():
    q, k, v = arrays()
    k[..., 3, :] = 1e3 * q[..., 0, :]  # seen, it would leave nothing of the others
    mask = np.arange(6) != 3
    agree(tiled(q, k, v, mask, tile=4), plain(q, k, v, mask))


def test_scores_far_beyond_the_exponential_are_finite_in_tiles():
    q, k, v = arrays(dtype=np.float32)
    with np.errstate(over="raise", invalid="raise"):
        results = tiled(q * 1e4, k, v, tile=2)
    assert all(np.isfinite(a).all() for a in results)


@given(t=st.integers(1, 7), s=st.integers(1, 7), heads=st.integers(1, 3), seed=st.integers(0, 99))
def test_the_fused_path_is_the_plain_one(t, s, heads, seed):
    q, k, v = arrays(t, s, 2 * heads, 2 * heads, (2,), seed)
    fused = both(fused_attention.attention_fused_forward, fused_attention.attention_fused_backward, q, k, v, heads)
    split = [softmax_attention.split_heads(x, heads) for x in (q, k, v)]
    y, cache = attention.attention_forward(*split)
    dy = np.random.default_rng(1).standard_normal(q.shape)
    grads = attention.attention_backward(softmax_attention.split_heads(dy, heads), cache)
    agree(fused, [softmax_attention.merge_heads(a) for a in (y, *grads)])


# ---------------------------------------------------------------- multi-head attention
def projections(d, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) / np.sqrt(d) for shape in ((d, 3 * d), (3 * d,), (d, d), (d,))]


def multi_head_results(x, parameters, *args, **kwargs):
    y, cache = multi_head.multi_head_attention_forward(x, *parameters, *args, **kwargs)
    return y, *multi_head.multi_head_attention_backward(np.random.default_rng(1).standard_normal(y.shape), cache)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("cross", [False, True])
def test_the_algorithms_of_multi_head_attention_agree(n, cross):
    rng = np.random.default_rng(0)
    x, context = rng.standard_normal((n, 4, 6)), rng.standard_normal((n, 5, 6)) if cross else None
    results = [
        multi_head_results(x, projections(6), context, heads=3, algorithm=algorithm)
        for algorithm in multi_head.ALGORITHMS
    ]
    for other in results[1:]:
        assert (other[-1] is None) == (not cross)
        agree([a for a in other if a is not None], [a for a in results[0] if a is not None])


def test_attention_to_itself_as_context_is_self_attention():
    x, parameters = np.random.default_rng(0).standard_normal((2, 4, 6)), projections(6)
    y, dx, *grads, _ = multi_head_results(x, parameters, heads=2)
    y2, dx2, *grads2, dcontext = multi_head_results(x, parameters, x, heads=2)
    agree([y2, dx2 + dcontext, *grads2], [y, dx, *grads])


@pytest.mark.parametrize("name", [n for n in NAMES if not MAPPINGS[n].biased])
def test_gradients_of_multi_head_attention_with_every_mapping(name):
    x, mask = np.random.default_rng(0).standard_normal((2, 4, 6)), np.random.default_rng(1).random((2, 1, 1, 4)) < 0.8
    args = (x, *projections(6), None, mask, noise(4, 4, (2, 3)))
    kwargs = {"heads": 3, "mapping": name, **OPTIONS.get(name, {})}
    check_pair(
        multi_head.multi_head_attention_forward,
        lambda dy, cache: multi_head.multi_head_attention_backward(dy, cache)[:5],
        args,
        wrt=("x", "w_qkv", "b_qkv", "w_out", "b_out"),
        kwargs=kwargs,
        elements=60,
    ).assert_ok()


# ---------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda q, k, v: attention.attention_forward(q, k, v, mapping="sofmax"), "Did you mean 'softmax'"),
        (lambda q, k, v: attention.attention_forward(q, k, v, mapping="log_softmax"), "gives a log-probability"),
        (lambda q, k, v: attention.attention_forward(q, k, v, np.ones((4, 6))), "booleans are needed"),
        (lambda q, k, v: attention.attention_forward(q, k, v, np.ones((3, 6), bool)), "does not broadcast"),
        (lambda q, k, v: attention.attention_forward(q, k, v, mapping="gumbel_softmax", noise=v), "one draw a logit"),
        (lambda q, k, v: tiled_attention.attention_tiled_forward(q, k, v, tile=0), "tile is 0"),
        (lambda q, k, v: attention.check_mapping_options("taylor_softmax", {"tau": 1}), "Known: order"),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError, match=message):
        call(*arrays())


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"heads": 4}, "6 features do not divide into 4 heads"),
        ({"heads": 2, "algorithm": "tiled", "mapping": "sparsemax"}, "'tiled' cannot do this"),
        ({"heads": 2, "algorithm": "fused", "causal": True}, "'fused' cannot do this"),
        ({"heads": 2, "algorithm": "quick"}, "'quick' cannot do this"),
    ],
)
def test_errors_of_multi_head_attention(kwargs, message):
    with pytest.raises(InputError, match=message):
        multi_head.multi_head_attention_forward(np.ones((2, 3, 6)), *projections(6), **kwargs)
