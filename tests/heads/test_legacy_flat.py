"""Legacy wirings: each is held to the relation that betrays it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from npsoftmax.errors import InputError
from npsoftmax.functional import loss, softmax, taylor
from npsoftmax.heads import HEADS, ClassInfo, LegacyWiringWarning
from npsoftmax.params import leaves, replace_leaves
from npsoftmax.random import Rng

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

C = 100
RNG = Rng(1, "noise.head").at(4)
FLAT_LEGACY = (
    "legacy_double_softmax",
    "legacy_double_gumbel",
    "legacy_nll_on_probabilities",
    "legacy_taylor_unlogged",
    "legacy_batch_axis_softmax",
    "legacy_softmax1_unshifted",
)


def of_scores(name, n=C, **options):
    """The head whose features are the scores themselves."""
    make = HEADS[name]
    if not make.legacy:
        return make(n, ClassInfo(n), rng=Rng(0), linear=False, **options)
    with pytest.warns(LegacyWiringWarning):
        return make(n, ClassInfo(n), rng=Rng(0), linear=False, **options)


def batch(n=64, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, C)) * scale, rng.integers(0, C, n)


def saturated(n=64, right=20):
    """Scores that are sure of one class: of the target in the first `right` rows, of another in the rest."""
    t = np.arange(n) % C
    said = np.where(np.arange(n) < right, t, (t + 1) % C)
    return 60.0 * np.eye(C)[said], t


def double_softmax_relation(p, t):
    return np.mean(np.log(np.exp(p).sum(axis=1))) - np.mean(p[np.arange(len(t)), t])


# ---------------------------------------------------------------- all of them
@pytest.mark.parametrize("name", FLAT_LEGACY)
def test_the_warning_says_what_is_wrong_and_what_to_use(name):
    with pytest.warns(LegacyWiringWarning) as caught:
        HEADS[name](3, ClassInfo(4), rng=Rng(0))
    text = str(caught[0].message)
    assert HEADS[name].card.mistake in text
    assert HEADS[name].card.instead in text
    assert caught[0].filename == __file__


@pytest.mark.filterwarnings("ignore::npsoftmax.heads.LegacyWiringWarning")
@pytest.mark.parametrize("name", FLAT_LEGACY)
def test_bad_options_of_legacy_wirings_are_input_errors_too(name):
    bad = {"tau": 0.0} if "gumbel" in name or "nll" in name else {"init": "nought"}
    with pytest.raises(InputError):
        HEADS[name](3, ClassInfo(4), rng=Rng(0), **bad)


@pytest.mark.parametrize("name", FLAT_LEGACY)
def test_the_documentation_says_how_each_is_recognised(name):
    page = Path(__file__).parents[2] / "docs" / "softmax-family.md"
    assert f"| `{name}` |" in page.read_text(encoding="utf-8")


# ---------------------------------------------------------------- double softmax
@pytest.mark.parametrize("scale", [0.1, 3.0, 100.0])
def test_double_softmax_is_always_mean_lse_of_p_minus_mean_p_of_the_target(scale):
    head, (z, t) = of_scores("legacy_double_softmax"), batch(scale=scale)
    p, _ = softmax.softmax_forward(z)
    value, _ = head.loss(z, t, train=True)
    assert value == pytest.approx(double_softmax_relation(p, t), abs=1e-12)
    highest = np.log(np.e + C - 1)
    assert highest - 1 <= value <= highest
    assert value == pytest.approx(-head.log_prob(z)[np.arange(len(t)), t].mean(), rel=1e-12)


def test_double_softmax_of_saturated_outputs_is_a_constant_minus_the_accuracy():
    head, (z, t) = of_scores("legacy_double_softmax"), saturated(64, right=20)
    accuracy = (head.predict(z)[:, 0] == t).mean()
    assert accuracy == 20 / 64
    assert head.loss(z, t)[0] == pytest.approx(np.log(np.e + C - 1) - accuracy, abs=1e-12)


def test_double_softmax_teaches_nothing_to_who_is_confidently_wrong():
    z, t = saturated(8, right=0)
    wrong = of_scores("legacy_double_softmax")
    right = of_scores("softmax")
    assert np.abs(wrong.backward(wrong.loss(z, t)[1])[0]).max() < 1e-24
    assert np.abs(right.backward(right.loss(z, t)[1])[0]).max() == pytest.approx(1 / 8)


@pytest.mark.parametrize("name", ["legacy_double_softmax", "legacy_nll_on_probabilities"])
def test_at_the_start_the_gradient_is_c_times_smaller_than_that_of_the_cross_entropy(name):
    z, t = np.zeros((4, C)), np.arange(4)
    right, wrong = of_scores("softmax"), of_scores(name)
    dz, weak = (head.backward(head.loss(z, t)[1])[0] for head in (right, wrong))
    np.testing.assert_allclose(weak * C, dz, rtol=1e-12, atol=1e-15)


def test_double_softmax_starts_at_the_logarithm_of_the_number_of_classes_like_every_other():
    assert of_scores("legacy_double_softmax").loss(np.zeros((2, C)), np.array([0, 1]))[0] == pytest.approx(np.log(C))


# ---------------------------------------------------------------- double Gumbel, noise in evaluation
@pytest.mark.parametrize("train", [True, False])
def test_double_gumbel_is_the_double_softmax_of_noisy_scores(train):
    head, (z, t) = of_scores("legacy_double_gumbel", tau=5.0), batch(scale=20.0)
    p, _ = softmax.softmax_forward((z + RNG.gumbel(z.shape, float)) / 5)
    assert head.loss(z, t, train=train, rng=RNG)[0] == pytest.approx(double_softmax_relation(p, t), abs=1e-12)


def test_double_gumbel_predicts_with_noise_and_says_that_it_needs_some():
    head, (z, t) = of_scores("legacy_double_gumbel"), batch(scale=1.0)
    assert not np.array_equal(head.predict(z, rng=RNG), head.predict(z, rng=RNG.at(5)))
    with pytest.raises(InputError, match="eval_noise=true"):
        head.loss(z, t)
    clean = of_scores("legacy_double_gumbel", eval_noise=False, tau=2.0)
    np.testing.assert_array_equal(clean.log_prob(z), of_scores("legacy_double_softmax").log_prob(z / 2))


@pytest.mark.parametrize("tau", [0.5, 5.0])
def test_with_noise_in_evaluation_accuracy_is_the_mean_probability_of_the_target_at_any_temperature(tau):
    n = 20_000
    z, t = batch(n, scale=0.3)
    z[np.arange(n), t] += 5.0
    noisy, clean = (of_scores("log_gumbel_softmax", eval_noise=noise, tau=tau) for noise in (True, False))
    p_y = softmax.softmax_forward(z)[0][np.arange(n), t]
    accuracy = (noisy.predict(z, rng=RNG)[:, 0] == t).mean()
    assert accuracy == pytest.approx(p_y.mean(), abs=4 * np.sqrt((p_y * (1 - p_y)).sum()) / n)
    assert accuracy < 0.7 < 0.999 < (clean.predict(z)[:, 0] == t).mean()


# ---------------------------------------------------------------- NLL of probabilities
def test_nll_on_probabilities_is_minus_the_mean_probability_of_the_target():
    head, (z, t) = of_scores("legacy_nll_on_probabilities"), batch(scale=3.0)
    p, _ = softmax.softmax_forward(z)
    value, cache = head.loss(z, t, train=True)
    p_y = p[np.arange(len(t)), t]
    assert value == pytest.approx(-p_y.mean(), rel=1e-13)
    assert -1 <= value <= 0
    dz, _ = head.backward(cache)
    np.testing.assert_allclose(dz[np.arange(len(t)), t], -p_y * (1 - p_y) / len(t), rtol=1e-12)
    assert not head.likelihood
    assert not np.isclose(value, -head.log_prob(z)[np.arange(len(t)), t].mean())


def test_nll_on_saturated_probabilities_is_minus_the_accuracy():
    z, t = saturated(50, right=17)
    assert of_scores("legacy_nll_on_probabilities").loss(z, t)[0] == pytest.approx(-17 / 50, abs=1e-12)


def test_nll_on_probabilities_with_normal_noise():
    head, (z, t) = of_scores("legacy_nll_on_probabilities", noise="normal", tau=2.0), batch(scale=3.0)
    p, _ = softmax.softmax_forward((z + RNG.normal(z.shape, float)) / 2)
    assert head.loss(z, t, train=True, rng=RNG)[0] == pytest.approx(-p[np.arange(len(t)), t].mean(), rel=1e-13)
    np.testing.assert_array_equal(head.predict(z), of_scores("softmax").predict(z))


# ---------------------------------------------------------------- Taylor without its logarithm
@pytest.mark.parametrize("n", [1, 16, 128])
def test_unlogged_taylor_cannot_fall_below_the_logarithm_of_the_number_of_classes_by_more_than_1_over_n(n):
    head, t = of_scores("legacy_taylor_unlogged"), np.arange(n) % C
    floor = np.log(C) - (1 - 1 / C) / n
    for z in (1e4 * np.eye(C)[t], batch(n)[0], -1e4 * np.eye(C)[t]):  # perfect, random, perverse
        value, _ = head.loss(z, t, train=True)
        assert floor <= value <= np.log(np.e + C - 1)
    assert head.loss(1e4 * np.eye(C)[t], t)[0] < np.log(C)


def test_unlogged_taylor_shares_out_the_whole_batch():
    head, (z, t) = of_scores("legacy_taylor_unlogged", order=4), batch(8)
    f = taylor.taylor_polynomial(z, 4)
    p = f / f.sum()
    assert p.mean() == pytest.approx(1 / (8 * C))
    assert head.loss(z, t)[0] == pytest.approx(double_softmax_relation(p, t), rel=1e-13)
    per_row = of_scores("legacy_taylor_unlogged", order=4, per_row=True)
    assert per_row.loss(z, t)[0] == pytest.approx(
        double_softmax_relation(f / f.sum(axis=1, keepdims=True), t), rel=1e-13
    )


def test_with_its_logarithm_the_constant_of_the_batch_cancels():
    head, (z, t) = of_scores("log_taylor_softmax"), batch(8)
    f = taylor.taylor_polynomial(z, 2)
    value, _ = loss.softmax_cross_entropy_forward(np.log(f / f.sum()), t)
    assert value == pytest.approx(head.loss(z, t)[0], rel=1e-13)


# ---------------------------------------------------------------- softmax over the batch
def test_batch_axis_softmax_of_one_sample_says_nothing_and_learns_nothing():
    head, (z, t) = of_scores("legacy_batch_axis_softmax"), batch(1, scale=5.0)
    value, cache = head.loss(z, t, train=True)
    assert value == pytest.approx(np.log(C), rel=1e-14)
    assert not head.backward(cache)[0].any()


def test_batch_axis_softmax_depends_on_the_neighbours_of_a_sample():
    head, (z, _) = of_scores("legacy_batch_axis_softmax"), batch(8, scale=3.0)
    p = np.exp(z) / np.exp(z).sum(axis=0)
    np.testing.assert_allclose(head.log_prob(z), softmax.log_softmax_forward(p)[0], rtol=1e-12)
    assert not np.allclose(head.log_prob(z)[:4], head.log_prob(z[:4]))
    right = of_scores("softmax")
    np.testing.assert_allclose(right.log_prob(z)[:4], right.log_prob(z[:4]), rtol=1e-14)


def test_batch_axis_softmax_never_trains_its_bias():
    with pytest.warns(LegacyWiringWarning):
        head = HEADS["legacy_batch_axis_softmax"](5, ClassInfo(7), rng=Rng(0))
    replace_leaves(head.params, lambda _, p: p.astype(float))
    h = np.random.default_rng(0).standard_normal((6, 5))
    grads = dict(leaves(head.backward(head.loss(h, np.arange(6))[1])[1]))
    assert np.abs(grads["b"]).max() < 1e-16
    assert np.abs(grads["w"]).max() > 1e-3


# ---------------------------------------------------------------- a sink that was not shifted
def test_an_unshifted_sink_ties_with_the_best_class_whatever_it_says():
    head, (z, t) = of_scores("legacy_softmax1_unshifted"), batch(scale=5.0)
    log_p = head.log_prob(z)
    none = 1 - np.exp(log_p).sum(axis=1)
    np.testing.assert_allclose(none, np.exp(log_p).max(axis=1), rtol=1e-9)
    assert (none <= 0.5).all() and (none >= 1 / (C + 1)).all()
    np.testing.assert_allclose(head.log_prob(z + 100), log_p, rtol=1e-9)
    right, _ = saturated(right=64)
    assert head.loss(right, t)[0] >= head.loss(right, np.arange(64) % C)[0] == pytest.approx(np.log(2), rel=1e-12)


def test_an_unshifted_sink_pushes_the_best_class_down():
    head, plain, (z, t) = of_scores("legacy_softmax1_unshifted"), of_scores("sink"), batch()
    z = z - z.max(axis=1, keepdims=True)  # where its one is the right one
    value, cache = head.loss(z, t)
    expected, its_cache = plain.loss(z, t)
    assert value == pytest.approx(expected, rel=1e-13)
    dz, its_dz = head.backward(cache)[0], plain.backward(its_cache)[0]
    best = np.eye(C)[z.argmax(axis=1)]
    np.testing.assert_allclose(dz - its_dz, best * plain.none_of_these(z)[:, None] / 64, atol=1e-15)
    np.testing.assert_allclose(dz.sum(axis=1), 0, atol=1e-15)
