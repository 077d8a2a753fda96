"""Heads whose logits are never held: the same losses and gradients as with whole logits, and who can't refuses."""

import numpy as np
import pytest

from npsoftmax.errors import InputError
from npsoftmax.functional import linear_softmax
from npsoftmax.gradcheck import check_head
from npsoftmax.heads import HEADS, ClassInfo, flat
from npsoftmax.heads.flat import CrossEntropyHead
from npsoftmax.kernels.linear_softmax import compiled
from npsoftmax.params import leaves
from npsoftmax.random import Rng

CASES = [
    ("softmax", {}),
    ("softmax", {"bias": False, "temperature": 2.0, "label_smoothing": 0.1, "z_loss": 0.01}),
    ("softmax", {"class_weight": "balanced", "ignore_label": 3}),
    ("log_softmax", {"label_smoothing": 0.1}),
    ("balanced", {"label_smoothing": 0.1}),
    ("balanced", {"bias": False, "prior": "train"}),
    ("balanced", {"scaling": 0.3}),
    ("ldam", {"label_smoothing": 0.1}),
    ("cosine", {"label_smoothing": 0.1}),
    ("sm_softmax", {"temperature": 0.5, "label_smoothing": 0.1, "z_loss": 0.01}),
]
each_case = pytest.mark.parametrize(("name", "options"), CASES, ids=str)


@pytest.fixture(autouse=True)
def really_in_blocks(monkeypatch):
    monkeypatch.setattr(linear_softmax, "KEPT", 0)
    monkeypatch.setattr(compiled, "BLOCK", 64)


def build(name, features=5, classes=70, dtype=np.float64, **options):
    counts = np.random.default_rng(3).integers(1, 9, classes)
    head = HEADS[name](features, ClassInfo(classes, counts), rng=Rng(0), **options)
    for path, p in leaves(head.params):
        head.params[path[-1] if isinstance(path, tuple) else path] = p.astype(dtype)
    return head


def batch(n=40, features=5, classes=70, dtype=np.float64):
    rng = np.random.default_rng(1)
    return rng.standard_normal((n, features)).astype(dtype), rng.integers(0, classes, n), rng.random(n).astype(dtype)


@pytest.mark.parametrize("train", [False, True])
@each_case
def test_blocks_give_the_losses_and_gradients_of_whole_logits(name, options, train):
    h, t, weights = batch()
    found = []
    for logits in ("whole", "blocks"):
        head = build(name, logits=logits, **options)
        assert head.in_blocks(1) == (logits == "blocks")
        value, cache = head.loss(h, t, weights=weights, train=train)
        dh, grads = head.backward(cache, 0.7)
        found.append((value, dh, *(grads[key] for key in sorted(grads)), head.losses(h, t)))
        assert {key: g.shape for key, g in grads.items()} == {key: p.shape for key, p in head.params.items()}
    assert all(g.flags.c_contiguous for g in grads.values()), "an optimiser would copy it"
    for whole, blocks in zip(*found, strict=True):
        np.testing.assert_allclose(blocks, whole, rtol=1e-10, atol=1e-13)


@each_case
def test_gradients_are_derivatives(name, options):
    h, t, _ = batch(13, classes=33)
    check_head(build(name, classes=33, logits="blocks", **options), h, t).assert_ok()


def test_auto_takes_blocks_from_so_many_logits_on(monkeypatch):
    monkeypatch.setattr(flat, "BLOCKS_FROM", 40 * 70)
    h, t, _ = batch(dtype=np.float32)
    head = build("softmax", dtype=np.float32)
    assert head.in_blocks(40) and not head.in_blocks(39)
    assert isinstance(head.loss(h, t)[1][-1], flat.InBlocks)
    assert not isinstance(head.loss(h[1:], t[1:])[1][-1], flat.InBlocks)
    assert head.told_logits() == "logits: in blocks from 40 samples a batch on, whole below (auto)"
    monkeypatch.setattr(flat, "BLOCKS_FROM", 40 * 70 + 1)
    assert build("softmax", logits="auto").told_logits().startswith("logits: in blocks from 41 samples")


@pytest.mark.parametrize(
    ("name", "options", "what"),
    [
        ("softmax", {"soft_cap": 3.0}, "soft_cap"),
        ("softmax", {"logit_norm": 0.1}, "logit_norm"),
        ("sm_softmax", {"max_sup": 0.1}, "max_sup"),
        ("balanced", {"linear": False, "features": 70}, "linear=false"),
        ("harmonic", {}, "HarmonicHead"),
    ],
)
def test_what_needs_all_logits_says_so(monkeypatch, name, options, what):
    monkeypatch.setattr(flat, "BLOCKS_FROM", 1)
    head = build(name, **options)
    assert not head.in_blocks(40) and head.told_logits() == f"logits: whole ({what} needs all of a sample)"
    if name != "harmonic":
        with pytest.raises(InputError, match=rf"logits=blocks was asked for, but {what} needs all.*logits=whole"):
            build(name, logits="blocks", **options)


def test_a_subclass_with_another_loss_is_not_taken_for_its_base(monkeypatch):
    monkeypatch.setattr(flat, "BLOCKS_FROM", 1)

    class Other(HEADS["softmax"]):
        pass

    assert not Other(5, ClassInfo(70), rng=Rng(0)).in_blocks(40)
    assert {cls.__name__ for cls in HEADS.values() if vars(cls).get("has_blocks")} == {
        "SoftmaxHead", "LogSoftmaxHead", "SMSoftmaxHead", "CosineHead", "LDAMHead", "BalancedHead"
    }  # fmt: skip
    assert all(issubclass(cls, CrossEntropyHead) for cls in HEADS.values() if vars(cls).get("has_blocks"))


def test_soft_targets_have_whole_logits():
    h, t, _ = batch()
    q = np.eye(70)[t]
    head, whole = (build("softmax", logits=logits) for logits in ("blocks", "whole"))
    assert head.loss(h, q)[0] == whole.loss(h, q)[0]


def test_another_place_for_logits():
    with pytest.raises(InputError, match=r"logits.*auto, blocks, whole"):
        build("softmax", logits="half")
