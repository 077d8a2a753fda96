"""Margins of an angle, drawn centres, noise contrast, one against the rest: meaning, limits, mistakes and an oracle.

Gradients, purity and types of the pairs that give a gradient for every row are in test_pairs.py.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from npsoftmax.errors import InputError
from npsoftmax.functional import binary, centres, cosine, noise
from npsoftmax.functional.path import sigmoid
from npsoftmax.functional.softmax import log_softmax_forward
from npsoftmax.gradcheck import check_pair
from npsoftmax.params import SparseRows

pytestmark = pytest.mark.filterwarnings("error")

N, D, C = 5, 4, 8
T, DRAWN = np.array([7, 0, 3, 3, 5]), np.array([3, 0, 6])
MARGINS = ({}, {"angle": 0.5}, {"gap": 0.35}, {"angle": 0.3, "gap": 0.2})
every_margin = pytest.mark.parametrize("margin", MARGINS, ids=str)


def arrays(dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in ((N, D), (C, D), (C,), (C,))]


def of_rows(backward):
    """The backward with a gradient for every row of w (and b) in the place of those of the rows that were used."""

    def dense(dlosses, cache):
        dh, rows, *found = backward(dlosses, cache)
        return dh, *(SparseRows.from_indices(rows, values, C).to_dense() for values in found)

    return dense


# ---------------------------------------------------------------- pairs whose gradients are those of rows
def drawn_case(dtype=np.float64):
    h, w, _, _ = arrays(dtype)
    keywords = {"scale": 4.0, "angle": 0.5, "gap": 0.2}
    return centres.drawn_centres_forward, centres.drawn_centres_backward, (h, w), (T, DRAWN), keywords


def noise_case(dtype=np.float64, bias=True, shifted=True):
    h, w, b, shift = arrays(dtype)
    times = np.array([1, 4, 2], dtype=dtype)

    def forward(h, w, b=None):
        return noise.noise_contrast_forward(h, w, b, shift if shifted else None, T, DRAWN, times)

    def backward(dlosses, cache):
        dh, rows, dw, db = noise.noise_contrast_backward(dlosses, cache)
        return (dh, rows, dw, db) if bias else (dh, rows, dw)

    return forward, backward, (h, w, b) if bias else (h, w), (), {}


ROW_PAIRS = {
    "drawn centres": drawn_case,
    "noise contrast": noise_case,
    "negative sampling, no bias": lambda dtype=np.float64: noise_case(dtype, False, False),
}
every_row_pair = pytest.mark.parametrize("case", ROW_PAIRS.values(), ids=ROW_PAIRS)


@every_row_pair
def test_gradients_of_rows(case):
    forward, backward, given, rest, keywords = case()
    wrt = tuple(range(len(given)))
    check_pair(forward, of_rows(backward), (*given, *rest), wrt=wrt, kwargs=keywords).assert_ok()


@every_row_pair
def test_nothing_is_changed_and_types_are_kept(case):
    for dtype in (np.float32, np.float64):
        forward, backward, given, rest, keywords = case(dtype)
        for a in (*given, *rest):
            a.flags.writeable = False
        losses, cache = forward(*given, *rest, **keywords)
        assert losses.shape == (N,) and losses.dtype == dtype
        dlosses = np.arange(N, dtype=dtype)
        dlosses.flags.writeable = False
        first, second = backward(dlosses, cache), backward(dlosses, cache)
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)
        assert all(g.dtype == dtype for g in (first[0], *first[2:]))


# ---------------------------------------------------------------- the margin of an angle
@pytest.mark.parametrize("margin", [0.0, 0.1, 0.5, 1.0, 1.5])
def test_the_margin_is_added_to_the_angle_and_goes_on_beyond_without_a_jump(margin):
    theta = np.linspace(0.01, math.pi - 0.01, 5001)
    y, _ = centres.angular_margin_forward(np.cos(theta), margin)
    inside = theta < math.pi - margin
    np.testing.assert_allclose(y[inside], np.cos(theta + margin)[inside], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(y[~inside], (np.cos(theta) + math.cos(margin) - 1)[~inside], rtol=1e-12)
    assert (np.diff(y) <= 0).all()  # the larger the angle, the lower
    assert np.abs(np.diff(y)).max() < 1e-3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("margin", [0.0, 0.5, 1.5])
def test_at_angles_of_0_and_180_degrees_it_is_finite_and_so_is_its_slope(margin, dtype):
    one = dtype(1)
    c = np.array([1, np.nextafter(one, 0), np.nextafter(one, 2), -1, -np.nextafter(one, 0), 1 - 1e-5, 0], dtype=dtype)
    y, cache = centres.angular_margin_forward(c, margin)
    dc = centres.angular_margin_backward(np.ones_like(c), cache)
    assert y.dtype == dc.dtype == dtype
    assert np.isfinite(y).all() and np.isfinite(dc).all()
    np.testing.assert_allclose(y[:3], math.cos(margin), atol=2e-3)
    assert (dc >= 0).all() and dc.max() <= 1 / centres.SINE + 1


@every_margin
def test_a_sample_that_lies_on_a_centre_has_a_gradient(margin):
    h, w, _, _ = arrays()
    h[0], h[1], h[2] = 3 * w[7], -2 * w[0], 0  # the same direction as its centre, the opposite one, none
    losses, cache = centres.centres_forward(h, w, T, scale=30.0, **margin)
    dh, dw = centres.centres_backward(np.ones(N), cache)
    assert np.isfinite(losses).all() and np.isfinite(dh).all() and np.isfinite(dw).all()


def test_without_a_margin_it_is_the_cross_entropy_of_cosines_and_a_margin_raises_it():
    h, w, _, _ = arrays()
    log_p = log_softmax_forward(4.0 * cosine.cosine_forward(h, w.T)[0])[0]
    plain, _ = centres.centres_forward(h, w, T, scale=4.0)
    np.testing.assert_allclose(plain, -log_p[np.arange(N), T], rtol=1e-12)
    for margin in MARGINS[1:]:
        assert (centres.centres_forward(h, w, T, scale=4.0, **margin)[0] > plain).all()


@every_margin
def test_all_centres_drawn_are_all_centres(margin):
    h, w, _, _ = arrays()
    losses, cache = centres.centres_forward(h, w, T, scale=4.0, **margin)
    drawn, drawn_cache = centres.drawn_centres_forward(h, w, T, np.arange(C)[::-1].copy(), scale=4.0, **margin)
    np.testing.assert_allclose(drawn, losses, rtol=1e-12)
    d = np.arange(1.0, N + 1)
    for a, b in zip(
        of_rows(centres.drawn_centres_backward)(d, drawn_cache), centres.centres_backward(d, cache), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-14)


def test_the_sum_over_drawn_centres_expects_that_over_all():
    """e^loss - 1 is the sum over the other classes, relative to the target: no bias for any number drawn."""
    h, w, _, _ = arrays()
    truth = np.exp(centres.centres_forward(h, w, T, scale=2.0, angle=0.5)[0]) - 1
    rng = np.random.default_rng(0)
    draws = [rng.choice(C, 3, replace=False) for _ in range(1500)]
    found = np.exp([centres.drawn_centres_forward(h, w, T, d, scale=2.0, angle=0.5)[0] for d in draws]) - 1
    assert (np.abs(found.mean(axis=0) - truth) < 4 * found.std(axis=0) / np.sqrt(len(found))).all()


# ---------------------------------------------------------------- the lead of the target
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_lead_and_a_lag_of_ten_thousand(dtype):
    own, z = np.array([1e4, -1e4, 0, 40], dtype), np.array([[0, -np.inf], [0, -1e4], [0, -np.inf], [0, 0]], dtype)
    losses, cache = centres.lead_forward(own, z)
    np.testing.assert_allclose(losses, [0, 1e4, math.log(2), 2 * math.exp(-40)], rtol=1e-5)
    down, dz = centres.lead_backward(np.ones(4, dtype), cache)
    np.testing.assert_allclose(down, -dz.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(down, [0, -1, -0.5, -2 * math.exp(-40)], rtol=1e-5)
    assert dz[2, 1] == 0


# ---------------------------------------------------------------- noise contrast
def test_at_the_truth_noise_contrast_has_no_gradient_on_average_and_its_scores_are_log_p():
    """One feature that is 1: b is log p. Over all targets and all noise the gradient of the expected loss vanishes."""
    p, q, k = np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.1, 0.2, 0.3, 0.4]), 7
    h, w, t = np.ones((4, 1)), np.zeros((4, 1)), np.arange(4)

    def slope(b, shift):
        _, cache = noise.noise_contrast_forward(h, w, b, shift, t, np.arange(4), k * q)
        _, rows, _, db = noise.noise_contrast_backward(p, cache)  # each target as often as it comes
        return SparseRows.from_indices(rows, db, 4).to_dense()

    np.testing.assert_allclose(slope(np.log(p), np.log(k * q)), 0, atol=1e-15)
    np.testing.assert_allclose(slope(np.log(p / (k * q)), None), 0, atol=1e-15)  # negative sampling
    assert np.abs(slope(np.log(p), None)).max() > 0.1


def test_a_class_drawn_three_times_counts_three_times():
    h, w, b, shift = arrays()
    losses, _ = noise.noise_contrast_forward(h, w, b, shift, T, np.array([2, 6]), np.array([3.0, 1.0]))
    s = h @ w.T + b - shift
    expected = -np.log(sigmoid(s[np.arange(N), T])) - 3 * np.log(sigmoid(-s[:, 2])) - np.log(sigmoid(-s[:, 6]))
    np.testing.assert_allclose(losses, expected, rtol=1e-12)


# ---------------------------------------------------------------- one against the rest
def test_labels_are_one_yes_a_sample():
    z = np.random.default_rng(0).normal(size=(4, 3)) * 5
    t = np.array([0, 2, 2, 1])
    losses, cache = binary.one_against_rest_forward(z, t)
    rows, rows_cache = binary.one_against_rest_forward(z, np.eye(3)[t])
    np.testing.assert_allclose(losses, rows, rtol=1e-13)
    d = np.arange(4.0)
    np.testing.assert_allclose(
        binary.one_against_rest_backward(d, cache), binary.one_against_rest_backward(d, rows_cache), atol=1e-14
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_of_ten_thousand_cost_what_they_are_wrong_by(dtype):
    z = np.array([[1e4, -1e4, 0], [1e4, -1e4, 0]], dtype)
    losses, cache = binary.one_against_rest_forward(z, np.array([[1, 0, 0.5], [0, 1, 1]]))
    np.testing.assert_allclose(losses, [math.log(2), 2e4 + math.log(2)], rtol=1e-6)
    dz = binary.one_against_rest_backward(np.ones(2, dtype), cache)
    assert dz.dtype == losses.dtype == dtype
    np.testing.assert_allclose(dz, [[0, 0, 0], [1, -1, -0.5]], atol=1e-6)


# ---------------------------------------------------------------- user mistakes
@pytest.mark.parametrize("margin", [-0.1, 1.6, np.nan, "wide", None])
def test_margins_that_are_no_angle(margin):
    with pytest.raises(InputError, match=r"angular_margin_forward: margin is .* from 0 to below π/2"):
        centres.angular_margin_forward(np.zeros(3), margin)


@pytest.mark.parametrize("scale", [0, -1, np.nan, np.inf])
def test_scales_that_are_none(scale):
    h, w, _, _ = arrays()
    for extra in ((), (DRAWN,)):
        forward = centres.drawn_centres_forward if extra else centres.centres_forward
        with pytest.raises(InputError, match="scale is"):
            forward(h, w, T, *extra, scale=scale)


@pytest.mark.parametrize("drawn", [np.array([3]), np.array([], dtype=int), np.array([[1, 2]]), np.array([1, 8])])
def test_draws_that_cannot_be(drawn):
    h, w, _, _ = arrays()
    with pytest.raises(InputError, match="drawn"):
        centres.drawn_centres_forward(h, w, T, drawn, scale=4.0)


@pytest.mark.parametrize("q", [np.full((2, 3), 1.5), np.full((2, 3), -0.1), np.full((2, 3), np.nan)])
def test_targets_that_are_neither_yes_nor_no(q):
    with pytest.raises(InputError, match=r"each lies from 0 \(no\) to 1 \(yes\)"):
        binary.one_against_rest_forward(np.zeros((2, 3)), q)


# ---------------------------------------------------------------- oracle
@pytest.mark.oracle
@every_margin
@pytest.mark.parametrize("drawn", [None, DRAWN], ids=["all", "drawn"])
def test_pytorch_agrees_on_centres(margin, drawn):
    torch = pytest.importorskip("torch")
    h, w, _, _ = arrays()
    x, y, t = torch.tensor(h, requires_grad=True), torch.tensor(w, requires_grad=True), torch.tensor(T)
    units, to = (v / (v.square().sum(dim=1, keepdim=True) + cosine.EPS**2).sqrt() for v in (x, y))
    cosines = units @ to.T
    own = torch.nn.functional.one_hot(t, C).bool()
    angle, gap = margin.get("angle", 0.0), margin.get("gap", 0.0)
    theta = torch.arccos(cosines)
    lowered = torch.where(theta < math.pi - angle, torch.cos(theta + angle), cosines + math.cos(angle) - 1)
    z = 6.0 * torch.where(own, lowered - gap, cosines)
    if drawn is not None:
        listed = torch.zeros(C, dtype=torch.bool)
        listed[torch.tensor(drawn)] = True
        z = torch.where(own, z, torch.where(listed, z + math.log(C / len(drawn)), torch.tensor(-torch.inf)))
    expected = torch.nn.functional.cross_entropy(z, t, reduction="none")
    d = np.arange(1.0, N + 1)
    (expected * torch.tensor(d)).sum().backward()
    if drawn is None:
        losses, cache = centres.centres_forward(h, w, T, scale=6.0, **margin)
        gradients = centres.centres_backward(d, cache)
    else:
        losses, cache = centres.drawn_centres_forward(h, w, T, drawn, scale=6.0, **margin)
        gradients = of_rows(centres.drawn_centres_backward)(d, cache)
    np.testing.assert_allclose(losses, expected.detach().numpy(), rtol=1e-10)
    for got, theirs in zip(gradients, (x, y), strict=True):
        np.testing.assert_allclose(got, theirs.grad.numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.oracle
@pytest.mark.parametrize("shifted", [True, False])
def test_pytorch_agrees_on_noise_contrast(shifted):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    h, w, b, shift = arrays()
    times = np.array([1.0, 4.0, 2.0])
    theirs = [torch.tensor(a, requires_grad=True) for a in (h, w, b)]
    s = theirs[0] @ theirs[1].T + theirs[2] - (torch.tensor(shift) if shifted else 0)
    own = s.gather(1, torch.tensor(T)[:, None])[:, 0]
    expected = -functional.logsigmoid(own) - functional.logsigmoid(-s[:, torch.tensor(DRAWN)]) @ torch.tensor(times)
    d = np.arange(1.0, N + 1)
    (expected * torch.tensor(d)).sum().backward()
    losses, cache = noise.noise_contrast_forward(h, w, b, shift if shifted else None, T, DRAWN, times)
    np.testing.assert_allclose(losses, expected.detach().numpy(), rtol=1e-10)
    for got, their in zip(of_rows(noise.noise_contrast_backward)(d, cache), theirs, strict=True):
        np.testing.assert_allclose(got, their.grad.numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.oracle
@pytest.mark.parametrize("yes", [None, np.linspace(0.2, 9, C)], ids=["", "weighed"])
@pytest.mark.parametrize("kind", ["labels", "several", "soft"])
def test_pytorch_agrees_on_one_against_the_rest(kind, yes):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    z = rng.normal(size=(N, C)) * 4
    given = {"labels": T, "several": rng.integers(0, 2, (N, C)), "soft": rng.random((N, C))}[kind]
    q = np.eye(C)[T] if kind == "labels" else given
    x = torch.tensor(z, requires_grad=True)
    functional = torch.nn.functional
    options = {"reduction": "none", "pos_weight": None if yes is None else torch.tensor(yes)}
    expected = functional.binary_cross_entropy_with_logits(x, torch.tensor(q, dtype=float), **options).sum(dim=1)
    d = np.arange(1.0, N + 1)
    (expected * torch.tensor(d)).sum().backward()
    losses, cache = binary.one_against_rest_forward(z, given, yes)
    np.testing.assert_allclose(losses, expected.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(binary.one_against_rest_backward(d, cache), x.grad.numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(binary.log_sigmoid(z), functional.logsigmoid(x).detach().numpy(), rtol=1e-10)
