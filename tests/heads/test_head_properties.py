"""What must hold of every head in the table: gradients, probabilities, predictions, purity, precision, mistakes.

A head that is added to HEADS is tested here with its default options; CASES adds options worth a run of their own.
Legacy wirings get the gradient checks, since what they compute is meant; what is wrong with them is tested beside.
"""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path

import numpy as np
import pytest
from everyday import slow
from hypothesis import given, settings
from hypothesis import strategies as st

from npsoftmax.backend import to_numpy
from npsoftmax.errors import InputError
from npsoftmax.gradcheck import check_head
from npsoftmax.heads import HEADS, ClassInfo, head_class
from npsoftmax.models import MODELS, OF_TOKENS, build_model
from npsoftmax.models.trunks import features_of
from npsoftmax.options import check_options, option_defaults
from npsoftmax.params import SparseRows, leaves, replace_leaves
from npsoftmax.random import Rng

pytestmark = [
    pytest.mark.filterwarnings("error::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::npsoftmax.heads.LegacyWiringWarning"),
]

# Its features are the C scores and its parameters have, as published, no gradient: it is tested with the legacy trees.
SPECIAL = {"legacy_adaptive_untrained"}
NAMES = [name for name in HEADS if name not in SPECIAL]
CASES = [
    *((name, {}) for name in NAMES),
    ("softmax", {"label_smoothing": 0.1, "temperature": 2.5, "bias": False}),
    ("softmax", {"soft_cap": 2.0, "z_loss": 0.01, "temperature": 1.5}),
    ("log_softmax", {"logit_norm": 0.3, "max_sup": 0.1, "label_smoothing": 0.1}),
    ("log_softmax", {"label_smoothing": 0.1, "temperature": 0.5}),
    ("gumbel_softmax", {"tau": 5.0, "tau_end": 0.5, "anneal_steps": 10, "label_smoothing": 0.1}),
    ("gumbel_softmax", {"tau": 0.9, "noise": "normal", "eval_noise": True}),
    ("log_gumbel_softmax", {"tau": 3.0, "eval_noise": True, "label_smoothing": 0.1}),
    ("taylor_softmax", {"order": 6, "label_smoothing": 0.1}),
    ("log_taylor_softmax", {"order": 4, "label_smoothing": 0.1}),
    ("sm_softmax", {"margin": 2.0, "label_smoothing": 0.1, "temperature": 2.0}),
    ("sm_taylor_softmax", {"order": 6}),
    ("spherical", {"eps": 1.0, "label_smoothing": 0.1}),
    ("balanced", {"prior": "train", "strength": 0.5, "label_smoothing": 0.1}),
    ("balanced", {"scaling": 0.3, "strength": 1.5}),
    ("focal", {"gamma": 0.5, "epsilon": 2.0}),
    ("ordinal", {"form": "corn"}),
    ("cosine", {"scale": 4.0, "label_smoothing": 0.1}),
    ("sink", {"sink": 2.0, "learned": False}),
    ("hinge", {"margin": 3.0}),
    ("hinge", {"margin": 2.0, "rivals": "worst"}),
    ("hierarchical", {"tree": "huffman"}),
    ("hierarchical", {"tree": "superclass", "bias": False}),
    ("sampled", {"samples": 3, "distribution": "uniform"}),
    ("nce", {"samples": 3, "distribution": "log_uniform", "bias": False}),
    ("nce", {"form": "negative_sampling", "power": 1.0}),
    ("arcface", {"form": "cosface", "margin": 0.2, "scale": 4.0}),
    ("arcface", {"share": 0.5}),
    ("sigmoid", {"threshold": 0.2, "bias": False}),
    ("legacy_double_gumbel", {"tau": 5.0}),
    ("legacy_nll_on_probabilities", {"noise": "normal", "tau": 2.0, "eval_noise": True}),
    ("legacy_taylor_unlogged", {"per_row": True, "order": 4}),
]
CORRECT = [(name, options) for name, options in CASES if not HEADS[name].legacy]


def label(case):
    name, options = case
    return " ".join([name, *(f"{k}={v}" for k, v in options.items())])


def everyday(cases):
    """Each head with its defaults every day; with options of its own in the long tests."""
    return [pytest.param(case, marks=[pytest.mark.slow] if case[1] else [], id=label(case)) for case in cases]


every_head = pytest.mark.parametrize("case", everyday(CASES))
every_correct_head = pytest.mark.parametrize("case", everyday(CORRECT))
RNG = Rng(5, "noise.head").at(3)  # the noise of training step 3


def build(case, features=5, n=7, dtype=np.float64, seed=0):
    """A head for n classes of very unequal size, two superclasses or more (of which each is a launch), in `dtype`."""
    name, options = case
    classes = ClassInfo(n, counts=1 + np.arange(n) ** 2, coarse=np.arange(n) * min(max(n // 3, 2), 50) // n)
    head = HEADS[name](features, classes, rng=Rng(seed, "head"), **options)
    return as_type(head, dtype)


def as_type(head, dtype):
    for tree in (head.params, head.buffers):
        replace_leaves(tree, lambda _, x: x.astype(dtype) if x.dtype.kind == "f" else x)
    return head


def batch(n=4, features=5, classes=7, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, features)).astype(dtype), rng.integers(0, classes, n)


def dense(gradient):
    return gradient.to_dense() if isinstance(gradient, SparseRows) else gradient


def gradients(head, h, targets, train=True, rng=RNG, dloss=1.0):
    """name -> gradient, "h" among them."""
    dh, grads = head.backward(head.loss(h, targets, train=train, rng=rng)[1], dloss)
    return {"h": dh} | {name: dense(g) for name, g in leaves(grads)}


# ---------------------------------------------------------------- gradients
@every_head
def test_parts_of_a_batch_weighted_by_their_size_make_the_whole_batch(case):
    """What training on several processes rests on: the loss is a mean over samples, and noise belongs to a sample."""
    head, (h, t), samples = build(case), batch(7), np.array([31, 4, 15, 92, 6, 53, 58])

    def of(part):
        rng, share = RNG.at(RNG.step, samples[part]), len(t[part]) / len(t)
        loss, cache = head.loss(h[part], t[part], train=True, rng=rng)
        dh, grads = head.backward(cache, share)
        return loss * share, dh, {name: dense(g) for name, g in leaves(grads)}

    (loss_a, dh_a, a), (loss_b, dh_b, b), (loss, dh, whole) = map(of, (slice(0, 3), slice(3, 7), slice(0, 7)))
    if head.mixes_samples:
        assert abs(loss_a + loss_b - loss) > 1e-6
        return
    np.testing.assert_allclose(loss_a + loss_b, loss, rtol=1e-12)
    np.testing.assert_allclose(np.concatenate([dh_a, dh_b]), dh, rtol=1e-9, atol=1e-14)
    for name, g in whole.items():
        np.testing.assert_allclose(a[name] + b[name], g, rtol=1e-9, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("case", CASES, ids=label)
@pytest.mark.parametrize("train", [True, False])
def test_gradient_of_the_features_and_of_every_parameter(case, train):
    check_head(build(case), *batch(), train=train, rng=RNG).assert_ok()


@every_head
@pytest.mark.parametrize(
    ("n", "classes"),
    [(1, 2), (2, 100), *(pytest.param(*few, marks=pytest.mark.slow) for few in [(3, 2), (1, 3), (2, 1000)])],
)
def test_gradient_with_few_and_many_classes(case, n, classes):
    head, (h, t) = build(case, n=classes), batch(n, classes=classes)
    check_head(head, h, t, train=True, rng=RNG, elements=25, directions=1).assert_ok()


@every_head
def test_gradient_where_most_classes_are_absent_from_the_batch(case):
    h, _ = batch(3)
    check_head(build(case), h, np.array([6, 6, 6]), train=True, rng=RNG, elements=60).assert_ok()


@every_correct_head
def test_every_parameter_is_reached_by_some_class(case):
    head = build(case)
    h, _ = batch(1)
    reached = {name: np.zeros(p.shape, dtype=bool) for name, p in leaves(head.params)}
    for c in range(7):
        found = gradients(head, h, np.array([c]), train=False)
        assert set(found) == {"h", *reached}
        for name in reached:
            reached[name] |= np.abs(found[name]) > 1e-9  # rounding reaches nobody
    assert {name: int((~where).sum()) for name, where in reached.items()} == dict.fromkeys(reached, 0)


@every_head
def test_backward_starts_with_one_where_nobody_says_otherwise(case):
    head, (h, t) = build(case), batch(4)
    dh, grads = head.backward(head.loss(h, t, train=True, rng=RNG)[1])
    expected = gradients(head, h, t)
    for name, g in [("h", dh), *leaves(grads)]:
        np.testing.assert_array_equal(dense(g), expected[name], err_msg=name)


@every_head
def test_upstream_gradient_scales_all_gradients(case):
    head, (h, t) = build(case), batch()
    once, thrice = gradients(head, h, t), gradients(head, h, t, dloss=-3.0)
    for name in once:
        np.testing.assert_allclose(thrice[name], -3 * once[name], rtol=1e-12, atol=1e-15)


# ---------------------------------------------------------------- probabilities and predictions
sizes = {
    "n": st.integers(1, 6),
    "features": st.integers(1, 9),
    "classes": st.integers(2, 40),
    "seed": st.integers(0, 999),
    "scale": st.sampled_from([1e-3, 1.0, 30.0]),
}


def agrees_with_itself(head, h, t):
    """Σ p = 1 for a distribution; loss = -mean log p[target] for a likelihood; predict ranks by log p."""
    log_p = head.log_prob(h, rng=RNG)
    n, c = len(h), head.classes.n
    assert log_p.shape == (n, c)
    assert not np.isnan(log_p).any()
    assert log_p.max() <= 1e-12
    if head.distribution:
        np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1, rtol=0, atol=1e-12)
    if hasattr(head, "none_of_these"):
        np.testing.assert_allclose(np.exp(log_p).sum(axis=1) + head.none_of_these(h), 1, rtol=0, atol=1e-12)
    if head.likelihood:
        expected = -log_p[np.arange(n), t].mean()
        np.testing.assert_allclose(head.loss(h, t, rng=RNG)[0], expected, rtol=1e-12, atol=1e-13)
    for k in {1, min(3, c), c}:
        best = head.predict(h, k, rng=RNG)
        assert best.shape == (n, k)
        assert best.dtype.kind == "i"
        ranked = np.argsort(-log_p, axis=1, kind="stable")[:, :k]
        if head.likelihood:
            np.testing.assert_array_equal(best, ranked)
        else:  # classes of probability 0 are all alike in log p, and may be told apart by score
            np.testing.assert_array_equal(*(np.take_along_axis(log_p, i, axis=1) for i in (best, ranked)))
            assert all(len(set(row)) == k for row in best.tolist())


@every_correct_head
@settings(max_examples=12)
@given(**sizes)
def test_probabilities_loss_and_predictions_agree(case, n, features, classes, seed, scale):
    head = build(case, features, classes, seed=seed)
    h, t = batch(n, features, classes, seed=seed)
    agrees_with_itself(head, h * scale, t)


@every_correct_head
@pytest.mark.parametrize("classes", [2, 3, 100, pytest.param(1000, marks=pytest.mark.slow)])
def test_one_sample_of_few_and_of_many_classes(case, classes):
    agrees_with_itself(build(case, n=classes), *batch(1, classes=classes))


@every_correct_head
def test_ties_go_to_the_lowest_label(case):
    quiet = {"eval_noise": False} if "eval_noise" in case[1] else {}
    head, (h, _) = build((case[0], {**case[1], **quiet})), batch(2)
    replace_leaves(head.params, lambda _, p: np.zeros_like(p))
    np.testing.assert_array_equal(head.predict(h, 7), np.argsort(-head.log_prob(h), axis=1, kind="stable"))


@every_correct_head
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [2, 3, 100])
def test_scores_of_ten_thousand(case, dtype, classes):
    head = build(case, n=classes, dtype=dtype)
    h, t = batch(4, classes=classes, dtype=dtype)
    h = (h * 3e4).astype(dtype)  # with weights of about 0.45, scores of ±1e4 and beyond
    log_p = head.log_prob(h, rng=RNG)
    assert not np.isnan(log_p).any()
    if head.distribution:
        np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1, atol=1e-12 if dtype is np.float64 else 1e-4)
    for train in (True, False):
        value, cache = head.loss(h, t, train=train, rng=RNG)
        assert np.isfinite(value)
        dh, grads = head.backward(cache)
        assert all(np.isfinite(dense(g)).all() for g in [dh, *(g for _, g in leaves(grads))])


# ---------------------------------------------------------------- precision, purity, noise
@every_head
@pytest.mark.parametrize("train", [True, False])
def test_float32_stays_float32_and_is_close_to_float64(case, train):
    narrow, (h, t) = build(case, n=50, dtype=np.float32), batch(6, classes=50, dtype=np.float32)
    wide = build(case, n=50)
    value, exact = (head.loss(x, t, train=train, rng=RNG)[0] for head, x in ((narrow, h), (wide, h.astype(float))))
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, exact, rtol=1e-5)
    found, expected = gradients(narrow, h, t, train), gradients(wide, h.astype(float), t, train)
    rounding = 1e-5 * max(np.abs(g).max() for g in expected.values())
    for name in expected:
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=rounding)
    log_p = narrow.log_prob(h, rng=RNG)
    assert log_p.dtype == np.float32
    finite = wide.log_prob(h.astype(float), rng=RNG)
    np.testing.assert_allclose(log_p, finite, rtol=1e-4, atol=1e-4)


@every_head
@pytest.mark.parametrize("options", [{}, {"linear": False}], ids=["", "linear=false"])
def test_nothing_that_is_given_or_kept_is_changed(case, options):
    if not set(options) <= set(option_defaults(HEADS[case[0]])):
        pytest.skip("the head has no linear=false")
    head, (h, t) = build((case[0], {**case[1], **options}), 7), batch(features=7)
    for array in (h, t, *(x for tree in (head.params, head.buffers) for _, x in leaves(tree))):
        array.flags.writeable = False  # whoever writes to it raises
    for train in (True, False):
        first = gradients(head, h, t, train)
        second = gradients(head, h, t, train)
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])
    head.log_prob(h, rng=RNG)
    head.predict(h, 3, rng=RNG)


@every_head
def test_features_and_labels_of_any_layout(case):
    head, (h, t) = build(case), batch(n=4)
    expected, cache = head.loss(h, t, train=True, rng=RNG)
    dh, _ = head.backward(cache)
    strided = np.repeat(h, 2, axis=0)[::2]
    value, cache = head.loss(np.asfortranarray(strided), t.astype(np.uint8), train=True, rng=RNG)
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    np.testing.assert_allclose(head.backward(cache)[0], dh, rtol=1e-11, atol=1e-15)


@every_head
def test_the_same_rng_gives_the_same_loss(case):
    head, (h, t) = build(case), batch()
    losses = [head.loss(h, t, train=True, rng=rng)[0] for rng in (RNG, Rng(5, "noise.head").at(3), RNG.at(4))]
    assert losses[0] == losses[1]
    noisy = "noise" in option_defaults(HEADS[case[0]]) and head.noise != "none"
    if noisy:
        assert losses[0] != losses[2]


@every_correct_head
def test_a_step_may_be_cut_into_shards(case):
    """Gradients of the parts of a batch average to those of the whole, with the noise of their own samples."""
    head, (h, t) = build(case), batch(6)
    whole = gradients(head, h, t, rng=RNG.at(3, np.arange(6)))
    parts = [gradients(head, h[s], t[s], rng=RNG.at(3, np.arange(6)[s])) for s in (slice(0, 3), slice(3, 6))]
    for name, expected in whole.items():
        if name != "h":
            np.testing.assert_allclose((parts[0][name] + parts[1][name]) / 2, expected, rtol=1e-10, atol=1e-14)


@every_correct_head
def test_a_small_step_down_the_gradient_lowers_the_loss(case):
    head, (h, t) = build(case), batch(8)
    before, cache = head.loss(h, t, train=True, rng=RNG)
    grads = dict(leaves(head.backward(cache)[1]))
    replace_leaves(head.params, lambda name, p: p - 1e-3 * dense(grads[name]))
    assert head.loss(h, t, train=True, rng=RNG)[0] < before


# ---------------------------------------------------------------- models
@every_head
def test_a_model_with_this_head_trains_and_predicts(case):
    name, options = case
    classes = ClassInfo(7, counts=np.arange(1, 8), coarse=np.arange(7) % 2)
    model = build_model("mlp", name, classes, (4, 4, 3), model_opts={"hidden": (8,)}, head_opts=options)
    x = np.random.default_rng(0).standard_normal((5, 4, 4, 3)).astype(np.float32)
    value, cache = model.loss(x, np.arange(5), train=True, rng=Rng(0).at(0))
    grads = dict(leaves(model.backward(cache)))
    assert np.isfinite(value)
    assert {k: dense(g).shape for k, g in grads.items()} == {k: p.shape for k, p in leaves(model.params)}
    assert model.head.predict(model.features(x), 2, rng=Rng(0)).shape == (5, 2)
    assert model.head.macs() >= 0


ONE_WIDTH, *WIDTHS = MODELS


@pytest.fixture(scope="module", params=[ONE_WIDTH, *slow(WIDTHS)])
def trunk_width(request):
    shape = (8,) if request.param in OF_TOKENS else (32, 32, 3)
    return features_of(MODELS[request.param](shape, rng=Rng(0)), shape)


@pytest.mark.parametrize("name", NAMES)
def test_a_head_takes_the_features_of_every_model(name, trunk_width):
    head, (h, t) = build((name, {}), trunk_width, 100, np.float32), batch(2, trunk_width, 100, np.float32)
    found = gradients(head, h, t)
    assert found["h"].shape == h.shape
    assert all(np.isfinite(g).all() for g in found.values())


# ---------------------------------------------------------------- what the table says
@pytest.mark.parametrize("name", HEADS)
def test_what_the_table_says_of_a_head(name):
    cls = head_class(name)
    card = cls.card
    assert cls.legacy == name.startswith("legacy_") == bool(card.mistake) == bool(card.instead)
    assert card.formula
    assert card.reference
    assert cls.__doc__
    for cost in (card.step, card.prediction):
        assert cost.startswith("O(")
    assert cls.__doc__ not in {other.__doc__ for other in HEADS.values() if other is not cls}


def test_the_page_on_choosing_a_head_has_every_correct_one():
    page = (Path(__file__).parents[2] / "docs" / "choosing-a-head.md").read_text(encoding="utf-8")
    assert [name for name, cls in HEADS.items() if not cls.legacy and f"`{name}`" not in page] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_of_the_signature_sees_every_option(name):
    """`**options` is how heads are written, not what help() and an IDE show."""
    parameters = inspect.signature(HEADS[name]).parameters
    assert list(parameters)[:3] == ["features", "classes", "rng"]
    assert {n: parameters[n].default for n in list(parameters)[3:]} == option_defaults(HEADS[name])
    assert all(p.kind is not p.VAR_KEYWORD for p in parameters.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_head_warns_if_and_only_if_it_is_legacy(name):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        build((name, {}))
    assert [type(w.message).__name__ for w in caught] == ["LegacyWiringWarning"] * HEADS[name].legacy
    assert {w.filename for w in caught} <= {build.__code__.co_filename}  # the line that makes it


# ---------------------------------------------------------------- user mistakes
@every_head
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_that_are_no_numbers(case, bad):
    head, (h, t) = build(case), batch()
    h[2, 1] = bad
    for call in (
        lambda: head.loss(h, t, train=True, rng=RNG),
        lambda: head.loss(h, t, rng=RNG),
        lambda: head.log_prob(h, rng=RNG),
        lambda: head.predict(h, rng=RNG),
    ):
        with pytest.raises(InputError, match="sample 2"):
            call()


@every_head
def test_labels_and_features_that_do_not_fit(case):
    head, (h, t) = build(case), batch()
    for labels in (t + 7, t - 7, t.astype(float), t[:3], t[:, None]):
        with pytest.raises(InputError, match=r"label|target"):
            head.loss(h, labels, train=True, rng=RNG)
    for features in (h[:, :4], h[0], h[None]):
        with pytest.raises(InputError, match="features of shape"):
            head.loss(features, t, train=True, rng=RNG)
        with pytest.raises(InputError, match="features of shape"):
            head.log_prob(features, rng=RNG)
    for k in (0, 8):
        with pytest.raises(InputError, match=f"k is {k}"):
            head.predict(h, k, rng=RNG)


@pytest.mark.parametrize("name", NAMES)
def test_a_label_that_is_no_class_is_refused(name):
    head, (h, t) = build((name, {})), batch()
    for wrong in (-1, 7):
        with pytest.raises(InputError, match=rf"labels run from .*{wrong}.*, but 7 classes are numbered from 0"):
            head.loss(h, np.where(np.arange(4) == 2, wrong, t), train=True, rng=RNG)


@pytest.mark.parametrize("name", [name for name in NAMES if "bias" in option_defaults(HEADS[name])])
def test_a_head_without_bias_has_one_array_less(name):
    with_bias, without = (dict(leaves(build((name, {"bias": bias})).params)) for bias in (True, False))
    gone = with_bias.keys() - without.keys()
    assert gone and all(key.rsplit(".", 1)[-1].startswith("b") for key in gone)
    assert without.keys() < with_bias.keys()


@pytest.mark.parametrize("name", [name for name in NAMES if "anneal_steps" in option_defaults(HEADS[name])])
def test_an_annealed_temperature_arrives(name):
    annealed = build((name, {"tau": 4.0, "tau_end": 0.5, "anneal_steps": 3}))
    h, t = batch()
    for step, tau in ((0, 4.0), (3, 0.5), (9, 0.5)):
        fixed = build((name, {"tau": tau}))
        expected, _ = fixed.loss(h, t, train=True, rng=RNG.at(step))
        value, _ = annealed.loss(h, t, train=True, rng=RNG.at(step))
        np.testing.assert_allclose(value, expected, rtol=1e-12)


@pytest.mark.parametrize("value", [-0.1, np.inf, np.nan])
@pytest.mark.parametrize(
    ("name", "option"), [(n, o) for n in NAMES for o in ("margin", "strength") if o in option_defaults(HEADS[n])]
)
def test_a_margin_or_strength_that_is_no_size_is_refused(name, option, value):
    with pytest.raises(InputError, match=f"{option}.* is {value}"):
        build((name, {option: value}))


@pytest.mark.parametrize("name", HEADS)
def test_an_unknown_option_lists_the_known_ones(name):
    with pytest.raises(InputError, match="no_such_option") as caught:
        check_options(f"head {name!r}", HEADS[name], {"no_such_option": 1})
    assert all(option in str(caught.value) for option in option_defaults(HEADS[name]))


def test_an_unknown_head_names_the_nearest():
    with pytest.raises(InputError, match=r"'taylor_softmax'.*Known: .*sparsemax"):
        head_class("taylor_softmx")


@pytest.mark.parametrize("name", NAMES)
def test_sizes_that_are_no_sizes(name):
    with pytest.raises(InputError, match="at least 1 feature"):
        build((name, {}), features=0)
    with pytest.raises(InputError, match="at least 2 classes"):
        build((name, {}), n=1)


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_initialisation(name):
    if "init" not in option_defaults(HEADS[name]):
        pytest.skip("the head has no init")
    with pytest.raises(InputError, match=r"initialisation 'nought'.*zeros"):
        build((name, {"init": "nought"}))


# ---------------------------------------------------------------- devices
@pytest.mark.gpu
@every_head
@pytest.mark.parametrize("train", [True, False])
def test_the_device_agrees_with_the_host(case, train, cupy):
    head, device = build(case), build(case)
    h, t = batch(16)
    for tree in (device.params, device.buffers):
        replace_leaves(tree, lambda _, x: cupy.asarray(x))
    there = (cupy.asarray(h), cupy.asarray(t))
    np.testing.assert_allclose(
        to_numpy(device.loss(*there, train=train, rng=RNG)[0]), head.loss(h, t, train=train, rng=RNG)[0], rtol=1e-10
    )
    found, expected = gradients(device, *there, train), gradients(head, h, t, train)
    for name in expected:
        np.testing.assert_allclose(to_numpy(found[name]), expected[name], rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(to_numpy(device.predict(there[0], 3, rng=RNG)), head.predict(h, 3, rng=RNG))
