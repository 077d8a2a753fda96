"""Every pair of MODULES: gradient, purity, dtype, its faster twins; then its meaning."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npsoftmax.errors import InputError
from npsoftmax.functional import (
    activation,
    adaptive,
    attention,
    binary,
    centres,
    conv,
    dense,
    dropout,
    fused_attention,
    harmonic,
    logits,
    loss,
    multi_head,
    noise,
    norm,
    ordinal,
    patches,
    path,
    pool,
    resize,
    sampled,
    sink,
    smoothing,
    softmax,
    softmax_attention,
    tiled_attention,
    tokens,
    two_level,
)
from npsoftmax.gradcheck import check_pair

MODULES = (
    *(dense, conv, pool, norm, activation, dropout, path, patches, attention, tiled_attention, multi_head),
    *(softmax_attention, fused_attention, two_level, adaptive, sampled, tokens, centres, noise, binary),
    *(harmonic, logits, ordinal, sink, resize, smoothing),
)
# Their gradients are those of rows: tests/heads/test_sampled.py, tests/functional/test_drawn_classes.py,
# tests/layers/test_embedding.py.
ELSEWHERE = {"sampled_softmax", "drawn_centres", "noise_contrast", "embedding_rows"}


def own_names(module, ending):
    """The names of a module's own functions with this ending, without it."""
    return [
        name.removesuffix(ending)
        for name, value in vars(module).items()
        if name.endswith(ending) and value.__module__ == module.__name__
    ]


def key(module, name):
    """What a pair is called here. Multi-head attention is in two modules: as one reads it, and with all there is."""
    return "softmax " + name.replace("_", " ") if module is softmax_attention else name


PAIRS = {
    key(module, name): (module, name)
    for module in MODULES
    for name in own_names(module, "_forward")
    if name not in ELSEWHERE
}


@dataclass(frozen=True)
class Case:
    """Arguments of `pair`_forward: float arrays of these shapes, then `rest`; the first `grads` get a gradient."""

    pair: str
    shapes: tuple[tuple[int, ...] | None, ...]
    rest: tuple[Any, ...] = ()
    grads: int | None = None
    outputs: int = 1
    positive: tuple[int, ...] = ()  # arguments that are variances
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def forward(self):
        module, name = PAIRS[self.pair]
        return getattr(module, f"{name}_forward")

    @property
    def backward(self):
        module, name = PAIRS[self.pair]
        return getattr(module, f"{name}_backward")

    @property
    def wrt(self):
        return tuple(range(len(self.shapes) if self.grads is None else self.grads))

    def arrays(self, dtype=np.float64, seed=0):
        rng = np.random.default_rng(seed)
        arrays = [None if s is None else rng.standard_normal(s) for s in self.shapes]
        for i in self.positive:
            arrays[i] = 0.5 + arrays[i] ** 2
        return [None if a is None else a.astype(dtype) for a in arrays]

    def run(self, arrays, seed=1):
        """y, dy, gradients (each (N, …) array or None)."""
        y, *_, cache = self.forward(*arrays, *self.rest, **self.kwargs)
        if np.ndim(y) == 0:
            dy = 0.7
        else:
            dy = np.random.default_rng(seed).standard_normal(y.shape).astype(y.dtype)
            dy.flags.writeable = False
        grads = self.backward(dy, cache)
        return y, dy, grads if isinstance(grads, tuple) else (grads,)


MASK = np.random.default_rng(7).random((4, 5, 3)) < 0.6
SIGNS = np.array([[1, -1, 0, 0], [-1, -1, 1, 0], [1, 1, -1, 1], [-1, 0, 0, 0], [1, -1, -1, -1]], float)
LABELS, EXPECTED = np.array([7, 0, 3, 3, 5]), np.log([0.5, 2.0, 1.5])  # of eight classes; of three draws
YES = np.random.default_rng(6).integers(0, 2, (5, 8))
# A tree of five classes: the two places below each inner node (4 + c is the leaf of class c), and its levels.
CHILDREN, LEVELS = np.array([[1, 2], [3, 4], [5, 6], [7, 8]]), [(0, 1), (1, 3), (3, 4)]

# Attention of 4 queries to 6 keys in (2, 3) batches: which keys each may see (one sees none), and dropout's mask.
SEEN = np.random.default_rng(8).random((2, 1, 4, 6)) < 0.7
SEEN[1, 0, 2] = False
KEPT = np.random.default_rng(9).random((2, 3, 4, 6)) < 0.6
NOISE = np.random.default_rng(10).gumbel(size=(2, 3, 4, 6))
EVERY_SEEN = np.broadcast_to(SEEN, (2, 3, 4, 6))
QKV = ((2, 3, 4, 5), (2, 3, 6, 5), (2, 3, 6, 7))
PROJECTIONS = ((2, 3, 6), (6, 18), (18,), (6, 6), (6,))

CONVOLUTIONS = {
    "": ((2, 5, 6, 3), (3, 2, 3, 4), (4,), (1, 1), (0, 0)),
    "strided": ((2, 6, 7, 3), (2, 3, 3, 5), (5,), (3, 2), (1, 2)),
    "gaps": ((3, 7, 5, 2), (1, 2, 2, 4), (4,), (2, 3), (0, 1)),
    "wide frame": ((2, 3, 4, 3), (2, 1, 3, 5), (5,), (1, 1), (3, 2)),
    "one pixel": ((1, 1, 1, 1), (1, 1, 1, 1), (1,), (1, 1), (0, 0)),
}
CASES = {
    **{
        f"{pair} {name}": Case(pair, shapes)
        for pair in ("dense", "dense_threaded")
        for name, *shapes in [
            ("bias", (4, 3), (3, 5), (5,)),
            ("no bias", (4, 3), (3, 5), None),
            ("one sample", (1, 3), (3, 2), (2,)),
        ]
    },
    **{
        f"{pair} {name}".strip(): Case(pair, (x, w, b), rest)
        for pair in ("conv2d_naive", "conv2d_im2col", "conv2d_tiled")
        for name, (x, w, b, *rest) in CONVOLUTIONS.items()
    },
    **{
        f"{pair}, no bias": Case(pair, ((2, 4, 5, 3), (2, 3, 3, 4), None))
        for pair in ("conv2d_naive", "conv2d_im2col", "conv2d_tiled", "conv2d_relu_tiled")
    },
    **{
        f"{pair} {name}": Case(pair, (x, (*k, x[-1], f), (f,) if bias else None), ((1, 1), pad))
        for pair in ("conv2d_direct", "conv2d_relu_direct")
        for name, x, k, f, bias, pad in [
            ("one block", (2, 4, 9, 3), (3, 3), 4, True, (1, 1)),
            ("two blocks", (2, 3, 4, 2), (2, 3), 9, True, (0, 2)),
            ("wide frame", (1, 2, 3, 3), (1, 2), 2, False, (3, 2)),
        ]
    },
    "conv2d_relu_tiled": Case("conv2d_relu_tiled", ((2, 6, 7, 3), (2, 3, 3, 5), (5,)), ((3, 2), (1, 2))),
    **{
        f"{pair} {name}": Case(pair, (x, (3, 3, x[-1], f), (f,) if bias else None), ((1, 1), pad, tile))
        for pair in ("conv2d_winograd", "conv2d_relu_winograd")
        for name, x, f, bias, pad, tile in [
            ("4x4 tiles", (2, 9, 6, 3), 4, True, (1, 1), 4),
            ("2x2 tiles", (2, 5, 4, 3), 4, True, (1, 0), 2),
            ("by size", (3, 4, 8, 2), 5, False, (1, 1), None),
            ("wide frame", (1, 2, 3, 3), 2, True, (3, 2), None),
            ("3x3 tiles", (2, 5, 6, 3), 4, True, (1, 1), 3),
        ]
    },
    "conv2d_winograd 2x2": Case("conv2d_winograd", ((2, 7, 5, 3), (2, 2, 3, 4), (4,)), ((1, 1), (0, 1), 3)),
    "conv2d_winograd 2x2 by size": Case("conv2d_winograd", ((2, 5, 5, 3), (2, 2, 3, 4), None), ((1, 1), (0, 0))),
    **{
        f"{pair} {name}": Case(pair, (shape,), rest)
        for pair in ("max_pool2d", "max_pool2d_relu", "avg_pool2d")
        for name, shape, *rest in [
            ("halves", (2, 4, 6, 3), (2, 2), (2, 2)),
            ("overlap", (2, 5, 7, 3), (3, 2), (2, 1), (1, 0)),
            ("gaps", (3, 7, 8, 2), (1, 2), (3, 4)),
            ("whole", (2, 3, 4, 5), (3, 4), (1, 1)),
            ("frame", (2, 4, 3, 5), (2, 3), (1, 2), (1, 1)),
        ]
    },
    "global_avg_pool": Case("global_avg_pool", ((2, 3, 4, 5),)),
    "global_max_pool": Case("global_max_pool", ((2, 3, 4, 5),)),
    "global_max_avg_pool": Case("global_max_avg_pool", ((2, 3, 4, 5),)),
    "pad_to_odd": Case("pad_to_odd", ((2, 3, 4, 5),)),
    "pad_to_odd both": Case("pad_to_odd", ((2, 4, 2, 3),)),
    **{
        f"{pair} {name}": Case(pair, shapes, rest, outputs=3)
        for pair in ("batch_norm", "batch_norm_fused", "batch_norm_relu", "batch_norm_silu")
        for name, shapes, *rest in [
            ("rows", ((6, 3), (3,), (3,))),
            ("images", ((2, 3, 4, 5), (5,), (5,)), 1e-3),
            ("two rows", ((2, 3), (3,), (3,)), 0.1),
            ("blocks", ((3, 10, 9, 2), (2,), (2,))),  # more than 256 rows
        ]
    },
    **{
        f"batch_norm_shared {name}": Case(
            "batch_norm_shared", shapes, (eps, rows, lambda sums: sums.copy(), after), outputs=3
        )
        for name, shapes, eps, rows, after in [
            ("rows", ((6, 3), (3,), (3,)), 1e-5, 6, ""),
            ("images", ((2, 3, 4, 5), (5,), (5,)), 1e-3, 24, ""),
            ("images, relu", ((2, 3, 4, 5), (5,), (5,)), 1e-3, 24, "relu"),
            ("images, silu", ((2, 3, 4, 5), (5,), (5,)), 1e-3, 24, "silu"),
        ]
    },
    **{
        f"{pair}_inference": Case(f"{pair}_inference", ((2, 3, 4, 5),) + ((5,),) * 4, (0.1,), grads=3, positive=(4,))
        for pair in ("batch_norm", "batch_norm_fused", "batch_norm_relu", "batch_norm_silu")
    },
    "layer_norm": Case("layer_norm", ((4, 5), (5,), (5,))),
    "layer_norm tokens": Case("layer_norm", ((2, 3, 4), (4,), (4,)), (0.1,)),
    "layer_norm, no beta": Case("layer_norm", ((4, 5), (5,), None)),
    "layer_norm_fused": Case("layer_norm_fused", ((4, 5), (5,), (5,))),
    "layer_norm_fused tokens": Case("layer_norm_fused", ((2, 3, 40), (40,), (40,)), (0.1,)),
    "layer_norm_fused, no beta": Case("layer_norm_fused", ((4, 5), (5,), None)),
    "relu": Case("relu", ((3, 4, 5),)),
    "relu_fused": Case("relu_fused", ((3, 4, 5),)),
    "silu": Case("silu", ((3, 4, 5),)),
    "silu_fused": Case("silu_fused", ((3, 4, 5),)),
    "resize": Case("resize", ((2, 5, 4, 3),), (3, 6)),
    "soft_cross_entropy": Case("soft_cross_entropy", ((4, 5), (4, 5)), grads=1, positive=(1,)),
    "gelu": Case("gelu", ((3, 4, 5),)),
    "gelu_fused": Case("gelu_fused", ((3, 4, 5),)),
    "embedding": Case("embedding", ((5, 3),), (np.array([[4, 0, 4], [1, 4, 0]]),)),
    "class_token": Case("class_token", ((2, 4, 5), (5,))),
    "position_embedding": Case("position_embedding", ((2, 4, 5), (4, 5))),
    **{f"token_pool {kind}": Case("token_pool", ((2, 4, 5),), (kind,)) for kind in ("class", "mean", "sum")},
    "patches": Case("patches", ((2, 4, 6, 3),), (2,)),
    **{
        f"{pair} {name}".strip(): Case(pair, QKV[:count], rest, grads=count, kwargs=kwargs)
        for pair, count, name, rest, kwargs in [
            ("attention_weights", 2, "", (), {}),
            ("attention_weights", 2, "noise", (SEEN, NOISE), {"mapping": "gumbel_softmax", "tau": 0.5}),
            ("attention", 3, "", (), {}),
            ("attention", 3, "masks", (SEEN, None, KEPT, 0.6), {"causal": True, "scale": 0.3}),
            ("attention", 3, "noise", (SEEN, NOISE, KEPT, 0.6), {"mapping": "gumbel_softmax", "tau": 2.0}),
            ("attention", 3, "taylor", (SEEN,), {"mapping": "taylor_softmax", "order": 4}),
            ("attention", 3, "spherical", (SEEN,), {"mapping": "spherical_softmax", "eps": 0.1}),
            ("attention", 3, "sparsemax", (SEEN,), {"mapping": "sparsemax"}),
            ("attention", 3, "entmax15", (SEEN,), {"mapping": "entmax15"}),
            ("attention_tiled", 3, "", (), {"tile": 4}),
            ("attention_tiled", 3, "masks", (SEEN, KEPT, 0.6), {"causal": True, "scale": 0.3, "tile": 1}),
        ]
    },
    "attention_fused": Case("attention_fused", ((2, 4, 6), (2, 5, 6), (2, 5, 6)), (3,)),
    "attention_fused, one token": Case("attention_fused", ((1, 1, 4), (1, 1, 4), (1, 1, 4)), (1,)),
    **{
        f"multi_head_attention {algorithm}": Case(
            "multi_head_attention", (*PROJECTIONS, None), grads=6, kwargs={"heads": 2, "algorithm": algorithm}
        )
        for algorithm in multi_head.ALGORITHMS
    },
    **{
        f"multi_head_attention cross {algorithm}": Case(
            "multi_head_attention", (*PROJECTIONS, (2, 5, 6)), grads=6, kwargs={"heads": 3, "algorithm": algorithm}
        )
        for algorithm in multi_head.ALGORITHMS
    },
    "multi_head_attention, no bias": Case(
        "multi_head_attention",
        ((2, 3, 6), (6, 18), None, (6, 6), None, None),
        grads=6,
        kwargs={"heads": 2, "causal": True, "threaded": True},
    ),
    "softmax masked softmax": Case("softmax masked softmax", ((2, 3, 4, 6),), (EVERY_SEEN,)),
    "softmax scaled dot product attention": Case("softmax scaled dot product attention", QKV, (EVERY_SEEN,)),
    "softmax multi head attention": Case(
        "softmax multi head attention", ((2, 4, 6), (6, 18), (6, 6)), (3, EVERY_SEEN[..., :4])
    ),
    "dropout": Case("dropout", ((4, 5, 3),), (MASK, 0.6)),
    "two_level_loss": Case("two_level_loss", ((5, 3), (5, 8)), (LABELS, np.array([0, 1, 2, 1, 0, 2, 2, 1]))),
    "adaptive_loss": Case("adaptive_loss", ((5, 4), (4, 4), (2, 4), (5, 2)), (LABELS, 3)),
    "adaptive_loss, no rare class": Case("adaptive_loss", ((5, 4), (8, 4), (2, 4), (1, 2)), (LABELS % 7, 7)),
    "sampled_loss": Case("sampled_loss", ((5, 4), (8, 4), (8,)), (LABELS, np.array([0, 2, 3]), EXPECTED)),
    "angular_margin": Case("angular_margin", ((4, 5),), (0.5,)),  # cosines beyond 1 too, where it goes on straight
    "lead": Case("lead", ((5,), (5, 4))),
    "centres": Case("centres", ((5, 4), (8, 4)), (LABELS,), kwargs={"scale": 4.0, "angle": 0.5, "gap": 0.2}),
    "one_against_rest": Case("one_against_rest", ((5, 8),), (LABELS,)),
    "one_against_rest, several": Case("one_against_rest", ((5, 8),), (YES,)),
    "one_against_rest, weighed": Case("one_against_rest", ((5, 8),), (YES, np.arange(1.0, 9))),
    "path_loss": Case("path_loss", ((5, 4),), (SIGNS,), grads=1),
    "path_losses": Case("path_losses", ((5, 4),), (SIGNS,), grads=1),
    "path_losses_fused": Case("path_losses_fused", ((5, 4),), (SIGNS,), grads=1),
    "tree_log_prob": Case("tree_log_prob", ((3, 4),), (CHILDREN, LEVELS)),
    "harmonic": Case("harmonic", ((4, 3), (3, 5)), (2.5,)),
    "soft_cap": Case("soft_cap", ((4, 5),), (1.5,)),
    "z_loss": Case("z_loss", ((4, 5),), (0.1,)),
    "max_suppression": Case("max_suppression", ((4, 5),), (0.1,)),
    "sink_softmax": Case("sink_softmax", ((4, 3), (1,))),
    "sink_softmax a row": Case("sink_softmax", ((4, 3), (4,))),
    "log_sink_softmax": Case("log_sink_softmax", ((4, 3), (1,))),
    "log_sink_softmax a row": Case("log_sink_softmax", ((4, 3), (4,))),
    "cumulative_log_prob": Case("cumulative_log_prob", ((4,), (5,))),
    "cumulative_log_prob of two": Case("cumulative_log_prob", ((4,), (1,))),
    "corn_log_prob": Case("corn_log_prob", ((4, 5),)),
    "corn_log_prob of two": Case("corn_log_prob", ((4, 1),)),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


# ---------------------------------------------------------------- every pair
def test_every_pair_has_a_case_and_a_backward():
    assert {case.pair for case in CASES.values()} == set(PAIRS)
    backwards = {key(m, name) for m in MODULES for name in own_names(m, "_backward")}
    assert backwards - ELSEWHERE == set(PAIRS), "a half stands alone"


@every_case
def test_gradients(case):
    output = 0 if case.outputs > 1 else None
    args = (*case.arrays(), *case.rest)
    report = check_pair(case.forward, case.backward, args, wrt=case.wrt, output=output, kwargs=case.kwargs).assert_ok()
    assert all(t.checked > 0 for t in report.tensors)


@every_case
def test_nothing_passed_in_is_changed(case):
    arrays = case.arrays()
    before = [None if a is None else a.tobytes() for a in arrays]
    for a in arrays:
        if a is not None:
            a.flags.writeable = False
    case.run(arrays)
    assert [None if a is None else a.tobytes() for a in arrays] == before


@every_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_and_shapes_are_kept(case, dtype):
    arrays = case.arrays(dtype)
    rest = tuple(r.astype(dtype) if r is SIGNS or r is EXPECTED else r for r in case.rest)
    *outputs, cache = case.forward(*arrays, *rest, **case.kwargs)
    assert len(outputs) == case.outputs and all(y.dtype == dtype for y in outputs)
    dy = 0.7 if np.ndim(outputs[0]) == 0 else outputs[0].copy()
    grads = case.backward(dy, cache)
    grads = grads if isinstance(grads, tuple) else (grads,)
    assert len(grads) == len(case.wrt)
    for x, dx in zip(arrays, grads, strict=False):
        assert (x is None) == (dx is None)
        assert x is None or (dx.dtype == dtype and dx.shape == x.shape)


@every_case
def test_a_cache_belongs_to_its_call(case):
    """A second forward and a first backward leave the cache as it was: no state, no buffer in common."""
    arrays, others = case.arrays(seed=0), case.arrays(seed=5)
    _, dy, expected = case.run(arrays)
    *_, cache = case.forward(*arrays, *case.rest, **case.kwargs)
    *_, other_cache = case.forward(*others, *case.rest, **case.kwargs)
    for used in (other_cache, cache, cache):
        grads = case.backward(dy, used)
    for got, want in zip(grads if isinstance(grads, tuple) else (grads,), expected, strict=True):
        np.testing.assert_array_equal(got, want)


@every_case
def test_memory_layout_does_not_matter(case):
    def scattered(a):
        return None if a is None else np.flip(np.repeat(np.flip(a), 2, axis=-1))[..., ::2]

    arrays = case.arrays()
    views = [scattered(a) for a in arrays]
    y, dy, grads = case.run(arrays)
    *outputs, cache = case.forward(*views, *case.rest, **case.kwargs)
    np.testing.assert_allclose(outputs[0], y, rtol=1e-12, atol=1e-14)
    got = case.backward(dy if np.ndim(dy) == 0 else scattered(dy), cache)
    for a, b in zip(got if isinstance(got, tuple) else (got,), grads, strict=True):
        if b is not None:
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def readable(name):
    """The pair that one with `fused` or `threaded` in its name computes faster."""
    return re.sub("_fused|_threaded", "", name)


def test_what_is_fused_or_threaded_stands_beside_its_readable_pair():
    names = {*PAIRS, *own_names(loss, "_forward")}
    assert {readable(name) for name in names} <= names


# The fused attention takes other shapes: tests/functional/test_attention.py.
FASTER = [c for c in CASES.values() if readable(c.pair) != c.pair and c.pair != "attention_fused"]


@pytest.mark.parametrize("case", FASTER)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-11), (np.float32, 1e-4)])
def test_a_faster_pair_gives_the_numbers_of_the_readable_one(case, dtype, tolerance):
    arrays, twin = case.arrays(dtype), replace(case, pair=readable(case.pair))
    (y, _, grads), (right, _, right_grads) = case.run(arrays), twin.run(arrays)
    for got, want in zip((y, *grads), (right, *right_grads), strict=True):
        assert (got is None) == (want is None)
        if want is not None:
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", [c for c in CASES.values() if c.pair.startswith(("dense", "conv2d"))])
def test_dx_can_be_left_out_and_changes_nothing_else(case):
    _, dy, (dx, dw, db) = case.run(case.arrays())
    *_, cache = case.forward(*case.arrays(), *case.rest)
    without, dw2, db2 = case.backward(dy, cache, need_dx=False)
    assert dx is not None and without is None
    np.testing.assert_array_equal(dw2, dw)
    np.testing.assert_array_equal(db2, db)


# ---------------------------------------------------------------- convolution
@given(
    hw=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    k=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pad=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    n=st.integers(1, 3),
    c=st.integers(1, 3),
    f=st.integers(1, 3),
)
def test_the_three_convolutions_agree_in_every_pass(hw, k, stride, pad, n, c, f):
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((n, *hw, c)), rng.standard_normal((*k, c, f)), rng.standard_normal(f)
    judge, cache = conv.conv2d_naive_forward(x, w, b, stride, pad)
    dy = rng.standard_normal(judge.shape)
    gradients = conv.conv2d_naive_backward(dy, cache)
    for name in ("im2col", "tiled"):
        y, cache = getattr(conv, f"conv2d_{name}_forward")(x, w, b, stride, pad)
        np.testing.assert_allclose(y, judge, rtol=1e-11, atol=1e-12)
        for got, want in zip(getattr(conv, f"conv2d_{name}_backward")(dy, cache), gradients, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["naive", "im2col", "tiled"])
def test_a_convolution_by_hand(name):
    x = np.arange(9.0).reshape(1, 3, 3, 1)
    w = np.array([[1.0, 0.0], [0.0, -1.0]]).reshape(2, 2, 1, 1)
    y, _ = getattr(conv, f"conv2d_{name}_forward")(x, w, np.array([10.0]))
    assert y.ravel().tolist() == [6.0] * 4  # x[i, j] − x[i+1, j+1] = −4: a correlation, the kernel is not turned round


@pytest.mark.parametrize("name", ["naive", "im2col", "tiled"])
def test_a_1x1_convolution_is_a_dense_layer_at_every_pixel(name):
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((2, 3, 4, 5)), rng.standard_normal((5, 6)), rng.standard_normal(6)
    y, _ = getattr(conv, f"conv2d_{name}_forward")(x, w.reshape(1, 1, 5, 6), b)
    np.testing.assert_allclose(y.reshape(-1, 6), dense.dense_forward(x.reshape(-1, 5), w, b)[0], rtol=1e-13)


# ---------------------------------------------------------------- pooling
def test_pools_by_hand():
    x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]).reshape(1, 3, 3, 1)
    assert pool.max_pool2d_forward(x, (2, 2), (1, 1))[0].ravel().tolist() == [5, 6, 8, 9]
    assert pool.avg_pool2d_forward(x, (2, 2), (1, 1))[0].ravel().tolist() == [3, 4, 6, 7]
    assert pool.global_avg_pool_forward(x)[0].tolist() == [[5]]
    assert pool.global_max_pool_forward(x)[0].tolist() == [[9]]


def test_the_frame_is_minus_infinity_in_a_maximum_and_a_counted_zero_in_a_mean():
    x = np.full((1, 2, 2, 1), -4.0)
    assert pool.max_pool2d_forward(x, (2, 2), (2, 2), (1, 1))[0].ravel().tolist() == [-4] * 4
    assert pool.avg_pool2d_forward(x, (2, 2), (2, 2), (1, 1))[0].ravel().tolist() == [-1] * 4


def test_a_tie_sends_the_gradient_to_the_first():
    x = np.zeros((1, 2, 2, 1))
    for forward, backward, args, shape in (
        (pool.max_pool2d_forward, pool.max_pool2d_backward, ((2, 2), (2, 2)), (1, 1, 1, 1)),
        (pool.global_max_pool_forward, pool.global_max_pool_backward, (), (1, 1)),
    ):
        _, cache = forward(x, *args)
        assert backward(np.full(shape, 3.0), cache).ravel().tolist() == [3, 0, 0, 0]


def test_pools_of_the_whole_image_are_the_global_ones():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    mean, _ = pool.avg_pool2d_forward(x, (3, 4), (1, 1))
    largest, _ = pool.max_pool2d_forward(x, (3, 4), (1, 1))
    np.testing.assert_allclose(mean[:, 0, 0], pool.global_avg_pool_forward(x)[0], rtol=1e-13)
    np.testing.assert_array_equal(largest[:, 0, 0], pool.global_max_pool_forward(x)[0])


# ---------------------------------------------------------------- normalisation
@pytest.mark.parametrize("shape", [(300, 3), (5, 8, 9, 3)])
def test_batch_norm_gives_each_channel_mean_beta_and_deviation_gamma(shape):
    x = 3 + 2 * np.random.default_rng(0).standard_normal(shape)
    gamma, beta = np.array([1.0, 2.0, 0.5]), np.array([0.0, -1.0, 4.0])
    y, mean, var, _ = norm.batch_norm_forward(x, gamma, beta, 0.0)
    rows = x.reshape(-1, 3)
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(var, rows.var(axis=0), rtol=1e-12)
    np.testing.assert_allclose(y.reshape(-1, 3).mean(axis=0), beta, atol=1e-12)
    np.testing.assert_allclose(y.reshape(-1, 3).std(axis=0), gamma, rtol=1e-12)


def test_batch_norm_with_the_batch_statistics_given_is_batch_norm():
    x, gamma, beta = CASES["batch_norm images"].arrays()
    y, mean, var, _ = norm.batch_norm_forward(x, gamma, beta)
    given_them, _ = norm.batch_norm_inference_forward(x, gamma, beta, mean, var)
    np.testing.assert_allclose(given_them, y, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_batch_norm_in_float32_keeps_its_digits_over_many_rows(offset):
    x = (offset + np.random.default_rng(0).standard_normal((128 * 32 * 32, 2))).astype(np.float32)
    dy = np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
    y, mean, var, cache = norm.batch_norm_forward(x, np.ones(2, np.float32), np.zeros(2, np.float32))
    exact_y, exact_mean, exact_var, exact_cache = norm.batch_norm_forward(x.astype(float), np.ones(2), np.zeros(2))
    np.testing.assert_allclose(mean, exact_mean, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(var, exact_var, rtol=1e-6)
    np.testing.assert_allclose(y, exact_y, atol=2e-5)
    dx, dgamma, dbeta = norm.batch_norm_backward(dy, cache)
    exact_dx, exact_dgamma, exact_dbeta = norm.batch_norm_backward(dy.astype(float), exact_cache)
    np.testing.assert_allclose(dx, exact_dx, atol=2e-5)
    sums = np.sqrt(len(x))  # how large a sum of as many random values is
    np.testing.assert_allclose(dgamma, exact_dgamma, atol=1e-5 * sums)
    np.testing.assert_allclose(dbeta, exact_dbeta, atol=1e-6 * sums)


def test_a_constant_channel_is_beta_and_has_no_gradient():
    x = np.full((6, 2), 5.0)
    y, _, var, cache = norm.batch_norm_forward(x, np.array([2.0, 3.0]), np.array([1.0, -1.0]))
    np.testing.assert_array_equal(y, np.tile([1.0, -1.0], (6, 1)))
    assert not var.any()
    dx, dgamma, _ = norm.batch_norm_backward(np.ones((6, 2)), cache)
    assert not dx.any() and not dgamma.any()


def test_layer_norm_gives_each_row_mean_0_and_deviation_1_whatever_its_scale():
    x = np.random.default_rng(0).standard_normal((4, 3, 50)) * np.array([1.0, 10.0, 100.0])[:, None] + 7
    y, _ = norm.layer_norm_forward(x, np.ones(50), np.zeros(50), 0.0)
    np.testing.assert_allclose(y.mean(axis=-1), 0, atol=1e-13)
    np.testing.assert_allclose(y.std(axis=-1), 1, rtol=1e-13)


# ---------------------------------------------------------------- activations and dropout
def test_relu_at_its_kink_and_at_nan():
    y, cache = activation.relu_forward(np.array([-1.0, -0.0, 0.0, 2.0, np.inf, -np.inf, np.nan]))
    np.testing.assert_array_equal(y, [0, 0, 0, 2, np.inf, 0, np.nan])
    np.testing.assert_array_equal(activation.relu_backward(np.full(7, 5.0), cache)[:6], [0, 0, 0, 5, 5, 0])


def test_gelu_is_x_times_the_normal_distribution_function():
    x = np.linspace(-6, 6, 49)
    exact = [v * math.erfc(-v / math.sqrt(2)) / 2 for v in x]
    np.testing.assert_allclose(activation.gelu_forward(x)[0], exact, rtol=1e-12, atol=1e-15)


def test_dropout_divides_by_keep_where_the_mask_is_true():
    x, mask = np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, True, True])
    y, cache = dropout.dropout_forward(x, mask, 0.75)
    np.testing.assert_allclose(y, [4 / 3, 0, 4, 16 / 3])
    np.testing.assert_allclose(dropout.dropout_backward(x, cache), y)


# ---------------------------------------------------------------- paths
def test_the_path_loss_is_minus_the_log_of_a_product_of_sigmoids():
    z = np.random.default_rng(0).standard_normal((5, 4))
    probability = np.prod(np.where(SIGNS == 0, 1, 1 / (1 + np.exp(-SIGNS * z))), axis=1)
    loss, cache = path.path_loss_forward(z, SIGNS)
    assert loss == pytest.approx(-np.log(probability).mean(), rel=1e-13)
    assert not path.path_loss_backward(1.0, cache)[SIGNS == 0].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_paths_far_too_improbable_for_a_product_have_a_finite_loss(dtype):
    z, signs = np.full((2, 20), 1000, dtype), np.full((2, 20), -1, dtype)
    loss, cache = path.path_loss_forward(z, signs)
    assert loss == 20_000
    np.testing.assert_array_equal(path.path_loss_backward(1.0, cache), 0.5)


@given(st.floats(-1e4, 1e4))
def test_the_loss_of_one_decision_and_the_sigmoid_at_any_size(v):
    z = np.array([[v]])
    right, left = (float(path.path_loss_forward(z, np.array([[sign]]))[0]) for sign in (1.0, -1.0))
    assert left - right == pytest.approx(v, abs=1e-12 * max(1, abs(v)))
    assert right >= max(-v, 0) and left >= max(v, 0)
    p_right, p_left = path.sigmoid(np.array([v, -v]))
    assert p_right + p_left == pytest.approx(1, rel=1e-15)
    np.testing.assert_allclose([p_right, p_left], np.exp([-right, -left]), rtol=1e-12, atol=0)


def test_the_leaves_of_a_tree_share_all_probability_and_a_leaf_is_its_path():
    z = 3 * np.random.default_rng(0).standard_normal((6, 4))
    log_p, _ = path.tree_log_prob_forward(z, CHILDREN, LEVELS)
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1, rtol=1e-13)
    # Class 3, place 7, is reached from node 0 by three turns to the left.
    for n in range(6):
        loss, _ = path.path_loss_forward(z[n : n + 1, [0, 1, 3]], -np.ones((1, 3)))
        assert log_p[n, 3] == pytest.approx(-loss, rel=1e-13)


# ---------------------------------------------------------------- sinks, caps, distances
@pytest.mark.parametrize("b", [-1e4, 0.0, 0.7, 1e4])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_a_sink_is_one_score_more(b, scale):
    z = np.random.default_rng(0).standard_normal((4, 3)) * scale
    whole, _ = softmax.log_softmax_forward(np.concatenate([z, np.full((4, 1), b)], axis=1))
    y, _ = sink.log_sink_softmax_forward(z, np.array([b]))
    np.testing.assert_allclose(y, whole[:, :3], rtol=1e-13)
    p, cache = sink.sink_softmax_forward(z, np.array([b]))
    np.testing.assert_allclose(p, np.exp(y), rtol=1e-12, atol=0)
    np.testing.assert_allclose(p, softmax.softmax1_forward(z, sink=b)[0], rtol=1e-13, atol=0)
    np.testing.assert_allclose(cache[1], np.exp(whole[:, 3]), rtol=1e-12, atol=0)


def test_a_sink_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"b has shape \(3,\), but \(1,\), one sink for all rows, or \(4,\)"):
        sink.sink_softmax_forward(np.ones((4, 3)), np.ones(3))


def test_a_soft_cap_leaves_small_scores_and_bounds_large_ones():
    y, cache = logits.soft_cap_forward(np.array([1e-3, 1e4, -1e4]), 30.0)
    np.testing.assert_allclose(y, [1e-3, 30, -30], rtol=1e-8)
    np.testing.assert_allclose(logits.soft_cap_backward(np.ones(3), cache), [1, 0, 0], atol=1e-8)


def test_penalties_by_hand():
    z = np.log([[1.0, 2.0, 5.0], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(logits.z_loss_forward(z, 0.5)[0], 0.5 * np.log([8, 3]) ** 2, rtol=1e-13)
    losses, cache = logits.max_suppression_forward(z, 2.0)
    np.testing.assert_allclose(losses, [2 * (np.log(5) - np.log(10) / 3), 0], rtol=1e-13, atol=1e-15)
    dz = logits.max_suppression_backward(np.ones(2), cache)
    np.testing.assert_allclose(dz, [[-2 / 3, -2 / 3, 4 / 3], [4 / 3, -2 / 3, -2 / 3]], rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_at_a_centre_the_score_is_finite_and_has_no_gradient(dtype):
    w = np.array([[1.0, -2.0], [0.5, 0.25]], dtype)
    z, cache = harmonic.harmonic_forward(w.T.copy(), w, 4.0)
    np.testing.assert_allclose(np.diag(z), -4 * np.log(harmonic.EPS), rtol=1e-6)
    dx, dw = harmonic.harmonic_backward(np.eye(2, dtype=dtype), cache)
    assert np.abs(dx).max() < 1e-3 and np.abs(dw).max() < 1e-3  # the bound is n / 2ε = 200


def test_harmonic_probabilities_are_in_proportion_to_a_power_of_the_distance():
    x, w = np.random.default_rng(0).standard_normal((4, 3)), np.random.default_rng(1).standard_normal((3, 5))
    distance = np.sqrt(((x[:, :, None] - w) ** 2).sum(axis=1))
    p, _ = softmax.softmax_forward(harmonic.harmonic_forward(x, w, 2.5, eps=1e-12)[0])
    np.testing.assert_allclose(p, distance**-2.5 / (distance**-2.5).sum(axis=1, keepdims=True), rtol=1e-11)


# ---------------------------------------------------------------- ordinal
def test_cumulative_probabilities_are_differences_of_sigmoids():
    s, theta = np.random.default_rng(0).standard_normal(4), np.random.default_rng(1).standard_normal(5)
    b, gaps = ordinal.thresholds(theta)
    assert (np.diff(b) > 0).all() and np.allclose(np.diff(b), gaps)
    below = np.concatenate([np.zeros((4, 1)), path.sigmoid(b - s[:, None]), np.ones((4, 1))], axis=1)
    log_p, _ = ordinal.cumulative_log_prob_forward(s, theta)
    np.testing.assert_allclose(np.exp(log_p), np.diff(below, axis=1), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_difference_of_two_sigmoids_far_away_keeps_its_digits(dtype):
    """Where both sigmoids are 1, or both 0, to the last digit."""
    s, theta = np.array([-1e4, -50, 50, 1e4], dtype), np.array([-1, 0.5, 0.5], dtype)
    log_p, cache = ordinal.cumulative_log_prob_forward(s, theta)
    gap = np.log1p(np.exp(0.5))
    between = np.log(-np.expm1(-gap))
    to_the_nearer = np.array([1e4 - 1, 50 - 1, 50 + 1 - gap, 1e4 + 1 - gap])  # of the thresholds -1 and -1 + gap
    np.testing.assert_allclose(log_p[:, 1], between - to_the_nearer, rtol=1e-6)
    ds, dtheta = ordinal.cumulative_log_prob_backward(np.eye(4, dtype=dtype)[[1, 1, 1, 1]], cache)
    np.testing.assert_allclose(ds, [1, 1, -1, -1], rtol=1e-6)
    assert np.isfinite(dtheta).all() and ds.dtype == dtype


def test_corn_is_a_chain_of_decisions():
    z = np.random.default_rng(0).standard_normal((4, 3))
    go = path.sigmoid(z)
    expected = np.stack(
        [1 - go[:, 0], go[:, 0] * (1 - go[:, 1]), go[:, 0] * go[:, 1] * (1 - go[:, 2]), go.prod(axis=1)], axis=1
    )
    np.testing.assert_allclose(np.exp(ordinal.corn_log_prob_forward(z)[0]), expected, rtol=1e-12)


@pytest.mark.parametrize("c", [2, 3, 100, 1000])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_ordinal_probabilities_sum_to_one(c, scale):
    rng = np.random.default_rng(0)
    cumulative, _ = ordinal.cumulative_log_prob_forward(rng.standard_normal(5) * scale, rng.standard_normal(c - 1))
    corn, _ = ordinal.corn_log_prob_forward(rng.standard_normal((5, c - 1)) * scale)
    for log_p in (cumulative, corn):
        np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1, rtol=1e-12)
