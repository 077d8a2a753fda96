"""What each flat head promises beyond the properties of all heads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npsoftmax.errors import InputError
from npsoftmax.functional import cosine, log_loss, loss, softmax
from npsoftmax.gradcheck import check_pair
from npsoftmax.heads import HEADS, ClassInfo, FlatHead
from npsoftmax.metrics import classification_metrics
from npsoftmax.options import check_options, option_defaults, parse_pairs
from npsoftmax.params import leaves, replace_leaves
from npsoftmax.random import Rng

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

RNG = Rng(2, "noise.head").at(7)
FLAT = [name for name, cls in HEADS.items() if issubclass(cls, FlatHead) and not cls.legacy]
OF_SCORES = [name for name in FLAT if "linear" in option_defaults(HEADS[name])]


def build(name, features=5, n=7, **options):
    """A head in float64 for n classes of which the later ones are the larger."""
    head = HEADS[name](features, ClassInfo(n, counts=np.arange(1, n + 1)), rng=Rng(0, "head"), **options)
    for tree in (head.params, head.buffers):
        replace_leaves(tree, lambda _, x: x.astype(float))
    return head


def of_scores(name, n=7, **options):
    """The head whose features are the scores themselves."""
    return build(name, n, n, linear=False, **options)


def batch(n=4, features=5, classes=7, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, features)), rng.integers(0, classes, n)


def evaluate(head, h, t, train=False, rng=RNG):
    """The loss and all gradients, by name."""
    value, cache = head.loss(h, t, train=train, rng=rng)
    dh, grads = head.backward(cache)
    return {"loss": value, "h": dh, **dict(leaves(grads))}


def assert_same(one, other, rtol=1e-11, atol=1e-14):
    assert set(one) == set(other)
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=rtol, atol=atol, err_msg=name)


# ---------------------------------------------------------------- the linear map
@pytest.mark.parametrize("name", OF_SCORES)
def test_without_the_linear_map_the_features_are_the_scores(name):
    head, whole, (h, t) = of_scores(name), build(name), batch()
    assert set(head.params) <= {"sink"}
    assert head.macs() == 0
    assert whole.macs() == 35
    z, _ = whole.scores(h)
    for train in (True, False):
        direct, mapped = evaluate(head, z, t, train), evaluate(whole, h, t, train)
        np.testing.assert_allclose(direct["loss"], mapped["loss"], rtol=1e-13)
        np.testing.assert_allclose(mapped["w"], h.T @ direct["h"], rtol=1e-10, atol=1e-15)
        np.testing.assert_allclose(mapped["b"], direct["h"].sum(axis=0), rtol=1e-10, atol=1e-15)
    with pytest.raises(InputError, match="linear=false takes the features as the 7 scores, but there are 5"):
        build(name, linear=False)


@pytest.mark.parametrize("name", OF_SCORES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [2, 3, 100, 1000])
def test_scores_of_exactly_ten_thousand_and_zero(name, dtype, n):
    head = of_scores(name, n)
    replace_leaves(head.buffers, lambda _, x: x.astype(dtype))
    z = np.zeros((4, n), dtype=dtype)
    z[1], z[2], z[3] = 1e4, -1e4, np.where(np.arange(n) % 2, 1e4, -1e4)
    for t in (np.zeros(4, dtype=int), np.ones(4, dtype=int)):
        for train in (True, False):
            found = evaluate(head, z, t, train)
            assert all(np.isfinite(x).all() for x in found.values())
            assert found["h"].dtype == dtype
    p = np.exp(head.log_prob(z))
    if head.distribution:
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-12 if dtype is np.float64 else 1e-4)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "gumbel_softmax", "taylor_softmax", "spherical", "cosine"])
def test_weights_of_zero_give_every_class_the_same_probability(name):
    options = {"init": "zeros"} | ({} if name == "cosine" else {"bias": False})
    head, (h, t) = build(name, **options), batch()
    assert head.loss(h, t)[0] == pytest.approx(np.log(7), rel=1e-14)


# ---------------------------------------------------------------- two routes, one function
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("softmax", {"temperature": 1.5}),
        ("gumbel_softmax", {"tau": 0.7}),
        ("gumbel_softmax", {"tau": 4.0, "tau_end": 1.0, "anneal_steps": 20, "noise": "normal", "eval_noise": True}),
        ("taylor_softmax", {"order": 2}),
        ("taylor_softmax", {"order": 6}),
    ],
)
def test_a_head_and_its_log_are_two_routes_to_the_same_loss(name, options, smoothing, train):
    options = {**options, "label_smoothing": smoothing}
    one, other, (h, t) = build(name, **options), build(f"log_{name}", **options), batch()
    assert_same(evaluate(one, h, t, train), evaluate(other, h, t, train), rtol=1e-10)
    np.testing.assert_allclose(one.log_prob(h, rng=RNG), other.log_prob(h, rng=RNG), rtol=1e-14)


SMOOTHED = [name for name in FLAT if "label_smoothing" in option_defaults(HEADS[name])]


@pytest.mark.parametrize("name", SMOOTHED)
def test_label_smoothing_acts_in_training_alone(name):
    plain, smooth, (h, t) = build(name), build(name, label_smoothing=0.3), batch()
    assert_same(evaluate(plain, h, t), evaluate(smooth, h, t))
    trained = evaluate(smooth, h, t, train=True)["loss"]
    losses = [evaluate(plain, h, np.full(4, c), train=True)["loss"] for c in range(7)]
    if name not in ("sm_softmax", "sm_taylor_softmax", "ldam"):  # whose margin follows the target
        expected = 0.7 * evaluate(plain, h, t, train=True)["loss"] + 0.3 * np.mean(losses)
        np.testing.assert_allclose(trained, expected, rtol=1e-12)
    assert trained != evaluate(plain, h, t, train=True)["loss"]


def test_a_temperature_divides_the_scores():
    head, warm, (z, t) = of_scores("softmax"), of_scores("softmax", temperature=2.5), batch(features=7)
    assert warm.loss(z, t)[0] == pytest.approx(head.loss(z / 2.5, t)[0], rel=1e-14)
    np.testing.assert_allclose(warm.log_prob(z), head.log_prob(z / 2.5), rtol=1e-14)


# ---------------------------------------------------------------- options of softmax, sink, harmonic
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_penalties_act_in_training_alone_and_bounds_always(name):
    plain, (h, t) = build(name), batch()
    penalised, bounded = build(name, z_loss=0.1, max_sup=0.2), build(name, soft_cap=1.0, logit_norm=0.5)
    assert_same(evaluate(plain, h, t), evaluate(penalised, h, t))
    z, _ = plain.scores(h)
    size = np.log(np.exp(z).sum(axis=1))
    expected = plain.loss(h, t)[0] + np.mean(0.1 * size**2 + 0.2 * (z.max(axis=1) - z.mean(axis=1)))
    assert evaluate(penalised, h, t, train=True)["loss"] == pytest.approx(expected, rel=1e-13)
    assert evaluate(bounded, h, t, train=True)["loss"] == evaluate(bounded, h, t)["loss"] != plain.loss(h, t)[0]
    z, _ = bounded.scores(1e6 * h)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 2, rtol=1e-6)
    capped, _ = build(name, soft_cap=1.0).scores(1e6 * h)
    assert np.abs(capped).max() <= 1


def test_max_sup_is_label_smoothing_where_the_answer_is_right():
    (z, _), c = batch(features=7), 7
    t, wrong = z.argmax(axis=1), z.argmin(axis=1)
    smooth, suppressed = of_scores("softmax", label_smoothing=0.2), of_scores("softmax", max_sup=0.2)
    assert_same(evaluate(smooth, z, t, train=True), evaluate(suppressed, z, t, train=True))
    pushed = evaluate(suppressed, z, wrong, train=True)["h"] - evaluate(smooth, z, wrong, train=True)["h"]
    expected = 0.2 / 4 * (np.eye(c)[t] - np.eye(c)[wrong])  # the best class instead of the target
    np.testing.assert_allclose(pushed, expected, atol=1e-15)


@pytest.mark.parametrize("option", ["soft_cap", "logit_norm", "z_loss", "max_sup"])
@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, "word"])
def test_options_of_softmax_that_are_no_sizes_are_refused(option, value):
    with pytest.raises(InputError, match=f"{option} is {value!r}"):
        build("softmax", **{option: value})


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, "word"])
def test_a_power_of_the_distance_that_is_none_is_refused(value):
    with pytest.raises(InputError, match=f"power is {value!r}"):
        build("harmonic", power=value)


def test_harmonic_does_not_see_how_large_features_and_centres_are():
    head, (h, t) = build("harmonic"), batch()
    before = head.loss(h, t)[0]
    replace_leaves(head.params, lambda _, w: 1e3 * w)
    assert head.loss(1e3 * h, t)[0] == pytest.approx(before, rel=1e-4)  # but for ε
    np.testing.assert_array_equal(head.predict(head.params["w"].T.copy())[:, 0], np.arange(7))


def test_none_of_these_where_every_score_is_low():
    head, (h, t) = build("sink", sink=-1.0), batch()
    assert head.params["sink"].shape == (1,)
    assert build("sink", learned=False).params.keys() == {"w", "b"}
    np.testing.assert_allclose(head.none_of_these(h), 1 - np.exp(head.log_prob(h)).sum(axis=1), rtol=1e-12)
    of = of_scores("sink")
    assert of.none_of_these(np.full((1, 7), -40.0)) == pytest.approx(1)
    assert of.none_of_these(np.full((1, 7), 40.0)) < 1e-17
    look = head.closer_look(h, t, None)["none_of_these"]["mean_p"]
    assert look == pytest.approx(head.none_of_these(h).sum())
    with pytest.raises(InputError, match="sink is nan"):
        build("sink", sink=np.nan)


def test_margins_fall_with_the_fourth_root_of_the_size_of_a_class():
    head = HEADS["ldam"](5, ClassInfo(3, counts=np.array([16, 256, 81])), rng=Rng(0), margin=0.6, scale=10.0)
    np.testing.assert_allclose(head.buffers["margins"], [0.6, 0.3, 0.4], rtol=1e-6)
    plain, (h, t) = HEADS["cosine"](5, ClassInfo(3), rng=Rng(0), scale=10.0), batch(classes=3)
    assert_same(evaluate(head, h, t), evaluate(plain, h, t), rtol=1e-6)
    assert evaluate(head, h, t, train=True)["loss"] > evaluate(plain, h, t)["loss"] + 1
    with pytest.raises(InputError, match="class counts hold 0 for class 1"):
        HEADS["ldam"](5, ClassInfo(3, counts=np.array([1, 0, 2])), rng=Rng(0))
    with pytest.raises(InputError, match="this head needs the number of training samples"):
        HEADS["ldam"](5, ClassInfo(3), rng=Rng(0))


def test_vector_scaling_acts_in_training_alone_and_shrinks_rare_classes():
    plain, scaled, (z, t) = of_scores("balanced"), of_scores("balanced", scaling=0.5), batch(features=7)
    assert set(plain.buffers) == {"log_prior"}  # as runs from before have it
    np.testing.assert_allclose(scaled.buffers["slope"], np.sqrt(np.arange(1, 8) / 7), rtol=1e-6)
    assert_same(evaluate(plain, z, t), evaluate(scaled, z, t))
    np.testing.assert_allclose(
        evaluate(scaled, z, t, train=True)["h"],
        scaled.buffers["slope"] * evaluate(plain, z * scaled.buffers["slope"], t, train=True)["h"],
        rtol=1e-13,
    )


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        *(("focal", "epsilon", v) for v in (-1.0, np.nan, np.inf, "word")),
        *(("focal", "gamma", v) for v in (-1.0, np.nan, np.inf, "word")),
        *(("generalised_cross_entropy", "q", v) for v in (0.0, 1.5, np.nan, "word")),
        *(("entmax", "alpha", v) for v in (1.0, 0.5, np.nan, np.inf, "word")),
        *(("balanced", "scaling", v) for v in (-1.0, np.nan, np.inf)),
    ],
)
def test_options_of_losses_that_are_out_of_range_are_refused(name, option, value):
    with pytest.raises(InputError, match=f"{option} is {value!r}"):
        build(name, **{option: value})


def test_entmax_of_alpha_1_5_and_2_are_the_heads_of_these():
    (h, t) = batch()
    for alpha, name in ((1.5, "entmax15"), (2.0, "sparsemax")):
        one, other = build("entmax", alpha=alpha), build(name)
        assert_same(evaluate(one, h, t, train=True), evaluate(other, h, t, train=True), rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(np.exp(one.log_prob(h)), np.exp(other.log_prob(h)), atol=1e-12)


# ---------------------------------------------------------------- Gumbel
def gumbel(**options):
    return of_scores("gumbel_softmax", **options)


def test_noise_is_added_to_the_scores_in_training_and_only_there():
    head, plain, (z, t) = gumbel(tau=0.5), of_scores("softmax", temperature=0.5), batch(features=7)
    noise = RNG.gumbel(z.shape, float)
    assert_same(evaluate(head, z, t, train=True), evaluate(plain, z + noise, t))
    assert_same(evaluate(head, z, t, rng=None), evaluate(plain, z, t))
    assert_same(evaluate(head, z, t, rng=RNG), evaluate(plain, z, t))
    np.testing.assert_array_equal(head.log_prob(z, rng=RNG), head.log_prob(z))


def test_normal_noise_and_none():
    z, t = batch(features=7)
    plain = of_scores("softmax", temperature=2.0)
    normal = evaluate(gumbel(tau=2.0, noise="normal"), z, t, train=True)
    assert_same(normal, evaluate(plain, z + RNG.normal(z.shape, float), t))
    assert_same(evaluate(gumbel(tau=2.0, noise="none"), z, t, train=True, rng=None), evaluate(plain, z, t))


def test_noise_in_evaluation_is_drawn_from_the_rng_that_is_passed():
    head, (z, t) = gumbel(eval_noise=True), batch(features=7)
    first, second = (head.log_prob(z, rng=rng) for rng in (RNG, RNG.at(8)))
    assert not np.allclose(first, second)
    assert head.loss(z, t, rng=RNG)[0] == pytest.approx(-first[np.arange(4), t].mean(), rel=1e-13)
    np.testing.assert_array_equal(head.predict(z, rng=RNG)[:, 0], first.argmax(axis=1))


def test_argmax_of_scores_with_gumbel_noise_samples_from_softmax():
    z = np.tile([1.0, 0.0, -0.5, 2.0], (20_000, 1))
    drawn = of_scores("gumbel_softmax", 4, eval_noise=True, tau=0.3).predict(z, rng=RNG)[:, 0]
    p, _ = softmax.softmax_forward(z[0])
    deviation = np.sqrt(p * (1 - p) / len(z))
    assert (np.abs(np.bincount(drawn, minlength=4) / len(z) - p) < 4 * deviation).all()


@pytest.mark.parametrize("name", ["gumbel_softmax", "log_gumbel_softmax"])
def test_noise_without_an_rng_is_an_input_error(name):
    h, t = batch()
    with pytest.raises(InputError, match=r"in training, but none was given; pass rng="):
        build(name).loss(h, t, train=True)
    for call in (lambda head: head.loss(h, t), lambda head: head.log_prob(h), lambda head: head.predict(h)):
        with pytest.raises(InputError, match="evaluation with eval_noise=true"):
            call(build(name, eval_noise=True))


def test_the_temperature_anneals_by_the_same_factor_each_step():
    head = gumbel(tau=8.0, tau_end=0.5, anneal_steps=4)
    assert [head.tau_at(step) for step in (0, 1, 2, 3, 4, 5, 1000)] == pytest.approx([8, 4, 2, 1, 0.5, 0.5, 0.5])
    z, t = batch(features=7)
    for step in (0, 3, 9):  # a run that is resumed at this step goes on as it would have
        fixed = evaluate(gumbel(tau=head.tau_at(step)), z, t, train=True, rng=RNG.at(step))
        assert_same(evaluate(head, z, t, train=True, rng=RNG.at(step)), fixed)
    assert_same(evaluate(head, z, t, rng=None), evaluate(of_scores("softmax", temperature=0.5), z, t))


# ---------------------------------------------------------------- Taylor, spherical
@pytest.mark.parametrize("name", ["taylor_softmax", "log_taylor_softmax", "sm_taylor_softmax"])
def test_taylor_predicts_by_the_polynomial_and_not_by_the_score(name):
    z = np.array([[0.5, -4.0, 0.0]])  # f: 1.625, 5, 1
    head = of_scores(name, 3, order=2)
    assert head.predict(z, 3).tolist() == [[1, 0, 2]]
    np.testing.assert_allclose(np.exp(head.log_prob(z)), np.array([[1.625, 5, 1]]) / 7.625, rtol=1e-14)


def test_a_high_order_approaches_softmax():
    z, t = batch(features=7)
    exact = of_scores("softmax").loss(z, t)[0]
    gaps = [abs(of_scores("taylor_softmax", order=order).loss(z, t)[0] - exact) for order in (2, 4, 8, 16)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-6


@pytest.mark.parametrize("name", ["taylor_softmax", "log_taylor_softmax", "sm_taylor_softmax", "spherical"])
def test_each_row_is_normalised_by_itself(name):
    head, (h, _) = build(name), batch(6)
    alone = np.concatenate([head.log_prob(h[i : i + 1]) for i in range(6)])
    np.testing.assert_allclose(head.log_prob(h), alone, rtol=1e-12)


def test_spherical_sees_the_size_of_a_score_and_not_its_sign():
    head, z = of_scores("spherical", 3), np.array([[-5.0, 3.0, 0.0]])
    np.testing.assert_array_equal(head.log_prob(z), head.log_prob(-z))
    assert head.predict(z, 3).tolist() == [[0, 1, 2]]


# ---------------------------------------------------------------- margins
@pytest.mark.parametrize(("name", "plain"), [("sm_softmax", "softmax"), ("sm_taylor_softmax", "log_taylor_softmax")])
def test_a_margin_lowers_the_target_in_training_alone(name, plain):
    head, without, (z, t) = of_scores(name, margin=1.5), of_scores(plain), batch(features=7)
    lowered = z - 1.5 * np.eye(7)[t]
    assert_same(evaluate(head, z, t, train=True), evaluate(without, lowered, t))
    assert_same(evaluate(head, z, t), evaluate(without, z, t))
    np.testing.assert_array_equal(head.log_prob(z), without.log_prob(z))
    none = of_scores(name, margin=0.0)
    assert_same(evaluate(none, z, t, train=True), evaluate(without, z, t))


def test_a_margin_costs_softmax_at_most_the_margin():
    z, t = batch(20, features=7)
    gap = of_scores("sm_softmax", margin=0.6).loss(z, t, train=True)[0] - of_scores("softmax").loss(z, t)[0]
    assert 0 < gap < 0.6


def test_hinge_is_zero_once_the_target_leads_by_the_margin():
    head = of_scores("hinge", 3, margin=2.0, rivals="worst")
    kept = evaluate(head, np.array([[5.0, 3.0, 1.0]]), np.array([0]))
    assert kept["loss"] == 0
    assert not kept["h"].any()
    short = evaluate(head, np.array([[4.5, 3.0, 1.0]]), np.array([0]))
    assert short["loss"] == 0.5
    assert short["h"].tolist() == [[-1, 1, 0]]
    assert not head.likelihood


def test_hinge_counts_all_rivals_that_come_too_close():
    head = of_scores("hinge", 3, margin=2.0)
    assert evaluate(head, np.array([[5.0, 3.0, 1.0]]), np.array([0]))["loss"] == 0
    short = evaluate(head, np.array([[4.0, 3.0, 2.5]]), np.array([0]))
    assert short["loss"] == pytest.approx((1 + 0.5) / 3)
    np.testing.assert_allclose(short["h"], [[-2 / 3, 1 / 3, 1 / 3]])
    with pytest.raises(InputError, match=r"unknown rivals 'worse'\. Did you mean 'worst'"):
        of_scores("hinge", 3, rivals="worse")


def test_hinge_reports_the_softmax_of_its_scores():
    z, _ = batch(features=7)
    np.testing.assert_array_equal(of_scores("hinge").log_prob(z), of_scores("softmax").log_prob(z))


# ---------------------------------------------------------------- sparse
@pytest.mark.parametrize("name", ["sparsemax", "entmax15"])
def test_classes_of_probability_zero_are_ranked_by_their_score(name):
    head, z = of_scores(name, 5), np.array([[-9.0, 6.0, -7.0, -8.0, 0.0]])
    assert head.log_prob(z).tolist() == [[-np.inf, 0, -np.inf, -np.inf, -np.inf]]
    assert head.predict(z, 5).tolist() == [[1, 4, 2, 3, 0]]


@pytest.mark.parametrize("name", ["sparsemax", "entmax15"])
def test_metrics_cope_with_probabilities_of_zero(name):
    head, (h, t) = build(name), batch(20)
    h *= 10
    log_p = head.log_prob(h)
    assert np.isneginf(log_p[np.arange(20), t]).any()
    scores = classification_metrics(t, head.predict(h, 5), log_p, 7, likelihood=head.likelihood)
    assert scores["nll"] is None
    assert all(np.isfinite(v) for k, v in scores.items() if k != "nll")


@pytest.mark.parametrize(("name", "lead"), [("sparsemax", 1.0), ("entmax15", 2.0)])
def test_a_sparse_loss_is_zero_once_the_target_leads(name, lead):
    head, t = of_scores(name, 3), np.array([0])
    assert head.loss(np.array([[lead, 0.0, -1.0]]), t)[0] == pytest.approx(0, abs=1e-15)
    assert head.loss(np.array([[lead / 2, 0.0, -1.0]]), t)[0] > 0.05


# ---------------------------------------------------------------- priors
PI = np.arange(1, 8) / 28  # the shares of the classes that `build` makes


def test_training_adds_the_prior_and_evaluation_leaves_it_out():
    head, plain, (z, t) = of_scores("balanced"), of_scores("softmax"), batch(features=7)
    assert_same(evaluate(head, z, t, train=True), evaluate(plain, z + np.log(PI), t), rtol=1e-6)
    assert_same(evaluate(head, z, t), evaluate(plain, z, t))
    none = of_scores("balanced", strength=0.0)
    assert_same(evaluate(none, z, t, train=True), evaluate(plain, z, t))
    np.testing.assert_allclose(head.buffers["log_prior"], np.log(PI), rtol=1e-6)


def test_compensation_reweights_by_the_expected_shares():
    head, (z, t) = of_scores("balanced"), batch(features=7)
    uniform = np.exp(head.log_prob(z))
    rho = np.array([3.0, 1, 1, 1, 1, 1, 2])
    for prior, weights in (("train", PI), (tuple(rho), rho / 10), ("uniform", np.ones(7))):
        head.compensate(prior)
        expected = uniform * weights
        np.testing.assert_allclose(np.exp(head.log_prob(z)), expected / expected.sum(axis=1, keepdims=True), rtol=1e-12)
        assert head.loss(z, t)[0] == pytest.approx(-head.log_prob(z)[np.arange(4), t].mean(), rel=1e-12)
        same = of_scores("balanced", prior=prior)
        np.testing.assert_array_equal(same.log_prob(z), head.log_prob(z))


def test_compensated_to_the_training_prior_it_evaluates_what_it_trains():
    head, (h, t) = build("balanced", prior="train"), batch()
    assert_same(evaluate(head, h, t, train=True), evaluate(head, h, t), rtol=1e-6, atol=1e-7)


def test_where_features_say_nothing_softmax_learns_the_prior_and_balanced_learns_nothing():
    t = np.repeat(np.arange(7), np.arange(1, 8))  # classes in the shares PI
    h = np.ones((len(t), 1))
    learned = {}
    for name in ("softmax", "balanced"):
        head = build(name, 1, init="zeros", bias=False)
        for _ in range(300):
            grads = dict(leaves(head.backward(head.loss(h, t, train=True)[1])[1]))
            replace_leaves(head.params, lambda path, p, grads=grads: p - 3.0 * grads[path])
        learned[name] = np.exp(head.log_prob(h[:1])[0])
    np.testing.assert_allclose(learned["softmax"], PI, atol=1e-3)
    np.testing.assert_allclose(learned["balanced"], 1 / 7, atol=1e-3)


def test_a_prior_from_the_command_line():
    options = check_options("head", HEADS["balanced"], parse_pairs(["prior=0.5,1,1.5", "strength=2"]))
    assert options == {"prior": (0.5, 1.0, 1.5), "strength": 2.0}
    assert check_options("head", HEADS["balanced"], parse_pairs(["prior=train"])) == {"prior": "train"}


# ---------------------------------------------------------------- cosine
def test_cosine_sees_directions_only():
    head, (h, t) = build("cosine"), batch()
    h *= 1e3  # so long that the ε which guards a length of 0 is out of sight
    replace_leaves(head.params, lambda _, w: w * 1e3)
    expected = head.log_prob(h)
    np.testing.assert_allclose(head.log_prob(h * 50), expected, atol=1e-9)
    replace_leaves(head.params, lambda _, w: w * np.array([1, 2, 3, 4, 5, 6, 7]))
    np.testing.assert_allclose(head.log_prob(h), expected, atol=1e-9)
    dh = evaluate(head, h, t)["h"]
    np.testing.assert_allclose((dh * h).sum(axis=1), 0, atol=1e-9)  # no step changes the length


def test_a_feature_vector_of_zeros_has_no_direction_and_a_bounded_gradient():
    found = evaluate(build("cosine"), np.zeros((2, 5)), np.array([0, 3]), train=True)
    assert found["loss"] == pytest.approx(np.log(7))
    assert np.isfinite(found["h"]).all()
    assert np.abs(found["h"]).max() <= 16 / 1e-3
    assert not found["w"].any()


@settings(max_examples=20)
@given(n=st.integers(2, 30), scale=st.floats(0.1, 20.0), seed=st.integers(0, 99))
def test_no_probability_passes_what_the_scale_allows(n, scale, seed):
    h, _ = batch(5, features=2, seed=seed)
    p = np.exp(build("cosine", 2, n, scale=scale).log_prob(h))
    assert p.max() <= np.exp(2 * scale) / (np.exp(2 * scale) + n - 1) + 1e-12


# ---------------------------------------------------------------- the pairs that were added for heads
def test_the_log_loss_smooths_no_labels_unless_told():
    p = np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])
    losses, _ = log_loss.log_loss_forward(p, np.array([0, 2]))
    np.testing.assert_allclose(losses, -np.log([0.5, 0.8]))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradient_of_the_log_loss(smoothing):
    p = np.random.default_rng(0).uniform(0.1, 0.9, (4, 3))
    t = np.array([0, 2, 1, 2])
    check_pair(log_loss.log_loss_forward, log_loss.log_loss_backward, (p, t, smoothing), wrt=(0,)).assert_ok()
    losses, _ = log_loss.log_loss_forward(p, t, smoothing)
    q = (1 - smoothing) * np.eye(3)[t] + smoothing / 3
    np.testing.assert_allclose(losses, -(q * np.log(p)).sum(axis=1), rtol=1e-14)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_log_loss_of_soft_targets_is_the_nll_of_the_logarithms(smoothing):
    rng = np.random.default_rng(0)
    p, q, dlosses = rng.uniform(0.1, 0.9, (4, 3)), rng.random((4, 3)), rng.normal(size=4)
    losses, cache = log_loss.log_loss_forward(p, q, smoothing)
    expected, nll_cache = loss.nll_forward(np.log(p), q, smoothing)
    np.testing.assert_allclose(losses, expected, rtol=1e-13)
    np.testing.assert_allclose(log_loss.log_loss_backward(dlosses, cache), loss.nll_backward(dlosses, nll_cache) / p)


@pytest.mark.parametrize("eps", [1e-3, 0.5])
def test_gradients_of_unit_vectors_and_cosines(eps):
    x, w = batch()[0], np.random.default_rng(1).standard_normal((5, 3))
    check_pair(cosine.unit_rows_forward, cosine.unit_rows_backward, (x,), kwargs={"eps": eps}).assert_ok()
    check_pair(cosine.cosine_forward, cosine.cosine_backward, (x, w), kwargs={"eps": eps}).assert_ok()
    y, _ = cosine.cosine_forward(x, w, eps=1e-9)
    lengths = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(w, axis=0)
    np.testing.assert_allclose(y, x @ w / lengths, rtol=1e-13)


# ---------------------------------------------------------------- user mistakes
WRONG = [
    *(
        (name, {"label_smoothing": bad}, "label_smoothing is .*at least 0 and below 1")
        for name in SMOOTHED
        for bad in (-0.1, 1.0)
    ),
    *(("softmax", {"temperature": bad}, "temperature is .*above 0") for bad in (0.0, -1.0, np.nan, np.inf)),
    *(("gumbel_softmax", {"tau": bad}, "tau is .*above 0") for bad in (0.0, -1.0, np.nan)),
    ("log_gumbel_softmax", {"tau": -2.0}, "tau is -2.0.*above 0"),
    ("gumbel_softmax", {"tau_end": 0.0, "anneal_steps": 10}, "tau_end is 0.0.*above 0"),
    ("gumbel_softmax", {"tau_end": 0.5}, "needs both"),
    ("gumbel_softmax", {"anneal_steps": 5}, "needs both"),
    ("gumbel_softmax", {"tau_end": 0.5, "anneal_steps": 0}, "anneal_steps is 0, but at least 1"),
    ("gumbel_softmax", {"noise": "gauss"}, "noise 'gauss'.*Known: gumbel, none, normal"),
    *(
        (name, {"order": bad}, f"order is {bad}.*even whole number from 2")
        for name in ("taylor_softmax", "log_taylor_softmax", "sm_taylor_softmax")
        for bad in (0, 1, 3, -2)
    ),
    ("spherical", {"eps": 0.0}, "eps is 0.0.*above 0"),
    *((name, {"margin": -0.1}, "margin is -0.1.*at least 0") for name in ("sm_softmax", "sm_taylor_softmax")),
    *(("hinge", {"margin": bad}, "margin is .*above 0") for bad in (0.0, -1.0)),
    ("cosine", {"scale": 0.0}, "scale is 0.0.*above 0"),
    ("balanced", {"strength": -1.0}, "strength is -1.0.*at least 0"),
    ("balanced", {"prior": "flat"}, "prior 'flat'.*Known: train, uniform"),
    ("balanced", {"prior": (0.5, 0.5)}, "prior has 2 numbers, but one for each of 7 classes"),
    ("balanced", {"prior": (1.0,) * 6 + (0.0,)}, "prior hold 0.0 for class 6.*above 0"),
]


@pytest.mark.parametrize(("name", "options", "message"), WRONG)
def test_a_bad_option_is_named_with_its_value_and_its_range(name, options, message):
    with pytest.raises(InputError, match=message):
        build(name, **options)


def test_balanced_needs_samples_of_every_class():
    with pytest.raises(InputError, match=r"needs the number of training samples.*ClassInfo.from_labels"):
        HEADS["balanced"](5, ClassInfo(3), rng=Rng(0))
    with pytest.raises(InputError, match=r"class counts hold 0 for class 1.*above 0"):
        HEADS["balanced"](5, ClassInfo(3, counts=np.array([4, 0, 2])), rng=Rng(0))
    with pytest.raises(InputError, match="counts have shape"):
        ClassInfo(3, counts=np.array([4, 2]))


def test_features_whose_square_overflows_are_still_numbers():
    head = of_scores("softmax")
    h = np.zeros((2, 7))
    h[0, 3] = 1e200
    assert head.predict(h)[:, 0].tolist() == [3, 0]
