"""Every loss: its gradient, its mean, its limits; then each by its own relations, soft targets, and an oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npsoftmax.errors import InputError
from npsoftmax.functional import loss, softmax, target_losses
from npsoftmax.gradcheck import check_pair

pytestmark = pytest.mark.filterwarnings("error")

CASES = {
    "softmax_cross_entropy": {},
    "softmax_cross_entropy smoothed": {"label_smoothing": 0.1},
    "softmax_cross_entropy cold and smoothed": {"label_smoothing": 0.3, "temperature": 0.5},
    **{
        f"softmax_cross_entropy_fused{name}": options
        for name, options in [
            ("", {}),
            (" smoothed", {"label_smoothing": 0.1}),
            (" cold and smoothed", {"label_smoothing": 0.3, "temperature": 0.5}),
        ]
    },
    "nll": {},
    "nll smoothed": {"label_smoothing": 0.2},
    "sparsemax_loss": {},
    "entmax15_loss": {},
    "entmax_loss": {},
    "entmax_loss sparse": {"alpha": 1.9},
    "focal": {},
    "focal mild": {"gamma": 0.5},
    "focal poly": {"gamma": 0.0, "epsilon": 2.0},
    "focal both": {"gamma": 1.5, "epsilon": -0.5},
    "generalised_cross_entropy": {},
    "generalised_cross_entropy flat": {"q": 1.0},
    "hinge": {},
    "hinge wide": {"margin": 2.5},
    "multi_margin": {},
    "multi_margin wide": {"margin": 2.5},
}
OF_ONE_CLASS = {"softmax_cross_entropy", "hinge", "multi_margin"}  # no soft targets
every_loss = pytest.mark.parametrize("case", CASES)
# nll takes log-probabilities, so a constant added to all of them is no invariance of it.
of_logits = pytest.mark.parametrize("case", [c for c in CASES if not c.startswith("nll")])


def rows_of(case):
    """The pair as it is: losses of samples, but for the readable one."""
    name = case.split()[0]
    module = loss if hasattr(loss, f"{name}_forward") else target_losses
    return getattr(module, f"{name}_forward"), getattr(module, f"{name}_backward")


def pair(case):
    """The mean over the samples, as a head takes it."""
    forward, backward = rows_of(case)
    if case.split()[0] == "softmax_cross_entropy":
        return forward, backward
    return mean_of(forward, backward)


def mean_of(forward, backward):
    def mean_forward(z, t, *options, **keywords):
        losses, cache = forward(z, t, *options, **keywords)
        assert losses.shape == (len(z),)
        return losses.mean(), (losses, cache)

    def mean_backward(dloss, cache):
        losses, cache = cache
        return backward(np.full_like(losses, dloss / len(losses)), cache)

    return mean_forward, mean_backward


FUSED = mean_of(loss.softmax_cross_entropy_fused_forward, loss.softmax_cross_entropy_fused_backward)
NLL = mean_of(loss.nll_forward, loss.nll_backward)


def batch(n, c, seed=0, dtype=np.float64, scale=2.0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, c)) * scale).astype(dtype), rng.integers(0, c, size=n)


# ---------------------------------------------------------------- every loss
def test_every_pair_is_tested():
    names = {n.removesuffix("_forward") for m in (loss, target_losses) for n in dir(m) if n.endswith("_forward")}
    assert names == {case.split()[0] for case in CASES}


@every_loss
@pytest.mark.parametrize(("n", "c"), [(1, 2), (4, 3), (3, 7), (2, 100)])
def test_gradient(case, n, c):
    forward, backward = pair(case)
    z, t = batch(n, c)
    check_pair(forward, backward, (z, t), wrt=(0,), kwargs=CASES[case]).assert_ok()


@every_loss
@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 6), c=st.integers(2, 12), seed=st.integers(0, 99))
def test_a_loss_is_the_mean_of_the_losses_of_its_rows(case, n, c, seed):
    forward, backward = pair(case)
    z, t = batch(n, c, seed)
    value, cache = forward(z, t, **CASES[case])
    rows = [forward(z[i : i + 1], t[i : i + 1], **CASES[case]) for i in range(n)]
    assert np.shape(value) == ()
    # The mean of losses of either sign can cancel to almost 0, so it is known to an absolute precision.
    np.testing.assert_allclose(value, np.mean([v for v, _ in rows]), rtol=1e-12, atol=1e-14)
    each = np.concatenate([backward(1.0, c) for _, c in rows])
    # Nor is a gradient: it is a difference too, of what is said and what is true.
    np.testing.assert_allclose(backward(3.0, cache), 3 * each / n, rtol=1e-12, atol=1e-14)


@of_logits
def test_a_constant_added_to_a_row_changes_nothing(case):
    forward, backward = pair(case)
    z, t = batch(5, 4)
    value, cache = forward(z, t, **CASES[case])
    np.testing.assert_allclose(forward(z + np.arange(5)[:, None], t, **CASES[case])[0], value, rtol=1e-12)
    np.testing.assert_allclose(backward(1.0, cache).sum(axis=1), 0, atol=1e-15)


@of_logits
def test_a_large_constant_costs_float32_no_digits(case):
    forward, _ = pair(case)
    z, t = batch(20, 30)
    z = (np.round(z * 64) / 64).astype(np.float32)  # so that z + 8192 is exact
    np.testing.assert_allclose(forward(z + 8192, t, **CASES[case])[0], forward(z, t, **CASES[case])[0], rtol=1e-6)


@pytest.mark.parametrize("case", ["sparsemax_loss", "entmax15_loss"])
def test_a_class_far_below_costs_no_digits(case):
    forward, _ = pair(case)
    z, t = batch(4, 5)
    lower = np.concatenate([z, np.full((4, 1), -1e12)], axis=1)
    np.testing.assert_allclose(forward(lower, t)[0], forward(z, t)[0], rtol=1e-12)


@of_logits
@pytest.mark.parametrize("c", [2, 3, 100, 1000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_of_ten_thousand(case, c, dtype):
    forward, backward = pair(case)
    z, t = batch(3, c, dtype=dtype)
    z[0], z[1, 0], z[1, 1], z[2] = 0, 1e4, -1e4, np.where(np.arange(c) % 2, 1e4, -1e4)
    value, cache = forward(z, t, **CASES[case])
    dz = backward(1.0, cache)
    assert value.dtype == dz.dtype == dtype
    assert np.isfinite(value)
    assert np.isfinite(dz).all()


@every_loss
def test_float32_is_close_to_float64_and_nothing_is_changed(case):
    forward, backward = pair(case)
    z, t = batch(6, 50, dtype=np.float32)
    z.flags.writeable = t.flags.writeable = False
    value, cache = forward(z, t, **CASES[case])
    exact, exact_cache = forward(z.astype(np.float64), t, **CASES[case])
    np.testing.assert_allclose(value, exact, rtol=1e-6)
    first, second = backward(1.0, cache), backward(1.0, cache)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, backward(1.0, exact_cache), rtol=1e-4, atol=1e-7)


@every_loss
def test_strided_logits_and_labels_of_any_whole_type(case):
    forward, backward = pair(case)
    z, t = batch(5, 8)
    value, cache = forward(z[:, ::2], t // 2, **CASES[case])
    other, other_cache = forward(z[:, ::2].copy(), (t // 2).astype(np.uint8), **CASES[case])
    np.testing.assert_allclose(value, other, rtol=1e-14)
    np.testing.assert_allclose(backward(1.0, cache), backward(1.0, other_cache), rtol=1e-14)


# ---------------------------------------------------------------- cross entropy
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("smoothing", [0.0, 0.2, 1.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-13), (np.float32, 1e-5)])
def test_one_pass_gives_the_numbers_of_the_readable_pair(smoothing, temperature, dtype, tolerance):
    z, t = batch(6, 50, dtype=dtype, scale=10.0)
    value, cache = loss.softmax_cross_entropy_forward(z, t, smoothing, temperature)
    fused, fused_cache = FUSED[0](z, t, smoothing, temperature)
    np.testing.assert_allclose(fused, value, rtol=tolerance)
    dz = loss.softmax_cross_entropy_backward(0.7, cache)
    np.testing.assert_allclose(FUSED[1](0.7, fused_cache), dz, rtol=0, atol=tolerance)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_the_two_step_route_equals_the_fused_one(smoothing):
    z, t = batch(6, 5)
    fused, fused_cache = FUSED[0](z, t, smoothing)
    y, y_cache = softmax.log_softmax_forward(z)
    value, cache = NLL[0](y, t, smoothing)
    np.testing.assert_allclose(value, fused, rtol=1e-14)
    dz = softmax.log_softmax_backward(NLL[1](1.0, cache), y_cache)
    np.testing.assert_allclose(dz, FUSED[1](1.0, fused_cache), rtol=0, atol=1e-15)


def test_nll_smooths_no_labels_unless_told_and_keeps_float32():
    z, t = batch(6, 5, dtype=np.float32)
    y, _ = softmax.log_softmax_forward(z)
    value, cache = NLL[0](y, t)
    assert value == pytest.approx(-y[np.arange(6), t].mean(), rel=1e-6)
    assert NLL[1](1.0, cache).dtype == np.float32


def test_equal_logits_cost_the_logarithm_of_the_number_of_classes():
    value, _ = loss.softmax_cross_entropy_forward(np.zeros((3, 100)), np.array([0, 7, 99]))
    assert value == pytest.approx(np.log(100))


def test_a_confident_right_answer_costs_nothing_and_a_wrong_one_its_gap():
    z = np.array([[1e4, 0.0, -1e4]])
    assert loss.softmax_cross_entropy_forward(z, np.array([0]))[0] == 0
    assert loss.softmax_cross_entropy_forward(z, np.array([2]))[0] == 2e4


def test_a_temperature_divides_the_logits():
    z, t = batch(4, 5)
    warm, cache = loss.softmax_cross_entropy_forward(z, t, temperature=2.5)
    plain, plain_cache = loss.softmax_cross_entropy_forward(z / 2.5, t)
    np.testing.assert_allclose(warm, plain, rtol=1e-14)
    expected = loss.softmax_cross_entropy_backward(1.0, plain_cache) / 2.5
    np.testing.assert_allclose(loss.softmax_cross_entropy_backward(1.0, cache), expected, rtol=1e-13)


def test_softmax_given_twice_cannot_leave_its_narrow_band():
    z, t = batch(50, 100, scale=30.0)
    p, _ = softmax.softmax_forward(z)
    value, _ = loss.softmax_cross_entropy_forward(p, t)
    lse, _ = softmax.log_sum_exp_forward(p)
    assert value == pytest.approx(lse.mean() - p[np.arange(50), t].mean(), abs=1e-12)
    best, _ = loss.softmax_cross_entropy_forward(np.eye(100), np.arange(100))
    assert best == pytest.approx(np.log(np.e + 99) - 1, abs=1e-12)
    assert best == pytest.approx(3.622, abs=5e-4)
    assert best < value < np.log(np.e + 99)


def test_an_absent_class_is_pushed_down_by_all_and_up_by_none():
    z, _ = batch(4, 6)
    _, cache = loss.softmax_cross_entropy_forward(z, np.array([0, 1, 0, 2]))
    dz = loss.softmax_cross_entropy_backward(1.0, cache)
    assert (dz[:, 3:] > 0).all()
    assert (dz[[0, 1, 2, 3], [0, 1, 0, 2]] < 0).all()


# ---------------------------------------------------------------- sparse losses and hinge
@pytest.mark.parametrize(
    ("case", "margin"),
    [("sparsemax_loss", 1.0), ("entmax15_loss", 2.0), ("entmax_loss", 2.0), ("hinge", 1.0), ("multi_margin", 1.0)],
)
def test_a_loss_with_a_margin_is_zero_beyond_it_and_positive_before(case, margin):
    forward, backward = pair(case)
    t = np.array([1])
    kept, cache = forward(np.array([[0.0, margin + 1e-9, -3.0]]), t)
    assert kept == 0
    assert (backward(1.0, cache) == 0).all()
    short, cache = forward(np.array([[0.0, margin - 0.1, -3.0]]), t)
    assert short > 0
    dz = backward(1.0, cache)
    assert dz[0, 1] < 0 < dz[0, 0]
    assert dz[0, 2] == 0


@pytest.mark.parametrize(
    "case",
    [
        *("sparsemax_loss", "entmax15_loss", "entmax_loss", "entmax_loss sparse", "hinge", "multi_margin"),
        *("softmax_cross_entropy", "softmax_cross_entropy_fused"),
    ],
)
@settings(max_examples=30, deadline=None)
@given(c=st.integers(2, 9), seed=st.integers(0, 999), scale=st.sampled_from([0.1, 1.0, 10.0]))
def test_losses_are_not_negative_and_convex(case, c, seed, scale):
    forward, _ = pair(case)
    (a, t), (b, _) = batch(1, c, seed, scale=scale), batch(1, c, seed + 1000, scale=scale)
    values = [forward(z, t)[0] for z in (a, b, (a + b) / 2)]
    assert min(values) >= -1e-14
    assert values[2] <= (values[0] + values[1]) / 2 + 1e-12


def test_hinge_moves_only_the_target_and_its_first_worst_rival():
    z = np.array([[1.0, 2.0, 2.0, 0.0], [9.0, 0.0, 0.0, 0.0]])
    losses, cache = loss.hinge_forward(z, np.array([0, 0]))
    assert losses.tolist() == [1 + 2 - 1, 0]
    np.testing.assert_array_equal(loss.hinge_backward(np.ones(2), cache), [[-1, 1, 0, 0], [0, 0, 0, 0]])


def test_multi_margin_moves_the_target_and_all_that_come_too_close():
    z = np.array([[1.0, 2.0, 1.5, -1.0], [9.0, 0.0, 0.0, 0.0]])
    losses, cache = loss.multi_margin_forward(z, np.array([0, 0]))
    assert losses.tolist() == [(2 + 1.5) / 4, 0]
    np.testing.assert_allclose(loss.multi_margin_backward(np.full(2, 4.0), cache), [[-2, 1, 1, 0], [0, 0, 0, 0]])


# ---------------------------------------------------------------- losses of the target's probability
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["focal", "focal poly", "generalised_cross_entropy"])
def test_a_loss_of_the_target_is_the_cross_entropy_at_its_mildest(name, dtype):
    forward, backward = pair(name)
    mildest = {"q": 1e-12} if name.startswith("gen") else {"gamma": 0.0, "epsilon": 0.0}
    z, t = batch(6, 5, dtype=dtype)
    expected, its_cache = FUSED[0](z, t)
    value, cache = forward(z, t, **mildest)
    np.testing.assert_allclose(value, expected, rtol=1e-6 if dtype is np.float32 else 1e-10)
    np.testing.assert_allclose(backward(1.0, cache), FUSED[1](1.0, its_cache), rtol=1e-4, atol=1e-7)


def test_what_is_impossible_or_sure_teaches_nothing():
    z, t = np.array([[0.0, 800.0], [800.0, 0.0]]), np.array([0, 0])
    _, cache = target_losses.generalised_cross_entropy_forward(z, t)
    assert np.abs(target_losses.generalised_cross_entropy_backward(np.ones(2), cache)).max() < 1e-200
    losses, cache = target_losses.focal_forward(z, t)
    np.testing.assert_array_equal(losses, [800, 0])
    np.testing.assert_array_equal(target_losses.focal_backward(np.ones(2), cache), [[-1, 1], [0, 0]])


# ---------------------------------------------------------------- soft targets
SOFT = [case for case in CASES if case.split()[0] not in OF_ONE_CLASS]
takes_soft = pytest.mark.parametrize("case", SOFT)


@takes_soft
def test_a_soft_target_is_the_sum_of_its_classes(case):
    """ℓ(q) = Σ_c q_c · ℓ(c), whatever q sums to; and its gradient likewise."""
    (forward, backward), (z, _), rng = rows_of(case), batch(5, 4), np.random.default_rng(3)
    q = rng.random((5, 4)) * np.array([[1], [0.1], [3], [0], [1]])
    dlosses = rng.normal(size=5)
    of_class = [forward(z, np.full(5, c), **CASES[case]) for c in range(4)]
    losses, cache = forward(z, q, **CASES[case])
    np.testing.assert_allclose(losses, sum(q[:, c] * of_class[c][0] for c in range(4)), rtol=1e-12, atol=1e-14)
    expected = sum(backward(q[:, c] * dlosses, of_class[c][1]) for c in range(4))
    np.testing.assert_allclose(backward(dlosses, cache), expected, rtol=1e-12, atol=1e-14)
    check_pair(*pair(case), (z, q), wrt=(0,), kwargs=CASES[case]).assert_ok()


@takes_soft
def test_one_hot_rows_are_labels(case):
    forward, backward = rows_of(case)
    z, t = batch(6, 5)
    (one, one_cache), (other, other_cache) = (forward(z, x, **CASES[case]) for x in (t, np.eye(5)[t]))
    np.testing.assert_allclose(other, one, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(backward(one, other_cache), backward(one, one_cache), rtol=1e-12, atol=1e-15)


@takes_soft
@pytest.mark.parametrize("wrong", [-0.1, np.nan, np.inf])
def test_a_soft_target_below_zero_or_no_number_is_refused(case, wrong):
    z, _ = batch(3, 4)
    q = np.full((3, 4), 0.25)
    q[1, 2] = wrong
    with pytest.raises(InputError, match=f"soft targets hold {wrong}, but finite numbers of at least 0"):
        pair(case)[0](z, q)


# ---------------------------------------------------------------- user mistakes
@every_loss
@pytest.mark.parametrize(
    ("z", "t", "message"),
    [
        (np.zeros((2, 3)), np.array([0, 3]), "labels run from 0 to 3, but 3 classes"),
        (np.zeros((2, 3)), np.array([-1, 0]), "labels run from -1 to 0"),
        (np.zeros((2, 3)), np.array([0.0, 1.0]), "labels are float64"),
        (np.zeros((2, 3)), np.array([True, False]), "labels are bool"),
        (np.zeros((2, 3)), np.array([0, 1, 2]), "one for each of the 2 rows"),
        (np.zeros((2, 3, 4)), np.zeros(2, dtype=int), r"z has shape \(2, 3, 4\), but \(N, C\)"),
        (np.zeros((0, 3)), np.zeros(0, dtype=int), "this batch has none"),
    ],
)
def test_bad_labels_are_input_errors(case, z, t, message):
    with pytest.raises(InputError, match=message):
        pair(case)[0](z, t)


@pytest.mark.parametrize("case", sorted(OF_ONE_CLASS))
def test_losses_of_one_class_refuse_one_hot_rows(case):
    with pytest.raises(InputError, match=r"one-hot rows type t.argmax\(axis=1\)"):
        pair(case)[0](np.zeros((2, 3)), np.zeros((2, 3), dtype=int))


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, np.nan])
@pytest.mark.parametrize("case", ["softmax_cross_entropy", "softmax_cross_entropy_fused", "nll"])
def test_bad_smoothing_is_an_input_error(case, smoothing):
    with pytest.raises(InputError, match="label_smoothing is"):
        pair(case)[0](*batch(2, 3), label_smoothing=smoothing)


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf])
@pytest.mark.parametrize(
    ("case", "option"),
    [
        ("softmax_cross_entropy", "temperature"),
        ("softmax_cross_entropy_fused", "temperature"),
        ("hinge", "margin"),
        ("multi_margin", "margin"),
    ],
)
def test_bad_temperature_and_margin_are_input_errors(case, option, value):
    with pytest.raises(InputError, match=f"{option} is"):
        pair(case)[0](*batch(2, 3), **{option: value})


# ---------------------------------------------------------------- oracles
@pytest.mark.oracle
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_pytorch_and_entmax_agree(case, scale):
    torch = pytest.importorskip("torch")
    z, t = batch(7, 11, scale=scale)
    variable, targets = torch.tensor(z, requires_grad=True), torch.tensor(t)
    expected = oracle(torch, case, variable, targets)
    expected.backward()
    forward, backward = pair(case)
    value, cache = forward(z, t, **CASES[case])
    np.testing.assert_allclose(value, expected.item(), rtol=1e-10)
    np.testing.assert_allclose(backward(1.0, cache), variable.grad.numpy(), rtol=0, atol=1e-10)


def oracle(torch, case, z, t):
    functional, options = torch.nn.functional, CASES[case]
    smoothing = options.get("label_smoothing", 0.0)
    match case.split()[0]:
        case "softmax_cross_entropy" | "softmax_cross_entropy_fused":
            return functional.cross_entropy(z / options.get("temperature", 1.0), t, label_smoothing=smoothing)
        case "nll":
            return (1 - smoothing) * functional.nll_loss(z, t) - smoothing * z.mean()
        case "hinge":
            own = functional.one_hot(t, z.shape[1]).bool()
            rival = z.masked_fill(own, -torch.inf).amax(dim=1)
            return torch.relu(options.get("margin", 1.0) + rival - z[own]).mean()
        case "multi_margin":
            return functional.multi_margin_loss(z, t, margin=options.get("margin", 1.0))
        case "focal":
            log_p = -functional.cross_entropy(z, t, reduction="none")
            gamma, rest = options.get("gamma", 2.0), 1 - log_p.exp()
            return (rest**gamma * (options.get("epsilon", 0.0) * rest - log_p)).mean()
        case "generalised_cross_entropy":
            q = options.get("q", 0.7)
            return ((1 - torch.exp(-q * functional.cross_entropy(z, t, reduction="none"))) / q).mean()
        case "entmax_loss":
            alpha = options.get("alpha", 1.5)
            return pytest.importorskip("entmax").entmax_bisect_loss(z, t, alpha, n_iter=100).mean()
        case name:
            return getattr(pytest.importorskip("entmax"), name)(z, t).mean()
